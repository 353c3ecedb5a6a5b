"""A store at work on made-up calls, and how its Redis is looked at."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from redis.asyncio import Redis

from callbridge.records import Leg, Record
from callbridge.store import RedisStore
from tests.service import until

PREFIX = "callbridge"
KEY = "callbridge:{pbx}:calls"

SAMPLE = Record(
    "01b7d166-b564-42ec-80a1-4ad343225934",
    "test.tel4vn.com",
    "2021-06-08 17:37:37",
    "0899123456",
    "outbound",
    "1.2.3.4",
    "101",
    "CS_EXECUTE",
    tenant="test.tel4vn.com",
    switch="pbx",
    callstate="ACTIVE",
    source_name="Nguyễn “An”",
    answered_time=None,
    parked_until=None,
    recording=None,
    recorded_leg="",
    queue=None,
    legs=(Leg("01b7d166-b564-42ec-80a1-4ad343225934", "aleg", "101", "An", "CS_EXECUTE", "extension", "ACTIVE", True),),
    monitors=(),
    ids=("an earlier id",),
    created_us=1_623_173_857_000_000,
    answered_us=0,
    hold_us=0,
    hold_since_us=0,
)


def make(call_id: str, **changes: Any) -> Record:
    """A call that is as the sample where `changes` does not say otherwise."""
    return msgspec.structs.replace(SAMPLE, call_id=call_id, **changes)


class Naps:
    """A sleep that takes no time. `asked` are the seconds that were wanted, the newest 1,000."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        del self.asked[:-1000]
        await asyncio.sleep(0)


class Kept:
    """A RedisStore, the calls it is asked to keep, and the task that runs it."""

    def __init__(self, connect: Callable[[], "Redis"], sleep: Callable[[float], Awaitable[None]]) -> None:
        self.live: dict[str, Record] = {}
        self.store = RedisStore(connect, PREFIX, lambda switch: list(self.live.values()), sleep)
        self.running: asyncio.Task[None] | None = None

    def change(self, *updated: Record, gone: Iterable[str] = ()) -> None:
        """Calls of the switch change, as its table would tell."""
        gone = list(gone)
        for call_id in gone:
            del self.live[call_id]
        self.live |= {record.call_id: record for record in updated}
        self.store.publish("pbx", updated, gone)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the store does. Its failure fails the test."""
        running = self.running
        assert running is not None
        await until(lambda: running.done() or condition())
        if running.done():
            running.result()

    async def state(self, state: str, error: str = "") -> None:
        """Wait until the store says that it is so, with these words in the reason."""
        await self.until(lambda: self.store.status.state == state and error in (self.store.status.error or ""))

    async def holds(self, client: "Redis", calls: Mapping[str, Record] | None = None) -> None:
        """Wait until Redis has exactly these calls, as they are now; all that are live, if none are named."""
        running = self.running
        assert running is not None
        async with asyncio.timeout(20):
            while await read(client) != plain(self.live if calls is None else calls):
                if running.done():
                    running.result()
                # A fake answers at once, and would not let the store go on.
                await asyncio.sleep(0)


def plain(calls: Mapping[str, Record]) -> dict[str, Any]:
    """Calls as they are expected in Redis."""
    return {call_id: json.loads(json.dumps(msgspec.to_builtins(record))) for call_id, record in calls.items()}


async def read(client: "Redis", key: str = KEY) -> dict[str, Any]:
    """What a program of any language finds in the hash."""
    fields = await client.hgetall(key)
    return {str(field, "utf-8"): json.loads(value) for field, value in fields.items() if isinstance(field, bytes)}


@asynccontextmanager
async def keeping(
    connect: Callable[[], "Redis"], sleep: Callable[[float], Awaitable[None]] | None = None
) -> AsyncIterator[Kept]:
    """A store that runs. It sleeps no time at all unless `sleep` says."""
    kept = Kept(connect, sleep or Naps())
    running = kept.running = asyncio.create_task(kept.store.run())
    try:
        yield kept
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
