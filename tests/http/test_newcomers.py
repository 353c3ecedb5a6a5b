"""Ids that another daemon has just given out: whoever is asked next waits a moment until it shows the call as well."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from callbridge.http.newcomers import LOOK_EVERY, LOOKS
from callbridge.mirror import Mirror
from callbridge.records import Monitor
from callbridge.sharing.claims import Claims
from tests.http.kit import OPERATOR, Answer, Api, live, serving
from tests.http.samples import SAMPLE
from tests.service import Clock, until

CALL = f"/v1/call/{SAMPLE.call_id}"
MONITOR = Monitor("m1", "103", "listen", "active", "leg", "2021-06-08 17:38:00", "supervisor")


BEATS = 1
"""Who sleeps all the time: the streams' heart."""


async def _never() -> Any:
    raise AssertionError("nothing here needs Redis")


@asynccontextmanager
async def one_of_several() -> AsyncIterator[tuple[Api, Mirror, Clock]]:
    mirror, clock = live(Mirror(["pbx"])), Clock(1000.0)
    async with serving(mirror, clock=clock, claims=Claims("callbridge", _never)) as api:
        yield api, mirror, clock


def show(mirror: Mirror) -> None:
    mirror.apply("pbx", [msgspec.structs.replace(SAMPLE, monitors=(MONITOR,))], [], [], 1000.0)


ASKS: list[Callable[[Api], Awaitable[Answer]]] = [
    lambda api: api.get(CALL),
    lambda api: api.get("/v1/monitor/m1", OPERATOR),
]


@pytest.mark.parametrize("ask", ASKS, ids=["a call", "a monitor"])
async def test_what_is_shown_a_moment_later_is_found(ask: Callable[[Api], Awaitable[Answer]]) -> None:
    async with one_of_several() as (api, mirror, clock):
        asked = asyncio.ensure_future(ask(api))
        await until(lambda: clock.sleepers == BEATS + 1)
        show(mirror)
        clock.pass_time(LOOK_EVERY)
        assert (await asked).status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_is_not_shown_soon_is_not_there(method: str) -> None:
    path = CALL if method == "GET" else f"{CALL}/hangup"
    async with one_of_several() as (api, _, clock):
        asked = asyncio.ensure_future(api.ask(method, path, token=OPERATOR))
        for _ in range(LOOKS):
            await until(lambda: clock.sleepers == BEATS + 1)
            assert not asked.done()
            clock.pass_time(LOOK_EVERY)
        assert (await asked).json["error"] == "CALL_NOT_FOUND"


async def test_what_is_known_is_not_waited_for() -> None:
    async with one_of_several() as (api, mirror, _):
        show(mirror)
        assert (await api.get(CALL)).status == 200
        assert (await api.get("/v1/call")).status == 200


async def test_one_that_shares_with_nobody_waits_for_nobody() -> None:
    async with serving(live(Mirror(["pbx"]))) as api:
        assert (await api.get(CALL)).json["error"] == "CALL_NOT_FOUND"
