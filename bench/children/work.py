"""Does one kind of work so many times, in one process of its own, to be counted from outside.

`python -m bench.children.work KIND TIMES`. What the work is held against takes the same inputs, so both change alike
with the machine, the Python and the libraries.
"""

import asyncio
import json
import socket
import sys
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec
import uvloop
from aiohttp import web

from callbridge.config import AuditConfig, Config, Switch, Token
from callbridge.daemon import make_desk
from callbridge.esl.events import Event
from callbridge.esl.frames import FrameReader
from callbridge.esl.protocol import Protocol
from callbridge.http.app import make_app
from callbridge.mirror import Mirror
from callbridge.store import MemoryStore
from callbridge.table import CallTable
from tests.recorded import load

CALLS: Final = 100
"""Live calls of a list."""

READ: Final = 65536
"""Bytes that come with one read from the socket."""

TOKEN: Final = "guard"
REQUEST: Final = f"GET /v1/call HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


class Live:
    """A mirror, and the table that it follows."""

    def __init__(self) -> None:
        self.mirror = Mirror(["pbx"])
        self._table = CallTable("pbx")
        self._table.begin(same_run=False)
        self._protocol = Protocol("")
        for data in (b"Content-Type: auth/request\n\n", b"Content-Type: command/reply\nReply-Text: +OK accepted\n\n"):
            list(self._protocol.receive(data))
            self._protocol.data_to_send()

    def read(self, data: bytes) -> None:
        """Take what one read from the socket brings, to the rows that a list is joined of."""
        for item in self._protocol.receive(data):
            if type(item) is Event:
                self._table.apply(item, 0.0)
        changes = self._table.take_changes()
        if changes is not None:
            self.mirror.apply("pbx", changes.updated, changes.gone, changes.ended, 0.0)


class Recorded:
    """One real call from its first event to its last, as often as wanted."""

    def __init__(self) -> None:
        frames = [frame for frame in load("json_outbound_answered").frames if frame.is_event]
        self._uuids = sorted({frame.event["Unique-ID"] for frame in frames if "Unique-ID" in frame.event})
        self._whole = b"".join(frame.wire for frame in frames)
        self._until_it_talks = self._whole[: self._whole.index(b'"Event-Name":"CHANNEL_BRIDGE"')]
        self.events = len(frames)

    def whole(self, number: int) -> list[bytes]:
        """All of a call, as it is read."""
        wire = self._another(self._whole, number)
        return [wire[at : at + READ] for at in range(0, len(wire), READ)]

    def answered(self, number: int) -> bytes:
        """The beginning of a call that goes on."""
        wire = self._another(self._until_it_talks, number)
        return wire[: wire.rindex(b"Content-Length: ")]

    def _another(self, wire: bytes, number: int) -> bytes:
        for uuid in self._uuids:
            wire = wire.replace(uuid.encode(), f"{number:08x}{uuid[8:]}".encode())
        return wire


def events(times: int) -> None:
    """The events of so many calls, to the rows."""
    live, recorded = Live(), Recorded()
    for number in range(times):
        for data in recorded.whole(number):
            live.read(data)


def parsed(times: int) -> None:
    """The same events: their frames, and all their headers by the standard library."""
    frames, recorded = FrameReader(), Recorded()
    for number in range(times):
        for data in recorded.whole(number):
            for frame in frames.feed(data):
                json.loads(frame.body)


def filled() -> Live:
    """With live calls."""
    live, recorded = Live(), Recorded()
    for number in range(CALLS):
        live.read(recorded.answered(number))
    return live


def api(mirror: Mirror) -> web.Application:
    """As the daemon has it."""
    token = Token("guard", sha256(TOKEN.encode()).hexdigest(), ("read",))
    config = Config(switch=(Switch("pbx", "127.0.0.1:8021"),), token=(token,), audit=AuditConfig("/dev/null"))
    return make_app(config, mirror, MemoryStore(), make_desk(config, mirror, {}, lambda: 0.0), lambda: 0.0)


def lists(times: int) -> None:
    """Lists, while nothing changes."""
    serve(api(filled().mirror), times, lambda _: None)


def changing(times: int) -> None:
    """Lists, before each of which a row changes."""
    mirror = filled().mirror
    record = next(iter(mirror.listing(None))).record

    def change(number: int) -> None:
        mirror.apply("pbx", [msgspec.structs.replace(record, source=str(number))], (), (), 0.0)

    serve(api(mirror), times, change)


def constant(times: int) -> None:
    """The same bytes from an application that knows nothing."""
    body = b"".join(filled().mirror.listing(None).pieces(complete=False))

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    serve(app, times, lambda _: None)


def serve(app: web.Application, times: int, before: Callable[[int], None]) -> None:
    """Ask so many times, one request after the other on one connection."""

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
        await loop.connect_accepted_socket(runner.server, theirs)
        for number in range(times):
            before(number)
            await loop.sock_sendall(ours, REQUEST)
            answer = await loop.sock_recv(ours, 4_000_000)
            length = int(answer.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
            left = length + answer.index(b"\r\n\r\n") + 4 - len(answer)
            while left:
                left -= len(await loop.sock_recv(ours, 4_000_000))
        ours.close()
        await runner.cleanup()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(ask())


KINDS: Final = {"events": events, "parsed": parsed, "lists": lists, "changing": changing, "constant": constant}

if __name__ == "__main__":
    KINDS[sys.argv[1]](int(sys.argv[2]))
