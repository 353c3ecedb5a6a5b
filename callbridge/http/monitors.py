"""`/v1/monitor`: who listens to what, in which mode; change it, stop it."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from callbridge.commands.desk import Desk
from callbridge.commands.requests import ChangeMonitor, StopMonitor
from callbridge.http.auth import Caller
from callbridge.http.commands import asker, carried_out, read, success
from callbridge.http.failures import JSON, Failure, invalid_parameter
from callbridge.mirror import Mirror
from callbridge.records import Monitor, Record

FILTERS: Final = ("call_id", "ext", "mode", "state")
_HEADERS: Final = {"Cache-Control": "private, no-cache"}


class Monitors:
    """The handlers. `clock` is the one that the mirror's writers use."""

    def __init__(self, desk: Desk, mirror: Mirror, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._mirror = mirror
        self._clock = clock

    async def list(self, request: web.Request, caller: Caller) -> web.Response:
        """GET /v1/monitor"""
        for name in request.query:
            if name not in FILTERS:
                raise invalid_parameter(name[:40], f"there is no such parameter; there are {', '.join(FILTERS)}")
        data = [_described(record, monitor) for record, monitor in self._mirror.monitors(caller.tenant)]
        for name, value in request.query.items():
            data = [described for described in data if described[name] == value]
        return _answer({"data": data, "total": len(data)})

    async def one(self, request: web.Request, caller: Caller) -> web.Response:
        """GET /v1/monitor/{monitor_id}"""
        monitor_id = request.match_info["monitor_id"]
        found = self._mirror.find_monitor(monitor_id, caller.tenant)
        if found is not None:
            return _answer({"data": _described(*found)})
        ended = self._mirror.find_ended_monitor(monitor_id, caller.tenant, self._clock())
        if ended is not None:
            why = self._desk.why_not(monitor_id)
            return _answer({"data": _described(*ended) | {"state": "ended", "error": why}})
        raise Failure(404, "MONITOR_NOT_FOUND", "there is no monitor of this id; GET /v1/monitor lists them")

    async def change(self, request: web.Request, caller: Caller) -> web.Response:
        """PATCH /v1/monitor/{monitor_id}"""
        monitor_id = request.match_info["monitor_id"]
        wanted = await read(request, lambda body, _: ChangeMonitor(monitor_id, body.mode()))
        return await self._do(request, caller, wanted, {"mode": wanted.mode})

    async def stop(self, request: web.Request, caller: Caller) -> web.Response:
        """DELETE /v1/monitor/{monitor_id}"""
        monitor_id = request.match_info["monitor_id"]
        return await self._do(request, caller, await read(request, lambda *_: StopMonitor(monitor_id)), {})

    async def _do(
        self, request: web.Request, caller: Caller, wanted: ChangeMonitor | StopMonitor, more: dict[str, str]
    ) -> web.Response:
        await carried_out(self._desk.change_monitor(asker(request, caller), wanted))
        return success({"status": "success", "monitor_id": wanted.monitor_id, **more}, {}).response()


def _described(record: Record, monitor: Monitor) -> dict[str, Any]:
    leg = next((leg for leg in record.legs if leg.uuid == monitor.watches), None)
    return {
        "monitor_id": monitor.uuid,
        "call_id": record.call_id,
        "context": record.context,
        "ext": monitor.extension,
        "mode": monitor.mode,
        "state": monitor.state,
        "legs": leg.side if leg is not None else None,
        "created_time": monitor.created_time,
        "switch": record.switch,
        "error": None,
    }


def _answer(body: dict[str, Any]) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type=JSON, headers=_HEADERS)
