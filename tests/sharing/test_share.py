"""Daemons that share a switch over a real Redis: one owns it, the others follow, and another takes over."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from callbridge.records import Ended
from callbridge.sharing import noted as noted_module
from callbridge.sharing import share as share_module
from callbridge.sharing.client import connect
from callbridge.sharing.follower import NOBODY
from callbridge.sharing.ledger import Ledger
from callbridge.sharing.share import BATCH, FIRST_RETRY, LAST_RETRY, LEASE, LINGER
from tests.redis_server import RedisServer, needs_redis
from tests.service import Clock, until
from tests.storekit import CHANGES, HEAD, KEY, OWNER, SAMPLE, Daemon, Naps, make, read, sharing

pytestmark = needs_redis

CALLS = {str(number): make(str(number)) for number in range(20)}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that are looked after all the time, and last for half a second."""
    monkeypatch.setattr(share_module, "LEASE", 0.5)
    monkeypatch.setattr(share_module, "RENEW_AFTER", 0.05)
    monkeypatch.setattr(share_module, "LOOK_AFTER", 0.02)


# The owner writes.


async def test_the_owner_writes_the_last_state_of_what_changes(server: RedisServer, client: "Redis") -> None:
    async with sharing(server.url) as one:
        await one.owns()
        one.change(SAMPLE, make("a"), make("b"))
        await one.holds(client)
        for number in range(1000):
            one.change(make("a", state=f"state {number}"))
        one.change(gone=["b"])
        assert repr(one.share) == "<Share pbx up, owner, 2 noted>"
        await one.holds(client)
        assert set(await client.keys()) == {key.encode() for key in (KEY, OWNER, HEAD, CHANGES)}
        assert await client.ttl(KEY) == -1
        assert str(await client.get(OWNER)).endswith(" one'")


async def test_whoever_becomes_the_owner_takes_over_the_calls_that_are_there(
    server: RedisServer, client: "Redis"
) -> None:
    async with sharing(server.url) as one:
        await one.owns()
        one.change(*CALLS.values())
        await one.holds(client)
    assert await client.get(OWNER) is None
    await client.hset(KEY, "of somebody else", "{}")
    async with sharing(server.url, "two") as two:
        await two.owns()
        assert two.calls == CALLS
        await two.holds(client, CALLS)


