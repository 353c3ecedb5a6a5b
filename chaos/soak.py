"""Hours of calls in some minutes: whether the daemon takes more and more of anything.

The memory of a daemon grows at first: it remembers the calls that ended in the last five minutes, and Python's
dictionaries double. From then on it has to stay where it is.
"""

import asyncio
import re
import time
from pathlib import Path
from signal import SIGUSR1
from typing import Final

import msgspec

from callbridge.mirror import REMEMBER_ENDED_FOR
from callbridge.simulator.traffic import Load
from callbridge.table import EVENTS
from chaos.pbx import Simulated
from chaos.processes import Daemon
from chaos.world import World, summary, world

RATE: Final = 500.0
"""Events a second that the daemon is sent."""

EVENTS_A_CALL: Final = 30.4
"""That callbridge subscribes to, in the mean of the simulator's kinds of call (measured here)."""

LIVE: Final = 500
WARM_UP: Final = round(2 * REMEMBER_ENDED_FOR / 60)
"""Minutes after which everything that is remembered for some time is there: a dictionary that loses at its beginning
what it gains at its end is only made anew when it has twice of it."""

SLACK_MB: Final = 3.0
"""Megabytes that it may take more than after the warm-up: one dictionary that doubles, and what malloc keeps."""

SLACK_TASKS: Final = 4
"""Tasks: the requests of this program that are under way."""


_TASKS: Final = re.compile(rb"^tasks (\d+)\n", re.MULTILINE)


class Minute(msgspec.Struct, frozen=True):
    """What the daemon had at the end of a minute, and how many events it was sent in each second of it."""

    rss_mb: float
    tasks: int
    files: int
    calls: int
    events: float


class Count:
    """A listener of the switch that counts what callbridge is sent."""

    form = "json"

    def __init__(self) -> None:
        self.events = 0

    def wants(self, name: str) -> bool:
        return name in EVENTS

    def deliver(self, form: str, event: bytes) -> None:  # noqa: ARG002
        self.events += 1


async def run(folder: Path, seed: int, minutes: float) -> int:
    """Print a line for each minute. Returns 1 where something grew, or the list was wrong at the end of a minute."""
    rate = RATE / EVENTS_A_CALL
    failures: list[str] = []
    said: list[Minute] = []
    pbx = Simulated(Load(rate, LIVE / rate, LIVE), seed)
    async with world(folder, pbx, 1, ("chaos.watched",)) as made:
        await made.until_right()
        count = Count()
        pbx.switch.listeners.append(count)
        _say("minute", "RSS MB", "tasks", "files", "calls", "events/s")
        for number in range(1, max(1, round(minutes)) + 1):
            said.append(await _minute(made, count))
            now = said[-1]
            _say(number, f"{now.rss_mb:.1f}", now.tasks, now.files, now.calls, f"{now.events:.0f}")
            if found := await made.wrong():
                failures.append(f"minute {number}: {summary(found)}")
            failures += _grown(number, said)
    for failure in failures:
        print(f"FAILED soak, seed {seed}: {failure}")
    return 1 if failures else 0


def _grown(number: int, said: list[Minute]) -> list[str]:
    if number <= WARM_UP:
        return []
    before, now = said[WARM_UP - 1], said[-1]
    limits = {"rss_mb": SLACK_MB, "tasks": SLACK_TASKS, "files": SLACK_TASKS}
    return [
        f"minute {number}: {name} {getattr(now, name)}, {getattr(before, name)} after {WARM_UP} minutes"
        for name, slack in limits.items()
        if getattr(now, name) > getattr(before, name) + slack
    ]


async def _minute(made: World, count: Count) -> Minute:
    began, before = time.monotonic(), count.events
    await asyncio.sleep(60)
    events = (count.events - before) / (time.monotonic() - began)
    (daemon,) = made.daemons
    process = Path(f"/proc/{daemon.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    calls = (await daemon.list()).total
    files = len(list((process / "fd").iterdir()))
    return Minute(int(status["VmRSS"].split()[0]) / 1024, await _tasks(daemon), files, calls, events)


async def _tasks(daemon: Daemon) -> int:
    heard = daemon.log.stat().st_size
    daemon.signal(SIGUSR1)
    async with asyncio.timeout(10):
        while not (told := _TASKS.search(daemon.log.read_bytes()[heard:])):  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0.01)
    return int(told[1])


def _say(*cells: object) -> None:
    print("  ".join(f"{cell!s:>8}" for cell in cells), flush=True)
