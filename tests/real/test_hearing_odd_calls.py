"""Who hears a supervisor, by tone, where phones or other commands took the call apart and put it together."""

import asyncio

import pytest

from tests.real.conftest import Service, eventually
from tests.real.switches import RINGS_FOR_EVER, TENANTS
from tests.real.test_hearing import MODES, SUPERVISOR, Heard, monitor
from tests.real.test_transfer_park import MOBILE, place, talking

TENANT = TENANTS[0]
ATTENDED = ("sip_call_id", "sip_to_tag", "sip_from_tag")


async def supervise(service: Service, call_id: str, mode: str, phones: dict[str, str]) -> tuple[str, Heard]:
    """The supervisor answers: the monitor's id, and the phones of the call with hers."""
    answer = await service.post(f"/v1/call/{call_id}/{mode}?wait=answer", ext=SUPERVISOR)
    assert answer.status == 200, answer
    heard = Heard(service, phones | {SUPERVISOR: await service.rig.phone_of(SUPERVISOR)})
    return answer.location.removeprefix("/v1/monitor/"), heard


async def connect(service: Service) -> str:
    """By REFER: 101, who talks to somebody outside, asks 102, and connects the two. Gives the id of the call."""
    rig = service.rig
    (row,) = await service.rows()
    first = await rig.phone_of("101")
    second = await rig.extension_calls(101, "102")
    await service.shows(2)
    dialogue, to_tag, from_tag = [await rig.phones.value(second, name) for name in ATTENDED]
    replaces = f"{dialogue}%3Bto-tag%3D{to_tag}%3Bfrom-tag%3D{from_tag}"
    await rig.phones.api(f"uuid_deflect {first} <sip:102@{TENANT}?Replaces={replaces}>")
    await service.shows(1, call_id=row["call_id"])
    return str(row["call_id"])


@pytest.mark.parametrize("mode", MODES)
async def test_a_supervisor_of_a_call_that_a_phone_has_connected(service: Service, mode: str) -> None:
    caller = await service.rig.outsider_calls("101")
    await talking(service)
    call_id = await connect(service)
    await talking(service)
    _, heard = await supervise(service, call_id, mode, {"outside": caller, "102": await service.rig.phone_of("102")})
    await heard.is_right(mode, "102", "outside")


@pytest.mark.parametrize("mode", MODES)
async def test_a_supervisor_of_a_call_that_was_picked_up(service: Service, mode: str) -> None:
    rig = service.rig
    await rig.extension_begins(101, "0899000180")
    (row,) = await service.shows(1, destination="0899000180")
    await rig.pbx.api(f"bgapi originate user/103@{TENANT} 'm:^:intercept:{row['call_id']}' inline")
    call_id, legs = await talking(service)
    assert (call_id, {leg["number"] for leg in legs.values()}) == (row["call_id"], {"101", "103"})
    _, heard = await supervise(service, call_id, mode, {"101": await rig.caller(), "103": await rig.phone_of("103")})
    await heard.is_right(mode, "101", "103")


@pytest.mark.parametrize("destination", [MOBILE, "103"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_supervisor_of_a_placed_call(service: Service, mode: str, destination: str) -> None:
    answer = await service.ask("POST", "/v1/call", {"ext": "101", "destination": destination}, "first")
    assert answer.status == 200, answer
    await talking(service)
    rig, other = service.rig, "outside" if destination == MOBILE else destination
    phones = {"101": await rig.phone_of("101"), other: await rig.phone_of(destination)}
    _, heard = await supervise(service, answer.body["call_id"], mode, phones)
    await heard.is_right(mode, "101", other)


@pytest.mark.parametrize("mode", MODES)
async def test_a_supervisor_of_a_call_on_hold_is_heard_when_it_goes_on(service: Service, mode: str) -> None:
    caller = await place(service, "outbound")
    call_id, _ = await talking(service)
    assert (await service.post(f"/v1/call/{call_id}/hold")).status == 200
    phones = {"101": caller, "outside": await service.rig.phone_of(MOBILE)}
    monitor_id, heard = await supervise(service, call_id, mode, phones)
    # A phone that holds is sent nothing, not even a whisper.
    assert await heard.by("101") == set()
    assert SUPERVISOR not in await heard.by("outside") or mode == "barge"
    assert (await service.post(f"/v1/call/{call_id}/unhold")).status == 200
    await heard.is_right(mode, "101", "outside")
    assert (await monitor(service, monitor_id))["mode"] == mode


async def test_a_whisper_goes_with_the_extension_that_holds_and_takes_the_call_back(service: Service) -> None:
    caller = await place(service, "outbound")
    call_id, _ = await talking(service)
    phones = {"101": caller, "outside": await service.rig.phone_of(MOBILE)}
    _, heard = await supervise(service, call_id, "whisper", phones)
    for _ in range(2):
        assert (await service.post(f"/v1/call/{call_id}/hold")).status == 200
        assert await heard.by("outside") == set()
        assert (await service.post(f"/v1/call/{call_id}/unhold")).status == 200
        await heard.is_right("whisper", "101", "outside")


async def test_a_park_that_ends_while_a_supervisor_is_rung(service: Service) -> None:
    """The switch ends the call by itself in the middle of the command: the truth is told and nobody goes on ringing."""
    await place(service, "inbound")
    call_id, _ = await talking(service)
    assert (await service.post(f"/v1/call/{call_id}/park", legs="aleg")).status == 200
    answer = await service.post(f"/v1/call/{call_id}/listen?wait=answer", ext=str(RINGS_FOR_EVER))
    assert (answer.status, answer.body["error"]) == (409, "CALL_ENDED"), answer

    async def nobody_is_left() -> bool:
        return not await service.rig.channels()

    await eventually(nobody_is_left)


@pytest.mark.parametrize("who", ["101", "outside"])
@pytest.mark.parametrize("command", ["transfer", "park", "whisper", "hold"])
async def test_a_phone_hangs_up_during_a_command(service: Service, command: str, who: str) -> None:
    """By BYE, from the phone itself: the answer is true, and no leg is left behind."""
    caller = await place(service, "outbound")
    call_id, _ = await talking(service)
    rig = service.rig
    phone = caller if who == "101" else await rig.phone_of(MOBILE)
    body = {"transfer": {"ext": "102", "legs": "bleg"}, "park": {"legs": "bleg"}, "whisper": {"ext": SUPERVISOR}}
    answer, _ = await asyncio.gather(
        service.post(f"/v1/call/{call_id}/{command}", **body.get(command, {})),
        rig.phones.api(f"uuid_kill {phone}"),
    )
    if answer.status != 200:
        assert answer.status in (404, 409, 410), answer
        assert answer.body["error"] in ("CALL_ENDED", "NOT_BRIDGED", "CALL_NOT_FOUND"), answer

    async def right() -> bool:
        rows = await service.rows()
        channels = await rig.channels()
        legs = {leg["uuid"] for row in rows for leg in (await service.call(row["call_id"]))["legs"]}
        return legs == set(channels) and (answer.status == 200 or not channels)

    await eventually(right, 20)
