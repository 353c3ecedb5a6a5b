"""How long after its start a daemon has the list of a switch with 10,000 live calls.

Three times count from the start of the process: until all calls are in the list, until its rows are those that it has
in the end (the other legs are known as well), and until it says `complete`. Only the number of calls is asked for until
all are there, so that asking costs the daemon little.
"""

import json
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Final, NamedTuple

from bench.processes import FOREVER, Client, Daemon, Failed, Simulator
from bench.report import Line

CALLS: Final = 10_000
LISTED_S: Final = 5.0
LOOK_EVERY: Final = 0.1
"""Seconds between two looks."""

GIVE_UP: Final = 120.0
"""Seconds until it is taken for a list that never comes."""


class Look(NamedTuple):
    """What was seen at a time: seconds after the start of the process."""

    at: float
    rows: bytes
    """The digest of the rows, once they are as many as there are calls."""
    complete: bool


def run() -> list[Line]:
    """Measure one start."""
    with Simulator(live=CALLS, rate=0, duration=FOREVER) as switch:
        idle, began = switch.cpu, time.monotonic()
        with Daemon(switch.port, live=False) as daemon:
            listens = time.monotonic() - began
            looks = list(_looks(daemon.client, began))
            ours, theirs = daemon.cpu, switch.cpu - idle
    last = looks[-1]
    if not last.rows:
        raise Failed(f"the list was complete without {CALLS} calls")
    listed = next(look.at for look in looks if look.rows)
    right = next(look.at for look in looks if look.rows == last.rows)
    figure = (
        f"all listed after {listed:.1f} s, rows final after {right:.1f} s, complete after {last.at:.1f} s"
        f" (HTTP after {listens:.1f} s; CPU {ours:.1f} s, the switch's {theirs:.1f} s)"
    )
    return [Line(f"start: {CALLS:,} live calls", figure, target=f"listed in {LISTED_S:g} s", ok=listed <= LISTED_S)]


def _looks(client: Client, began: float) -> Iterator[Look]:
    """Until the list is complete."""
    while True:
        counted, rows = json.loads(client.get("/v1/call/count").body), b""
        if counted["total"] == CALLS:
            rows = sha256(client.get("/v1/call").body.rpartition(b"]")[0]).digest()
        at = time.monotonic() - began
        yield Look(at, rows, counted["complete"])
        if counted["complete"]:
            return
        if at > GIVE_UP:
            raise Failed(f"the list was not complete after {at:.0f} s")
        time.sleep(LOOK_EVERY)
