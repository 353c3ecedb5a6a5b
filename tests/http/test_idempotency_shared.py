"""`Idempotency-Key` at daemons that share a Redis: whichever of them is asked, it is one command."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from callbridge.http.failures import Answer as Kept
from callbridge.http.idempotency import REMEMBER_FOR
from callbridge.sharing import claims as claims_module
from tests.commands.kit import NO_CHANNEL, Bench, bench
from tests.http.kit import MAY_ALL, OPERATOR, Api, serving
from tests.http.test_commands import BODIES, path
from tests.http.test_idempotency import ANOTHER, mute, same
from tests.redis_server import RedisServer, needs_redis, running
from tests.service import until
from tests.storekit import Claiming, claiming

pytestmark = needs_redis

AWAY = (
    "the Redis that the daemons share is away, so it cannot be told whether this was done already under its"
    " Idempotency-Key; nothing was done now, try again"
)
LOST = (
    "another callbridge has begun this and was lost with the outcome; look at the call, and use another key to do it"
    " again"
)


class Pair:
    """Two daemons that show the same calls, before one switch."""

    def __init__(self, b: Bench, redis: RedisServer, apis: tuple[Api, Api], claims: tuple[Claiming, Claiming]) -> None:
        self.b = b
        self.redis = redis
        self.one, self.two = apis
        self.claims = claims


@asynccontextmanager
async def pair(tmp_path: Path, connected: bool = True) -> AsyncIterator[Pair]:
    async with (
        running(tmp_path) as redis,
        bench(tmp_path, connected=connected) as b,
        claiming(redis.url) as first,
        claiming(redis.url) as second,
    ):
        desks = [b.make_desk(claiming.claims) for claiming in (first, second)]
        async with (
            serving(b.mirror, desk=desks[0], clock=b.clock, claims=first.claims) as one,
            serving(b.mirror, desk=desks[1], clock=b.clock, claims=second.claims) as two,
        ):
            await first.become("up")
            await second.become("up")
            try:
                yield Pair(b, redis, (one, two), (first, second))
            finally:
                for desk in desks:
                    await desk.close()


async def kept(p: Pair) -> None:
    """Wait until all that was answered is in Redis."""
    await until(lambda: all("0 held, 0 owed" in repr(claiming.claims) for claiming in p.claims))


@pytest.mark.parametrize("command", BODIES)
async def test_the_same_key_gets_the_same_answer_from_every_daemon(tmp_path: Path, command: str) -> None:
    async with pair(tmp_path) as p:
        answer = await p.one.post(path(command), key="k", **BODIES[command])
        assert answer.status == 200
        told = bytes(p.b.switch.received)
        for api in (p.two, p.one, p.two):
            same(await api.post(path(command), key="k", **BODIES[command]), answer)
        assert bytes(p.b.switch.received) == told


async def test_the_same_key_places_one_call(tmp_path: Path) -> None:
    async with pair(tmp_path) as p:
        body = {"ext": "101", "destination": "102"}
        answers = await asyncio.gather(*(api.post("/v1/call", key="k", **body) for api in (p.one, p.two) * 5))
        for answer in answers:
            same(answer, answers[0])
        assert answers[0].status == 200
        assert len(p.b.switch.told("originate")) == 1


async def test_while_the_first_is_under_way_it_is_waited_for(tmp_path: Path) -> None:
    async with pair(tmp_path) as p:
        waits: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        p.b.switch.says("uuid_audio", waits)
        first = asyncio.ensure_future(mute(p.one, "k"))
        await p.b.told("uuid_audio")
        others = [asyncio.ensure_future(mute(p.two, "k")) for _ in range(10)]
        await until(lambda: len(p.claims[1].naps.asked) > 3)
        waits.set_result("+OK")
        for other in others:
            same(await other, await first)
        assert len(p.b.switch.lines) == 1


@pytest.mark.parametrize(
    ("answers", "status"), [((NO_CHANNEL, "+OK"), 409), (("-ERR no", "+OK"), 502), ((None, "+OK"), 504)]
)
async def test_a_failure_is_answered_again_and_not_tried_again(tmp_path: Path, answers: Any, status: int) -> None:
    async with pair(tmp_path) as p:
        p.b.switch.says("uuid_audio", *answers)
        answer = await mute(p.one, "k")
        assert answer.status == status
        await p.b.connect()
        same(await mute(p.two, "k"), answer)
        assert len(p.b.switch.lines) == 1


async def test_what_nothing_was_done_about_is_tried_again_by_another_daemon(tmp_path: Path) -> None:
    async with pair(tmp_path, connected=False) as p:
        assert (await mute(p.one, "k")).status == 503
        await p.b.connect()
        answer = await mute(p.two, "k")
        assert answer.status == 200
        same(await mute(p.one, "k"), answer)
        assert len(p.b.switch.lines) == 1


async def test_another_request_under_a_key_that_was_used_is_refused(tmp_path: Path) -> None:
    async with pair(tmp_path) as p:
        answer = await mute(p.one, "k")
        for _ in range(2):
            refusal = await mute(p.two, "k", legs="bleg")
            refusal.fails(400, "INVALID_PARAMETER", ANOTHER, parameter="Idempotency-Key")
        same(await mute(p.two, "k"), answer)
        assert (await mute(p.two, "k", OPERATOR, "bleg")).status == 200, "keys are the token's"
        assert len(p.b.switch.lines) == 2


async def test_a_request_whose_daemon_was_lost_is_not_done_again(tmp_path: Path) -> None:
    async with pair(tmp_path) as p:
        p.b.switch.says("uuid_audio", asyncio.get_running_loop().create_future())
        first = asyncio.ensure_future(mute(p.one, "k"))
        await p.b.told("uuid_audio")
        second = asyncio.ensure_future(mute(p.two, "k"))
        await until(lambda: len(p.claims[1].naps.asked) > 3)
        # It renews nothing any more.
        p.claims[0].running.cancel()
        async with p.redis.client() as client:
            for hold in await client.keys("callbridge:{commands}:hold:*"):
                await client.delete(hold)
        (await second).fails(504, "OUTCOME_UNKNOWN", LOST)
        (await mute(p.two, "k")).fails(504, "OUTCOME_UNKNOWN", LOST)
        assert len(p.b.switch.lines) == 1
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_a_failure_of_callbridge_is_an_unknown_outcome_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as p:
        monkeypatch.setattr(claims_module, "HOLD", 0.001)

        async def fails(*_: Any) -> None:
            raise RuntimeError("a mistake")

        monkeypatch.setattr("callbridge.commands.requests.Mute.do", fails)
        for _ in range(2):
            assert (await mute(p.one, "k")).status == 500
        (await mute(p.two, "k")).fails(504, "OUTCOME_UNKNOWN", LOST)


async def test_an_answer_that_cannot_be_read_is_an_unknown_outcome(tmp_path: Path) -> None:
    async with pair(tmp_path) as p:
        assert (await mute(p.one, "k")).status == 200
        await kept(p)
        async with p.redis.client() as client:
            (name,) = await client.keys("callbridge:{commands}:key:*")
            await client.hset(name, "answer", "another version's")
        (await mute(p.two, "k")).fails(504, "OUTCOME_UNKNOWN", LOST)


async def test_without_redis_a_request_with_a_key_is_refused_and_one_without_is_carried_out(tmp_path: Path) -> None:
    async with pair(tmp_path) as p:
        answer = await mute(p.one, "k")
        await kept(p)
        await p.redis.kill()
        for number, api in enumerate((p.one, p.two), 2):
            refusal = await mute(api, "new")
            refusal.fails(503, "SWITCH_UNAVAILABLE", AWAY)
            assert refusal.headers["Retry-After"] == "2"
            assert len(p.b.switch.lines) == number - 1
            assert (await mute(api, None)).status == 200
        same(await mute(p.one, "k"), answer)
        assert len(p.b.switch.lines) == 3
        await p.redis.start()
        await p.claims[1].become("up")
        assert (await mute(p.two, "new")).status == 200


async def test_a_key_is_forgotten_after_its_time_by_all(tmp_path: Path) -> None:
    async with pair(tmp_path) as p:
        await mute(p.one, "k")
        await kept(p)
        async with p.redis.client() as client:
            (name,) = await client.keys("callbridge:{commands}:key:*")
            assert (REMEMBER_FOR - 60) * 1000 < await client.pttl(name) <= REMEMBER_FOR * 1000
            # What one daemon has from another it remembers no longer than Redis does.
            await mute(p.two, "k")
            await client.delete(name)
        assert (await mute(p.two, "k", legs="bleg")).status == 200
        assert len(p.b.switch.lines) == 2


async def test_nothing_of_a_request_can_be_read_in_redis(tmp_path: Path) -> None:
    async with pair(tmp_path) as p, p.redis.client() as client:
        body = {"legs": "bleg", "digits": "98765"}
        assert (await p.one.post(path("dtmf"), MAY_ALL, "the-key", **body)).status == 200
        await kept(p)
        (name,) = await client.keys("callbridge:{commands}:key:*")
        found: Any = await client.hgetall(name)
        text = f"{name!r} {found}"
        assert not any(word in text for word in ("the-key", "98765", "dtmf", MAY_ALL))
        said = msgspec.msgpack.decode(found[b"answer"], type=Kept)
        assert msgspec.json.decode(said.body)["status"] == "success"
