"""How late a switch's events are. Pure: `now` is seconds of a clock that never goes back.

Events wait in the switch, and in the network, when they cannot be sent or read as fast as they come about; answers over
the other connection do not wait with them. A dump has a number of the same counter as the events (`Event.sequence`), so
an event with a smaller number than a dump that was answered ten seconds ago is ten seconds late, whatever clocks say.
"""

from collections import deque
from typing import Final

LATE: Final = 5.0
"""Seconds from which events are late. Who hears nothing for so long has heard all that there was: a connection on which
nothing comes at all is another matter."""

MARK_EVERY: Final = 1.0
"""Seconds between the answers that are remembered."""

WORDS: Final = "its events come late: the network, or callbridge itself, does not keep up with them"


class Lateness:
    """The lateness of the events of one connection."""

    def __init__(self) -> None:
        self._answers: deque[tuple[int, float]] = deque()
        """Numbers that no event has reached yet, and when an answer had them."""
        self._heard = 0.0
        self._behind = 0.0

    def __repr__(self) -> str:
        return f"<Lateness {self._behind:.1f} s, {len(self._answers)} answers ahead>"

    def answered(self, sequence: int, now: float) -> None:
        """A dump with this number came."""
        if now - self._heard > LATE:
            self._answers.clear()
        if not self._answers or now - self._answers[-1][1] >= MARK_EVERY:
            self._answers.append((sequence, now))

    def came(self, sequence: int, now: float) -> None:
        """An event with this number came."""
        while self._answers and self._answers[0][0] <= sequence:
            self._answers.popleft()
        self._behind = now - self._answers[0][1] if self._answers else 0.0
        self._heard = now

    def is_late(self, now: float) -> bool:
        """Whether what the events have told so far is not what is now."""
        return self._behind > LATE and now - self._heard <= LATE
