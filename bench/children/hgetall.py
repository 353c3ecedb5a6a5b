"""An aiohttp server that keeps its calls in Redis and lists them as the field does: one hash, of which every request
fetches all fields, decodes each and encodes the list. `python -m bench.children.hgetall json|msgspec REDIS_PORT KEY`.

With Python's own `json`, as aiohttp does unless it is told otherwise, or with msgspec, the fastest there is.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, Final

import msgspec
import uvloop
from aiohttp import web
from redis.asyncio import Redis

from bench.children.web import serve

CODECS: Final[dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]]] = {
    "json": (json.loads, lambda value: json.dumps(value).encode()),
    "msgspec": (msgspec.json.decode, msgspec.json.encode),
}


async def main(codec: str, port: int, key: str) -> None:
    """Serve."""
    decode, encode = CODECS[codec]
    redis = Redis(port=port)

    async def answer(_: web.Request) -> web.Response:
        rows = [decode(row) for row in (await redis.hgetall(key)).values()]
        body = encode({"data": rows, "total": len(rows)})
        return web.Response(body=body, content_type="application/json")

    await serve(answer)


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
    loop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
