"""From the socket to a stored and listable call: events a second of CPU, beside clients that only parse.

Each side is a fresh process that gets the same 400 real calls over loopback, as fast as it reads. callbridge is the
whole daemon, `callbridge run`: what is measured ends when the last call of the stream is answered over HTTP. Of each
side the best round counts, because what else the machine does only ever adds.
"""

import time
from typing import Final

from bench import peers
from bench.eventsocket import EventSocket, Played
from bench.processes import Child, Daemon, Failed, python
from bench.report import Line

ROUNDS: Final = 5
POLL_EVERY: Final = 0.01
"""Seconds between looks whether the last call is there. They cost the daemon some 1 % of what is measured."""

AT_LEAST: Final = {"greenswitch": 4.0, "Genesis": 12.0}
"""How many times the events of a peer callbridge must take in a second of CPU, in the form it asks for by default."""


class Stream:
    """The recording in one form, and one more call at its end that does not end."""

    def __init__(self, form: str) -> None:
        played = Played(form)
        self.form = form
        self.calls = played.calls
        self.last, frame = played.another(0)
        self.events = len(played.frames) + 1
        self.wire = b"".join([*played.frames, frame])


def run() -> list[Line]:
    """Measure all sides in turns."""
    peers.install()
    json, plain = Stream("json"), Stream("plain")
    spent: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, seconds in (
            ("read only", _by_child("bench.children.read_only", plain, len(plain.wire))),
            ("callbridge, json", _by_daemon(json)),
            ("callbridge, plain", _by_daemon(plain)),
            ("greenswitch", _by_child("bench.children.peer_greenswitch", plain, plain.events)),
            ("Genesis", _by_child("bench.children.peer_genesis", plain, plain.events)),
        ):
            spent.setdefault(name, []).append(seconds)
    return _lines(spent, plain.events)


def _by_child(module: str, stream: Stream, wanted: int) -> float:
    """CPU seconds of a client that counts."""
    with EventSocket() as server:
        arguments = [str(server.port), str(wanted)]
        peer = ".peer_" in module
        client = Child([str(peers.PYTHON), "-m", module, *arguments]) if peer else python(module, *arguments)
        with client:
            client.wait_for("ready")
            before = client.cpu
            server.play(stream.wire)
            client.wait_for("done")
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


def _lines(spent: dict[str, list[float]], events: int) -> list[Line]:
    best = {name: min(seconds) / events for name, seconds in spent.items()}
    lines = [
        Line(f"ingest: {name}", f"{1 / each:,.0f} events/s of CPU, {each * 1e6:.1f} us each")
        for name, each in best.items()
    ]
    for form in ("json", "plain"):
        for peer, least in AT_LEAST.items():
            times = best[peer] / best[f"callbridge, {form}"]
            what = f"ingest: callbridge, {form}, against {peer}"
            # Of the form that is not the default nothing is claimed.
            target, ok = (f">= {least:g}", times >= least) if form == "json" else ("", None)
            lines.append(Line(what, "", f"{times:.1f}", target, ok))
    return lines
