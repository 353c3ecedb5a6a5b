"""The failures of the contract that a real switch has no part in, and where it refuses. The others are where what leads
to them is: races, transfers, monitors."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.real.conftest import TENANT_TOKENS, TOKEN, Service, eventually
from tests.real.switches import RINGS_FOR_EVER, TENANTS
from tests.real.test_transfer_park import MOBILE, place, talking


@pytest.mark.parametrize(
    ("status", "code", "method", "path", "body", "token"),
    [
        (400, "INVALID_BODY", "POST", "/v1/call/{id}/park", [], TOKEN),
        (400, "INVALID_PARAMETER", "POST", "/v1/call/{id}/transfer", {"ext": "-1", "legs": "aleg"}, TOKEN),
        (401, "UNAUTHORIZED", "POST", "/v1/call/{id}/hangup", {}, "nobody's"),
        (404, "NOT_FOUND", "POST", "/v1/call/{id}/explode", {}, TOKEN),
        (404, "MONITOR_NOT_FOUND", "DELETE", "/v1/monitor/{id}", None, TOKEN),
        (404, "CALL_NOT_FOUND", "POST", "/v1/call/{id}/hangup", {}, TENANT_TOKENS[TENANTS[1]]),
        (413, "BODY_TOO_LARGE", "POST", "/v1/call/{id}/park", {"legs": "a" * 20_000}, TOKEN),
    ],
)
async def test_what_is_refused_at_the_door_does_nothing_to_the_call(
    service: Service, status: int, code: str, method: str, path: str, body: Any, token: str
) -> None:
    await place(service, "outbound")
    call_id, before = await talking(service)
    answer = await service.ask(method, path.format(id=call_id), body, token)
    assert (answer.status, answer.body["status"], answer.body["error"]) == (status, "fail", code)
    assert answer.body["message"]
    await service.shows(1, call_id=call_id)
    assert (await talking(service))[1].keys() == before.keys()


async def test_what_the_switch_refuses_is_told_in_its_words(service: Service, tmp_path: Path) -> None:
    await place(service, "outbound")
    call_id, _ = await talking(service)
    # Where the folder of the tenant's recordings was to be there is a file.
    (tmp_path / TENANTS[0]).write_text("")
    answer = await service.post(f"/v1/call/{call_id}/record", action="start")
    assert (answer.status, answer.body["error"]) == (502, "SWITCH_REFUSED")
    assert "the switch refused uuid_record" in answer.body["message"]
    assert (await service.call(call_id))["recording"] is None


async def test_more_commands_than_a_switch_may_have_are_to_come_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callbridge.commands.desk.MAX_UNDER_WAY", 1)
    body, token = {"ext": str(RINGS_FOR_EVER), "destination": MOBILE}, TENANT_TOKENS[TENANTS[0]]
    rings = asyncio.create_task(service.ask("POST", "/v1/call?wait=answer", body, token))

    async def is_listed() -> bool:
        return len(await service.rows()) == 1

    await eventually(is_listed)
    answer = await service.ask("POST", "/v1/call", body, token)
    assert (answer.status, answer.body["error"]) == (429, "TOO_MANY_REQUESTS")
    assert len(await service.rows()) == 1
    assert (await rings).body["error"] == "NO_ANSWER"
