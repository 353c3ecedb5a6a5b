"""What daemons claim in a Redis: keys of requests, and turns on calls."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from callbridge.sharing import claims as claims_module
from callbridge.sharing import line as line_module
from callbridge.sharing.claims import Claims, KeyUsed, OutcomeLost, TurnTaken
from callbridge.sharing.line import Away
from tests.redis_groups import clustered
from tests.redis_server import RedisServer, free_port, needs_redis
from tests.service import until
from tests.storekit import Claiming, claiming

pytestmark = needs_redis

KEY = "callbridge:{commands}:key:k"
HOLD = "callbridge:{commands}:hold:k"
TURN = "callbridge:{commands}:turn:pbx:call"


@pytest.fixture
async def one(server: RedisServer) -> AsyncIterator[Claiming]:
    async with claiming(server.url) as one:
        await one.become("up")
        yield one


@pytest.fixture
async def two(server: RedisServer) -> AsyncIterator[Claiming]:
    async with claiming(server.url) as two:
        await two.become("up")
        yield two


async def looked(claiming: Claiming, times: int = 3) -> None:
    """Wait until it has looked so often for what another daemon has."""
    before = len(claiming.naps.asked)
    await until(lambda: len(claiming.naps.asked) >= before + times)


# Keys.


async def test_a_key_is_one_daemons_and_the_others_have_its_answer(one: Claiming, two: Claiming) -> None:
    assert await one.claims.reserve("k", "request", 600) is None
    waiting = asyncio.ensure_future(two.claims.reserve("k", "request", 600))
    await looked(two)
    await one.claims.answer("k", b"\x00answer\xff")
    assert await waiting == b"\x00answer\xff"
    assert await two.claims.reserve("k", "request", 600) == b"\x00answer\xff"


async def test_a_key_lasts_from_its_first_use(one: Claiming, client: "Redis") -> None:
    await one.claims.reserve("k", "request", 600)
    await client.pexpire(KEY, 5_000)
    await one.claims.answer("k", b"answer")
    assert 0 < await client.pttl(KEY) <= 5_000
    assert not await client.exists(HOLD)
    await one.claims.reserve("another", "request", 600)
    assert 590_000 < await client.pttl("callbridge:{commands}:key:another") <= 600_000


@pytest.mark.parametrize("answered", [False, True])
async def test_a_key_of_another_request_is_refused_at_once(one: Claiming, two: Claiming, answered: bool) -> None:
    await one.claims.reserve("k", "request", 600)
    if answered:
        await one.claims.answer("k", b"answer")
    with pytest.raises(KeyUsed):
        await two.claims.reserve("k", "another", 600)


async def test_a_key_that_is_given_back_is_the_next_ones(one: Claiming, two: Claiming) -> None:
    await one.claims.reserve("k", "request", 600)
    waiting = asyncio.ensure_future(two.claims.reserve("k", "request", 600))
    await looked(two)
    await one.claims.withdraw("k")
    assert await waiting is None
    # Too late: it is another daemon's by now.
    await one.claims.answer("k", b"one")
    await one.claims.withdraw("k")
    await two.claims.answer("k", b"two")
    assert await one.claims.reserve("k", "request", 600) == b"two"


@pytest.mark.parametrize("ends", ["killed", "abandoned"])
async def test_of_a_daemon_that_is_no_more_the_outcome_is_lost(
    one: Claiming, two: Claiming, client: "Redis", ends: str
) -> None:
    await one.claims.reserve("k", "request", 600)
    waiting = asyncio.ensure_future(two.claims.reserve("k", "request", 600))
    await looked(two)
    if ends == "killed":
        one.running.cancel()
    else:
        one.claims.abandon("k")
    # Nobody renews it.
    await client.pexpire(HOLD, 1)
    with pytest.raises(OutcomeLost):
        await waiting
    assert await client.hkeys(KEY) == [b"request", b"by"]


async def test_what_is_held_is_renewed(server: RedisServer, client: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_module, "RENEW_AFTER", 0.001)
    monkeypatch.setattr(claims_module, "_AT_ONCE", 1)
    async with claiming(server.url) as one:
        await one.become("up")
        await one.claims.reserve("k", "request", 600)
        await one.claims.take("pbx:call", 1.0)
        for hold in (HOLD, TURN):
            assert await client.pexpire(hold, 5_000)
            async with asyncio.timeout(20):
                while await client.pttl(hold) <= 5_000:
                    pass
        # What is somebody else's by now is not.
        await client.set(TURN, "another", px=5_000)
        await client.pexpire(HOLD, 5_000)
        async with asyncio.timeout(20):
            while await client.pttl(HOLD) <= 5_000:
                pass
        assert 0 < await client.pttl(TURN) <= 5_000


async def test_a_thousand_who_wait_look_seldom(one: Claiming, two: Claiming) -> None:
    await one.claims.reserve("k", "request", 600)
    waiting = asyncio.ensure_future(two.claims.reserve("k", "request", 600))
    await looked(two, 100)
    assert two.naps.asked[0] <= claims_module.FIRST_LOOK
    assert min(two.naps.asked[10:]) >= claims_module.LAST_LOOK / 2
    await one.claims.answer("k", b"answer")
    await waiting


# Turns.


async def test_a_turn_is_one_daemons_and_hands_on_where_it_ended(one: Claiming, two: Claiming) -> None:
    assert await one.claims.take("pbx:call", 10.0) == ""
    waiting = asyncio.ensure_future(two.claims.take("pbx:call", 1e9))
    await looked(two)
    assert await two.claims.take("pbx:other", 10.0) == ""
    one.claims.leave("pbx:call", "run 7")
    assert await waiting == "run 7"
    two.claims.leave("pbx:call", "run 8")
    assert await two.claims.take("pbx:call", 10.0) == "run 8"


async def test_who_waits_too_long_for_a_turn_is_told(one: Claiming, two: Claiming) -> None:
    await one.claims.take("pbx:call", 10.0)
    with pytest.raises(TurnTaken):
        await two.claims.take("pbx:call", 10.0)
    assert sum(two.naps.asked) <= 10.0


async def test_the_turn_of_a_daemon_that_was_killed_ends(one: Claiming, two: Claiming, client: "Redis") -> None:
    await one.claims.take("pbx:call", 10.0)
    assert 0 < await client.pttl(TURN) <= claims_module.HOLD * 1000
    await client.pexpire(TURN, 1)
    assert await two.claims.take("pbx:call", 1e9) == ""
    # One that was only paused ends nobody else's.
    one.claims.leave("pbx:call", "run 7")
    await until(lambda: "0 held" in repr(one.claims))
    with pytest.raises(TurnTaken):
        await one.claims.take("pbx:call", 1.0)


# Redis away, and back.


async def test_without_redis_nothing_is_claimed_and_nobody_waits(tmp_path: Path) -> None:
    async with claiming(f"redis://127.0.0.1:{free_port()}/0") as one:
        await one.become("down", "Connect call failed")
        with pytest.raises(Away, match="Connect call failed"):
            await one.claims.reserve("k", "request", 600)
        with pytest.raises(Away):
            await one.claims.take("pbx:call", 10.0)


async def test_a_redis_that_is_not_there_is_never_up_and_is_asked_ever_more_seldom() -> None:
    with capture_logs() as logs:
        async with claiming(f"redis://127.0.0.1:{free_port()}/0") as one:
            await until(lambda: len(one.naps.asked) >= 8)
            naps = list(one.naps.asked)
    assert {entry["event"] for entry in logs} == {"store.claims_down"}
    assert naps[7] > 2 * claims_module.FIRST_RETRY
    assert max(naps) <= claims_module.LAST_RETRY


async def test_what_redis_was_not_told_it_is_told_when_it_is_back(server: RedisServer, two: Claiming) -> None:
    async with claiming(server.url) as one:
        await one.become("up")
        await one.claims.reserve("k", "request", 600)
        await one.claims.reserve("k2", "request", 600)
        one.claims._line = None
        await one.claims.answer("k", b"answer")
        await one.claims.withdraw("k2")
        assert repr(one.claims) == "<Claims up, 0 held, 2 owed>"
        one.claims._wake.set()
        assert await two.claims.reserve("k", "request", 600) == b"answer"
        assert await two.claims.reserve("k2", "request", 600) is None


async def test_a_redis_that_hangs_is_away_after_a_second_and_what_it_did_then_is_undone(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with claiming(server.url) as one, claiming(server.url) as two:
        await one.become("up")
        await two.become("up")
        # So Redis knows the script, and carries it out as soon as it can.
        await one.claims.reserve("another", "request", 600)
        monkeypatch.setattr(line_module, "ANSWER_TIMEOUT", 0.01)
        server.freeze()
        with pytest.raises(Away):
            await one.claims.reserve("k", "request", 600)
        # Without another second.
        monkeypatch.setattr(line_module, "ANSWER_TIMEOUT", 1000.0)
        with pytest.raises(Away):
            await one.claims.reserve("k", "request", 600)
        server.thaw()
        await one.become("up")
        assert await two.claims.reserve("k", "another", 600) is None


async def test_only_so_much_is_owed(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_module, "MAX_OWED", 2)
    async with claiming(server.url) as one, server.client() as client:
        await one.become("up")
        for name in "abc":
            await one.claims.reserve(name, "request", 600)
        one.claims._line = None
        for name in "abc":
            await one.claims.answer(name, b"answer")
        assert "2 owed" in repr(one.claims)
        one.claims._wake.set()
        await until(lambda: "0 owed" in repr(one.claims))
        assert not await client.hexists("callbridge:{commands}:key:a", "answer")


async def test_at_the_end_the_last_answers_are_kept(server: RedisServer, two: Claiming) -> None:
    async with claiming(server.url) as one:
        await one.become("up")
        await one.claims.reserve("k", "request", 600)
        stopping = asyncio.ensure_future(one.stop())
        await asyncio.sleep(0)
        await one.claims.answer("k", b"answer")
        await stopping
    assert await two.claims.reserve("k", "request", 600) == b"answer"


async def test_in_a_cluster_all_is_in_one_slot(tmp_path: Path) -> None:
    async with clustered(tmp_path) as nodes:
        url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
        async with claiming(url) as one, claiming(url) as two:
            await one.become("up")
            await two.become("up")
            for name in ("a", "b", "c"):
                await one.claims.reserve(name, "request", 600)
                await one.claims.answer(name, b"answer")
                assert await two.claims.reserve(name, "request", 600) == b"answer"
                await one.claims.take(name, 10.0)
                one.claims.leave(name, "run 7")
                assert await two.claims.take(name, 1e9) == "run 7"


def test_it_says_what_it_is() -> None:
    async def nowhere() -> "Redis":
        raise OSError

    assert repr(Claims("callbridge", nowhere)) == "<Claims down, 0 held, 0 owed>"
