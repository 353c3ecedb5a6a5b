"""Whether the simulated switch keeps up: 10,000 live calls, 1,000 of them new every second.

A client in a process of its own reads the events that callbridge subscribes to and counts. A call of the simulator
waits 20 ms between its first event and its CHANNEL_CREATE: what it takes longer than that is the simulator's backlog.
"""

from typing import Final

from bench.processes import Simulator, python
from bench.report import Line

LIVE: Final = 10_000
RATE: Final = 1000
DURATION: Final = LIVE / RATE
"""Mean seconds of talk, so that as many calls end as begin."""

WARM_UP: Final = 3
SECONDS: Final = 12
MAX_LAG_MS: Final = 100.0
"""Of 99 of 100 calls; a switch that falls behind falls behind by seconds."""


def run() -> list[Line]:
    """Measure one run."""
    with (
        Simulator(live=LIVE, rate=RATE, duration=DURATION) as switch,
        python("bench.children.count", switch.port, WARM_UP, SECONDS) as client,
    ):
        client.wait_for("ready")
        before = switch.cpu
        words = client.wait_for("done").split()
        share = (switch.cpu - before) / SECONDS
    events, megabytes, created, live, lag = (float(word) for word in words[1:])
    figure = (
        f"{created:,.0f} calls/s, {live:,.0f} live, {events:,.0f} events/s, {megabytes:,.0f} MB/s,"
        f" late p99 {lag:.0f} ms, CPU {share:.0%}"
    )
    ok = created > 0.97 * RATE and live > 0.9 * LIVE and lag < MAX_LAG_MS
    return [Line("simulator: one process", figure, target=f"{RATE:,}/s, late < {MAX_LAG_MS:g} ms", ok=ok)]
