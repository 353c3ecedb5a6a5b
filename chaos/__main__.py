"""`python -m chaos`: every class of fault, or those that are named; a table of how long it took to be right.

Exit code 1 where a limit was passed or a live call was lost, with the class, the seed and how to do it again.
"""

import argparse
import asyncio
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random

from msgspec.structs import replace

from bench.report import machine
from callbridge.simulator.traffic import Load
from chaos.faults import FAULTS, Fault
from chaos.pbx import Absent, Failed, Kind, Simulated
from chaos.real import Real
from chaos.report import Measured, table
from chaos.world import DAEMONS, World, summary, world


def main() -> int:
    """Run what is named."""
    options = _options()
    runner = asyncio.Runner(loop_factory=importlib.import_module("uvloop").new_event_loop)
    with runner, tempfile.TemporaryDirectory(prefix="callbridge-chaos-") as folder:
        if options.what == "soak":
            soak = importlib.import_module("chaos.soak")
            return int(runner.run(soak.run(Path(folder), options.seed, options.minutes)))
        return runner.run(_run(Path(folder), options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("chaos", description="callbridge while things go wrong.")
    parser.add_argument("what", nargs="?", choices=["faults", "soak"], default="faults", help="(%(default)s)")
    parser.add_argument("--only", action="append", choices=sorted(FAULTS), help="a class of fault; can be repeated")
    parser.add_argument("--times", type=int, default=10, help="injections of each class (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed does the same (%(default)s)")
    parser.add_argument(
        "--real", action="store_true", help="a real switch, which FREESWITCH_PREFIX has; not every class is allowed"
    )
    parser.add_argument("--live", type=int, help="live calls (1000; with --real 30)")
    parser.add_argument("--rate", type=float, help="new calls a second (50; with --real 3)")
    parser.add_argument("--limit", type=float, help="seconds, instead of each class's own")
    parser.add_argument("--daemons", type=int, default=DAEMONS, help="on one Redis (%(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=20.0, help="of a soak, whose first ten say nothing (%(default)s)"
    )
    options = parser.parse_args()
    if options.real and "FREESWITCH_PREFIX" not in os.environ:
        parser.error("--real needs FreeSWITCH; FREESWITCH_PREFIX says where it is installed")
    kind: Kind = "real" if options.real else "simulated"
    options.only = options.only or [name for name, fault in FAULTS.items() if kind in fault.on]
    if refused := [name for name in options.only if kind not in FAULTS[name].on]:
        parser.error(f"a {kind} switch does not allow {', '.join(refused)}")
    options.live = options.live or (30 if options.real else 1000)
    options.rate = options.rate or (3.0 if options.real else 50.0)
    return options


async def _run(folder: Path, options: argparse.Namespace) -> int:
    load = Load(options.rate, options.live / options.rate, options.live)
    pbx = Real(folder, load, options.seed) if options.real else Simulated(load, options.seed)
    wanted = [FAULTS[name] for name in options.only]
    if options.limit is not None:
        wanted = [replace(fault, limit=options.limit) for fault in wanted]
    measured: list[Measured] = []
    again = f"python -m chaos {'--real ' if options.real else ''}--seed {options.seed} --times {options.times} --only"
    try:
        async with world(folder, pbx, options.daemons) as made:
            await made.until_right()
            for fault in wanted:
                measured.append(Measured(fault))
                await _injections(made, measured[-1], options.seed, range(options.times))
    except Failed as ended:
        print(ended, file=sys.stderr)
        if measured:
            measured[-1].failures.append("the run ended here")
    print(f"\n{table(measured)}\n\n{load.live} live calls, {load.rate:g} a second; {machine()}")
    bad = [each for each in measured if each.failures]
    for each in bad:
        for failure in each.failures:
            print(f"FAILED {each.fault.name}, seed {options.seed}: {failure}\n  {again} {each.fault.name}")
    return 1 if bad or not measured else 0


async def _injections(made: World, measured: Measured, seed: int, numbers: Iterable[int]) -> None:
    fault = measured.fault
    for number in numbers:
        chance = Random(f"{seed} {fault.name} {number}")
        print(f"{fault.name} {number} …", end=" ", file=sys.stderr, flush=True)
        await made.calm()
        if found := await made.wrong():
            measured.failures.append(f"before injection {number} it had gone wrong again: {found[0]}")
            await made.until_right()
        await asyncio.sleep(chance.uniform(0.0, 0.5))
        try:
            seconds = await _inject(made, fault, chance, measured.failures)
        except Absent as absent:
            print(absent, file=sys.stderr)
            measured.failures.append(f"injection {number}: {absent}")
            await made.calm()
            await made.until_right()
            continue
        measured.seconds.append(seconds)
        if seconds > fault.limit:
            what = f"injection {number}: right after {seconds:.1f} s; the limit is {fault.limit:g}"
            measured.failures.append(f"{what}; what was wrong last: {summary(made.last_wrong)}")
            print("\n".join(daemon.tail() for daemon in made.daemons), file=sys.stderr)
        print(f"{seconds:.2f} s", file=sys.stderr)


async def _inject(made: World, fault: Fault, chance: Random, failures: list[str]) -> float:
    watch = asyncio.create_task(made.never_lost()) if fault.keeps else None
    began = time.monotonic()
    try:
        await fault.inject(made, chance)
        over = time.monotonic()
        seconds = await made.until_right()
    finally:
        if watch is not None:
            watch.cancel()
    if watch is not None:
        await asyncio.wait([watch])
        if not watch.cancelled():
            failures.append(f"{watch.result()} ({over - began:.1f} s of fault)")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
