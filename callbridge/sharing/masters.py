"""Under Sentinel: finding out that another Redis is the master by now.

One that is failed over by hand takes writes until a sentinel makes it a replica, some 11 s later (measured), and all of
them are lost. The new one is named within a second or two. So the sentinels are asked again and again, and the
clients of a Redis that is no more the master fail with their next command.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final
from weakref import WeakSet

from redis.exceptions import RedisError

from callbridge.sharing.client import Client, connect, endable, find_master
from callbridge.storeurl import StoreUrl, parse

LOOK_EVERY: Final = 1.0
"""Seconds between questions to a sentinel, each over a connection of its own."""


class Masters:
    """The clients of a whole daemon. Where the URL names no sentinels, there is nothing to find out."""

    def __init__(self, url: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._url = url
        self._sleep = sleep
        self._clients: WeakSet[Client] = WeakSet()

    def __repr__(self) -> str:
        return f"<Masters {parse(self._url)!r}, {len(self._clients)} clients>"

    async def connect(self, key: str) -> Client:
        """See `client.connect`."""
        client = await connect(self._url, key)
        self._clients.add(client)
        return client

    async def run(self) -> None:
        """Look for another master, until cancelled."""
        where = parse(self._url)
        if where.kind == "sentinel":
            await endable(self._look(where))

    async def _look(self, where: StoreUrl) -> None:
        while True:
            await self._sleep(LOOK_EVERY)
            # While no sentinel can be reached, the master is the one that it was.
            with suppress(RedisError, OSError):
                master = await find_master(where)
                for client in self._clients:
                    client.expect(master)
