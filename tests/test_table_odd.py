"""The call table where calls are taken apart, put together and watched in ways that a plain call never is.

What the events and the dumps say here is what a real switch said (tests/real/test_odd_calls.py has the same on one).
"""

from typing import Any

from callbridge.callset import SPLIT_AFTER
from callbridge.table import LOOK_AGAIN_AFTER, LOOK_AT_MONITORS
from tests.eventkit import T0, Told

LISTENS: dict[str, Any] = {"var_application": "eavesdrop", "var_application_data": "a"}


def called(caller: str, **fields: Any) -> dict[str, Any]:
    """What a dump says of a leg that was called and has talked."""
    return {
        "call_direction": "outbound",
        "var_originating_leg": caller,
        "var_last_bridge_to": caller,
        "state": "CS_EXECUTE",
    } | fields


# Uuids that are used again.


def test_a_uuid_may_be_given_to_another_channel_once_its_own_is_gone() -> None:
    told = Told()
    told.create("a")
    told.destroy("a")
    told.create("a")
    assert told.legs == {"a": ["a"]}
    assert told.ended == ["a"]


def test_a_call_that_goes_on_keeps_its_id_from_a_new_channel_with_that_uuid() -> None:
    told = Told()
    told.talk("a", "b")
    told.unbridge("a", "b")
    told.destroy("a")
    told.create("a")
    assert told.legs == {"a": ["b"], "a+": ["a"]}
    told.destroy("a")
    told.destroy("b")
    assert told.ended == ["a+", "a"]


def test_the_creation_of_a_dead_channel_that_comes_late_brings_nothing_back() -> None:
    told = Told()
    told.tell("CHANNEL_DESTROY", "a", sequence=9, state_number=12)
    told.tell("CHANNEL_CREATE", "a", sequence=8, state_number=2)
    assert told.calls == {}


# Calls that were joined and come apart again.


def test_a_joined_call_that_comes_apart_has_its_own_id_again() -> None:
    """uuid_bridge of the called legs of two calls, where the first caller goes on alone."""
    told = Told()
    told.talk("a1", "b1")
    told.now += 5
    told.talk("a2", "b2")
    told.unbridge("a1", "b1")
    told.unbridge("a2", "b2")
    told.bridge("b1", "b2")
    told.hang_up("a2")
    told.destroy("a2")
    told.wait(SPLIT_AFTER)
    assert told.legs == {"a1": ["a1"], "a2": ["b1", "b2"]}
    assert told.calls["a1"].ids == ()
    assert told.ended == []


# What is found when callbridge starts in the middle.


def test_what_is_left_of_a_call_has_the_id_of_the_leg_that_began_it() -> None:
    """The called leg parks, the calling one is gone: consumers know the call by the calling one."""
    told = Told()
    told.dump("b", **called("a", state="CS_PARK"))
    assert told.table.take_probes() == ["a"]
    told.table.absent("a", told.now)
    told.collect()
    assert told.legs == {"a": ["b"]}
    assert told.calls["a"].ids == ("b",)
    assert [leg.side for leg in told.calls["a"].legs] == ["bleg"]
    told.create("c", origin="b")
    assert [leg.side for leg in told.calls["a"].legs] == ["bleg", "aleg"]
    told.destroy("c")
    told.destroy("b")
    assert told.ended == ["a"]


def test_so_it_has_where_the_leg_that_began_it_was_found_dead_before() -> None:
    told = Told()
    told.table.absent("a", told.now)
    told.dump("b", **called("a"))
    assert told.table.take_probes() == []
    assert told.legs == {"a": ["b"]}


def test_of_two_calls_whose_callers_are_gone_both_ids_find_what_is_left() -> None:
    """An attended transfer: two called legs talk, the one who called both has hung up."""
    told = Told()
    told.dump("b1", **called("a1", created_us=T0, var_bridge_to="b2"))
    told.dump("b2", **called("a2", created_us=T0 + 1_000_000, var_bridge_to="b1"))
    for caller in ("a2", "a1"):
        told.table.absent(caller, told.now)
    told.collect()
    assert told.legs == {"a1": ["b1", "b2"]}
    assert set(told.calls["a1"].ids) == {"b1", "b2", "a2"}
    assert [leg.side for leg in told.calls["a1"].legs] == ["bleg", "aleg"]


