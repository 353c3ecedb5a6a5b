"""Tasks: in the order of their times, woken once, and counted."""

import pytest

from callbridge.simulator.timeline import FOREVER, Steps, Timeline


class Story:
    """A timeline on a clock that a test moves, and what its tasks have noted."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timeline = Timeline(lambda: self.now)
        self.told: list[tuple[float, str]] = []

    def task(self, name: str, *waits: float) -> Steps:
        for wait in waits:
            self.told.append((self.now, name))
            yield wait
        self.told.append((self.now, f"{name} ends"))

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.timeline.advance()) is not None and self.now + due <= end:
            self.now += due
        self.now = end


def test_tasks_take_their_steps_when_they_are_due() -> None:
    story = Story()
    story.timeline.start(story.task("slow", 2))
    story.timeline.start(story.task("quick", 1), 0.5)
    assert story.told == [(0, "slow")]
    story.pass_time(10)
    assert story.told[1:] == [(0.5, "quick"), (1.5, "quick ends"), (2, "slow ends")]


def test_a_task_that_waits_for_ever_goes_on_when_it_is_woken() -> None:
    story = Story()
    task = story.timeline.start(story.task("a", FOREVER))
    assert story.timeline.advance() is None
    story.timeline.wake(task, 0.5)
    story.pass_time(1)
    assert story.told == [(0, "a"), (0.5, "a ends")]


@pytest.mark.parametrize(("wait", "after"), [(0.1, 0.5), (9, 0.5)])
def test_what_a_task_waited_for_counts_no_longer_once_it_is_woken(wait: float, after: float) -> None:
    story = Story()
    task = story.timeline.start(story.task("a", wait))
    story.timeline.wake(task, after)
    story.pass_time(10)
    assert story.told == [(0, "a"), (after, "a ends")]


def test_a_task_that_is_woken_is_not_put_off_by_being_woken_again() -> None:
    story = Story()
    task = story.timeline.start(story.task("a", 9))
    story.timeline.wake(task, 0.5)
    story.pass_time(0.4)
    story.timeline.wake(task, 0.5)
    story.pass_time(1)
    assert story.told == [(0, "a"), (0.5, "a ends")]


def test_tasks_are_counted_until_they_end() -> None:
    story = Story()
    for _ in range(3):
        story.timeline.start(story.task("a", 1))
    assert repr(story.timeline) == "<Timeline 3 tasks>"
    story.pass_time(2)
    assert repr(story.timeline) == "<Timeline 0 tasks>"
