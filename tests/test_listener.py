"""The port: whose it is, who shares it, and how it is left."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from callbridge.config import Http
from callbridge.errors import StartError
from callbridge.listener import Listener
from tests.redis_server import free_port


class Greeting(asyncio.Protocol):
    """Says who it is of to whoever connects."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._name + b"\n")


@asynccontextmanager
async def bound(port: int, name: str = "a", *, reuse_port: bool = True) -> AsyncIterator[Listener]:
    """One that has the port, and does not listen yet."""
    listener = Listener(Http(f"127.0.0.1:{port}", reuse_port=reuse_port), lambda: Greeting(name.encode()))
    await listener.bind()
    try:
        yield listener
    finally:
        listener.close()


async def greeted(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


async def test_nobody_is_sent_to_one_that_does_not_listen_yet() -> None:
    port = free_port()
    async with bound(port, "first") as first, bound(port, "second") as second:
        assert first.url == second.url == f"http://127.0.0.1:{port}"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await first.listen()
        assert {await greeted(port) for _ in range(32)} == {"first"}
        await second.listen()
        assert {await greeted(port) for _ in range(32)} == {"first", "second"}


@pytest.mark.parametrize("of_first", [True, False])
async def test_a_port_is_shared_only_by_those_that_all_say_so(*, of_first: bool) -> None:
    port = free_port()
    async with bound(port, reuse_port=of_first) as first:
        await first.listen()
        with pytest.raises(StartError, match=f"^cannot listen on 127.0.0.1:{port}: Address already in use$"):
            async with bound(port, reuse_port=not of_first):
                pass


async def test_of_two_that_have_bound_a_port_of_their_own_one_listens() -> None:
    port = free_port()
    async with bound(port, reuse_port=False) as first, bound(port, reuse_port=False) as second:
        await first.listen()
        with pytest.raises(StartError, match="Address already in use"):
            await second.listen()


async def test_who_waits_to_be_accepted_when_it_leaves_is_accepted_and_nobody_after() -> None:
    port = free_port()
    async with bound(port) as listener:
        await listener.listen()
        loop = asyncio.get_running_loop()
        # The loop does not turn meanwhile, so nobody accepts them.
        waiting = [_connected(port) for _ in range(20)]
        await listener.leave()
        for sock in waiting:
            assert await loop.sock_recv(sock, 10) == b"a\n"
            sock.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


def _connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setblocking(False)
    return sock
