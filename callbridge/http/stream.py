"""`/v1/call/stream`: the list as it changes, as server-sent events.

Changes are encoded once for all clients that ask the same (a group), when they are sent; a client costs a write of
bytes that all of its group share. Nobody has a queue: a client that does not read is left alone until it does, and is
then told what the feed still knows, or gets a new snapshot.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from aiohttp import web
from aiohttp.http import HttpVersion11
from msgspec.structs import replace

from callbridge.feed import Batch, Feed, Positions
from callbridge.http.auth import Caller
from callbridge.http.clients import MAX_UNSENT, Client, Group, Snapshot
from callbridge.http.failures import Failure
from callbridge.http.query import Query, parse
from callbridge.http.trust import is_complete
from callbridge.http.views import Sent, View, stamped
from callbridge.mirror import Mirror

MAX_CLIENTS: Final = 5_000
"""Streams of one daemon; each is a socket and some 30 KB."""

HEARTBEAT: Final = 15.0
"""Seconds between two comments: proxies close what is silent for 30 to 60."""

STALLED_AFTER: Final = 60.0
"""Seconds after which a client that reads nothing of what waits for it is disconnected."""

PAUSE: Final = 20e-6
"""Seconds between two rounds of sending, for each client: a write to a socket takes 4 us, so that streams take a
fifth of the time at most. Changes that come meanwhile go out together."""

MAX_REPLAYED: Final = 1024 * 1024
"""Bytes of missed changes that are encoded in a round, some 10 ms: a thousand who come back at once are served one
after the other, and the switches are heard in between."""

RETRY_MS: Final = 1000
"""Milliseconds until a client that was cut off comes back, and up to as many more: not all at once."""

_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    # nginx would keep the events back (ngx_http_proxy_module, proxy_buffering).
    "X-Accel-Buffering": "no",
}


class Streams:
    """The handler, and everyone who is connected to it."""

    def __init__(self, mirror: Mirror, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._mirror = mirror
        self._sleep = sleep
        self._feed = Feed(mirror, self._wake)
        self._groups: dict[tuple[str | None, Query], Group] = {}
        self._by_tenant: dict[str | None, list[Group]] = {}
        self._clients: set[Client] = set()
        self._waiting: dict[Client, None] = {}
        """Clients that are no members yet and can be sent more; in the next round they are."""
        self._told: Positions = {}
        """How far all members have been told."""
        self._round: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._closed = False
        mirror.subscribe_to_states(self._wake)

    def __repr__(self) -> str:
        return f"<Streams to {len(self._clients)} clients in {len(self._groups)} groups>"

    # One connection, from its beginning to its end.

    async def stream(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """GET /v1/call/stream"""
        query = parse(request.rel_url, "stream")
        is_complete(self._mirror, query.switches, required=query.require_live)
        if len(self._clients) >= MAX_CLIENTS:
            message = f"there are {MAX_CLIENTS} streams already; try again later"
            raise Failure(429, "TOO_MANY_REQUESTS", message, headers={"Retry-After": "10"})
        if request.method == "HEAD":
            return web.Response(headers=_HEADERS)
        response = web.StreamResponse(headers=_HEADERS)
        chunked = request.version >= HttpVersion11
        if chunked:
            response.enable_chunked_encoding()
        response.force_close()
        # Whoever has gone already gets nothing.
        with suppress(ConnectionError):
            await response.prepare(request)
            await response.write(b"retry: %d\n\n" % (RETRY_MS + secrets.randbelow(RETRY_MS)))
        if request.transport is not None:
            # The header first: whoever comes back by itself sends the newest id there, and the old query again.
            last = request.headers.get("Last-Event-ID") or query.last_event_id
            await self._serve(request, self._enter(request.transport, caller, query, last, chunked=chunked))
        return response

    def _enter(self, transport: asyncio.Transport, caller: Caller, query: Query, last: str, *, chunked: bool) -> Client:
        self._feed.begin()
        if not self._clients:
            self._told = self._feed.positions()
        key = caller.tenant, replace(query, require_live=False, last_event_id="")
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key, View(*key))
            self._by_tenant.setdefault(caller.tenant, []).append(group)
        group.size += 1
        client = Client(caller, group, transport, group.view.position(last), chunked=chunked)
        self._clients.add(client)
        return client

    async def _serve(self, request: web.Request, client: Client) -> None:
        try:
            while not (self._closed or client.dismissed or client.lost):
                client.attention.clear()
                self._waiting[client] = None
                self._wake()
                await client.attention.wait()
                if not await self._drained(request):
                    client.transport.abort()
        finally:
            self._leave(client)

    async def _drained(self, request: web.Request) -> bool:
        """Whether the client has read what waited for it, in time."""
        drain = asyncio.ensure_future(request.writer.drain())
        timer = asyncio.ensure_future(self._sleep(STALLED_AFTER))
        try:
            await asyncio.wait({drain, timer}, return_when=asyncio.FIRST_COMPLETED)
            return drain.done() and drain.exception() is None
        finally:
            drain.cancel()
            timer.cancel()

    def _leave(self, client: Client) -> None:
        group = client.group
        self._clients.discard(client)
        self._waiting.pop(client, None)
        group.members.discard(client)
        group.size -= 1
        if not group.size:
            del self._groups[group.key]
            of_tenant = self._by_tenant[group.view.tenant]
            of_tenant.remove(group)
            if not of_tenant:
                del self._by_tenant[group.view.tenant]
        self._feed.end()

    async def close(self, _: Any = None) -> None:
        """End every stream."""
        self._closed = True
        self.dismiss(lambda _: False)

    def dismiss(self, may_stay: Callable[[Caller], bool]) -> None:
        """End the streams of those who may not have them any more."""
        for client in self._clients:
            if not may_stay(client.caller):
                client.dismiss()

    async def beating(self, _: Any = None) -> AsyncIterator[None]:
        """Show every client now and then that it is connected, while the application runs."""
        task = asyncio.create_task(self._beat())
        yield
        task.cancel()

    # Rounds of sending.

    def _wake(self) -> None:
        if self._clients and self._round is None and not self._closed:
            self._round = asyncio.get_running_loop().call_at(self._not_before, self._send)

    def _send(self) -> None:
        """One round: the members first, so that whoever joins them then is where they are."""
        self._round = None
        if self._closed:
            return
        before = self._told
        self._collect()
        for group in self._groups.values():
            self._send_to(group, before)
        self._not_before = asyncio.get_running_loop().time() + PAUSE * len(self._clients)
        replayed = 0
        for client in list(self._waiting):
            replayed += self._bring_forward(client)
            if replayed > MAX_REPLAYED:
                self._wake()
                break

    def _collect(self) -> None:
        """Encode what has changed since the last round, for every group."""
        positions = self._feed.positions()
        missed = {switch: self._feed.since(switch, point) for switch, point in self._told.items()}
        if self._told.keys() != positions.keys() or None in missed.values():
            # There is a switch more or less, or more has changed than the feed keeps.
            self._told = positions
            for group in self._groups.values():
                group.parts = []
                for client in list(group.members):
                    self._set_apart(client, None)
            return
        for switch, of_switch in missed.items():
            for batch in of_switch.batches if of_switch is not None else ():
                self._encode(switch, batch)

    def _encode(self, switch: str, batch: Batch) -> None:
        was, self._told = self._told, {**self._told, switch: batch.now}
        for tenant in {tenant for change in batch.changes for tenant in change.tenants}:
            for group in self._by_tenant.get(tenant, ()):
                if group.members and (events := group.view.events(batch.changes)):
                    view = group.view
                    group.parts += stamped(events, view.event_id(was), view.event_id(self._told))

    def _send_to(self, group: Group, before: Positions) -> None:
        switches = group.view.switches(self._mirror)
        if switches.data != group.switches:
            group.switches = switches.data
            group.parts += stamped([switches], b"", group.view.event_id(self._told))
        if not group.parts:
            return
        what, group.parts = Sent(b"".join(group.parts)), []
        for client in list(group.members):
            if client.lost or client.behind:
                self._set_apart(client, before)
            else:
                client.send(what)

    def _set_apart(self, client: Client, at: Positions | None) -> None:
        """It is no member any more: its own task waits until it can be sent more, and it goes on from there."""
        client.group.members.discard(client)
        client.at = at
        client.switches = b""
        client.attention.set()

    def _bring_forward(self, client: Client) -> int:
        """Send one who is no member what it has missed, as much as it may have waiting. Returns how much that was."""
        if client.lost or client.behind:
            del self._waiting[client]
            client.attention.set()
            return 0
        if client.at is None or not self._reachable(client.at):
            snapshot = self._snapshot(client.group)
            client.send(snapshot.sent)
            client.at = snapshot.at
        parts, complete = self._replay(client)
        view = client.group.view
        switches = view.switches(self._mirror)
        if complete and switches.data != client.switches:
            client.switches = switches.data
            parts += stamped([switches], b"", view.event_id(client.at))
        if parts:
            client.send(Sent(b"".join(parts)))
        if not complete:
            del self._waiting[client]
            client.attention.set()
        elif not self._is_ahead(client):
            del self._waiting[client]
            client.group.members.add(client)
        return sum(map(len, parts))

    def _replay(self, client: Client) -> tuple[list[bytes], bool]:
        """The changes after the position of a client, which moves on, and whether these are all."""
        parts: list[bytes] = []
        view, size = client.group.view, 0
        assert client.at is not None
        for switch, point in client.at.items():
            missed = self._feed.since(switch, point)
            assert missed is not None
            begun = missed.begun
            for batch in missed.batches:
                if size > MAX_UNSENT:
                    return parts, False
                was, client.at = client.at, {**client.at, switch: batch.now}
                events = view.events(batch.changes, in_full=begun)
                more = stamped(events, view.event_id(was), view.event_id(client.at))
                parts += more
                size += sum(map(len, more))
                begun = False
        return parts, True

    def _reachable(self, at: Positions) -> bool:
        """Whether the feed knows everything since then."""
        return at.keys() == self._told.keys() and all(
            self._feed.since(switch, point) is not None for switch, point in at.items()
        )

    def _is_ahead(self, client: Client) -> bool:
        """Whether another daemon has told it more than this one knows. Until this one does, it is no member: changes
        from a state that it has left behind would be wrong."""
        return client.at is not None and any(self._feed.ahead(switch, point) for switch, point in client.at.items())

    def _snapshot(self, group: Group) -> Snapshot:
        """All calls: as they are, or as they were a few changes ago, which are then told. So those who come one after
        the other share one snapshot, however fast the calls change."""
        view, listing, last = group.view, self._mirror.listing(group.view.tenant), group.snapshot
        if (
            last is None
            or last.switches != group.switches
            or listing.version - last.version > last.size // 8
            or not self._reachable(last.at)
        ):
            what = Sent(view.snapshot(self._mirror, self._told))
            last = group.snapshot = Snapshot(what, self._told, group.switches, listing.version, len(listing))
        return last

    async def _beat(self) -> None:
        while True:
            await self._sleep(HEARTBEAT)
            for group in self._groups.values():
                # An id without data is no event, but is remembered: whoever has heard nothing for long can go on too.
                group.parts.append(b":\nid: %b\n\n" % group.view.event_id(self._told))
                group.snapshot = None
                self._send_to(group, self._told)
            for client in self._waiting:
                client.send(Sent(b":\n\n"))
                if self._is_ahead(client):
                    # Nobody will come up with it any more.
                    client.at = None
            self._wake()
