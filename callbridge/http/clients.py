"""Who is connected to the stream, and in which groups: those of a group get the same bytes."""

import asyncio
import socket
from typing import Any, Final, NamedTuple

from callbridge.feed import Positions
from callbridge.http.auth import Caller
from callbridge.http.views import Sent, View

MAX_UNSENT: Final = 256 * 1024
"""Bytes that may wait for a client, and as many in the kernel; one that has more waiting is behind."""


class Snapshot(NamedTuple):
    """All calls of a view as they were at a position."""

    sent: Sent
    at: Positions
    switches: bytes
    version: int
    size: int


class Group:
    """The clients of one view. Those who have been told everything are its `members`."""

    def __init__(self, key: Any, view: View) -> None:
        self.key = key
        self.view = view
        self.members: set[Client] = set()
        self.size = 0
        """How many clients it has, members or not."""
        self.parts: list[bytes] = []
        """What the members are to be sent next."""
        self.switches = b""
        """What was last told of the switches."""
        self.snapshot: Snapshot | None = None

    def __repr__(self) -> str:
        return f"<Group of {len(self.members)} of {self.size} for {self.view!r}>"


class Client:
    """One connection. `at` is how far it has been told; None: it is to get a snapshot."""

    __slots__ = ("_chunked", "at", "attention", "caller", "dismissed", "group", "switches", "transport")

    def __init__(
        self, caller: Caller, group: Group, transport: asyncio.Transport, at: Positions | None, *, chunked: bool
    ) -> None:
        self.caller = caller
        self.group = group
        self.transport = transport
        self.at = at
        self.attention = asyncio.Event()
        """Set when it is behind, lost, or the service ends: its own task has to look after it."""
        self.dismissed = False
        """Whether its stream is to end."""
        self.switches = b""
        """What it was last told of the switches, while it is no member."""
        self._chunked = chunked
        # The socket's own buffer would grow to megabytes for each client that does not read.
        transport.set_write_buffer_limits(MAX_UNSENT)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_UNSENT)

    def __repr__(self) -> str:
        return f"<Client of {self.group.view!r}{', lost' if self.lost else ''}>"

    @property
    def lost(self) -> bool:
        return self.transport.is_closing()

    def dismiss(self) -> None:
        """End its stream, at once; whoever may come back goes on where it was."""
        self.dismissed = True
        if self.behind:
            self.transport.abort()
        self.attention.set()

    @property
    def behind(self) -> bool:
        return self.transport.get_write_buffer_size() > MAX_UNSENT

    def send(self, what: Sent) -> None:
        """Send these bytes, which it shares with others."""
        if not self.lost:
            self.transport.write(what.chunk if self._chunked else what.data)
