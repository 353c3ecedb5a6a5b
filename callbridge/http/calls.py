"""`/v1/call`: the list, its count, and one call."""

import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from callbridge.http.auth import Caller
from callbridge.http.failures import JSON, Failure
from callbridge.http.query import Query, answer, count, full, parse
from callbridge.mirror import Mirror

AGE_HEADER: Final = "Callbridge-Age"
"""Seconds since the switch that has been silent longest last said anything: how old the oldest data can be."""

_NO_QUERY: Final = Query()
_HEADERS: Final = {"Cache-Control": "private, no-cache"}


def microseconds_now() -> int:
    """Microseconds since 1970, as the switches count."""
    return time.time_ns() // 1000


class Calls:
    """The handlers. `clock` is the one that the mirror's writers use."""

    def __init__(self, mirror: Mirror, clock: Callable[[], float], wall_clock: Callable[[], int]) -> None:
        self._mirror = mirror
        self._clock = clock
        self._wall_clock = wall_clock
        self._run = secrets.token_hex(4)
        """Versions begin anew with each run of the daemon; a tag of an earlier one must not match."""

    async def list(self, request: web.Request, caller: Caller) -> web.Response:
        """GET /v1/call"""
        query = parse(request.rel_url) if request.query_string else _NO_QUERY
        listing, complete = self._mirror.listing(caller.tenant), self._complete(query)
        headers = self._headers()
        if not query.ages:
            version = listing.version if query.fields or query.selects or query.sort else listing.rows_version
            headers["ETag"] = tag = f'"{self._run}-{listing.serial}-{version}-{complete:d}"'
            if _matches(request, tag):
                return web.Response(status=304, headers=headers)
        if query is _NO_QUERY or not request.query_string:
            body = listing.body(complete)
        else:
            body = answer(listing, query, complete, self._wall_clock())
        return web.Response(body=body, content_type=JSON, headers=headers)

    async def count(self, request: web.Request, caller: Caller) -> web.Response:
        """GET /v1/call/count"""
        query = parse(request.rel_url, counting=True)
        complete = self._complete(query)
        body = count(self._mirror.listing(caller.tenant), query, complete, self._wall_clock())
        return web.Response(body=body, content_type=JSON, headers=self._headers())

    async def one(self, request: web.Request, caller: Caller) -> web.Response:
        """GET /v1/call/{call_id}"""
        call_id = request.match_info["call_id"]
        record = self._mirror.find(call_id, caller.tenant)
        if record is not None:
            body = msgspec.json.encode({"data": full(record, self._wall_clock())})
            return web.Response(body=body, content_type=JSON, headers=self._headers())
        ended = self._mirror.find_ended(call_id, caller.tenant, self._clock())
        if ended is not None:
            message = f"this call ended at {ended.ended_time} ({ended.cause or 'the switch gave no cause'})"
            raise Failure(410, "CALL_ENDED", message, ended_time=ended.ended_time, cause=ended.cause)
        raise Failure(404, "CALL_NOT_FOUND", "there is no live call of this id; GET /v1/call lists them")

    def _complete(self, query: Query) -> bool:
        complete = self._mirror.complete
        if query.require_live and not complete:
            late = [switch.name for switch in self._mirror.switches.values() if switch.state != "live"]
            message = f"not every switch is live ({', '.join(late)}); try again, or ask without require=live"
            raise Failure(503, "SWITCH_UNAVAILABLE", message, headers={"Retry-After": "2"})
        return complete

    def _headers(self) -> dict[str, str]:
        headers = dict(_HEADERS)
        seen = [switch.seen for switch in self._mirror.switches.values() if switch.seen is not None]
        if seen:
            headers[AGE_HEADER] = f"{max(0.0, self._clock() - min(seen)):.3f}"
        return headers


def _matches(request: web.Request, tag: str) -> bool:
    lines = request.headers.getall("If-None-Match", ())
    return any(part.strip().removeprefix("W/") in (tag, "*") for line in lines for part in line.split(","))
