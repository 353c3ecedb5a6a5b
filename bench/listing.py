"""The list over HTTP, while its calls change: CPU of the server for each request, and how long a client waits.

Beside it, in turns: an aiohttp server that sends the same bytes and knows nothing, which is what aiohttp costs at least
(no middleware, no token, one body); and one that has the same rows in a hash of a real Redis and on each request
fetches, decodes and encodes all of them. Of that one only its own CPU counts, not what Redis takes besides. What it
costs to ask the switch instead is in `asked.py`.

Changes are events that a real switch sent. Each changes a row that is listed, so the list has to be joined anew, and
their own cost is in the figures. Of each side the median of its slices is told, and of two the median of what they are
to each other in the same turn: a shared machine is twice as slow in one moment as in the next. A client's waits are
those of all slices.
"""

import itertools
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Final, Self

import msgspec
import redis

from bench.asked import switch_lines
from bench.eventsocket import EventSocket, Played
from bench.processes import AUTHORIZATION, Child, Daemon, Failed, python
from bench.report import Figure, Line
from tests.redis_server import free_port

SIZES: Final = (100, 1_000, 10_000, 50_000)
"""Live calls."""

RATES: Final = (0, 10, 1_000)
"""Changes a second."""

SLICES: Final = 7
SECONDS: Final = 1.0
"""Of a slice of the list while it changes, so that ten changes a second are ten in a slice. What does not change gets a
third of it."""

CODECS: Final = ("json", "msgspec")
"""What the rows of the hash are decoded and encoded with."""

KEY: Final = "calls"

SIZE: Final = 10_000
"""The calls that the targets are about."""

KEPT: Final = 1.3
CHANGING: Final = 2.0
"""How many times the CPU of the constant a list may take: while nothing changes, and at the highest rate."""

HASHED: Final = 100.0
"""How many times the CPU the hash must take, with Python's own json."""

INDEPENDENT: Final = 1.3
"""How many times the CPU of a 304, and of a count, may be at the most calls what it is at the fewest."""


_SERIES: Final = {
    "constant": "a constant",
    f"list at {RATES[0]}": "callbridge",
    f"list at {RATES[-1]}": f"callbridge, {RATES[-1]:,} changes a second",
    "HGETALL, json": "HGETALL",
}
"""The sides that are drawn, and how they are called there."""


class Side(msgspec.Struct):
    """What was measured of one kind of request."""

    slices: list[float] = []
    """Seconds of CPU a request, in each slice."""

    waits: list[float] = []
    """Milliseconds of each request, as a client has them."""

    @property
    def cpu(self) -> float:
        """Seconds a request."""
        return median(self.slices)

    def times(self, other: Self) -> float:
        """How many times the other one's."""
        return median(ours / theirs for ours, theirs in zip(self.slices, other.slices, strict=True))

    @property
    def figure(self) -> str:
        waits = sorted(self.waits)
        p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
        return f"{1 / self.cpu:,.0f} requests/s of CPU, p50 {p50:,.2f}, p99 {p99:,.2f} ms"


Sides = dict[str, Side]
"""By name: `list at 10`, `constant`, `304`, `count`, `HGETALL, json`."""


class Target:
    """A server, and a client in a process of its own that asks it."""

    def __init__(self, server: Child, port: int, exits: ExitStack) -> None:
        self._server = server
        self._client = exits.enter_context(python("bench.children.ask", port, AUTHORIZATION["Authorization"]))
        self._client.wait_for("ready")

    def measure(self, side: Side, seconds: float, path: str, etag: str = "") -> None:
        """Ask for one slice."""
        before = self._server.cpu
        self._client.tell(f"{seconds} {path} {etag}")
        waits = [float(word) for word in self._client.wait_for("done").split()[1:]]
        side.slices.append((self._server.cpu - before) / len(waits))
        side.waits += waits


def run() -> list[Line]:
    """Measure lists of all sizes."""
    played = Played("json")
    measured = {calls: _measure(played, calls) for calls in SIZES}
    return [*lines(measured), *switch_lines()]


def _measure(played: Played, calls: int) -> Sides:
    sides: Sides = {}
    with ExitStack() as exits:
        switch = exits.enter_context(EventSocket())
        daemon = exits.enter_context(Daemon(switch.port))
        moves = _moves(played, _fill(switch, daemon, played, calls))
        known = daemon.client.get("/v1/call")
        if known.body.count(b'"call_id"') != calls:
            raise Failed(f"the daemon does not list {calls} calls")
        ours, others = Target(daemon, daemon.port, exits), _others(known.body, exits)
        for _, rate in itertools.product(range(SLICES), RATES):
            with _changing(switch, moves, rate):
                seconds = SECONDS if rate else SECONDS / 3
                ours.measure(sides.setdefault(f"list at {rate}", Side()), seconds, "/v1/call")
            if rate:
                continue
            etag = daemon.client.get("/v1/call").etag
            ours.measure(sides.setdefault("304", Side()), SECONDS / 3, "/v1/call", etag)
            ours.measure(sides.setdefault("count", Side()), SECONDS / 3, "/v1/call/count")
            for name, other in others.items():
                other.measure(sides.setdefault(name, Side()), SECONDS / 3, "/")
        if daemon.client.get("/v1/call").etag == known.etag:
            raise Failed("the list has not changed")
    return sides


