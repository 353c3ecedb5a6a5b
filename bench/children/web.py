"""What the servers of lists beside callbridge have in common: aiohttp, and one answer to everything."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web


async def serve(answer: Callable[[web.Request], Awaitable[web.Response]]) -> None:
    """Serve until killed; the port is told in a line."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print("ready", runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
