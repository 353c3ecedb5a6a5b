"""hangup, hold, mute, dtmf, record and click to call on a real switch."""

import asyncio
from pathlib import Path

import pytest

from tests.real.conftest import Service, eventually
from tests.real.switches import BUSY, RINGS_FOR_EVER, TENANTS
from tests.real.test_transfer_park import MOBILE, place, refused, talking

SUCCESS = {"status": "success"}


@pytest.mark.parametrize("cause", ["", "USER_BUSY"])
async def test_a_call_is_hung_up(service: Service, cause: str) -> None:
    await place(service, "outbound")
    call_id, _ = await talking(service)
    answer = await service.post(f"/v1/call/{call_id}/hangup", **({"cause": cause} if cause else {}))
    assert (answer.status, answer.body) == (200, SUCCESS | {"call_id": call_id})
    assert await service.rows() == []
    message = await refused(service, 410, "CALL_ENDED", f"/v1/call/{call_id}/hangup")
    assert (cause or "NORMAL_CLEARING") in message


async def test_a_ringing_call_is_hung_up(service: Service) -> None:
    await service.rig.extension_begins(101, "0899000180")
    (row,) = await service.shows(1)
    assert (await service.post(f"/v1/call/{row['call_id']}/hangup")).status == 200
    assert await service.rows() == []


@pytest.mark.parametrize("kind", ["outbound", "inbound"])
async def test_hold_and_unhold(service: Service, kind: str) -> None:
    phone = await place(service, kind)
    call_id, legs = await talking(service)
    if kind == "inbound":
        phone = await service.rig.phone_of("101")
    extension = next(leg["uuid"] for leg in legs.values() if leg["kind"] == "extension")
    for command, callstate, heard in (("hold", "HELD", set()), ("unhold", "ACTIVE", {"outside"})):
        answer = await service.post(f"/v1/call/{call_id}/{command}")
        assert (answer.status, answer.body) == (200, SUCCESS | {"call_id": call_id})
        states = {leg["uuid"]: leg["callstate"] for leg in (await service.call(call_id))["legs"]}
        assert (states[extension] == "HELD") == (callstate == "HELD")
        assert await service.rig.hears(phone) == heard
        # Once more is no mistake: it is so.
        assert (await service.post(f"/v1/call/{call_id}/{command}")).status == 200
    await service.shows(1, call_id=call_id)


async def test_a_muted_leg_is_not_heard(service: Service) -> None:
    caller = await place(service, "outbound")
    call_id, _ = await talking(service)
    mobile = await service.rig.phone_of(MOBILE)
    for command, heard in (("mute", set()), ("unmute", {"101"})):
        assert (await service.post(f"/v1/call/{call_id}/{command}", legs="aleg")).status == 200
        assert await service.rig.hears(mobile) == heard
        assert await service.rig.hears(caller) == {"outside"}


async def test_keys_reach_the_party_of_that_side(service: Service) -> None:
    await place(service, "outbound")
    call_id, _ = await talking(service)
    mobile = await service.rig.phone_of(MOBILE)
    keys = await service.rig.keys(mobile, 3)
    answer = await service.post(f"/v1/call/{call_id}/dtmf", legs="bleg", digits="42#")
    assert (answer.status, answer.body) == (200, SUCCESS | {"call_id": call_id})
    async with asyncio.timeout(10):
        assert await keys == "42#"


async def test_a_recording_is_where_the_operator_wants_it(service: Service, tmp_path: Path) -> None:
    await place(service, "outbound")
    call_id, _ = await talking(service)
    path = tmp_path / TENANTS[0] / f"{call_id}.wav"
    assert (await service.post(f"/v1/call/{call_id}/record", action="start")).status == 200
    assert (await service.call(call_id))["recording"] == str(path)
    assert (await service.post(f"/v1/call/{call_id}/record", action="start")).status == 200
    assert (await service.post(f"/v1/call/{call_id}/record", action="stop")).status == 200
    assert (await service.call(call_id))["recording"] is None

    async def written() -> bool:
        return path.exists() and path.stat().st_size > 44

    await eventually(written)
    assert (await service.post(f"/v1/call/{call_id}/record", action="stop")).status == 200


@pytest.mark.parametrize("wait", ["", "?wait=answer"])
@pytest.mark.parametrize("destination", [MOBILE, "103"])
async def test_click_to_call(service: Service, destination: str, wait: str) -> None:
    answer = await service.ask("POST", f"/v1/call{wait}", {"ext": "101", "destination": destination}, "first")
    assert answer.status == 200, answer
    call_id = answer.body["call_id"]
    assert (answer.body, answer.location) == (SUCCESS | {"call_id": call_id}, f"/v1/call/{call_id}")
    (row,) = await service.shows(1, destination=destination, source="101", context=TENANTS[0])
    assert row["call_id"] == call_id
    _, legs = await talking(service)
    assert [(leg["kind"], leg["number"]) for leg in (legs["aleg"], legs["bleg"])] == [
        ("extension", "101"),
        ("extension" if destination == "103" else "outside", destination),
    ]


@pytest.mark.parametrize(
    ("ext", "destination", "code"),
    [
        (str(BUSY), MOBILE, "USER_BUSY"),
        ("115", MOBILE, "USER_NOT_REGISTERED"),
        ("999", MOBILE, "INVALID_DESTINATION"),
        ("101", "999", "INVALID_DESTINATION"),
        ("101", "115", "USER_NOT_REGISTERED"),
        ("101", "101", "INVALID_DESTINATION"),
    ],
)
async def test_why_a_call_cannot_be_placed(service: Service, ext: str, destination: str, code: str) -> None:
    answer = await service.ask("POST", "/v1/call", {"ext": ext, "destination": destination}, "first")
    assert (answer.status, answer.body["error"]) == (409, code), answer
    await service.shows(0)


async def test_a_call_that_is_not_taken(service: Service) -> None:
    body = {"ext": str(RINGS_FOR_EVER), "destination": MOBILE}
    answer = await service.ask("POST", "/v1/call", body, "first")
    assert answer.status == 200
    (row,) = await service.shows(1)
    assert row["call_id"] == answer.body["call_id"]
    await service.post(f"/v1/call/{row['call_id']}/hangup")
    answer = await service.ask("POST", "/v1/call?wait=answer", body, "first")
    assert (answer.status, answer.body["error"]) == (409, "NO_ANSWER")
    await service.shows(0)


async def test_a_token_of_every_tenant_places_no_call(service: Service) -> None:
    answer = await service.ask("POST", "/v1/call", {"ext": "101", "destination": MOBILE})
    assert (answer.status, answer.body["error"]) == (403, "FORBIDDEN")
