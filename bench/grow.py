"""What more calls, more switches and more readers cost: the unit costs that docs/planning.md plans with.

CPU time, memory and bytes are those of the processes, so that a machine that is busy with something else gives much the
same figures, only later; delays do not hold there.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from redis import Redis

from bench.eventsocket import EventSocket, Lives, Played
from bench.processes import AUTHORIZATION, START_TIMEOUT, TOKEN, Child, Client, Failed, python
from bench.report import Line
from tests.redis_server import free_port

LIVE: Final = 100_000
"""Calls of one switch."""
DURATION: Final = 180.0
"""Mean seconds of a call: with so many live, LIVE / DURATION begin and end every second."""
AT_ONCE: Final = 20
"""Calls that begin in one write to the socket while a switch is filled."""
TURNED_OVER: Final = 3_000
"""Calls that end, while as many begin, when the cost of a call is measured."""
WATCH_EVERY: Final = 20
"""Of how many calls one is asked for, to see when it is there."""
SHARED_LIVE: Final = 10_000
SHARED: Final = ((1, 11.0, 500), (1, 100.0, 2_000), (20, 100.0, 1_000), (20, 220.0, 3_000))
"""Switches, calls begun a second on all of them, calls begun in all. With 2,000 calls of three minutes, 11 begin a
second."""
IDLE_SECONDS: Final = 60.0
"""In which every channel is probed once."""
SWITCHES: Final = ((1, 10_000), (50, 200), (50, 0))
"""Switches in one process, and the calls of each."""
REQUESTS: Final = 2_000
CONNECTIONS: Final = 16

CONFIG: Final = """
http = {{ listen = "127.0.0.1:{port}", reuse_port = {reuse} }}
store = {{ url = "{store}" }}
switch = [{switches}]
token = [{{ name = "bench", sha256 = "{digest}", scopes = ["read"] }}]
log = {{ format = "json" }}
"""


def run() -> list[Line]:
    """Measure one after the other."""
    played = Played("json")
    return [
        *_one_switch(Lives(played)),
        *_shared(Lives(played), 1),
        *_shared(Lives(played), 20),
        *map(_switches, *zip(*SWITCHES, strict=True)),
    ]


class Service(Child):
    """`callbridge run` on a configuration of its own."""

    def __init__(self, ports: Sequence[int], role: str = "all", store: str = "memory://", port: int = 0) -> None:
        self._folder = tempfile.TemporaryDirectory()
        config = Path(self._folder.name, "callbridge.toml")
        one = '{{ name = "s{}", address = "127.0.0.1:{}", password = "ClueCon" }}'
        switches = ", ".join(one.format(*numbered) for numbered in enumerate(ports))
        digest, reuse = sha256(TOKEN.encode()).hexdigest(), "true" if port else "false"
        config.write_text(CONFIG.format(port=port, reuse=reuse, store=store, switches=switches, digest=digest))
        run = python_command("callbridge.cli", "run", "--role", role, "--config", config)
        super().__init__(run)
        if role != "writer":
            url = self.wait_for("daemon.listening").partition('"url": "')[2].partition('"')[0]
            self.port = int(url.rpartition(":")[2])
            self.client = Client(self.port, AUTHORIZATION)
        if role != "reader":
            for _ in ports:
                self.wait_for("switch.live", 10 * START_TIMEOUT)

    def __exit__(self, *failure: Any) -> None:
        super().__exit__(*failure)
        self._folder.cleanup()


# One switch with very many calls.


def _one_switch(lives: Lives) -> list[Line]:
    with EventSocket() as server, Service([server.port]) as daemon:
        empty = daemon.rss
        _fill([server], lives, LIVE)
        _until_listed(daemon.client, LIVE)
        each = (daemon.rss - empty) / LIVE
        idle = _share(daemon, IDLE_SECONDS / 6)
        a_list, unchanged = _lists(daemon)
        before = daemon.cpu
        _turn_over([server], lives, LIVE, 0, TURNED_OVER, rate := LIVE / DURATION)
        _until_followed(daemon.client, lives, TURNED_OVER, LIVE)
        a_call = (daemon.cpu - before) / TURNED_OVER
        late = _lateness(server, lives, daemon)
        _until_followed(daemon.client, lives, 2 * TURNED_OVER, LIVE)
        _must_be_right(daemon.client, lives, 2 * TURNED_OVER, LIVE)
    return [
        Line(f"grow: {LIVE:,} calls of one switch", f"{each:,.0f} bytes a call; CPU {idle:.1%} while nothing changes"),
        Line(f"grow: {LIVE:,} calls, the list", f"{a_list * 1e3:,.1f} ms of CPU; 304 {unchanged * 1e6:,.0f} us"),
        Line(
            f"grow: {LIVE:,} calls, {rate:,.0f} new ones a second",
            f"{a_call * 1e6:,.0f} us a call of {lives.events} events, so CPU {a_call * rate:.0%};"
            f" event to one call p50 {late[len(late) // 2]:.1f}, p99 {late[int(len(late) * 0.99)]:.1f} ms",
        ),
    ]


def _lateness(server: EventSocket, lives: Lives, daemon: Service) -> list[float]:
    """Milliseconds from a call's first event until it is answered, sorted, while as many others begin and end."""
    with python("bench.children.watch", daemon.port) as watcher:
        watcher.tell(f"{AUTHORIZATION['Authorization']} legs")
        watcher.wait_for("ready")
        _turn_over([server], lives, LIVE, TURNED_OVER, TURNED_OVER, LIVE / DURATION, watcher)
        watcher.tell("end")
        return sorted(float(word) for word in watcher.wait_for("done").split()[1:])


