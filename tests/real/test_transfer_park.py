"""transfer and park on a real switch: the right leg lives, the id stays, and every refusal is the truth."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.real.conftest import Service, eventually
from tests.real.switches import BUSY, REJECTS, RINGS_FOR_EVER, TENANTS

MOBILE = "0899123456"
KINDS = ("outbound", "inbound", "local")


async def place(service: Service, kind: str) -> str:
    """A call of that kind with extension 101; gives the channel, on `phones`, of the phone that called."""
    if kind == "inbound":
        return await service.rig.outsider_calls("101")
    return await service.rig.extension_calls(101, MOBILE if kind == "outbound" else "103")


async def talking(service: Service) -> tuple[str, dict[str, dict[str, Any]]]:
    """Of the only call: its id, and its two legs by side, once both talk."""
    (row,) = await service.shows(1)

    async def talk() -> bool:
        legs = (await service.call(row["call_id"]))["legs"]
        return len(legs) == 2 and all(leg["answered"] for leg in legs)

    await eventually(talk)
    return row["call_id"], {leg["side"]: leg for leg in (await service.call(row["call_id"]))["legs"]}


async def refused(service: Service, status: int, code: str, path: str, **body: str) -> str:
    answer = await service.post(path, **body)
    assert (answer.status, answer.body["status"], answer.body["error"]) == (status, "fail", code), answer
    return str(answer.body["message"])


@pytest.mark.parametrize("side", ["aleg", "bleg"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_transfer_moves_the_named_leg_and_ends_the_other(service: Service, kind: str, side: str) -> None:
    await place(service, kind)
    call_id, legs = await talking(service)
    answer = await service.post(f"/v1/call/{call_id}/transfer", ext="102", legs=side)
    assert (answer.status, answer.body) == (200, {"status": "success", "call_id": call_id, "ext": "102"})
    rows = await service.rows()
    assert [(row["call_id"], row["destination"]) for row in rows] == [(call_id, "102")]
    other = "bleg" if side == "aleg" else "aleg"

    async def the_other_ended() -> bool:
        channels = await service.rig.channels()
        return legs[side]["uuid"] in channels and legs[other]["uuid"] not in channels and len(channels) == 2

    await eventually(the_other_ended)
    _, now = await talking(service)
    assert now[side]["uuid"] == legs[side]["uuid"]
    assert now[other]["number"] == "102"


@pytest.mark.parametrize("by", ["call", "aleg", "bleg"])
async def test_any_id_of_the_call_will_do(service: Service, by: str) -> None:
    await place(service, "inbound")
    call_id, legs = await talking(service)
    uuid = call_id if by == "call" else legs[by]["uuid"]
    assert (await service.post(f"/v1/call/{uuid}/transfer", ext="102", legs="aleg")).status == 200
    await service.shows(1, call_id=call_id, destination="102")


@pytest.mark.parametrize(
    ("extension", "code"), [(BUSY, "USER_BUSY"), (REJECTS, "CALL_REJECTED"), (115, "USER_NOT_REGISTERED")]
)
async def test_a_transfer_that_fails_says_why(service: Service, extension: int, code: str) -> None:
    await place(service, "outbound")
    call_id, _ = await talking(service)
    message = await refused(service, 409, code, f"/v1/call/{call_id}/transfer", ext=str(extension), legs="bleg")
    assert str(extension) in message
    # Whoever has no phone is found out before anything is done.
    await service.shows(1 if code == "USER_NOT_REGISTERED" else 0)


@pytest.mark.parametrize("destination", ["999", "9196", "0899", "59*#"])
async def test_where_the_operator_allows_nothing_nobody_is_sent(service: Service, destination: str) -> None:
    await place(service, "outbound")
    call_id, _ = await talking(service)
    path = f"/v1/call/{call_id}/transfer"
    assert destination in await refused(service, 409, "INVALID_DESTINATION", path, ext=destination, legs="aleg")
    assert len((await talking(service))[1]) == 2


async def test_a_phone_that_rings_is_a_success(service: Service) -> None:
    await place(service, "inbound")
    call_id, legs = await talking(service)
    answer = await service.post(f"/v1/call/{call_id}/transfer", ext=str(RINGS_FOR_EVER), legs="aleg")
    assert answer.status == 200
    call = await service.call(call_id)
    assert [leg["uuid"] for leg in call["legs"] if leg["answered"]] == [legs["aleg"]["uuid"]]
    assert [leg["callstate"] for leg in call["legs"] if not leg["answered"]] == ["RINGING"]
    # Sent on while it rings.
    assert (await service.post(f"/v1/call/{call_id}/transfer", ext="102", legs="aleg")).status == 200
    assert (await talking(service))[0] == call_id


@pytest.mark.parametrize("destination", ["2000", "3001", "0899777777"])
async def test_what_the_operator_allows_can_be_reached(service: Service, destination: str) -> None:
    await place(service, "inbound")
    call_id, _ = await talking(service)
    answer = await service.post(f"/v1/call/{call_id}/transfer", ext=destination, legs="aleg")
    assert answer.status == 200, answer
    await service.shows(1, call_id=call_id, destination=destination)


async def test_a_ringing_call_is_sent_on_by_its_calling_leg_only(service: Service) -> None:
    await service.rig.extension_begins(101, "0899000180")
    (row,) = await service.shows(1)
    call_id = row["call_id"]

    async def rings() -> bool:
        return "RINGING" in [leg["callstate"] for leg in (await service.call(call_id))["legs"]]

    await eventually(rings)
    path = f"/v1/call/{call_id}/transfer"
    await refused(service, 409, "NOT_ANSWERED", path, ext="102", legs="bleg")
    await refused(service, 409, "NOT_ANSWERED", f"/v1/call/{call_id}/park", legs="aleg")
    await refused(service, 409, "NOT_ANSWERED", f"/v1/call/{call_id}/listen", ext="103")
    assert (await service.post(path, ext="102", legs="aleg")).status == 200
    await service.shows(1, call_id=call_id, destination="102")


@pytest.mark.parametrize("side", ["aleg", "bleg"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_parked_leg_waits_and_a_transfer_takes_it_out(service: Service, kind: str, side: str) -> None:
    await place(service, kind)
    call_id, legs = await talking(service)
    answer = await service.post(f"/v1/call/{call_id}/park", legs=side)
    assert (answer.status, answer.body) == (200, {"status": "success", "call_id": call_id})
    (row,) = await service.rows()
    assert (row["call_id"], row["state"]) == (call_id, "CS_PARK")
    await service.shows(1, state="CS_PARK")
    assert list(await service.rig.channels()) == [legs[side]["uuid"]]
    assert (await service.call(call_id))["parked_until"] is not None
    await refused(service, 409, "ALREADY_PARKED", f"/v1/call/{call_id}/park", legs="aleg")
    await refused(service, 409, "ALREADY_PARKED", f"/v1/call/{call_id}/park", legs="bleg")
    # Where one leg is left both names mean it.
    assert (await service.post(f"/v1/call/{call_id}/transfer", ext="102", legs="aleg")).status == 200
    await service.shows(1, call_id=call_id, destination="102")
    assert (await talking(service))[1][side]["uuid"] == legs[side]["uuid"]


async def test_a_parked_leg_that_nobody_takes_is_hung_up(service: Service) -> None:
    await place(service, "inbound")
    call_id, _ = await talking(service)
    assert (await service.post(f"/v1/call/{call_id}/park", legs="aleg")).status == 200
    await service.shows(0)
    message = await refused(service, 410, "CALL_ENDED", f"/v1/call/{call_id}/transfer", ext="102", legs="aleg")
    assert "NORMAL_CLEARING" in message


async def test_who_did_what_is_written_down(service: Service, tmp_path: Path) -> None:
    await place(service, "outbound")
    call_id, _ = await talking(service)
    await service.post(f"/v1/call/{call_id}/transfer", ext="102", legs="aleg")
    await service.post(f"/v1/call/{call_id}/transfer", ext="115", legs="aleg")
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["event"], line.get("outcome"), line["ext"]) for line in lines] == [
        ("asked", None, "102"),
        ("done", "success", "102"),
        ("asked", None, "115"),
        ("done", "USER_NOT_REGISTERED", "115"),
    ]
    first = lines[1]
    assert {name: first[name] for name in ("token", "address", "tenant", "switch", "call_id", "aleg", "bleg")} == {
        "token": "all",
        "address": "127.0.0.1",
        "tenant": TENANTS[0],
        "switch": "pbx",
        "call_id": call_id,
        "aleg": "101",
        "bleg": MOBILE,
    }
    assert (first["command"], first["legs"]) == ("transfer", "aleg")
    assert first["seconds"] > 0
