"""What 10,000 live calls cost: resident memory of a daemon that follows them, above one that follows an empty switch.

The calls are there before the daemon, so it has listed and probed all of them; and the list has been asked for, so its
body is kept as well.
"""

import time
from typing import Final

from bench.processes import FOREVER, Daemon, Failed, Simulator
from bench.report import Line

CALLS: Final = 10_000
MAX_BYTES: Final = 4096
"""For each call."""

SETTLE: Final = 5.5
"""Seconds after which the daemon has listed the channels for the last time."""


def run() -> list[Line]:
    """Measure both."""
    empty, full = _resident(0), _resident(CALLS)
    each = (full - empty) / CALLS
    figure = f"{each:,.0f} bytes a call ({empty / 2**20:.0f} MiB empty, {full / 2**20:.0f} MiB at {CALLS:,})"
    return [Line("memory: RSS of the daemon", figure, target=f"<= {MAX_BYTES:,}", ok=each <= MAX_BYTES)]


def _resident(calls: int) -> int:
    with Simulator(live=calls, rate=0, duration=FOREVER) as switch, Daemon(switch.port) as daemon:
        time.sleep(SETTLE)
        rows = daemon.client.get("/v1/call").body.count(b'"call_id"')
        if rows != calls:
            raise Failed(f"the daemon lists {rows} calls, not {calls}")
        return daemon.rss