def _lists(daemon: Service) -> tuple[float, float]:
    """CPU seconds of a whole list that is kept, and of a 304."""
    known = daemon.client.get("/v1/call")
    before = daemon.cpu
    for _ in range(10):
        daemon.client.get("/v1/call")
    between = daemon.cpu
    for _ in range(100):
        daemon.client.get("/v1/call", known.etag)
    return (between - before) / 10, (daemon.cpu - between) / 100


# A writer, a Redis and readers.


def _shared(lives: Lives, switches: int) -> list[Line]:
    port = free_port()
    with _redis() as (process, redis), ExitStack() as stack:
        servers = [stack.enter_context(EventSocket()) for _ in range(switches)]
        ports = [server.port for server in servers]
        url = f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}/0"
        writer = stack.enter_context(Service(ports, "writer", url))
        first = stack.enter_context(Service(ports, "reader", url, port))
        sides, empty = (writer, process, first), (first.rss, _memory(redis))
        _fill(servers, lives, SHARED_LIVE)
        _until_listed(first.client, SHARED_LIVE)
        full = first.rss, _memory(redis)
        asked = [_requests(port, [first])]
        with Service(ports, "reader", url, port) as second:
            asked.append(_requests(port, [first, second]))
        idle = [cost / 10 for cost in _costs(sides, redis, lambda: time.sleep(10))]
        lines, ended = [], 0
        for rate, calls in ((rate, calls) for count, rate, calls in SHARED if count == switches):

            def work(rate: float = rate, calls: int = calls, ended: int = ended) -> None:
                _turn_over(servers, lives, SHARED_LIVE, ended, calls, rate)
                _until_followed(first.client, lives, ended + calls, SHARED_LIVE)

            costs, ended = _costs(sides, redis, work), ended + calls
            figure = _described([cost / calls for cost in costs])
            lines.append(Line(f"grow: a call through Redis, {switches} switches, {rate:,.0f} calls/s", figure))
        _must_be_right(first.client, lives, ended, SHARED_LIVE)
    of_reader, of_redis = ((now - was) / SHARED_LIVE for now, was in zip(full, empty, strict=True))
    return [
        Line(f"grow: memory of a call, {switches} switches", f"a reader {of_reader:,.0f}, Redis {of_redis:,.0f} bytes"),
        Line(f"grow: {switches} switches in a second while nothing changes", _described(idle)),
        *lines,
        *(
            Line(f"grow: {number} readers on one port", f"{rate:,.0f} requests of one row in a second of CPU")
            for number, rate in enumerate(asked, 1)
        ),
    ]


def _described(costs: Sequence[float]) -> str:
    writer, redis, reader, into, out, writes = costs
    cpu = f"CPU writer {writer * 1e6:,.0f}, Redis {redis * 1e6:,.0f}, a reader {reader * 1e6:,.0f} us"
    return f"{cpu}; {into:,.0f} bytes into Redis, {out:,.0f} out to a reader; {writes:.2f} writes"


@contextmanager
def _redis() -> Iterator[tuple[Child, Redis]]:
    port = free_port()
    command = ["redis-server", "--port", f"{port}", "--bind", "127.0.0.1", "--save", ""]
    with Child(command) as process:
        process.wait_for("Ready to accept")
        yield process, Redis(port=port)


def _memory(redis: Redis) -> int:
    return int(redis.info()["used_memory"])


