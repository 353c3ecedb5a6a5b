"""Many simulated switches in one process, each with its own event socket and calls that stay.

The arguments are how many switches and how many calls on each. Says `ready` with their ports.
"""

import asyncio
import gc
import sys
from contextlib import AsyncExitStack

import uvloop

from bench.processes import FOREVER
from callbridge.simulator.server import EventSocket
from callbridge.simulator.switch import Switch
from callbridge.simulator.traffic import Load, Traffic


async def main(count: int, live: int) -> None:
    """Serve until it is ended."""
    clock = asyncio.get_running_loop().time
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        ports = []
        for seed in range(count):
            switch = Switch(seed)
            traffic = Traffic(switch, Load(rate=0, duration=FOREVER, live=live), clock, seed)
            ports.append(await stack.enter_async_context(EventSocket(switch)))
            tasks.create_task(traffic.run())
        gc.freeze()
        print("ready", *ports, flush=True)


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main(int(sys.argv[1]), int(sys.argv[2])))
