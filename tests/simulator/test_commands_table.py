"""What callbridge's own table makes of the simulated commands: at any moment the calls that the switch has, each as the
switch shows it, and nothing is left in the end.
"""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callbridge.callset import SPLIT_AFTER
from callbridge.records import Record
from callbridge.simulator.legs import SETUP
from callbridge.simulator.rows import APPEARS_AFTER
from callbridge.simulator.scenarios import KINDS
from callbridge.simulator.traffic import Load
from callbridge.table import EVENTS, CallTable
from tests.simulator.deeds import DEEDS, LEGS, OWN_UUID, Deed, line
from tests.simulator.kit import World
from tests.simulator.stage import roles, set_up, stage
from tests.simulator.test_traffic import check_told_once
from tests.truth import check_row


class Follower:
    """A table that follows a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.table = CallTable("simulator")
        self.table.begin(same_run=True)
        self._read = 0

    def catch_up(self) -> list[Record]:
        events = self.world.json.events
        for event in events[self._read :]:
            if event.name in EVENTS:
                self.table.apply(event, self.world.clock.now)
        self._read = len(events)
        self.table.settle(self.world.clock.now)
        self.table.take_changes()
        return self.table.records()

    def check(self) -> list[Record]:
        """Each live channel is a leg or a monitor of one call, and each call is as the switch shows its leading leg."""
        records = self.catch_up()
        uuids = [leg.uuid for record in records for leg in record.legs]
        uuids += [monitor.uuid for record in records for monitor in record.monitors]
        created = {uuid: leg for uuid, leg in self.world.switch.channels.items() if leg.created_stamp}
        assert len(set(uuids)) == len(uuids)
        assert set(uuids) <= set(created)
        # A supervisor whose call is over is a monitor of nothing, for as long as his phone still rings.
        assert {created[uuid].learned_from for uuid in set(created) - set(uuids)} <= {"originated.a"}
        shown = {row["uuid"]: row for row in self.world.rows()}
        for record in records:
            lead = next((leg.uuid for leg in record.legs if leg.uuid == record.call_id), record.legs[0].uuid)
            row = {name: getattr(record, name) for name in ("call_id", "context", "created_time", "destination")}
            row |= {name: getattr(record, name) for name in ("direction", "ip", "source", "state")}
            check_row(row, shown[lead])
            assert record.callstate == shown[lead]["callstate"]
        return records


SETTLED = SPLIT_AFTER + APPEARS_AFTER[1] + 0.1


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.name)
def test_after_a_deed_the_rows_are_what_the_switch_shows(deed: Deed) -> None:
    world = stage()
    follower = Follower(world)
    set_up(world, deed.call)
    for step in deed.steps:
        if isinstance(step, str):
            world.switch.ask(line(step, roles(world)).removeprefix("bgapi "), lambda _: None)
        else:
            world.wait(step)
            follower.catch_up()
    world.wait(SETTLED)
    follower.check()
    world.switch.api("hupall")
    world.wait(1)
    assert follower.catch_up() == []
    assert world.rows() == []
    assert world.switch.channels == {}


def test_a_supervisor_is_a_monitor_with_its_mode() -> None:
    world = stage()
    follower = Follower(world)
    set_up(world, "outbound")
    variables = f"origination_uuid={OWN_UUID},eavesdrop_whisper_bleg=true"
    world.switch.ask(line(f"originate {{{variables}}}user/103@{{D}} &eavesdrop({{A}})", roles(world)), lambda _: None)
    world.wait(1)
    (record,) = follower.check()
    (monitor,) = record.monitors
    assert (monitor.uuid, monitor.extension, monitor.mode, monitor.state) == (OWN_UUID, "103", "whisper", "active")


def test_commands_answer_at_once_by_what_is() -> None:
    world = stage()
    set_up(world, "outbound")
    legs = {leg: uuid for uuid, leg in roles(world).items()}
    world.switch.api(f"uuid_kill {legs['B']}")
    assert world.switch.api(f"uuid_exists {legs['B']}") == "false"
    world.switch.heartbeat()
    assert world.json.frames[-1].event["Session-Count"] == "1"
    world.wait(SETUP)
    assert world.switch.api(f"uuid_exists {legs['A']}") == "false"


ORDERS = st.sampled_from(
    [
        "uuid_transfer {L} 102 XML test.tel4vn.com",
        "uuid_transfer {L} 103 XML test.tel4vn.com",
        "uuid_transfer {L} 0899123456 XML test.tel4vn.com",
        "uuid_transfer {L} 777 XML test.tel4vn.com",
        "uuid_transfer {L} -both 104 XML test.tel4vn.com",
        "uuid_transfer {L} eavesdrop:{M} inline",
        "uuid_setvar {L} park_timeout 2:NORMAL_CLEARING",
        "uuid_park {L}",
        "uuid_kill {L}",
        "uuid_hold {L}",
        "uuid_hold off {L}",
        "uuid_record {L} start /tmp/x.wav",
        "uuid_record {L} stop all",
        "uuid_audio {L} start read mute -1",
        "originate user/105@test.tel4vn.com &eavesdrop({L})",
        "originate {origination_caller_id_number=9}user/106@test.tel4vn.com 0899123456 XML test.tel4vn.com",
        "simulator phone 102@test.tel4vn.com busy",
        "simulator phone 103@test.tel4vn.com away",
        "simulator phone 104@test.tel4vn.com ring",
        "simulator phone 106@test.tel4vn.com ring,answer,busy",
        "hupall NORMAL_CLEARING origination_caller_id_number 9",
    ]
)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(KINDS),
    st.integers(0, 20),
    st.lists(st.tuples(ORDERS, st.integers(0, 7), st.integers(0, 7), st.sampled_from((0.0, 0.01, 0.1, 0.7)))),
)
def test_any_commands_at_any_moment_leave_nothing_behind(
    kind: str, seed: int, orders: list[tuple[str, int, int, float]]
) -> None:
    world = World(Load(rate=0, duration=2, tenants=["test.tel4vn.com"]), seed)
    follower = Follower(world)
    world.traffic.place(kind)
    for order, one, other, pause in orders:
        world.wait(pause)
        uuids = [*world.switch.channels, *[OWN_UUID] * len(LEGS)]
        world.switch.ask(order.replace("{L}", uuids[one]).replace("{M}", uuids[other]), lambda _: None)
        follower.catch_up()
    world.wait(SETTLED)
    follower.check()
    world.switch.api("hupall")
    world.wait(70)
    assert follower.catch_up() == []
    check_told_once(world)
    assert json.loads(world.switch.api("show channels as json"))["row_count"] == 0
