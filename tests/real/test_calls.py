"""Every kind of call on a real switch: what the list says is what the switch says, and ids stay."""

from typing import Any

import pytest

from tests.real.conftest import TENANT_TOKENS, Serve, Service, eventually
from tests.real.switches import TENANTS

MOBILE = "0899123456"


async def talking(service: Service) -> tuple[str, str, str]:
    """Of the only call: its id, the calling leg, the called leg, once both are bridged."""
    (row,) = await service.shows(1)

    async def bridged() -> bool:
        legs = (await service.call(row["call_id"]))["legs"]
        channels = await service.rig.channels()
        return len(legs) == 2 and all(channels[leg["uuid"]]["callstate"] == "ACTIVE" for leg in legs)

    await eventually(bridged)
    legs = {leg["side"]: leg["uuid"] for leg in (await service.call(row["call_id"]))["legs"]}
    return row["call_id"], legs["aleg"], legs["bleg"]


async def ends(service: Service, call_id: str) -> None:
    await service.rig.hang_up_all()
    await service.shows(0)
    ended = await service.get(f"/v1/call/{call_id}")
    assert (ended["status_code"], ended["error"]) == (410, "CALL_ENDED")


@pytest.mark.parametrize("events", ["json", "plain"])
async def test_an_outbound_call(serve: Serve, events: str) -> None:
    service = await serve(events)
    await service.rig.extension_calls(101, MOBILE)
    (row,) = await service.shows(1, direction="outbound", source="101", destination=MOBILE, context=TENANTS[0])
    assert row["state"] == "CS_EXECUTE"
    await ends(service, row["call_id"])


async def test_an_inbound_call(service: Service) -> None:
    await service.rig.outsider_calls("101")
    (row,) = await service.shows(1, direction="inbound", source="0911222333", destination="101", context=TENANTS[0])
    await ends(service, row["call_id"])


async def test_a_local_call(service: Service) -> None:
    await service.rig.extension_calls(101, "102")
    (row,) = await service.shows(1, direction="local", source="101", destination="102", context=TENANTS[0])
    await ends(service, row["call_id"])


async def test_a_call_that_rings_is_one_call(service: Service) -> None:
    await service.rig.extension_begins(101, "0899000180")
    (row,) = await service.shows(1, direction="outbound", destination="0899000180")

    async def rings() -> bool:
        return len((await service.call(row["call_id"]))["legs"]) == 2

    await eventually(rings)
    assert (await service.call(row["call_id"]))["answered_time"] is None
    await ends(service, row["call_id"])


async def test_two_tenants_with_the_same_numbers_see_their_own(service: Service) -> None:
    for tenant in TENANTS:
        await service.rig.extension_calls(101, "102", tenant)
    rows = await service.shows(2)
    assert sorted(row["context"] for row in rows) == sorted(TENANTS)
    for tenant, token in TENANT_TOKENS.items():
        (own,) = await service.rows(token)
        assert own["context"] == tenant
        (other,) = [row for row in rows if row["context"] != tenant]
        assert (await service.get(f"/v1/call/{other['call_id']}", token))["error"] == "CALL_NOT_FOUND"


async def test_hold_and_back(service: Service) -> None:
    phone = await service.rig.extension_calls(101, MOBILE)
    call_id, *_ = await talking(service)

    async def held() -> bool:
        return bool((await service.call(call_id))["callstate"] == "HELD")

    async def active() -> bool:
        return bool((await service.call(call_id))["callstate"] == "ACTIVE")

    await service.rig.phones.ok(f"uuid_hold {phone}")
    await eventually(held)
    await service.shows(1)
    await service.rig.phones.ok(f"uuid_hold off {phone}")
    await eventually(active)
    await ends(service, call_id)


async def place(service: Service, kind: str) -> None:
    if kind == "inbound":
        await service.rig.outsider_calls("101")
    else:
        await service.rig.extension_calls(101, MOBILE if kind == "outbound" else "103")


@pytest.mark.parametrize("kind", ["outbound", "inbound", "local"])
async def test_a_transfer_of_the_calling_leg(service: Service, kind: str) -> None:
    await place(service, kind)
    call_id, a, _ = await talking(service)
    await service.rig.pbx.ok(f"uuid_transfer {a} 102 XML {TENANTS[0]}")
    await service.shows(1, call_id=call_id, destination="102")
    assert (await talking(service))[:2] == (call_id, a)
    await ends(service, call_id)


