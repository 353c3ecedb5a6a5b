"""The call table: recordings of a real switch, and by made-up events what no recording shows."""

import gc
from typing import Any

import msgspec
import pytest

from callbridge.calls import Call, Channel
from callbridge.callset import MAX_OTHER_IDS, SPLIT_AFTER
from callbridge.doubts import TOMBSTONE_FOR
from callbridge.esl.events import Event, decode
from callbridge.records import Record, Row
from callbridge.table import LOOK_AGAIN_AFTER, CallTable
from tests import recorded, truth
from tests.eventkit import T0, Told


def row(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in Row.__struct_fields__}


def feed(recording: recorded.Recording) -> CallTable:
    """A whole recording into a table; its rows are checked at every checkpoint, and nothing is left at the end."""
    told = Told(CallTable("pbx"))
    checkpoints = recording.checkpoints
    for index, channel in enumerate(recording.about.get("joined_with", {}).get("show_channels", [])):
        told.dump(channel["uuid"], sequence=1 + index)
    for frame in recording.frames:
        if not frame.is_event:
            continue
        event = decode(frame.headers["Content-Type"], frame.body)
        told.now = event.timestamp / 1e6
        told.table.settle(told.now)
        told.table.apply(event, told.now)
        told.collect()
        if event.sequence in checkpoints:
            # Each was taken when the switch had been quiet for a while.
            told.wait(SPLIT_AFTER)
            truth.check([row(record) for record in in_order(told)], checkpoints.pop(event.sequence), recording)
    if None in checkpoints:
        truth.check([row(record) for record in in_order(told)], checkpoints.pop(None), recording)
    assert not checkpoints
    return told.table


def in_order(told: Told) -> list[Record]:
    return sorted(told.calls.values(), key=lambda record: record.created_us)


@pytest.mark.parametrize("name", recorded.NAMES)
def test_a_recording_gives_what_the_switch_itself_said(name: str) -> None:
    table = feed(recorded.load(name))
    assert repr(table) == "<CallTable pbx: <CallSet 0 calls, 0 channels>>"
    assert table.next_deadline() is None


@pytest.mark.parametrize("name", [name for name in recorded.SMALL if not name.startswith(("json_", "odd_bytes"))])
def test_the_same_as_event_json(name: str) -> None:
    feed(recorded.load(name).as_json())


