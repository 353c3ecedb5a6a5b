"""How long after its first event a call is told on the stream, at 100, 1,000 and 5,000 events a second; and what 1,000
clients cost.

The clock starts before the event is written to the socket and stops when a client in a process of its own has read the
`call.created` of that call.
"""

import json
import random
import time
from typing import Final

from bench.eventsocket import EventSocket, Played
from bench.processes import AUTHORIZATION, Daemon, Failed, python
from bench.report import Line

CLIENTS: Final = 1000
RATES: Final = (100, 1000, 5000)
SECONDS: Final = 20.0
P99_MS: Final = 10.0
"""Of one client, at 1,000 events a second."""


def run() -> list[Line]:
    """Measure one client at every rate, and many at the middle one beside none."""
    played = Played("json")
    lines = [_line(rate, 1, *_measure(played, rate, 1)) for rate in RATES]
    _, alone, _ = _measure(played, 1000, 0)
    lines.append(Line("stream: nobody, 1,000 events/s", f"CPU {alone:.0%}"))
    lines.append(_line(1000, CLIENTS, *_measure(played, 1000, CLIENTS)))
    return lines


def _line(rate: int, clients: int, delays: list[float], share: float, reached: float) -> Line:
    p50, p99, p999 = (delays[int(len(delays) * part)] for part in (0.5, 0.99, 0.999))
    load = f"{len(delays)} calls, {reached:,.0f} events/s, CPU {share:.0%}"
    what = f"stream: {clients:,} client{'s' * (clients > 1)}, {rate:,} events/s"
    figure = f"p50 {p50:.2f}, p99 {p99:.2f}, p99.9 {p999:.2f} ms ({load})"
    if (rate, clients) != (1000, 1):
        return Line(what, figure)
    return Line(what, figure, target=f"p99 < {P99_MS:g} ms", ok=p99 < P99_MS and reached > 0.97 * rate)


def _measure(played: Played, rate: int, clients: int) -> tuple[list[float], float, float]:
    """The delays, sorted; the share of a core that the daemon took; the events a second."""
    frames, calls = played.frames[: int(rate * SECONDS)], set(played.calls)
    with EventSocket() as server, Daemon(server.port) as daemon, python("bench.children.listen", daemon.port) as client:
        if clients:
            client.tell(f"{AUTHORIZATION['Authorization']} {clients}")
            client.wait_for("ready")
        began, cpu, told = time.monotonic(), daemon.cpu, []
        chance, due = random.Random(0), time.monotonic()
        for index, frame in enumerate(frames):
            due += chance.expovariate(rate)
            time.sleep(max(0.0, due - time.monotonic()))
            uuid = played.created.get(index, "")
            written = time.monotonic_ns()
            server.play(frame)
            if uuid in calls:
                told.append(f"{uuid} {written}")
        seconds = time.monotonic() - began
        share = (daemon.cpu - cpu) / seconds
        if not clients:
            return [], share, len(frames) / seconds
        # What is under way arrives.
        time.sleep(1.0)
        client.tell("\n".join([*told, "end"]))
        delays = sorted(json.loads(client.wait_for("done").partition(" ")[2]))
    # At the highest rate a rejected call may begin and end in one read, and is never shown.
    if len(delays) < 0.99 * len(told) or not delays:
        raise Failed(f"{len(delays)} of {len(told)} calls were told")
    return delays, share, len(frames) / seconds
