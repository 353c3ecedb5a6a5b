"""The API before a mirror that a test fills, and a client of it. Its clocks stand still until the test moves them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, Final

from aiohttp import TCPConnector, web
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDict
from yarl import URL

from callbridge.commands.desk import Desk
from callbridge.config import Config, Http, Scope, Switch, Token
from callbridge.daemon import make_desk
from callbridge.http.app import make_app
from callbridge.mirror import Mirror
from callbridge.sharing.claims import Claims
from callbridge.store import MemoryStore, Store
from tests.http.samples import SAMPLE
from tests.http.streaming import Reader
from tests.service import Clock, until

EVERYTHING: Final = "a token for every tenant"
OF_A: Final = "a token of a.example"
OF_B: Final = "a token of b.example"
NO_READER: Final = "a token that may only control"
MAY_ALL: Final = "a token of a.example for everything"
ONLY: Final = {scope: f"a token of a.example that may only {scope}" for scope in ("read", "control", "monitor")}
STRANGER: Final = "a token of b.example for everything"
OPERATOR: Final = "a token for everything of every tenant"
NAMED: Final = "Tên có dấu ✓"
"""A token that is no ASCII."""

SCOPES: Final[tuple[Scope, ...]] = ("read", "control", "monitor")
TOKENS: Final = (
    Token("everything", sha256(EVERYTHING.encode()).hexdigest(), ("read",)),
    Token("a", sha256(OF_A.encode()).hexdigest(), ("read", "control"), "a.example"),
    Token("b", sha256(OF_B.encode()).hexdigest(), ("read",), "b.example"),
    Token("no-reader", sha256(NO_READER.encode()).hexdigest(), ("control", "monitor"), "a.example"),
    Token("named", sha256(NAMED.encode()).hexdigest(), ("read",), "a.example"),
    Token("may-all", sha256(MAY_ALL.encode()).hexdigest(), ("read", "control", "monitor"), "a.example"),
    Token("stranger", sha256(STRANGER.encode()).hexdigest(), ("read", "control", "monitor"), "b.example"),
    Token("operator", sha256(OPERATOR.encode()).hexdigest(), ("read", "control", "monitor")),
    *(Token(f"only-{name}", sha256(ONLY[name].encode()).hexdigest(), (name,), "a.example") for name in SCOPES),
)

NOW: Final = 1_000.0
"""What the writers' clock says."""

AFTER: Final = 100
"""Seconds since the sample call began, on the wall clock."""