def test_a_called_leg_that_talks_to_another_while_its_caller_lives_is_another_call() -> None:
    told = Told()
    told.dump("a", var_last_bridge_to="b", created_us=T0)
    told.dump("b", **called("a", created_us=T0 + 1))
    told.wait(SPLIT_AFTER)
    assert told.legs == {"a": ["a"], "b": ["b"]}
    assert told.table.take_probes() == []


def test_the_caller_may_be_found_after_the_leg_that_talks_to_another() -> None:
    told = Told()
    told.dump("b", **called("a", created_us=T0 + 1))
    told.dump("a", var_last_bridge_to="b", created_us=T0)
    told.wait(SPLIT_AFTER)
    assert told.legs == {"a": ["a"], "b": ["b"]}


def test_who_picks_up_a_call_was_not_made_for_it() -> None:
    """After intercept and uuid_bridge the other leg is the `originator` of legs that called in by themselves."""
    told = Told()
    told.dump("s", created_us=T0 + 5, other_type="originator", other_leg_uuid="x", var_last_bridge_to="x")
    assert told.table.take_probes() == []
    assert [leg.side for leg in told.calls["s"].legs] == ["aleg"]


def test_of_two_legs_of_one_tick_of_the_switchs_clock_the_one_that_called_in_began_the_call() -> None:
    told = Told()
    told.dump("b", **called("gone", var_bridge_to="a"))
    told.dump("a", var_bridge_to="b", var_last_bridge_to="b")
    assert set(told.calls) == {"a"}
    assert [(leg.uuid, leg.side) for leg in told.calls["a"].legs] == [("a", "aleg"), ("b", "bleg")]


def test_an_end_of_a_loopback_pair_leads_no_call_in_which_somebody_is() -> None:
    told = Told()
    told.dump("la", **called("a", channel_name="loopback/102-a", var_loopback_uuid="lb", destination="1"))
    told.dump("lb", channel_name="loopback/102-b", var_loopback_uuid="la", var_bridge_to="b", destination="2")
    told.dump("b", **called("lb", created_us=T0 + 1, var_bridge_to="lb", destination="3"))
    (call,) = told.calls.values()
    assert call.destination == "3"


def test_a_dump_of_a_channel_whose_events_were_all_heard_does_not_change_its_row() -> None:
    told = Told()
    told.create("a", destination="9196", network_address="")
    told.state("a", "CS_ROUTING", destination="eavesdrop:x")
    told.dump("a", destination="9196", network_address="192.0.2.9")
    assert (told.calls["a"].destination, told.calls["a"].ip) == ("eavesdrop:x", "")
    told.table.begin(same_run=True)
    told.dump("a", destination="9197", network_address="192.0.2.9")
    assert (told.calls["a"].destination, told.calls["a"].ip) == ("9197", "192.0.2.9")


def test_the_address_of_a_phone_that_the_switch_calls_is_shown_from_its_next_profile_on() -> None:
    told = Told()
    click: dict[str, Any] = {"call_direction": "outbound", "network_address": "192.0.2.9", "created_us": T0}
    told.dump("a", **click, since_us=T0)
    told.dump("b", **click, since_us=T0 + 300_000)
    assert (told.calls["a"].ip, told.calls["b"].ip) == ("", "192.0.2.9")


# Who it is.


def test_a_leg_that_has_hung_up_is_no_side_of_the_call_while_the_others_talk_on() -> None:
    told = Told()
    told.talk("a", "b")
    told.hang_up("a")
    told.tell("CALL_UPDATE", "b")
    assert told.legs == {"a": ["b"]}
    assert told.calls["a"].ids == ("b",)
    told.hang_up("b")
    assert told.legs == {"a": ["a", "b"]}


def test_the_name_of_who_was_called_is_known_when_it_rings_and_stays() -> None:
    told = Told()
    told.create("a")
    told.create("b", origin="a", created_us=T0, since_us=T0, callee_name="Outbound Call")
    told.state("b", "CS_CONSUME_MEDIA")
    assert told.calls["a"].legs[1].name == ""
    told.tell("CHANNEL_CALLSTATE", "b", callstate="RINGING", callee_name="Ann", var_uuid="")
    assert told.calls["a"].legs[1].name == "Ann"
    told.state("b", "CS_EXCHANGE_MEDIA", since_us=T0 + 1, callee_name="Whom she talks to now")
    assert told.calls["a"].legs[1].name == "Ann"


def test_a_caller_keeps_the_name_that_he_called_with() -> None:
    told = Told()
    told.dump("a", caller_name="Whom he talks to now", original_name="Ann")
    assert told.calls["a"].legs[0].name == "Ann"


