"""Everything that runs: a switch with calls, a real Redis, links that can be spoilt, real daemons."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
from redis.exceptions import RedisError

from callbridge.sharing.ledger import keys
from chaos.link import Link, passing
from chaos.pbx import Failed, Pbx, Seen, Simulated
from chaos.processes import PREFIX, PROGRAM, SWITCH, Daemon
from chaos.real import Real
from tests.redis_server import RedisServer

DAEMONS: Final = 2
"""How many follow the switch, on one Redis."""

LOOK_EVERY: Final = 0.1
LOOK_AFTER: Final = 0.05
"""Seconds between two looks, and the share of the time it has taken so far where that is more: looks hold the switch
up, and calls that never go on would stay wrong. It is the resolution of all figures."""

STAYS: Final = 1.0
"""Seconds for which a list has to stay right to have been right at their beginning."""

GIVE_UP: Final = 240.0
"""Seconds after which a list that is wrong ends the run."""


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
        return f"<World {self.pbx!r}, {self.daemons}>"

    @property
    def simulated(self) -> Simulated:
        """The switch, of a class that only the simulated one allows."""
        assert isinstance(self.pbx, Simulated)
        return self.pbx

    @property
    def real(self) -> Real:
        """The switch, of a class that only a real one allows."""
        assert isinstance(self.pbx, Real)
        return self.pbx

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
        self.pbx.calm()
        for link in (self.to_switch, self.to_redis):
            link.change(passing)

    # Whether it is right.

    async def wrong(self) -> list[str]:
        """What is wrong now, with any daemon's list or with Redis."""
        return await self.pbx.compare(self._look)

    async def _look(self) -> Seen:
        """The lists of the daemons and the hash, and who of them says that its list is not complete, or nothing.
        Raises Failed where a daemon has ended that nobody has killed."""
        lists: dict[str, Sequence[Mapping[str, Any]]] = {}
        wrong = []
        for number, daemon in enumerate(self.daemons):
            if daemon.ended:
                raise Failed(f"daemon {number} has ended by itself:\n{daemon.tail()}")
            try:
                listed = await daemon.list()
            except (aiohttp.ClientError, TimeoutError) as error:
                wrong.append(f"daemon {number} does not answer ({type(error).__name__})")
                continue
            lists[f"daemon {number}"] = listed.data
            if not listed.complete:
                wrong.append(f"daemon {number}: its list is not complete")
        try:
            lists["redis"] = await self._stored()
        except (RedisError, OSError, TimeoutError) as error:
            wrong.append(f"redis: {type(error).__name__}")
        return Seen(lists, wrong)

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
                    had.intersection_update(await self.pbx.living())
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
    folder: Path, pbx: Pbx, daemons: int = DAEMONS, program: tuple[str, ...] = PROGRAM
) -> AsyncIterator[World]:
    """Start everything; it ends with the block."""
    async with AsyncExitStack() as stack:
        (folder / "redis-0").mkdir()
        redis = RedisServer(folder / "redis-0")
        await redis.start()
        stack.push_async_callback(pbx.close)
        await pbx.start()
        to_switch = await stack.enter_async_context(Link(pbx.port))
        to_redis = await stack.enter_async_context(Link(redis.port))
        made = World(folder, pbx, redis, to_switch, to_redis)
        try:
            for number in range(daemons):
                own = folder / f"daemon-{number}"
                own.mkdir()
                daemon = Daemon(own, to_switch.port, pbx.password, to_redis.port, program)
                made.daemons.append(daemon)
                await daemon.start()
            yield made
        finally:
            for daemon in made.daemons:
                await daemon.close()
            await made.redis.kill()
