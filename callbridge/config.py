"""The configuration: TOML, typed, checked as a whole before anything starts.

Every mistake names the key, the file and the line. Environment variables override single keys:
`CALLBRIDGE_HTTP__LISTEN=0.0.0.0:8080`, `CALLBRIDGE_SWITCH__0__PASSWORD=…` (the first `[[switch]]`).
"""

import os
import re
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct, field

from callbridge.configfile import Source, override, place
from callbridge.storeurl import Tls, parse

Scope = Literal["read", "control", "monitor"]
Role = Literal["all", "writer", "reader"]
# \Z and not $, which would let a line end pass.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")]
Domain = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}\Z")]
Text = Annotated[str, Meta(min_length=1)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Origin = Annotated[str, Meta(pattern=r"^(\*|https?://[^/\s]+)\Z")]


class Http(Struct, frozen=True, forbid_unknown_fields=True):
    """`[http]`: where the API listens, and which web pages of other origins may use it (`*`: all).

    `reuse_port`: several callbridges of this machine and user listen on the same port, and the kernel shares the
    connections out among them (SO_REUSEPORT, socket(7)).
    """

    listen: Text = "127.0.0.1:8080"
    cors_origins: tuple[Origin, ...] = ()
    reuse_port: bool = False


class StoreConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[store]`: `memory://`, or the Redis that daemons share, and that keeps the live calls for other programs.

    `role`: a `reader` serves the API and follows no switch itself, a `writer` serves no API.
    """

    url: Text = "memory://"
    prefix: Name = "callbridge"
    role: Role = "all"

    def __repr__(self) -> str:
        # Without the URL, which may hold a password.
        return f"<StoreConfig {self.url.partition(':')[0]}, prefix {self.prefix}>"


class Switch(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[switch]]`: one FreeSWITCH and its event socket.

    `shared_contexts` are the dialplan contexts that are no tenant's: where calls come in and where the switch's own
    begin. `events` is the form in which it sends events; both give the same calls.
    """

    name: Name
    address: Text
    password: Text | None = None
    password_file: Text | None = None
    events: Literal["json", "plain"] = "json"
    shared_contexts: tuple[Text, ...] = ("public", "default")

    def __repr__(self) -> str:
        # Without the password: a repr ends up in a log some day.
        return f"<Switch {self.name} at {self.address}>"


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[token]]`: who may use the API. `sha256` is the hex SHA-256 of the token; without `tenant`, every tenant's."""

    name: Name
    sha256: Sha256
    scopes: tuple[Scope, ...]
    tenant: Text | None = None


class Tenant(Struct, frozen=True, forbid_unknown_fields=True):
    """`[[tenant]]`: what is special about one. `destinations` are patterns of what its calls may be sent to besides its
    extensions: queues, ring groups, outside numbers. `context` is its dialplan context, where that is not its name."""

    name: Domain
    context: Domain | None = None
    destinations: tuple[Text, ...] = ()


class Commands(Struct, frozen=True, forbid_unknown_fields=True):
    """`[commands]`: seconds that a phone rings and that a parked leg waits; where recordings go, "" for nowhere."""

    ring_seconds: Annotated[int, Meta(ge=5, le=300)] = 30
    park_seconds: Annotated[int, Meta(ge=1, le=86400)] = 10
    recording: str = ""


class AuditConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[audit]`: the file of who did what. A relative path begins at the folder that systemd gives for logs
    (`LogsDirectory=`, systemd.exec(5)), else at that of the configuration."""

    path: Text = "audit.jsonl"


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """`[log]`: `auto` is text on a terminal and JSON, one object a line, everywhere else."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole configuration that has been checked."""

    switch: tuple[Switch, ...]
    token: tuple[Token, ...] = ()
    tenant: tuple[Tenant, ...] = ()
    commands: Commands = field(default_factory=Commands)
    audit: AuditConfig = field(default_factory=AuditConfig)
    http: Http = field(default_factory=Http)
    store: StoreConfig = field(default_factory=StoreConfig)
    log: Log = field(default_factory=Log)


