"""Redis with TLS, passwords and certificates, and sentinels with their own: what works, and what is said where not."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from callbridge.config import load
from callbridge.errors import ConfigError
from callbridge.sharing.client import connect
from tests.redis_server import RedisServer, free_port, needs_redis, running
from tests.storekit import OWNER, make, sharing

OPENSSL = shutil.which("openssl")
pytestmark = [*needs_redis, pytest.mark.skipif(OPENSSL is None, reason="there is no openssl on the PATH")]


class Authority:
    """A certificate authority, and certificates of it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.ca = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        self._openssl("req", "-x509", "-keyout", self._key, "-out", self.ca, "-subj", f"/CN={name}", "-days", "2")

    def certify(self, name: str, subject: str) -> tuple[Path, Path]:
        """A certificate for that subject, `IP:127.0.0.1` say, and its key."""
        cert, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        signed = ("-CA", self.ca, "-CAkey", self._key, "-addext", f"subjectAltName={subject}")
        self._openssl("req", "-x509", "-keyout", key, "-out", cert, "-subj", f"/CN={name}", "-days", "2", *signed)
        return cert, key

    def _openssl(self, *arguments: str | Path) -> None:
        assert OPENSSL is not None
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        # Both are made as an authority's (openssl.cnf, v3_ca), and Python 3.13 asks those what their keys are for.
        use = ("-addext", "keyUsage=critical,digitalSignature,keyCertSign")
        subprocess.run([OPENSSL, arguments[0], *new, *use, *arguments[1:]], check=True, capture_output=True)


