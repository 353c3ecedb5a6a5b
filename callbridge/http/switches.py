"""`/v1/switch`: how far each switch's calls can be trusted."""

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from callbridge.http.auth import Caller
from callbridge.http.failures import JSON
from callbridge.mirror import EVERY_TENANT, Mirror, SwitchStatus
from callbridge.store import Store


class Switches:
    """The handlers."""

    def __init__(self, mirror: Mirror, store: Store, clock: Callable[[], float]) -> None:
        self._mirror = mirror
        self._store = store
        self._clock = clock

    async def list(self, _: web.Request, caller: Caller) -> web.Response:
        """GET /v1/switch

        A tenant's token sees its own calls counted, and neither the reasons, which name addresses, nor the store.
        """
        data = [self._describe(status, caller) for status in self._mirror.switches.values()]
        body: dict[str, Any] = {"data": data, "total": len(data), "complete": self._mirror.complete}
        if caller.tenant is EVERY_TENANT:
            body["store"] = self._store.status
        headers = {"Cache-Control": "private, no-cache"}
        return web.Response(body=msgspec.json.encode(body), content_type=JSON, headers=headers)

    def _describe(self, status: SwitchStatus, caller: Caller) -> dict[str, Any]:
        now = self._clock()
        described: dict[str, Any] = {
            "name": status.name,
            "state": status.state,
            "state_seconds": None if status.since is None else round(now - status.since, 3),
            "age": None if status.seen is None else round(now - status.seen, 3),
            "calls": self._mirror.calls_of(status.name, caller.tenant),
            "corrections": sum(status.corrections.values()),
            "found": status.corrections,
            "zombies": status.zombies,
        }
        if caller.tenant is EVERY_TENANT:
            described["error"] = status.error
        return described