class Answer:
    """What came back, as bytes and as JSON."""

    def __init__(self, status: int, headers: CIMultiDict[str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.body[:300]!r}>"

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        assert self.status == 200, self
        return self.json["data"]

    @property
    def ids(self) -> list[str]:
        return [row["call_id"] for row in self.data]

    def fails(self, status: int, code: str, message: str, **more: Any) -> None:
        """It is this failure, word for word."""
        assert self.status == status, self
        assert self.json == {"status": "fail", "error": code, "message": message, **more}
        assert list(self.json)[:3] == ["status", "error", "message"]
        assert self.headers["Cache-Control"] == "no-store"


class Api:
    """A client, what it asks, and the clocks."""

    def __init__(self, mirror: Mirror, server: TestServer, client: TestClient[Any, Any], clock: Clock) -> None:
        self.mirror = mirror
        self.clock = clock
        self.wall_us = SAMPLE.created_us + AFTER * 1_000_000
        self._server = server
        self._client = client

    async def get(self, path: str, token: str | None = EVERYTHING, *, method: str = "GET", **headers: str) -> Answer:
        """Ask. `path` goes out as it is written; in the names of `headers` an underscore stands for a hyphen."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        return await self._send(method, path, sent, None)

    async def ask(
        self, method: str, path: str, body: Any = None, token: str | None = MAY_ALL, key: str | None = None
    ) -> Answer:
        """Ask for something to be done: the body goes out as JSON, unless it is bytes. `key`: Idempotency-Key."""
        sent = {} if token is None else {"Authorization": f"Bearer {token}"}
        if key is not None:
            sent["Idempotency-Key"] = key
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        return await self._send(method, path, sent, data)

    async def post(self, path: str, token: str | None = MAY_ALL, key: str | None = None, **body: Any) -> Answer:
        """POST these fields."""
        return await self.ask("POST", path, body, token, key)

    async def leave(self, data: bytes) -> None:
        """Send these bytes and go, and wait until the server has done with them."""
        server = self._server.runner.server if self._server.runner is not None else None
        assert isinstance(server, web.Server)
        before = set(server.connections)
        _, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        writer.write(data)
        await until(lambda: bool(set(server.connections) - before))
        (connection,) = set(server.connections) - before
        task = connection._task_handler
        writer.close()
        await writer.wait_closed()
        await until(lambda: connection not in server.connections and (task is None or task.done()))

    def stream(self, query: str = "", token: str = EVERYTHING, **state: Any) -> "Reader":
        """A client of the stream, not yet connected."""
        return Reader(self._client.session, f"{self._server.make_url('/v1/call/stream')}{query}", token, **state)

    async def _send(self, method: str, path: str, headers: dict[str, str], data: bytes | None) -> Answer:
        url = URL(f"{self._server.make_url('/')}{path.removeprefix('/')}", encoded=True)
        async with self._client.session.request(method, url, headers=headers, data=data) as response:
            # A stream has no end.
            endless = response.content_type == "text/event-stream"
            return Answer(response.status, CIMultiDict(response.headers), b"" if endless else await response.read())

    @property
    def unsent(self) -> list[int]:
        """Bytes that wait for each client that is connected."""
        server = self._server.runner.server if self._server.runner is not None else None
        assert isinstance(server, web.Server)
        transports = [connection.transport for connection in server.connections]
        return [transport.get_write_buffer_size() for transport in transports if transport is not None]

    async def shut_down(self) -> None:
        """End the service, while its clients are connected."""
        async with asyncio.timeout(20):
            await self._server.close()

    async def send_until(self, data: bytes, end: bytes) -> bytes:
        """Send these bytes, and read up to those."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        writer.write(data)
        async with asyncio.timeout(20):
            answer = await reader.readuntil(end)
        writer.close()
        await writer.wait_closed()
        return answer

    async def send(self, head: bytes, body: bytes = b"") -> Answer:
        """Send these bytes with a Host and nothing else, for what no well-behaved client would."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        writer.write(head + b"\r\nHost: api\r\nConnection: close\r\n\r\n" + body)
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        top, _, content = answer.partition(b"\r\n\r\n")
        status, *lines = top.decode().split("\r\n")
        headers = CIMultiDict([(name, value) for name, _, value in (line.partition(": ") for line in lines)])
        return Answer(int(status.split(" ")[1]), headers, content)


@asynccontextmanager
async def serving(
    mirror: Mirror,
    *,
    origins: tuple[str, ...] = (),
    store: Store | None = None,
    desk: Desk | None = None,
    clock: Clock | None = None,
    claims: Claims | None = None,
    prepare: Callable[[web.Application], object] | None = None,
) -> AsyncIterator[Api]:
    """The API on a port of its own. `prepare` may add to the application before it starts."""
    config = Config(
        switch=(Switch("pbx", "127.0.0.1:8021", password="ClueCon"),), token=TOKENS, http=Http(cors_origins=origins)
    )
    clock = clock or Clock(NOW)
    desk = desk or make_desk(config, mirror, {}, clock)
    app = make_app(config, mirror, store or MemoryStore(), desk, clock, lambda: api.wall_us, clock.sleep, claims)
    if prepare is not None:
        prepare(app)
    server = TestServer(app)
    # A client opens 100 connections at most, unless told otherwise.
    async with TestClient(server, connector=TCPConnector(limit=0)) as client:
        api = Api(mirror, server, client, clock)
        yield api


def live(mirror: Mirror, seen: float = NOW) -> Mirror:
    """The mirror with every switch in sync, last heard of at `seen`."""
    for switch in mirror.switches.values():
        switch.state, switch.seen, switch.since, switch.error = "live", seen, seen, None
    return mirror
