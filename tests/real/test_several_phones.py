"""Users with two phones on a real switch: both ring, the first that answers is taken, and the id is the same."""

from typing import Any

import pytest

from tests.real.conftest import Serve, Service, eventually
from tests.real.switches import TENANTS, WAITS_LONG
from tests.real.test_hearing import monitor
from tests.real.test_transfer_park import MOBILE, place, refused, talking


async def channels_of(service: Service, user: int) -> list[str]:
    """The channels to the phones of a user that ring or talk."""
    rows = (await service.rig.channels()).values()
    return [
        row["uuid"]
        for row in rows
        if row["presence_id"] == f"{user}@{TENANTS[0]}" and row["callstate"] in ("RINGING", "EARLY", "ACTIVE")
    ]


async def ring(service: Service, user: int, phones: int) -> None:
    """Wait until that many phones of the user ring or talk, and no more are there."""

    async def so_many() -> bool:
        return len(await channels_of(service, user)) == phones

    await eventually(so_many)


async def only_monitor(service: Service) -> dict[str, Any]:
    (found,) = (await service.get("/v1/monitor"))["data"]
    return dict(found)


async def nothing_is_left(service: Service) -> None:
    async def quiet() -> bool:
        return not await service.rig.channels() and not await service.rows()

    await eventually(quiet)


# Monitors.


@pytest.mark.parametrize("mode", ["listen", "whisper", "barge"])
async def test_whichever_phone_answers_is_the_monitor(service: Service, mode: str) -> None:
    caller = await place(service, "outbound")
    call_id, _ = await talking(service)
    answer = await service.post(f"/v1/call/{call_id}/{mode}", ext="111")
    assert answer.status == 200, answer
    monitor_id = answer.location.removeprefix("/v1/monitor/")
    await ring(service, 111, 2)
    ringing = await only_monitor(service)
    assert (ringing["monitor_id"], ringing["ext"], ringing["state"], ringing["mode"]) == (
        monitor_id,
        "111",
        "ringing",
        mode,
    )
    await service.shows(1, call_id=call_id)

    async def answered() -> bool:
        return bool((await monitor(service, monitor_id))["state"] == "active")

    await eventually(answered)
    await ring(service, 111, 1)
    assert (await only_monitor(service))["monitor_id"] == monitor_id
    phone = await service.rig.phone_of(str(WAITS_LONG))
    assert await service.rig.hears(phone) == {"101", "outside"}
    assert await service.rig.hears(caller) == {"outside"} | ({str(WAITS_LONG)} if mode != "listen" else set())
    answer = await service.ask("PATCH", f"/v1/monitor/{monitor_id}", {"mode": "barge"})
    assert (answer.status, (await monitor(service, monitor_id))["mode"]) == (200, "barge"), answer
    assert await service.rig.hears(caller) == {"outside", str(WAITS_LONG)}
    assert (await service.ask("DELETE", f"/v1/monitor/{monitor_id}")).status == 200
    assert (await monitor(service, monitor_id))["state"] == "ended"
    await ring(service, 111, 0)
    await service.shows(1, call_id=call_id)


@pytest.mark.parametrize("user", [112, 116, 117])
async def test_the_answer_is_that_of_one_of_the_phones(service: Service, user: int) -> None:
    """One is busy, both answer, one is heard before it answers."""
    await place(service, "outbound")
    call_id, _ = await talking(service)
    answer = await service.post(f"/v1/call/{call_id}/listen?wait=answer", ext=str(user))
    assert answer.status == 200, answer
    assert (await only_monitor(service))["state"] == "active"
    await ring(service, user, 1)
    assert await service.rig.hears(await service.rig.phone_of("103" if user == 116 else str(WAITS_LONG)))


@pytest.mark.parametrize("user", [111, 118])
async def test_both_phones_stop_ringing_with_the_monitor(service: Service, user: int) -> None:
    await place(service, "outbound")
    call_id, _ = await talking(service)
    answer = await service.post(f"/v1/call/{call_id}/listen", ext=str(user))
    await ring(service, user, 2)
    assert (await service.ask("DELETE", answer.location)).status == 200
    await ring(service, user, 0)
    await service.shows(1, call_id=call_id)


