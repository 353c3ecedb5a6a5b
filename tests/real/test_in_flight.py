"""Many commands under way at once on a real switch, and what its calls do meanwhile."""

import asyncio

from tests.real.conftest import Service, eventually
from tests.real.switches import RINGS_FOR_EVER
from tests.real.test_transfer_park import MOBILE, place, talking

IN_FLIGHT = 200


async def test_two_hundred_commands_in_flight_hold_up_no_event(service: Service) -> None:
    rig = service.rig
    await place(service, "outbound")
    watched, _ = await talking(service)
    rings = f"/v1/call/{watched}/listen?wait=answer"
    commands = [asyncio.create_task(service.post(rings, ext=str(RINGS_FOR_EVER))) for _ in range(IN_FLIGHT)]

    async def ringing() -> bool:
        return len((await service.call(watched))["monitors"]) == IN_FLIGHT

    await eventually(ringing)
    before = await service.get("/v1/call/count")
    # Begins, talks and ends while each of them waits for its phone.
    phone = await rig.extension_calls(102, MOBILE)
    new = next(row for row in await service.shows(2) if row["call_id"] != watched)
    assert (new["source"], new["destination"]) == ("102", MOBILE)
    await rig.phones.ok(f"uuid_kill {phone}")
    await service.shows(1, call_id=watched)
    assert (await service.get(f"/v1/call/{new['call_id']}"))["error"] == "CALL_ENDED"
    assert await service.get("/v1/call/count") == before
    assert not any(command.done() for command in commands), "one of them was answered too early to say anything"
    await rig.hang_up_all()
    answers = await asyncio.gather(*commands)
    assert {(answer.status, answer.body["error"]) for answer in answers} <= {(409, "CALL_ENDED"), (409, "NO_ANSWER")}