async def test_a_lease_that_was_got_is_held_although_redis_went_before_it_was_of_use(
    server: RedisServer, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, failures = Ledger.snapshot, 0

    async def fail_once(ledger: Ledger) -> Any:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise RedisConnectionError("Connection closed by server.")
        return await snapshot(ledger)

    monkeypatch.setattr(Ledger, "snapshot", fail_once)
    async with sharing(server.url) as one:
        await one.owns()
        assert failures == 2
        assert (await client.get(OWNER) or b"").startswith(one.status.run.encode())  # type: ignore[arg-type]


async def test_more_calls_than_a_batch_go_in_several_writes(server: RedisServer, client: "Redis") -> None:
    ids = [str(number) for number in range(2 * BATCH + 1)]
    async with sharing(server.url) as one, sharing(server.url, "two", writes=False) as two:
        await one.owns()
        one.change(*map(make, ids))
        await one.holds(client)
        await two.follows(one)
        one.change(gone=ids[1:])
        await one.holds(client)
        await two.follows(one)


async def test_too_many_changes_are_not_kept_but_everything_is_written(
    server: RedisServer, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noted_module, "MAX_NOTED", 100)
    async with sharing(server.url) as one, sharing(server.url, "two", writes=False) as two:
        await one.owns()
        for number in range(1000):
            one.change(make(str(number)))
        assert len(one.share._noted) <= 100
        await one.holds(client)
        await two.follows(one)


# Others follow it.


async def test_everyone_shows_what_the_owner_shows_with_its_run_and_count(server: RedisServer) -> None:
    async with sharing(server.url) as one:
        await one.owns()
        one.change(*CALLS.values())
        async with sharing(server.url, "two") as two, sharing(server.url, "three", writes=False) as three:
            for other in (two, three):
                await other.follows(one)
            one.change(make("0", state="newer"), make("new"), gone=["1"], ended=[_ended("1")])
            one.change(gone=["2"], ended=[_ended("2")])
            one.status.corrections["gone"] = 3
            for other in (two, three):
                await other.follows(one)
                assert not other.source.leading
                assert other.mirror.find_ended("1", None, other.clock()) == _ended("1")
            one.status.state, one.status.error = "stale", "the switch is shutting down"
            one.share.touch()
            for other in (two, three):
                await other.follows(one)
                assert (other.status.error, other.status.corrections["gone"]) == ("the switch is shutting down", 3)


@pytest.mark.parametrize("loss", ["trimmed", "deleted", "another's"])
async def test_who_has_missed_something_of_the_stream_reads_everything(
    server: RedisServer, client: "Redis", loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    changes = Ledger.changes

    async def late(ledger: Ledger, after: str, block_ms: int) -> Any:
        if reached.is_set():
            await go_on.wait()
        return await changes(ledger, after, block_ms)

    async with sharing(server.url) as one, sharing(server.url, "two", writes=False) as two:
        await one.owns()
        await two.follows(one)
        monkeypatch.setattr(Ledger, "changes", late)
        reached.set()
        one.change(make("first"))
        await two.follows(one)
        one.change(make("second"))
        await one.holds(client)
        if loss == "trimmed":
            await client.xtrim(CHANGES, maxlen=0, approximate=False)
        elif loss == "deleted":
            await client.delete(CHANGES)
        else:
            await client.xadd(CHANGES, {"not": "ours"})
        one.change(make("third"))
        await one.holds(client)
        go_on.set()
        await two.follows(one)
        assert set(two.calls) == {"first", "second", "third"}


# Another takes over.


async def test_when_the_owner_stops_another_takes_over_at_once(server: RedisServer, client: "Redis") -> None:
    async with sharing(server.url) as one:
        await one.owns()
        one.change(*CALLS.values())
        async with sharing(server.url, "two") as two, sharing(server.url, "reader", writes=False) as reader:
            await two.follows(one)
            run = one.status.run
            await one.stop()
            # The lease is long, and nobody has waited for its end.
            await two.owns()
            assert two.calls == CALLS
            assert int(two.status.run) > int(run)
            two.change(make("new"))
            await reader.follows(two)
            await two.holds(client)


@pytest.mark.usefixtures("short")
async def test_when_the_owner_removes_the_switch_another_takes_over_with_the_same_calls(
    server: RedisServer, client: "Redis"
) -> None:
    async with sharing(server.url, name="one") as one:
        await one.owns()
        one.change(*[make(call) for call in "abc"])
        async with sharing(server.url, name="two") as two, sharing(server.url, name="three", writes=False) as three:
            for other in (two, three):
                await other.follows(one)
            gone: list[str] = []
            for other in (two, three):
                other.mirror.subscribe(lambda _, updated, left, ended: gone.extend(left))
            one.share.remove()
            await one.stop()
            await two.owns()
            await three.follows(two)
            assert set(three.calls) == set("abc")
            assert not gone
            await two.holds(client)
            two.share.remove()
            await two.stop()
            assert await client.keys("*") == [CHANGES.encode()]


async def test_what_could_not_be_removed_is_told(server: RedisServer) -> None:
    async with sharing(server.url) as one:
        await one.owns()
        one.share.remove()
        await server.kill()
        with capture_logs() as told:
            await one.stop()
    assert [(line["log_level"], line["switch"]) for line in told if line["event"] == "store.not_removed"] == [
        ("error", "pbx")
    ]


async def test_a_follower_that_removes_the_switch_takes_nothing_away(server: RedisServer, client: "Redis") -> None:
    async with sharing(server.url, name="one") as one:
        await one.owns()
        one.change(make("a"))
        async with sharing(server.url, name="two") as two:
            await two.follows(one)
            two.share.remove()
        await one.holds(client)
        one.change(make("b"))
        await one.holds(client)


async def test_when_the_owner_dies_another_takes_over_after_its_lease(server: RedisServer, client: "Redis") -> None:
    async with sharing(server.url) as one, sharing(server.url, "two") as two:
        first, second = (one, two) if await _owner(one, two) is one else (two, one)
        first.change(*CALLS.values())
        await second.follows(first)
        assert first.running is not None
        first.share._lease = ""  # It will not give up the lease.
        first.running.cancel()
        await second.owns()
        assert second.calls == CALLS
        await second.holds(client, CALLS)


async def test_who_knows_newer_calls_than_redis_goes_on_until_its_heir_has_written(
    server: RedisServer, client: "Redis"
) -> None:
    async with sharing(server.url) as one:
        await one.owns()
        one.change(make("a"))
        await one.holds(client)
        shown: list[set[str]] = []
        one.mirror.subscribe(lambda *_: shown.append(set(one.calls)))
        # Another one has the lease, and has written nothing yet.
        await client.set(OWNER, "99999999999999999 two", px=60_000)
        with capture_logs() as told:
            one.change(make("b"))
            await one.until(lambda: any(line["event"] == "store.lease_lost" for line in told))
            naps = one.naps
            asked = len(naps.asked)
            await one.until(lambda: len(naps.asked) > asked + 5)
        assert one.source.leading
        one.change(make("c"))
        head: Any = await client.hgetall(HEAD)
        # It begins to write, and is not done yet.
        await client.hset(HEAD, mapping={"run": "99999999999999999", "whole": "0", "writes": "1"})
        asked = len(naps.asked)
        await one.until(lambda: len(naps.asked) > asked + 5)
        assert one.source.leading
        assert all("a" in calls for calls in shown)
        assert shown[-1] == {"a", "b", "c"}
        await client.hset(KEY, mapping={name: json.dumps(msgspec.to_builtins(make(name))) for name in "abc"})
        await client.hset(HEAD, mapping={**head, "run": "99999999999999999", "whole": "1", "writes": "2", "calls": "3"})
        await one.until(lambda: not one.source.leading)
        await one.until(lambda: one.status.run == "99999999999999999")
        assert set(one.calls) == {"a", "b", "c"}


@pytest.mark.usefixtures("short")
async def test_who_takes_over_from_a_redis_that_has_lost_everything_goes_on_with_what_it_shows(
    server: RedisServer, client: "Redis"
) -> None:
    async with sharing(server.url) as one:
        await one.owns()
        async with sharing(server.url, "two") as two:
            one.change(*CALLS.values())
            await two.follows(one)
            shown: list[int] = []
            two.mirror.subscribe(lambda *_: shown.append(len(two.calls)))
            assert one.running is not None
            one.share._lease = ""  # It will not give up the lease.
            one.running.cancel()
            await client.flushall()
            await two.owns()
            assert set(shown) == {len(CALLS)}
            await two.holds(client, CALLS)


@pytest.mark.usefixtures("short")
async def test_an_owner_that_was_stopped_past_its_lease_finds_out_and_follows(
    server: RedisServer, client: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    write, paused, go_on = Ledger.write, asyncio.Event(), asyncio.Event()

    async def stopped(ledger: Ledger, lease: str, *rest: Any) -> None:
        if lease.endswith(" one") and paused.is_set():
            await go_on.wait()
        await write(ledger, lease, *rest)

    monkeypatch.setattr(Ledger, "write", stopped)
    async with sharing(server.url) as one:
        await one.owns()
        async with sharing(server.url, "two") as two:
            await two.follows(one)
            paused.set()
            one.change(make("of the first"))
            await two.owns()
            two.change(make("of the second"))
            await two.holds(client)
            go_on.set()
            await one.follows(two)
            assert set(await read(client)) == {"of the second"}
            assert not one.source.leading


async def test_by_its_own_clock_an_owner_writes_nothing_past_its_lease(server: RedisServer, client: "Redis") -> None:
    clock = Clock()
    async with sharing(server.url, clock=clock) as one:
        await one.owns()
        first = await client.get(OWNER)
        clock.pass_time(LEASE + 0.1)
        await client.set(OWNER, "1 two")
        one.change(make("a"))
        await one.until(lambda: "leads alone" in repr(one.share))
        assert await read(client) == {}
        assert await client.get(OWNER) != first


@pytest.mark.usefixtures("short")
async def test_a_reader_never_takes_over_and_says_that_nobody_is_there(server: RedisServer, client: "Redis") -> None:
    async with sharing(server.url, "reader", writes=False) as reader:
        await reader.store("up")
        assert (reader.status.state, reader.status.error) == ("down", NOBODY)
        async with sharing(server.url) as one:
            await one.owns()
            one.change(*CALLS.values())
            await reader.follows(one)
        await reader.until(lambda: reader.status.state == "stale")
        assert (reader.calls, reader.status.error) == (CALLS, NOBODY)
        assert await client.get(OWNER) is None


# Redis is away, refuses, or has lost everything.


async def test_without_redis_the_switch_is_followed_and_everything_is_written_when_it_comes(
    server: RedisServer,
) -> None:
    await server.kill()
    naps = Naps()
    async with sharing(server.url, sleep=naps) as one:
        await one.until(lambda: len(naps.asked) == 3)
        await one.store("down", "Connect call failed")
        assert one.source.leading
        one.change(*CALLS.values())
        assert repr(one.share) == "<Share pbx down, leads alone, 0 noted>"
        await server.start()
        await one.owns()
        async with server.client() as client:
            await one.holds(client, CALLS)


async def test_a_follower_is_stale_without_redis_and_follows_the_switch_itself_after_a_lease(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_module, "RENEW_AFTER", 0.05)
    clock = Clock()
    async with sharing(server.url) as one:
        await one.owns()
        one.change(*CALLS.values())
        async with (
            sharing(server.url, "two", clock=clock) as two,
            sharing(server.url, "reader", clock=clock, writes=False) as reader,
        ):
            await two.follows(one)
            await reader.follows(one)
            await server.kill()
            for other in (two, reader):
                await other.until(lambda other=other: other.status.state == "stale")  # type: ignore[misc]
                assert (other.calls, other.status.error) == (CALLS, "Redis is away")
            assert not two.source.leading
            run = two.status.run
            clock.pass_time(LEASE + 0.1)
            await two.until(lambda: two.source.leading)
            assert (two.calls, two.source.calls, two.status.state) == (CALLS, CALLS, "live")
            assert two.status.run != run
            assert not reader.source.leading
            await server.start()
            owner = await _owner(one, two)
            for other in (one, two, reader):
                await other.follows(owner)


@pytest.mark.parametrize("how", ["restarted", "flushed", "emptied"])
async def test_what_redis_has_lost_is_written_again(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(share_module, "RENEW_AFTER", 0.01)
    async with sharing(server.url) as one, sharing(server.url, "two", writes=False) as two:
        await one.owns()
        one.change(*CALLS.values())
        await two.follows(one)
        if how == "restarted":
            await server.kill()
            await server.start()
        async with server.client() as client:
            if how == "flushed":
                await client.flushall()
            elif how == "emptied":
                await client.delete(KEY)
            # Nothing changes meanwhile.
            await one.holds(client, CALLS)
            one.change(make("new"))
            await one.holds(client)
            await two.follows(one)


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
        """Let the daemon try once more."""
        self._open.set()


@pytest.mark.parametrize(
    ("refuse", "error", "lift"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), "read only replica", ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "maxmemory", "1"), "when used memory > 'maxmemory'", ("CONFIG", "SET", "maxmemory", "0")),
        (("SET", KEY, "a string"), "wrong kind of value", ("DEL", KEY)),
        (("ACL", "SETUSER", "default", "-hset"), "can't run this command", ("ACL", "SETUSER", "default", "+hset")),
    ],
    ids=["replica", "full", "another's key", "not allowed"],
)
async def test_a_redis_that_refuses_to_be_written_is_down_until_it_takes_it(
    server: RedisServer, client: "Redis", refuse: tuple[str, ...], error: str, lift: tuple[str, ...]
) -> None:
    gate = Gate()
    async with sharing(server.url, sleep=gate) as one, sharing(server.url, "two", writes=False) as two:
        await one.owns()
        await two.follows(one)
        await client.delete(KEY)
        await client.execute_command(*refuse)  # type: ignore[no-untyped-call]
        one.change(make("new", source_name="Somebody"))
        for attempt in range(1, 4):
            await one.until(lambda number=attempt: gate.failures == number)  # type: ignore[misc]
            assert one.share.status.state == "down"
            assert re.search(error, one.share.status.error or "")
            assert "Somebody" not in (one.share.status.error or ""), "a reason tells nothing of a call"
            one.change(*[make(str(number), state=f"state {attempt}") for number in range(1000)])
            assert "0 noted" in repr(one.share)
            assert one.source.leading
            if attempt == 3:
                await client.execute_command(*lift)  # type: ignore[no-untyped-call]
            gate.open()
        await one.owns()
        await one.holds(client)
        await two.follows(one)


async def test_whoever_publishes_never_waits_for_a_redis_that_hangs(server: RedisServer, client: "Redis") -> None:
    async with sharing(server.url) as one:
        await one.owns()
        server.freeze()
        one.change(make("new"))
        await one.until(lambda: "0 noted" in repr(one.share))
        # That one is on its way. What comes meanwhile is noted, of each call the last.
        for number in range(1000):
            one.change(make("0", state=f"state {number}"), make("1", state=f"state {number}"))
        assert repr(one.share) == "<Share pbx up, owner, 2 noted>"
        server.thaw()
        await one.holds(client)


async def test_it_tries_again_ever_more_slowly_and_quickly_after_a_success(server: RedisServer) -> None:
    await server.kill()
    naps = Naps()
    async with sharing(server.url, sleep=naps) as one:
        await one.until(lambda: len(naps.asked) == 20)
        doubling = [min(LAST_RETRY, FIRST_RETRY * 2**number) for number in range(20)]
        assert all(most / 2 <= asked <= most for asked, most in zip(naps.asked, doubling, strict=False))
        await server.start()
        await one.owns()
        await server.kill()
        naps.asked.clear()
        one.change(make("a"))
        await one.store("down")
        await one.until(lambda: len(naps.asked) >= 2)
        assert naps.asked[0] == LINGER
        assert naps.asked[1] <= FIRST_RETRY


async def test_the_log_tells_each_change_once_however_often_it_is_tried(server: RedisServer) -> None:
    await server.kill()
    naps = Naps()
    with capture_logs() as told:
        async with sharing(server.url, sleep=naps) as one:
            await one.until(lambda: len(naps.asked) == 10)
            await server.start()
            await one.owns()
    assert [entry["event"] for entry in told] == ["store.down", "store.alone", "store.owner", "store.up"]


# Its end.


async def test_a_failure_of_callbridge_ends_it(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon(lambda: connect(server.url, OWNER))

    def fail() -> None:
        raise KeyError("pbx")

    monkeypatch.setattr(daemon.source, "records", fail)
    with pytest.raises(KeyError, match="pbx"):
        await daemon.share.run()


@pytest.mark.parametrize("role", ["owner", "follower"])
async def test_it_ends_even_where_the_client_forgets_that_it_was_cancelled(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    waiting, never = asyncio.Event(), asyncio.Event()

    def forgetful(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            if not waiting.is_set():
                waiting.set()
                with suppress(asyncio.CancelledError):
                    await never.wait()
            return await method(*arguments)

        return call

    name = "write" if role == "owner" else "changes"
    monkeypatch.setattr(Ledger, name, forgetful(getattr(Ledger, name)))
    async with sharing(server.url, writes=role == "owner") as one, asyncio.timeout(20):
        await waiting.wait()
        assert one.running is not None
        one.running.cancel()
        await asyncio.wait([one.running])
        assert one.running.cancelled()


def _ended(call_id: str) -> Ended:
    return Ended(call_id, "test.tel4vn.com", (), "2021-06-08 17:40:00", "NORMAL_CLEARING")


async def _owner(*daemons: Daemon) -> Daemon:
    """Wait until one of them is the owner; gives it."""
    await until(lambda: sum(", owner, " in repr(daemon.share) for daemon in daemons) == 1)
    (owner,) = [daemon for daemon in daemons if ", owner, " in repr(daemon.share)]
    return owner
