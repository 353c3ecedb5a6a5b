"""listen, whisper and barge on a real switch, measured by tone: who hears whom."""

from typing import Any

import pytest

from tests.real.conftest import Service, eventually
from tests.real.switches import RINGS_FOR_EVER
from tests.real.test_transfer_park import place, refused, talking

MODES = ("listen", "whisper", "barge")
SUPERVISOR = "104"

OUTSIDE_OR = {"outbound": ("101", "outside"), "inbound": ("outside", "101"), "local": ("101", "103")}
"""Kind of a call -> its parties: who called, who was called."""


class Heard:
    """The phones of a call and of its supervisor."""

    def __init__(self, service: Service, phones: dict[str, str]) -> None:
        self.service = service
        self.phones = phones

    async def by(self, who: str) -> set[str]:
        return await self.service.rig.hears(self.phones[who])

    async def is_right(self, mode: str, extension: str, other: str) -> None:
        """The extension is whispered to, the other party is not; the supervisor hears both."""
        assert await self.by(SUPERVISOR) == {extension, other}
        assert await self.by(extension) == ({other} if mode == "listen" else {other, SUPERVISOR})
        assert await self.by(other) == ({extension, SUPERVISOR} if mode == "barge" else {extension})


async def monitored(service: Service, kind: str, mode: str) -> tuple[str, str, Heard]:
    """A call that is monitored by a supervisor who has answered: its id, the monitor's, and the phones."""
    caller, called = OUTSIDE_OR[kind]
    calling_phone = await place(service, kind)
    call_id, _ = await talking(service)
    answer = await service.post(f"/v1/call/{call_id}/{mode}?wait=answer", ext=SUPERVISOR)
    assert (answer.status, answer.body) == (200, {"status": "success", "call_id": call_id, "ext": SUPERVISOR})
    phones = {caller: calling_phone, called: await service.rig.phone_of(dialled(kind)), SUPERVISOR: ""}
    phones[SUPERVISOR] = await service.rig.phone_of(SUPERVISOR)
    return call_id, answer.location.removeprefix("/v1/monitor/"), Heard(service, phones)


def dialled(kind: str) -> str:
    return {"outbound": "0899123456", "inbound": "101", "local": "103"}[kind]


