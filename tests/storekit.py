"""Daemons that share made-up calls over a Redis, and how that is looked at."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from redis.asyncio import Redis

from callbridge.mirror import Mirror
from callbridge.records import Ended, Leg, Record
from callbridge.sharing.claims import Claims, slot
from callbridge.sharing.client import connect
from callbridge.sharing.share import Share
from tests.service import until

PREFIX = "callbridge"
KEY = "callbridge:{pbx}:calls"
OWNER = "callbridge:{pbx}:owner"
HEAD = "callbridge:{pbx}:head"
CHANGES = "callbridge:{pbx}:changes"

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


class Switch:
    """What would follow a switch: its calls are what a test says."""

    def __init__(self, mirror: Mirror) -> None:
        self.calls: dict[str, Record] = {}
        self.leading = False
        self.sure = False
        self.core_uuid = ""
        self._status = mirror.switches["pbx"]

    def records(self) -> list[Record]:
        return list(self.calls.values())

    def lead(self, known: Sequence[Record], core_uuid: str, silent: float) -> None:
        if core_uuid:
            self.calls = {record.call_id: record for record in known} | self.calls
        self.core_uuid = "core"
        self.leading = self.sure = True
        self._status.state, self._status.error = "live", None

    def resign(self) -> None:
        self.calls, self.leading, self.sure, self.core_uuid = {}, False, False, ""


class Daemon:
    """A share of one switch, the calls it is to share, and the task that runs it."""

    def __init__(
        self,
        find: Callable[[], Awaitable["Redis"]],
        name: str = "one",
        sleep: Callable[[float], Awaitable[None]] | None = None,
        clock: Callable[[], float] | None = None,
        writes: bool = True,
    ) -> None:
        self.mirror = Mirror(["pbx"])
        self.source = Switch(self.mirror)
        self.status = self.mirror.switches["pbx"]
        self.clock = clock or asyncio.get_running_loop().time
        self.naps = Naps()
        self.share = Share(
            "pbx", PREFIX, name, find, self.mirror, self.source, self.clock, sleep or self.naps, writes=writes
        )
        self.running: asyncio.Task[None] | None = None

    @property
    def calls(self) -> dict[str, Record]:
        """What readers of this daemon see."""
        return {record.call_id: record for record in self.mirror.records("pbx")}

    def change(self, *updated: Record, gone: Iterable[str] = (), ended: Iterable[Ended] = ()) -> None:
        """Calls of the switch change, as whoever follows it would tell."""
        gone, ended = list(gone), list(ended)
        for call_id in gone:
            del self.source.calls[call_id]
        self.source.calls |= {record.call_id: record for record in updated}
        self.mirror.apply("pbx", updated, gone, ended, self.clock())
        self.share.publish(updated, gone, ended)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the share does. Its failure fails the test."""
        running = self.running
        assert running is not None
        await until(lambda: running.done() or condition())
        if running.done():
            running.result()

    async def store(self, state: str, error: str = "") -> None:
        """Wait until the store is said to be so, with these words in the reason."""
        await self.until(lambda: self.share.status.state == state and error in (self.share.status.error or ""))

    async def owns(self) -> None:
        """Wait until this one is the owner, and all is written."""
        await self.until(lambda: repr(self.share) == "<Share pbx up, owner, 0 noted>")

    async def follows(self, other: "Daemon") -> None:
        """Wait until this one shows what the other does."""
        await self.until(
            lambda: (
                (self.calls, self.status.state, self.status.run, self.status.seq)
                == (other.calls, other.status.state, other.status.run, other.status.seq)
            )
        )

    async def holds(self, client: "Redis", calls: Mapping[str, Record] | None = None) -> None:
        """Wait until Redis has exactly these calls, as they are now; all that are live, if none are named."""
        running = self.running
        assert running is not None
        async with asyncio.timeout(20):
            while await read(client) != plain(self.source.calls if calls is None else calls):
                if running.done():
                    running.result()

    async def stop(self) -> None:
        """A clean end."""
        assert self.running is not None
        self.running.cancel()
        with suppress(asyncio.CancelledError):
            await self.running


def plain(calls: Mapping[str, Record]) -> dict[str, Any]:
    """Calls as they are expected in Redis."""
    return {call_id: json.loads(json.dumps(msgspec.to_builtins(record))) for call_id, record in calls.items()}


async def read(client: "Redis", key: str = KEY) -> dict[str, Any]:
    """What a program of any language finds in the hash."""
    fields = await client.hgetall(key)
    return {str(field, "utf-8"): json.loads(value) for field, value in fields.items() if isinstance(field, bytes)}


class Claiming:
    """The claims of a daemon, and the task that runs them."""

    def __init__(self, find: Callable[[], Awaitable["Redis"]]) -> None:
        self.naps = Naps()
        self.claims = Claims(PREFIX, find, self.naps)
        self.running = asyncio.create_task(self.claims.run())

    async def become(self, state: str, error: str = "") -> None:
        """Wait until Redis is said to be so, with these words in the reason."""

        def is_so() -> bool:
            status = self.claims.status
            return self.running.done() or (status.state == state and error in (status.error or ""))

        await until(is_so)
        if self.running.done():
            self.running.result()

    async def stop(self) -> None:
        """A clean end."""
        self.running.cancel()
        with suppress(asyncio.CancelledError):
            await self.running


@asynccontextmanager
async def claiming(url: str) -> AsyncIterator[Claiming]:
    """Claims that are made at once while Redis is there. They sleep no time at all."""
    claiming = Claiming(lambda: connect(url, slot(PREFIX)))
    try:
        yield claiming
    finally:
        await claiming.stop()


@asynccontextmanager
async def sharing(url: str, name: str = "one", **options: Any) -> AsyncIterator[Daemon]:
    """A daemon that runs. It sleeps no time at all unless `sleep` says."""
    daemon = Daemon(lambda: connect(url, OWNER), name, **options)
    daemon.running = asyncio.create_task(daemon.share.run())
    try:
        yield daemon
    finally:
        await daemon.stop()