def _costs(processes: Sequence[Child], redis: Redis, work: Any) -> list[float]:
    """What some work takes: CPU seconds of each process, bytes into Redis and out of it, writes."""

    def now() -> list[float]:
        info = redis.info()
        heads = [redis.hget(key, "writes") for key in redis.scan_iter("callbridge:*:head")]
        network = float(info["total_net_input_bytes"]), float(info["total_net_output_bytes"])
        return [*(process.cpu for process in processes), *network, float(sum(int(writes) for writes in heads))]

    before = now()
    work()
    return [after - was for after, was in zip(now(), before, strict=True)]


def _requests(port: int, readers: Sequence[Child]) -> float:
    """Requests a second of CPU of all readers, over connections that the kernel shares out."""
    clients = [Client(port, AUTHORIZATION) for _ in range(CONNECTIONS)]
    path = "/v1/call?limit=1"
    before = sum(reader.cpu for reader in readers)
    for number in range(REQUESTS):
        if clients[number % CONNECTIONS].get(path).status != 200:
            raise Failed("a request went wrong")
    return REQUESTS / (sum(reader.cpu for reader in readers) - before)


# Many switches.


def _switches(count: int, of_each: int) -> Line:
    """One process with all the calls of so many switches, which answer its probes and send nothing else."""
    with python("bench.children.switches", count, of_each) as switches:
        ports = [int(word) for word in switches.wait_for("ready", 10 * START_TIMEOUT).split()[1:]]
        with Service(ports) as daemon:
            started = daemon.cpu
            _until_listed(daemon.client, count * of_each)
            share = _share(daemon, IDLE_SECONDS)
            what = f"grow: {count} switches, {of_each:,} calls on each"
            figure = f"CPU {share:.1%} while nothing changes, {daemon.rss / 2**20:,.0f} MiB, {started:.1f} s to start"
            return Line(what, figure)


# What all of them need.


def python_command(module: str, *arguments: object) -> list[str]:
    """To run a module of this Python."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def _fill(servers: Sequence[EventSocket], lives: Lives, live: int) -> None:
    """Call n is on switch n modulo their number, which divides all numbers of calls here."""
    for start in range(0, live, AT_ONCE * len(servers)):
        for at, server in enumerate(servers, start):
            server.play(b"".join(map(lives.up, range(at, start + AT_ONCE * len(servers), len(servers)))))


def _turn_over(
    servers: Sequence[EventSocket],
    lives: Lives,
    live: int,
    first: int,
    calls: int,
    rate: float,
    watcher: Child | None = None,
) -> None:
    """So many calls end, from the first one on, and as many begin, at the rate. The events of a call come one by one,
    between those of others, as a switch sends them."""
    under_way: list[tuple[EventSocket, Iterator[bytes]]] = []
    due = time.monotonic()
    for number in range(first, first + calls + lives.events):
        if number < first + calls:
            server = servers[number % len(servers)]
            under_way += [(server, iter(lives.begin(live + number))), (server, iter(lives.end(number)))]
        shown = number - lives.created
        if watcher is not None and first <= shown < first + calls and shown % WATCH_EVERY == 0:
            watcher.tell(f"{lives.uuid(live + shown)} {time.monotonic_ns()}")
        for server, frames in under_way[-2 * lives.events :]:
            if frame := next(frames, b""):
                due += 1 / rate / lives.events
                time.sleep(max(0.0, due - time.monotonic()))
                server.play(frame)


def _share(process: Child, seconds: float) -> float:
    """Of one core, while nothing is done to it."""
    before, began = process.cpu, time.monotonic()
    time.sleep(seconds)
    return (process.cpu - before) / (time.monotonic() - began)


def _until_listed(client: Client, calls: int) -> None:
    _until(lambda: b'"total":%d' % calls in client.get("/v1/call?limit=1").body)


def _until(reached: Any) -> None:
    deadline = time.monotonic() + 10 * START_TIMEOUT
    while not reached():
        if time.monotonic() > deadline:
            raise Failed("the daemon does not list what the switch has")
        time.sleep(0.005)


def _until_followed(client: Client, lives: Lives, ended: int, live: int) -> None:
    """The last call of the switch is there, and the last one that ended is not."""
    _until(lambda: client.get(f"/v1/call/{lives.uuid(ended + live - 1)}").status == 200)
    _until(lambda: client.get(f"/v1/call/{lives.uuid(ended - 1)}").status != 200)


def _must_be_right(client: Client, lives: Lives, ended: int, live: int) -> None:
    listed = {row["call_id"] for row in json.loads(client.get("/v1/call").body)["data"]}
    wanted = {lives.uuid(number) for number in range(ended, ended + live)}
    if listed != wanted:
        raise Failed(f"at the end {len(wanted - listed)} calls are missing and {len(listed - wanted)} are not there")
