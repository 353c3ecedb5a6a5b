"""Whose turn it is on a call that several daemons have commands for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from callbridge.commands import requests as r
from callbridge.commands import turns as turns_module
from callbridge.commands.desk import Desk
from callbridge.commands.outcome import Refused
from tests.commands.kit import AGENT, CALL, Bench, bench, leg, refused, talking
from tests.redis_server import RedisServer, needs_redis, running
from tests.service import until
from tests.storekit import Claiming, claiming

pytestmark = needs_redis

MUTE = r.Mute(True, "aleg")
TURN = "callbridge:{commands}:turn:pbx:" + CALL


class Pair:
    """Two daemons that show the same calls, before one switch."""

    def __init__(self, b: Bench, redis: RedisServer, claims: tuple[Claiming, Claiming]) -> None:
        self.b = b
        self.redis = redis
        self.claims = claims
        self.one, self.two = (b.make_desk(claiming.claims) for claiming in claims)

    async def waits(self) -> None:
        """Wait until the second has looked whether it is its turn, some times."""
        before = len(self.claims[1].naps.asked)
        await until(lambda: len(self.claims[1].naps.asked) > before + 3)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The looks of those who wait take no time here, so ten seconds of them are soon over."""
    monkeypatch.setattr(turns_module, "TURN_SECONDS", 1e9)


@asynccontextmanager
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    older = talking(call_id="older", ids=(), legs=(leg("older", "aleg", "103"),))
    async with (
        running(tmp_path) as redis,
        bench(tmp_path, talking(), older) as b,
        claiming(redis.url) as first,
        claiming(redis.url) as second,
    ):
        await first.become("up")
        await second.become("up")
        p = Pair(b, redis, (first, second))
        try:
            yield p
        finally:
            await p.one.close()
            await p.two.close()


def ask(desk: Desk, request: r.OnCall, call_id: str = CALL) -> "asyncio.Future[str]":
    return asyncio.ensure_future(desk.carry_out(AGENT, call_id, request))


async def under_way(p: Pair) -> "asyncio.Future[str]":
    """A transfer that waits for a phone to ring."""
    p.b.calls.arrives = False
    first = ask(p.one, r.Transfer("102", "aleg"))
    await p.b.told("uuid_kill")
    return first


async def test_commands_of_two_daemons_on_one_call_take_turns_and_hang_ups_wait_for_nobody(tmp_path: Path) -> None:
    async with pair(tmp_path) as p:
        first = await under_way(p)
        second = ask(p.two, MUTE)
        assert await ask(p.two, r.Mute(True, "aleg"), "older") == "older"
        await p.waits()
        told = len(p.b.switch.told("uuid_audio"))
        assert await ask(p.two, r.HangUp("NORMAL_CLEARING")) == CALL
        for command in (first, second):
            with pytest.raises(Refused) as refusal:
                await command
            assert refusal.value.code == "CALL_ENDED"
        assert len(p.b.switch.told("uuid_audio")) == told


async def test_who_waits_too_long_is_told_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    async with pair(tmp_path) as p:
        first = await under_way(p)
        assert (await refused(p.two.carry_out(AGENT, CALL, MUTE))).code == "TOO_MANY_REQUESTS"
        assert sum(p.claims[1].naps.asked) <= turns_module.TURN_SECONDS
        assert not p.b.switch.told("uuid_audio")
        p.b.calls.drop(CALL)
        await asyncio.gather(first, return_exceptions=True)


async def test_a_daemon_that_was_killed_keeps_nobody_from_a_call(tmp_path: Path) -> None:
    async with pair(tmp_path) as p, p.redis.client() as client:
        first = await under_way(p)
        p.claims[0].running.cancel()
        second = ask(p.two, MUTE)
        await p.waits()
        await client.delete(TURN)
        assert await second == CALL
        first.cancel()


async def test_without_redis_the_turns_are_those_of_one_daemon(tmp_path: Path) -> None:
    async with pair(tmp_path) as p:
        await p.redis.kill()
        first = await under_way(p)
        third = ask(p.one, MUTE)
        assert await ask(p.two, MUTE) == CALL
        assert len(p.b.switch.told("uuid_audio")) == 1
        p.b.calls.drop(CALL)
        await asyncio.gather(first, third, return_exceptions=True)
        assert len(p.b.switch.told("uuid_audio")) == 1


async def test_what_the_other_daemon_did_is_waited_for_before_a_call_is_looked_at(tmp_path: Path) -> None:
    async with pair(tmp_path) as p, p.redis.client() as client:
        status = p.b.mirror.switches["pbx"]
        p.b.calls.change_leg(CALL, callstate="HELD")
        await client.set(TURN, f"@{status.run} {status.seq + 1}")
        # Here it is on hold; the other daemon has just taken it back.
        command = ask(p.two, r.Hold(True, "aleg"))
        await until(lambda: p.b.clock.sleepers > 0)
        assert not p.b.switch.lines
        p.b.calls.change_leg(CALL, callstate="ACTIVE")
        p.b.clock.pass_time(turns_module.LOOK_EVERY)
        assert await command == CALL
        assert len(p.b.switch.told("uuid_hold")) == 1


async def test_a_position_that_is_never_reached_keeps_nobody_for_long(tmp_path: Path) -> None:
    async with pair(tmp_path) as p, p.redis.client() as client:
        await client.set(TURN, "@another 7")
        command = ask(p.two, MUTE)
        for _ in range(turns_module.LOOKS):
            await until(lambda: p.b.clock.sleepers > 0)
            assert not p.b.switch.lines
            p.b.clock.pass_time(turns_module.LOOK_EVERY)
        assert await command == CALL
        await until(lambda: "0 held" in repr(p.claims[1].claims))
        status = p.b.mirror.switches["pbx"]
        assert await client.get(TURN) == f"@{status.run} {status.seq}".encode()
