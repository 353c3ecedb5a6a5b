"""`store.url`: which Redis, and how it is found. Pure: nothing is looked up here."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

import msgspec

FORMS: Final = (
    "memory://, redis://HOST:PORT/DB, unix://PATH, redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB"
    " or redis+cluster://HOST:PORT,HOST:PORT; with TLS rediss://…, rediss+sentinel://… or rediss+cluster://…"
)
SENTINEL_PORT: Final = 26379
REDIS_PORT: Final = 6379

_NODE: Final = re.compile(r"(?:\[(?P<ipv6>[^\s/@\[\]]+)\]|(?P<host>[^\s:/@\[\],]+))(?::(?P<port>[0-9]{1,5}))?")


_FILES: Final = ("ca", "cert", "key")
_OF_SENTINELS: Final = ("sentinel_username", "sentinel_password")
_OF_UNIX: Final = ("db", "username", "password")


class Tls(msgspec.Struct, frozen=True):
    """Files in PEM: by what the servers are known ("": what the system trusts), and by what they know this client (""
    for not at all). A `cert` may have its key in the same file."""

    ca: str = ""
    cert: str = ""
    key: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Those that are named."""
        return tuple(filter(None, (self.ca, self.cert, self.key)))


class StoreUrl(msgspec.Struct, frozen=True):
    """What a URL says. `nodes` are the sentinels or some nodes of the cluster; of a single Redis the URL says it all
    but for its options. The login is that of the Redis servers; sentinels have one of their own."""

    kind: Literal["memory", "single", "sentinel", "cluster"]
    nodes: tuple[tuple[str, int], ...] = ()
    master: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = None
    tls: Tls | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None

    def __repr__(self) -> str:
        # Without the password: a repr ends up in a log some day.
        return f"<StoreUrl {self.kind} {self.nodes}>"


def parse(url: str) -> StoreUrl:
    """Read a URL. Raises ValueError with what is wrong with it, without its password."""
    # Schemes are taken in lower case only, and with both slashes, as redis-py takes them.
    if url.startswith(("redis+sentinel://", "rediss+sentinel://")):
        return _sentinel(url)
    if url.startswith(("redis+cluster://", "rediss+cluster://")):
        return _cluster(url)
    return _single(url)


def _single(url: str) -> StoreUrl:
    try:
        parts = urlsplit(url)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(f"is no URL; write {FORMS}") from None
    if not url.startswith(("memory://", "redis://", "rediss://", "unix://")) or not port_is_right:
        raise ValueError(f"{url.partition('://')[0][:20]!r} is no store; write {FORMS}")
    if parts.scheme in ("redis", "rediss"):
        if not parts.hostname:
            raise ValueError("names no host; write redis://127.0.0.1:6379/0")
        if not re.fullmatch(r"/?[0-9]*", parts.path) or (parts.query and parts.scheme == "redis"):
            raise ValueError("after the host comes only the number of the database, like /0")
        if len(parts.path) > 4:
            raise ValueError("the number of the database has three digits at most, like /0")
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("names no socket; write unix:///run/redis/redis.sock")
        if not re.fullmatch(r"[0-9]{1,3}", _options(parts.query, _OF_UNIX).get("db", "0")):
            raise ValueError("the option db is the number of the database, like db=0")
    tls = _tls(_options(parts.query, _FILES)) if parts.scheme == "rediss" else None
    return StoreUrl("memory" if parts.scheme == "memory" else "single", tls=tls)


def _sentinel(url: str) -> StoreUrl:
    secure = url.startswith("rediss")
    username, password, hosts, path, query = _split(url)
    options = _options(query, (*_OF_SENTINELS, *(_FILES if secure else ())))
    if "sentinel_username" in options and "sentinel_password" not in options:
        raise ValueError("the option sentinel_username needs sentinel_password")
    found = re.fullmatch(r"/([A-Za-z0-9._-]+)(?:/([0-9]{1,3})?)?", path)
    if found is None:
        raise ValueError("needs the master's name after the sentinels, like redis+sentinel://HOST:26379/mymaster/0")
    return StoreUrl(
        "sentinel",
        _nodes(hosts, SENTINEL_PORT),
        found[1],
        int(found[2] or 0),
        username,
        password,
        _tls(options) if secure else None,
        *(options.get(name) for name in _OF_SENTINELS),
    )


def _cluster(url: str) -> StoreUrl:
    secure = url.startswith("rediss")
    username, password, hosts, path, query = _split(url)
    if path not in ("", "/", "/0"):
        raise ValueError("a cluster has no databases; write redis+cluster://HOST:PORT,HOST:PORT")
    options = _options(query, _FILES if secure else ())
    tls = _tls(options) if secure else None
    return StoreUrl("cluster", _nodes(hosts, REDIS_PORT), username=username, password=password, tls=tls)


def _split(url: str) -> tuple[str | None, str | None, str, str, str]:
    """The user, the password, the hosts, what comes after them, the options. urlsplit knows no list of hosts."""
    rest, _, query = url.partition("://")[2].partition("?")
    authority, slash, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    username, _, password = login.partition(":")
    return unquote(username) or None, (unquote(password) or None) if at else None, hosts, slash + path, query


def _options(query: str, known: Sequence[str]) -> dict[str, str]:
    """What comes after the ?. Nothing of it is told: it may be a part of a password that was not encoded."""
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        if name not in known or name in options or not value:
            there_is = f"takes only these options, each once: {', '.join(known)}" if known else "takes no options"
            raise ValueError(f"{there_is}; a ? in a password is written %3F")
        options[name] = unquote(value)
    return options


def _tls(options: Mapping[str, str]) -> Tls:
    tls = Tls(*(options.get(name, "") for name in _FILES))
    if any(not path.startswith("/") for path in tls.files):
        raise ValueError("the options ca, cert and key are absolute paths, like ca=/etc/ssl/certs/redis.pem")
    if tls.key and not tls.cert:
        raise ValueError("the option key needs the certificate that it is of, cert")
    return tls


def _nodes(hosts: str, port: int) -> tuple[tuple[str, int], ...]:
    nodes = []
    for text in hosts.split(","):
        found = _NODE.fullmatch(text)
        if found is None or not 0 < int(found["port"] or port) <= 65535:
            # Not told which: where the @ was forgotten it is a password.
            raise ValueError("what stands between :// and the next / is HOST:PORT, several with commas in between")
        nodes.append((found["ipv6"] or found["host"], int(found["port"] or port)))
    return tuple(nodes)
