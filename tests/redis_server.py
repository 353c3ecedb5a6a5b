"""A real redis-server on a port of loopback, for tests that a fake proves nothing to."""

import asyncio
import random
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Self

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

_PROGRAM: Final = shutil.which("redis-server")

needs_redis: Final = [
    pytest.mark.redis,
    pytest.mark.skipif(_PROGRAM is None, reason="there is no redis-server on the PATH"),
]
"""The `pytestmark` of a module that uses RedisServer."""

START_TIMEOUT: Final = 20.0
"""Seconds that a start may take on the slowest machine; it takes some 10 ms."""


def free_port(further: int = 0) -> int:
    """A port of loopback that nobody listens on, nor on the one that is so much `further` up.

    Below those that the kernel gives to outgoing connections: one of them could take it while the server is down, even
    a client's that tries to reach that very port.
    """
    while True:
        port = random.randrange(20_000, 32_000 - further)
        with socket.socket() as sock, socket.socket() as other, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            if further:
                other.bind(("127.0.0.1", port + further))
            return port


class RedisServer:
    """One redis-server that keeps nothing on disk. `async with` ends it; it can be killed and started in between.

    `options` are what redis.conf takes, as on the command line: `--requirepass secret`. `config`: it is a sentinel, and
    this its file.
    """

    def __init__(self, folder: Path, *options: str, config: Path | None = None) -> None:
        # A node of a cluster has a second one for the others (redis.conf, `cluster-port`).
        self.port = free_port(10_000 if "--cluster-enabled" in options else 0)
        self.options = options
        self._config = config
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    def __repr__(self) -> str:
        return f"<RedisServer {self.url} {'up' if self._process else 'down'}>"

    @property
    def url(self) -> str:
        """For a client that needs no password."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        assert _PROGRAM is not None
        assert self._process is None
        own: tuple[str, ...] = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder))
        own = (*own, "--save", "") if self._config is None else (str(self._config), "--sentinel", *own)
        with (self._folder / "redis.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                _PROGRAM, *own, *self.options, stdout=output, stderr=output
            )
        async with asyncio.timeout(START_TIMEOUT):
            while not await self._answers():
                if self._process.returncode is not None:
                    raise RuntimeError((self._folder / "redis.log").read_text())

    async def kill(self) -> None:
        """End it as a power failure does."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It keeps its connections, and answers nothing any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It answers again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self, password: str | None = None) -> "Redis":
        """A client for a test to look and to set things with; `async with` closes it."""
        # Always a new connection: a test talks to a server that may have been restarted.
        return Redis(port=self.port, password=password, single_connection_client=True, retry=Retry(NoBackoff(), 0))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def _answers(self) -> bool:
        client = self.client()
        try:
            await client.ping()
        except AuthenticationError:
            return True
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()
        return True


@asynccontextmanager
async def running(folder: Path, *options: str) -> AsyncIterator[RedisServer]:
    """One that has been started."""
    async with RedisServer(folder, *options) as server:
        await server.start()
        yield server