async def test_both_phones_stop_ringing_with_the_call(service: Service) -> None:
    await place(service, "outbound")
    call_id, _ = await talking(service)
    answer = await service.post(f"/v1/call/{call_id}/listen", ext="118")
    await ring(service, 118, 2)
    assert (await service.post(f"/v1/call/{call_id}/hangup")).status == 200
    await nothing_is_left(service)
    ended = await monitor(service, answer.location.removeprefix("/v1/monitor/"))
    assert (ended["state"], ended["error"]) == ("ended", "CALL_ENDED")


@pytest.mark.parametrize(("user", "code"), [(113, None), (114, "NO_ANSWER"), (118, "NO_ANSWER")])
async def test_why_none_of_the_phones_has_answered(service: Service, user: int, code: str | None) -> None:
    """Where both refuse, the first of the switch's list says why."""
    await place(service, "outbound")
    call_id, _ = await talking(service)
    path = f"/v1/call/{call_id}/listen?wait=answer"
    if code is None:
        first = await service.rig.pbx.api(f"sofia_contact */{user}@{TENANTS[0]}")
        code = "USER_BUSY" if first.startswith("sofia/internal/sip:107@") else "CALL_REJECTED"
    await refused(service, 409, code, path, ext=str(user))
    await ring(service, user, 0)
    await service.shows(1, call_id=call_id)


# Placed calls.


@pytest.mark.parametrize("user", [111, 112, 116, 117])
async def test_a_placed_call_is_one_call_whichever_phone_answers(service: Service, user: int) -> None:
    body = {"ext": str(user), "destination": MOBILE}
    answer = await service.ask("POST", "/v1/call", body, "first")
    assert answer.status == 200, answer
    call_id = answer.body["call_id"]
    await service.shows(1, call_id=call_id, source=str(user), context=TENANTS[0])
    assert await channels_of(service, user)
    assert call_id not in await service.rig.channels()
    found, legs = await talking(service)
    assert found == call_id
    assert [(leg["kind"], leg["number"]) for leg in (legs["aleg"], legs["bleg"])] == [
        ("extension", str(user)),
        ("outside", MOBILE),
    ]
    await service.shows(1, call_id=call_id, destination=MOBILE, direction="outbound")
    assert len(await service.rig.channels()) == 2
    assert (await service.post(f"/v1/call/{call_id}/hangup")).status == 200
    await nothing_is_left(service)
    assert (await service.ask("GET", f"/v1/call/{call_id}")).status == 410


async def test_a_placed_call_is_hung_up_while_both_phones_ring(service: Service) -> None:
    answer = await service.ask("POST", "/v1/call", {"ext": "118", "destination": MOBILE}, "first")
    await ring(service, 118, 2)
    call_id = answer.body["call_id"]
    assert len((await service.call(call_id))["legs"]) == 2
    assert (await service.post(f"/v1/call/{call_id}/hangup")).status == 200
    await nothing_is_left(service)


async def test_a_placed_call_that_neither_phone_takes(service: Service) -> None:
    body = {"ext": "118", "destination": MOBILE}
    answer = await service.ask("POST", "/v1/call?wait=answer", body, "first")
    assert (answer.status, answer.body["error"]) == (409, "NO_ANSWER")
    await nothing_is_left(service)


# After a restart.


async def test_another_callbridge_knows_them_by_the_same_ids(serve: Serve) -> None:
    first = await serve()
    await place(first, "outbound")
    call_id, _ = await talking(first)
    answer = await first.post(f"/v1/call/{call_id}/listen", ext="118")
    monitor_id = answer.location.removeprefix("/v1/monitor/")
    answer = await first.ask("POST", "/v1/call?wait=answer", {"ext": "116", "destination": "0899000180"}, "first")
    placed = answer.body["call_id"]
    second = await serve()
    assert {row["call_id"] for row in await second.rows()} == {call_id, placed}
    found = await only_monitor(second)
    assert (found["monitor_id"], found["call_id"], found["state"]) == (monitor_id, call_id, "ringing")
    assert (await second.ask("DELETE", f"/v1/monitor/{monitor_id}")).status == 200
    assert (await second.post(f"/v1/call/{placed}/hangup")).status == 200
    await second.shows(1, call_id=call_id)

    async def only_the_first_call() -> bool:
        return len(await second.rig.channels()) == 2

    await eventually(only_the_first_call)
