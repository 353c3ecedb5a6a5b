"""`POST /v1/call` and `POST /v1/call/{call_id}/…`: what consumers do to calls."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from callbridge.commands.desk import Asker, Desk
from callbridge.commands.outcome import Code, Refused
from callbridge.commands.requests import Monitor, Request
from callbridge.http.auth import Caller
from callbridge.http.bodies import COMMANDS, MODES, Body, read_place
from callbridge.http.calls import find_call
from callbridge.http.failures import Answer, Failure, invalid_parameter
from callbridge.http.idempotency import Idempotency
from callbridge.mirror import Mirror
from callbridge.sharing.claims import Claims

STATUS: Final[dict[Code, int]] = {
    "INVALID_PARAMETER": 400,
    "FORBIDDEN": 403,
    "CALL_NOT_FOUND": 404,
    "MONITOR_NOT_FOUND": 404,
    "ALREADY_PARKED": 409,
    "CALL_ENDED": 409,
    "CALL_REJECTED": 409,
    "INVALID_DESTINATION": 409,
    "NOT_ANSWERED": 409,
    "NOT_BRIDGED": 409,
    "NO_ANSWER": 409,
    "USER_BUSY": 409,
    "USER_NOT_REGISTERED": 409,
    "TOO_MANY_REQUESTS": 429,
    "SWITCH_REFUSED": 502,
    "SWITCH_UNAVAILABLE": 503,
    "OUTCOME_UNKNOWN": 504,
}
"""The contract's table."""

R = TypeVar("R", bound=Request)

_RETRY_AFTER: Final = {"TOO_MANY_REQUESTS": "1", "SWITCH_UNAVAILABLE": "2"}


class Commands:
    """The handlers. `clock` is the one that the mirror's writers use."""

    def __init__(self, desk: Desk, mirror: Mirror, clock: Callable[[], float], claims: Claims | None = None) -> None:
        self._desk = desk
        self._mirror = mirror
        self._clock = clock
        self._idempotency = Idempotency(clock, claims)

    async def command(self, request: web.Request, caller: Caller) -> web.Response:
        """POST /v1/call/{call_id}/COMMAND"""
        call_id, name = request.match_info["call_id"], request.match_info["command"]
        wanted = await read(request, lambda body, wait: COMMANDS[name](body, wait), may_wait=name in MODES)

        async def work() -> Answer:
            record = find_call(self._mirror, request, caller, self._clock())
            await carried_out(self._desk.carry_out(asker(request, caller), call_id, wanted, record.switch))
            body = {"status": "success", "call_id": record.call_id}
            if (extension := getattr(wanted, "ext", None)) is not None:
                body["ext"] = extension
            return success(
                body, {"Location": f"/v1/monitor/{wanted.monitor_id}"} if isinstance(wanted, Monitor) else {}
            )

        return await self._once(request, caller, work)

    async def place(self, request: web.Request, caller: Caller) -> web.Response:
        """POST /v1/call"""
        wanted = await read(request, read_place, may_wait=True)

        async def work() -> Answer:
            call_id = await carried_out(self._desk.place(asker(request, caller), wanted))
            return success({"status": "success", "call_id": call_id}, {"Location": f"/v1/call/{call_id}"})

        return await self._once(request, caller, work)

    async def _once(self, request: web.Request, caller: Caller, work: Callable[[], Awaitable[Answer]]) -> web.Response:
        return (await self._idempotency.once(request, caller.digest, work)).response()


async def read(request: web.Request, reader: Callable[[Body, bool], R], *, may_wait: bool = False) -> R:
    """What is asked for, read from the body (and `?wait=answer`) by `reader`. Raises Failure 400, 413."""
    known = [*(("switch",) if "call_id" in request.match_info else ()), *(("wait",) if may_wait else ())]
    for name in request.query:
        if name not in known:
            there_is = f"; there is {' and '.join(known)}" if known else ""
            raise invalid_parameter(name[:40], f"there is no such parameter{there_is}")
    wait = request.query.getall("wait", ())
    if any(value != "answer" for value in wait):
        raise invalid_parameter("wait", "can only be `answer`")
    body = await Body.read(request)
    wanted = reader(body, bool(wait))
    body.end()
    return wanted


def asker(request: web.Request, caller: Caller) -> Asker:
    """Who asks, for the audit log."""
    return Asker(caller.name, request.remote or "", caller.tenant)


def success(body: dict[str, str], headers: dict[str, str]) -> Answer:
    """What the contract promises."""
    return Answer(200, msgspec.json.encode(body), {"Cache-Control": "no-store", **headers})


async def carried_out(command: Awaitable[str]) -> str:
    """What the command gives. Raises Failure with the contract's status where it was refused."""
    try:
        return await command
    except Refused as refused:
        retry = _RETRY_AFTER.get(refused.code)
        headers = {"Retry-After": retry} if retry else None
        raise Failure(STATUS[refused.code], refused.code, f"{refused}", headers=headers) from None
