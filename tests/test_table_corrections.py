"""What the table finds out although no event has said it, and what it does not take for that."""

from typing import Any

import pytest

from callbridge.callset import SPLIT_AFTER
from callbridge.doubts import LAST_WORDS, TOMBSTONE_FOR
from callbridge.entropy import LIST_APART
from callbridge.esl.events import Event
from callbridge.table import CONFIRM_AFTER
from tests.eventkit import NUMBERS, Told


def test_a_channel_that_is_not_found_has_the_time_for_its_last_words() -> None:
    told = Told()
    told.create("a")
    told.table.absent("a", told.now)
    told.wait(LAST_WORDS - 0.1)
    told.table.absent("a", told.now)
    told.collect()
    assert set(told.calls) == {"a"}
    told.hang_up("a")
    told.destroy("a")
    assert told.ended == ["a"]
    assert told.table.take_corrections() == []


def test_one_that_is_not_found_again_after_that_is_gone() -> None:
    told = Told()
    told.create("a")
    told.table.absent("a", told.now)
    assert told.table.take_probes() == []
    told.wait(LAST_WORDS)
    assert told.table.take_probes() == ["a"]
    told.table.absent("a", told.now)
    told.collect()
    assert (told.calls, told.ended) == ({}, ["a"])
    assert told.table.take_corrections() == [("a", "gone")]


def test_one_that_is_found_after_all_begins_anew() -> None:
    told = Told()
    told.create("a")
    told.table.absent("a", told.now)
    told.wait(1.0)
    told.dump("a", state="CS_INIT", state_number=1, callstate="DOWN")
    told.now += LAST_WORDS
    told.table.absent("a", told.now)
    told.collect()
    assert set(told.calls) == {"a"}


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        ({"callstate": "HELD"}, {"callstate": "HELD"}),
        ({"state": "CS_PARK", "state_number": NUMBERS["CS_PARK"]}, {"state": "CS_PARK"}),
    ],
)
def test_what_a_dump_shows_twice_with_no_event_in_between_is_a_correction(
    shown: dict[str, Any], wanted: dict[str, str]
) -> None:
    told = Told()
    told.create("a")
    told.state("a", "CS_EXECUTE", callstate="ACTIVE")
    told.tell("CHANNEL_CALLSTATE", "a", callstate="ACTIVE")
    before = told.calls["a"]
    told.dump("a", **shown)
    assert told.calls["a"].state == before.state
    assert told.calls["a"].callstate == before.callstate
    assert told.table.take_corrections() == []
    told.wait(CONFIRM_AFTER)
    assert told.table.take_probes() == ["a"]
    told.dump("a", **shown)
    assert {name: getattr(told.calls["a"], name) for name in wanted} == wanted
    assert told.table.take_corrections() == [("a", "changed")]


def test_a_dump_that_was_ahead_of_the_stream_is_none() -> None:
    told = Told()
    told.create("a")
    told.tell("CHANNEL_CALLSTATE", "a", callstate="ACTIVE")
    told.dump("a", callstate="HELD")
    told.tell("CHANNEL_CALLSTATE", "a", callstate="HELD")
    told.wait(CONFIRM_AFTER)
    told.dump("a")
    assert told.calls["a"].callstate == "HELD"
    assert told.table.take_corrections() == []


def test_a_bridge_that_was_lost_and_its_end_are_found() -> None:
    told = Told()
    told.create("a")
    told.create("b")
    for _ in range(2):
        told.dump("a", var_bridge_to="b", state="CS_INIT", state_number=1)
    assert told.legs == {"a": ["a", "b"]}
    for _ in range(2):
        for uuid in ("a", "b"):
            told.dump(uuid, var_bridge_to="", state="CS_INIT", state_number=1)
    told.wait(SPLIT_AFTER)
    assert told.legs == {"a": ["a"], "b": ["b"]}
    assert [found for _, found in told.table.take_corrections()] == ["changed", "changed"]


def test_a_row_that_is_no_channel_is_asked_about_once_and_counted_while_it_is_listed() -> None:
    told = Told()
    told.table.compare({"z": ""}, told.now)
    assert told.table.take_probes() == ["z"]
    told.table.absent("z", told.now)
    told.now += 2 * TOMBSTONE_FOR
    told.table.compare({"z": ""}, told.now)
    assert told.table.take_probes() == []
    assert told.table.zombies == 1
    told.create("z")
    assert set(told.calls) == {"z"}
    told.table.compare({}, told.now)
    assert told.table.zombies == 0


def test_a_heartbeat_that_counts_otherwise_asks_for_a_list_and_one_that_does_not_say_asks_for_nothing() -> None:
    told = Told()
    told.create("a")
    for count, due in (("1", False), ("", False), ("x", False), ("2", True)):
        told.table.apply(Event(name="HEARTBEAT", session_count=count), 30.0)
        assert told.table.census.due(30.0 + LIST_APART) is due
    assert set(told.calls) == {"a"}
