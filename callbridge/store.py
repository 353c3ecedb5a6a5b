"""Where the live calls are kept for other programs: a Redis hash for each switch, or nowhere.

`publish` never waits: it notes the last state of each call that has changed, and a task writes what is noted in
batches. While Redis is away nothing is noted at all; when it is back everything is written again. So memory follows
the live calls, not the events. Redis holds a projection, the truth is the switch: `memory://` needs no copy of it,
because the mirror has every call already.

The layout is in docs/redis.md.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, Protocol

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import RedisError

from callbridge.backoff import delays
from callbridge.records import Record

BATCH: Final = 500
"""Calls that one command writes at most: some 500 KB, which Redis takes in a few milliseconds."""

LINGER: Final = 0.005
"""Seconds that changes are collected before they are written: a call changes several times at once."""

ANSWER_TIMEOUT: Final = 5.0
"""Seconds that Redis may take for a connection or an answer."""

PING_AFTER: Final = 5.0
"""Seconds without a change after which Redis is asked whether it is there: one that is restarted on a quiet night has
lost every call, and only the broken connection tells of it."""

FIRST_RETRY: Final = 0.2
LAST_RETRY: Final = 5.0
"""Seconds between attempts to reach a Redis that is away: doubling, with jitter."""

log = structlog.get_logger("callbridge.store")


class StoreStatus(msgspec.Struct, frozen=True):
    """How the store is: `embedded`, `up`, or `down` with the reason."""

    state: Literal["embedded", "up", "down"]
    error: str | None = None


class Store(Protocol):
    """What the daemon needs of a store."""

    @property
    def status(self) -> StoreStatus:
        """How it is now."""

    def publish(self, switch: str, updated: Iterable[Record], gone: Iterable[str]) -> None:
        """Note changes to be written. Never waits, never fails."""

    def rewrite(self, switch: str) -> None:
        """The switch's list is right again: write all of it, and delete what is not in it."""

    async def run(self) -> None:
        """Write what is noted, until cancelled."""


class MemoryStore:
    """The embedded store. There is nothing to keep: the mirror has the calls, and the switch can tell them again."""

    status = StoreStatus("embedded")

    def publish(self, switch: str, updated: Iterable[Record], gone: Iterable[str]) -> None:
        """Nothing to do."""

    def rewrite(self, switch: str) -> None:
        """Nothing to do."""

    async def run(self) -> None:
        """Nothing to do, for ever."""
        await asyncio.Event().wait()


