"""How long after its first event a call can be read over HTTP, and how long after it the stream tells of it, at 100,
1,000 and 5,000 events a second; also with many live calls and with many commands under way.

The clock starts before the event is written to the socket. For an answer it stops when the first one that shows the
call has been read: a client in a process of its own asks back to back from the moment of the write on, so the figure
holds at least one round trip, and asks for nothing between two samples. For the stream it stops when a client has read
the `call.created`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench import stream
from bench.delays import Delays, play
from bench.eventsocket import EventSocket, Played
from bench.processes import AUTHORIZATION, Daemon, Failed, python
from bench.report import Line

RATES: Final = (100, 1000, 5000)

RATE: Final = 1000
"""At which something is promised."""

P99_MS: Final = 5.0
"""Of the list and of the stream."""

LOADED_P99_MS: Final = 10.0
"""With many calls, or many commands."""

BACKGROUND: Final = 10_000
"""Calls that are up all the time."""

COMMANDS: Final = 200
"""Commands that are under way all the time: supervisors whose phones ring."""


def run() -> list[Line]:
    """Measure the list and the stream at every rate; one call at 10,000 live calls, and one while 200 commands are in
    flight."""
    played, lines = Played("json"), []
    for rate in RATES:
        for where, delays in (("list", _measure(played, rate, "list")), ("stream", stream.measure(played, rate, 1))):
            figures = delays.figures("freshness", f"{where}, ", rate)
            target = P99_MS if rate == RATE else 0.0
            lines.append(delays.line(f"freshness: the {where}, {rate:,} events/s", p99_ms=target, figures=figures))
    live = _measure(played, RATE, "one", background=BACKGROUND)
    in_flight = _measure(played, RATE, "one", commands=COMMANDS)
    return [
        *lines,
        live.line(f"freshness: one call, {BACKGROUND:,} live", p99_ms=LOADED_P99_MS),
        in_flight.line(f"freshness: one call, {COMMANDS} commands in flight", p99_ms=LOADED_P99_MS),
    ]


def _measure(played: Played, rate: int, kind: str, background: int = 0, commands: int = 0) -> Delays:
    """Of the list, or of one call (`kind`)."""
    with (
        EventSocket() as server,
        Daemon(server.port) as daemon,
        python("bench.children.watch", daemon.port) as client,
        _in_flight(server, daemon, played, commands),
    ):
        server.play(b"".join(played.another(number)[1] for number in range(background)))
        _until_known(daemon, [played.another(background - 1)[0]] if background else [])
        client.tell(f"{AUTHORIZATION['Authorization']} {kind}")
        client.wait_for("ready")
        load = play(server, daemon, played, rate, lambda uuid, written: client.tell(f"{uuid} {written}"))
        client.tell("end")
        return Delays.of(load, [float(text) for text in client.wait_for("done").split()[1:]])


@contextmanager
def _in_flight(server: EventSocket, daemon: Daemon, played: Played, commands: int) -> Iterator[None]:
    """So many commands are under way, each on a call of its own, from before to after what is measured."""
    if not commands:
        yield
        return
    calls = [played.talking(number) for number in range(commands)]
    server.play(b"".join(frames for _, frames in calls))
    ids = [call_id for call_id, _ in calls]
    _until_known(daemon, ids)
    with python("bench.children.listens", daemon.port, AUTHORIZATION["Authorization"], *ids) as listens:
        listens.wait_for("asked")
        while server.originates < commands:
            time.sleep(0.05)
        yield
        listens.tell("how many")
        if listens.wait_for("answered") != "answered 0":
            raise Failed("a command was answered although its phone only rang")


def _until_known(daemon: Daemon, ids: list[str]) -> None:
    for call_id in ids:
        while daemon.client.get(f"/v1/call/{call_id}").status != 200:
            time.sleep(0.1)
