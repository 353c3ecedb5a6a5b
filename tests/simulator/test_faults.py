"""What can go wrong with a switch goes wrong when it is told to, and only then."""

import asyncio

import pytest

from callbridge.simulator.faults import Faults
from callbridge.simulator.rows import APPEARS_AFTER, GOES_AFTER
from callbridge.simulator.server import EventSocket
from tests.simulator.kit import World, logged_in

LATEST = APPEARS_AFTER[1] + 0.001
LAST_GOES = GOES_AFTER[1] + 0.001


def test_no_fault_is_on_at_first() -> None:
    assert Faults() == Faults(late_rows=0, stale_rows=0, lost_events=0, sql_error=False, max_queue=100_000, cut=False)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("late_rows", "2.5", Faults(late_rows=2.5)),
        ("stale_rows", "0.1", Faults(stale_rows=0.1)),
        ("lost_events", "1", Faults(lost_events=1)),
        ("sql_error", "true", Faults(sql_error=True)),
        ("max_queue", "10", Faults(max_queue=10)),
        ("cut", "1", Faults(cut=True)),
    ],
)
def test_a_fault_is_turned_on_by_its_name(name: str, value: str, wanted: Faults) -> None:
    world = World()
    assert world.switch.api(f"simulator fault {name} {value}") == "+OK\n"
    assert world.switch.faults == wanted


@pytest.mark.parametrize("argument", ["fault", "fault late_rows", "fault late_rows 1 2"])
def test_what_is_no_order_for_a_fault_gets_the_usage(argument: str) -> None:
    assert World().switch.api(f"simulator {argument}") == "-USAGE: fault <name> <value>\n"


@pytest.mark.parametrize("argument", ["", "mend late_rows 1"])
def test_what_is_no_order_at_all_gets_every_usage(argument: str) -> None:
    phone = "phone <ext>@<domain> answer|busy|reject|ring|away [<seconds>]"
    assert World().switch.api(f"simulator {argument}") == f"-USAGE: fault <name> <value>|{phone}\n"


@pytest.mark.parametrize(("name", "value"), [("late_row", "1"), ("late_rows", "soon"), ("sql_error", "perhaps")])
def test_a_fault_that_is_none_is_refused_with_those_that_there_are(name: str, value: str) -> None:
    world = World()
    answer = world.switch.api(f"simulator fault {name} {value}")
    assert answer.startswith(f"-ERR {name}={value}: ")
    assert answer.endswith("; there are late_rows, stale_rows, lost_events, sql_error, max_queue, cut\n")
    assert world.switch.faults == Faults()


# The list.


def test_late_rows_come_that_much_later_than_they_do_anyway() -> None:
    world = World()
    world.switch.faults.set("late_rows", "2")
    calls = [world.traffic.place("local", talk=60) for _ in range(20)]
    world.wait(0.02)
    assert all(call.a.created_stamp for call in calls)
    world.wait(2 + APPEARS_AFTER[0] - 0.001)
    assert world.rows() == []
    world.wait(LATEST - APPEARS_AFTER[0])
    # Leg B comes up in the step of the clock after leg A.
    assert {row["uuid"] for row in world.rows()} >= {call.a.uuid for call in calls}


def test_late_rows_are_no_longer_late_when_the_fault_is_off() -> None:
    world = World()
    world.switch.faults.set("late_rows", "60")
    late = world.traffic.place("local", talk=30)
    world.wait(1)
    world.switch.faults.set("late_rows", "0")
    call = world.traffic.place("local", talk=30)
    world.wait(1)
    assert {row["uuid"] for row in world.rows()} == {leg.uuid for leg in (call.a, call.b) if leg}
    assert late.a.uuid in world.switch.channels


