"""An aiohttp server that sends the bytes it was given first, whatever it is asked."""

import asyncio
import sys

import uvloop
from aiohttp import web


async def main(body: bytes) -> None:
    """Serve."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("ready", runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
    loop.run(main(sys.stdin.buffer.readline().rstrip(b"\n")))
