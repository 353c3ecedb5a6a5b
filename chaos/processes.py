"""callbridge as an operator runs it: `callbridge run --config`, in a process of its own."""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from chaos.pbx import Failed

START_TIMEOUT: Final = 60.0
"""Seconds until a daemon listens, on a slow machine; it takes some 0.5."""

ANSWER_TIMEOUT: Final = 5.0
"""Seconds that it has to answer: one that is paused never does."""

TOKEN: Final = "chaos"
SWITCH: Final = "pbx"
PREFIX: Final = "callbridge"
CONFIG: Final = f"""
[http]
listen = "127.0.0.1:0"
[store]
url = "redis://127.0.0.1:{{redis}}/0"
prefix = "{PREFIX}"
[[switch]]
name = "{SWITCH}"
address = "127.0.0.1:{{switch}}"
password = "{{password}}"
[[token]]
name = "chaos"
sha256 = "{sha256(TOKEN.encode()).hexdigest()}"
scopes = ["read"]
[log]
format = "json"
"""

PROGRAM: Final = ("callbridge.cli",)


class Listed(msgspec.Struct, frozen=True):
    """An answer to GET /v1/call."""

    data: list[dict[str, str]]
    total: int
    complete: bool


class Daemon:
    """One daemon. It can be killed, started and paused; its log goes on in one file."""

    def __init__(self, folder: Path, switch: int, password: str, redis: int, program: Sequence[str] = PROGRAM) -> None:
        self.log = folder / "callbridge.log"
        self._config = folder / "callbridge.toml"
        self._config.write_text(CONFIG.format(switch=switch, password=password, redis=redis))
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._client: aiohttp.ClientSession | None = None
        self._url = ""

    def __repr__(self) -> str:
        return f"<Daemon {self._url or 'down'}>"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether its process has ended."""
        return self._process is None or self._process.returncode is not None

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        heard = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *self._program, "run", "--config", str(self._config)),
                stdout=output,
                stderr=output,
            )
        self._client = self._client or aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {TOKEN}"}, timeout=aiohttp.ClientTimeout(ANSWER_TIMEOUT)
        )
        async with asyncio.timeout(START_TIMEOUT):
            while not (url := self._said(heard)):
                if self._process.returncode is not None:
                    raise Failed(f"a daemon did not start:\n{self.tail()}")
                await asyncio.sleep(0.02)
        self._url = url

    def _said(self, after: int) -> str:
        lines = self.log.read_bytes()[after:].splitlines(keepends=True)
        ready = [line for line in lines if b'"daemon.listening"' in line and line.endswith(b"\n")]
        return str(json.loads(ready[0])["url"]) if ready else ""

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])

    async def list(self) -> Listed:
        """What it answers to GET /v1/call. Raises aiohttp.ClientError or TimeoutError where it does not."""
        assert self._client is not None
        async with self._client.get(f"{self._url}/v1/call") as response:
            return msgspec.json.decode(await response.read(), type=Listed)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """End it as a power failure does."""
        if self._process is not None and not self.ended:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """End it as an operator does."""
        if self._process is not None and not self.ended:
            self._process.terminate()
            await self._process.wait()

    async def close(self) -> None:
        """End it for good."""
        await self.kill()
        if self._client is not None:
            await self._client.close()