def load(path: Path, environment: Mapping[str, str] | None = None, role: Role | None = None) -> Config:
    """Read and check a configuration file, and the passwords in the files that it names. `role` is what the command
    line says instead of the file.

    Raises ConfigError with the key, the file and the line of the first mistake.
    """
    source = Source(path)
    tree = source.tree
    environment = os.environ if environment is None else environment
    source.overridden = override(tree, Config, environment)
    try:
        config = msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        raise source.error(*place(error, Config)) from None
    if role is not None:
        source.overridden["store.role"] = "the option --role"
        config = msgspec.structs.replace(config, store=msgspec.structs.replace(config.store, role=role))
    for check in (_check_listen, _check_store, _check_switches, _check_tokens, _check_tenants, _check_recording):
        check(config, source)
    switches = tuple(_with_password(switch, index, source) for index, switch in enumerate(config.switch))
    logs = Path(environment.get("LOGS_DIRECTORY", "").partition(":")[0] or path.absolute().parent)
    audit = AuditConfig(str(logs / config.audit.path))
    return msgspec.structs.replace(config, switch=switches, audit=audit)


def split_address(address: str) -> tuple[str, int]:
    """`HOST:PORT`, also `[::1]:8080`. Raises ValueError where it is not that."""
    found = _ADDRESS.fullmatch(address)
    if found is not None and int(found["port"]) <= 65535:
        return found["ipv6"] or found["host"], int(found["port"])
    if address.count(":") > 1 and not re.search(r"[/\[\]]", address):
        raise ValueError(f"{address!r} is no address; an IPv6 address stands in brackets, like [::1]:8080")
    raise ValueError(f"{address!r} is no address; write HOST:PORT, like 127.0.0.1:8080")


_ADDRESS: Final = re.compile(r"(?:\[(?P<ipv6>[^\s/@\[\]]+)\]|(?P<host>[^\s:/@\[\]]+)):(?P<port>[0-9]{1,5})")


def _check_listen(config: Config, source: Source) -> None:
    try:
        _, port = split_address(config.http.listen)
    except ValueError as error:
        raise source.error("http.listen", str(error)) from None
    if config.http.reuse_port and port == 0:
        raise source.error("http.reuse_port", "port 0 is another port for each process; name the one that they share")


def _check_store(config: Config, source: Source) -> None:
    try:
        where = parse(config.store.url)
    except ValueError as error:
        raise source.error("store.url", str(error)) from None
    if where.tls is not None:
        _check_tls(where.tls, source)
    if where.kind == "memory" and config.store.role != "all":
        raise source.error("store.role", f"a {config.store.role} needs the Redis that it shares with the others")
    if where.kind == "memory" and config.http.reuse_port:
        message = "processes that share a port share the calls through Redis; with memory:// each has its own"
        raise source.error("http.reuse_port", message)


def _check_tls(tls: Tls, source: Source) -> None:
    for path in tls.files:
        if not Path(path).is_file():
            raise source.error("store.url", f"there is no file {path}")
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
    except (OSError, ValueError) as error:
        raise source.error("store.url", f"{tls.ca} holds no certificates in PEM ({_reason(error)})") from None
    if tls.cert:
        try:
            # Nobody is there to be asked for a passphrase.
            context.load_cert_chain(tls.cert, tls.key or None, password="")
        except (OSError, ValueError) as error:
            files = f"{tls.cert} and {tls.key} are" if tls.key else f"{tls.cert} is"
            message = f"{files} no certificate and its key, in PEM and without a passphrase ({_reason(error)})"
            raise source.error("store.url", message) from None


def _reason(error: Exception) -> str:
    return (isinstance(error, ssl.SSLError) and error.reason) or f"{error}"


