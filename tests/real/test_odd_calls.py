"""Calls taken apart and put together in every way that the switch knows; callbridge that saw it happen, and callbridge
that was started after it, say the same.
"""

from typing import Any, Final

import pytest

from tests.real.conftest import Serve, Service, eventually
from tests.real.switches import TENANTS

TENANT: Final = TENANTS[0]
MOBILE: Final = "0899123456"
RINGS: Final = "sofia/gateway/pstn/0899000180"
ROW: Final = ("call_id", "context", "destination", "direction", "ip", "source", "state", "callstate", "tenant")
LEG: Final = ("uuid", "side", "number", "kind", "state")
MONITOR: Final = ("uuid", "extension", "mode", "watches")


def user(extension: str) -> str:
    return f"user/{extension}@{TENANT}"


def known(call: dict[str, Any]) -> dict[str, Any]:
    """What of a call does not depend on how long callbridge has been there. Names and earlier ids do."""
    legs = [{name: leg[name] for name in LEG} for leg in call["legs"]]
    monitors = [{name: monitor[name] for name in MONITOR} for monitor in call["monitors"]]
    return {name: call[name] for name in ROW} | {"legs": legs, "monitors": monitors}


async def calls(service: Service) -> dict[str, dict[str, Any]]:
    found = [await service.get(f"/v1/call/{row['call_id']}") for row in await service.rows()]
    return {answer["data"]["call_id"]: known(answer["data"]) for answer in found if "data" in answer}


async def agree(first: Service, second: Service) -> bool:
    """Whether both say the same. Of a leg that the switch made and sent to an application (`inline`) or to another
    leg, a dump has the number from before and an address, `show channels` has not.
    """
    ours, theirs = await calls(first), await calls(second)
    for call_id, call in ours.items():
        for name, differs in (("destination", ":" in call["destination"]), ("ip", not call["ip"])):
            if differs:
                call[name] = theirs.get(call_id, call)[name]
    return ours == theirs


async def same_after_a_start(serve: Serve, first: Service, **wanted: list[str]) -> dict[str, dict[str, Any]]:
    """Wait until the list has these calls, each right by what the switch says, with legs of these numbers; then start
    another callbridge: it says the same. `wanted`: numbers of legs by call, as `a`, `b` … in the order of the list.
    """
    said: dict[str, dict[str, Any]] = {}

    async def as_wanted() -> bool:
        nonlocal said
        said = await calls(first)
        return [sorted(leg["number"] for leg in call["legs"]) for call in said.values()] == list(wanted.values())

    try:
        await eventually(as_wanted)
    except TimeoutError:
        pytest.fail(f"wanted {wanted}; callbridge says {said}; the switch says {await first.rig.channels()}")
    await first.shows(len(wanted))
    second = await serve("plain")

    try:
        await eventually(lambda: agree(first, second))
    except TimeoutError:
        pytest.fail(f"by the events: {await calls(first)}; by probes: {await calls(second)}")
    return await calls(first)


async def legs(service: Service, call_id: str) -> dict[str, str]:
    """Of a call: number -> uuid of the leg, once two of them talk."""

    async def talk() -> bool:
        channels = await service.rig.channels()
        uuids = [leg["uuid"] for leg in (await service.call(call_id))["legs"]]
        return len(uuids) == 2 and all(channels.get(uuid, {}).get("callstate") == "ACTIVE" for uuid in uuids)

    await eventually(talk)
    return {leg["number"]: leg["uuid"] for leg in (await service.call(call_id))["legs"]}


async def extension_talks(service: Service, extension: int, number: str) -> tuple[str, dict[str, str]]:
    """A call of an extension: its id, and its legs by number."""
    known_before = {row["call_id"] for row in await service.rows()}
    await service.rig.extension_calls(extension, number)
    rows = await service.shows(len(known_before) + 1)
    (call_id,) = {row["call_id"] for row in rows} - known_before
    return call_id, await legs(service, call_id)


@pytest.mark.parametrize("who", ["101", "102"])
async def test_an_attended_transfer_by_the_switch(serve: Serve, service: Service, who: str) -> None:
    """`att_xfer`, as feature codes run it: 103 is asked, then whoever asked hangs up."""
    rig = service.rig
    caller = await rig.extension_calls(101, "102")
    (row,) = await service.shows(1)
    call_id, uuids = row["call_id"], await legs(service, row["call_id"])
    await rig.pbx.ok(f"uuid_broadcast {uuids[who]} att_xfer::{user('103')} aleg")

    async def asked() -> bool:
        channels = (await rig.channels()).values()
        return any(channel["dest"] == "103" and channel["state"] == "CS_EXCHANGE_MEDIA" for channel in channels)

    await eventually(asked)
    during = await same_after_a_start(serve, service, a=["101", "102", "103"])
    assert set(during) == {call_id}
    await rig.phones.ok(f"uuid_kill {caller if who == '101' else await rig.phone_of('102')}")
    after = await same_after_a_start(serve, service, a=["102" if who == "101" else "101", "103"])
    assert set(after) == {call_id}
    assert {leg["side"] for leg in after[call_id]["legs"]} == {"aleg", "bleg"}