class Secure:
    """A Redis that speaks TLS at `port`, besides the port that tests look at it with."""

    def __init__(self, folder: Path, subject: str = "IP:127.0.0.1") -> None:
        self.authority = Authority(folder, "authority")
        self.port = free_port()
        cert, key = self.authority.certify("server", subject)
        files = ("--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(self.authority.ca))
        self.options = ("--tls-port", str(self.port), *files)

    def url(self, login: str = "", **options: str | Path) -> str:
        """For a single one."""
        return f"rediss://{login}127.0.0.1:{self.port}/0{_query(options)}"


def _query(options: dict[str, str | Path]) -> str:
    return f"?{'&'.join(f'{name}={value}' for name, value in options.items())}" if options else ""


@pytest.fixture
def secure(tmp_path: Path) -> Secure:
    return Secure(tmp_path)


async def test_with_tls_and_a_password(tmp_path: Path, secure: Secure) -> None:
    options = (*secure.options, "--tls-auth-clients", "no", "--requirepass", "right-secret")
    async with running(tmp_path, *options) as server, server.client("right-secret") as client:
        url = secure.url(":right-secret@", ca=secure.authority.ca)
        async with sharing(url, name="one") as one, sharing(url, name="two", writes=False) as two:
            await one.owns()
            one.change(make("a"))
            await one.holds(client)
            await two.follows(one)
        with capture_logs() as told:
            async with sharing(secure.url(":wrong-secret@", ca=secure.authority.ca)) as one:
                await one.store("down", "invalid username-password pair")
        assert "secret" not in f"{told} {one.share!r} {one.share.status}"


async def test_a_server_that_another_authority_has_certified_is_refused(tmp_path: Path, secure: Secure) -> None:
    async with running(tmp_path, *secure.options, "--tls-auth-clients", "no"):
        for url in (secure.url(), secure.url(ca=Authority(tmp_path, "another").ca)):
            async with sharing(url) as one:
                await one.store("down", "CERTIFICATE_VERIFY_FAILED")


async def test_a_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    secure = Secure(tmp_path, "DNS:redis.example")
    async with (
        running(tmp_path, *secure.options, "--tls-auth-clients", "no"),
        sharing(secure.url(ca=secure.authority.ca)) as one,
    ):
        await one.store("down", "IP address mismatch")


async def test_a_file_that_is_no_certificate_is_told(tmp_path: Path, secure: Secure) -> None:
    (tmp_path / "empty.pem").touch()
    async with (
        running(tmp_path, *secure.options, "--tls-auth-clients", "no"),
        sharing(secure.url(ca=tmp_path / "empty.pem")) as one,
    ):
        await one.store("down", "no certificate")


async def test_with_a_certificate_of_its_own_where_redis_asks_for_one(tmp_path: Path, secure: Secure) -> None:
    # Redis does, unless it is told otherwise.
    async with running(tmp_path, *secure.options):
        cert, key = secure.authority.certify("callbridge", "DNS:callbridge")
        async with sharing(secure.url(ca=secure.authority.ca, cert=cert, key=key)) as one:
            await one.owns()
        async with sharing(secure.url(ca=secure.authority.ca)) as one:
            await one.store("down")


def checked(folder: Path, url: str) -> str:
    """What `check-config` says is wrong with a store."""
    config = folder / "callbridge.toml"
    config.write_text(f"[[switch]]\nname = 'pbx'\naddress = 'a:1'\npassword = 'x'\n[store]\nurl = '{url}'")
    try:
        load(config, {})
    except ConfigError as error:
        return f"{error}".removeprefix(f"{config}:6: store.url: ")
    return ""


def test_files_that_cannot_be_used_are_told_before_the_start(tmp_path: Path, secure: Secure) -> None:
    ca, empty = secure.authority.ca, tmp_path / "empty.pem"
    empty.touch()
    cert, key = secure.authority.certify("callbridge", "DNS:callbridge")
    locked = tmp_path / "locked.key"
    assert OPENSSL is not None
    command = [OPENSSL, "pkey", "-in", str(key), "-out", str(locked), "-aes256", "-passout", "pass:secret"]
    subprocess.run(command, check=True, capture_output=True)
    assert checked(tmp_path, secure.url(ca=ca, cert=cert, key=key)) == ""
    assert f"{empty} holds no certificates in PEM" in checked(tmp_path, secure.url(ca=empty))
    for wrong in (ca, locked, empty):
        said = checked(tmp_path, secure.url(ca=ca, cert=cert, key=wrong))
        assert said.startswith(f"{cert} and {wrong} are no certificate and its key, in PEM and without a passphrase (")
    assert checked(tmp_path, secure.url(cert=cert)).startswith(f"{cert} is no certificate and its key")


@asynccontextmanager
async def watched(folder: Path, secure: Secure, *options: str) -> AsyncIterator[int]:
    """A Redis with TLS and a password under a sentinel with TLS and options of its own; gives the sentinel's port."""
    for name in ("master", "sentinel"):
        (folder / name).mkdir()
    config = folder / "sentinel" / "sentinel.conf"
    monitored = f"sentinel monitor mymaster 127.0.0.1 {secure.port} 1\nsentinel auth-pass mymaster server-secret\n"
    config.write_text(monitored)
    own = ("--tls-auth-clients", "no", "--tls-replication", "yes")
    port = free_port()
    listening = ("--tls-port", str(port), *secure.options[2:], *own, *options)
    sentinel = RedisServer(folder / "sentinel", *listening, config=config)
    async with running(folder / "master", *secure.options, *own, "--requirepass", "server-secret"), sentinel:
        await sentinel.start()
        yield port


async def test_under_sentinels_with_tls_and_a_password_of_their_own(tmp_path: Path, secure: Secure) -> None:
    async with watched(tmp_path, secure, "--requirepass", "sentinel-secret") as port:
        at = f"rediss+sentinel://:server-secret@127.0.0.1:{port}/mymaster/0?ca={secure.authority.ca}"
        async with sharing(f"{at}&sentinel_password=sentinel-secret") as one:
            await one.owns()
        with capture_logs() as told:
            async with sharing(at) as one:
                await one.store("down", "Authentication required")
            async with sharing(f"{at}&sentinel_password=wrong-secret") as one:
                await one.store("down", "invalid username-password pair")
            async with sharing(f"{at}&sentinel_username=somebody&sentinel_password=sentinel-secret") as one:
                await one.store("down", "invalid username-password pair")
            async with sharing(
                at.replace("server-secret", "wrong-secret") + "&sentinel_password=sentinel-secret"
            ) as one:
                await one.store("down", "invalid username-password pair")
        assert "secret" not in f"{told}"


async def test_a_cluster_with_tls(tmp_path: Path, secure: Secure) -> None:
    options = (*secure.options, "--tls-auth-clients", "no", "--cluster-enabled", "yes")
    async with running(tmp_path, *options) as node, node.client() as client:
        await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)  # type: ignore[no-untyped-call]
        while True:
            said = await client.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]
            if "cluster_state:ok" in str(said):
                break
        found = await connect(f"rediss+cluster://127.0.0.1:{secure.port}?ca={secure.authority.ca}", OWNER)
        await found.set(OWNER, "anybody")
        await found.aclose()
