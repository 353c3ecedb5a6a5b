"""Ids that another daemon has given out a moment ago, of calls and monitors that are shown here some 10 ms later."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from callbridge.http.auth import Caller
from callbridge.mirror import Mirror

LOOK_EVERY: Final = 0.01
LOOKS: Final = 10
"""How long an id that is not known is waited for: twice what a follower may be behind its owner."""


async def shown(
    mirror: Mirror,
    request: web.Request,
    caller: Caller,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Wait until the call or the monitor of the path is known here, as a live or as an ended one; not for long."""
    tenant, path = caller.tenant, request.match_info
    for _ in range(LOOKS):
        known: object
        if call_id := path.get("call_id"):
            known = mirror.find_all(call_id, tenant) or mirror.find_ended(call_id, tenant, clock())
        elif monitor_id := path.get("monitor_id"):
            known = mirror.find_monitor(monitor_id, tenant) or mirror.find_ended_monitor(monitor_id, tenant, clock())
        else:
            return
        if known:
            return
        await sleep(LOOK_EVERY)
