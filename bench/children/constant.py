"""An aiohttp server that sends the bytes it was given first, whatever it is asked."""

import asyncio
import sys

import uvloop
from aiohttp import web

from bench.children.web import serve


async def main(body: bytes) -> None:
    """Serve."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    await serve(answer)


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
    loop.run(main(sys.stdin.buffer.readline().rstrip(b"\n")))