class RedisStore:
    """Keeps the hash of live calls of each switch up to date in one Redis.

    `records` gives all live calls of a switch as they are now; it is asked whenever everything is to be written.
    """

    def __init__(
        self,
        connect: Callable[[], "Redis"],
        prefix: str,
        records: Callable[[str], Iterable[Record]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.status = StoreStatus("down", "not connected yet")
        self._connect = connect
        self._prefix = prefix
        self._records = records
        self._sleep = sleep
        self._connected = False
        self._work = asyncio.Event()
        self._noted: dict[str, dict[str, Record | None]] = {}
        """switch -> call id -> what it is now, None for gone"""
        self._in_sync: set[str] = set()
        self._to_rewrite: set[str] = set()

    def __repr__(self) -> str:
        return f"<RedisStore {self.status.state}, {sum(map(len, self._noted.values()))} noted>"

    def publish(self, switch: str, updated: Iterable[Record], gone: Iterable[str]) -> None:
        """Note changes. While Redis is away there is nothing to note: all is written when it is back."""
        if not self._connected:
            return
        noted = self._noted.setdefault(switch, {})
        for call_id in gone:
            noted[call_id] = None
        for record in updated:
            noted[record.call_id] = record
        self._work.set()

    def rewrite(self, switch: str) -> None:
        """From now on the switch's hash may lose fields that are no live call's."""
        self._in_sync.add(switch)
        self._to_rewrite.add(switch)
        self._work.set()

    async def run(self) -> None:
        """Connect, write, and begin again after every failure."""
        waits = delays(FIRST_RETRY, LAST_RETRY)
        while True:
            client = self._connect()
            try:
                await client.ping()
                self._connected = True
                self._to_rewrite |= self._in_sync
                await self._write(client)
                # A Redis that is out of memory answers a ping as well: only a write proves that it takes one.
                self._tell(StoreStatus("up"))
                waits = delays(FIRST_RETRY, LAST_RETRY)
                while True:
                    if await self._has_work():
                        await self._sleep(LINGER)
                        await self._write(client)
                    else:
                        await client.ping()
                    _heed_cancellation()
            except (RedisError, OSError) as error:
                self._tell(StoreStatus("down", f"{error}" or type(error).__name__))
            finally:
                self._connected = False
                self._noted.clear()
                with suppress(RedisError, OSError):
                    await client.aclose()
            _heed_cancellation()
            await self._sleep(next(waits))

    async def _has_work(self) -> bool:
        """Whether there is something to write; False after `PING_AFTER` without."""
        try:
            async with asyncio.timeout(PING_AFTER):
                return await self._work.wait()
        except TimeoutError:
            return False

    def _tell(self, status: StoreStatus) -> None:
        if status.state != self.status.state or status.error != self.status.error:
            level = log.info if status.state == "up" else log.warning
            level("store." + status.state, error=status.error)
        self.status = status

    async def _write(self, client: "Redis") -> None:
        self._work.clear()
        rewrites, self._to_rewrite = self._to_rewrite, set()
        # What was noted before a rewrite is in it; what comes from now on is newer and waits for the next turn.
        noted, self._noted = self._noted, {}
        whole = {switch: {record.call_id: record for record in self._records(switch)} for switch in rewrites}
        for switch, changes in noted.items():
            if switch not in rewrites:
                live = {call_id: record for call_id, record in changes.items() if record is not None}
                await self._send(client, switch, live, [call_id for call_id in changes if call_id not in live])
        for switch, calls in whole.items():
            # As bytes, because what somebody else wrote need not be text; as text, if a URL asks for that.
            own = {*calls, *(call_id.encode() for call_id in calls)}
            there = await client.hkeys(self._key(switch))
            await self._send(client, switch, calls, [name for name in there if name not in own])

    async def _send(self, client: "Redis", switch: str, live: dict[str, Record], gone: Sequence[str | bytes]) -> None:
        # One command after the other: where one of a pipeline fails, redis-py puts its arguments, which are of calls,
        # into the message.
        key = self._key(switch)
        ids = list(live)
        for start in range(0, len(ids), BATCH):
            batch = ids[start : start + BATCH]
            await client.hset(key, items=[part for id_ in batch for part in (id_, msgspec.json.encode(live[id_]))])
        for start in range(0, len(gone), BATCH):
            await client.hdel(key, *gone[start : start + BATCH])

    def _key(self, switch: str) -> str:
        # The braces put all keys of one switch into one slot of a Redis Cluster.
        return f"{self._prefix}:{{{switch}}}:calls"


def _heed_cancellation() -> None:
    """End the task if that was asked for while redis-py wrote: it writes with `asyncio.wait_for`, which until Python
    3.12 forgets a cancellation that comes as the writing ends (github.com/python/cpython/issues/86296)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Client(Redis):
    """Tells of every connection that is lost by a RedisError. Where Redis has reset it, uvloop ends the transport at
    once and raises RuntimeError from the next write, and redis-py lets that through."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise ConnectionLost(f"the connection was lost ({error})") from None


def connect_to(url: str) -> "Redis":
    """A client for `redis://`, `rediss://` or `unix://`.

    It never sends anything twice by itself, and never connects again by itself, as a pool would: behind the second
    connection there may be a Redis that was restarted and is empty. It speaks the protocol that every Redis knows; one
    that wants a password answers the newer one's HELLO with a riddle instead of "Authentication required".
    """
    return _Client.from_url(
        url,
        single_connection_client=True,
        protocol=2,
        socket_timeout=ANSWER_TIMEOUT,
        socket_connect_timeout=ANSWER_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