def test_calls_that_have_ended_wait_for_no_garbage_collector() -> None:
    def alive() -> int:
        return sum(isinstance(left, Call | Channel) for left in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = alive()
        tables = [
            feed(recorded.load(name)) for name in ("local_answered", "ring_group_loopback", "refer_blind", "barge")
        ]
        assert alive() == before
    finally:
        gc.enable()
    assert [len(table) for table in tables] == [0, 0, 0, 0]


@pytest.mark.parametrize(("name", "mode"), [("listen", "listen"), ("whisper", "whisper"), ("barge", "barge")])
def test_a_supervisor_is_a_monitor_of_the_call_and_no_row(name: str, mode: str) -> None:
    recording = recorded.load(name)
    told = Told()
    for frame in recording.frames:
        if frame.is_event:
            event = decode(frame.headers["Content-Type"], frame.body)
            told.table.apply(event, 0.0)
            told.collect()
            if recording.checkpoints.get(event.sequence, {}).get("note", "").startswith("supervised"):
                (call,) = told.calls.values()
                assert [(monitor.extension, monitor.mode) for monitor in call.monitors] == [("103", mode)]
                return
    pytest.fail("the recording has no such checkpoint")


# What belongs together.


def test_a_ringing_leg_belongs_to_its_callers_call() -> None:
    told = Told()
    told.create("a")
    told.create("b", origin="a")
    told.create("c", origin="a")
    assert told.legs == {"a": ["a", "b", "c"]}
    assert [leg.side for leg in told.calls["a"].legs] == ["aleg", "bleg", "bleg"]


def test_a_leg_that_is_told_of_before_its_caller_finds_it_later() -> None:
    told = Told()
    told.now = 1.0
    told.create("b", origin="a")
    told.now = 0.5
    told.create("a")
    assert told.legs == {"a": ["a", "b"]}
    assert told.calls["a"].ids == ("b",)


def test_a_queues_agent_belongs_to_the_call_of_the_one_who_waits() -> None:
    told = Told()
    told.create("caller", var_queue="sales")
    told.create("agent", call_direction="outbound", var_queue_member_uuid="caller")
    assert told.legs == {"caller": ["caller", "agent"]}
    assert told.calls["caller"].queue == "sales"


def test_loopback_legs_are_folded_in() -> None:
    told = Told()
    told.create("a")
    told.create("la", origin="a", channel_name="loopback/102-a", var_loopback_uuid="lb")
    told.create("lb", channel_name="loopback/102-b", var_loopback_uuid="la")
    told.create("b", origin="lb")
    told.bridge("lb", "b")
    told.bridge("a", "la")
    assert told.legs == {"a": ["a", "b"]}
    assert [leg.side for leg in told.calls["a"].legs] == ["aleg", "bleg"]
    for uuid in ("la", "lb"):
        told.hang_up(uuid)
        told.destroy(uuid)
    told.wait(SPLIT_AFTER / 2)
    told.bridge("a", "b")
    told.wait(SPLIT_AFTER)
    assert told.legs == {"a": ["a", "b"]}


def test_two_calls_that_are_joined_become_the_older_one_and_both_ids_find_it() -> None:
    told = Told()
    told.talk("a1", "b1")
    told.now += 5
    told.talk("a2", "b2")
    assert told.legs == {"a1": ["a1", "b1"], "a2": ["a2", "b2"]}
    # An attended transfer: the two legs of the one who transfers end, the others are joined.
    told.unbridge("a2", "b2")
    told.hang_up("a2")
    told.destroy("a2")
    told.unbridge("a1", "b1")
    told.hang_up("a1")
    told.destroy("a1")
    told.bridge("b1", "b2")
    told.wait(SPLIT_AFTER)
    assert told.legs == {"a1": ["b1", "b2"]}
    call = told.calls["a1"]
    assert set(call.ids) == {"b1", "b2", "a2"}
    assert [leg.side for leg in call.legs] == ["bleg", "aleg"]
    assert told.ended == []
    told.destroy("b1")
    told.destroy("b2")
    assert told.ended == ["a1"]


def test_a_call_whose_parts_live_apart_becomes_two() -> None:
    told = Told()
    told.talk("a", "b")
    told.unbridge("a", "b")
    told.state("a", "CS_ROUTING", destination="103")
    told.state("b", "CS_ROUTING", destination="104")
    told.create("c", origin="a")
    told.create("d", origin="b")
    told.wait(SPLIT_AFTER * 0.9)
    assert told.legs == {"a": ["a", "b", "c", "d"]}
    told.wait(SPLIT_AFTER * 0.2)
    assert told.legs == {"a": ["a", "c"], "b": ["b", "d"]}
    assert told.table.next_deadline() is None
    told.destroy("a")
    told.destroy("c")
    assert told.ended == ["a"]
    assert told.legs == {"b": ["b", "d"]}


def test_parts_that_meet_again_in_time_stay_one_call() -> None:
    told = Told()
    told.talk("a", "b")
    told.unbridge("a", "b")
    told.wait(SPLIT_AFTER * 0.9)
    told.bridge("b", "a")
    told.wait(SPLIT_AFTER)
    assert told.legs == {"a": ["a", "b"]}


def test_a_parked_leg_keeps_the_calls_id_when_the_leg_that_began_it_goes() -> None:
    told = Told()
    told.talk("a", "b")
    told.tell("CALL_UPDATE", "b", caller_number="0899", var_park_timeout="10:NORMAL_CLEARING")
    told.unbridge("a", "b")
    told.hang_up("a")
    told.state("b", "CS_PARK")
    told.tell("CHANNEL_PARK", "b")
    told.destroy("a")
    told.wait(SPLIT_AFTER)
    call = told.calls["a"]
    assert (call.source, call.state, call.parked_until) == ("0899", "CS_PARK", "2026-11-23 18:22:07")
    assert call.ids == ("b",)
    told.tell("CHANNEL_UNPARK", "b")
    assert told.calls["a"].parked_until is None


def test_the_row_shows_the_leg_that_began_until_another_goes_on_without_it() -> None:
    told = Told()
    told.talk("a", "b")
    told.tell("CALL_UPDATE", "b", caller_number="0899")
    told.hang_up("a")
    assert told.calls["a"].source == "101"
    told.hang_up("b")
    assert told.calls["a"].source == "101"
    told.destroy("a")
    told.destroy("b")
    assert told.calls == {}


def test_a_uuid_that_changes_keeps_the_calls_id() -> None:
    told = Told()
    told.talk("a", "b")
    told.tell("CHANNEL_UUID", "new", old_uuid="a", var_uuid="new", call_direction="inbound")
    assert told.legs == {"a": ["new", "b"]}
    assert set(told.calls["a"].ids) == {"new", "b"}
    told.unbridge("new", "b")
    told.bridge("new", "b")
    told.state("a", "CS_EXECUTE")
    told.wait(SPLIT_AFTER)
    assert told.legs == {"a": ["new", "b"]}
    told.destroy("b")
    told.destroy("new")
    assert told.ended == ["a"]


def test_a_leg_that_talked_still_finds_the_call_one_that_only_rang_does_not() -> None:
    told = Told()
    told.talk("a", "b")
    told.unbridge("a", "b")
    told.destroy("b")
    told.create("c", origin="a")
    told.destroy("c")
    assert told.calls["a"].ids == ("b",)


def test_the_ids_of_a_call_are_bounded() -> None:
    told = Told()
    told.create("a")
    for number in range(MAX_OTHER_IDS + 10):
        told.create(f"b{number}", origin="a")
        told.bridge("a", f"b{number}")
        told.unbridge("a", f"b{number}")
        told.destroy(f"b{number}")
    ids = told.calls["a"].ids
    assert len(ids) == MAX_OTHER_IDS
    assert ids[-1] == f"b{MAX_OTHER_IDS + 9}"


# Monitors.


def test_a_phone_that_begins_to_eavesdrop_is_a_call_no_more_and_is_one_again_after() -> None:
    told = Told()
    told.talk("a", "b")
    told.create("s", var_user_name="103")
    assert set(told.calls) == {"a", "s"}
    told.tell("CALL_UPDATE", "s", var_application="eavesdrop", var_application_data="b", var_whisper_bleg="true")
    assert set(told.calls) == {"a"}
    assert [(m.uuid, m.extension, m.mode) for m in told.calls["a"].monitors] == [("s", "103", "whisper")]
    told.state("s", "CS_ROUTING", destination="eavesdrop:a")
    assert [m.uuid for m in told.calls["a"].monitors] == ["s"]
    told.state("s", "CS_ROUTING", destination="9196", var_application="", var_application_data="")
    assert set(told.calls) == {"a", "s"}
    assert told.calls["a"].monitors == ()
    assert told.ended == []


def test_a_monitor_of_nobody_known_has_no_row() -> None:
    told = Told()
    told.create("s")
    told.tell("CALL_UPDATE", "s", var_application="eavesdrop", var_application_data="all")
    assert told.calls == {}
    told.destroy("s")
    assert told.calls == {}
    assert told.ended == []


# Tenants and directions.


@pytest.mark.parametrize(
    ("fields", "tenant", "context"),
    [
        ({"context": "acme.example.com"}, "acme.example.com", "acme.example.com"),
        ({"context": "public"}, None, "public"),
        ({"context": "public", "var_domain_name": "a.example"}, "a.example", "a.example"),
        ({"context": "default", "var_dialed_domain": "b.example"}, "b.example", "b.example"),
        ({"context": "default", "presence_id": "101@c.example"}, "c.example", "c.example"),
        ({"context": "default", "var_domain_name": "a.example", "var_dialed_domain": "b"}, "a.example", "a.example"),
        ({"context": "a.example", "var_domain_name": "b.example"}, "a.example", "a.example"),
    ],
)
def test_the_tenant_of_a_call(fields: dict[str, str], tenant: str | None, context: str) -> None:
    told = Told()
    told.create("a", **fields)
    assert (told.calls["a"].tenant, told.calls["a"].context) == (tenant, context)


def test_the_tenant_is_another_legs_while_the_one_that_leads_does_not_know_it() -> None:
    told = Told()
    told.create("a", context="public")
    told.create("b", origin="a", context="acme.example.com")
    assert told.calls["a"].tenant == "acme.example.com"


def test_contexts_that_tenants_share_are_configurable() -> None:
    told = Told(CallTable("pbx", ["from-trunk"]))
    told.create("a", context="from-trunk")
    told.create("b", context="public")
    assert [call.tenant for call in told.calls.values()] == [None, "public"]
    told.table.reconfigure(["default"])
    told.collect()
    assert [call.tenant for call in told.calls.values()] == ["from-trunk", "public"]


PHONE = {"var_user_name": "101"}
CALLED_PHONE = {"call_direction": "outbound", "var_dialed_user": "102"}
TRUNK_OUT = {"call_direction": "outbound", "var_gateway": "pstn", "channel_name": "sofia/external/0899"}


@pytest.mark.parametrize(
    ("caller", "called", "direction"),
    [
        (PHONE, CALLED_PHONE, "local"),
        (PHONE, TRUNK_OUT, "outbound"),
        ({}, CALLED_PHONE, "inbound"),
        ({}, TRUNK_OUT, "inbound"),
        (CALLED_PHONE, TRUNK_OUT, "outbound"),
        (CALLED_PHONE, CALLED_PHONE, "local"),
        (PHONE, None, "local"),
        (TRUNK_OUT, None, "outbound"),
        (PHONE | {"var_call_direction": "inbound"}, CALLED_PHONE, "inbound"),
        (PHONE, CALLED_PHONE | {"var_call_direction": "outbound"}, "outbound"),
        (PHONE | {"var_call_direction": "sideways"}, CALLED_PHONE, "local"),
    ],
)
def test_the_direction_of_a_call(caller: dict[str, str], called: dict[str, str] | None, direction: str) -> None:
    told = Told()
    told.create("a", **caller)
    if called is not None:
        told.create("b", origin="a", **called)
    assert told.calls["a"].direction == direction


def test_an_extension_is_told_from_an_outside_party() -> None:
    told = Told()
    told.create("a", var_user_name="101", caller_name="Agent 101")
    told.create("b", origin="a", **TRUNK_OUT, state="CS_CONSUME_MEDIA")
    # The bridge to a phone imports who was dialled into the caller's channel.
    told.tell("CALL_UPDATE", "b", var_dialed_user="102", callee_name="Outbound Call")
    legs = told.calls["a"].legs
    assert [(leg.kind, leg.number, leg.name) for leg in legs] == [
        ("extension", "101", "Agent 101"),
        ("outside", "0899", ""),
    ]


# What is in a record.


def test_hold_and_answer_times() -> None:
    told = Told()
    told.talk("a", "b")
    told.tell("CHANNEL_ANSWER", "a", answered_us=T0 + 3_000_000, answer_state="answered")
    assert told.calls["a"].answered_time == "2026-11-23 18:22:00"
    told.now = 5.0
    told.tell("CHANNEL_CALLSTATE", "a", callstate="HELD")
    assert (told.calls["a"].callstate, told.calls["a"].hold_since_us) == ("HELD", T0 + 5_000_000)
    told.tell("CHANNEL_HOLD", "a", last_hold_us=T0 + 5_000_009)
    assert (told.calls["a"].callstate, told.calls["a"].hold_since_us) == ("HELD", T0 + 5_000_009)
    told.now = 7.0
    told.tell("CHANNEL_CALLSTATE", "a", callstate="UNHELD")
    assert (told.calls["a"].hold_us, told.calls["a"].hold_since_us) == (1_999_991, 0)
    told.tell("CHANNEL_UNHOLD", "a", hold_accum_us=2_000_000)
    assert (told.calls["a"].hold_us, told.calls["a"].hold_since_us) == (2_000_000, 0)
    told.now = 9.0
    told.tell("CHANNEL_CALLSTATE", "a", callstate="HELD")
    assert (told.calls["a"].hold_us, told.calls["a"].hold_since_us) == (2_000_000, T0 + 9_000_000)


def test_a_hold_whose_beginning_is_not_known_adds_nothing() -> None:
    told = Told()
    told.talk("a", "b")
    told.tell("CHANNEL_CALLSTATE", "a", callstate="HELD")
    # A bridge gives the leg another profile, with no times of a hold, and ends the hold with no event of its own.
    told.tell("CHANNEL_UNBRIDGE", "a", callstate="HELD", bridge_a_uuid="a", bridge_b_uuid="b")
    told.tell("CHANNEL_CALLSTATE", "a", callstate="UNHELD")
    assert (told.calls["a"].hold_us, told.calls["a"].hold_since_us) == (0, 0)


def test_a_hold_that_a_dump_has_counted_is_not_counted_again() -> None:
    told = Told()
    told.talk("a", "b")
    told.tell("CHANNEL_CALLSTATE", "a", callstate="HELD")
    told.tell("CHANNEL_HOLD", "a", callstate="HELD", last_hold_us=T0)
    told.now = 30.0
    told.dump("a", callstate="UNHELD", last_hold_us=T0, hold_accum_us=30_000_000, var_bridge_to="b")
    told.tell("CHANNEL_CALLSTATE", "a", callstate="UNHELD")
    assert (told.calls["a"].hold_us, told.calls["a"].hold_since_us) == (30_000_000, 0)


def test_a_called_leg_that_leads_is_held_since_it_is_said_to_be() -> None:
    told = Told()
    told.create("a", call_direction="outbound")
    told.state("a", "CS_EXCHANGE_MEDIA")
    told.now = 5.0
    told.tell("CHANNEL_CALLSTATE", "a", callstate="HELD")
    assert told.calls["a"].hold_since_us == T0 + 5_000_000


def test_a_recording_is_shown_while_it_runs() -> None:
    told = Told()
    told.talk("a", "b")
    told.tell("RECORD_START", "b", record_path="/var/lib/r.wav")
    assert told.calls["a"].recording == "/var/lib/r.wav"
    told.tell("RECORD_STOP", "b")
    assert told.calls["a"].recording is None


def test_a_conference_member_that_was_dialled_out_to_shows_the_room() -> None:
    told = Told()
    told.create("m", call_direction="outbound", context="default", var_dialed_domain="acme.example.com")
    told.state("m", "CS_EXECUTE")
    assert told.table.take_probes() == []
    told.wait(LOOK_AGAIN_AFTER)
    assert told.table.take_probes() == ["m"]
    data = "3001-acme.example.com@default"
    told.dump("m", var_application="conference", var_application_data=data)
    assert told.calls["m"].destination == "3001"


def test_how_a_call_ended_is_told() -> None:
    told = Told()
    told.talk("a", "b")
    for uuid in ("b", "a"):
        told.hang_up(uuid, "USER_BUSY")
    table = told.table
    table.apply(Event(name="CHANNEL_DESTROY", uuid="b", timestamp=T0, answer_state="hangup"), 1.0)
    table.apply(
        Event(name="CHANNEL_DESTROY", uuid="a", timestamp=T0, answer_state="hangup", hangup_cause="USER_BUSY"), 1.0
    )
    changes = table.take_changes()
    assert changes is not None
    (ended,) = changes.ended
    assert msgspec.structs.asdict(ended) == {
        "call_id": "a",
        "tenant": "acme.example.com",
        "ids": ("b",),
        "ended_time": "2026-11-23 18:21:57",
        "cause": "USER_BUSY",
        "causes": (("b", ""),),
    }


def test_why_legs_left_a_call_before_it_ended_is_told() -> None:
    told = Told()
    told.talk("a", "b")
    told.talk("a", "c")
    for uuid, cause in (("b", "CALL_REJECTED"), ("c", "NORMAL_CLEARING"), ("a", "NORMAL_CLEARING")):
        told.table.apply(
            Event(name="CHANNEL_DESTROY", uuid=uuid, timestamp=T0, answer_state="hangup", hangup_cause=cause), 1.0
        )
    changes = told.table.take_changes()
    assert changes is not None
    (ended,) = changes.ended
    assert (ended.cause, ended.causes) == ("NORMAL_CLEARING", (("b", "CALL_REJECTED"), ("c", "NORMAL_CLEARING")))


# What may be believed.


def test_events_of_a_channel_that_nobody_told_of_ask_for_a_probe_and_make_no_call() -> None:
    told = Told()
    told.state("x", "CS_NEW")
    told.state("x", "CS_INIT")
    assert told.table.take_probes() == []
    told.state("x", "CS_EXECUTE")
    told.state("x", "CS_EXECUTE")
    assert told.calls == {}
    assert told.table.take_probes() == ["x"]
    assert told.table.take_probes() == []


def test_a_dump_that_is_older_than_the_stream_is_asked_for_again() -> None:
    told = Told()
    told.state("x", "CS_EXECUTE", sequence=50)
    assert told.table.take_probes() == ["x"]
    told.dump("x", sequence=49)
    assert told.calls == {}
    assert told.table.take_probes() == ["x"]
    told.dump("x", sequence=51)
    assert set(told.calls) == {"x"}
    told.tell("CHANNEL_CALLSTATE", "x", sequence=60, callstate="HELD")
    told.dump("x", sequence=59, callstate="ACTIVE")
    assert told.calls["x"].callstate == "HELD"
    assert told.table.take_probes() == ["x"]


def test_a_list_inserts_nothing_and_deletes_nothing() -> None:
    told = Told()
    told.table.begin(same_run=True)
    told.create("a")
    told.table.compare({"b": "2026-11-23 18:00:00", "c": "2026-11-23 18:00:01"}, 0.0)
    told.collect()
    assert set(told.calls) == {"a"}
    assert told.table.take_probes() == ["b", "c", "a"]
    told.table.compare({}, 0.0)
    told.collect()
    assert set(told.calls) == {"a"}
    told.table.absent("b", 0.0)
    told.dump("c")
    assert told.calls["c"].created_time == "2026-11-23 18:21:57"


def test_a_call_that_was_there_before_has_the_time_that_the_list_says() -> None:
    told = Told()
    told.table.compare({"c": "2026-11-23 18:00:01"}, 0.0)
    told.dump("c")
    assert told.calls["c"].created_time == "2026-11-23 18:00:01"


def test_after_a_reconnect_every_call_is_probed_and_ends_only_by_proof() -> None:
    told = Told()
    told.talk("a", "b")
    told.table.begin(same_run=True)
    told.table.compare({}, 1.0)
    assert sorted(told.table.take_probes()) == ["a", "b"]
    told.table.unanswered("a")
    assert set(told.calls) == {"a"}
    told.dump("a", var_bridge_to="b")
    told.table.absent("b", 1.0)
    told.collect()
    assert told.legs == {"a": ["a"]}
    told.table.compare({"a": ""}, 2.0)
    assert told.table.take_probes() == []


def test_a_call_that_was_taken_apart_while_nobody_listened_is_so_after_the_probes() -> None:
    told = Told()
    told.talk("a", "b")
    told.table.begin(same_run=True)
    told.dump("a", var_bridge_to="", state="CS_EXECUTE")
    told.dump("b", var_bridge_to="", state="CS_PARK")
    told.wait(SPLIT_AFTER)
    assert told.legs == {"a": ["a"], "b": ["b"]}


def test_calls_that_were_joined_while_nobody_listened_are_so_after_the_probes() -> None:
    told = Told()
    told.create("a")
    told.create("b")
    told.table.begin(same_run=True)
    told.dump("a", var_bridge_to="b")
    assert told.legs == {"a": ["a", "b"]}


def test_another_run_of_the_switch_has_none_of_the_calls_of_the_one_before() -> None:
    told = Told()
    told.talk("a", "b")
    told.create("c")
    told.table.begin(same_run=False)
    told.collect()
    assert told.calls == {}
    # When and why, the switch has not said.
    assert told.ended == []
    assert told.table.take_probes() == []


def test_what_comes_late_of_the_dead_brings_nothing_back() -> None:
    told = Told()
    told.talk("a", "b")
    told.destroy("b")
    told.destroy("a")
    told.state("a", "CS_EXECUTE")
    told.dump("a", sequence=10_000)
    told.table.compare({"a": ""}, told.now)
    assert told.calls == {}
    assert told.table.take_probes() == []
    told.now += TOMBSTONE_FOR + 0.1
    told.table.compare({"a": ""}, told.now)
    assert told.table.take_probes() == ["a"]


def test_a_bridge_that_was_missed_is_made_up_for_by_the_next_update() -> None:
    told = Told()
    told.create("a")
    told.create("b")
    told.tell("CALL_UPDATE", "a", var_bridge_to="b")
    assert told.legs == {"a": ["a", "b"]}


def test_dumps_may_come_in_any_order() -> None:
    told = Told()
    told.now = 1.0
    told.dump(
        "b",
        call_direction="outbound",
        created_us=T0 + 2,
        var_bridge_to="a",
        var_originating_leg="a",
    )
    told.dump("a", created_us=T0 + 1, var_bridge_to="b")
    told.dump(
        "r",
        call_direction="outbound",
        created_us=T0 + 3,
        var_originating_leg="a",
        state="CS_CONSUME_MEDIA",
    )
    told.wait(SPLIT_AFTER)
    assert told.legs == {"a": ["a", "b", "r"]}


def test_events_that_are_not_of_channels_are_passed_over() -> None:
    table = CallTable("pbx")
    table.apply(Event(name="HEARTBEAT"), 0.0)
    table.apply(Event(name="CHANNEL_STATE"), 0.0)
    table.apply(Event(name="CHANNEL_EXECUTE", uuid="x", state_number=4), 0.0)
    assert table.take_changes() is None
    assert table.take_probes() == []
    assert len(table) == 0
    assert "x" not in table
