"""Commands whose call, phone or switch goes away in the middle: the answer is the truth, and nothing is left behind.

Each command gives the switch its orders one by one, so a fault comes exactly between two of them: `Orders` counts
them, and does something before or after the one that the test names.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from callbridge.commands.console import Console
from callbridge.commands.orders import Order, Originate
from callbridge.daemon import Daemon
from tests.real.conftest import Service, configuration, eventually
from tests.real.driver import Console as DriverConsole
from tests.real.driver import Rig
from tests.real.switches import RINGS_FOR_EVER, RealSwitch, running_pair
from tests.real.test_transfer_park import place, talking

SUPERVISOR = "104"

Fault = Callable[[], Awaitable[Any]]


@pytest.fixture(scope="module")
def switches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealSwitch, RealSwitch]]:
    """A pair of its own: one of these is killed."""
    with running_pair(tmp_path_factory.mktemp("racing"), 10000) as pair:
        yield pair


class Orders:
    """What a switch is told, in order, and a fault that comes in between."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fault: Fault | None = None
        self.at = ""
        self.when = "before"

    def strike(self, fault: Fault, at: str, when: str) -> None:
        """`fault` comes before or after the first order of the name `at`."""
        self.fault, self.at, self.when = fault, at, when

    async def around(self, order: Order, give: Callable[[], Awaitable[str]]) -> str:
        self.names.append(order.name)
        fault = None
        if order.name == self.at and self.fault is not None:
            fault, self.fault = self.fault, None
        if fault is not None and self.when == "before":
            await fault()
        try:
            return await give()
        finally:
            if fault is not None and self.when == "after":
                await fault()


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> Orders:
    watched = Orders()
    tell, originate = Console.tell, Console.originate

    async def told(console: Console, order: Order) -> str:
        return await watched.around(order, lambda: tell(console, order))

    async def rung(console: Console, order: Originate) -> str:
        return await watched.around(order, lambda: originate(console, order))

    monkeypatch.setattr(Console, "tell", told)
    monkeypatch.setattr(Console, "originate", rung)
    return watched


class Running(Service):
    """callbridge with its inside at hand."""

    daemon: Daemon

    def cut(self) -> None:
        """The switch ends the connection that commands go over."""
        connection = self.daemon.desk._consoles["pbx"].connection
        if connection is not None:
            connection.close()

    async def idle(self) -> None:
        """Nothing of any command is under way."""

        async def no_tasks() -> bool:
            desk = self.daemon.desk
            return not (desk._commands or desk._later or desk._watch._waiting)

        await eventually(no_tasks, 15)
        assert not self.daemon.desk._turns._turns
        assert not any(self.daemon.desk._under_way.values())


@pytest.fixture
async def running(
    rig: Rig, switches: tuple[RealSwitch, RealSwitch], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Running]:
    daemon = Daemon(configuration(switches[0].port, tmp_path))
    task = asyncio.create_task(daemon.run())
    async with aiohttp.ClientSession() as client:
        await asyncio.wait_for(daemon.serving.wait(), 10)
        service = Running(rig, client, daemon.url)
        service.daemon = daemon

        async def live() -> bool:
            return bool((await service.get("/v1/call"))["complete"])

        await eventually(live)
        yield service
        await service.idle()
    daemon.stop()
    await task
    failures = [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    assert not failures, failures


async def hang_up(service: Running, uuid: str) -> None:
    """The channel is gone, and no event has told of it yet to those who ask at once."""
    await service.rig.pbx.api(f"uuid_kill {uuid}")


async def legs_listed(service: Service) -> set[str]:
    """The channels of all legs and monitors that the list has."""
    listed: set[str] = set()
    for row in await service.rows():
        call = (await service.get(f"/v1/call/{row['call_id']}")).get("data", {"legs": [], "monitors": []})
        listed |= {channel["uuid"] for channel in (*call["legs"], *call["monitors"])}
    return listed


async def left(service: Service, wanted: set[str]) -> None:
    """Of all channels those are left, and the list has no others."""
    listed, channels = set[str](), dict[str, Any]()

    async def so() -> bool:
        nonlocal listed, channels
        listed, channels = await legs_listed(service), await service.rig.channels()
        return set(channels) == wanted == listed

    try:
        await eventually(so, 8)
    except TimeoutError:
        pytest.fail(f"wanted {wanted}; the list has {listed}; the switch has {channels}")


COMMANDS: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "transfer-a": ("transfer", {"ext": "102", "legs": "aleg"}, ["user_exists", "uuid_transfer", "uuid_kill"]),
    "transfer-b": ("transfer", {"ext": "102", "legs": "bleg"}, ["user_exists", "uuid_transfer", "uuid_kill"]),
    "park-a": ("park", {"legs": "aleg"}, ["uuid_setvar", "uuid_park", "uuid_kill"]),
    "park-b": ("park", {"legs": "bleg"}, ["uuid_setvar", "uuid_park", "uuid_kill"]),
    "listen": ("listen", {"ext": str(RINGS_FOR_EVER)}, ["user_exists", "sofia_contact", "originate"]),
    "whisper": ("whisper?wait=answer", {"ext": str(RINGS_FOR_EVER)}, ["user_exists", "sofia_contact", "originate"]),
    "hangup": ("hangup", {}, ["uuid_kill"]),
    "hold": ("hold", {}, ["uuid_hold"]),
    "mute": ("mute", {"legs": "aleg"}, ["uuid_audio"]),
    "record": ("record", {"action": "start"}, ["uuid_record"]),
}
STEPS = [
    (name, step, when, leg)
    for name, (_, _, steps) in COMMANDS.items()
    for step in steps
    for when in ("before", "after")
    for leg in ("aleg", "bleg")
    # A phone that rings for ever answers nothing, so there is no "after". And a recording that is begun while the
    # bridge ends can leave the switch (1.10.12) with a channel that never gets through its own end.
    if (when, step) != ("after", "originate") and (step, when, leg) != ("uuid_record", "before", "bleg")
]
ENDED = {(409, "CALL_ENDED"), (409, "NOT_BRIDGED"), (410, "CALL_ENDED")}