@pytest.mark.parametrize(("share", "least", "most"), [("0", 0, 0), ("0.25", 60, 140), ("1", 400, 400)])
def test_stale_rows_stay_for_ever(share: str, least: int, most: int) -> None:
    world = World(names=frozenset())
    world.switch.faults.set("stale_rows", share)
    for _ in range(200):
        world.traffic.place("local", talk=1)
    world.finish()
    world.wait(3600)
    assert world.switch.channels == {}
    assert least <= len(world.rows()) <= most
    assert world.switch.api("show channels count") == f"\n{len(world.rows())} total.\n"


def test_an_sql_error_looks_like_an_empty_list_in_json() -> None:
    world = World()
    world.traffic.place("local", talk=60)
    world.wait(10)
    before = world.switch.api("show channels as json")
    world.switch.faults.set("sql_error", "true")
    error, empty, end = world.switch.api("show channels as json").split("\n")
    assert error.startswith("-ERR SQL Error [")
    assert (empty, end) == ('{"row_count": 0}', "")
    world.switch.faults.set("sql_error", "false")
    assert world.switch.api("show channels as json") == before


@pytest.mark.parametrize("form", ["", "as delim |", "as csv"])
def test_an_sql_error_is_an_error_in_the_other_forms(form: str) -> None:
    world = World()
    world.traffic.place("local", talk=60)
    world.wait(10)
    world.switch.faults.set("sql_error", "true")
    answer = world.switch.api(f"show channels {form}")
    assert answer.startswith("-ERR SQL ")
    assert answer.count("\n") == 1


# The stream.


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_lost_events_are_lost_silently_for_everybody(share: float) -> None:
    world, whole = World(seed=5), World(seed=5)
    world.switch.faults.set("lost_events", str(share))
    for switch in (world, whole):
        for _ in range(50):
            switch.traffic.place("outbound", talk=1)
        switch.finish()
    heard = [event.sequence for event in world.json.events]
    made = [event.sequence for event in whole.json.events]
    assert heard == [event.sequence for event in world.plain.events]
    assert set(heard) < set(made), "an event that is lost leaves a gap"
    assert len(heard) == pytest.approx(len(made) * (1 - share), rel=0.05)


def test_which_events_are_lost_is_repeatable() -> None:
    heard = []
    for seed in (5, 5, 6):
        world = World(seed=seed)
        world.switch.faults.set("lost_events", "0.1")
        world.traffic.place("outbound", talk=1)
        world.finish()
        heard.append(world.json.bodies)
    assert heard[0] == heard[1] != heard[2]


def test_lost_events_do_not_change_what_the_switch_knows() -> None:
    world = World()
    world.switch.faults.set("lost_events", "1")
    call = world.traffic.place("outbound", talk=60)
    world.wait(10)
    assert world.json.bodies == []
    assert next((row["uuid"], row["state"]) for row in world.rows()) == (call.a.uuid, "CS_EXECUTE")
    assert world.switch.api(f"uuid_exists {call.a.uuid}") == "true"
    world.finish()
    world.wait(LAST_GOES)
    assert world.rows() == []


@pytest.mark.parametrize("form", ["plain", "json"])
async def test_a_cut_ends_the_connection_in_the_middle_of_an_event(form: str) -> None:
    world = World()
    async with (
        EventSocket(world.switch) as port,
        logged_in(port, f"event {form} HEARTBEAT", "api simulator fault cut true") as client,
    ):
        world.switch.heartbeat()
        body = world.heard(form).bodies[-1]
        frame = b"Content-Length: %d\nContent-Type: text/event-%s\n\n%s" % (len(body), form.encode(), body)
        assert await client.rest() == frame[: len(frame) // 2]
        assert world.switch.faults == Faults()


async def test_a_cut_happens_once() -> None:
    world = World()
    async with EventSocket(world.switch) as port, logged_in(port, "event json HEARTBEAT") as client:
        world.switch.faults.set("cut", "true")
        world.switch.heartbeat()
        with pytest.raises(asyncio.IncompleteReadError):
            await client.frame()
        async with logged_in(port, "event json HEARTBEAT") as other:
            world.switch.heartbeat()
            assert [event.name for event in await other.heard()] == ["HEARTBEAT"]
