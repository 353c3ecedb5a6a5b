"""What a list costs where every request asks the switch: `api show channels as json` over the event socket.

The simulated switch answers, so the CPU is that of our simulator, in Python: it says what is sent, and nothing of what
a real switch takes for it.
"""

import re
import socket
import time
from typing import Final

from bench.processes import FOREVER, Child, Failed, Simulator
from bench.report import Line

SIZES: Final = (100, 1_000)
"""Live calls, of two channels each. The simulator takes as much for each channel, however many there are."""

TIMES: Final = 5
_LENGTH: Final = re.compile(rb"Content-Length: (\d+)")


def switch_lines() -> list[Line]:
    """Ask for lists of all sizes."""
    lines = []
    for calls in SIZES:
        with Simulator(live=calls, rate=0, duration=FOREVER) as switch, Asker(switch.port) as asker:
            _until_all_are_up(asker)
            lines.append(_line(calls, [_once(switch, asker) for _ in range(TIMES)]))
    return lines


class Asker:
    """A client of an event socket that has one question."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._reader = self._connection.makefile("rb")
        self._frame()
        self._connection.sendall(b"auth ClueCon\n\n")
        self._frame()

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._connection.close()

    def channels(self) -> bytes:
        """What the switch says of its channels."""
        self._connection.sendall(b"api show channels as json\n\n")
        return self._frame()

    def _frame(self) -> bytes:
        head = b""
        while not head.endswith(b"\n\n"):
            line = self._reader.readline()
            if not line:
                raise Failed("the switch has closed the connection")
            head += line
        length = _LENGTH.search(head)
        return self._reader.read(int(length[1])) if length else b""


def _until_all_are_up(asker: Asker) -> None:
    """The calls that there are from the start begin and are answered in the simulator's first moments."""
    before = 0
    while (now := len(asker.channels())) != before or now < 1000:
        before = now
        time.sleep(1.0)


def _once(switch: Child, asker: Asker) -> tuple[float, float, int]:
    """CPU seconds of the switch, milliseconds until all was read, bytes."""
    before, began = switch.cpu, time.monotonic()
    body = asker.channels()
    return switch.cpu - before, (time.monotonic() - began) * 1000, len(body)


def _line(calls: int, answers: list[tuple[float, float, int]]) -> Line:
    cpu, waits = min(cpu for cpu, _, _ in answers), sorted(wait for _, wait, _ in answers)
    figure = (
        f"{1 / cpu:,.1f} requests/s of the simulator's CPU, p50 {waits[len(waits) // 2]:,.0f} ms,"
        f" {answers[0][2] / 1e6:.1f} MB"
    )
    return Line(f"listing: {calls:,} calls, asking the simulated switch", figure)
