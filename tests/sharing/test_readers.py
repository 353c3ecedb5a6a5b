"""Several `callbridge run --role reader` behind one port, as processes: asked, stopped and started anew under load."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from tests.daemonkit import Pbx
from tests.http.streaming import Reader
from tests.redis_server import free_port, needs_redis
from tests.service import TOKEN
from tests.sharing.test_daemons import Running, Site, site
from tests.test_cli_program import program

pytestmark = needs_redis

CLIENTS = 32
"""Connections: that all of them go to one of two processes is a chance of one in two thousand million."""

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
REQUEST = f"GET /v1/call HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"


@asynccontextmanager
async def writer_and(readers: int, folder: Path, pbx: Pbx) -> AsyncIterator[tuple[Site, list[Running]]]:
    """A writer, and so many readers on one port that list its calls."""
    http = f'listen = "127.0.0.1:{free_port()}", reuse_port = true'
    async with site(folder, pbx, http) as here, program("run", "--role", "writer", "--config", str(here.config)) as one:
        await one.logs("switch.live")
        yield here, [await here.start("reader") for _ in range(readers)]


@asynccontextmanager
async def sessions(count: int) -> AsyncIterator[list[aiohttp.ClientSession]]:
    """Clients, each with a connection of its own that it keeps."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(aiohttp.ClientSession(headers=HEADERS)) for _ in range(count)]


async def listed(session: aiohttp.ClientSession, url: str) -> set[str]:
    """The calls of a list that is right in everything else."""
    async with session.get(f"{url}/v1/call") as response:
        assert response.status == 200
        body = await response.json()
    assert body["complete"]
    assert body["total"] == len(body["data"])
    return {row["call_id"] for row in body["data"]}


def descriptors(running: Running) -> int:
    return len(list(Path(f"/proc/{running.pid}/fd").iterdir()))


async def test_any_of_them_answers_everything(tmp_path: Path) -> None:
    pbx = Pbx(CLIENTS)
    async with writer_and(2, tmp_path, pbx) as (_, readers), sessions(CLIENTS) as clients:
        url = readers[0].url
        before = [descriptors(reader) for reader in readers]
        for client, call in zip(clients, sorted(pbx.calls), strict=True):
            assert await listed(client, url) == pbx.calls
            async with client.post(f"{url}/v1/call/{call}/hold", json={}) as response:
                assert await response.json() == {"status": "success", "call_id": call}
            async with client.get(f"{url}/v1/switch") as response:
                assert [row["state"] for row in (await response.json())["data"]] == ["live"]
        grown = [descriptors(reader) - known for reader, known in zip(readers, before, strict=True)]
        assert sum(grown) == CLIENTS
        assert min(grown) > 0
        tags = []
        for client in clients:
            async with client.get(f"{url}/v1/call") as response:
                tags.append(response.headers["ETag"])
            async with client.get(f"{url}/v1/call", headers={"If-None-Match": tags[-1]}) as response:
                assert response.status == 304
        # The tag says what the list holds, whichever process is asked.
        assert len(set(tags)) == 1
        waiting = [
            asyncio.ensure_future(client.get(f"{url}/v1/call?wait=60", headers={"If-None-Match": tag}))
            for client, tag in zip(clients, tags, strict=True)
        ]
        call = pbx.call()
        for answer in waiting:
            async with await answer as response:
                assert response.status == 200
        for client in clients:
            while call not in await listed(client, url):
                pass


async def test_streams_go_on_at_another_one(tmp_path: Path) -> None:
    pbx = Pbx(3)
    async with writer_and(2, tmp_path, pbx) as (_, readers), sessions(1) as (client,):
        streams = [Reader(client, f"{readers[0].url}/v1/call/stream", TOKEN) for _ in range(CLIENTS)]
        for stream in streams:
            await stream.connect()
            await stream.next("switch")
        pbx.call()
        readers[0].send(signal.SIGTERM)
        assert await readers[0].process.ends() == 0
        pbx.hang_up(min(pbx.calls))
        pbx.call()
        for stream in streams:
            while set(stream.rows) != pbx.calls:
                with suppress(aiohttp.ClientError):
                    await stream.read()
                if stream.ended:
                    await stream.connect()
            # Told of what they had missed, and not begun anew.
            assert stream.snapshots == 1
            stream.cut()


async def test_a_rolling_restart_answers_all_and_rightly(tmp_path: Path) -> None:
    pbx = Pbx(100)
    async with writer_and(2, tmp_path, pbx) as (here, readers):
        answered, done = 0, asyncio.Event()

        async def ask(*, anew: bool) -> None:
            nonlocal answered
            while not done.is_set():
                async with aiohttp.ClientSession(headers=HEADERS) as client:
                    for _ in range(1 if anew else 1_000_000):
                        # The few microseconds between the last look into its queue and the end of a socket.
                        with suppress(aiohttp.ClientConnectionError):
                            assert await listed(client, readers[0].url) == pbx.calls
                            answered += 1
                        if done.is_set():
                            break

        async with asyncio.TaskGroup() as tasks:
            for number in range(8):
                tasks.create_task(ask(anew=number % 2 == 0))
            for reader in readers:
                before = answered
                reader.send(signal.SIGTERM)
                assert await reader.process.ends() == 0
                await here.start("reader")
                assert answered > before
            done.set()


async def test_who_waits_in_the_queue_of_one_that_stops_is_answered(tmp_path: Path) -> None:
    pbx = Pbx(3)
    async with writer_and(1, tmp_path, pbx) as (_, (reader,)):
        address = ("127.0.0.1", int(reader.url.rpartition(":")[2]))
        reader.send(signal.SIGSTOP)
        waiting = [await asyncio.open_connection(*address) for _ in range(CLIENTS)]
        for _, writer in waiting:
            writer.write(REQUEST.encode())
        reader.send(signal.SIGTERM)
        reader.send(signal.SIGCONT)
        for stream, writer in waiting:
            assert (await stream.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
        assert await reader.process.ends() == 0
