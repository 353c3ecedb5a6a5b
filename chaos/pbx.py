"""The switch that the daemons follow: what a run needs of it, and the simulated one. The real one is in `real.py`."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final, Literal, Protocol

import msgspec

from callbridge.simulator.server import EventSocket
from callbridge.simulator.switch import Switch
from callbridge.simulator.traffic import Load, Traffic
from chaos import truth

BREATH: Final = 0.5
"""Seconds at most that the switch holds its breath while a list is compared. A list that is right is right within some
15 ms: what is still under way has come by then."""

SELDOM: Final = (200_000, 50, 100)
"""How often garbage is looked for. Looking through all channels of the switch holds everything here up for 180 ms
(measured), and what was under way then looks as if a list were wrong."""


class Failed(Exception):
    """The run cannot go on."""


class Absent(Failed):
    """A fault has not come about."""


class Seen(msgspec.Struct, frozen=True):
    """One look at everything: the rows of each list by its name, and what is wrong whatever the switch says."""

    lists: Mapping[str, Sequence[Mapping[str, Any]]]
    wrong: list[str]

    def against(self, true: truth.Truth) -> list[str]:
        """All that is wrong."""
        compared = ((name, truth.differences(rows, true)) for name, rows in self.lists.items())
        return self.wrong + [f"{name}: {what}" for name, found in compared for what in found]


Kind = Literal["simulated", "real"]
Look = Callable[[], Awaitable[Seen]]


class Pbx(Protocol):
    """A switch with calls on one port, which can come up and go down; what comes up again is another run of it."""

    kind: Kind
    port: int
    password: str

    async def start(self) -> None:
        """It listens, and calls come and go."""

    async def kill(self) -> None:
        """It is gone, without a word."""

    async def shut_down(self) -> None:
        """It is gone, in order."""

    async def overflow(self, chance: Random) -> None:
        """Whoever listens and reads nothing is to be thrown out. Returns when that is so; it is done, and the switch
        answers again, when that one reads."""

    async def living(self) -> set[str]:
        """The ids of the calls that live."""

    async def compare(self, look: Look) -> list[str]:
        """What is wrong with what is looked at."""

    def calm(self) -> None:
        """Nothing is wrong with it any more."""

    async def close(self) -> None:
        """It is gone for good."""


async def until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until it is done. Raises Absent."""
    give_up = time.monotonic() + seconds
    while not done():
        if time.monotonic() > give_up:
            raise Absent(f"the fault has not come about within {seconds:.0f} s")
        await asyncio.sleep(0.01)


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


class Simulated:
    """The simulated switch, with traffic. See Pbx."""

    kind: Kind = "simulated"

    def __init__(self, load: Load, seed: int) -> None:
        self.port = 0
        self.jump_us = 0
        """By how much its wall clock is wrong."""
        self._clock = Breath()
        self._load = load
        self._seed = seed
        self._running: asyncio.Task[None] | None = None
        self._make()

    def __repr__(self) -> str:
        return f"<Simulated {self.switch!r}>"

    def _make(self) -> None:
        self.switch = Switch(self._seed, lambda: time.time_ns() // 1000 + self.jump_us, self._clock)
        self._traffic = Traffic(self.switch, self._load, self._clock, self._seed)
        self.server = EventSocket(self.switch, port=self.port)
        self.password = self.server.password

    async def start(self) -> None:
        """See Pbx."""
        self.port = await self.server.__aenter__()
        gc.freeze()
        gc.set_threshold(*SELDOM)
        self._running = asyncio.create_task(self._traffic.run())

    async def kill(self) -> None:
        """See Pbx."""
        await self._end_calls()
        await self._close()

    async def shut_down(self) -> None:
        """See Pbx."""
        await self._end_calls()
        self.switch.announce("SHUTDOWN", [("Event-Info", "System Shutting Down")])
        self.server.disconnect("Disconnected, goodbye.\n")
        await self._close()

    async def close(self) -> None:
        """See Pbx."""
        if self._running is not None:
            await self.kill()

    async def _end_calls(self) -> None:
        assert self._running is not None
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running
        self._running = None

    async def _close(self) -> None:
        await self.server.__aexit__()
        self._seed += 1_000_003
        self._make()

    async def overflow(self, chance: Random) -> None:
        """See Pbx."""
        self.switch.faults.max_queue = chance.randint(100, 2000)
        listening = [session for session in self.server.sessions if session.wants("CHANNEL_CREATE")]
        await until(lambda: self.server.waits_for is not None or not self.server.sessions.intersection(listening))

    async def living(self) -> set[str]:
        """See Pbx."""
        return set(truth.calls(self.switch))

    async def compare(self, look: Look) -> list[str]:
        """See Pbx. It holds its breath meanwhile, unless something is wrong anyway."""
        if found := (await look()).wrong:
            return found
        self._clock.hold()
        try:
            in_time = time.monotonic() + BREATH
            while found := (await look()).against(truth.told(self.switch)):
                if time.monotonic() > in_time:
                    break
                await asyncio.sleep(0.01)
        finally:
            self._clock.go_on()
        return found

    def calm(self) -> None:
        """See Pbx."""
        for name, value in msgspec.structs.asdict(type(self.switch.faults)()).items():
            setattr(self.switch.faults, name, value)
