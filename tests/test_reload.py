"""SIGHUP: the configuration is read again, and nobody is disconnected who need not be."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from callbridge.simulator.server import EventSocket
from tests.daemonkit import SECRET, Pbx
from tests.http.streaming import Reader
from tests.redis_server import running as running_redis
from tests.service import TOKEN
from tests.test_cli_program import PATIENCE, Program, program

OTHER = "another token"
HASHES = {token: sha256(token.encode()).hexdigest() for token in (TOKEN, OTHER)}


class Counted:
    """A simulated switch, and how many connections it has had."""

    def __init__(self, pbx: Pbx) -> None:
        self.pbx = pbx
        self.port = 0
        self.connections = 0
        self.server: EventSocket = pbx.listen()


@asynccontextmanager
async def listening(pbx: Pbx) -> AsyncIterator[Counted]:
    counted = Counted(pbx)
    inside = counted.server

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counted.connections += 1
        to_switch = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_copy(reader, to_switch[1]), _copy(to_switch[0], writer))

    async with inside as port:
        server = await asyncio.start_server(count, "127.0.0.1", 0)
        counted.port = server.sockets[0].getsockname()[1]
        yield counted
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


class Service:
    """A callbridge that runs, its configuration, and a client that keeps its connection."""

    def __init__(self, running: Program, path: Path, url: str, client: aiohttp.ClientSession) -> None:
        self.running = running
        self.path = path
        self.url = url
        self.client = client

    async def reload(self, text: str, event: str = "daemon.reloaded") -> dict[str, Any]:
        """Have it read another configuration; gives what it logs of that."""
        self.path.write_text(text)
        self.running.process.send_signal(signal.SIGHUP)
        return await self.running.logs(event)

    async def status(self, token: str) -> int:
        """What an answer to this token begins with."""
        headers = {"Authorization": f"Bearer {token}"}
        async with self.client.get(f"{self.url}/v1/call", headers=headers) as response:
            await response.read()
            return response.status

    async def lists(self, calls: set[str], token: str = TOKEN) -> None:
        """Wait until exactly these calls are listed, as complete."""
        headers = {"Authorization": f"Bearer {token}"}
        async with asyncio.timeout(PATIENCE):
            while True:
                async with self.client.get(f"{self.url}/v1/call", headers=headers) as response:
                    body = await response.json()
                if body["complete"] and {row["call_id"] for row in body["data"]} == calls:
                    return


def written(*switches: int, tokens: tuple[str, ...] = (TOKEN,), more: str = "", **contexts: str) -> str:
    """A configuration: the switches pbx0, pbx1 and so on, on these ports."""
    text = "" if "[http]" in more else '[http]\nlisten = "127.0.0.1:0"\n'
    for number, port in enumerate(switches):
        text += f'[[switch]]\nname = "pbx{number}"\naddress = "127.0.0.1:{port}"\npassword = "{SECRET}"\n'
        if f"pbx{number}" in contexts:
            text += f'shared_contexts = ["{contexts[f"pbx{number}"]}"]\n'
    for number, token in enumerate(tokens):
        text += f'[[token]]\nname = "t{number}"\nsha256 = "{HASHES[token]}"\nscopes = ["read"]\n'
    return text + more


@asynccontextmanager
async def serving(tmp_path: Path, text: str) -> AsyncIterator[Service]:
    path = tmp_path / "callbridge.toml"
    path.write_text(text)
    async with program("run", "--config", str(path)) as running:
        url = (await running.logs("daemon.listening"))["url"]
        # One connection, which is kept.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as client:
            yield Service(running, path, url, client)
            assert await running.ends(signal.SIGTERM) == 0
    assert "Traceback" not in running.err


async def test_tokens_and_switches_come_and_go_and_connections_stay(tmp_path: Path) -> None:
    async with listening(Pbx(3)) as first, listening(Pbx(2, seed=2)) as second:
        both = first.pbx.calls | second.pbx.calls
        async with serving(tmp_path, written(first.port)) as service:
            await service.lists(first.pbx.calls)
            kept = _connections(service.client)
            assert await service.status(OTHER) == 401
            told = await service.reload(written(first.port, second.port, tokens=(TOKEN, OTHER)))
            assert (told["added"], told["removed"], told["changed"], told["tokens"]) == (["pbx1"], [], [], 2)
            await service.lists(both, OTHER)
            assert (first.connections, second.connections) == (2, 2)
            told = await service.reload(written(first.port, tokens=(OTHER,)))
            assert (told["added"], told["removed"], told["changed"]) == ([], ["pbx1"], [])
            await service.lists(first.pbx.calls, OTHER)
            assert await service.status(TOKEN) == 401
            first.pbx.call()
            await service.lists(first.pbx.calls, OTHER)
            assert first.connections == 2
            assert _connections(service.client) == kept


@pytest.mark.redis
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server on the PATH")
async def test_a_switch_that_is_removed_leaves_redis_and_one_that_stays_does_not(tmp_path: Path) -> None:
    async with (
        listening(Pbx(3)) as first,
        listening(Pbx(2, seed=2)) as second,
        running_redis(tmp_path) as redis,
        redis.client() as client,
    ):
        more = f'[store]\nurl = "{redis.url}"\n'

        async def keys() -> set[Any]:
            return {name for name in await client.keys("*") if b"{pbx" in name}

        async with serving(tmp_path, written(first.port, second.port, more=more)) as service:
            await service.lists(first.pbx.calls | second.pbx.calls)
            async with asyncio.timeout(PATIENCE):
                while await client.hlen("callbridge:{pbx1}:calls") != 2:
                    pass
            await service.reload(written(first.port, more=more))
            await service.lists(first.pbx.calls)
            left = {name for name in await keys() if b"{pbx1}" in name}
            assert left == {b"callbridge:{pbx1}:changes"}
            assert await client.pttl("callbridge:{pbx1}:changes") > 0
        # A stop takes nothing away.
        assert await client.hlen("callbridge:{pbx0}:calls") == 3


def _connections(client: aiohttp.ClientSession) -> list[Any]:
    """The own addresses of the connections that a client keeps."""
    assert isinstance(client.connector, aiohttp.TCPConnector)
    kept = [protocol.transport for kept in client.connector._conns.values() for protocol, _ in kept]
    return [transport.get_extra_info("sockname") for transport in kept if transport is not None]


async def test_a_switch_that_is_changed_alone_is_connected_anew(tmp_path: Path) -> None:
    async with listening(Pbx(3)) as first, listening(Pbx(2, seed=2)) as second:
        both = first.pbx.calls | second.pbx.calls
        async with serving(tmp_path, written(first.port, second.port)) as service:
            await service.lists(both)
            told = await service.reload(written(first.port, second.port, pbx1="public"))
            assert (told["added"], told["removed"], told["changed"]) == ([], [], ["pbx1"])
            await service.lists(both)
            assert (first.connections, second.connections) == (2, 4)


async def test_a_stream_hears_of_another_set_of_switches_and_ends_with_its_token(tmp_path: Path) -> None:
    async with (
        listening(Pbx(3)) as first,
        listening(Pbx(2, seed=2)) as second,
        serving(tmp_path, written(first.port, tokens=(TOKEN, OTHER))) as service,
        aiohttp.ClientSession() as client,
        Reader(client, f"{service.url}/v1/call/stream", TOKEN) as goes,
        Reader(client, f"{service.url}/v1/call/stream", OTHER) as stays,
    ):
        await goes.until(lambda: goes.complete)
        await stays.until(lambda: stays.complete)
        await service.reload(written(first.port, second.port, tokens=(OTHER,)))
        while not goes.ended:
            await goes.read()
        both = first.pbx.calls | second.pbx.calls
        await stays.until(lambda: set(stays.rows) == both and len(stays.states) == 2)
        await service.reload(written(first.port, tokens=(OTHER,)))
        await stays.until(lambda: set(stays.rows) == first.pbx.calls and len(stays.states) == 1)
        assert not any(told.data.get("reason") == "ended" for told in stays.events)
        assert not stays.ended


@pytest.mark.parametrize("wrong", ["[http\n", "[audit]\npath = 5\n", "[nothing]\n"])
async def test_a_configuration_that_is_wrong_changes_nothing_and_is_told_as_check_config_does(
    tmp_path: Path, wrong: str
) -> None:
    async with listening(Pbx(3)) as first, serving(tmp_path, written(first.port)) as service:
        await service.lists(first.pbx.calls)
        told = await service.reload(written(tokens=(OTHER,), more=wrong), "daemon.config_wrong")
        async with program("check-config", "--config", str(service.path)) as checking:
            assert await checking.ends() == 78
        assert checking.err == f"callbridge: {told['error']}\n"
        assert (await service.status(TOKEN), await service.status(OTHER)) == (200, 401)
        await service.lists(first.pbx.calls)
        assert first.connections == 2
        await service.reload(written(first.port, tokens=(OTHER,)))
        assert (await service.status(TOKEN), await service.status(OTHER)) == (401, 200)


async def test_what_needs_a_restart_is_said_and_the_rest_is_taken_over(tmp_path: Path) -> None:
    async with listening(Pbx(3)) as first, serving(tmp_path, written(first.port)) as service:
        more = (
            '[http]\nlisten = "127.0.0.1:1"\nreuse_port = true\ncors_origins = ["*"]\n'
            '[store]\nurl = "redis://127.0.0.1:1"\nprefix = "other"\n[log]\nlevel = "debug"\n'
        )
        told = await service.reload(written(first.port, tokens=(OTHER,), more=more), "daemon.needs_restart")
        assert told["keys"] == ["http.listen", "http.reuse_port", "store.url", "store.prefix"]
        await service.running.logs("daemon.reloaded")
        headers = {"Authorization": f"Bearer {OTHER}", "Origin": "https://crm.example"}
        async with service.client.get(f"{service.url}/v1/call", headers=headers) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == "https://crm.example"
