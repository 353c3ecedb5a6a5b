"""Calls by the dozen or by the thousand: who calls whom, how often and for how long, repeatable by a seed."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import Final

import msgspec

from callbridge.simulator.channel import Habits
from callbridge.simulator.commands import Commands
from callbridge.simulator.machine import Machine
from callbridge.simulator.phones import Phones
from callbridge.simulator.scenarios import Call, parties
from callbridge.simulator.switch import HEARTBEAT_EVERY, Switch
from callbridge.simulator.timeline import Timeline

SHARES: Final = {"outbound": 45, "inbound": 30, "local": 15, "hold": 3, "busy": 3, "cancelled": 4}
"""Of a hundred calls, how many are of which kind."""

_LIVE: Final = ("outbound", "inbound", "local")
"""The kinds whose whole middle is talk."""


class Load(msgspec.Struct, frozen=True):
    """What traffic there is to be.

    `rate`: calls begun a second; `duration`: mean seconds of talk; `live`: calls that are up from the start; `ring`:
    seconds after which a phone answers, from the least to the most.
    """

    rate: float = 1.0
    duration: float = 30.0
    live: int = 0
    tenants: Sequence[str] = ("test.tel4vn.com", "acme.example.com")
    shares: dict[str, int] = msgspec.field(default_factory=lambda: dict(SHARES))
    ring: tuple[float, float] = (0.3, 3.0)


class Traffic:
    """Places calls on a switch, carries out what commands do to them, and lets time pass. `clock` gives seconds."""

    def __init__(
        self,
        switch: Switch,
        load: Load,
        clock: Callable[[], float],
        seed: int = 0,
        phones: Phones | None = None,
    ) -> None:
        self.switch = switch
        self.load = load
        self.phones = phones or Phones()
        """Who can be called; a test sets what they do."""
        for tenant in load.tenants:
            self.phones.add_tenant(tenant)
        self.timeline = Timeline(clock)
        self.machine = Machine(switch, self.timeline, self.phones, self._habits)
        self._clock = clock
        self._chance = random.Random(seed)
        self._kinds = list(load.shares)
        self._weights = list(accumulate(load.shares.values()))
        Commands(self.machine)
        for _ in range(load.live):
            self._place_live()

    def __repr__(self) -> str:
        return f"<Traffic {len(self.timeline)} calls under way>"

    def place(self, kind: str | None = None, *, talk: float | None = None, tenant: str | None = None) -> Call:
        """Begin one call; what is not said is left to chance."""
        call = self._make(kind, tenant, talk)
        self.timeline.start(call.run())
        return call

    def advance(self) -> float | None:
        """Let all happen that is due now. Returns seconds until the next, None for never."""
        return self.timeline.advance()

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Place calls at the rate of the load, and send heartbeats, for ever. `sleep` lets that many seconds pass."""
        next_call, next_beat = self._clock(), self._clock() + HEARTBEAT_EVERY
        while True:
            now = self._clock()
            while self.load.rate > 0 and next_call <= now:
                self.place()
                next_call += self._chance.expovariate(self.load.rate)
            if next_beat <= now:
                self.switch.heartbeat()
                next_beat += HEARTBEAT_EVERY
            wait = self.advance()
            until = [next_beat - now] + ([next_call - now] if self.load.rate > 0 else [])
            await sleep(max(0.0, min(until + ([wait] if wait is not None else []))))

    def _habits(self, chance: random.Random | None = None) -> Habits:
        """How those behave who come together by a command."""
        chance, duration = chance or self.switch.chance, self.load.duration
        talk = chance.uniform(0.2, 1.8) * duration
        least, most = self.load.ring
        ring = min(chance.uniform(least, most), max(least, duration / 4))
        return Habits(ring=ring, talk=talk, caller_hangs_up=chance.random() < 0.5)

    def _make(self, kind: str | None, tenant: str | None, talk: float | None) -> Call:
        chance, load = self._chance, self.load
        kind = kind or chance.choices(self._kinds, cum_weights=self._weights)[0]
        who = parties(kind, tenant or chance.choice(load.tenants), chance)
        habits = self._habits(chance)
        return Call(
            self.machine,
            kind,
            who,
            ring=habits.ring,
            talk=habits.talk if talk is None else talk,
            caller_hangs_up=habits.caller_hangs_up,
        )

    def _place_live(self) -> None:
        """A call that is up already, with the rest of its time before it."""
        shares = {kind: share for kind, share in self.load.shares.items() if kind in _LIVE} or {"outbound": 1}
        kind = self._chance.choices(list(shares), list(shares.values()))[0]
        call = self._make(kind, None, None)
        steps = call.run()
        for wait in steps:
            if call.bridged and wait >= call.talk:
                call.a.task = self.timeline.start(steps, self._chance.uniform(0, wait))
                return
