"""The scripts against a real Redis, and against a simulated one where there is none: who may write, what is refused."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakeredis import FakeAsyncRedis
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from callbridge.records import Ended
from callbridge.sharing import ledger as ledger_module
from callbridge.sharing.ledger import REMEMBERED_MS, STREAM_LENGTH, GapFound, Garbled, Head, LeaseLost, Ledger, State
from callbridge.sharing.noted import Batch
from tests.redis_server import RedisServer, needs_redis
from tests.storekit import CHANGES, HEAD, KEY, OWNER, PREFIX, SAMPLE, make, plain, read

STATE = State("live", None, {"gone": 0, "alive": 0, "changed": 0}, 0, 0.5, 3.0)
NOTHING = Batch(0, [], [], [])


@pytest.fixture(params=[pytest.param("real", marks=needs_redis), "simulated"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator["Redis"]:
    if request.param == "simulated":
        async with FakeAsyncRedis() as client:
            yield client
        return
    async with RedisServer(tmp_path) as server:
        await server.start()
        async with server.client() as client:
            yield client


def open_ledger(client: "Redis", lease_ms: int = 60_000) -> Ledger:
    return Ledger(client, PREFIX, "pbx", lease_ms)


def head(before: int | None, lease: str, **changes: Any) -> Head:
    number = 1 if before is None else before + 1
    plain_head = Head(before, number, lease.partition(" ")[0], STATE, "core")
    return msgspec.structs.replace(plain_head, **changes)


async def claimed(ledger: Ledger) -> str:
    lease = await ledger.claim("", "one")
    assert lease is not None
    return lease


async def test_one_gets_the_lease_and_holds_on_to_it(client: "Redis") -> None:
    ledger = open_ledger(client)
    lease = await claimed(ledger)
    token, name = lease.split(" ")
    assert (token.isdecimal(), name) == (True, "one")
    assert await ledger.claim("", "two") is None
    assert await ledger.claim("another", "two") is None
    await client.pexpire(OWNER, 1000)
    assert await ledger.claim(lease, "one") == lease
    assert await client.pttl(OWNER) > 1000
    assert not await ledger.is_free()


async def test_the_token_grows_whatever_the_clock_and_redis_have_lost(client: "Redis") -> None:
    ledger = open_ledger(client)
    tokens = []
    for loss in ("", "owner", "all"):
        await client.delete(OWNER)
        if loss == "all":
            await client.flushall()
        tokens.append(int((await claimed(ledger)).partition(" ")[0]))
    await client.hset(HEAD, "token", str(tokens[-1] + 10**12))
    await client.delete(OWNER)
    tokens.append(int((await claimed(ledger)).partition(" ")[0]))
    assert tokens == sorted(set(tokens))
    assert tokens[-1] == tokens[-2] + 10**12 + 1


async def test_who_does_not_hold_the_lease_writes_nothing(client: "Redis") -> None:
    ledger = open_ledger(client)
    old = await claimed(ledger)
    await ledger.write(old, head(None, old), Batch(1, [make("a")], [], []))
    await client.delete(OWNER)
    with pytest.raises(LeaseLost):
        await ledger.write(old, head(1, old), Batch(2, [make("b")], [], []))
    new = await claimed(ledger)
    before = [await client.dump(name) for name in (KEY, HEAD, CHANGES)]
    for attempt in (head(1, old), head(None, old)):
        with pytest.raises(LeaseLost):
            await ledger.write(old, attempt, Batch(2, [make("b")], ["a"], []))
    await ledger.release(old)
    assert [await client.dump(name) for name in (KEY, HEAD, CHANGES)] == before
    assert await client.get(OWNER) == new.encode()


@pytest.mark.parametrize(
    "loss",
    [("DEL", HEAD), ("HSET", HEAD, "writes", "7"), ("HSET", HEAD, "run", "7"), ("DEL", KEY), ("HDEL", KEY, "a")],
    ids=["the head", "a write", "a run", "the calls", "a call"],
)
async def test_a_write_finds_out_that_something_is_missing_and_writes_nothing(
    client: "Redis", loss: tuple[str, ...]
) -> None:
    ledger = open_ledger(client)
    lease = await claimed(ledger)
    await ledger.write(lease, head(None, lease), Batch(1, [make("a"), make("b")], [], []))
    await client.execute_command(*loss)  # type: ignore[no-untyped-call]
    there = await read(client)
    with pytest.raises(GapFound):
        await ledger.write(lease, head(1, lease), Batch(2, [make("c")], [], []))
    assert await read(client) == there
    await ledger.write(lease, head(None, lease), Batch(2, [make("a"), make("b"), make("c")], [], []))
    assert set(await read(client)) == {"a", "b", "c"}


async def test_a_write_is_the_hash_the_head_and_an_entry_at_once(client: "Redis") -> None:
    ledger = open_ledger(client)
    lease = await claimed(ledger)
    run = lease.partition(" ")[0]
    end = Ended("b", None, (), "2021-06-08 17:40:00", "USER_BUSY")
    await ledger.write(lease, head(None, lease), Batch(1, [make("b"), make("ü")], [], []))
    await ledger.write(lease, head(1, lease), Batch(5, [SAMPLE], ["b"], [end]))
    assert await read(client) == plain({"ü": make("ü"), SAMPLE.call_id: SAMPLE})
    snapshot = await ledger.snapshot()
    assert (snapshot.run, snapshot.writes, snapshot.seq, snapshot.whole, snapshot.core_uuid) == (
        run,
        2,
        5,
        True,
        "core",
    )
    assert snapshot.state == STATE
    assert snapshot.silent < 30
    assert {record.call_id for record in snapshot.records} == {"ü", SAMPLE.call_id}
    first, second = await ledger.changes("0-0", 1)
    assert (second.run, second.writes, second.seq, second.state, second.reset) == (run, 2, 5, STATE, False)
    assert (second.updated, second.gone, second.ended) == ([SAMPLE], ["b"], [end])
    assert snapshot.entry == second.id
    assert await ledger.changes(second.id, 1) == []
    assert first.id < second.id
    entries: Any = await client.xrevrange(CHANGES, count=1)
    fields = entries[0][1]
    assert json.loads(fields[b"gone"]) == ["b"]


async def test_half_a_hash_says_so_and_is_told_to_nobody(client: "Redis") -> None:
    ledger = open_ledger(client)
    lease = await claimed(ledger)
    await ledger.write(lease, head(None, lease, whole=False), Batch(1, [make("a")], [], []))
    assert not (await ledger.snapshot()).whole
    assert await ledger.changes("0-0", 1) == []
    await ledger.write(lease, head(None, lease, number=2, reset=True), Batch(1, [], [], []))
    assert (await ledger.snapshot()).whole
    (entry,) = await ledger.changes("0-0", 1)
    assert (entry.reset, entry.writes) == (True, 2)


async def test_as_many_calls_as_a_batch_has_can_be_written_and_deleted(client: "Redis") -> None:
    ledger = open_ledger(client)
    lease = await claimed(ledger)
    ids = [str(number) for number in range(1000)]
    await ledger.write(lease, head(None, lease), Batch(1, [make(id_) for id_ in ids[:500]], ids[500:], []))
    await ledger.write(lease, head(1, lease), Batch(2, [make(id_) for id_ in ids[500:]], ids[:500], []))
    assert set(await read(client)) == set(ids[500:])


async def test_the_stream_does_not_grow_without_bound(client: "Redis") -> None:
    ledger = open_ledger(client)
    lease = await claimed(ledger)
    await ledger.write(lease, head(None, lease), NOTHING)
    for number in range(1, STREAM_LENGTH + 300):
        await ledger.write(lease, head(number, lease), NOTHING)
    assert await client.xlen(CHANGES) <= STREAM_LENGTH + 100


async def test_a_lease_that_is_given_up_is_free_at_once_and_everyone_is_woken(client: "Redis") -> None:
    ledger = open_ledger(client)
    lease = await claimed(ledger)
    await ledger.release(lease)
    assert await ledger.is_free()
    (entry,) = await ledger.changes("0-0", 1)
    assert entry.released


async def test_a_switch_that_is_removed_leaves_nothing_but_word_of_that_for_a_minute(client: "Redis") -> None:
    ledger = open_ledger(client)
    lease = await claimed(ledger)
    await ledger.write(lease, head(None, lease), Batch(1, [make("a")], [], []))
    last = (await ledger.snapshot()).entry
    await client.set(OWNER, "another")
    before = [await client.dump(name) for name in (KEY, HEAD, CHANGES)]
    await ledger.remove(lease)
    assert [await client.dump(name) for name in (KEY, HEAD, CHANGES)] == before
    await client.set(OWNER, lease)
    await ledger.remove(lease)
    assert await client.keys("*") == [CHANGES.encode()]
    assert 0 < await client.pttl(CHANGES) <= REMEMBERED_MS
    (entry,) = await ledger.changes(last, 1)
    assert (entry.released, entry.removed) == (True, True)
    # Whoever follows the switch all the same begins anew.
    await claimed(ledger)
    assert await client.pttl(CHANGES) == -1


async def test_what_others_have_put_there_is_no_call_and_can_be_named(client: "Redis") -> None:
    ledger = open_ledger(client)
    lease = await claimed(ledger)
    await ledger.write(lease, head(None, lease), Batch(1, [make("ü")], [], []))
    await client.hset(KEY, items=["odd", "{}", b"\xff\xfe", b"\xff"])
    assert [record.call_id for record in (await ledger.snapshot()).records] == ["ü"]
    assert set(await ledger.strangers(["ü"])) == {b"odd", b"\xff\xfe"}
    await ledger.write(lease, head(None, lease), Batch(1, [], await ledger.strangers(["ü"]), []))
    assert set(await read(client)) == {"ü"}


async def test_what_cannot_be_read_is_told_without_what_it_says(client: "Redis") -> None:
    ledger = open_ledger(client)
    lease = await claimed(ledger)
    await ledger.write(lease, head(None, lease), NOTHING)
    await client.xadd(CHANGES, {"run": "Somebody"})
    with pytest.raises(Garbled, match="an entry of the changes cannot be read") as garbled:
        await ledger.changes("0-0", 1)
    await client.hset(HEAD, "seq", "Somebody")
    with pytest.raises(Garbled, match="the head cannot be read"):
        await ledger.snapshot()
    assert "Somebody" not in str(garbled.value)


async def test_a_script_that_redis_has_forgotten_is_sent_again(client: "Redis") -> None:
    ledger = open_ledger(client)
    lease = await claimed(ledger)
    await client.script_flush()
    await ledger.write(lease, head(None, lease), Batch(1, [make("a")], [], []))
    assert set(await read(client)) == {"a"}


async def test_an_error_of_a_script_tells_nothing_of_a_call(client: "Redis") -> None:
    ledger = open_ledger(client)
    lease = await claimed(ledger)
    await client.set(CHANGES, "a string")
    with pytest.raises(ResponseError) as error:
        await ledger.write(lease, head(None, lease), Batch(1, [make("a", source_name="Somebody")], [], []))
    assert "wrong kind of value" in str(error.value)
    assert "Somebody" not in str(error.value)


async def test_without_the_fence_a_stale_owner_would_write(client: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above would notice."""
    fence = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end\n"
    assert fence in ledger_module._WRITE
    monkeypatch.setattr(ledger_module, "_WRITE", ledger_module._WRITE.replace(fence, ""))
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await test_who_does_not_hold_the_lease_writes_nothing(client)
