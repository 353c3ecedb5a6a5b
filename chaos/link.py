"""A TCP link between a daemon and what it talks to, which can be cut, stalled, slowed and spoilt."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Final

READ: Final = 64 * 1024
"""Bytes that are passed on at once, and that the link itself takes in while it is held: what it holds is to stay on the
sender's side."""

PIECE: Final = 1024
PIECE_EVERY: Final = 0.25
"""Bytes that a slow link passes on at once, and the seconds between those of one that trickles: an event a second."""

SAID: Final = 4096
"""Bytes of the client's that are remembered, to tell one connection from another."""

_BODY: Final = b"Content-Length: "
"""In the head of each frame that has a body; it is not over before the length is."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: the connection ends with a RST (socket(7))."""


class Way:
    """One direction of a connection. `down` is the one from the server to the client."""

    def __init__(self, pair: "Pair", writer: asyncio.StreamWriter, *, down: bool) -> None:
        self.pair = pair
        self.down = down
        self._writer = writer

    async def pass_on(self, data: bytes) -> None:
        """As a link does that does nothing."""
        self._writer.write(data)
        await self._writer.drain()


Mood = Callable[[Way, bytes], Awaitable[None]]
"""What a link does with some bytes on their way."""


async def passing(way: Way, data: bytes) -> None:
    """Nothing is wrong."""
    await way.pass_on(data)


async def silent(way: Way, data: bytes) -> None:
    """Everything is dropped, and nobody is told."""


def slow(bytes_a_second: float) -> Mood:
    """So many bytes a second, each way."""

    async def mood(way: Way, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            await way.pass_on(piece)
            await asyncio.sleep(len(piece) / bytes_a_second)

    return mood


async def byte_by_byte(way: Way, data: bytes) -> None:
    """Each byte is a write of its own, and the other side may read between any two."""
    for number in data:
        await way.pass_on(bytes((number,)))
        await asyncio.sleep(0)


def held(until: asyncio.Event) -> Mood:
    """Nothing passes for now, and nothing is lost."""

    async def mood(way: Way, data: bytes) -> None:
        await until.wait()
        await way.pass_on(data)

    return mood


def trickling(until: asyncio.Event) -> Mood:
    """Little comes from the server for now, but enough that nobody takes it for dead; nothing is lost."""

    async def mood(way: Way, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            if way.down and not until.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(PIECE_EVERY):
                        await until.wait()
            await way.pass_on(data[start : start + PIECE])

    return mood


def garbage(chance: Random) -> Mood:
    """Once, some bytes come that the server has not sent."""

    async def mood(way: Way, data: bytes) -> None:
        if way.down:
            way.pair.mood = passing
            at = chance.randrange(len(data))
            data = data[:at] + chance.randbytes(chance.randint(1, 64)) + data[at:]
        await way.pass_on(data)

    return mood


def inside_frame(chance: Random) -> Mood:
    """The connection ends inside the next frame that has a body."""

    async def mood(way: Way, data: bytes) -> None:
        begins = data.rfind(_BODY) if way.down else -1
        if begins < 0:
            await way.pass_on(data)
            return
        begins += len(_BODY)
        await way.pass_on(data[: begins + chance.randrange(max(1, len(data) - begins))])
        way.pair.close()

    return mood


class Pair:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, mood: Mood) -> None:
        self.mood = mood
        self.said = b""
        """What the client said first."""
        self._ends = (client, server)

    def __repr__(self) -> str:
        return f"<Pair {getattr(self.mood, '__name__', 'spoilt')}>"

    def close(self) -> None:
        """End both, in order."""
        for end in self._ends:
            end.close()

    def reset(self) -> None:
        """End both with a RST."""
        for end in self._ends:
            with suppress(OSError):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            end.transport.abort()

    async def run(self, client: asyncio.StreamReader, server: asyncio.StreamReader) -> None:
        """Pass on what comes, both ways, until one end closes."""
        ways = (Way(self, self._ends[1], down=False), Way(self, self._ends[0], down=True))
        pumps = [asyncio.create_task(self._pump(r, way)) for r, way in zip((client, server), ways, strict=True)]
        try:
            await asyncio.wait(pumps, return_when="FIRST_COMPLETED")
        finally:
            for pump in pumps:
                pump.cancel()
            self.close()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, way: Way) -> None:
        with suppress(OSError):
            while data := await reader.read(READ):
                if not way.down and len(self.said) < SAID:
                    self.said += data[:SAID]
                await self.mood(way, data)


class Link:
    """`async with Link(port) as link`: listens on `link.port` of loopback and leads to `link.target`."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.pairs: set[Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"<Link {self.port} to {self.target}, {len(self.pairs)} connections>"

    async def __aenter__(self) -> "Link":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.shut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def open(self) -> None:
        """Connections are accepted."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def shut(self) -> None:
        """Nobody listens there any more. The connections that there are stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def change(self, mood: Mood) -> None:
        """From now on the connections that there are do this; later ones are as they should be."""
        for pair in self.pairs:
            pair.mood = mood

    def cut(self) -> None:
        """Close all connections."""
        for pair in list(self.pairs):
            pair.close()

    def reset(self) -> None:
        """End all connections with a RST."""
        for pair in list(self.pairs):
            pair.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._lead(reader, writer)
        except asyncio.CancelledError:
            # At the end of the run; asyncio's own server would tell of it as of a failure.
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = socket.socket()
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ)
        try:
            await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", self.target))
            there, back = await asyncio.open_connection(sock=end, limit=READ)
        except OSError:
            end.close()
            writer.transport.abort()
            return
        for each in (writer, back):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = Pair(writer, back, passing)
        self.pairs.add(pair)
        try:
            await pair.run(reader, there)
        finally:
            self.pairs.discard(pair)
