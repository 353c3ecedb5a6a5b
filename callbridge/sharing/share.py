"""Several daemons on one Redis. Of each switch one is the owner: it follows the switch and writes; the others follow.

Who owns a switch is a lease in Redis. Every write is refused there once the lease is another's (`ledger`); and by its
own clock the owner takes it for lost when its last renewal was begun longer ago than it lasts.

`publish` never waits: it notes the last state of each call that has changed, and a task for each switch writes what is
noted in batches. While Redis is away nothing is noted at all; when it is back everything is written again.

Without Redis nobody knows who owns a switch. Whoever follows it goes on, and so does everyone else that may write, for
itself, once a lease has run out since Redis was last heard of: the list is right in every daemon, and nobody writes.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from callbridge.backoff import delays
from callbridge.mirror import Mirror
from callbridge.records import Ended, Record
from callbridge.sharing.claims import Claims
from callbridge.sharing.client import close, endable
from callbridge.sharing.follower import Follower
from callbridge.sharing.ledger import GapFound, Head, LeaseLost, Ledger, State
from callbridge.sharing.noted import Batch, Noted
from callbridge.store import StoreStatus

BATCH: Final = 500
"""Calls that one write has at most: some 500 KB, which Redis takes in a few milliseconds."""

LINGER: Final = 0.005
"""Seconds that changes are collected before they are written: a call changes several times at once."""

LEASE: Final = 10.0
"""Seconds that a lease lasts: a daemon that dies is replaced after this at the latest."""

RENEW_AFTER: Final = 3.0
"""Seconds after which the owner writes although nothing has changed: its lease goes on, those who follow hear that it
is there, and a Redis that has lost everything is found out."""

LOOK_AFTER: Final = 1.0
"""Seconds after which a follower looks whether the lease is free. When it is given up, it hears of it at once."""

LOOK_AT_HEIR: Final = 0.05
"""Seconds between looks whether another daemon that has the lease now has written its calls; it takes some
milliseconds."""

FIRST_RETRY: Final = 0.2
LAST_RETRY: Final = 5.0
"""Seconds between attempts to reach a Redis that is away: doubling, with jitter. A lease outlives two of them."""

RELEASE_TIMEOUT: Final = 1.0
"""Seconds that giving up the lease may take at the end."""

log = structlog.get_logger("callbridge.store")


class Source(Protocol):
    """Whoever can follow the switch itself: the reflector."""

    sure: bool
    """Whether all calls of the switch are known since it does."""
    core_uuid: str
    """The run of the switch that the calls are of."""

    @property
    def leading(self) -> bool:
        """Whether it does."""

    def records(self) -> list[Record]:
        """The calls, as they were last published."""

    def lead(self, known: Sequence[Record], core_uuid: str, silent: float) -> None:
        """Begin with these calls of that run of the switch, which was last heard of `silent` seconds ago."""

    def resign(self) -> None:
        """Leave the switch and the mirror to another daemon."""


class Share:
    """One switch in Redis. `connect` gives a client that is new; `daemon` names this one for who looks into Redis."""

    def __init__(
        self,
        switch: str,
        prefix: str,
        daemon: str,
        connect: Callable[[], Awaitable["Redis"]],
        mirror: Mirror,
        source: Source,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        writes: bool = True,
    ) -> None:
        self.status = StoreStatus("down", "not connected yet")
        self._switch = switch
        self._prefix = prefix
        self._daemon = daemon
        self._connect = connect
        self._mirror = mirror
        self._source = source
        self._clock = clock
        self._sleep = sleep
        self._writes = writes
        self._follower = Follower(switch, mirror, LEASE)
        self._lease = ""
        self._begun = ""
        """The lease with which it has begun to follow the switch and to count."""
        self._renewed = 0.0
        """When the last renewal was begun that has succeeded."""
        self._number = 0
        """Of the last write of this lease."""
        self._heard: float | None = None
        """When Redis last answered."""
        self._noting = False
        self._removed = False
        self._noted = Noted()
        self._work = asyncio.Event()
        self._log = log.bind(switch=switch)

    def __repr__(self) -> str:
        role = "owner" if self._noting else "leads alone" if self._source.leading else "follower"
        return f"<Share {self._switch} {self.status.state}, {role}, {len(self._noted)} noted>"

    def publish(self, updated: Iterable[Record], gone: Iterable[str], ended: Iterable[Ended]) -> None:
        """Note changes. Without the lease there is nothing to note: all is written when it is there."""
        if self._noting:
            self._noted.note(updated, gone, ended, self._mirror.switches[self._switch].seq)
            self._work.set()

    def touch(self) -> None:
        """What is said of the switch is to be written."""
        if self._noting:
            self._work.set()

    def remove(self) -> None:
        """The switch is none of this daemon's any more: when `run` ends, what is in Redis of it goes as well, unless
        another daemon is the owner."""
        self._removed = True

    async def run(self) -> None:
        """Own the switch or follow its owner, and begin again after every failure. Gives up the lease at the end."""
        try:
            await endable(self._try())
        finally:
            # As a task of its own: this one may be cancelled, and what it waits for then knows that.
            releasing = asyncio.create_task(self._release())
            await asyncio.wait([releasing], timeout=RELEASE_TIMEOUT)
            releasing.cancel()

    async def _try(self) -> None:
        waits = delays(FIRST_RETRY, LAST_RETRY)
        while True:
            client = None
            try:
                client = await self._connect()
                await self._take_part(Ledger(client, self._prefix, self._switch, round(LEASE * 1000)))
            except (RedisError, OSError) as error:
                if self.status.state == "up":
                    waits = delays(FIRST_RETRY, LAST_RETRY)
                self._lost(f"{error}" or type(error).__name__)
            finally:
                self._noting = False
                self._noted.clear()
                await close(client)
            await self._sleep(next(waits))

    # While Redis is there.

    async def _take_part(self, ledger: Ledger) -> None:
        if self._follower.core_uuid and not self._source.leading:
            # Whoever led until Redis went knows the newest calls, and is about to come back.
            await self._follow(ledger, patience=LEASE)
        while True:
            if self._writes and await self._claim(ledger):
                await self._own(ledger)
            elif self._source.leading and not await ledger.is_written():
                # What is shown here is newer than what is left in Redis.
                await self._sleep(LOOK_AT_HEIR)
            else:
                await self._follow(ledger)

    async def _claim(self, ledger: Ledger) -> bool:
        began = self._clock()
        lease = await ledger.claim(self._lease, self._daemon)
        self._heard = self._clock()
        if lease is None:
            self._lease = ""
            return False
        self._lease, self._renewed = lease, began
        if lease != self._begun:
            await self._begin(ledger)
        return True

    async def _begin(self, ledger: Ledger) -> None:
        """The lease is a new one: follow the switch, and count anew."""
        if not (self._source.leading and self._source.sure):
            # What is written over is taken in first. So nothing is deleted that this daemon has not seen end.
            known = await ledger.snapshot()
            if known.whole and not self._follower.is_outdated(known):
                silent = known.silent + ((known.state and known.state.age) or 0.0)
                self._source.lead(known.records, known.core_uuid, silent)
            else:
                # Redis has lost what it had, or its owner died over it: what is shown here is nearer to the truth.
                self._lead_on(known.records)
        self._mirror.replace(self._switch, self._source.records(), self._run, 0, self._clock())
        self._begun = self._lease
        self._log.info("store.owner", daemon=self._daemon)

    async def _own(self, ledger: Ledger) -> None:
        """Write, until the lease is lost."""
        self._noting = True
        try:
            await self._write_all(ledger)
            self._tell(StoreStatus("up"))
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(RENEW_AFTER):
                        await self._work.wait()
                        await self._sleep(LINGER)
                self._work.clear()
                await self._write_noted(ledger)
        except LeaseLost:
            self._log.warning("store.lease_lost")
        finally:
            self._noting = False
            self._noted.clear()

    async def _write_noted(self, ledger: Ledger) -> None:
        while not self._noted.overflowed:
            batch = self._noted.take(BATCH, self._seq)
            try:
                await self._write(ledger, batch, before=self._number)
            except GapFound:
                break
            if not self._noted:
                return
        await self._write_all(ledger)

    async def _write_all(self, ledger: Ledger) -> None:
        """The hash is what the calls are now, whatever is there. Those who follow read it when it is whole."""
        self._noted.clear()
        calls = {record.call_id: record for record in self._source.records()}
        seq, records = self._seq, list(calls.values())
        strangers = await ledger.strangers(calls)
        # Each has at most as many of both as a script can hand on.
        size = max(len(records), len(strangers))
        for start in range(0, size, BATCH):
            end = start + BATCH
            part = Batch(seq, records[start:end], strangers[start:end], [])
            await self._write(ledger, part, before=None, whole=False)
        await self._write(ledger, Batch(seq, [], [], []), before=None, reset=True)

    async def _write(
        self, ledger: Ledger, batch: Batch, before: int | None, *, whole: bool = True, reset: bool = False
    ) -> None:
        began = self._clock()
        if began - self._renewed > LEASE:
            raise LeaseLost
        core_uuid = self._source.core_uuid
        head = Head(before, self._number + 1, self._run, self._state(), core_uuid, whole, reset)
        await ledger.write(self._lease, head, batch)
        self._number += 1
        self._renewed = began
        self._heard = self._clock()

    async def _follow(self, ledger: Ledger, patience: float = 0.0) -> None:
        """Show what the owner writes, until the lease is free, or given back; for so many seconds only that."""
        known = await self._load(ledger)
        self._tell(StoreStatus("up"))
        looked = self._clock()
        patient_until = looked + patience
        while True:
            entries = await ledger.changes(known, round(LOOK_AFTER * 1000))
            now = self._heard = self._clock()
            whole = True
            for entry in entries:
                known = entry.id
                whole = whole and self._follower.take(entry, now)
            if not whole:
                known = await self._load(ledger)
            self._follower.check(now)
            released = any(entry.released for entry in entries)
            if self._writes and (now - looked >= LOOK_AFTER or not entries or released):
                looked = now
                if (released or now >= patient_until) and await ledger.is_free():
                    return

    async def _load(self, ledger: Ledger) -> str:
        snapshot = await ledger.snapshot()
        self._heard = self._clock()
        if self._source.leading:
            self._source.resign()
            self._follower.begin(self._heard)
        self._follower.load(snapshot, self._heard)
        return snapshot.entry

    # While it is not.

    def _lost(self, reason: str) -> None:
        now = self._clock()
        self._tell(StoreStatus("down", reason))
        if self._source.leading:
            return
        self._follower.doubt("Redis is away", now)
        if self._writes and (self._heard is None or now - self._heard > LEASE):
            self._log.warning("store.alone")
            self._lead_on([])
            self._mirror.replace(self._switch, self._source.records(), secrets.token_hex(8), 0, now)

    def _lead_on(self, others: Iterable[Record]) -> None:
        """Begin with what this daemon shows, and others that it does not know."""
        status = self._mirror.switches[self._switch]
        silent = 0.0 if status.seen is None else self._clock() - status.seen
        self._source.lead([*self._mirror.records(self._switch), *others], self._follower.core_uuid, silent)

    async def _release(self) -> None:
        """Give up the lease, over a connection that nothing is under way on."""
        if not self._lease:
            return
        client = None
        try:
            client = await self._connect()
            ledger = Ledger(client, self._prefix, self._switch, 0)
            await (ledger.remove(self._lease) if self._removed else ledger.release(self._lease))
        except (RedisError, OSError) as error:
            # The lease ends by itself; what was to be removed stays.
            level = self._log.error if self._removed else self._log.warning
            level("store.not_removed" if self._removed else "store.not_released", error=f"{error}")
        finally:
            await close(client)

    @property
    def _run(self) -> str:
        """What names this daemon's writes: the token of the lease."""
        return self._lease.partition(" ")[0]

    @property
    def _seq(self) -> int:
        return self._mirror.switches[self._switch].seq

    def _state(self) -> State:
        status, now = self._mirror.switches[self._switch], self._clock()
        return State(
            status.state,
            status.error,
            status.corrections,
            status.zombies,
            None if status.seen is None else max(0.0, now - status.seen),
            None if status.since is None else max(0.0, now - status.since),
        )

    def _tell(self, status: StoreStatus) -> None:
        if status != self.status:
            level = self._log.info if status.state == "up" else self._log.warning
            level("store." + status.state, error=status.error)
        self.status = status


class SharedStore:
    """Every switch in Redis, and what commands claim there."""

    def __init__(self, shares: dict[str, Share], claims: Claims) -> None:
        self._shares = shares
        self._claims = claims

    def __repr__(self) -> str:
        return f"<SharedStore {list(self._shares.values())}>"

    @property
    def status(self) -> StoreStatus:
        """Up, if it is for every switch and for commands."""
        parts: tuple[Share | Claims, ...] = (*self._shares.values(), self._claims)
        return next((part.status for part in parts if part.status.state != "up"), StoreStatus("up"))

    def publish(self, switch: str, updated: Iterable[Record], gone: Iterable[str], ended: Iterable[Ended]) -> None:
        """Note changes of a switch."""
        self._shares[switch].publish(updated, gone, ended)

    def touch(self, switch: str) -> None:
        """What is said of the switch has changed."""
        self._shares[switch].touch()

    async def run(self, switch: str) -> None:
        """Have the switch owned or followed."""
        await self._shares[switch].run()
