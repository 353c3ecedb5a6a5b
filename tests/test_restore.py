"""A table that begins with calls as they were published: what a takeover and a restart keep, what only proof ends."""

from typing import Any

import msgspec
import pytest

from callbridge.callset import SPLIT_AFTER
from callbridge.records import Record
from callbridge.table import CallTable
from tests.eventkit import T0, Told

DEAD_US = T0 + 5_000_000


def restored(before: Told) -> Told:
    """A table of another process, with what the one before has published, on a new connection."""
    after = Told()
    # As it is read from Redis.
    records = msgspec.json.decode(msgspec.json.encode(list(before.calls.values())), type=list[Record])
    after.table.restore(records, DEAD_US)
    after.calls = {record.call_id: record for record in records}
    after.table.begin(same_run=True)
    after.sequence = before.sequence
    after._last = before._last
    after.now = before.now
    return after


def answer(told: Told, **dumps: dict[str, Any]) -> None:
    """The switch answers every probe that is wanted: of those named with a dump, of all others that they are gone."""
    for uuid in told.table.take_probes():
        if uuid in dumps:
            told.dump(uuid, **dumps[uuid])
        else:
            told.table.absent(uuid, told.now)
            told.collect()


def alive(to: str = "", **fields: Any) -> dict[str, Any]:
    """What a dump says of a channel that talks to that one."""
    return {"var_bridge_to": to, "var_last_bridge_to": to, "answered_us": T0} | fields


def test_a_call_is_the_same_before_and_after_all_of_its_legs_have_answered() -> None:
    before = Told()
    before.talk("a", "b")
    before.tell("RECORD_START", "b", record_path="/r.wav")
    after = restored(before)
    assert after.calls == before.calls
    answer(after, a=alive("b"), b=alive("a"))
    after.wait(SPLIT_AFTER)
    (call,) = after.calls.values()
    assert call.call_id == "a"
    assert [(leg.uuid, leg.side) for leg in call.legs] == [("a", "aleg"), ("b", "bleg")]
    assert (call.recording, call.recorded_leg) == ("/r.wav", "b")
    assert after.table.take_changes() is None


def test_the_id_of_a_call_whose_first_leg_is_gone_is_kept_and_all_that_find_it() -> None:
    before = Told()
    before.talk("a", "b")
    before.create("c", origin="b")
    before.bridge("b", "c")
    before.destroy("a")
    (call,) = before.calls.values()
    assert call.call_id == "a"
    after = restored(before)
    answer(after, b=alive("c"), c=alive("b"))
    after.wait(SPLIT_AFTER)
    (kept,) = after.calls.values()
    assert (kept.call_id, kept.ids) == (call.call_id, call.ids)
    assert [(leg.uuid, leg.side) for leg in kept.legs] == [(leg.uuid, leg.side) for leg in call.legs]


def test_only_proof_ends_a_restored_call_and_it_has_ended_when_it_was_last_known() -> None:
    before = Told()
    before.talk("a", "b")
    after = restored(before)
    after.table.compare({}, after.now)
    after.wait(600)
    assert set(after.calls) == {"a"}
    for uuid in after.table.take_probes():
        after.table.unanswered(uuid)
    assert set(after.calls) == {"a"}
    after.table.compare({}, after.now)
    for uuid in after.table.take_probes():
        after.table.absent(uuid, after.now)
    changes = after.table.take_changes()
    assert changes is not None
    assert changes.gone == ["a"]
    (ended,) = changes.ended
    assert (ended.call_id, ended.ended_time) == ("a", "2026-11-23 18:22:02")


def test_calls_of_another_run_of_the_switch_are_gone_and_have_not_ended() -> None:
    before = Told()
    before.talk("a", "b")
    after = restored(before)
    after.table.begin(same_run=False)
    after.collect()
    assert (after.calls, after.ended) == ({}, [])


