"""From the socket to a stored and listable call: events a second of CPU, beside clients that only parse.

Each side is a fresh process that gets the same 400 real calls over loopback, as fast as it reads. callbridge is the
whole daemon, `callbridge run`: what is measured ends when the last call of the stream is answered over HTTP. Sides take
turns, and callbridge is measured before and after each of the others. Of each the median of its rounds is told, and of
what another takes above callbridge the median of what it is to the two beside it: a shared machine is twice as slow in
one moment as in the next, and not for everybody alike.

The floor is what a client in Python does at least: read the bytes, find where an event ends, cut it out
(`children/floor.py`). The peers end with parsed headers, in the form that their users take, event-plain.
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import isnan, nan
from statistics import median
from typing import Final

from bench.eventsocket import EventSocket, Played
from bench.peers import PEERS, Missing, Peer
from bench.processes import Child, Daemon, Failed
from bench.report import Figure, Line

ROUNDS: Final = 5
POLL_EVERY: Final = 0.05
"""Seconds between looks whether the last call is there. They cost the daemon some 0.5 % of what is measured."""

GIVE_UP: Final = 60.0
"""Seconds for a client to read the stream; the slowest takes some six where nothing else runs."""

READ_ONLY: Final = "read only"
FLOOR: Final = "read and frame"
JSON: Final = "callbridge, json"
PLAIN: Final = "callbridge, plain"

AT_LEAST: Final = {"libesl": 2.0, "greenswitch": 8.0, "Genesis": 25.0}
"""How many times the events of a peer callbridge must take in a second of CPU, in the form it asks for by default."""

AT_MOST: Final = 4.0
"""How many times the CPU of the floor it may take, in the same form."""

_NAMES: Final = {peer.name for peer in PEERS}


class Stream:
    """The recording in one form, and one more call at its end that does not end."""

    def __init__(self, form: str) -> None:
        played = Played(form)
        self.form = form
        self.calls = played.calls
        self.last, frame = played.another(0)
        self.events = len(played.frames) + 1
        self.wire = b"".join([*played.frames, frame])


class Side:
    """One of those that are measured in turns."""

    def __init__(self, name: str, measure: Callable[[], float], *, fails: bool = False) -> None:
        self.name = name
        self._measure = measure
        self._fails = fails
        self.rounds: list[float] = []
        """CPU seconds of each round; NaN of one that failed."""
        self.beside: list[float] = []
        """CPU seconds of callbridge around each round: the mean of before and after."""
        self.failure = ""

    def round(self) -> None:
        """Measure once more. A peer's round that fails is left out: libesl reads one byte past what has come, and where
        a read ends between the two newlines it may lose an event and be waited for in vain (esl_buffer_read_packet)."""
        try:
            self.rounds.append(self._measure())
        except (Failed, OSError) as failure:
            if not self._fails:
                raise
            self.rounds.append(nan)
            self.failure = str(failure).partition("\n")[0]


def run() -> list[Line]:
    """Measure all sides in turns."""
    json, plain = Stream("json"), Stream("plain")
    peers, lines = _install()
    ours = Side(JSON, partial(_by_daemon, json))
    sides = [
        Side(READ_ONLY, partial(_by_child, _floor("bytes"), json, len(json.wire))),
        Side(FLOOR, partial(_by_child, _floor("frames"), json, json.events)),
        Side(PLAIN, partial(_by_daemon, plain)),
        *(Side(peer.name, partial(_by_child, peer.command, plain, plain.events), fails=True) for peer in peers),
    ]
    ours.round()
    for _ in range(ROUNDS):
        for side in sides:
            side.round()
            ours.round()
            side.beside.append((ours.rounds[-2] + ours.rounds[-1]) / 2)
    return [*(_line(side, json.events) for side in (ours, *sides)), *lines, *ratios(sides)]


def _install() -> tuple[list[Peer], list[Line]]:
    """The peers that are here, and what is said of the others."""
    here, lines = [], []
    for peer in PEERS:
        try:
            peer.install()
            here.append(peer)
        except Missing as missing:
            lines.append(Line(f"ingest: {peer.name}", f"could not be measured: {missing}"))
    return here, lines


def _floor(kind: str) -> Sequence[str]:
    return (sys.executable, "-m", "bench.children.floor", kind)


def _by_child(command: Sequence[str], stream: Stream, wanted: int) -> float:
    """CPU seconds of a client that counts."""
    with EventSocket() as server, Child([*command, str(server.port), str(wanted)]) as client:
        client.wait_for("ready", GIVE_UP)
        before = client.cpu
        server.play(stream.wire)
        client.wait_for("done", GIVE_UP)
        return client.cpu - before


def _by_daemon(stream: Stream) -> float:
    """CPU seconds of the daemon. Afterwards it must know of every call of the recording that it ended."""
    with EventSocket() as server, Daemon(server.port, stream.form) as daemon:
        before = daemon.cpu
        server.play(stream.wire)
        while daemon.client.get(f"/v1/call/{stream.last}").status != 200:
            time.sleep(POLL_EVERY)
        seconds = daemon.cpu - before
        if daemon.client.get("/v1/call").body.count(b'"call_id"') != 1:
            raise Failed("the daemon does not list the one call that is left")
        ended = sum(daemon.client.get(f"/v1/call/{call}").status == 410 for call in stream.calls)
        if ended != len(stream.calls):
            raise Failed(f"the daemon knows of {ended} ended calls, not of {len(stream.calls)}")
    return seconds


def _line(side: Side, events: int) -> Line:
    what, good = f"ingest: {side.name}", [seconds for seconds in side.rounds if not isnan(seconds)]
    if not good:
        return Line(what, f"could not be measured: {side.failure}")
    each = median(good) / events
    failed = f", {len(side.rounds) - len(good)} of {len(side.rounds)} rounds failed" if side.failure else ""
    # The floors would leave the others no room in a chart.
    figures = () if side.name in (READ_ONLY, FLOOR) else (Figure("ingest", "CPU", side.name, 1 / each),)
    return Line(what, f"{1 / each:,.0f} events/s of CPU, {each * 1e6:.1f} us each{failed}", figures=figures)


def ratios(sides: Sequence[Side]) -> list[Line]:
    """callbridge beside each of the others, in either form; nothing is said of a peer that always failed."""
    others = [side for side in sides if side.name == FLOOR or side.name in _NAMES]
    both = [(JSON, side.name, _times(side.rounds, side.beside)) for side in others]
    for plain in sides:
        if plain.name == PLAIN:
            both += [(PLAIN, side.name, _times(side.rounds, plain.rounds)) for side in others]
    return [_ratio(ours, theirs, times) for ours, theirs, times in both if times is not None]


def _times(those: Sequence[float], these: Sequence[float]) -> float | None:
    """How many times these those are, in the median of the rounds that neither failed in."""
    both = [a / b for a, b in zip(those, these, strict=True) if not isnan(a / b)]
    return median(both) if both else None


def _ratio(ours: str, theirs: str, times: float) -> Line:
    what, target, ok = f"ingest: {ours}, against {theirs}", "", None
    # Of the form that is not the default nothing is claimed.
    if theirs == FLOOR:
        times = 1 / times
        what = f"ingest: {ours}, CPU of {theirs}"
        if ours == JSON:
            target, ok = f"<= {AT_MOST:g}", times <= AT_MOST
    elif ours == JSON and theirs in AT_LEAST:
        target, ok = f">= {AT_LEAST[theirs]:g}", times >= AT_LEAST[theirs]
    return Line(what, "", f"{times:.1f}", target, ok)
