"""The aiohttp application: routes, and what all of them have in common."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from callbridge.commands.desk import Desk
from callbridge.config import Config, Scope
from callbridge.http.auth import Authenticator, Caller, demand
from callbridge.http.bodies import COMMANDS, MODES
from callbridge.http.calls import Calls, microseconds_now
from callbridge.http.commands import Commands
from callbridge.http.failures import MAX_BODY, Failure, of_http
from callbridge.http.monitors import Monitors
from callbridge.http.newcomers import shown
from callbridge.http.stream import Streams
from callbridge.http.switches import Switches
from callbridge.http.trust import AGE_HEADER
from callbridge.http.waits import Sleep, Waits
from callbridge.mirror import Mirror
from callbridge.sharing.claims import Claims
from callbridge.store import Store

CORS_MAX_AGE: Final = 600
"""Seconds for which a browser may keep the answer to its question whether it may ask."""

_ALLOWED_METHODS: Final = "GET, HEAD, POST, PATCH, DELETE"
_ALLOWED_HEADERS: Final = "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID"
_EXPOSED_HEADERS: Final = f"ETag, Location, Retry-After, {AGE_HEADER}"

SERVER_LOG: Final = logging.getLogger("callbridge.http.server")
"""Where aiohttp's server tells of what never became a request."""

Guarded = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]

log = structlog.get_logger("callbridge.http")


def make_app(
    config: Config,
    mirror: Mirror,
    store: Store,
    desk: Desk,
    clock: Callable[[], float],
    wall_clock: Callable[[], int] = microseconds_now,
    sleep: Sleep = asyncio.sleep,
    claims: Claims | None = None,
) -> web.Application:
    """The whole API. `clock` is the one that the mirror's writers use, `wall_clock` gives microseconds since 1970."""
    authenticator = Authenticator(config.token)
    waits, streams = Waits(mirror, sleep), Streams(mirror, sleep)
    calls, switches = Calls(mirror, waits, clock, wall_clock), Switches(mirror, store, clock)
    commands, monitors = Commands(desk, mirror, clock, claims), Monitors(desk, mirror, clock)

    def route(method: str, path: str, scope: Scope, handler: Guarded) -> None:
        async def guarded(request: web.Request) -> web.StreamResponse:
            caller = authenticator.authenticate(request)
            demand(caller, scope)
            if claims is not None:
                await shown(mirror, request, caller, clock, sleep)
            return await handler(request, caller)

        if method == "GET":
            app.router.add_get(path, guarded)
        else:
            app.router.add_route(method, path, guarded)

    origins = _Origins(config.http.cors_origins)
    app = web.Application(middlewares=[_make_frame(origins)], client_max_size=MAX_BODY)
    goodbye = _Goodbye()
    app.on_response_prepare.extend((origins.sign, goodbye.sign))
    app.on_shutdown.extend((waits.close, streams.close))
    app.cleanup_ctx.append(streams.beating)
    app[_CHANGEABLE] = _Changeable(authenticator, origins, waits, streams, goodbye)
    route("GET", "/v1/call", "read", calls.list)
    route("POST", "/v1/call", "control", commands.place)
    route("GET", "/v1/call/count", "read", calls.count)
    route("GET", "/v1/call/stream", "read", streams.stream)
    route("GET", "/v1/call/{call_id}", "read", calls.one)
    for name in COMMANDS:
        scope: Scope = "monitor" if name in MODES else "control"
        route("POST", f"/v1/call/{{call_id}}/{{command:{name}}}", scope, commands.command)
    route("GET", "/v1/monitor", "monitor", monitors.list)
    route("GET", "/v1/monitor/{monitor_id}", "monitor", monitors.one)
    route("PATCH", "/v1/monitor/{monitor_id}", "monitor", monitors.change)
    route("DELETE", "/v1/monitor/{monitor_id}", "monitor", monitors.stop)
    route("GET", "/v1/switch", "read", switches.list)
    return app


def reconfigure(app: web.Application, config: Config) -> None:
    """Go by these tokens and origins from now on. The streams of tokens that are gone end; whoever waits for a change
    is answered, and asks again with a token that counts."""
    parts = app[_CHANGEABLE]
    parts.authenticator.replace(config.token)
    parts.origins.replace(config.http.cors_origins)
    parts.streams.dismiss(parts.authenticator.may_read)
    parts.waits.wake_all()


def say_goodbye(app: web.Application) -> None:
    """From now on every answer is the last one on its connection, and says so."""
    app[_CHANGEABLE].goodbye.said = True


def _in_one_line(record: logging.LogRecord) -> bool:
    """What a client sends that is no HTTP is its mistake: one line without the traceback of aiohttp's parser."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.msg, record.args = "http.malformed: %s", (error.message.partition("\n")[0],)
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.exc_info = None
    return True


SERVER_LOG.addFilter(_in_one_line)


class _Origins:
    """The web pages of other origins that may use the API."""

    def __init__(self, origins: Iterable[str]) -> None:
        self.replace(origins)

    def replace(self, origins: Iterable[str]) -> None:
        """These from now on, and no others."""
        self._allowed = frozenset(origins)

    def permits(self, request: web.Request) -> bool:
        """Whether the page that asks may read the answer."""
        origin = request.headers.get("Origin") if self._allowed else None
        return origin is not None and (origin in self._allowed or "*" in self._allowed)

    async def sign(self, request: web.Request, response: web.StreamResponse) -> None:
        """What stands above every answer. Here and not in a middleware, which is too late for one that is a stream."""
        response.headers["Server"] = "callbridge"
        if self._allowed:
            response.headers["Vary"] = "Origin, Authorization"
        if self.permits(request):
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS


class _Goodbye:
    """Whether connections end with their next answer."""

    def __init__(self) -> None:
        self.said = False

    async def sign(self, _: web.Request, response: web.StreamResponse) -> None:
        """Tell the client, so that it asks on another connection (RFC 9112, 9.6)."""
        if self.said:
            response.force_close()
            response.headers["Connection"] = "close"


class _Changeable(NamedTuple):
    """What may change while the service runs."""

    authenticator: Authenticator
    origins: _Origins
    waits: Waits
    streams: Streams
    goodbye: _Goodbye


_CHANGEABLE: Final = web.AppKey("changeable", _Changeable)


def _make_frame(origins: _Origins) -> Middleware:
    """The one middleware: failures become answers, and browsers are told what pages may ask."""

    @web.middleware
    async def frame(request: web.Request, handler: Handler) -> web.StreamResponse:
        if (
            request.method == "OPTIONS"
            and "Access-Control-Request-Method" in request.headers
            and origins.permits(request)
        ):
            return web.Response(status=204, headers=_PREFLIGHT)
        return await _answer(request, handler)

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
