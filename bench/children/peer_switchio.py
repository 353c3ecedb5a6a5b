"""switchio's protocol reads events and counts them. Runs where switchio is installed (bench/peers.py).

At its best: with uvloop, as it chooses itself where that is there, and the events taken from its queue by one task,
where its own event loop calls handlers. It is of 2017 and does not start on a Python of today; what that has taken away
is given back here, and is no part of what is measured.
"""

import asyncio
import sys
import types
from collections.abc import Callable
from typing import Any

import uvloop


class Queue(asyncio.Queue):  # type: ignore[type-arg]
    """Takes the loop that it runs in, as until Python 3.9."""

    def __init__(self, loop: Any) -> None:  # noqa: ARG002
        super().__init__()


def coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    """As until Python 3.10."""
    return types.coroutine(function)


asyncio.Queue = Queue  # type: ignore[misc]
asyncio.coroutine = coroutine  # type: ignore[attr-defined]

# After what it needs to be imported.
from switchio.protocol import InboundProtocol  # noqa: E402


async def main(port: int, wanted: int) -> None:
    """Count `wanted` events."""
    loop = asyncio.get_running_loop()
    protocol = InboundProtocol("127.0.0.1", "ClueCon", loop)
    await loop.create_connection(lambda: protocol, "127.0.0.1", port)
    await protocol.authenticate()
    await protocol.sendrecv("event plain ALL")
    print("ready", flush=True)
    while wanted:
        event = await protocol.event_queue.get()
        wanted -= "Event-Name" in event
    print("done", flush=True)
    await asyncio.Event().wait()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main(int(sys.argv[1]), int(sys.argv[2])))