@pytest.mark.parametrize(("name", "step", "when", "leg"), STEPS)
async def test_a_leg_hangs_up_in_the_middle(
    running: Running, orders: Orders, name: str, step: str, when: str, leg: str
) -> None:
    await place(running, "outbound")
    call_id, legs = await talking(running)
    command, body, _ = COMMANDS[name]
    orders.strike(lambda: hang_up(running, legs[leg]["uuid"]), step, when)
    answer = await running.post(f"/v1/call/{call_id}/{command}", **body)
    assert orders.fault is None, orders.names
    if answer.status != 200:
        assert (answer.status, answer.body["error"]) in ENDED, answer
    if name.startswith("transfer") and answer.status == 200 and leg != body["legs"]:
        await running.shows(1, call_id=call_id, destination="102")
    else:
        # A park ends by itself. (A transferred leg that hangs up while the new phone rings has been transferred.)
        await left(running, set())


LOST = {(504, "OUTCOME_UNKNOWN"), (503, "SWITCH_UNAVAILABLE")}


@pytest.mark.parametrize(("name", "step"), [(name, step) for name, (_, _, steps) in COMMANDS.items() for step in steps])
async def test_the_connection_is_cut_before_an_order(running: Running, orders: Orders, name: str, step: str) -> None:
    """Nothing is said to be undone that was done, and no other leg stays when the connection is back."""
    await place(running, "outbound")
    call_id, legs = await talking(running)
    command, body, _ = COMMANDS[name]

    async def cut() -> None:
        running.cut()

    orders.strike(cut, step, "before")
    answer = await running.post(f"/v1/call/{call_id}/{command}", **body)
    assert orders.fault is None
    done = {"uuid_transfer", "uuid_park", "uuid_kill"} & set(orders.names[: orders.names.index(step)])
    assert (answer.status, answer.body["error"]) == ((504, "OUTCOME_UNKNOWN") if done else (503, "SWITCH_UNAVAILABLE"))
    if not done:
        assert set(await running.rig.channels()) == {leg["uuid"] for leg in legs.values()}
    else:
        other = "bleg" if body["legs"] == "aleg" else "aleg"

        async def other_ended() -> bool:
            return legs[other]["uuid"] not in await running.rig.channels()

        await eventually(other_ended)


@pytest.mark.parametrize("wait", ["", "?wait=answer"])
async def test_a_phone_that_rings_for_a_lost_command_ends_with_its_call(running: Running, wait: str) -> None:
    await place(running, "outbound")
    call_id, _ = await talking(running)
    asked = asyncio.create_task(running.post(f"/v1/call/{call_id}/listen{wait}", ext=str(RINGS_FOR_EVER)))

    async def rings() -> bool:
        return len(await running.rig.channels()) == 3

    await eventually(rings)
    running.cut()
    answer = await asked
    # Without `wait` it may have been told before.
    assert answer.status in ((504,) if wait else (200, 504)), answer

    async def hung_up() -> bool:
        # Until the connection is back it is refused.
        return (await running.post(f"/v1/call/{call_id}/hangup")).status == 200

    await eventually(hung_up)
    await left(running, set())


