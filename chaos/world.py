"""Everything that runs: a simulated switch with calls, a real Redis, links that can be spoilt, real daemons."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
from redis.exceptions import RedisError

from callbridge.sharing.ledger import keys
from callbridge.simulator.server import EventSocket
from callbridge.simulator.switch import Switch
from callbridge.simulator.traffic import Load, Traffic
from chaos import truth
from chaos.link import Link, passing
from chaos.processes import PREFIX, PROGRAM, SWITCH, Daemon, Failed
from tests.redis_server import RedisServer

DAEMONS: Final = 2
"""How many follow the switch, on one Redis."""

BREATH: Final = 0.2
"""Seconds at most that the switch holds its breath while a list is compared. A list that is right is right within some
15 ms: what is still under way has come by then."""

LOOK_EVERY: Final = 0.1
LOOK_AFTER: Final = 0.05
"""Seconds between two looks, and the share of the time it has taken so far where that is more: looks hold the switch
up, and calls that never go on would stay wrong. It is the resolution of all figures."""

STAYS: Final = 1.0
"""Seconds for which a list has to stay right to have been right at their beginning."""

GIVE_UP: Final = 240.0
"""Seconds after which a list that is wrong ends the run."""


class Breath:
    """The clock of the switch: it can be held, so that nothing happens there while lists are compared."""

    def __init__(self) -> None:
        self._held_at: float | None = None
        self._lost = 0.0

    def __call__(self) -> float:
        return (time.monotonic() if self._held_at is None else self._held_at) - self._lost

    def hold(self) -> None:
        """It stands still."""
        self._held_at = time.monotonic()

    def go_on(self) -> None:
        """It goes on from where it stood."""
        if self._held_at is not None:
            self._lost += time.monotonic() - self._held_at
            self._held_at = None


class Pbx:
    """A simulated switch on one port, with traffic; another run of it has other calls and another Core-UUID."""

    def __init__(self, load: Load, seed: int) -> None:
        self.clock = Breath()
        self.port = 0
        self.jump_us = 0
        """By how much its wall clock is wrong."""
        self._load = load
        self._seed = seed
        self._running: asyncio.Task[None] | None = None
        self._make()

    def _make(self) -> None:
        self.switch = Switch(self._seed, lambda: time.time_ns() // 1000 + self.jump_us, self.clock)
        self._traffic = Traffic(self.switch, self._load, self.clock, self._seed)
        self.server = EventSocket(self.switch, port=self.port)

    async def start(self) -> None:
        """It listens, and calls come and go."""
        self.port = await self.server.__aenter__()
        self._running = asyncio.create_task(self._traffic.run())

    async def stop(self, reason: str = "") -> None:
        """It is gone, with a notice if there is a reason; what comes up next is another run of it."""
        assert self._running is not None
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        if reason:
            self.switch.announce("SHUTDOWN", [("Event-Info", "System Shutting Down")])
            self.server.disconnect(reason)
        await self.server.__aexit__()
        self._seed += 1_000_003
        self._make()


class World:
    """See the module. `to_switch` and `to_redis` are the links."""

    def __init__(self, folder: Path, pbx: Pbx, redis: RedisServer, to_switch: Link, to_redis: Link) -> None:
        self.pbx = pbx
        self.redis = redis
        self.to_switch = to_switch
        self.to_redis = to_redis
        self.daemons: list[Daemon] = []
        self.last_wrong: list[str] = []
        """What was wrong when it was last looked at and not right."""
        self._folder = folder
        self._servers = 0

    def __repr__(self) -> str:
        return f"<World {self.pbx.switch!r}, {self.daemons}>"

    @property
    def switch(self) -> Switch:
        """The switch as it runs now."""
        return self.pbx.switch

    def another_redis(self, *options: str) -> RedisServer:
        """One that is not started."""
        self._servers += 1
        folder = self._folder / f"redis-{self._servers}"
        folder.mkdir()
        return RedisServer(folder, *options)

    async def owner(self) -> Daemon:
        """The daemon that writes. Raises Failed where none does."""
        async with self.redis.client() as client:
            lease: Any = await client.get(keys(PREFIX, SWITCH)[0]) or b""
        for daemon in self.daemons:
            if lease.endswith(b":%d" % daemon.pid):
                return daemon
        raise Failed(f"no daemon has the lease: {lease!r}")

    async def calm(self) -> None:
        """Nothing is spoilt any more."""
        for name, value in msgspec.structs.asdict(type(self.switch.faults)()).items():
            setattr(self.switch.faults, name, value)
        for link in (self.to_switch, self.to_redis):
            link.change(passing)

    # Whether it is right.

    async def wrong(self) -> list[str]:
        """What is wrong now, with any daemon's list or with Redis, while the switch holds its breath."""
        _, found = await self._ask()
        if found:
            return found
        self.pbx.clock.hold()
        try:
            found = await self._differences()
            until = time.monotonic() + BREATH
            while found and time.monotonic() < until:
                await asyncio.sleep(0.01)
                found = await self._differences()
        finally:
            self.pbx.clock.go_on()
        return found

    async def _differences(self) -> list[str]:
        lists, found = await self._ask()
        for number, rows in lists.items():
            found += [f"daemon {number}: {what}" for what in truth.differences(rows, self.switch)]
        try:
            found += [f"redis: {what}" for what in truth.differences(await self._stored(), self.switch)]
        except (RedisError, OSError, TimeoutError) as error:
            found.append(f"redis: {type(error).__name__}")
        return found

    async def _ask(self) -> tuple[dict[int, list[dict[str, str]]], list[str]]:
        """The rows of each daemon's list, by its number, and which daemons say that theirs is not complete, or nothing.
        Raises Failed where one has ended that nobody has killed."""
        lists, found = {}, []
        for number, daemon in enumerate(self.daemons):
            if daemon.ended:
                raise Failed(f"daemon {number} has ended by itself:\n{daemon.tail()}")
            try:
                listed = await daemon.list()
            except (aiohttp.ClientError, TimeoutError) as error:
                found.append(f"daemon {number} does not answer ({type(error).__name__})")
                continue
            lists[number] = listed.data
            if not listed.complete:
                found.append(f"daemon {number}: its list is not complete")
        return lists, found

    async def _stored(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(2), self.redis.client() as client:
            values = await client.hvals(f"{PREFIX}:{{{SWITCH}}}:calls")
        return [msgspec.json.decode(value) for value in values]

    async def until_right(self) -> float:
        """Wait until everything is right, and stays so. Returns after how many seconds it was. Raises Failed."""
        began = time.monotonic()
        since: float | None = None
        while True:
            found = await self.wrong()
            now = time.monotonic()
            if found:
                since, self.last_wrong = None, found
                if now - began > GIVE_UP:
                    logs = "\n".join(daemon.tail() for daemon in self.daemons)
                    raise Failed(f"it is still wrong after {GIVE_UP:.0f} s: {summary(found)}\n{logs}")
            elif since is None:
                since = now
            elif now - since >= STAYS:
                return since - began
            await asyncio.sleep(max(LOOK_EVERY, (now - began) * LOOK_AFTER))

    async def never_lost(self) -> str:
        """What a list has lost that it had and that lives: looks until cancelled, gives the first it finds."""
        known: list[set[str]] = [set() for _ in self.daemons]
        while True:
            for had, daemon in zip(known, self.daemons, strict=True):
                if daemon.ended:
                    # What begins anew has nothing yet, and says so.
                    had.clear()
                with suppress(aiohttp.ClientError, TimeoutError):
                    listed = {row["call_id"] for row in (await daemon.list()).data}
                    had.intersection_update(truth.calls(self.switch))
                    if lost := had - listed:
                        return f"{len(lost)} live calls were lost from a list for a while, as {min(lost)}"
                    had.update(listed)
            await asyncio.sleep(2 * LOOK_EVERY)


def summary(found: Iterable[str]) -> str:
    """The first few, and how many there are."""
    found = list(found)
    return "; ".join(found[:4]) + (f"; {len(found)} in all" if len(found) > 4 else "")


@asynccontextmanager
async def world(
    folder: Path, load: Load, seed: int, daemons: int = DAEMONS, program: tuple[str, ...] = PROGRAM
) -> AsyncIterator[World]:
    """Start everything; it ends with the block."""
    pbx = Pbx(load, seed)
    async with AsyncExitStack() as stack:
        (folder / "redis-0").mkdir()
        redis = RedisServer(folder / "redis-0")
        await redis.start()
        await pbx.start()
        to_switch = await stack.enter_async_context(Link(pbx.port))
        to_redis = await stack.enter_async_context(Link(redis.port))
        made = World(folder, pbx, redis, to_switch, to_redis)
        try:
            for number in range(daemons):
                own = folder / f"daemon-{number}"
                own.mkdir()
                daemon = Daemon(own, to_switch.port, to_redis.port, program)
                made.daemons.append(daemon)
                await daemon.start()
            yield made
        finally:
            for daemon in made.daemons:
                await daemon.close()
            await pbx.stop()
            await made.redis.kill()
