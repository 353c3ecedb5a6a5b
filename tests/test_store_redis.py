"""The store against a real Redis: away, restarted, refusing, full, frozen, or no Redis at all."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from callbridge import store as store_module
from callbridge.store import BATCH, LINGER, connect_to
from tests.redis_server import RedisServer, free_port, needs_redis
from tests.service import until
from tests.storekit import KEY, Kept, Naps, keeping, make

pytestmark = needs_redis

CALLS = {str(number): make(str(number)) for number in range(20)}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as server:
        yield server


@asynccontextmanager
async def in_sync(url: str, sleep: Callable[[float], Awaitable[None]] | None = None) -> AsyncIterator[Kept]:
    """A store whose switch is in sync and has 20 calls."""
    async with keeping(lambda: connect_to(url), sleep) as kept:
        kept.live |= CALLS
        kept.store.rewrite("pbx")
        yield kept


class Gate:
    """A sleep that lasts until it is opened, before each new attempt; before a write it takes no time."""

    def __init__(self) -> None:
        self.failures = 0
        self._open = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        if seconds == LINGER:
            await asyncio.sleep(0)
            return
        self.failures += 1
        await self._open.wait()
        self._open.clear()

    def open(self) -> None:
        """Let the store try once more."""
        self._open.set()


async def test_a_redis_that_appears_later_catches_up(server: RedisServer) -> None:
    naps = Naps()
    async with in_sync(server.url, naps) as kept:
        await kept.until(lambda: len(naps.asked) == 3)
        await kept.state("down", "Connect call failed")
        kept.change(make("0", state="newer"), make("new"), gone=["1"])
        assert repr(kept.store) == "<RedisStore down, 0 noted>"
        await server.start()
        await kept.state("up")
        async with server.client() as client:
            await kept.holds(client)
            kept.change(gone=["2"])
            await kept.holds(client)


async def test_what_a_restarted_redis_has_lost_is_written_again_with_the_next_change(server: RedisServer) -> None:
    await server.start()
    async with in_sync(server.url) as kept:
        await kept.state("up")
        await server.kill()
        await server.start()
        # Nothing has been sent in between: it is the broken connection that must tell.
        kept.change(make("new"))
        async with server.client() as client:
            await kept.holds(client)
        await kept.state("up")


async def test_what_a_restarted_redis_has_lost_is_written_again_while_nothing_changes(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "PING_AFTER", 0.001)
    await server.start()
    async with in_sync(server.url) as kept:
        await kept.state("up")
        await server.kill()
        await kept.state("down")
        await server.start()
        async with server.client() as client:
            await kept.holds(client)


async def test_calls_are_written_by_the_batch(server: RedisServer) -> None:
    await server.start()
    async with keeping(lambda: connect_to(server.url)) as kept, server.client() as client:
        kept.live |= {call_id: make(call_id) for call_id in map(str, range(2 * BATCH + 1))}
        kept.store.rewrite("pbx")
        await kept.holds(client)
        statistics = await client.info("commandstats")
    assert statistics["cmdstat_hset"]["calls"] == 3


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
    naps = Naps()
    with capture_logs() as told:
        async with in_sync(server.url.replace("//", f"//{login}"), naps) as kept:
            await kept.until(lambda: len(naps.asked) == 3)
            await kept.state("down", error)
            async with server.client("right-secret") as client:
                await client.config_set("requirepass", login.strip(":@"))
                await kept.state("up")
                await kept.holds(client)
    assert [entry["event"] for entry in told] == ["store.down", "store.up"]
    assert "secret" not in f"{told} {kept.store!r} {kept.store.status}"


async def test_the_password_of_the_url_opens_redis_and_is_never_told(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server.options = ("--requirepass", "right-secret")
    url = server.url.replace("//", "//default:right-secret@")
    naps = Naps()
    with capture_logs() as told:
        async with in_sync(url, naps) as kept:
            await kept.until(lambda: len(naps.asked) == 2)
            seen = [kept.store.status]
            await server.start()
            await kept.state("up")
            async with server.client("right-secret") as client:
                await kept.holds(client)
            await server.kill()
            kept.change(make("new"))
            await kept.state("down")
            seen.append(kept.store.status)
    assert len(told) == 3
    assert "right-secret" not in f"{told} {seen} {kept.store!r} {caplog.text}"


@pytest.mark.parametrize(
    ("refuse", "error", "lift"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), "read only replica", ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "maxmemory", "1"), "when used memory > 'maxmemory'", ("CONFIG", "SET", "maxmemory", "0")),
        (("SET", KEY, "a string"), "wrong kind of value", ("DEL", KEY)),
        (("ACL", "SETUSER", "default", "-hset"), "no permissions", ("ACL", "SETUSER", "default", "+hset")),
    ],
    ids=["replica", "full", "another's key", "not allowed"],
)
async def test_a_redis_that_refuses_to_be_written_is_down_until_it_takes_it(
    server: RedisServer, refuse: tuple[str, ...], error: str, lift: tuple[str, ...]
) -> None:
    await server.start()
    gate = Gate()
    async with server.client() as client, in_sync(server.url, gate) as kept:
        await kept.holds(client)
        await client.delete(KEY)
        await client.execute_command(*refuse)  # type: ignore[no-untyped-call]
        kept.change(make("new", source_name="Somebody"))
        for attempt in range(1, 4):
            await kept.until(lambda number=attempt: gate.failures == number)  # type: ignore[misc]
            assert kept.store.status.state == "down"
            assert error in (kept.store.status.error or "")
            assert "Somebody" not in (kept.store.status.error or ""), "a reason tells nothing of a call"
            kept.change(*[make(str(number), state=f"state {attempt}") for number in range(1000)])
            assert repr(kept.store) == "<RedisStore down, 0 noted>"
            if attempt == 3:
                await client.execute_command(*lift)  # type: ignore[no-untyped-call]
            gate.open()
        await kept.state("up")
        await kept.holds(client)


async def test_a_host_that_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with in_sync(f"redis://127.0.0.1:{free_port()}/0") as kept:
        await kept.state("down", "Connect call failed")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with in_sync("redis://redis.example:6379/0") as kept:
        await kept.state("down", "Name or service not known")


async def test_a_socket_that_is_not_there_is_told_and_used_once_it_is(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    async with RedisServer(tmp_path, "--unixsocket", str(path)) as server, in_sync(f"unix://{path}") as kept:
        await kept.state("down", "No such file or directory")
        await server.start()
        async with server.client() as client:
            await kept.holds(client)


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


async def test_a_peer_that_never_answers_is_given_up_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "ANSWER_TIMEOUT", 0.01)
    naps = Naps()
    async with listening() as port, in_sync(f"redis://127.0.0.1:{port}/0", naps) as kept:
        kept.change(make("new"))
        await kept.until(lambda: len(naps.asked) == 3)
        await kept.state("down", "Timeout")
        assert repr(kept.store) == "<RedisStore down, 0 noted>"


async def test_a_peer_that_is_no_redis_is_told() -> None:
    naps = Naps()
    page = b"HTTP/1.1 400 Bad Request\r\nConnection: keep-alive\r\n\r\n"
    async with listening(page) as port, in_sync(f"redis://127.0.0.1:{port}/0", naps) as kept:
        await kept.until(lambda: len(naps.asked) == 3)
        await kept.state("down", "rotocol")


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
    async with peer, connect_to(url) as client:
        await client.ping()
        connection: Any = client.connection
        await until(lambda: connection._writer.transport.is_closing())
        with pytest.raises(RedisError):
            await client.ping()


async def test_whoever_publishes_never_waits_for_a_redis_that_hangs(server: RedisServer) -> None:
    await server.start()
    async with in_sync(server.url) as kept, server.client() as client:
        await kept.holds(client)
        server.freeze()
        kept.change(make("new"))
        await kept.until(lambda: repr(kept.store) == "<RedisStore up, 0 noted>")
        # That one is on its way. What comes meanwhile is noted, of each call the last.
        for number in range(1000):
            kept.change(make("0", state=f"state {number}"), make("1", state=f"state {number}"))
        assert repr(kept.store) == "<RedisStore up, 2 noted>"
        server.thaw()
        await kept.holds(client)


async def test_a_redis_that_hangs_is_down_until_it_answers_again(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.start()
    async with in_sync(server.url) as kept, server.client() as client:
        await kept.holds(client)
        monkeypatch.setattr(store_module, "ANSWER_TIMEOUT", 0.01)
        monkeypatch.setattr(store_module, "PING_AFTER", 0.001)
        async with in_sync(server.url) as hasty:
            await hasty.state("up")
            server.freeze()
            await hasty.state("down", "Timeout")
            server.thaw()
            await hasty.state("up")
            hasty.change(make("new"))
            await hasty.holds(client)


async def test_it_ends_at_once_while_redis_hangs(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Far beyond the time that ending it may take below.
    monkeypatch.setattr(store_module, "ANSWER_TIMEOUT", 1000.0)
    await server.start()
    async with asyncio.timeout(20):
        async with in_sync(server.url) as kept:
            await kept.state("up")
            server.freeze()
            # More than the kernel takes off the sender's hands.
            kept.change(*[make(str(number), source_name="x" * 10_000) for number in range(2000)])
            await kept.until(lambda: repr(kept.store) == "<RedisStore up, 0 noted>")