PAIRS = [
    ("transfer-a", "transfer-a"),
    ("transfer-a", "transfer-b"),
    ("transfer-a", "park-a"),
    ("park-b", "transfer-b"),
    ("transfer-b", "hangup"),
    ("hangup", "hangup"),
    ("park-a", "hangup"),
    ("listen", "transfer-a"),
    ("whisper", "transfer-b"),
    ("listen", "park-b"),
    ("whisper", "hangup"),
    ("hold", "transfer-a"),
]


@pytest.mark.parametrize("names", PAIRS, ids="+".join)
async def test_two_commands_at_once(running: Running, names: tuple[str, str]) -> None:
    """Both answers are true, whoever came first, and a hang-up of what is left leaves nothing."""
    await place(running, "outbound")
    call_id, _ = await talking(running)
    asked = [running.post(f"/v1/call/{call_id}/{COMMANDS[name][0]}", **COMMANDS[name][1]) for name in names]
    answers = await asyncio.gather(*asked)
    for name, answer in zip(names, answers, strict=True):
        assert answer.status in (200, 409, 410), (name, answer)
    if "hangup" in names:
        assert 200 in [answer.status for name, answer in zip(names, answers, strict=True) if name == "hangup"]
    else:
        assert 200 in [answer.status for answer in answers], answers
    for row in await running.rows():
        answer = await running.post(f"/v1/call/{row['call_id']}/hangup")
        assert answer.status in (200, 409, 410), answer
    await left(running, set())


async def test_a_mode_that_changes_during_a_transfer(running: Running) -> None:
    await place(running, "outbound")
    call_id, _ = await talking(running)
    monitor = (await running.post(f"/v1/call/{call_id}/listen?wait=answer", ext=SUPERVISOR)).location
    transferred, changed = await asyncio.gather(
        running.post(f"/v1/call/{call_id}/transfer", ext="102", legs="bleg"),
        running.ask("PATCH", monitor, {"mode": "barge"}),
    )
    assert transferred.status == 200, transferred
    assert changed.status in (200, 409, 404), changed
    if changed.status == 200:
        assert (await running.get(monitor))["data"]["mode"] == "barge"
    assert (await running.post(f"/v1/call/{call_id}/hangup")).status == 200
    await left(running, set())


@pytest.mark.parametrize("name", ["transfer-a", "park-b", "whisper", "hangup"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_switch_is_killed(
    running: Running, orders: Orders, switches: tuple[RealSwitch, RealSwitch], name: str, when: str
) -> None:
    await place(running, "outbound")
    call_id, _ = await talking(running)
    command, body, steps = COMMANDS[name]
    at = {"transfer-a": "uuid_transfer", "park-b": "uuid_park"}.get(name, steps[-1])

    async def kill() -> None:
        switches[0].stop()

    orders.strike(kill, at, "before" if name == "whisper" else when)
    try:
        answer = await running.post(f"/v1/call/{call_id}/{command}", **body)
        assert (answer.status, answer.body["error"]) in LOST, answer
        if when == "after" and name != "whisper":
            assert answer.body["error"] == "OUTCOME_UNKNOWN"
    finally:
        await begin_again(running.rig, switches)

    async def back() -> bool:
        listed = await running.get("/v1/call")
        return bool(listed["complete"]) and not listed["data"]

    await eventually(back, 40)


async def begin_again(rig: Rig, switches: tuple[RealSwitch, RealSwitch]) -> None:
    """Both: a phone whose registrar was dead does not call for a while."""
    rig.close()
    for switch in switches:
        switch.stop()
        await asyncio.to_thread(switch.start)
    rig.pbx, rig.phones = [await DriverConsole.open(switch.port) for switch in switches]
    await eventually(rig.registered, 60)


async def test_a_supervisor_whose_phone_rings_is_a_monitor_from_the_beginning(running: Running) -> None:
    """Never a row of its own, and the answer comes when the phone rings."""
    await place(running, "outbound")
    call_id, _ = await talking(running)
    began = asyncio.get_running_loop().time()
    asked = asyncio.create_task(running.post(f"/v1/call/{call_id}/listen", ext=str(RINGS_FOR_EVER)))
    while not asked.done():
        assert [row["call_id"] for row in await running.rows()] == [call_id]
    assert (await asked).status == 200
    # The switch tells after half a second that the phone of an `originate` rings.
    assert asyncio.get_running_loop().time() - began < 2
    assert (await running.post(f"/v1/call/{call_id}/hangup")).status == 200
    await left(running, set())
