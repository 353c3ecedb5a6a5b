"""`/v1/call`: the list, its count, and one call."""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from aiohttp import web

from callbridge.http.auth import Caller
from callbridge.http.failures import JSON, Failure, invalid_parameter
from callbridge.http.query import Query, answer, count, full, parse
from callbridge.mirror import Mirror
from callbridge.records import Record

AGE_HEADER: Final = "Callbridge-Age"
"""Seconds since the switch asked for that has been silent longest last spoke: how old the oldest data can be."""

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
        headers = self._headers(query.switches)
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
        return web.Response(body=body, content_type=JSON, headers=self._headers(query.switches))

    async def one(self, request: web.Request, caller: Caller) -> web.Response:
        """GET /v1/call/{call_id}"""
        for name in request.query:
            if name != "switch":
                raise invalid_parameter(name[:40], "there is no such parameter; there is switch")
        record = find_call(self._mirror, request, caller, self._clock())
        body = msgspec.json.encode({"data": full(record, self._wall_clock())})
        return web.Response(body=body, content_type=JSON, headers=self._headers((record.switch,)))

    def _complete(self, query: Query) -> bool:
        """Whether every switch asked for is live; one that is not known is not."""
        known = self._mirror.switches
        late = [name for name in query.switches or known if name not in known or known[name].state != "live"]
        if query.require_live and late:
            message = f"not every switch is live ({', '.join(late)}); try again, or ask without require=live"
            raise Failure(503, "SWITCH_UNAVAILABLE", message, headers={"Retry-After": "2"})
        return not late

    def _headers(self, switches: Sequence[str]) -> dict[str, str]:
        """What stands above an answer from these switches; none named: from all."""
        headers = dict(_HEADERS)
        known = self._mirror.switches
        asked = [known[name] for name in switches or known if name in known]
        seen = [switch.seen for switch in asked if switch.seen is not None]
        if seen:
            headers[AGE_HEADER] = f"{max(0.0, self._clock() - min(seen)):.3f}"
        return headers


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
