"""`python -m bench.guard`: what an event and a list cost in instructions: a slowdown of 20 % shows on any machine.

Counted by valgrind, in two runs of different length, so that what a start costs is not in it. The unit is what it takes
to find an event's frame and read its headers with Python's own `json`: it changes with the machine, the Python and the
libraries as callbridge does. Exit code 1 where a cost is more than the tolerance above what is written here, or below,
so that what was won stays won.
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

KINDS: Final = ("events", "parsed", "lists", "changing", "constant")
TIMES: Final = (20, 60)
"""How often the work is done in each of the two runs."""

EVENTS: Final = 57
"""Events of the recorded call."""

TOLERANCE: Final = 0.15

COSTS: Final = {
    "an event, from the socket to the row": 0.348,
    "a list that has not changed, above aiohttp with a constant": 0.225,
    "a list of 100 calls of which one has changed, the change included, above aiohttp with a constant": 0.456,
}
"""What each costs, in units."""

_COUNTED: Final = re.compile(r"I +refs: +([\d,]+)")


def main() -> int:
    """Count, compare, tell."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = [(kind, times) for kind in KINDS for times in TIMES]
        counts = dict(zip(runs, pool.map(_count, runs), strict=True))
    short, long = TIMES
    each = {kind: (counts[kind, long] - counts[kind, short]) / (long - short) for kind in KINDS}
    unit = each["parsed"] / EVENTS
    measured = (
        each["events"] / each["parsed"],
        (each["lists"] - each["constant"]) / unit,
        (each["changing"] - each["constant"]) / unit,
    )
    good = True
    for (what, expected), cost in zip(COSTS.items(), measured, strict=True):
        right = abs(cost / expected - 1) <= TOLERANCE
        good = good and right
        verdict = "ok" if right else f"WRONG: more than {TOLERANCE:.0%} off; if it is meant, write it into {__file__}"
        print(f"{what}: {cost:.3f} (expected {expected:g}) {verdict}")
    print(f"a unit is {unit:,.0f} instructions")
    return 0 if good else 1


def _count(run: tuple[str, int]) -> int:
    kind, times = run
    child = [sys.executable, "-m", "bench.children.work", kind, str(times)]
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", *child]
    # Where strings land in a dictionary is the same in every run.
    done = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
    )
    found = _COUNTED.search(done.stderr)
    if done.returncode or found is None:
        sys.exit(f"valgrind gave no count of {kind}: {done.stderr[-2000:]}")
    return int(found[1].replace(",", ""))


if __name__ == "__main__":
    sys.exit(main())
