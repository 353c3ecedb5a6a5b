"""Many commands under way at once on a real switch, and what its calls do meanwhile."""

import asyncio
from typing import Any

from tests.real.conftest import TENANT_TOKENS, Service, eventually
from tests.real.switches import RINGS_FOR_EVER, TENANTS
from tests.real.test_transfer_park import MOBILE

IN_FLIGHT = 200
TOKEN = TENANT_TOKENS[TENANTS[0]]


async def test_two_hundred_commands_in_flight_hold_up_no_event(service: Service) -> None:
    rig = service.rig
    body = {"ext": str(RINGS_FOR_EVER), "destination": MOBILE}
    commands = [asyncio.create_task(service.ask("POST", "/v1/call?wait=answer", body, TOKEN)) for _ in range(IN_FLIGHT)]

    async def all_ring() -> bool:
        return len(await service.rows()) == IN_FLIGHT

    async def new() -> list[dict[str, Any]]:
        return [row for row in await service.rows() if row["source"] == "102"]

    async def has_begun() -> bool:
        return bool(await new())

    async def is_over() -> bool:
        return not await new()

    await eventually(all_ring)
    # Begins, talks and ends while each of them waits for its phone.
    phone = await rig.extension_calls(102, MOBILE)
    await eventually(has_begun)
    (row,) = await new()
    assert row["destination"] == MOBILE
    assert await service.agrees(row)
    await rig.phones.ok(f"uuid_kill {phone}")
    await eventually(is_over)
    assert (await service.get(f"/v1/call/{row['call_id']}"))["error"] == "CALL_ENDED"
    assert len(await service.rows()) == IN_FLIGHT
    assert not any(command.done() for command in commands), "one of them was answered too early to say anything"
    answers = await asyncio.gather(*commands)
    assert {(answer.status, answer.body["error"]) for answer in answers} == {(409, "NO_ANSWER")}
    assert await service.rows() == []
