"""The stores against a simulated Redis: what they write, and when."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.exceptions import TimeoutError as RedisTimeout
from structlog.testing import capture_logs

from callbridge import store as store_module
from callbridge.store import BATCH, FIRST_RETRY, LAST_RETRY, LINGER, MemoryStore, RedisStore, StoreStatus
from tests.service import Clock
from tests.storekit import KEY, SAMPLE, Kept, Naps, keeping, make, plain, read


class Watched(FakeAsyncRedis):
    """A client that notes what was done, and calls `before` with what is about to be."""

    def __init__(self, server: FakeServer, before: Callable[[tuple[Any, ...]], None] = lambda _: None) -> None:
        super().__init__(server=server)
        self.sent: list[tuple[Any, ...]] = []
        self.before = before

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        self.before(args)
        answer = await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        self.sent.append(args)
        return answer

    @property
    def writes(self) -> list[tuple[Any, ...]]:
        return [command for command in self.sent if command[0] in ("HSET", "HDEL")]


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> Watched:
    return Watched(server)


async def write(kept: Kept, clock: Clock) -> None:
    """Let the store write what is noted."""

    def done() -> bool:
        clock.pass_time(LINGER)
        return repr(kept.store) == "<RedisStore up, 0 noted>"

    await kept.until(done)


async def test_a_call_is_a_field_of_json_that_any_program_reads(client: Watched) -> None:
    async with keeping(lambda: client) as kept:
        await kept.state("up")
        kept.change(SAMPLE)
        await kept.holds(client)
        assert await client.keys() == [b"callbridge:{pbx}:calls"]
        assert await client.type(KEY) == b"hash"
        assert await client.hkeys(KEY) == [SAMPLE.call_id.encode()]
        value = json.loads(await client.hget(KEY, SAMPLE.call_id) or b"")
    row = {
        "call_id": "01b7d166-b564-42ec-80a1-4ad343225934",
        "context": "test.tel4vn.com",
        "created_time": "2021-06-08 17:37:37",
        "destination": "0899123456",
        "direction": "outbound",
        "ip": "1.2.3.4",
        "source": "101",
        "state": "CS_EXECUTE",
    }
    assert {name: value[name] for name in row} == row
    assert list(value)[:8] == list(row)
    assert value["source_name"] == "Nguyễn “An”"
    assert value["recording"] is None
    assert [(leg["side"], leg["number"], leg["kind"]) for leg in value["legs"]] == [("aleg", "101", "extension")]


async def test_of_many_states_of_a_call_the_last_one_is_written_once(client: Watched) -> None:
    clock = Clock()
    async with keeping(lambda: client, clock.sleep) as kept:
        await kept.state("up")
        for number in range(1000):
            kept.change(make("a", state=f"state {number}"), make("b", destination=str(number)))
        assert repr(kept.store) == "<RedisStore up, 2 noted>"
        assert client.writes == []
        await write(kept, clock)
        await kept.holds(client, {"a": make("a", state="state 999"), "b": make("b", destination="999")})
        assert [(command[0], command[2::2]) for command in client.writes] == [("HSET", ("a", "b"))]


async def test_what_is_gone_loses_its_field_and_what_came_back_keeps_it(client: Watched) -> None:
    clock = Clock()
    async with keeping(lambda: client, clock.sleep) as kept:
        await kept.state("up")
        kept.change(make("a"), make("b"), make("c"))
        await write(kept, clock)
        await kept.holds(client)
        kept.change(gone=["a", "b"])
        kept.change(make("b", state="back"), make("d"))
        kept.change(gone=["d"])
        await write(kept, clock)
        await kept.holds(client, {"b": make("b", state="back"), "c": make("c")})


async def test_a_call_that_is_gone_and_updated_at_once_is_there(client: Watched) -> None:
    async with keeping(lambda: client) as kept:
        await kept.state("up")
        kept.store.publish("pbx", [make("a")], ["a"])
        await kept.holds(client, {"a": make("a")})


async def test_a_rewrite_leaves_the_live_calls_and_nothing_else(server: FakeServer, client: Watched) -> None:
    other_key = "callbridge:{other}:calls"
    look = FakeAsyncRedis(server=server)
    for key in (KEY, other_key):
        await look.hset(key, "of an earlier run", "{}")
        await look.hset(key, items=[b"\xff\xfe no text", b"\xff"])
    async with keeping(lambda: client) as kept:
        await kept.state("up")
        kept.change(make("a"), make("ü"))
        await kept.until(lambda: bool(client.writes))
        assert await look.hlen(KEY) == 4, "the list is not yet right, and deletes nothing"
        kept.store.rewrite("pbx")
        await kept.until(lambda: any(command[0] == "HDEL" for command in client.sent))
        await kept.holds(look)
        assert await look.hlen(other_key) == 2


async def test_a_rewrite_is_right_where_the_client_gives_text(server: FakeServer) -> None:
    text, client = FakeAsyncRedis(server=server, decode_responses=True), FakeAsyncRedis(server=server)
    await client.hset(KEY, "of an earlier run", "{}")
    async with keeping(lambda: text) as kept:
        kept.live["ü"] = make("ü")
        kept.store.rewrite("pbx")
        await kept.state("up")
        await kept.holds(client)


async def test_more_calls_than_a_batch_go_in_several_commands(client: Watched) -> None:
    ids = [str(number) for number in range(2 * BATCH + 1)]
    clock = Clock()
    async with keeping(lambda: client, clock.sleep) as kept:
        await kept.state("up")
        kept.change(*map(make, ids))
        await write(kept, clock)
        await kept.holds(client)
        kept.change(gone=ids[1:])
        await write(kept, clock)
        await kept.holds(client, {"0": make("0")})
    sizes = [(name, len(fields)) for name, _, *fields in client.writes]
    assert sizes == [("HSET", 2 * BATCH), ("HSET", 2 * BATCH), ("HSET", 2), ("HDEL", BATCH), ("HDEL", BATCH)]


async def test_a_change_during_a_rewrite_is_written_after_it(server: FakeServer) -> None:
    def in_between(command: tuple[Any, ...]) -> None:
        if command[0] == "HKEYS" and "a" in kept.live:
            kept.change(make("b", state="newer"), make("new"), gone=["a"])

    client = Watched(server, in_between)
    async with keeping(lambda: client) as kept:
        kept.live |= {"a": make("a"), "b": make("b")}
        kept.store.rewrite("pbx")
        await kept.holds(client, {"b": make("b", state="newer"), "new": make("new")})


async def test_each_switch_has_a_hash_of_its_own(client: Watched) -> None:
    async with keeping(lambda: client) as kept:
        await kept.state("up")
        kept.store.publish("pbx", [make("a")], [])
        kept.store.publish("pbx-2.example", [make("b", switch="pbx-2.example")], [])
        await kept.until(lambda: len(client.writes) == 2)
        await kept.holds(client, {"a": make("a")})
        there = await read(client, "callbridge:{pbx-2.example}:calls")
        assert there == plain({"b": make("b", switch="pbx-2.example")})


async def test_while_redis_is_away_nothing_is_noted(server: FakeServer, client: Watched) -> None:
    server.connected = False
    clock = Clock()
    async with keeping(lambda: Watched(server), clock.sleep) as kept:
        kept.change(*[make(str(number)) for number in range(1000)])
        assert repr(kept.store) == "<RedisStore down, 0 noted>"
        await kept.state("down", "emulating a connection error")
        kept.store.rewrite("pbx")
        kept.change(make("0", state="newer"), gone=["1"])
        assert repr(kept.store) == "<RedisStore down, 0 noted>"
        server.connected = True
        clock.pass_time(LAST_RETRY)
        await kept.state("up")
        await kept.holds(client)


async def test_what_was_noted_when_redis_went_away_is_dropped_and_then_written(
    server: FakeServer, client: Watched
) -> None:
    clock = Clock()
    async with keeping(lambda: Watched(server), clock.sleep) as kept:
        kept.store.rewrite("pbx")
        await kept.state("up")
        server.connected = False
        kept.change(make("a"), make("b"))
        assert repr(kept.store) == "<RedisStore up, 2 noted>"

        def away() -> bool:
            clock.pass_time(LINGER)
            return repr(kept.store) == "<RedisStore down, 0 noted>"

        await kept.until(away)
        server.connected = True
        clock.pass_time(LAST_RETRY)
        await kept.state("up")
        await kept.holds(client)


async def test_a_list_that_is_not_yet_right_is_not_written_as_a_whole(server: FakeServer, client: Watched) -> None:
    async with keeping(lambda: client) as kept:
        kept.live["a"] = make("a")
        await client.hset(KEY, "of an earlier run", "{}")
        await kept.state("up")
        assert client.writes == [("HSET", KEY, "of an earlier run", "{}")]
        kept.store.rewrite("pbx")
        await kept.holds(client)


async def test_it_tries_again_ever_more_slowly_and_quickly_after_a_success(server: FakeServer) -> None:
    naps = Naps()
    server.connected = False
    async with keeping(lambda: FakeAsyncRedis(server=server), naps) as kept:
        await kept.until(lambda: len(naps.asked) == 20)
        doubling = [min(LAST_RETRY, FIRST_RETRY * 2**number) for number in range(20)]
        assert all(most / 2 <= asked <= most for asked, most in zip(naps.asked, doubling, strict=True))
        server.connected = True
        await kept.state("up")
        server.connected = False
        naps.asked.clear()
        kept.change(make("a"))
        await kept.until(lambda: len(naps.asked) == 2)
        assert naps.asked[0] == LINGER
        assert naps.asked[1] <= FIRST_RETRY


async def test_a_redis_that_vanishes_while_nothing_changes_is_missed(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "PING_AFTER", 0.001)
    async with keeping(lambda: FakeAsyncRedis(server=server)) as kept:
        await kept.state("up")
        server.connected = False
        await kept.state("down")
        server.connected = True
        await kept.state("up")


async def test_a_client_that_fails_to_close_ends_nothing(server: FakeServer) -> None:
    class Clinging(FakeAsyncRedis):
        async def aclose(self, close_connection_pool: bool | None = None) -> None:
            await super().aclose(close_connection_pool)
            raise RedisTimeout("Timed out closing connection")

    server.connected = False
    async with keeping(lambda: Clinging(server=server)) as kept:
        await kept.state("down", "emulating")
        server.connected = True
        await kept.state("up")


async def test_the_log_tells_each_change_once_however_often_it_is_tried(server: FakeServer) -> None:
    naps = Naps()
    server.connected = False
    with capture_logs() as told:
        async with keeping(lambda: FakeAsyncRedis(server=server), naps) as kept:
            await kept.until(lambda: len(naps.asked) == 10)
            server.connected = True
            await kept.state("up")
    error = "FakeRedis is emulating a connection error."
    assert told == [
        {"event": "store.down", "log_level": "warning", "error": error},
        {"event": "store.up", "log_level": "info", "error": None},
    ]


async def test_a_failure_of_callbridge_ends_the_store(server: FakeServer) -> None:
    def fail(switch: str) -> list[Any]:
        raise KeyError(switch)

    store = RedisStore(lambda: FakeAsyncRedis(server=server), "callbridge", fail)
    assert store.status == StoreStatus("down", "not connected yet")
    store.rewrite("pbx")
    with pytest.raises(KeyError, match="pbx"):
        await store.run()


@pytest.mark.parametrize("error", [None, RedisTimeout("Timeout reading")], ids=["answered", "failed"])
async def test_it_ends_even_where_the_client_forgets_that_it_was_cancelled(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, error: RedisTimeout | None
) -> None:
    monkeypatch.setattr(store_module, "PING_AFTER", 0.0)
    waiting, never = asyncio.Event(), asyncio.Event()

    class Forgetful(Watched):
        async def execute_command(self, *args: Any, **options: Any) -> Any:
            if self.sent and args[0] == "PING" and not waiting.is_set():
                waiting.set()
                with suppress(asyncio.CancelledError):
                    await never.wait()
                if error is not None:
                    raise error
            return await super().execute_command(*args, **options)

    async with keeping(lambda: Forgetful(server)) as kept, asyncio.timeout(20):
        await waiting.wait()
        assert kept.running is not None
        kept.running.cancel()
        await asyncio.wait([kept.running])
        assert kept.running.cancelled()


async def test_the_embedded_store_keeps_nothing_and_runs_on() -> None:
    store = MemoryStore()
    running = asyncio.create_task(store.run())
    store.publish("pbx", [SAMPLE], ["gone"])
    store.rewrite("pbx")
    await asyncio.sleep(0)
    assert not running.done()
    assert store.status == StoreStatus("embedded")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
