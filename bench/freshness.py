"""How long after its first event a call can be read over HTTP, at 1,000 events a second.

The clock starts before the event is written to the socket and stops when the first answer that shows the call has been
read. A client in a process of its own asks for that call back to back from the moment of the write on, so the figure
holds at least one round trip, and the client asks for nothing between two samples.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench.eventsocket import EventSocket, Played
from bench.processes import AUTHORIZATION, Child, Daemon, Failed, python
from bench.report import Line

RATE: Final = 1000.0
"""Events a second, at times that chance chooses (Poisson)."""

BACKGROUND: Final = 10_000
"""Calls that are up all the time."""

COMMANDS: Final = 200
"""Commands that are under way all the time: supervisors whose phones ring."""

P99_MS: Final = 10.0


def run() -> list[Line]:
    """Measure one call at 10,000 live calls, one while 200 commands are in flight, and the list itself with the
    recording's own calls."""
    played = Played("json")
    return [
        _measure(played, BACKGROUND, 0, f"freshness: one call, {BACKGROUND:,} live"),
        _measure(played, 0, COMMANDS, f"freshness: one call, {COMMANDS} commands in flight"),
        _measure(played, 0, 0, "freshness: the list, some 70 live"),
    ]


def _measure(played: Played, background: int, commands: int, what: str) -> Line:
    ids = "legs" if background or commands else "list"
    with (
        EventSocket() as server,
        Daemon(server.port) as daemon,
        python("bench.children.watch", daemon.port) as client,
        _in_flight(server, daemon, played, commands),
    ):
        server.play(b"".join(played.another(number)[1] for number in range(background)))
        _until_known(daemon, [played.another(background - 1)[0]] if background else [])
        client.tell(f"{AUTHORIZATION['Authorization']} {ids}")
        client.wait_for("ready")
        cpu, began = daemon.cpu, time.monotonic()
        samples = _play(server, played, client, legs=ids == "legs")
        seconds = time.monotonic() - began
        share = (daemon.cpu - cpu) / seconds
        client.tell("end")
        delays = sorted(float(text) for text in client.wait_for("done").split()[1:])
    if len(delays) != samples:
        raise Failed(f"{len(delays)} of {samples} calls were seen")
    p50, p99 = delays[len(delays) // 2], delays[int(len(delays) * 0.99)]
    rate = len(played.frames) / seconds
    load = f"{samples} calls, {rate:,.0f} events/s, CPU {share:.0%}"
    figure = f"p50 {p50:.2f}, p99 {p99:.2f}, max {delays[-1]:.2f} ms ({load})"
    return Line(what, figure, target=f"p99 < {P99_MS:g} ms", ok=p99 < P99_MS and rate > 0.97 * RATE)


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


def _play(server: EventSocket, played: Played, client: Child, *, legs: bool) -> int:
    """Send the recording at the rate, and tell the client of every call that begins (or leg). Returns how many."""
    chance, samples, due = random.Random(0), 0, time.monotonic()
    calls = set(played.calls)
    for index, frame in enumerate(played.frames):
        due += chance.expovariate(RATE)
        time.sleep(max(0.0, due - time.monotonic()))
        uuid = played.created.get(index, "")
        written = time.monotonic_ns()
        server.play(frame)
        if uuid and (legs or uuid in calls):
            client.tell(f"{uuid} {written}")
            samples += 1
    return samples
