"""What was measured, on what, as one table."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from bench.peers import PEERS

_HEAD: Final = ("what", "figure", "ratio", "target", "")
_VERSIONS: Final = ("callbridge", "aiohttp", "msgspec", "uvloop")


class Figure(msgspec.Struct, frozen=True):
    """One number of a chart (`bench.charts` says which there are, and of what unit): a bar of `series` above `x`.

    What `x` counts is given as a number; bars stand in the order in which their figures come.
    """

    chart: str
    series: str
    x: int | str
    value: float


class Line(msgspec.Struct, frozen=True):
    """One line of the table, and the same numbers for the charts. `ok` is None where there is no target."""

    what: str
    figure: str
    ratio: str = ""
    target: str = ""
    ok: bool | None = None
    figures: tuple[Figure, ...] = ()


def table(lines: Sequence[Line]) -> str:
    """The lines, in columns."""
    verdicts = {True: "ok", False: "MISSED", None: ""}
    rows = [_HEAD, *((line.what, line.figure, line.ratio, line.target, verdicts[line.ok]) for line in lines)]
    return columns(rows)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells below each other, the first one as the head."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([padded[0], "-" * (sum(widths) + 2 * len(widths) - 2), *padded[1:]])


def machine() -> str:
    """What it was measured on."""
    described = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in described if line.startswith("model name")), platform.machine())
    ours = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    load, _, _ = os.getloadavg()
    return (
        f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, load at the end {load:.1f}\n"
        f"Python {platform.python_version()}, {ours}"
    )


def peers() -> str:
    """What it was measured against."""
    return ", ".join(f"{peer.name} {peer.version}" for peer in PEERS)
