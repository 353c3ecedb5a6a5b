"""The phones of one user that callbridge rings together: one call or one monitor, under the id that it gave them."""

from typing import Any

import pytest

from callbridge.callset import SPLIT_AFTER
from callbridge.table import CallTable
from tests.eventkit import Told

ID = "the-id"
PHONE: dict[str, Any] = {
    "call_direction": "outbound",
    "context": "default",
    "presence_id": "101@acme.example.com",
    "var_dialed_user": "101",
    "var_dialed_domain": "acme.example.com",
    "caller_number": "101",
    "destination": "101",
    "var_id": ID,
}


def ring(told: Told, *uuids: str, **fields: Any) -> None:
    """These phones of one user ring."""
    for uuid in uuids:
        told.create(uuid, **(PHONE | fields))
    for uuid in uuids:
        told.state(uuid, "CS_CONSUME_MEDIA")
        told.tell("CHANNEL_CALLSTATE", uuid, callstate="RINGING")


def answer(told: Told, uuid: str, **fields: Any) -> None:
    """A phone answers."""
    told.tell("CHANNEL_ANSWER", uuid, answered_us=1, answer_state="answered", **fields)
    told.tell("CHANNEL_CALLSTATE", uuid, callstate="ACTIVE")


def lose(told: Told, uuid: str) -> None:
    """A phone stops ringing."""
    told.hang_up(uuid, "LOSE_RACE")
    told.destroy(uuid)


# Calls.


def test_all_phones_that_ring_are_one_call_under_the_id_that_was_given() -> None:
    told = Told()
    ring(told, "one", "two", "three")
    (record,) = told.calls.values()
    assert (record.call_id, record.tenant, record.callstate, record.source) == (
        ID,
        "acme.example.com",
        "RINGING",
        "101",
    )
    assert [(leg.uuid, leg.side, leg.number) for leg in record.legs] == [
        (uuid, "aleg", "101") for uuid in ("one", "two", "three")
    ]
    assert set(record.ids) == {"one", "two", "three"}
    lose(told, "one")
    told.wait(2 * SPLIT_AFTER)
    assert told.legs == {ID: ["two", "three"]}


@pytest.mark.parametrize(("first", "other"), [("one", "two"), ("two", "one")])
def test_the_phone_that_answers_leads_the_call_from_then_on(first: str, other: str) -> None:
    told = Told()
    ring(told, "one", "two")
    answer(told, first)
    assert (told.calls[ID].callstate, bool(told.calls[ID].answered_time)) == ("ACTIVE", True)
    lose(told, other)
    told.state(first, "CS_EXECUTE", destination="102")
    told.create("callee", origin=first)
    told.bridge(first, "callee")
    told.wait(2 * SPLIT_AFTER)
    record = told.calls[ID]
    assert [(leg.uuid, leg.side) for leg in record.legs] == [(first, "aleg"), ("callee", "bleg")]
    assert record.ids == (first, "callee")
    for uuid in ("callee", first):
        told.hang_up(uuid)
        told.destroy(uuid)
    assert (told.calls, told.ended) == ({}, [ID])


def test_a_busy_phone_is_no_leg_while_another_one_rings() -> None:
    told = Told()
    ring(told, "one", "two")
    told.hang_up("one", "USER_BUSY")
    assert (told.legs, told.calls[ID].callstate) == ({ID: ["two"]}, "RINGING")
    answer(told, "two")
    told.destroy("one")
    assert (told.legs, told.calls[ID].callstate) == ({ID: ["two"]}, "ACTIVE")


def test_the_phones_are_found_again_by_their_dumps() -> None:
    told = Told(CallTable("pbx"))
    told.table.begin(same_run=False)
    told.dump("two", **PHONE, callstate="RINGING", state="CS_CONSUME_MEDIA")
    told.dump("one", **PHONE, callstate="RINGING", state="CS_CONSUME_MEDIA")
    assert told.legs == {ID: ["two", "one"]}
    told.wait(2 * SPLIT_AFTER)
    assert told.legs.keys() == {ID}
    answer(told, "one")
    lose(told, "two")
    assert told.legs == {ID: ["one"]}


def test_a_call_goes_on_under_the_id_when_the_phone_that_it_was_given_to_is_gone() -> None:
    told = Told()
    ring(told, "one")
    answer(told, "one")
    told.create("callee", origin="one")
    told.bridge("one", "callee")
    told.unbridge("one", "callee")
    told.hang_up("one")
    told.destroy("one")
    told.wait(2 * SPLIT_AFTER)
    assert told.legs == {ID: ["callee"]}
    assert "one" in told.calls[ID].ids


# Monitors.

WATCHES = {"var_watches": "a", "caller_number": "102"}
LISTENS = {"var_application": "eavesdrop", "var_application_data": "a"}


def watched() -> Told:
    """A call of `a` and `b` for which two phones of a supervisor ring."""
    told = Told()
    told.talk("a", "b")
    ring(told, "one", "two", **WATCHES)
    return told


def test_a_supervisors_phones_that_ring_are_one_monitor() -> None:
    told = watched()
    (record,) = told.calls.values()
    (monitor,) = record.monitors
    assert (monitor.uuid, monitor.extension, monitor.state, monitor.watches) == (ID, "101", "ringing", "a")
    assert monitor.channel in ("one", "two")


@pytest.mark.parametrize(("first", "other"), [("one", "two"), ("two", "one")])
def test_the_monitor_is_the_phone_that_answers(first: str, other: str) -> None:
    told = watched()
    answer(told, first)
    for _ in range(2):
        (monitor,) = told.calls["a"].monitors
        assert (monitor.uuid, monitor.channel, monitor.state) == (ID, first, "active")
        if other in told.table:
            lose(told, other)
    told.tell("CALL_UPDATE", first, **LISTENS)
    (monitor,) = told.calls["a"].monitors
    assert (monitor.uuid, monitor.channel, monitor.state) == (ID, first, "active")
    told.hang_up(first)
    told.destroy(first)
    assert told.calls["a"].monitors == ()


def test_a_busy_phone_does_not_hide_that_another_one_rings() -> None:
    told = watched()
    told.hang_up("one", "USER_BUSY")
    (monitor,) = told.calls["a"].monitors
    assert (monitor.uuid, monitor.channel, monitor.state) == (ID, "two", "ringing")


def test_a_monitor_is_recognised_by_its_dump() -> None:
    told = Told()
    told.talk("a", "b")
    dumped = PHONE | LISTENS | {"answered_us": 1, "callstate": "ACTIVE"}
    told.dump("one", **dumped)
    (monitor,) = told.calls["a"].monitors
    assert (monitor.uuid, monitor.channel, monitor.state) == (ID, "one", "active")
    assert told.calls.keys() == {"a"}


def test_whom_callbridge_has_not_called_is_known_by_the_channel() -> None:
    told = Told()
    told.talk("a", "b")
    told.create("one", **(PHONE | {"var_id": ""} | LISTENS))
    (monitor,) = told.calls["a"].monitors
    assert (monitor.uuid, monitor.channel) == ("one", "one")
