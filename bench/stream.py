"""What 1, 100 and 1,000 clients of the stream cost at 1,000 events a second, beside none, and how long one of them
waits for a call.

The clock starts before the event is written to the socket and stops when the first client, in a process of its own
with the others, has read the `call.created` of that call.
"""

import json
import time
from typing import Final

from bench.delays import Delays, Load, play
from bench.eventsocket import EventSocket, Played
from bench.processes import AUTHORIZATION, Daemon, python
from bench.report import Figure, Line

CLIENTS: Final = (1, 100, 1000)
RATE: Final = 1000
"""Events a second."""


def run() -> list[Line]:
    """Measure nobody, then so many."""
    played = Played("json")
    lines = [_cost("stream: nobody", 0, _alone(played))]
    for clients in CLIENTS:
        delays = measure(played, RATE, clients)
        what = f"stream: {clients:,} client{'s' * (clients > 1)}"
        lines.append(_cost(f"{what}, cost", clients, delays.load))
        lines.append(delays.line(f"{what}, delay", figures=delays.figures("stream_delay", "", clients)))
    return lines


def measure(played: Played, rate: int, clients: int) -> Delays:
    """What the first of so many clients waits for."""
    told: list[str] = []
    with EventSocket() as server, Daemon(server.port) as daemon, python("bench.children.listen", daemon.port) as client:
        client.tell(f"{AUTHORIZATION['Authorization']} {clients}")
        client.wait_for("ready")
        load = play(server, daemon, played, rate, lambda uuid, written: told.append(f"{uuid} {written}"))
        # What is under way arrives.
        time.sleep(1.0)
        client.tell("\n".join([*told, "end"]))
        return Delays.of(load, json.loads(client.wait_for("done").partition(" ")[2]))


def _alone(played: Played) -> Load:
    with EventSocket() as server, Daemon(server.port) as daemon:
        return play(server, daemon, played, RATE, lambda *_: None)


def _cost(what: str, clients: int, load: Load) -> Line:
    figure = Figure("stream_cpu", "CPU", clients, 100 * load.share)
    return Line(what, f"CPU {load.share:.1%} ({load.rate:,.0f} events/s)", figures=(figure,))
