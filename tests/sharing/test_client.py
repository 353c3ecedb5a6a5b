"""How a Redis is found and what is said of one that is not: single, under Sentinel, a Cluster, or no Redis at all."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from callbridge.sharing import client as client_module
from callbridge.sharing import line as line_module
from callbridge.sharing import share as share_module
from callbridge.sharing.client import close, connect, endable
from callbridge.sharing.ledger import keys
from callbridge.sharing.line import Away, Line
from callbridge.sharing.masters import Masters
from tests.redis_groups import PATIENCE, clustered, watched
from tests.redis_server import RedisServer, free_port, needs_redis
from tests.service import until
from tests.storekit import Daemon, Naps, make, sharing

pytestmark = needs_redis

CALLS = {str(number): make(str(number)) for number in range(20)}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as server:
        yield server


# A single one.


def test_a_connection_that_was_reset_is_a_failure_of_redis_and_not_of_callbridge() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_write_after_a_reset())


async def _write_after_a_reset() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # "PING" and whatever the client says of itself before it.
        while b"PING" not in (said := await reader.read(1000)):
            writer.write(b"+OK\r\n" * said.count(b"*"))
        writer.write(b"+PONG\r\n")
        await writer.drain()
        end = writer.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    peer = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{peer.sockets[0].getsockname()[1]}/0"
    async with peer, await connect(url, "key") as client:
        await client.ping()
        connection: Any = client.connection
        await until(lambda: connection._writer.transport.is_closing())
        with pytest.raises(RedisError):
            await client.ping()


async def test_a_question_that_is_given_up_while_it_connects_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    said, ended = b"", asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal said
        while data := await reader.read(1000):
            said += data
            writer.write(b"+OK\r\n" * data.count(b"*"))
        ended.set()
        writer.close()

    monkeypatch.setattr(line_module, "ANSWER_TIMEOUT", 0.0)
    peer = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with peer:
        client = await connect(f"redis://127.0.0.1:{peer.sockets[0].getsockname()[1]}/0", "key")
        with pytest.raises(Away):
            await Line(client, lambda _: None).ask("return 1", ("key",))
        await close(client)
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
    assert b"EVALSHA" not in said


@pytest.mark.parametrize(
    ("login", "error"),
    [("", "Authentication required"), (":wrong-secret@", "invalid username-password pair")],
    ids=["none", "wrong"],
)
async def test_a_password_that_redis_does_not_take_is_told_and_tried_again(
    server: RedisServer, login: str, error: str
) -> None:
    server.options = ("--requirepass", "right-secret")
    await server.start()
    with capture_logs() as told:
        async with sharing(server.url.replace("//", f"//{login}")) as one:
            await one.store("down", error)
            async with server.client("right-secret") as client:
                await client.config_set("requirepass", login.strip(":@"))
                await one.owns()
    assert [entry["event"] for entry in told if entry["event"].startswith("store.")][:2] == [
        "store.down",
        "store.alone",
    ]
    assert "secret" not in f"{told} {one.share!r} {one.share.status}"


async def test_the_password_of_the_url_opens_redis_and_is_never_told(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server.options = ("--requirepass", "right-secret")
    with capture_logs() as told:
        async with sharing(server.url.replace("//", "//default:right-secret@")) as one:
            await one.store("down")
            seen = [one.share.status]
            await server.start()
            await one.owns()
            await server.kill()
            one.change(make("new"))
            await one.store("down")
            seen.append(one.share.status)
    assert "right-secret" not in f"{told} {seen} {one.share!r} {caplog.text}"


async def test_a_host_that_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with sharing(f"redis://127.0.0.1:{free_port()}/0") as one:
        await one.store("down", "Connect call failed")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with sharing("redis://redis.example:6379/0") as one:
        await one.store("down", "Name or service not known")


async def test_a_socket_that_is_not_there_is_told_and_used_once_it_is(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    async with RedisServer(tmp_path, "--unixsocket", str(path)) as server, sharing(f"unix://{path}") as one:
        await one.store("down", "No such file or directory")
        await server.start()
        await one.owns()


@asynccontextmanager
async def listening(answer: bytes = b"") -> AsyncIterator[int]:
    """A peer that takes every connection, answers whatever comes with `answer`, and never closes."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while await reader.read(65536):
            writer.write(answer)

    peer = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield peer.sockets[0].getsockname()[1]
    finally:
        peer.close()
        for writer in writers:
            writer.close()


