"""What is noted of many changes: the last of each call, in batches that are whole."""

import pytest

from callbridge.records import Ended
from callbridge.sharing import noted as noted_module
from callbridge.sharing.noted import Batch, Noted
from tests.storekit import make


def ended(call_id: str) -> Ended:
    return Ended(call_id, None, (), "2021-06-08 17:40:00", "NORMAL_CLEARING")


def test_of_many_states_of_a_call_the_last_is_kept() -> None:
    noted = Noted()
    for number in range(1000):
        noted.note([make("a", state=f"state {number}")], [], [], number + 1)
    assert repr(noted) == "<Noted 1>"
    assert noted.take(500, 1000) == Batch(1000, [make("a", state="state 999")], [], [])
    assert len(noted) == 0


def test_what_is_gone_is_gone_and_what_came_back_is_there() -> None:
    noted = Noted()
    noted.note([make("a"), make("b"), make("c")], [], [], 1)
    noted.note([], ["a", "b"], [ended("a")], 2)
    noted.note([make("b", state="back")], [], [], 3)
    assert noted.take(500, 3) == Batch(3, [make("c"), make("b", state="back")], ["a"], [ended("a")])


def test_a_call_that_is_gone_and_updated_at_once_is_there() -> None:
    noted = Noted()
    noted.note([make("a")], ["a"], [], 1)
    assert noted.take(500, 1) == Batch(1, [make("a")], [], [])


def test_a_batch_counts_only_the_changes_that_are_whole_with_it() -> None:
    noted = Noted()
    noted.note([make("a"), make("b")], [], [], 7)
    noted.note([make("c")], [], [], 8)
    assert noted.take(1, 8) == Batch(6, [make("a")], [], [])
    assert noted.take(1, 8) == Batch(7, [make("b")], [], [])
    assert noted.take(1, 8) == Batch(8, [make("c")], [], [])
    assert noted.take(1, 9) == Batch(9, [], [], [])


def test_a_change_to_a_call_that_waits_puts_it_at_the_end() -> None:
    noted = Noted()
    noted.note([make("a")], [], [], 1)
    noted.note([make("b")], [], [], 2)
    noted.note([make("a", state="newer")], [], [], 3)
    assert noted.take(1, 3) == Batch(2, [make("b")], [], [])


def test_it_does_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noted_module, "MAX_NOTED", 10)
    noted = Noted()
    for number in range(11):
        assert not noted.overflowed
        noted.note([], [str(number)], [], number)
    assert noted.overflowed
    assert len(noted) == 0
    noted.clear()
    assert not noted.overflowed