def _check_switches(config: Config, source: Source) -> None:
    if not config.switch:
        raise source.error("switch", "there is no [[switch]]; callbridge needs at least one FreeSWITCH")
    names: set[str] = set()
    for index, switch in enumerate(config.switch):
        here = f"switch[{index}]"
        if switch.name in names:
            raise source.error(f"{here}.name", f"two switches are named {switch.name!r}")
        names.add(switch.name)
        try:
            _, port = split_address(switch.address)
        except ValueError as error:
            raise source.error(f"{here}.address", str(error)) from None
        if port == 0:
            raise source.error(f"{here}.address", "port 0 is no port to connect to; FreeSWITCH has 8021")
        if (switch.password is None) == (switch.password_file is None):
            raise source.error(here, "needs either `password` or `password_file`")


def _check_tokens(config: Config, source: Source) -> None:
    names: set[str] = set()
    hashes: set[str] = set()
    for index, token in enumerate(config.token):
        here = f"token[{index}]"
        if token.name in names:
            raise source.error(f"{here}.name", f"two tokens are named {token.name!r}")
        if token.sha256 in hashes:
            raise source.error(f"{here}.sha256", "two entries are for the same token")
        if not token.scopes:
            raise source.error(f"{here}.scopes", f"is empty; name some of {', '.join(get_args(Scope))}")
        names.add(token.name)
        hashes.add(token.sha256)


def _check_tenants(config: Config, source: Source) -> None:
    names: set[str] = set()
    for index, tenant in enumerate(config.tenant):
        here = f"tenant[{index}]"
        if tenant.name in names:
            raise source.error(f"{here}.name", f"two entries are for the tenant {tenant.name!r}")
        names.add(tenant.name)
        for pattern in tenant.destinations:
            try:
                re.compile(pattern)
            except re.error as error:
                raise source.error(f"{here}.destinations", f"{pattern!r} is no regular expression ({error})") from None


RECORDING_PARTS: Final = ("tenant", "call_id", "date", "time")

MAX_RECORDING: Final = 250
"""Characters of a template: a command takes 400 of the whole path."""


def _check_recording(config: Config, source: Source) -> None:
    template = config.commands.recording
    parts = re.findall(r"\{([a-z_]*)\}", template)
    plain = re.sub(r"\{[a-z_]*\}", "", template)
    example = "/var/lib/freeswitch/recordings/{tenant}/{date}/{call_id}-{time}.wav"
    if not template:
        return
    if not re.fullmatch(r"/[A-Za-z0-9_./@+:-]*", plain) or ".." in plain:
        raise source.error("commands.recording", f"is no absolute path without blanks; write one like {example}")
    if len(template) > MAX_RECORDING:
        raise source.error("commands.recording", f"has more than {MAX_RECORDING} characters")
    if unknown := [part for part in parts if part not in RECORDING_PARTS]:
        known = ", ".join(f"{{{part}}}" for part in RECORDING_PARTS)
        raise source.error("commands.recording", f"there is no {{{unknown[0]}}}; there are {known}")
    if "call_id" not in parts:
        raise source.error("commands.recording", f"needs {{call_id}}, or two calls have one file; write {example}")


def _with_password(switch: Switch, index: int, source: Source) -> Switch:
    here, password = f"switch[{index}].password", switch.password
    if switch.password_file is not None:
        here += "_file"
        path = source.path.parent / switch.password_file
        try:
            mode = path.stat().st_mode
            password = path.read_text(encoding="utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            # Not its words: they quote a byte of the password.
            raise source.error(here, "cannot be read (it is not UTF-8)") from None
        except (OSError, ValueError) as error:
            raise source.error(here, f"cannot be read ({error})") from None
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            raise source.error(here, f"every user of this machine can read it; chmod 600 {path}")
    if not password or any(c < " " or c == "\x7f" for c in password):
        raise source.error(here, "is empty or holds a control character; the event socket cannot carry it")
    return msgspec.structs.replace(switch, password=password)