async def test_what_is_left_of_a_call_keeps_its_id_over_a_start(serve: Serve, service: Service) -> None:
    call_id, uuids = await extension_talks(service, 101, MOBILE)
    await service.rig.pbx.ok(f"uuid_park {uuids[MOBILE]}")
    parked = await same_after_a_start(serve, service, a=[MOBILE])
    assert parked[call_id]["legs"][0]["side"] == "bleg"
    await service.rig.pbx.ok(f"uuid_transfer {uuids[MOBILE]} 102 XML {TENANT}")
    moved = await same_after_a_start(serve, service, a=[MOBILE, "102"])
    assert {leg["number"]: leg["side"] for leg in moved[call_id]["legs"]} == {MOBILE: "bleg", "102": "aleg"}


async def test_the_called_legs_of_two_calls_are_bridged(serve: Serve, service: Service) -> None:
    older, first = await extension_talks(service, 101, MOBILE)
    younger, second = await extension_talks(service, 102, "0899123457")
    await service.rig.pbx.ok(f"uuid_bridge {first[MOBILE]} {second['0899123457']}")
    after = await same_after_a_start(serve, service, a=[MOBILE, "0899123457"])
    assert set(after) == {older}
    assert (await service.call(younger))["call_id"] == older


async def test_a_dual_transfer_makes_two_calls(serve: Serve, service: Service) -> None:
    call_id, uuids = await extension_talks(service, 101, MOBILE)
    await service.rig.pbx.ok(f"uuid_dual_transfer {call_id} 103/XML/{TENANT} 104/XML/{TENANT}")
    after = await same_after_a_start(serve, service, a=["101", "103"], b=[MOBILE, "104"])
    assert set(after) == {call_id, uuids[MOBILE]}


@pytest.mark.parametrize("picked", ["caller", "ringing leg"])
async def test_a_call_that_rings_is_picked_up(serve: Serve, service: Service, picked: str) -> None:
    rig = service.rig
    await rig.extension_begins(101, "0899000180")
    (row,) = await service.shows(1, destination="0899000180")
    await same_after_a_start(serve, service, a=["0899000180", "101"])
    ringing = next(leg["uuid"] for leg in (await service.call(row["call_id"]))["legs"] if leg["side"] == "bleg")
    which = row["call_id"] if picked == "caller" else f"-bleg {ringing}"
    await rig.pbx.api(f"bgapi originate {user('103')} 'm:^:intercept:{which}' inline")
    after = await same_after_a_start(serve, service, a=["101", "103"])
    assert set(after) == {row["call_id"]}


async def test_a_group_picks_up(serve: Serve, service: Service) -> None:
    """What waits for the pick-up is a channel of the switch and nobody in the call."""
    rig = service.rig
    parked = await rig.pbx.ok(f"originate {user('101')} &park()")
    await rig.pbx.ok(f"uuid_transfer {parked} 'm:^:bridge:{RINGS},pickup/sales' inline")
    rings = await same_after_a_start(serve, service, a=["0899000180", "101"])
    await rig.pbx.api(f"bgapi originate {user('103')} &pickup(sales)")
    after = await same_after_a_start(serve, service, a=["101", "103"])
    assert set(after) == set(rings)


async def test_media_goes_round_the_switch(serve: Serve, service: Service) -> None:
    call_id, _ = await extension_talks(service, 101, "102")
    await service.rig.pbx.ok(f"uuid_media off {call_id}")
    await service.shows(1, state="CS_HIBERNATE")
    await same_after_a_start(serve, service, a=["101", "102"])


async def test_a_uuid_is_used_again_while_its_call_goes_on(serve: Serve, service: Service) -> None:
    rig = service.rig
    made = f"originate {{origination_uuid=call-7:a@b}}{user('101')} {MOBILE} XML {TENANT}"
    await rig.pbx.ok(made)
    await same_after_a_start(serve, service, a=[MOBILE, "101"])
    await rig.pbx.ok(f"uuid_transfer call-7:a@b -bleg 103 XML {TENANT}")
    await same_after_a_start(serve, service, a=[MOBILE, "103"])
    await rig.pbx.ok(made)
    rows = await service.shows(2)
    assert [row["call_id"] for row in rows] == ["call-7:a@b", "call-7:a@b+"]


