"""What happened lately, by key: each for some seconds, and of no more than so many the newest.

A dictionary that loses its oldest keys one by one goes past all the places of those that are gone to find the next, so
what it takes to forget one would grow with how many are remembered. Pure: `now` is seconds of any steady clock.
"""

import sys
from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Lately(Generic[Value]):
    """Values that are found by any of their keys."""

    def __init__(self, seconds: float, most: int = sys.maxsize) -> None:
        self._seconds = seconds
        self._most = most
        self._found: dict[str, tuple[float, Sequence[str], Value]] = {}
        self._oldest_first: deque[tuple[float, Sequence[str], Value]] = deque()

    def __repr__(self) -> str:
        return f"<Lately {len(self._found)} keys>"

    def put(self, keys: Sequence[str], value: Value, now: float) -> None:
        """It has happened now; what had one of these keys before has them no more."""
        entry = (now, keys, value)
        self._oldest_first.append(entry)
        for key in keys:
            self._found[key] = entry
        while len(self._oldest_first) > self._most or now - self._oldest_first[0][0] > self._seconds:
            self._forget(self._oldest_first.popleft())

    def get(self, key: str, now: float = -inf) -> Value | None:
        """What has happened, if it was lately; without `now` also what is about to be forgotten."""
        entry = self._found.get(key)
        return None if entry is None or now - entry[0] > self._seconds else entry[2]

    def drop(self, key: str) -> None:
        """It is not so any more."""
        self._found.pop(key, None)

    def _forget(self, entry: tuple[float, Sequence[str], Value]) -> None:
        for key in entry[1]:
            if self._found.get(key) is entry:
                del self._found[key]