@pytest.mark.parametrize("url", ["redis://{}/0", "redis+sentinel://{}/mymaster", "redis+cluster://{}"])
async def test_a_peer_that_never_answers_is_given_up_and_tried_again(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("ANSWER_TIMEOUT", "SENTINEL_TIMEOUT"):
        monkeypatch.setattr(client_module, name, 0.01)
    naps = Naps()
    async with listening() as port, sharing(url.format(f"127.0.0.1:{port}"), sleep=naps) as one:
        await one.until(lambda: len(naps.asked) == 3)
        await one.store("down", "no sentinel can be reached" if "sentinel" in url else "Timeout")


async def test_a_peer_that_is_no_redis_is_told() -> None:
    page = b"HTTP/1.1 400 Bad Request\r\nConnection: keep-alive\r\n\r\n"
    async with listening(page) as port, sharing(f"redis://127.0.0.1:{port}/0") as one:
        await one.store("down", "rotocol")


async def test_a_redis_that_hangs_is_down_until_it_answers_again(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "ANSWER_TIMEOUT", 0.05)
    monkeypatch.setattr(share_module, "RENEW_AFTER", 0.001)
    await server.start()
    async with sharing(server.url) as one:
        await one.owns()
        server.freeze()
        await one.store("down", "Timeout")
        one.change(*CALLS.values())
        server.thaw()
        await one.owns()
        async with server.client() as client:
            await one.holds(client)


async def test_it_ends_at_once_while_redis_hangs(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Far beyond the time that ending it may take below.
    monkeypatch.setattr(client_module, "ANSWER_TIMEOUT", 1000.0)
    await server.start()
    async with asyncio.timeout(20):
        async with sharing(server.url) as one:
            await one.owns()
            server.freeze()
            # More than the kernel takes off the sender's hands.
            one.change(*[make(str(number), source_name="x" * 10_000) for number in range(500)])
            await one.until(lambda: "0 noted" in repr(one.share))


async def test_what_forgets_its_cancellation_is_cancelled_again() -> None:
    forgotten = 0

    async def forgetful() -> None:
        nonlocal forgotten
        while forgotten < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                forgotten += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(endable(forgetful()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert forgotten == 2


# Sentinel.


async def test_under_sentinel_the_master_is_used_and_after_a_failover_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_module, "RENEW_AFTER", 0.1)
    async with watched(tmp_path) as group, pair(group.url) as (one, two):
        one.change(*CALLS.values())
        await two.follows(one)
        await group.fail_over()
        one.change(make("new"))
        async with group.replica.client() as client:
            await one.holds(client)
        await one.owns()
        await two.follows(one)


async def test_a_master_that_was_failed_over_by_hand_is_left_before_it_is_a_replica(tmp_path: Path) -> None:
    async with watched(tmp_path) as group:
        masters = Masters(group.url, Naps())
        looking = asyncio.create_task(masters.run())
        old = await masters.connect("key")
        await old.ping()
        await group.fail_over()

        async def use() -> None:
            async with asyncio.timeout(PATIENCE):
                while True:
                    await old.ping()

        with pytest.raises(RedisError, match="the sentinels name another master"):
            await use()
        new = await masters.connect("key")
        assert new.connection_pool.connection_kwargs["port"] == group.replica.port
        await group.sentinel.kill()
        for _ in range(3):
            await new.ping()
        looking.cancel()
        await asyncio.wait([looking])
        for client in (old, new):
            await client.aclose()


async def test_a_sentinel_that_never_answers_leaves_time_to_ask_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "ANSWER_TIMEOUT", 1000.0)
    monkeypatch.setattr(client_module, "SENTINEL_TIMEOUT", 0.1)
    async with (
        watched(tmp_path) as group,
        listening() as silent,
        sharing(group.url.replace("://", f"://127.0.0.1:{silent},")) as one,
    ):
        await one.owns()


async def test_where_there_are_no_sentinels_there_is_no_other_master() -> None:
    await Masters("redis://127.0.0.1/0").run()


async def test_a_master_that_dies_is_replaced_and_what_it_had_lost_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_module, "RENEW_AFTER", 0.1)
    async with watched(tmp_path) as group, pair(group.url) as (one, two):
        async with group.replica.client() as client:
            # From here on its replica hears nothing of what is written.
            await client.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
        one.change(*CALLS.values())
        async with group.master.client() as client:
            await one.holds(client)
        await group.master.kill()
        await group.failed_over()
        # Nothing changes: it is missed all the same.
        await one.owns()
        await two.follows(one)
        while True:
            # Whoever is connected to the one that they have promoted is thrown out by the sentinels.
            with suppress(RedisError):
                async with group.replica.client() as client:
                    await one.holds(client)
                    break


async def test_sentinels_that_know_no_such_master_are_told_of(tmp_path: Path) -> None:
    async with watched(tmp_path) as group, sharing(group.url.replace("mymaster", "another")) as one:
        await one.store("down", "no sentinel can be reached that knows a master 'another'")


# Cluster.


async def test_in_a_cluster_each_switch_is_where_its_slot_is(tmp_path: Path) -> None:
    async with clustered(tmp_path) as nodes:
        # The first one is never there.
        url = f"redis+cluster://127.0.0.1:1,127.0.0.1:{nodes[1].port}"
        holders = set()
        for name in ("a", "b", "c", "pbx"):
            client = await connect(url, keys("callbridge", name)[0])
            holders.add(client.connection_pool.connection_kwargs["port"])
            await client.set(keys("callbridge", name)[0], "anybody")
            await client.delete(keys("callbridge", name)[0])
            await client.aclose()
        assert len(holders) > 1
        async with sharing(url, name="one") as one, sharing(url, name="two") as two:
            first, second = (one, two) if await _owner(one, two) is one else (two, one)
            first.change(*CALLS.values())
            await second.follows(first)
            await first.stop()
            await second.owns()
            assert second.calls == CALLS


async def test_a_slot_that_moves_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share_module, "RENEW_AFTER", 0.1)
    async with clustered(tmp_path) as nodes:
        url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
        async with pair(url) as (one, two), AsyncExitStack() as stack:
            one.change(*CALLS.values())
            await two.follows(one)
            clients = [await stack.enter_async_context(node.client()) for node in nodes]
            asks: list[Callable[..., Awaitable[Any]]] = [client.execute_command for client in clients]
            ids = [(await ask("CLUSTER", "MYID")).decode() for ask in asks]
            slot = await asks[0]("CLUSTER", "KEYSLOT", keys("callbridge", "pbx")[0])
            old = next(number for number in range(3) if slot < 16384 * (number + 1) // 3)
            new = (old + 1) % 3
            # Without its keys, as a node does that takes over for one that died.
            await asks[old]("FLUSHALL")
            for ask in (asks[new], asks[old], asks[3 - old - new]):
                await ask("CLUSTER", "SETSLOT", slot, "NODE", ids[new])
            one.change(make("new"))
            await one.holds(clients[new])
            await two.follows(one)


@asynccontextmanager
async def pair(url: str) -> AsyncIterator[tuple[Daemon, Daemon]]:
    """An owner, and a reader that follows it."""
    async with sharing(url, name="one") as one, sharing(url, name="two", writes=False) as two:
        await one.owns()
        yield one, two


async def _owner(*daemons: Daemon) -> Daemon:
    await until(lambda: sum(", owner, " in repr(daemon.share) for daemon in daemons) == 1)
    return next(daemon for daemon in daemons if ", owner, " in repr(daemon.share))
