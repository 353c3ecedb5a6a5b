"""The floor: read the same bytes from the same socket, in the same event loop, and do nothing with them."""

import asyncio
import sys
from typing import cast

import uvloop


class Reader(asyncio.Protocol):
    """Counts bytes until `wanted` have come."""

    def __init__(self, wanted: int) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self._greeting = True
        self._left = wanted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(b"event plain ALL\n\n")

    def data_received(self, data: bytes) -> None:
        if self._greeting:
            # What answers the subscription comes before the events, in a read of its own: nothing is played before.
            self._greeting = b"+OK" not in data
            if not self._greeting:
                print("ready", flush=True)
            return
        self._left -= len(data)
        if self._left <= 0:
            self.ended.set_result(None)


async def main(port: int, wanted: int) -> None:
    """Read `wanted` bytes of events."""
    _, reader = await asyncio.get_running_loop().create_connection(lambda: Reader(wanted), "127.0.0.1", port)
    await reader.ended
    print("done", flush=True)
    await asyncio.Event().wait()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main(int(sys.argv[1]), int(sys.argv[2])))
