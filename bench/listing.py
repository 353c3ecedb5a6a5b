"""The list over HTTP, beside an aiohttp server that sends the same bytes and knows nothing: CPU of each a request.

The constant server is what aiohttp costs at least: no middleware, no token, one body. Of each side the best slice
counts, because what else the machine does only ever adds.
"""

from typing import Final

from bench.processes import FOREVER, Child, Client, Daemon, Failed, Simulator, python
from bench.report import Line

REQUESTS: Final = {100: 1000, 1_000: 500, 10_000: 100}
"""Live calls -> requests in a slice."""

SLICES: Final = 7
AT_MOST: Final = 1.5
"""How many times the CPU of the constant server a list of 10,000 calls may take."""


def run() -> list[Line]:
    """Measure lists of all sizes."""
    return [line for calls, requests in REQUESTS.items() for line in _measure(calls, requests)]


def _measure(calls: int, requests: int) -> list[Line]:
    with Simulator(live=calls, rate=0, duration=FOREVER) as switch, Daemon(switch.port) as daemon:
        known = daemon.client.get("/v1/call")
        if known.body.count(b'"call_id"') != calls:
            raise Failed(f"the daemon does not list {calls} calls")
        with python("bench.children.constant") as constant:
            constant.tell(known.body.decode())
            client = Client(int(constant.wait_for("ready").split()[1]), {})
            if client.get("/").body != known.body:
                raise Failed("the constant server sends something else")
            ours, theirs, unchanged = [], [], []
            for _ in range(SLICES):
                ours.append(_slice(daemon, daemon.client, requests))
                theirs.append(_slice(constant, client, requests))
                unchanged.append(_slice(daemon, daemon.client, requests, known.etag))
    return _lines(calls, min(ours), min(theirs), min(unchanged))


def _slice(server: Child, client: Client, requests: int, etag: str = "") -> float:
    """CPU seconds a request."""
    before = server.cpu
    for _ in range(requests):
        if client.get("/v1/call", etag).status != (304 if etag else 200):
            raise Failed("a request went wrong")
    return (server.cpu - before) / requests


def _lines(calls: int, ours: float, theirs: float, unchanged: float) -> list[Line]:
    times = ours / theirs
    target, ok = (f"<= {AT_MOST:g}", times <= AT_MOST) if calls == max(REQUESTS) else ("", None)
    figure = f"{ours * 1e6:,.0f} us a request, a constant {theirs * 1e6:,.0f}"
    return [
        Line(f"listing: {calls:,} calls", figure, f"{times:.2f}", target, ok),
        Line(f"listing: {calls:,} calls, 304", f"{unchanged * 1e6:,.0f} us a request", f"{unchanged / theirs:.2f}"),
    ]
