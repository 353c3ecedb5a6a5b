"""The table of how long it took to be right."""

import math
from collections.abc import Sequence

import msgspec

from bench.report import columns
from chaos.faults import Fault


class Measured(msgspec.Struct):
    """What came of the injections of one class: seconds until everything was right, and what went wrong for good."""

    fault: Fault
    seconds: list[float] = []
    failures: list[str] = []


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that so many of all do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def table(measured: Sequence[Measured]) -> str:
    """A line for each class."""
    head = ("class", "times", "p50 s", "p99 s", "max s", "limit s", "", "why that limit")
    return columns([head, *(_line(each) for each in measured)])


def _line(measured: Measured) -> tuple[str, ...]:
    fault, seconds = measured.fault, measured.seconds
    figures = [f"{percentile(seconds, share):.2f}" if seconds else "" for share in (0.5, 0.99, 1.0)]
    verdict = "FAILED" if measured.failures else "ok"
    return (fault.name, str(len(seconds)), *figures, f"{fault.limit:g}", verdict, fault.why)