@pytest.mark.parametrize("kind", ["outbound", "inbound", "local"])
async def test_a_transfer_of_the_called_leg(service: Service, kind: str) -> None:
    await place(service, kind)
    call_id, _, b = await talking(service)
    await service.rig.pbx.ok(f"uuid_transfer {call_id} -bleg 102 XML {TENANTS[0]}")
    await service.shows(1, call_id=call_id, destination="102")
    legs = (await service.call(call_id))["legs"]
    assert b in [leg["uuid"] for leg in legs]
    assert (await service.call(b))["call_id"] == call_id
    await ends(service, call_id)


async def test_a_transfer_of_both_legs_makes_two_calls(service: Service) -> None:
    await service.rig.extension_calls(101, MOBILE)
    call_id, _, b = await talking(service)
    await service.rig.pbx.ok(f"uuid_transfer {call_id} -both 102 XML {TENANTS[0]}")
    rows = await service.shows(2)
    assert call_id in [row["call_id"] for row in rows]
    assert b in [row["call_id"] for row in rows]


@pytest.mark.parametrize("side", ["aleg", "bleg"])
async def test_a_parked_leg_waits_and_is_taken_out_by_a_transfer(service: Service, side: str) -> None:
    await service.rig.extension_calls(101, MOBILE)
    call_id, a, b = await talking(service)
    leg = a if side == "aleg" else b
    await service.rig.pbx.ok(f"uuid_park {leg}")
    await service.shows(1, call_id=call_id, state="CS_PARK")
    await service.rig.pbx.ok(f"uuid_transfer {leg} 102 XML {TENANTS[0]}")
    await service.shows(1, call_id=call_id, destination="102")
    await ends(service, call_id)


async def test_a_parked_leg_that_nobody_takes_ends(service: Service) -> None:
    await service.rig.extension_calls(101, MOBILE)
    call_id, a, _ = await talking(service)
    await service.rig.pbx.ok(f"uuid_setvar {a} park_timeout 3:NORMAL_CLEARING")
    await service.rig.pbx.ok(f"uuid_park {a}")
    await service.shows(1, call_id=call_id, state="CS_PARK")
    await service.shows(0)


async def test_a_blind_transfer_by_refer(service: Service) -> None:
    await service.rig.outsider_calls("101")
    call_id, *_ = await talking(service)
    phone = await service.rig.phone_of("101")
    await service.rig.phones.ok(f"uuid_deflect {phone} sip:102@{TENANTS[0]}")
    await service.shows(1, call_id=call_id, destination="102")
    assert (await talking(service))[0] == call_id
    await ends(service, call_id)


async def test_an_attended_transfer_by_refer(service: Service) -> None:
    """101 talks to an outsider, calls 102, and connects the two: both calls become the older one."""
    rig = service.rig
    await rig.outsider_calls("101")
    call_id, *_ = await talking(service)
    first = await rig.phone_of("101")
    second = await rig.extension_calls(101, "102")
    rows = await service.shows(2)
    (younger,) = {row["call_id"] for row in rows} - {call_id}
    names = ("sip_call_id", "sip_to_tag", "sip_from_tag")
    dialogue, to_tag, from_tag = [await rig.phones.value(second, name) for name in names]
    replaces = f"{dialogue}%3Bto-tag%3D{to_tag}%3Bfrom-tag%3D{from_tag}"
    await rig.phones.api(f"uuid_deflect {first} <sip:102@{TENANTS[0]}?Replaces={replaces}>")
    await service.shows(1, call_id=call_id)
    assert (await service.call(younger))["call_id"] == call_id
    await ends(service, call_id)


async def test_a_ring_group_on_loopback_channels_is_one_call(service: Service) -> None:
    await service.rig.outsider_calls("2000")
    (row,) = await service.shows(1, direction="inbound", source="0911222333")

    async def one_phone_is_left() -> bool:
        return len((await service.call(row["call_id"]))["legs"]) == 2

    await eventually(one_phone_is_left)
    (again,) = await service.shows(1)
    assert again["call_id"] == row["call_id"]
    await ends(service, row["call_id"])


async def test_an_ivr_that_transfers(service: Service) -> None:
    await service.rig.outsider_calls("5000")
    (row,) = await service.shows(1, destination="5000", direction="inbound")
    await service.shows(1, call_id=row["call_id"], destination="101")
    await ends(service, row["call_id"])


