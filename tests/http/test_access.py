"""Who may do what: every route, before every tenant and every scope."""

import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from aiohttp import web

from tests.commands.kit import CALL, CALLED, SUPERVISOR, talking, watching
from tests.http.kit import EVERYTHING, MAY_ALL, ONLY, OPERATOR, STRANGER, Answer, Api, serving
from tests.http.samples import filled
from tests.http.test_commands import BODIES, commanding

MODES: Final = ("listen", "whisper", "barge")
NO_CALL: Final = "there is no live call of this id; GET /v1/call lists them"
NO_MONITOR: Final = "there is no monitor of this id; GET /v1/monitor lists them"
ENDED: Final = "this call ended at 2021-06-08 17:40:00 (NORMAL_CLEARING)"


class Route(NamedTuple):
    """A route, the scope that it needs, and a body with which it succeeds."""

    method: str
    path: str
    scope: str
    body: dict[str, Any] | None = None

    @property
    def monitors(self) -> bool:
        return self.path.endswith(MODES)


ROUTES: Final = [
    Route("GET", "/v1/call", "read"),
    Route("GET", "/v1/call/count", "read"),
    Route("GET", "/v1/call/stream", "read"),
    Route("GET", "/v1/call/{call_id}", "read"),
    Route("GET", "/v1/switch", "read"),
    Route("POST", "/v1/call", "control", {"ext": "101", "destination": "102"}),
    *(
        Route("POST", f"/v1/call/{{call_id}}/{name}", "monitor" if name in MODES else "control", body)
        for name, body in BODIES.items()
    ),
    Route("GET", "/v1/monitor", "monitor"),
    Route("GET", "/v1/monitor/{monitor_id}", "monitor"),
    Route("PATCH", "/v1/monitor/{monitor_id}", "monitor", {"mode": "barge"}),
    Route("DELETE", "/v1/monitor/{monitor_id}", "monitor"),
]
OF_CALLS: Final = [route for route in ROUTES if "{call_id}" in route.path]
OF_MONITORS: Final = [route for route in ROUTES if "{monitor_id}" in route.path]


def named(value: Any) -> str:
    return f"{value.method} {value.path}" if isinstance(value, Route) else ""


async def ask(api: Api, route: Route, token: str | None, call_id: str = CALL) -> Answer:
    return await api.ask(route.method, route.path.format(call_id=call_id, monitor_id=SUPERVISOR), route.body, token)


async def test_every_route_is_in_the_table() -> None:
    known = {(route.method, route.path.replace("{", "").replace("}", "")): route for route in ROUTES}
    found: list[set[tuple[str, str]]] = []

    def look(app: web.Application) -> None:
        for there in app.router.routes():
            assert there.resource is not None
            info = there.resource.get_info()
            pattern = info.get("pattern") or re.compile(re.escape(info["path"]))
            if there.method != "HEAD":
                found.append(
                    {(method, path) for method, path in known if method == there.method and pattern.fullmatch(path)}
                )

    async with serving(filled(), prepare=look):
        pass
    assert all(found)
    assert set().union(*found) == set(known)


@pytest.mark.parametrize("route", ROUTES, ids=named)
async def test_nothing_is_told_or_done_without_a_token(tmp_path: Path, route: Route) -> None:
    async with commanding(tmp_path, talking(monitors=(watching(),))) as (b, api):
        for token in (None, "wrong", MAY_ALL[:-1]):
            answer = await ask(api, route, token)
            assert (answer.status, answer.json["error"]) == (401, "UNAUTHORIZED")
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="callbridge"'
        assert not b.switch.received


@pytest.mark.parametrize("scope", ONLY)
@pytest.mark.parametrize("route", ROUTES, ids=named)
async def test_every_route_needs_its_scope_and_no_other(tmp_path: Path, route: Route, scope: str) -> None:
    async with commanding(tmp_path, talking(monitors=(watching(),))) as (b, api):
        answer = await ask(api, route, ONLY[scope])
        if scope == route.scope:
            # The supervisor of the sample monitors the call already.
            assert answer.status == (409 if route.monitors else 200), answer
        else:
            message = f"the token 'only-{scope}' lacks the scope {route.scope!r}"
            answer.fails(403, "FORBIDDEN", message)
            assert not b.switch.received


@pytest.mark.parametrize("call_id", [CALL, CALLED])
@pytest.mark.parametrize("route", OF_CALLS, ids=named)
async def test_another_tenants_call_is_as_if_it_had_never_been(tmp_path: Path, route: Route, call_id: str) -> None:
    async with commanding(tmp_path) as (b, api):
        (await ask(api, route, STRANGER, call_id)).fails(404, "CALL_NOT_FOUND", NO_CALL)
        never = await ask(api, route, STRANGER, "never")
        b.calls.drop(CALLED)
        b.calls.drop(CALL)
        # Nor is its end told.
        gone = await ask(api, route, STRANGER, call_id)
        assert (gone.status, gone.body) == (never.status, never.body)
        for token in (MAY_ALL, OPERATOR):
            answer = await ask(api, route, token, call_id)
            answer.fails(410, "CALL_ENDED", ENDED, ended_time="2021-06-08 17:40:00", cause="NORMAL_CLEARING")
        assert not b.switch.received
        assert not b.audit.path.exists()


@pytest.mark.parametrize("route", OF_CALLS, ids=named)
async def test_a_call_of_no_tenant_is_no_tenants(tmp_path: Path, route: Route) -> None:
    async with commanding(tmp_path, talking(tenant=None)) as (b, api):
        for token in (MAY_ALL, STRANGER):
            (await ask(api, route, token)).fails(404, "CALL_NOT_FOUND", NO_CALL)
        assert not b.switch.received


@pytest.mark.parametrize("route", OF_MONITORS, ids=named)
async def test_another_tenants_monitor_is_as_if_it_had_never_been(tmp_path: Path, route: Route) -> None:
    async with commanding(tmp_path, talking(monitors=(watching(),))) as (b, api):
        (await ask(api, route, STRANGER)).fails(404, "MONITOR_NOT_FOUND", NO_MONITOR)
        b.calls.show_monitor(SUPERVISOR, None)
        (await ask(api, route, STRANGER)).fails(404, "MONITOR_NOT_FOUND", NO_MONITOR)
        assert not b.switch.received


async def test_a_strangers_lists_hold_nothing_of_it(tmp_path: Path) -> None:
    async with commanding(tmp_path, talking(monitors=(watching(),))) as (_, api):
        for path in ("/v1/call", "/v1/monitor"):
            assert (await api.get(path, STRANGER)).json["total"] == 0
            assert (await api.get(path, OPERATOR)).json["total"] == 1


@pytest.mark.parametrize("route", [*OF_CALLS, *OF_MONITORS], ids=named)
async def test_a_token_for_every_tenant_may_do_all_to_every_call(tmp_path: Path, route: Route) -> None:
    monitors = () if route.monitors else (watching(),)
    async with commanding(tmp_path, talking(monitors=monitors)) as (_, api):
        assert (await ask(api, route, OPERATOR)).status == 200


@pytest.mark.parametrize("route", [route for route in ROUTES if route.scope != "read"], ids=named)
async def test_a_token_that_may_only_read_changes_nothing(tmp_path: Path, route: Route) -> None:
    async with commanding(tmp_path, talking(monitors=(watching(),))) as (b, api):
        assert (await ask(api, route, EVERYTHING)).status == 403
        assert not b.switch.received
