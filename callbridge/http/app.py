"""The aiohttp application: routes, and what all of them have in common."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from callbridge.config import Config, Scope
from callbridge.http.auth import Authenticator, Caller, demand
from callbridge.http.calls import AGE_HEADER, Calls, microseconds_now
from callbridge.http.failures import Failure, of_http
from callbridge.http.switches import Switches
from callbridge.mirror import Mirror
from callbridge.store import Store

CORS_MAX_AGE: Final = 600
"""Seconds for which a browser may keep the answer to its question whether it may ask."""

_ALLOWED_METHODS: Final = "GET, HEAD, POST, PATCH, DELETE"
_ALLOWED_HEADERS: Final = "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID"
_EXPOSED_HEADERS: Final = f"ETag, Location, Retry-After, {AGE_HEADER}"

Guarded = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]

log = structlog.get_logger("callbridge.http")


def make_app(
    config: Config,
    mirror: Mirror,
    store: Store,
    clock: Callable[[], float],
    wall_clock: Callable[[], int] = microseconds_now,
) -> web.Application:
    """The whole API. `clock` is the one that the mirror's writers use, `wall_clock` gives microseconds since 1970."""
    authenticator = Authenticator(config.token)
    calls, switches = Calls(mirror, clock, wall_clock), Switches(mirror, store, clock)

    def route(path: str, scope: Scope, handler: Guarded) -> None:
        async def guarded(request: web.Request) -> web.StreamResponse:
            caller = authenticator.authenticate(request)
            demand(caller, scope)
            return await handler(request, caller)

        app.router.add_get(path, guarded)

    app = web.Application(middlewares=[_make_frame(config.http.cors_origins)])
    route("/v1/call", "read", calls.list)
    route("/v1/call/count", "read", calls.count)
    route("/v1/call/{call_id}", "read", calls.one)
    route("/v1/switch", "read", switches.list)
    return app


def _make_frame(origins: Iterable[str]) -> Middleware:
    """The one middleware: failures become answers, and pages of the allowed origins may read them."""
    allowed = frozenset(origins)

    @web.middleware
    async def frame(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin") if allowed else None
        permitted = origin is not None and (origin in allowed or "*" in allowed)
        if permitted and request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response: web.StreamResponse = web.Response(status=204, headers=_PREFLIGHT)
        else:
            response = await _answer(request, handler)
        response.headers["Server"] = "callbridge"
        if allowed:
            response.headers["Vary"] = "Origin, Authorization"
        if permitted and origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
        return response

    return frame


_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": _ALLOWED_METHODS,
    "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
    "Access-Control-Max-Age": str(CORS_MAX_AGE),
}


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Failure as failure:
        return failure.response()
    except web.HTTPException as error:
        return of_http(error).response()
    except Exception:
        log.exception("http.failed", method=request.method, path=request.path)
        return Failure(500, "INTERNAL_ERROR", "callbridge failed; the operator finds why in its log").response()