async def test_conference_members_are_a_call_each(service: Service) -> None:
    for extension in (101, 102, 103):
        await service.rig.extension_calls(extension, "3001")
    rows = await service.shows(3, destination="3001")
    assert {row["destination"] for row in rows} == {"3001"}
    assert [row["source"] for row in rows] == ["101", "102", "103"]


async def test_a_valet_pick_up_makes_one_call_of_two(service: Service) -> None:
    await service.rig.extension_calls(101, "5901")
    (parked,) = await service.shows(1, destination="5901")
    await service.rig.extension_begins(102, "5901")
    await service.shows(1, call_id=parked["call_id"])

    async def both() -> bool:
        return len((await service.call(parked["call_id"]))["legs"]) == 2

    await eventually(both)
    await ends(service, parked["call_id"])


async def test_click_to_call(service: Service) -> None:
    user = f"user/101@{TENANTS[0]}"
    answer = await service.rig.pbx.ok(f"originate {user} {MOBILE} XML {TENANTS[0]}")
    (row,) = await service.shows(1, call_id=answer, context=TENANTS[0], direction="outbound")
    assert (await talking(service))[0] == row["call_id"]
    await ends(service, row["call_id"])


async def test_two_calls_that_are_bridged_become_the_older(service: Service) -> None:
    await service.rig.extension_calls(101, MOBILE)
    older, *_ = await talking(service)
    await service.rig.extension_calls(102, "103")
    rows = await service.shows(2)
    (younger,) = {row["call_id"] for row in rows} - {older}
    await service.rig.pbx.api(f"uuid_bridge {older} {younger}")
    await service.shows(1, call_id=older)
    assert (await service.call(younger))["call_id"] == older
    await ends(service, older)


@pytest.mark.parametrize(
    ("variables", "mode"),
    [
        ("", "listen"),
        ("eavesdrop_whisper_bleg=true", "whisper"),
        ("eavesdrop_whisper_bleg=true,eavesdrop_whisper_aleg=true", "barge"),
    ],
)
async def test_a_supervisor_is_a_monitor_and_no_call(service: Service, variables: str, mode: str) -> None:
    await service.rig.extension_calls(101, MOBILE)
    call_id, a, _ = await talking(service)
    options = f"{{{variables}}}" if variables else ""
    supervisor = await service.rig.pbx.ok(f"originate {options}user/103@{TENANTS[0]} &eavesdrop({a})")
    await service.shows(1, call_id=call_id)
    (monitor,) = (await service.call(call_id))["monitors"]
    assert {name: monitor[name] for name in ("uuid", "extension", "mode", "state", "watches")} == {
        "uuid": supervisor,
        "extension": "103",
        "mode": mode,
        "state": "active",
        "watches": a,
    }
    await ends(service, call_id)


@pytest.mark.parametrize("events", ["json", "plain"])
async def test_a_start_in_the_middle(serve: Serve, events: str) -> None:
    """Everything that is up at once, with rows before and after a start of callbridge: they are the same."""
    first = await serve()
    rig = first.rig
    await rig.extension_calls(101, MOBILE)
    await rig.outsider_calls("102")
    await rig.extension_calls(103, "104", TENANTS[1])
    await rig.extension_calls(105, "3002")
    await rig.extension_begins(106, "0899000180")
    before = await first.shows(5)
    parked = before[0]["call_id"]
    await rig.pbx.ok(f"uuid_park {parked}")
    await first.shows(5, state="CS_PARK")
    second = await serve(events)
    assert await second.shows(5) == await first.shows(5)
    assert {row["call_id"] for row in await second.rows()} == {row["call_id"] for row in before}


async def test_a_start_in_the_middle_of_many_calls(serve: Serve) -> None:
    first = await serve()
    for _ in range(15):
        for n in range(20):
            await first.rig.extension_begins(101 + n % 6, "0899000180", TENANTS[n % 2])

    async def all_ring() -> bool:
        rows: list[dict[str, Any]] = await first.rows()
        return len(rows) == 300 and len(await first.rig.channels()) == 600

    await eventually(all_ring, 60)
    second = await serve()
    assert {row["call_id"] for row in await second.rows()} == {row["call_id"] for row in await first.rows()}
