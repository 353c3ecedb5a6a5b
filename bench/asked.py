"""What a list costs where every request asks the switch: `api show channels as json` over the event socket.

Where the simulated switch answers, the CPU is that of our simulator, in Python: it says what is sent, and nothing of
what a real switch takes for it. A real one answers where FREESWITCH_PREFIX says that there is one (tests/real): its
calls are parked, of one channel each, and what they take by themselves is measured before and taken off.
"""

import os
import re
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.processes import FOREVER, Failed, Simulator, cpu_of
from bench.report import Line
from tests.real.switches import PASSWORD, RealSwitch

SIZES: Final = (100, 1_000)
"""Live calls."""

TIMES: Final = 5
SETTLE: Final = 1.0
"""Seconds between looks whether all calls are up, and in which a switch is watched that nobody asks."""

RTP: Final = 16_000
_LENGTH: Final = re.compile(rb"Content-Length: (\d+)")


def switch_lines() -> list[Line]:
    """Ask for lists of all sizes."""
    lines = [_simulated(calls) for calls in SIZES]
    if prefix := os.environ.get("FREESWITCH_PREFIX"):
        return lines + [_real(Path(prefix), calls) for calls in SIZES]
    reason = "could not be measured: FREESWITCH_PREFIX does not say where one is"
    return [*lines, Line("listing: asking a real switch", reason)]


def _simulated(calls: int) -> Line:
    with Simulator(live=calls, rate=0, duration=FOREVER) as switch, Asker(switch.port, "ClueCon") as asker:
        return _measure(f"{calls:,} calls, asking the simulated switch", asker, lambda: switch.cpu)


def _real(prefix: Path, calls: int) -> Line:
    with tempfile.TemporaryDirectory() as folder:
        switch = RealSwitch(prefix, Path(folder, "switch"), RTP)
        switch.write(profiles="", dialplan="", directory="")
        try:
            switch.start()
            pid = int((switch.folder / "run" / "freeswitch.pid").read_text())
            with Asker(switch.port, PASSWORD) as asker:
                for number in range(calls):
                    asker.ask(f"bgapi originate null/{number} &park()")
                return _measure(f"{calls:,} calls, asking a real switch", asker, lambda: cpu_of(pid))
        finally:
            switch.stop()


class Asker:
    """A client of an event socket."""

    def __init__(self, port: int, password: str) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._reader = self._connection.makefile("rb")
        self._frame()
        self.ask(f"auth {password}")

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._connection.close()

    def ask(self, command: str) -> bytes:
        """The body of what it is answered."""
        self._connection.sendall(f"{command}\n\n".encode())
        return self._frame()

    def channels(self) -> bytes:
        """What the switch says of its channels."""
        return self.ask("api show channels as json")

    def _frame(self) -> bytes:
        head = b""
        while not head.endswith(b"\n\n"):
            line = self._reader.readline()
            if not line:
                raise Failed("the switch has closed the connection")
            head += line
        length = _LENGTH.search(head)
        return self._reader.read(int(length[1])) if length else b""


def _measure(what: str, asker: Asker, cpu: Callable[[], float]) -> Line:
    """Ask when all calls are up: they begin and are answered in the first moments."""
    size, before = len(asker.channels()), 0
    while size != before or size < 1000:
        time.sleep(SETTLE)
        before, size = size, len(asker.channels())
    idle, began = cpu(), time.monotonic()
    time.sleep(SETTLE)
    share = (cpu() - idle) / (time.monotonic() - began)
    costs, waits = [], []
    for _ in range(TIMES):
        used, began = cpu(), time.monotonic()
        asker.channels()
        seconds = time.monotonic() - began
        costs.append(cpu() - used - share * seconds)
        waits.append(seconds * 1000)
    each = sorted(costs)[TIMES // 2]
    figure = f"{each * 1e3:,.1f} ms of CPU a request, p50 {sorted(waits)[TIMES // 2]:,.1f} ms, {size / 1e6:.1f} MB"
    return Line(f"listing: {what}", figure)
