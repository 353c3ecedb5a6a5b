"""`/v1/call`: the list, its count, and one call."""

import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import Payload, web
from aiohttp.abc import AbstractStreamWriter

from callbridge.http.auth import Caller
from callbridge.http.failures import JSON, Failure, invalid_parameter
from callbridge.http.query import Query, answer, count, full, parse
from callbridge.http.trust import age_headers, is_complete
from callbridge.http.waits import Asked, Waits
from callbridge.mirror import Mirror
from callbridge.records import Record

_NO_QUERY: Final = Query()
_HEADERS: Final = {"Cache-Control": "private, no-cache"}


def microseconds_now() -> int:
    """Microseconds since 1970, as the switches count."""
    return time.time_ns() // 1000


class Pieces(Payload):
    """A body that is sent piece by piece, so that nobody puts them together first."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(pieces, content_type=JSON)
        self._size = sum(map(len, pieces))

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """All of it as text."""
        return b"".join(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send all of it."""
        for piece in self._value:
            await writer.write(piece)


def _body(pieces: list[bytes]) -> bytes | Pieces:
    # aiohttp sends bytes with less ado.
    return pieces[0] if len(pieces) == 1 else Pieces(pieces)


class Calls:
    """The handlers. `clock` is the one that the mirror's writers use."""

    def __init__(self, mirror: Mirror, waits: Waits, clock: Callable[[], float], wall_clock: Callable[[], int]) -> None:
        self._mirror = mirror
        self._waits = waits
        self._clock = clock
        self._wall_clock = wall_clock
        self._run = secrets.token_hex(4)
        """Versions begin anew with each run of the daemon; a tag made of one in an earlier run must not match."""

    async def list(self, request: web.Request, caller: Caller) -> web.Response:
        """GET /v1/call"""
        query = parse(request.rel_url) if request.query_string else _NO_QUERY
        complete = is_complete(self._mirror, query.switches, required=query.require_live)
        tag = "" if query.ages else self._tag(caller.tenant, query, complete)
        if tag and _matches(request, tag):
            if query.wait:
                asked = Asked(caller.tenant, query, tag)
                await self._waits.until_changed(asked, lambda: self._tag_now(caller.tenant, query), query.wait)
                complete = is_complete(self._mirror, query.switches, required=query.require_live)
                tag = self._tag(caller.tenant, query, complete)
            if _matches(request, tag):
                return web.Response(status=304, headers=self._headers(query) | {"ETag": tag})
        headers = self._headers(query)
        if tag:
            headers["ETag"] = tag
        listing = self._mirror.listing(caller.tenant)
        if query is _NO_QUERY:
            body = _body(listing.pieces(complete))
        else:
            body = answer(listing, query, complete, self._wall_clock())
        return web.Response(body=body, content_type=JSON, headers=headers)

    async def count(self, request: web.Request, caller: Caller) -> web.Response:
        """GET /v1/call/count"""
        query = parse(request.rel_url, "count")
        complete = is_complete(self._mirror, query.switches, required=query.require_live)
        body = count(self._mirror.listing(caller.tenant), query, complete, self._wall_clock())
        return web.Response(body=body, content_type=JSON, headers=self._headers(query))

    async def one(self, request: web.Request, caller: Caller) -> web.Response:
        """GET /v1/call/{call_id}"""
        for name in request.query:
            if name != "switch":
                raise invalid_parameter(name[:40], "there is no such parameter; there is switch")
        record = find_call(self._mirror, request, caller, self._clock())
        body = msgspec.json.encode({"data": full(record, self._wall_clock())})
        return web.Response(body=body, content_type=JSON, headers=self._headers(Query(switches=(record.switch,))))

    def _tag_now(self, tenant: str | None, query: Query) -> str:
        return self._tag(tenant, query, is_complete(self._mirror, query.switches))

    def _tag(self, tenant: str | None, query: Query, complete: bool) -> str:
        """What changes with the answer: what the rows are, or, where more than they say is asked for, a count of
        all changes in this run."""
        listing = self._mirror.listing(tenant)
        if query.rows_alone:
            return f'"{listing.digest:x}-{complete:d}"'
        return f'"{self._run}-{listing.serial}-{listing.version}-{complete:d}"'

    def _headers(self, query: Query) -> dict[str, str]:
        return _HEADERS | age_headers(self._mirror, query.switches, self._clock())


def find_call(mirror: Mirror, request: web.Request, caller: Caller, now: float) -> Record:
    """The live call of the path and, with `?switch=`, of that switch. Raises Failure: 404, 410 with its end, or 400
    where several switches have one: nothing is done to the wrong call."""
    call_id, named = request.match_info["call_id"], request.query.getall("switch", ())
    found = mirror.find_all(call_id, caller.tenant)
    found = [record for record in found if all(record.switch == name for name in named)]
    if not found:
        raise _no_such_call(mirror, call_id, caller.tenant, now)
    if len(found) > 1:
        names = ", ".join(record.switch for record in found)
        raise invalid_parameter("switch", f"must say whose call is meant: {names} each have one of this id")
    return found[0]


def _no_such_call(mirror: Mirror, call_id: str, tenant: str | None, now: float) -> Failure:
    """What to say of an id that finds no live call: 410 with its end, or 404."""
    ended = mirror.find_ended(call_id, tenant, now)
    if ended is None:
        return Failure(404, "CALL_NOT_FOUND", "there is no live call of this id; GET /v1/call lists them")
    message = f"this call ended at {ended.ended_time} ({ended.cause or 'the switch gave no cause'})"
    return Failure(410, "CALL_ENDED", message, ended_time=ended.ended_time, cause=ended.cause)


def _matches(request: web.Request, tag: str) -> bool:
    lines = request.headers.getall("If-None-Match", ())
    return any(part.strip().removeprefix("W/") in (tag, "*") for line in lines for part in line.split(","))
