"""A real switch that is killed, that throws callbridge out, and whose calls end while nobody listens."""

import asyncio
from collections.abc import Iterator

import pytest

from callbridge import entropy, reflector
from tests.real.conftest import Service, eventually
from tests.real.driver import Console, Rig
from tests.real.switches import RealSwitch, running_pair
from tests.real.test_calls import MOBILE, talking

COMES_BACK: float = 60.0
"""Seconds in which a switch starts and callbridge, which asks ever more seldom, finds it."""


@pytest.fixture(scope="module")
def switches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealSwitch, RealSwitch]]:
    """A pair of their own: they do not survive it."""
    with running_pair(tmp_path_factory.mktemp("killed"), 38000) as pair:
        yield pair


async def state(service: Service) -> str:
    return str((await service.get("/v1/switch"))["data"][0]["state"])


async def reopened(rig: Rig, port: int) -> None:
    """The test's own console to the PBX, after that was lost."""

    async def opened() -> bool:
        try:
            rig.pbx = await Console.open(port)
        except (OSError, asyncio.IncompleteReadError):
            return False
        return True

    rig.pbx.close()
    await eventually(opened)


async def test_a_switch_that_is_killed_and_started_again(
    service: Service, switches: tuple[RealSwitch, RealSwitch]
) -> None:
    pbx, _ = switches
    await service.rig.extension_calls(101, MOBILE)
    await service.rig.extension_calls(102, MOBILE)
    before = [row["call_id"] for row in await service.shows(2)]
    pbx.stop()

    async def stale() -> bool:
        return await state(service) == "stale"

    await eventually(stale)
    listed = await service.get("/v1/call")
    assert (listed["total"], listed["complete"]) == (2, False)
    await service.rig.phones.api("hupall")
    pbx.start()
    await reopened(service.rig, pbx.port)

    async def live() -> bool:
        return await state(service) == "live"

    await eventually(live, COMES_BACK)
    assert await service.rows() == []
    for call_id in before:
        # When and why it ended, no switch has ever said.
        assert (await service.get(f"/v1/call/{call_id}"))["error"] == "CALL_NOT_FOUND"
    await service.rig.extension_calls(101, MOBILE)
    await service.shows(1, source="101", destination=MOBILE)


async def test_calls_that_end_and_begin_while_the_switch_has_thrown_callbridge_out(
    service: Service, switches: tuple[RealSwitch, RealSwitch], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, port = service.rig, switches[0].port
    phones = [await rig.extension_calls(number, MOBILE) for number in (101, 102, 103)]
    before = {row["source"]: row["call_id"] for row in await service.shows(3)}
    monkeypatch.setattr(reflector, "FIRST_RETRY", 6.0)
    # The module takes all its connections with it.
    await rig.pbx.api("bgapi reload mod_event_socket")

    async def stale() -> bool:
        return await state(service) == "stale"

    await eventually(stale)
    await reopened(rig, port)
    await rig.phones.ok(f"uuid_kill {phones[0]}")
    await rig.extension_calls(104, MOBILE)

    async def switched() -> bool:
        return before["101"] not in await rig.channels()

    await eventually(switched)
    assert await state(service) == "stale", "the calls have to end while nobody listens"

    async def live() -> bool:
        return await state(service) == "live"

    await eventually(live, COMES_BACK)
    rows = await service.shows(3)
    assert [row["source"] for row in rows] == ["102", "103", "104"]
    ended = await service.get(f"/v1/call/{before['101']}")
    assert (ended["status_code"], ended["error"]) == (410, "CALL_ENDED")


@pytest.mark.parametrize("media", ["on", "off"])
async def test_rounds_correct_nothing_where_no_event_is_lost(
    service: Service, media: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entropy, "ROUND", 1.0)
    await service.rig.extension_calls(101, MOBILE)
    call_id, aleg, bleg = await talking(service)
    if media == "off":
        # The phones talk to each other directly; the switch calls that a signal bridge.
        await service.rig.pbx.ok(f"uuid_media off {aleg}")
    await asyncio.sleep(4 * entropy.ROUND)
    (row,) = await service.shows(1)
    assert row["call_id"] == call_id
    assert {leg["uuid"] for leg in (await service.call(call_id))["legs"]} == {aleg, bleg}
    assert (await service.get("/v1/switch"))["data"][0]["found"] == {"gone": 0, "alive": 0, "changed": 0}
