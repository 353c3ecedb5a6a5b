"""Monitors as things: who listens to what, and how that is changed."""

from pathlib import Path
from typing import Any

import pytest

from callbridge.mirror import REMEMBER_ENDED_FOR
from tests.commands.kit import CALL, CALLED, SUPERVISOR, leg, talking, watching
from tests.http.kit import MAY_ALL, OPERATOR, STRANGER, serving
from tests.http.samples import filled
from tests.http.test_commands import commanding

NO_MONITOR = "there is no monitor of this id; GET /v1/monitor lists them"
SHOWN: dict[str, Any] = {
    "monitor_id": SUPERVISOR,
    "call_id": CALL,
    "context": "a.example",
    "ext": "104",
    "mode": "listen",
    "state": "active",
    "legs": "aleg",
    "created_time": "2021-06-08 17:38:00",
    "switch": "pbx",
    "error": None,
}
OTHER = talking(call_id="other", ids=(), legs=(leg("other", "aleg", "103"),), monitors=(watching("barge", uuid="m2"),))
THEIRS = talking(
    call_id="theirs", ids=(), tenant="b.example", legs=(), monitors=(watching("whisper", "ringing", "x", "m3"),)
)


async def test_a_monitor_is_told_of_with_its_call(tmp_path: Path) -> None:
    async with commanding(tmp_path, talking(monitors=(watching(),))) as (_, api):
        answer = await api.get(f"/v1/monitor/{SUPERVISOR}", MAY_ALL)
        assert list(answer.data.items()) == list(SHOWN.items())
        assert answer.headers["Cache-Control"] == "private, no-cache"
        listed = await api.get("/v1/monitor", MAY_ALL)
        assert listed.json == {"data": [SHOWN], "total": 1}


async def test_of_a_monitor_whose_leg_is_not_known_the_side_is_null() -> None:
    async with serving(filled(talking(monitors=(watching(watches="gone"),)))) as api:
        assert (await api.get(f"/v1/monitor/{SUPERVISOR}", MAY_ALL)).data == SHOWN | {"legs": None}


async def test_every_tenant_sees_the_monitors_of_its_own_calls() -> None:
    async with serving(filled(talking(monitors=(watching(),)), OTHER, THEIRS)) as api:
        for token, seen in ((MAY_ALL, {SUPERVISOR, "m2"}), (STRANGER, {"m3"}), (OPERATOR, {SUPERVISOR, "m2", "m3"})):
            answer = await api.get("/v1/monitor", token)
            assert {monitor["monitor_id"] for monitor in answer.data} == seen
            assert answer.json["total"] == len(seen)


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("", {SUPERVISOR, "m2", "m3"}),
        ("mode=barge", {"m2"}),
        ("mode=listen&state=active", {SUPERVISOR}),
        ("mode=listen&state=ringing", set()),
        (f"call_id={CALL}", {SUPERVISOR}),
        (f"call_id={CALLED}", set()),
        ("ext=104", {SUPERVISOR, "m2", "m3"}),
        ("ext=10", set()),
        ("ext=", set()),
    ],
)
async def test_the_list_can_be_filtered(query: str, seen: set[str]) -> None:
    async with serving(filled(talking(monitors=(watching(),)), OTHER, THEIRS)) as api:
        answer = await api.get(f"/v1/monitor?{query}", OPERATOR)
        assert {monitor["monitor_id"] for monitor in answer.data} == seen


@pytest.mark.parametrize("name", ["limit", "monitor_id", "legs", "%ff"])
async def test_a_filter_that_there_is_not_is_named(name: str) -> None:
    shown = "\ufffd" if name == "%ff" else name
    async with serving(filled()) as api:
        answer = await api.get(f"/v1/monitor?{name}=1", OPERATOR)
        message = f"{shown}: there is no such parameter; there are call_id, ext, mode, state"
        answer.fails(400, "INVALID_PARAMETER", message, parameter=shown)


async def test_the_body_of_each_success(tmp_path: Path) -> None:
    async with commanding(tmp_path, talking(monitors=(watching(),))) as (_, api):
        answer = await api.ask("PATCH", f"/v1/monitor/{SUPERVISOR}", {"mode": "barge"})
        said = b'{"status":"success","monitor_id":"%s"' % SUPERVISOR.encode()
        assert (answer.status, answer.body) == (200, said + b',"mode":"barge"}')
        assert (await api.get(f"/v1/monitor/{SUPERVISOR}", MAY_ALL)).data["mode"] == "barge"
        answer = await api.ask("DELETE", f"/v1/monitor/{SUPERVISOR}")
        assert (answer.status, answer.body) == (200, said + b"}")
        assert (await api.get("/v1/monitor", MAY_ALL)).data == []


async def test_a_monitor_that_ended_is_told_of_for_some_minutes_and_cannot_be_changed(tmp_path: Path) -> None:
    async with commanding(tmp_path, talking(monitors=(watching(),))) as (b, api):
        assert (await api.ask("DELETE", f"/v1/monitor/{SUPERVISOR}")).status == 200
        assert (await api.get(f"/v1/monitor/{SUPERVISOR}", MAY_ALL)).data == SHOWN | {"state": "ended"}
        for method, body in (("DELETE", None), ("PATCH", {"mode": "barge"})):
            answer = await api.ask(method, f"/v1/monitor/{SUPERVISOR}", body)
            answer.fails(404, "MONITOR_NOT_FOUND", NO_MONITOR)
        (await api.get(f"/v1/monitor/{SUPERVISOR}", STRANGER)).fails(404, "MONITOR_NOT_FOUND", NO_MONITOR)
        b.clock.pass_time(REMEMBER_ENDED_FOR + 0.001)
        (await api.get(f"/v1/monitor/{SUPERVISOR}", MAY_ALL)).fails(404, "MONITOR_NOT_FOUND", NO_MONITOR)


@pytest.mark.parametrize(
    ("reply", "code"), [("-ERR NO_ANSWER", "NO_ANSWER"), ("-ERR USER_BUSY", "USER_BUSY"), ("-ERR X", "SWITCH_REFUSED")]
)
async def test_why_a_phone_that_rang_was_not_answered_is_told_by_its_monitor(
    tmp_path: Path, reply: str, code: str
) -> None:
    async with commanding(tmp_path) as (b, api):
        location = (await api.post(f"/v1/call/{CALL}/listen", ext="104")).headers["Location"]
        assert b.calls.job is not None
        b.calls.job.set_result(reply)
        b.calls.show_monitor(location.removeprefix("/v1/monitor/"), None)
        # It may be seen to have ended before the switch says why.
        await with_error(api, location, code)


async def test_why_a_monitor_ended_with_its_call_is_told(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        location = (await api.post(f"/v1/call/{CALL}/listen", ext="104")).headers["Location"]
        b.calls.drop(CALLED)
        b.calls.drop(CALL)
        await with_error(api, location, "CALL_ENDED")


async def with_error(api: Any, location: str, code: str) -> None:
    """Wait until the monitor says why it ended."""
    while (data := (await api.get(location, MAY_ALL)).data)["error"] is None:
        assert data["state"] == "ended"
    assert (data["state"], data["error"]) == ("ended", code)
