"""Asks for a supervisor on each of many calls, and waits for all the answers at once.

The first argument is the port, then come the number of calls and the authorization. Says `asked` when every request is
on its way; answers `how many` with how many have been answered.
"""

import asyncio
import sys
from typing import Final

import aiohttp

SUPERVISOR: Final = {"ext": "108"}


async def main(port: int, ids: list[str], authorization: str) -> None:
    """Ask, and go on until the standard input ends."""
    connector = aiohttp.TCPConnector(limit=len(ids))
    async with aiohttp.ClientSession(headers={"Authorization": authorization}, connector=connector) as session:
        paths = [f"http://127.0.0.1:{port}/v1/call/{call_id}/listen?wait=answer" for call_id in ids]
        asked = [asyncio.ensure_future(session.post(path, json=SUPERVISOR)) for path in paths]
        print("asked", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print("answered", sum(future.done() for future in asked), flush=True)
        for future in asked:
            future.cancel()


asyncio.run(main(int(sys.argv[1]), sys.argv[3:], sys.argv[2]))
