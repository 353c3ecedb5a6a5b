"""Genesis reads events and counts them. Runs where Genesis is installed (bench/peers.py).

At its best: with uvloop, without its own spans for each channel, and counted in a processor, which is called at once,
where a handler would be a task of its own for each event.
"""

import asyncio
import os
import sys
from typing import Any

os.environ |= {"GENESIS_TRACE_ESL_LIFECYCLE": "0", "GENESIS_TRACE_CUSTOM_SUBCLASSES": "0", "OTEL_SDK_DISABLED": "true"}

# After the environment, which it reads when it is imported.
from genesis import Inbound, use_uvloop


async def main(port: int, wanted: int) -> None:
    """Count `wanted` events."""
    left = wanted
    ended = asyncio.Event()

    def count(_: Any, event: Any) -> None:
        nonlocal left
        if "Event-Name" in event:
            left -= 1
            if not left:
                ended.set()

    async with Inbound("127.0.0.1", port, "ClueCon") as client:
        client.event_processors.append(count)
        await client.send("event plain ALL")
        print("ready", flush=True)
        await ended.wait()
        print("done", flush=True)
        await asyncio.Event().wait()


use_uvloop()
asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
