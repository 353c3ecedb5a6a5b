"""What happens when: the tasks of a simulated switch, each a generator of seconds to wait, driven by one clock."""

import heapq
import math
from collections.abc import Callable, Generator
from itertools import count
from typing import Final

Steps = Generator[float, None, None]
"""Seconds until the next step; `FOREVER` until it is woken."""

FOREVER: Final = math.inf

SLICE: Final = 0.01
"""Seconds of steps made in one go, before the event loop turns again."""


class Task:
    """A thread of the switch: what remains of it, and which of its appointments is the valid one."""

    __slots__ = ("steps", "turn", "woken")

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.turn = 0
        self.woken = False


class Timeline:
    """The tasks that are under way. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.current: Task | None = None
        """The task whose step is being made."""
        self._due: list[tuple[float, int, int, Task]] = []
        self._serial = count()
        self._live = 0

    def __len__(self) -> int:
        return self._live

    def __repr__(self) -> str:
        return f"<Timeline {self._live} tasks>"

    def start(self, steps: Steps, after: float | None = None) -> Task:
        """Begin a task with its first step at once, or after some seconds."""
        task = Task(steps)
        self._live += 1
        if after is None:
            self._step(task, self.clock())
        else:
            self._appoint(task, self.clock() + after)
        return task

    def wake(self, task: Task, after: float) -> None:
        """Have the next step of a task after so many seconds, whatever it waits for, unless it is woken already."""
        if not task.woken and task is not self.current:
            task.woken = True
            self._appoint(task, self.clock() + after)

    def advance(self) -> float | None:
        """Let all happen that is due now, for `SLICE` at most. Returns seconds until the next, None for never."""
        began = self.clock()
        while self._due:
            now = self.clock()
            due, _, turn, task = self._due[0]
            if turn != task.turn:
                heapq.heappop(self._due)
                continue
            if due > now:
                return due - now
            if now - began > SLICE:
                return 0.0
            heapq.heappop(self._due)
            self._step(task, due)
        return None

    def _step(self, task: Task, now: float) -> None:
        before, self.current = self.current, task
        task.woken = False
        try:
            wait = next(task.steps)
        except StopIteration:
            task.turn += 1
            self._live -= 1
        else:
            self._appoint(task, now + wait)
        finally:
            self.current = before

    def _appoint(self, task: Task, due: float) -> None:
        task.turn += 1
        if due != FOREVER:
            heapq.heappush(self._due, (due, next(self._serial), task.turn, task))