def _fill(switch: EventSocket, daemon: Daemon, played: Played, calls: int) -> list[str]:
    """So many calls begin. Returns their ids when the last of them is known."""
    for number in range(calls):
        uuid, frame = played.another(number)
        switch.play(frame)
        switch.channels.append(uuid)
    while daemon.client.get(f"/v1/call/{switch.channels[-1]}").status != 200:
        time.sleep(0.1)
    return switch.channels


def _others(body: bytes, exits: ExitStack) -> dict[str, Target]:
    """The servers that callbridge is held against, with the same rows."""
    constant = exits.enter_context(python("bench.children.constant"))
    constant.tell(body.decode())
    others = {"constant": Target(constant, int(constant.wait_for("ready").split()[1]), exits)}
    program = shutil.which("redis-server")
    if program is None:
        return others
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", tempfile.gettempdir()]
    exits.enter_context(Child([program, *options])).wait_for("Ready to accept connections")
    rows = {row["call_id"]: msgspec.json.encode(row) for row in json.loads(body)["data"]}
    with redis.Redis(port=port) as client:
        client.hset(KEY, mapping=rows)
    for codec in CODECS:
        server = exits.enter_context(python("bench.children.hgetall", codec, port, KEY))
        others[f"HGETALL, {codec}"] = Target(server, int(server.wait_for("ready").split()[1]), exits)
    return others


def _moves(played: Played, ids: list[str]) -> Iterator[bytes]:
    """Events, each of which brings one call to another state than it is in, one call's after the other's."""
    first = played.calls[0].encode()
    for move in itertools.cycle(played.moves()):
        for uuid in ids:
            yield move.replace(first, uuid.encode())


@contextmanager
def _changing(switch: EventSocket, moves: Iterator[bytes], rate: int) -> Iterator[None]:
    """So many rows change every second."""
    if not rate:
        yield
        return
    began, made, stop = time.monotonic(), 0, threading.Event()

    def play() -> None:
        nonlocal made
        while not stop.wait(max(0.0, began + made / rate - time.monotonic())):
            switch.play(next(moves))
            made += 1

    player = threading.Thread(target=play)
    player.start()
    yield
    stop.set()
    player.join()
    seconds = time.monotonic() - began
    if made < 0.9 * rate * seconds:
        raise Failed(f"{made} rows were changed in {seconds:.1f} s, not {rate} a second")


def lines(measured: Mapping[int, Sides]) -> list[Line]:
    """What was measured, by how many calls there were."""
    made = [line for calls, sides in measured.items() for line in _of_size(calls, sides)]
    few, most = min(measured), max(measured)
    for name in ("304", "count"):
        times = measured[most][name].cpu / measured[few][name].cpu
        what = f"listing: {name}, {most:,} calls against {few:,}"
        made.append(Line(what, "", f"{times:.2f}", f"<= {INDEPENDENT:g}", times <= INDEPENDENT))
    return made


def _of_size(calls: int, sides: Sides) -> Iterator[Line]:
    constant, unchanged = sides["constant"], sides[f"list at {RATES[0]}"]
    limits = {f"list at {RATES[0]}": KEPT, f"list at {RATES[-1]}": CHANGING} if calls == SIZE else {}
    for name, side in sides.items():
        _, changes, rate = name.partition("list at ")
        what = f"listing: {calls:,} calls, " + (f"{int(rate):,} changes/s" if changes else name)
        times, target, ok = side.times(constant), "", None
        if name.startswith("HGETALL"):
            times = side.times(unchanged)
            what += ", against the list"
            if calls == SIZE and name.endswith("json"):
                target, ok = f">= {HASHED:g}", times >= HASHED
        elif most := limits.get(name):
            target, ok = f"<= {most:g}", times <= most
        figures = (Figure("listing", _SERIES[name], calls, 1 / side.cpu),) if name in _SERIES else ()
        yield Line(what, side.figure, f"{times:.2f}", target, ok, figures)
    if not any(name.startswith("HGETALL") for name in sides):
        yield Line(f"listing: {calls:,} calls, HGETALL", "could not be measured: there is no redis-server here")
