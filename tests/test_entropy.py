"""Whose turn it is to be probed, and when the channels are listed again."""

import itertools

import pytest

from callbridge.entropy import LIST_APART, LIST_EVERY, PROBES_A_SECOND, ROUND, Census, Rounds

STEP = 0.5


@pytest.mark.parametrize("channels", [1, 7, 100, 5000])
def test_every_channel_has_its_turn_once_a_round_and_they_are_spread(channels: int) -> None:
    rounds, known = Rounds(), [str(number) for number in range(channels)]
    rounds.take(known, 0.0)
    turns = [rounds.take(known, step * STEP) for step in range(1, int(ROUND / STEP) + 1)]
    assert [uuid for turn in turns for uuid in turn] == known
    assert max(len(turn) for turn in turns) <= channels * STEP / ROUND + 1


def test_no_more_are_asked_for_in_a_second_than_the_switch_is_to_bear() -> None:
    rounds, known = Rounds(), {str(number) for number in range(50_000)}
    rounds.take(known, 999.5)
    for step in range(300):
        assert len(rounds.take(known, 1000.0 + step * STEP)) <= PROBES_A_SECOND * STEP
    assert len(rounds.take(known, 10_000.0)) == PROBES_A_SECOND


def test_one_round_begins_a_round_after_the_one_before() -> None:
    rounds = Rounds()
    asked = [float(now) for now in range(600) if rounds.take(["a"], float(now))]
    assert [after - before for before, after in itertools.pairwise(asked)] == [ROUND] * (len(asked) - 1)
    assert len(asked) >= 8


def test_who_comes_has_its_first_turn_in_the_next_round_and_the_gone_have_none() -> None:
    rounds, known = Rounds(), ["a", "b"]
    assert rounds.take(known, ROUND) == []
    assert repr(rounds) == "<Rounds, 2 left>"
    known = ["b", "c"]
    turns = {uuid: now for now in range(int(ROUND) + 1, int(3 * ROUND)) for uuid in rounds.take(known, float(now))}
    assert set(turns) == {"b", "c"}
    assert turns["c"] > 2 * ROUND


def test_a_number_that_differs_asks_for_a_list() -> None:
    census = Census()
    census.listed(100.0)
    census.count(5, 5)
    assert not census.due(120.0 + LIST_APART)
    census.count(6, 5)
    assert census.due(140.0)
    assert repr(census) == "<Census differs>"
    census.listed(140.0)
    assert not census.due(140.0)
    assert repr(census) == "<Census fits>"


def test_lists_are_apart_although_the_number_differs_all_the_time() -> None:
    census = Census()
    census.listed(0.0)
    census.count(6, 5)
    assert not census.due(LIST_APART - 0.1)
    assert census.due(LIST_APART)


def test_a_list_that_failed_is_asked_for_again() -> None:
    census = Census()
    census.listed(0.0)
    census.failed()
    assert not census.due(LIST_APART - 0.1)
    assert census.due(LIST_APART)


def test_a_number_that_fits_puts_no_list_off() -> None:
    census = Census()
    census.listed(0.0)
    census.count(5, 5)
    assert not census.due(LIST_EVERY - 0.1)
    assert census.due(LIST_EVERY)


def test_without_a_heartbeat_there_is_a_list_now_and_then() -> None:
    census = Census()
    census.listed(0.0)
    assert not census.due(LIST_EVERY - 0.1)
    assert census.due(LIST_EVERY)