def test_a_leg_that_has_gone_meanwhile_is_left_out_and_one_that_came_is_taken_in() -> None:
    before = Told()
    before.talk("a", "b")
    after = restored(before)
    answer(after, a=alive("c"))
    after.dump("c", **alive("a", call_direction="outbound"))
    after.wait(SPLIT_AFTER)
    assert after.legs == {"a": ["a", "c"]}
    assert "b" in after.calls["a"].ids


def test_legs_that_have_parted_meanwhile_are_two_calls() -> None:
    before = Told()
    before.talk("a", "b")
    after = restored(before)
    answer(after, a=alive(state="CS_PARK"), b=alive(var_last_bridge_to="a"))
    assert len(after.calls) == 1
    after.wait(SPLIT_AFTER)
    assert sorted(after.legs.values()) == [["a"], ["b"]]
    assert "a" in after.calls


def test_a_leg_that_still_rings_stays_in_the_call_of_its_caller() -> None:
    before = Told()
    before.create("a")
    before.create("b", origin="a")
    assert before.legs == {"a": ["a", "b"]}
    after = restored(before)
    answer(after, a=alive(), b=alive(var_originating_leg="a", call_direction="outbound", state="CS_CONSUME_MEDIA"))
    after.wait(SPLIT_AFTER)
    assert after.legs == {"a": ["a", "b"]}


def test_an_id_that_was_published_is_not_changed_for_an_earlier_one() -> None:
    before = Told()
    before.talk("a", "b")
    before.unbridge("a", "b")
    before.state("a", "CS_PARK")
    before.wait(SPLIT_AFTER)
    before.destroy("a")
    assert set(before.calls) == {"b"}
    after = restored(before)
    answer(after, b=alive(var_originating_leg="a", call_direction="outbound"))
    after.create("x", var_originating_leg="a", call_direction="outbound")
    answer(after)
    after.wait(SPLIT_AFTER)
    assert "b" in after.calls


@pytest.mark.parametrize("given", ["", "an id of callbridge's"])
@pytest.mark.parametrize("mode", ["listen", "whisper", "barge"])
def test_a_monitor_is_one_all_the_time(mode: str, given: str) -> None:
    data: dict[str, Any] = {"var_application": "three_way" if mode == "barge" else "eavesdrop", "var_id": given}
    data |= {"var_application_data": "b", "var_whisper_bleg": "true" if mode == "whisper" else ""}
    before = Told()
    before.talk("a", "b")
    before.create("m", var_user_name="105", var_id=given)
    before.state("m", "CS_EXECUTE", answered_us=T0)
    before.tell("CALL_UPDATE", "m", **data)
    assert [(m.uuid, m.mode, m.state) for m in before.calls["a"].monitors] == [(given or "m", mode, "active")]
    after = restored(before)
    after.state("b", "CS_EXCHANGE_MEDIA", callstate="HELD")
    assert after.calls["a"].monitors == before.calls["a"].monitors
    answer(after, a=alive("b"), b=alive("a"), m=alive(**data))
    after.wait(SPLIT_AFTER)
    assert set(after.calls) == {"a"}
    assert after.calls["a"].monitors == before.calls["a"].monitors


def test_what_is_known_already_is_not_taken_in_again() -> None:
    told = Told()
    told.talk("a", "b")
    older = [msgspec.structs.replace(told.calls["a"], state="CS_ROUTING")]
    told.table.restore(older, DEAD_US)
    told.collect()
    assert told.table.records() == list(told.calls.values())
    assert told.table.take_probes() == []


def test_a_call_of_loopback_ends_alone_is_kept_until_it_is_proven_dead() -> None:
    before = Told()
    before.create("l", channel_name="loopback/101-a")
    (record,) = before.calls.values()
    assert record.legs == ()
    table = CallTable("pbx")
    table.restore([record], DEAD_US)
    table.begin(same_run=True)
    assert table.take_probes() == ["l"]
    table.absent("l", 0.0)
    changes = table.take_changes()
    assert changes is not None
    assert changes.gone == ["l"]
