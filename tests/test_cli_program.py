"""The program that users start, as a process of its own: what it prints, the signals that end it, its exit code."""

import asyncio
import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from callbridge import cli
from tests.daemonkit import SECRET, Pbx
from tests.redis_server import free_port
from tests.service import TOKEN

PATIENCE: Final = 60.0
"""Seconds that a start or an end may take on the slowest machine; each takes about half a second."""

RECORDING = Path(__file__).parent / "recordings" / "local_answered.esl.xz"
SIGNALS = [signal.SIGINT, signal.SIGTERM]


class Program:
    """A callbridge that runs. All that it has printed so far is in `out` and `err`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out = ""
        self.err = ""

    async def prints(self, words: str) -> str:
        """Wait for a line with these words on stdout; gives it."""
        return await self._until(words, "out")

    async def logs(self, event: str) -> dict[str, Any]:
        """Wait for a record of that event on stderr; gives it."""
        record: dict[str, Any] = json.loads(await self._until(f'"event": "{event}"', "err"))
        return record

    async def _until(self, words: str, name: str) -> str:
        stream = self.process.stdout if name == "out" else self.process.stderr
        assert stream is not None
        async with asyncio.timeout(PATIENCE):
            while line := (await stream.readline()).decode():
                setattr(self, name, getattr(self, name) + line)
                if words in line:
                    return line
        raise AssertionError(f"it ended without {words!r}; it said {self.out + self.err}")

    async def ends(self, number: signal.Signals | None = None) -> int:
        """Send the signal, if one is given, and wait for the exit code."""
        if number is not None:
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            out, err = await self.process.communicate()
        self.out += out.decode()
        self.err += err.decode()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def program(*arguments: str, **environment: str) -> AsyncIterator[Program]:
    """A callbridge with these arguments, which does not outlive the test."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CALLBRIDGE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "callbridge.cli", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=own | environment,
    )
    running = Program(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await running.ends()


def written(tmp_path: Path, port: int) -> str:
    """A configuration for a switch on that port, with the token of the tests."""
    path = tmp_path / "callbridge.toml"
    path.write_text(f"""
http = {{ listen = "127.0.0.1:0" }}
switch = [{{ name = "pbx", address = "127.0.0.1:{port}", password = "{SECRET}" }}]
token = [{{ name = "all", sha256 = "{sha256(TOKEN.encode()).hexdigest()}", scopes = ["read"] }}]
""")
    return str(path)


@pytest.mark.parametrize("number", SIGNALS)
async def test_run_serves_the_calls_of_a_switch_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    pbx = Pbx(3)
    async with pbx.listen() as port, program("run", "--config", written(tmp_path, port)) as running:
        url = (await running.logs("daemon.listening"))["url"]
        assert (await running.logs("switch.live"))["calls"] == 3
        # A client that stays connected is no reason to stay.
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            async with client.get(f"{url}/v1/call") as response:
                assert {row["call_id"] for row in (await response.json())["data"]} == pbx.calls
            assert await running.ends(number) == cli.OK
    assert running.out == ""
    assert all(json.loads(line)["event"] != "callbridge.failed" for line in running.err.splitlines())
    assert running.err.count("daemon.stopping") == 1
    assert SECRET not in running.err
    assert TOKEN not in running.err


async def test_run_ends_while_its_switch_is_away(tmp_path: Path) -> None:
    async with program("run", "--config", written(tmp_path, free_port())) as running:
        await running.logs("switch.down")
        assert await running.ends(signal.SIGTERM) == cli.OK
    assert "Traceback" not in running.err


@pytest.mark.parametrize("number", SIGNALS)
async def test_the_demo_prints_a_request_that_gives_live_calls(number: signal.Signals) -> None:
    # Not every terminal can show every character.
    async with program("demo", "--listen", "127.0.0.1:0", "--live", "5", PYTHONIOENCODING="ascii") as running:
        words = shlex.split(await running.prints("curl "))
        await running.prints("Ctrl-C")
        url, (name, token) = words[-1], words[words.index("-H") + 1].split(": ")
        assert f"  {url}\n" in running.out
        async with aiohttp.ClientSession(headers={name: token}) as client, asyncio.timeout(PATIENCE):
            body: dict[str, Any] = {"complete": False}
            while not body["complete"]:
                async with client.get(url) as response:
                    body = await response.json()
        assert body["total"] == len(body["data"]) >= 5
        if shutil.which("curl") is not None:
            curl = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
            out, _ = await curl.communicate()
            assert json.loads(out)["total"] >= 5
        assert await running.ends(number) == cli.OK
    assert running.err == ""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("more", [["--live", "3"], ["--replay", str(RECORDING)]], ids=["traffic", "replay"])
async def test_simulate_is_an_event_socket_until_a_signal(number: signal.Signals, more: list[str]) -> None:
    async with program("simulate", "--listen", "127.0.0.1:0", *more) as running:
        host, _, port = (await running.logs("simulator.listening"))["address"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.readuntil(b"\n\n") == b"Content-Type: auth/request\n\n"
        assert await running.ends(number) == cli.OK
        # Told so or not, whoever is connected sees the end.
        await reader.read()
        writer.close()
    assert running.out == ""
    assert "Traceback" not in running.err
    assert "callbridge.failed" not in running.err


async def test_simulate_refuses_everybody_where_it_is_told_to() -> None:
    for more in ([], ["--replay", str(RECORDING)]):
        async with program("simulate", "--listen", "127.0.0.1:0", "--refuse", *more) as running:
            host, _, port = (await running.logs("simulator.listening"))["address"].rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            assert (await reader.read()).startswith(b"Content-Type: text/rude-rejection\n")
            writer.close()
            assert await running.ends(signal.SIGTERM) == cli.OK


async def test_a_wrong_configuration_ends_with_the_exit_code_that_systemd_knows(tmp_path: Path) -> None:
    path = Path(written(tmp_path, 0))
    async with program("run", "--config", str(path)) as running:
        assert await running.ends() == cli.WRONG_CONFIG == 78
    assert running.out == ""
    assert running.err.startswith(f"callbridge: {path}:3: switch[0].address: port 0 is no port")
    assert running.err.count("\n") == 1


async def test_no_arguments_are_a_question_how_it_is_used() -> None:
    async with program() as running:
        assert await running.ends() == 2
    assert running.err.startswith("usage: callbridge ")