# Monitors.


async def test_two_monitors_of_a_called_leg(serve: Serve, service: Service) -> None:
    call_id, uuids = await extension_talks(service, 101, "102")
    for supervisor in ("103", "104"):
        await service.rig.pbx.ok(f"originate {user(supervisor)} &eavesdrop({uuids['102']})")
    after = await same_after_a_start(serve, service, a=["101", "102"])
    assert [monitor["extension"] for monitor in after[call_id]["monitors"]] == ["103", "104"]


async def test_a_monitor_moves_with_whom_it_listens_to(serve: Serve, service: Service) -> None:
    call_id, _ = await extension_talks(service, 101, MOBILE)
    await service.rig.pbx.ok(f"originate {user('103')} &eavesdrop({call_id})")
    await service.rig.pbx.ok(f"uuid_transfer {call_id} 102 XML {TENANT}")
    after = await same_after_a_start(serve, service, a=["101", "102"])
    assert len(after[call_id]["monitors"]) == 1
    await service.rig.pbx.ok(f"uuid_park {call_id}")
    parked = await same_after_a_start(serve, service, a=["101"])
    assert len(parked[call_id]["monitors"]) == 1


@pytest.mark.parametrize("ends", ["by a key", "with the call"])
async def test_a_monitor_that_stops_and_goes_on_is_a_call(serve: Serve, service: Service, ends: str) -> None:
    rig = service.rig
    call_id, _ = await extension_talks(service, 101, MOBILE)
    supervisor = await rig.pbx.ok(f"originate {user('103')} 'eavesdrop:{call_id},park' inline")
    watched = await same_after_a_start(serve, service, a=[MOBILE, "101"])
    assert len(watched[call_id]["monitors"]) == 1
    if ends == "by a key":
        await rig.phones.ok(f"uuid_send_dtmf {await rig.phone_of('103')} *")
        after = await same_after_a_start(serve, service, a=[MOBILE, "101"], b=["103"])
    else:
        await rig.pbx.ok(f"uuid_kill {call_id}")
        after = await same_after_a_start(serve, service, a=["103"])
    assert after[supervisor]["monitors"] == []


async def test_a_monitor_that_is_bridged_to_somebody_is_in_a_call(serve: Serve, service: Service) -> None:
    call_id, _ = await extension_talks(service, 101, MOBILE)
    parked = await service.rig.pbx.ok(f"originate {user('102')} &park()")
    supervisor = await service.rig.pbx.ok(f"originate {user('103')} &eavesdrop({call_id})")
    await service.rig.pbx.ok(f"uuid_bridge {supervisor} {parked}")
    after = await same_after_a_start(serve, service, a=[MOBILE, "101"], b=["102", "103"])
    assert [call["monitors"] for call in after.values()] == [[], []]


async def test_one_in_a_call_listens_to_another_and_comes_back(serve: Serve, service: Service) -> None:
    call_id, _ = await extension_talks(service, 101, MOBILE)
    other, _ = await extension_talks(service, 102, "104")
    await service.rig.pbx.ok(f"uuid_transfer {other} eavesdrop:{call_id} inline")
    during = await same_after_a_start(serve, service, a=[MOBILE, "101"])
    assert [monitor["extension"] for monitor in during[call_id]["monitors"]] == ["102"]
    await service.rig.pbx.ok(f"uuid_transfer {other} 103 XML {TENANT}")
    after = await same_after_a_start(serve, service, a=[MOBILE, "101"], b=["102", "103"])
    assert set(after) == {call_id, other}


@pytest.mark.parametrize("name", ["José 漢字", "pipe|in|a|name", "100%41%zz", "n" * 300, "x%0AHangup-Cause: FAKE"])
async def test_a_caller_with_such_a_name(serve: Serve, service: Service, name: str) -> None:
    rig = service.rig
    caller = f"{{^^;origination_caller_id_number=101;origination_caller_id_name='{name}'}}"
    await rig.phones.api(f"bgapi originate {caller}sofia/gateway/101-{TENANT}/0899000180 &park()")
    after = await same_after_a_start(serve, service, a=["0899000180", "101"])
    shown = next(iter(after))
    channels = await rig.channels()
    assert (await service.call(shown))["source_name"] == channels[shown]["cid_name"]
