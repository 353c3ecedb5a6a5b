"""The floors: read the events of a socket and do nothing with them, or cut them out too.

`python -m bench.children.floor bytes|frames PORT WANTED`. As lean as Python is without a parser in C: one buffer, into
which the event loop reads. Where each read comes as an object of its own, and is joined with what was left, the memory
for it is taken from the kernel anew each time, and the page faults alone cost more than all that is done here.

Nothing of callbridge is in it, so that the floor stays where it is when callbridge changes.
"""

import asyncio
import sys
from typing import Final, cast

import uvloop

BUFFER: Final = 256 * 1024
"""Bytes, as many as uvloop reads at once where it makes the object."""


class Bytes(asyncio.BufferedProtocol):
    """Counts bytes until `wanted` have come."""

    def __init__(self, wanted: int) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._greeting = True
        self._left = wanted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(b"event json ALL\n\n")

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._greeting:
            # What answers the subscription comes before the events, in a read of its own: nothing is played before.
            self._greeting = b"+OK" not in self._buffer[:nbytes]
            if not self._greeting:
                print("ready", flush=True)
            return
        self._left -= self.take(self._filled + nbytes)
        if self._left <= 0:
            self.ended.set_result(None)

    def take(self, filled: int) -> int:
        """Take what is there out of the buffer. Gives how much of the wanted it was."""
        return filled


class Frames(Bytes):
    """Counts events, each of which it has cut out."""

    def take(self, filled: int) -> int:
        buffer, view = self._buffer, self._view
        position = frames = 0
        while (start := buffer.find(b"\n\n", position, filled) + 2) > 1:
            at = buffer.index(b"Content-Length: ", position, start) + 16
            end = start + int(buffer[at : buffer.index(b"\n", at)])
            if end > filled:
                break
            bytes(view[start:end])
            position = end
            frames += 1
        self._filled = filled - position
        buffer[: self._filled] = buffer[position:filled]
        return frames


KINDS: Final = {"bytes": Bytes, "frames": Frames}


async def main(kind: str, port: int, wanted: int) -> None:
    """Read until what is wanted has come."""
    loop = asyncio.get_running_loop()
    _, reader = await loop.create_connection(lambda: KINDS[kind](wanted), "127.0.0.1", port)
    await reader.ended
    print("done", flush=True)
    await asyncio.Event().wait()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
