"""`python -m bench`: everything, or what is named; one table at the end, and the charts of what was measured. Exit
code 1 where a target is missed."""

import argparse
import importlib
import sys
import time
from typing import Final

from bench import charts
from bench.processes import Failed
from bench.report import Line, machine, peers, table

PARTS: Final = ("ingest", "start", "memory", "listing", "freshness", "stream", "simulator", "grow")


def main() -> int:
    """Run what is named, in turn."""
    parser = argparse.ArgumentParser("bench", description="callbridge measured side by side.")
    parser.add_argument("part", nargs="*", help=f"{', '.join(PARTS)} (all)")
    wanted = parser.parse_args().part or PARTS
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    lines: list[Line] = []
    for part in wanted:
        began = time.monotonic()
        print(f"{part} …", end=" ", file=sys.stderr, flush=True)
        try:
            lines += importlib.import_module(f"bench.{part}").run()
        except Failed as failure:
            print(failure, file=sys.stderr)
            lines.append(Line(part, "could not be measured", ok=False))
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    print(f"\n{table(lines)}\n\n{machine()}; {peers()}")
    for chart in charts.write(figure for line in lines for figure in line.figures):
        print(f"written: {chart}", file=sys.stderr)
    return 1 if any(line.ok is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
