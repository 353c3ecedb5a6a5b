"""Where the API listens: one port, which processes of this machine may share, left without losing who waits there."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Final

from callbridge.config import Http, split_address
from callbridge.errors import StartError

BACKLOG: Final = 128
"""Connections that may wait to be accepted (listen(2))."""

UNREAD_TIMEOUT: Final = 30.0
"""Seconds after which the kernel drops a client that takes nothing of what it was sent (TCP_USER_TIMEOUT, tcp(7)); a
list that nobody reads would be kept for ever."""


class Listener:
    """The sockets of one address. `serve` makes what talks to one connection."""

    def __init__(self, http: Http, serve: Callable[[], asyncio.Protocol]) -> None:
        self.url = ""
        """Once it is bound."""
        self._http = http
        self._serve = serve
        self._server: asyncio.Server | None = None

    def __repr__(self) -> str:
        return f"<Listener {self.url or 'not bound'}>"

    async def bind(self) -> None:
        """Have the address; nobody is accepted yet, nor sent here by the kernel. Raises StartError."""
        host, port = split_address(self._http.listen)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self._serve,
                host,
                port,
                backlog=BACKLOG,
                reuse_address=True,
                reuse_port=self._http.reuse_port,
                start_serving=False,
            )
        except (OSError, UnicodeError) as error:
            raise cannot_listen(self._http.listen, error) from None
        for listening in self._server.sockets:
            # Connections inherit it.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNREAD_TIMEOUT * 1000))
        address = self._server.sockets[0].getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.url = f"http://{shown}:{address[1]}"

    async def listen(self) -> None:
        """Accept connections. Raises StartError: two may have bound one port, and only one of them can listen."""
        assert self._server is not None
        try:
            await self._server.start_serving()
        except OSError as error:
            raise cannot_listen(self._http.listen, error) from None

    async def leave(self) -> None:
        """Accept who waits already, and nobody more: with a socket, Linux resets the connections in its queue."""
        if self._server is None:
            return
        loop = asyncio.get_running_loop()
        waited = [connection for listening in self._server.sockets for connection in _accept_all(listening.fileno())]
        self._server.close()
        for connection in waited:
            await loop.connect_accepted_socket(self._serve, connection)

    def close(self) -> None:
        """Let go of the address at once."""
        if self._server is not None:
            self._server.close()


def _accept_all(listening: int) -> list[socket.socket]:
    """Who waits in the queue of that socket. It has no `accept` in every event loop, its descriptor has."""
    accepted: list[socket.socket] = []
    with socket.socket(fileno=os.dup(listening)) as same:
        same.setblocking(False)
        while True:
            try:
                connection, _ = same.accept()
            except OSError:
                # Nobody more; or no descriptor for one more, and then there is nothing to be done for it.
                return accepted
            connection.setblocking(False)
            accepted.append(connection)


def cannot_listen(address: str, error: OSError | UnicodeError) -> StartError:
    """What to tell whoever starts a server on an address that it cannot have."""
    if isinstance(error, UnicodeError):
        reason = "this is no name of a host"
    elif isinstance(error, socket.gaierror) or not error.errno:
        # asyncio of Python 3.13 says so without a number where no address of the host could be had.
        nowhere = f"{error}".startswith("could not bind on any address")
        reason = "this machine has no such address" if nowhere else error.strerror or f"{error}"
    else:
        # Without what the event loop adds, which is the address again.
        reason = os.strerror(error.errno)
    return StartError(f"cannot listen on {address}: {reason}")