async def monitor(service: Service, monitor_id: str) -> dict[str, Any]:
    answer = await service.ask("GET", f"/v1/monitor/{monitor_id}")
    assert answer.status == 200, answer
    return dict(answer.body["data"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["outbound", "inbound", "local"])
async def test_who_hears_whom_in_every_mode_and_after_every_change(service: Service, kind: str, mode: str) -> None:
    extension, other = ("101", "103") if kind == "local" else ("101", "outside")
    call_id, monitor_id, heard = await monitored(service, kind, mode)
    (row,) = await service.shows(1)
    assert row["call_id"] == call_id
    await heard.is_right(mode, extension, other)
    for changed in [other_mode for other_mode in MODES if other_mode != mode]:
        answer = await service.ask("PATCH", f"/v1/monitor/{monitor_id}", {"mode": changed})
        assert (answer.status, answer.body["mode"]) == (200, changed), answer
        assert (await monitor(service, monitor_id))["mode"] == changed
        await heard.is_right(changed, extension, other)


async def test_a_whisper_to_the_called_extension_of_a_local_call(service: Service) -> None:
    caller = await place(service, "local")
    call_id, _ = await talking(service)
    answer = await service.post(f"/v1/call/{call_id}/whisper?wait=answer", ext=SUPERVISOR, legs="bleg")
    assert answer.status == 200
    rig = service.rig
    phones = {"101": caller, "103": await rig.phone_of("103"), SUPERVISOR: await rig.phone_of(SUPERVISOR)}
    await Heard(service, phones).is_right("whisper", "103", "101")


@pytest.mark.parametrize("side", ["aleg", "bleg"])
@pytest.mark.parametrize("mode", ["listen", "whisper", "barge"])
async def test_a_monitor_follows_a_transfer(service: Service, mode: str, side: str) -> None:
    """The outside party is transferred to 102: whisper reaches the new extension. So does it the old one, if that is
    the leg that stays."""
    _, monitor_id, heard = await monitored(service, "inbound", mode)
    (row,) = await service.rows()
    call_id = row["call_id"]
    assert (await service.post(f"/v1/call/{call_id}/transfer", ext="102", legs=side)).status == 200
    await talking(service)

    async def mode_is_back() -> bool:
        return bool((await monitor(service, monitor_id))["mode"] == mode)

    await eventually(mode_is_back)
    heard.phones["102"] = await service.rig.phone_of("102")
    if side == "aleg":
        await heard.is_right(mode, "102", "outside")
    else:
        await heard.is_right(mode, "101", "102")


async def test_a_monitor_of_a_transferred_call(service: Service) -> None:
    await place(service, "inbound")
    call_id, _ = await talking(service)
    assert (await service.post(f"/v1/call/{call_id}/transfer", ext="102", legs="aleg")).status == 200
    await talking(service)
    assert (await service.post(f"/v1/call/{call_id}/whisper?wait=answer", ext=SUPERVISOR)).status == 200
    rig = service.rig
    phones = {"102": await rig.phone_of("102"), SUPERVISOR: await rig.phone_of(SUPERVISOR)}
    assert await rig.hears(phones["102"]) == {"outside", SUPERVISOR}
    assert await rig.hears(phones[SUPERVISOR]) == {"outside", "102"}


async def test_the_supervisors_keys_change_nothing(service: Service) -> None:
    _, monitor_id, heard = await monitored(service, "outbound", "listen")
    for key in "1230":
        await service.rig.phones.api(f"uuid_send_dtmf {heard.phones[SUPERVISOR]} {key}")
    await heard.is_right("listen", "101", "outside")
    assert (await monitor(service, monitor_id))["mode"] == "listen"


async def test_two_supervisors_on_one_call(service: Service) -> None:
    call_id, _, heard = await monitored(service, "outbound", "whisper")
    assert (await service.post(f"/v1/call/{call_id}/barge?wait=answer", ext="105")).status == 200
    heard.phones["105"] = await service.rig.phone_of("105")
    assert await heard.by("101") == {"outside", SUPERVISOR, "105"}
    assert await heard.by("outside") == {"101", "105"}
    listed = (await service.get("/v1/monitor"))["data"]
    assert sorted((entry["ext"], entry["mode"], entry["state"]) for entry in listed) == [
        (SUPERVISOR, "whisper", "active"),
        ("105", "barge", "active"),
    ]
    await service.shows(1, call_id=call_id)
    await refused(service, 409, "USER_BUSY", f"/v1/call/{call_id}/listen", ext="105")


async def test_a_parked_call_can_be_listened_to_and_no_more(service: Service) -> None:
    await place(service, "inbound")
    call_id, _ = await talking(service)
    assert (await service.post(f"/v1/call/{call_id}/park", legs="aleg")).status == 200
    for mode in ("whisper", "barge"):
        await refused(service, 409, "NOT_BRIDGED", f"/v1/call/{call_id}/{mode}", ext=SUPERVISOR)
    assert (await service.post(f"/v1/call/{call_id}/listen?wait=answer", ext=SUPERVISOR)).status == 200
    assert await service.rig.hears(await service.rig.phone_of(SUPERVISOR)) == {"outside"}
    # When the park is over, so is the call, and the supervisor goes with it.
    await service.shows(0)

    async def nobody_is_left() -> bool:
        return not await service.rig.channels()

    await eventually(nobody_is_left)


async def test_nobody_monitors_his_own_call(service: Service) -> None:
    await place(service, "outbound")
    call_id, _ = await talking(service)
    for mode in MODES:
        await refused(service, 409, "INVALID_DESTINATION", f"/v1/call/{call_id}/{mode}", ext="101")


async def test_a_phone_that_rings_is_a_success_and_ends_with_the_call(service: Service) -> None:
    await place(service, "outbound")
    call_id, _ = await talking(service)
    answer = await service.post(f"/v1/call/{call_id}/listen", ext=str(RINGS_FOR_EVER))
    assert answer.status == 200
    monitor_id = answer.location.removeprefix("/v1/monitor/")
    assert (await monitor(service, monitor_id))["state"] == "ringing"
    await service.shows(1, call_id=call_id)
    assert (await service.post(f"/v1/call/{call_id}/hangup")).status == 200

    async def ended() -> bool:
        gone = not await service.rig.channels()
        return gone and (await monitor(service, monitor_id))["state"] == "ended"

    await eventually(ended)
    assert (await monitor(service, monitor_id))["error"] == "CALL_ENDED"


async def test_a_phone_that_nobody_answers_is_told_of_later(service: Service) -> None:
    await place(service, "outbound")
    call_id, _ = await talking(service)
    path = f"/v1/call/{call_id}/listen"
    monitor_id = (await service.post(path, ext=str(RINGS_FOR_EVER))).location.removeprefix("/v1/monitor/")

    async def told() -> bool:
        return bool((await monitor(service, monitor_id))["error"] == "NO_ANSWER")

    await eventually(told, 20)
    await refused(service, 409, "NO_ANSWER", f"{path}?wait=answer", ext=str(RINGS_FOR_EVER))
    await service.shows(1, call_id=call_id)


@pytest.mark.parametrize(
    ("extension", "code"),
    [("107", "USER_BUSY"), ("109", "CALL_REJECTED"), ("115", "USER_NOT_REGISTERED"), ("999", "INVALID_DESTINATION")],
)
async def test_why_a_supervisor_cannot_be_reached(service: Service, extension: str, code: str) -> None:
    await place(service, "outbound")
    call_id, _ = await talking(service)
    for mode in MODES:
        await refused(service, 409, code, f"/v1/call/{call_id}/{mode}", ext=extension)
    (row,) = await service.shows(1)
    assert row["call_id"] == call_id


async def test_a_monitor_is_stopped(service: Service) -> None:
    call_id, monitor_id, _ = await monitored(service, "outbound", "barge")
    answer = await service.ask("DELETE", f"/v1/monitor/{monitor_id}")
    assert (answer.status, answer.body) == (200, {"status": "success", "monitor_id": monitor_id})
    assert (await service.get("/v1/monitor"))["data"] == []
    assert (await monitor(service, monitor_id))["state"] == "ended"
    await service.shows(1, call_id=call_id)

    async def two_are_left() -> bool:
        return len(await service.rig.channels()) == 2

    await eventually(two_are_left)
    assert (await service.ask("DELETE", f"/v1/monitor/{monitor_id}")).status == 404
