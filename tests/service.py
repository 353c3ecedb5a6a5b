"""callbridge from the event socket to HTTP, as tests drive it: its clock moves only when a test says so."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from itertools import count
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from callbridge.commands.console import Console
from callbridge.config import Config, Switch, Token
from callbridge.daemon import make_desk
from callbridge.http.app import make_app
from callbridge.mirror import Mirror
from callbridge.reflector import Reflector
from callbridge.store import MemoryStore

TOKEN = "a token for every tenant"
PASSWORD = "ClueCon"


class Clock:
    """A clock that stands still until it is moved, and sleep on it."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._serial = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self.now

    @property
    def sleepers(self) -> int:
        """How many sleep."""
        return sum(not awake.done() for _, _, awake in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        awake = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._serial), awake))
        await awake

    def move_to(self, now: float) -> None:
        """It is `now`, and whoever slept until then or until before wakes up."""
        self.now = max(self.now, now)
        while self._sleepers and self._sleepers[0][0] <= self.now:
            awake = heapq.heappop(self._sleepers)[2]
            if not awake.done():
                awake.set_result(None)

    def pass_time(self, seconds: float) -> None:
        self.move_to(self.now + seconds)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Let the loop turn until `condition` holds; `seconds` is for a test that fails, not for one that passes."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - there is no one event for what tests wait for
            await asyncio.sleep(0)


class Followed:
    """A reflector at work, and what readers see of it."""

    def __init__(self, port: int, events: str, password: str, clock: Clock) -> None:
        form: Any = events
        self.clock = clock
        self.config = Config(
            switch=(Switch("pbx", f"127.0.0.1:{port}", password=password, events=form),),
            token=(Token("everything", sha256(TOKEN.encode()).hexdigest(), ("read",)),),
        )
        self.mirror = Mirror(["pbx"])
        self.reflector = Reflector(
            self.config.switch[0], self.mirror, MemoryStore(), Console("pbx"), clock, clock.sleep
        )
        self.reflector.lead()
        self.status = self.reflector.status
        self.running = asyncio.create_task(self.reflector.run())
        self.sequence = 0
        """Event-Sequence of the last event that came in."""
        apply = self.reflector.table.apply

        def noting(event: Any, now: float) -> None:
            apply(event, now)
            if event.name != "CHANNEL_DATA":
                self.sequence = event.sequence

        self.reflector.table.apply = noting  # type: ignore[method-assign]

    @property
    def ids(self) -> set[str]:
        return {entry.record.call_id for entry in self.mirror.listing(None)}

    async def state(self, state: str) -> None:
        """Wait until the switch is said to be in that state."""
        await until(lambda: self.status.state == state)

    async def live(self) -> None:
        """Let it come live: the second list, a second after the first, makes it so."""
        await self.state("syncing")
        # The clock moves in steps: a list is asked for in between, and its probes answered.
        async with asyncio.timeout(20):
            while self.status.state != "live":
                self.clock.pass_time(0.001)
                await asyncio.sleep(0)

    async def settled(self) -> None:
        """Everything is done that time alone has brought."""

        def done() -> bool:
            due = self.reflector.table.next_deadline()
            return due is None or due > self.clock.now

        await until(done)


@asynccontextmanager
async def following(
    port: int, *, events: str = "json", password: str = PASSWORD, clock: Clock | None = None
) -> AsyncIterator[Followed]:
    """A reflector that follows the switch on `port`; a failure of its own fails the test."""
    followed = Followed(port, events, password, clock or Clock())
    try:
        yield followed
    finally:
        followed.running.cancel()
        with suppress(asyncio.CancelledError):
            await followed.running


@asynccontextmanager
async def api(followed: Followed) -> AsyncIterator[TestClient[Any, Any]]:
    """A client of the API before it, with a token for everything."""
    desk = make_desk(followed.config, followed.mirror, {}, followed.clock)
    app = make_app(followed.config, followed.mirror, MemoryStore(), desk, followed.clock)
    async with TestClient(TestServer(app), headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client
