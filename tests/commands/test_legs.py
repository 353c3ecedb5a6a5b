"""Which leg a command means."""

from typing import Any

import pytest

from callbridge.commands.legs import answered, by_side, extension_leg, find_leg, main_leg, others, watchers_of
from callbridge.commands.outcome import Refused
from callbridge.records import Leg
from tests.commands.kit import CALL, CALLED, leg, talking, watching

OUTSIDE = leg("m", "bleg", "0899", kind="outside")
CALLER = leg("a", "aleg", "101")


def ringing(of: Leg) -> Leg:
    return leg(of.uuid, of.side, of.number, kind=of.kind, callstate="RINGING", answered=False)


def code(choose: Any, *arguments: Any) -> str:
    with pytest.raises(Refused) as refused:
        choose(*arguments)
    assert f"{refused.value}"
    return refused.value.code


def test_a_side_names_its_leg() -> None:
    call = talking(legs=(CALLER, OUTSIDE))
    assert (by_side(call, "aleg"), by_side(call, "bleg")) == (CALLER, OUTSIDE)


@pytest.mark.parametrize("left", [CALLER, OUTSIDE])
def test_where_one_leg_is_left_both_names_mean_it(left: Leg) -> None:
    for side in ("aleg", "bleg"):
        assert by_side(talking(legs=(left,)), side) == left


def test_of_several_legs_of_a_side_the_answered_one_is_meant() -> None:
    early, late = (leg(uuid, "bleg", "102") for uuid in "bc")
    call = talking(legs=(CALLER, ringing(early), late))
    assert by_side(call, "bleg") == late
    assert by_side(talking(legs=(CALLER, ringing(early), ringing(late))), "bleg") == ringing(early)


def test_a_side_without_a_leg_is_not_bridged() -> None:
    assert code(by_side, talking(legs=(CALLER, leg("b", "aleg", "102"))), "bleg") == "NOT_BRIDGED"
    assert code(by_side, talking(legs=()), "aleg") == "NOT_BRIDGED"


def test_who_has_not_answered_is_not_answered() -> None:
    assert answered(CALLER) == CALLER
    assert code(answered, ringing(CALLER)) == "NOT_ANSWERED"


@pytest.mark.parametrize("side", ["aleg", "bleg"])
def test_the_extension_is_whispered_to_on_whichever_side_it_is(side: Any) -> None:
    other: Any = "bleg" if side == "aleg" else "aleg"
    extension, mobile = leg("e", side, "101"), leg("m", other, "0899", kind="outside")
    for legs in ((extension, mobile), (mobile, extension)):
        call = talking(legs=legs)
        assert extension_leg(call, "") == extension_leg(call, side) == extension
        assert code(extension_leg, call, other) == "NOT_BRIDGED"


def test_of_two_extensions_the_calling_one_is_whispered_to_unless_a_side_is_named() -> None:
    called = leg("b", "bleg", "102")
    for legs in ((CALLER, called), (called, CALLER)):
        call = talking(legs=legs)
        assert extension_leg(call, "") == CALLER
        assert extension_leg(call, "bleg") == called


def test_nobody_outside_is_ever_whispered_to() -> None:
    call = talking(legs=(leg("x", "aleg", "0900", kind="outside"), OUTSIDE))
    assert code(extension_leg, call, "") == "NOT_BRIDGED"
    assert code(extension_leg, talking(legs=(OUTSIDE,)), "aleg") == "NOT_BRIDGED"


def test_an_extension_whose_phone_rings_is_not_whispered_to() -> None:
    assert code(extension_leg, talking(legs=(ringing(CALLER), OUTSIDE)), "") == "NOT_ANSWERED"
    answering = leg("b", "bleg", "102")
    assert extension_leg(talking(legs=(ringing(CALLER), answering)), "") == answering


def test_without_a_side_the_main_leg_is_the_answered_extension_then_any_that_answered() -> None:
    assert main_leg(talking(legs=(OUTSIDE, CALLER)), "") == CALLER
    assert main_leg(talking(legs=(OUTSIDE, ringing(CALLER))), "") == OUTSIDE
    assert main_leg(talking(legs=(leg("x", "aleg", "0900", kind="outside"), OUTSIDE)), "").uuid == "x"
    assert main_leg(talking(legs=(CALLER, OUTSIDE)), "bleg") == OUTSIDE
    assert code(main_leg, talking(legs=(ringing(CALLER),)), "") == "NOT_ANSWERED"
    assert code(main_leg, talking(legs=()), "") == "NOT_BRIDGED"


def test_legs_are_found_by_their_channels() -> None:
    call = talking(monitors=(watching(), watching(watches=CALLED, uuid="other")))
    found = find_leg(call, CALLED)
    assert found is not None
    assert found.uuid == CALLED
    assert find_leg(call, "x") is None
    assert find_leg(None, CALLED) is None
    assert others(call, CALL) == [CALLED]
    assert [monitor.uuid for monitor in watchers_of(call, [CALLED])] == ["other"]
