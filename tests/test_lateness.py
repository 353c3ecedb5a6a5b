"""Events that come late: told by answers that have overtaken them, whatever any clock on the wall says."""

import asyncio
from collections import deque
from typing import Any

import pytest

from callbridge.lateness import LATE, WORDS, Lateness
from tests.service import Followed, until
from tests.test_reflector import Pbx
from tests.test_reflector_entropy import calm_pbx, go_on

# The rule.


def test_an_event_that_an_answer_has_overtaken_long_ago_is_late() -> None:
    lateness = Lateness()
    lateness.answered(100, 10.0)
    lateness.came(90, 10.0 + LATE)
    assert not lateness.is_late(10.0 + LATE)
    lateness.came(91, 10.1 + LATE)
    assert lateness.is_late(10.1 + LATE)


def test_it_is_late_until_the_events_have_reached_what_was_answered_lately() -> None:
    lateness = Lateness()
    for second in range(20):
        lateness.answered(100 + 10 * second, float(second))
        lateness.came(second, float(second))
    lateness.came(205, 20.0)
    assert lateness.is_late(20.0), "it is where the switch was nine seconds ago"
    lateness.came(250, 20.1)
    assert not lateness.is_late(20.1), "it is where the switch was four seconds ago"


def test_an_event_in_time_is_not_late_however_long_it_was_quiet() -> None:
    lateness = Lateness()
    lateness.came(99, 0.0)
    lateness.answered(100, 1.0)
    lateness.came(101, 100.0)
    assert not lateness.is_late(100.0)


def test_what_is_counted_and_not_sent_is_not_waited_for() -> None:
    lateness = Lateness()
    # A dump counts itself; its number is never sent.
    lateness.answered(100, 0.0)
    lateness.came(99, LATE + 1)
    assert lateness.is_late(LATE + 1)
    assert not lateness.is_late(2 * LATE + 1.1), "nothing more has come, so that was all there was"
    lateness.answered(150, 2 * LATE + 2)
    lateness.came(149, 2 * LATE + 2.1)
    assert not lateness.is_late(2 * LATE + 2.1)


def test_a_switch_on_which_nothing_happens_is_probed_for_ever_and_nothing_is_kept_of_it() -> None:
    lateness = Lateness()
    for minute in range(10_000):
        lateness.answered(minute, 60.0 * minute)
    assert repr(lateness) == "<Lateness 0.0 s, 1 answers ahead>"


# The switch.


class Queue:
    """Holds what the switch sends to the listener, and lets it go on by and by, as a slow network does."""

    def __init__(self, pbx: Pbx, monkeypatch: pytest.MonkeyPatch) -> None:
        self._frames: deque[tuple[bytes, ...]] = deque()
        self._send = pbx.listener.send
        monkeypatch.setattr(pbx.listener, "send", self._hold)

    def __len__(self) -> int:
        return len(self._frames)

    def _hold(self, *frame: bytes) -> None:
        self._frames.append(frame)

    def let_go(self, number: int) -> None:
        for _ in range(number):
            self._send(*self._frames.popleft())


async def heard(followed: Followed, condition: Any) -> None:
    await until(lambda: condition(followed.status))


async def test_a_list_of_late_events_is_not_called_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    async with calm_pbx(60) as (pbx, followed):
        queue = Queue(pbx, monkeypatch)
        for _ in range(3):
            pbx.call()
        waiting = len(queue)
        assert waiting > 20
        # It is probed meanwhile, and a trickle comes.
        for _ in range(8):
            await go_on(pbx, followed, 1.0)
            queue.let_go(1)
            await asyncio.sleep(0)
        await heard(followed, lambda status: (status.state, status.error) == ("syncing", WORDS))
        assert followed.ids < pbx.calls
        assert not followed.mirror.complete
        queue.let_go(len(queue))
        # With the next event that no answer has overtaken.
        pbx.begin()
        queue.let_go(len(queue))
        await heard(followed, lambda status: (status.state, status.error) == ("live", None))
        assert followed.ids == pbx.calls


async def test_where_no_more_comes_it_has_all_come(monkeypatch: pytest.MonkeyPatch) -> None:
    async with calm_pbx(60) as (pbx, followed):
        queue = Queue(pbx, monkeypatch)
        pbx.call()
        for _ in range(8):
            await go_on(pbx, followed, 1.0)
            queue.let_go(1)
        await heard(followed, lambda status: status.state == "syncing")
        queue.let_go(len(queue))
        await go_on(pbx, followed, LATE + 2)
        await heard(followed, lambda status: (status.state, status.error) == ("live", None))
        assert followed.ids == pbx.calls
