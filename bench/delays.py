"""Events at a steady rate, and how long after its first event a call reaches a client.

The load is the recording, again and again, its channels as others each time. Among its events calls begin whose delay
is taken, so many a second at any rate, and end two seconds later; they count as events of the rate. All times are left
to chance (Poisson), so that nothing keeps step with what the daemon does by the clock.
"""

import math
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Self

import msgspec

from bench.eventsocket import EventSocket, Played
from bench.processes import Daemon, Failed
from bench.report import Figure, Line

SECONDS: Final = 40.0
SAMPLES: Final = 25.0
"""Calls a second whose delay is taken: 1,000 in all, so that the 99.9th percentile is not just the worst one. There is
time for some ten round trips between two of them."""

LIVES: Final = 2.0
"""Seconds until such a call ends; a client that is held up for as long does not see it."""

PERCENTILES: Final = (50.0, 99.0, 99.9)
_FIRST: Final = 1 << 24
"""Number of the first such call; those of other calls are below."""


class Load(msgspec.Struct, frozen=True):
    """What was played: calls whose delay is to be taken, events a second (wanted, and reached), and the share of a core
    that the daemon took meanwhile."""

    calls: int
    wanted: float
    rate: float
    share: float


class Delays(msgspec.Struct, frozen=True):
    """The delays of all calls of a load, in milliseconds."""

    load: Load
    sorted: list[float]

    @classmethod
    def of(cls, load: Load, delays: list[float]) -> Self:
        """Raises Failed where a call did not arrive."""
        if len(delays) != load.calls or not delays:
            raise Failed(f"{len(delays)} of {load.calls} calls were seen")
        return cls(load, sorted(delays))

    def percentile(self, percent: float) -> float:
        """The smallest delay that so many percent of all do not exceed."""
        return self.sorted[max(0, math.ceil(len(self.sorted) * percent / 100) - 1)]

    def line(self, what: str, *, p99_ms: float = 0.0, figures: tuple[Figure, ...] = ()) -> Line:
        """As a line of the table, with a target for the 99th percentile if one is given."""
        percentiles = ", ".join(f"p{percent:g} {self.percentile(percent):.2f}" for percent in PERCENTILES)
        load = f"{self.load.calls:,} calls, {self.load.rate:,.0f} events/s, CPU {self.load.share:.0%}"
        figure = f"{percentiles} ms ({load})"
        if not p99_ms:
            return Line(what, figure, figures=figures)
        ok = self.percentile(99.0) < p99_ms and self.load.rate > 0.97 * self.load.wanted
        return Line(what, figure, target=f"p99 < {p99_ms:g} ms", ok=ok, figures=figures)

    def figures(self, chart: str, series: str, x: int) -> tuple[Figure, ...]:
        """As bars above `x`."""
        return tuple(Figure(chart, f"{series}p{percent:g}", x, self.percentile(percent)) for percent in PERCENTILES)


def play(server: EventSocket, daemon: Daemon, played: Played, rate: float, begun: Callable[[str, int], None]) -> Load:
    """Play at the rate. `begun` is told of each call whose delay is to be taken: its id, and when its first event was
    written (nanoseconds of the clock that all processes of a machine share)."""
    chance, load = random.Random(0), played.endless()
    ends: deque[tuple[float, bytes]] = deque()
    calls = events = 0
    cpu, began = daemon.cpu, time.monotonic()
    due, next_call = began, began
    while due < began + SECONDS:
        due += chance.expovariate(rate)
        time.sleep(max(0.0, due - time.monotonic()))
        events += 1
        if ends and ends[0][0] <= due:
            server.play(ends.popleft()[1])
        elif next_call <= due:
            uuid, first, last = played.brief(_FIRST + calls)
            written = time.monotonic_ns()
            server.play(first)
            begun(uuid, written)
            ends.append((due + LIVES, last))
            next_call += chance.expovariate(SAMPLES)
            calls += 1
        else:
            server.play(next(load))
    seconds = time.monotonic() - began
    return Load(calls, rate, events / seconds, (daemon.cpu - cpu) / seconds)
