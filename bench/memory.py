"""What 1,000, 10,000 and 50,000 live calls cost: resident memory of a daemon that follows them, above one that follows
an empty switch.

The calls are there before the daemon, so it has listed and probed all of them; and the list has been asked for, so its
body is kept as well.
"""

import time
from typing import Final

from bench.processes import FOREVER, Daemon, Failed, Simulator
from bench.report import Figure, Line

CALLS: Final = (1000, 10_000, 50_000)
MAX_BYTES: Final = 3072
"""For each call."""

AT: Final = 10_000
"""The calls for which that is promised."""

SETTLE: Final = 8.0
"""Seconds after which the daemon has listed the channels for the last time and given back what it does not need."""


def run() -> list[Line]:
    """Measure an empty switch, then so many calls each."""
    empty = _resident(0)
    return [_line(calls, empty, _resident(calls)) for calls in CALLS]


def _line(calls: int, empty: int, full: int) -> Line:
    each = (full - empty) / calls
    what = f"memory: RSS of the daemon, {calls:,} calls"
    figure = f"{each:,.0f} bytes a call ({empty / 2**20:.0f} MiB empty, {full / 2**20:.0f} MiB with them)"
    figures = (Figure("memory", "RSS", calls, each),)
    if calls != AT:
        return Line(what, figure, figures=figures)
    return Line(what, figure, target=f"<= {MAX_BYTES:,}", ok=each <= MAX_BYTES, figures=figures)


def _resident(calls: int) -> int:
    with Simulator(live=calls, rate=0, duration=FOREVER) as switch, Daemon(switch.port) as daemon:
        time.sleep(SETTLE)
        rows = daemon.client.get("/v1/call").body.count(b'"call_id"')
        if rows != calls:
            raise Failed(f"the daemon lists {rows} calls, not {calls}")
        return daemon.rss
