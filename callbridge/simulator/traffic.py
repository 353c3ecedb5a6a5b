"""Calls by the dozen or by the thousand: who calls whom, how often and for how long, repeatable by a seed."""

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Final

import msgspec

from callbridge.simulator.scenarios import Call, Steps, parties
from callbridge.simulator.switch import HEARTBEAT_EVERY, Switch

SHARES: Final = {"outbound": 45, "inbound": 30, "local": 15, "hold": 3, "busy": 3, "cancelled": 4}
"""Of a hundred calls, how many are of which kind."""

_LIVE: Final = ("outbound", "inbound", "local")
"""The kinds whose whole middle is talk."""

SLICE: Final = 0.01
"""Seconds of events made in one go, before the event loop turns again."""


class Load(msgspec.Struct, frozen=True):
    """What traffic there is to be.

    `rate`: calls begun a second; `duration`: mean seconds of talk; `live`: calls that are up from the start.
    """

    rate: float = 1.0
    duration: float = 30.0
    live: int = 0
    tenants: Sequence[str] = ("test.tel4vn.com", "acme.example.com")
    shares: dict[str, int] = msgspec.field(default_factory=lambda: dict(SHARES))


class _Running:
    """A call under way: its remaining steps, or those of its end when a command has cut it short."""

    def __init__(self, call: Call, steps: Steps) -> None:
        self.call = call
        self.steps = steps
        self.turn = 0


class Traffic:
    """Places calls on a switch and lets time pass for them. `clock` gives seconds."""

    def __init__(self, switch: Switch, load: Load, clock: Callable[[], float], seed: int = 0) -> None:
        self.switch = switch
        self.load = load
        self._clock = clock
        self._chance = random.Random(seed)
        self._due: list[tuple[float, int, int, _Running]] = []
        self._serial = count()
        self._running: dict[str, _Running] = {}
        """uuid of a leg -> its call"""
        switch.commands["uuid_kill"] = self._kill
        switch.commands["hupall"] = self._kill_all
        for _ in range(load.live):
            self._place_live()

    def __repr__(self) -> str:
        return f"<Traffic {len(self._due)} calls under way>"

    def place(self, kind: str | None = None, *, talk: float | None = None, tenant: str | None = None) -> Call:
        """Begin one call; what is not said is left to chance."""
        call = self._make(kind, tenant, talk)
        self._step(_Running(call, call.run()), self._clock())
        return call

    def advance(self) -> float | None:
        """Let all happen that is due now, for `SLICE` at most. Returns seconds until the next, None for never."""
        began = self._clock()
        while self._due:
            now = self._clock()
            due, _, turn, running = self._due[0]
            if due > now:
                return due - now
            if now - began > SLICE:
                return 0.0
            heapq.heappop(self._due)
            if turn == running.turn:
                self._step(running, due)
        return None

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

    def _make(self, kind: str | None, tenant: str | None, talk: float | None) -> Call:
        chance, load = self._chance, self.load
        kind = kind or chance.choices(list(load.shares), list(load.shares.values()))[0]
        who = parties(kind, tenant or chance.choice(load.tenants), chance)
        talk = chance.uniform(0.2, 1.8) * load.duration if talk is None else talk
        ring = min(chance.uniform(0.3, 3.0), max(0.3, load.duration / 4))
        return Call(self.switch, kind, who, ring=ring, talk=talk, caller_hangs_up=chance.random() < 0.5)

    def _place_live(self) -> None:
        """A call that is up already, with the rest of its time before it."""
        shares = {kind: share for kind, share in self.load.shares.items() if kind in _LIVE} or {"outbound": 1}
        kind = self._chance.choices(list(shares), list(shares.values()))[0]
        call = self._make(kind, None, None)
        running = _Running(call, call.run())
        wait = 0.0
        while not call.bridged or wait < call.talk:
            wait = next(running.steps)
        self._schedule(running, self._clock() + self._chance.uniform(0, wait))

    def _step(self, running: _Running, now: float) -> None:
        call = running.call
        try:
            wait = next(running.steps)
        except StopIteration:
            for leg in (call.a, call.b):
                if leg is not None:
                    self._running.pop(leg.uuid, None)
        else:
            self._schedule(running, now + wait)

    def _schedule(self, running: _Running, due: float) -> None:
        for leg in (running.call.a, running.call.b):
            if leg is not None:
                self._running[leg.uuid] = running
        heapq.heappush(self._due, (due, next(self._serial), running.turn, running))

    def _kill(self, argument: str) -> str:
        uuid, _, cause = argument.partition(" ")
        if self.switch.find(uuid) is None or uuid not in self._running:
            return "-ERR No such channel!\n"
        running = self._running[uuid]
        running.call.caller_hangs_up = uuid == running.call.a.uuid
        self._cut_short(running, cause or "NORMAL_CLEARING")
        return "+OK\n"

    def _kill_all(self, cause: str) -> str:
        for running in list(dict.fromkeys(self._running.values())):
            if not running.call.a.dead:
                self._cut_short(running, cause or "MANAGER_REQUEST")
        return "+OK hangup all channels\n"

    def _cut_short(self, running: _Running, cause: str) -> None:
        running.turn += 1
        running.steps = running.call.hang_up(cause)
        self._step(running, self._clock())