def test_who_stays_leads_the_call_while_who_has_hung_up_takes_his_time_to_go() -> None:
    told = Told()
    told.talk("a", "b")
    told.unbridge("a", "b")
    told.state("b", "CS_PARK")
    told.hang_up("a")
    told.wait(SPLIT_AFTER)
    assert told.legs == {"a": ["b"]}
    assert told.calls["a"].state == "CS_PARK"


def test_a_channel_that_listens_to_itself_ends_like_any_other() -> None:
    told = Told()
    told.create("s")
    told.tell("CALL_UPDATE", "s", var_application="eavesdrop", var_application_data="s")
    told.destroy("s")
    told.wait(LOOK_AT_MONITORS)
    assert told.calls == {}
    assert told.table.take_probes() == []


def test_what_waits_for_somebody_to_pick_the_call_up_is_nobody() -> None:
    told = Told()
    told.create("a", var_user_name="101")
    told.state("p", "CS_ROUTING", channel_name="pickup/sales", call_direction="outbound")
    assert told.table.take_probes() == ["p"]
    told.dump("p", call_direction="outbound", channel_name="pickup/sales", var_originating_leg="a")
    assert told.legs == {"a": ["a"]}
    assert told.calls["a"].direction == "local"


# Monitors.


def test_a_monitor_that_is_bridged_to_somebody_is_a_monitor_no_more() -> None:
    """The application that it ran last is told of it until it runs another."""
    told = Told()
    told.talk("a", "b")
    told.create("s")
    told.create("p")
    told.tell("CALL_UPDATE", "s", **LISTENS)
    told.bridge("s", "p")
    told.tell("CALL_UPDATE", "s", **LISTENS, var_bridge_to="p")
    assert told.legs == {"a": ["a", "b"], "s": ["s", "p"]}
    assert told.calls["a"].monitors == ()


def test_so_it_is_when_the_bridge_is_told_of_the_other_one() -> None:
    told = Told()
    told.talk("a", "b")
    told.create("s")
    told.create("p")
    told.tell("CALL_UPDATE", "s", **LISTENS)
    told.bridge("p", "s")
    told.tell("CALL_UPDATE", "s", **LISTENS, var_bridge_to="p")
    assert told.legs == {"a": ["a", "b"], "s": ["s", "p"]}


def test_one_that_was_bridged_away_is_no_monitor_for_whoever_starts_later() -> None:
    told = Told()
    told.dump("a", created_us=T0, var_bridge_to="s")
    told.dump("s", **called("x", created_us=T0 + 5, var_bridge_to="a"), **LISTENS)
    assert told.legs == {"a": ["a", "s"]}


def test_a_monitor_is_probed_again_and_again_for_no_event_says_that_it_has_stopped() -> None:
    told = Told()
    told.talk("a", "b")
    told.create("s")
    told.tell("CALL_UPDATE", "s", **LISTENS)
    for _ in range(2):
        told.wait(LOOK_AT_MONITORS)
        assert told.table.take_probes() == ["s"]
        told.dump("s", **LISTENS)
        assert len(told.calls["a"].monitors) == 1
    told.wait(LOOK_AT_MONITORS)
    assert told.table.take_probes() == ["s"]
    told.dump("s", var_application="park", var_application_data="")
    assert set(told.calls) == {"a", "s"}
    assert told.calls["a"].monitors == ()
    told.wait(LOOK_AT_MONITORS)
    assert told.table.next_deadline() is None


def test_a_monitor_whose_uuid_changes_is_probed_by_its_new_one() -> None:
    told = Told()
    told.talk("a", "b")
    told.create("s")
    told.tell("CALL_UPDATE", "s", **LISTENS)
    told.tell("CHANNEL_UUID", "new", old_uuid="s", var_uuid="new")
    assert [monitor.uuid for monitor in told.calls["a"].monitors] == ["new"]
    told.wait(LOOK_AT_MONITORS)
    assert told.table.take_probes() == ["new"]


def test_a_monitor_is_probed_soon_when_whom_it_listened_to_is_gone() -> None:
    told = Told()
    told.talk("a", "b")
    told.create("s")
    told.tell("CALL_UPDATE", "s", **LISTENS)
    told.destroy("a")
    told.wait(LOOK_AGAIN_AFTER)
    assert told.table.take_probes() == ["s"]
