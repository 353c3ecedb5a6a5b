"""Anti-entropy: when to ask the switch again although it has said nothing, because an event may have been lost.

An event that is lost is lost silently: past 100,000 that wait for a slow reader the switch drops them, and the numbers
of those that come have gaps anyway (mod_event_socket.c, MAX_QUEUE_LEN). So every channel is looked at in turn
(`Rounds`), and the switch's own count of them is held against what is known (`Census`). Pure: `now` is seconds of any
steady clock.
"""

from collections.abc import Collection
from typing import Final

ROUND: Final = 60.0
"""Seconds in which every known channel is probed once. Who comes while a round goes on has its turn in the next, so an
event that was lost is missed for two rounds at most."""

PROBES_A_SECOND: Final = 200
"""Probes of rounds at most. One costs the switch 0.3 ms and 10 KB (measured): 6 % of one core and 2 MB a second. With
more than 12,000 channels a round takes longer than `ROUND`."""

LIST_EVERY: Final = 60.0
"""Seconds after which the channels are listed although nothing asks for it. HEARTBEAT, every 20 s, can be turned off
(switch.conf, `event-heartbeat-interval`); and while calls come and go, a number that fits proves little: one that is
gone and one that is counted before its CHANNEL_CREATE make up for each other."""

LIST_APART: Final = 10.0
"""Seconds between two lists at least. While many calls come and go the number differs nearly always by some: a session
is counted before its CHANNEL_CREATE and after its CHANNEL_DESTROY (switch_core_session.c)."""


_EPSILON: Final = 1e-6
"""What many small sums lack of a whole turn."""


class Rounds:
    """Which channels are probed next. A round goes through those that were there when it began, evenly spread; who
    comes later has its first turn in the next one."""

    def __init__(self) -> None:
        self._left: list[str] = []
        """Whose turn is still to come in this round, the next one last."""
        self._began: float | None = None
        self._a_second = 0.0
        self._credit = 0.0
        self._taken_at = 0.0

    def __repr__(self) -> str:
        return f"<Rounds, {len(self._left)} left>"

    def take(self, channels: Collection[str], now: float) -> list[str]:
        """Whose turn it is, of the channels that there are now."""
        passed = min(max(now - self._taken_at, 0.0), 1.0)
        self._taken_at = now
        if not self._left:
            if self._began is not None and now - self._began < ROUND:
                return []
            self._left = list(channels)[::-1]
            self._began, self._a_second, self._credit = now, min(len(channels) / ROUND, PROBES_A_SECOND), 0.0
        self._credit += passed * self._a_second
        turns = min(int(self._credit + _EPSILON), len(self._left))
        self._credit -= turns
        taken = [self._left.pop() for _ in range(turns)]
        return [uuid for uuid in taken if uuid in channels]


class Census:
    """Whether the channels are to be listed again."""

    def __init__(self) -> None:
        self._differs = False
        self._listed_at = 0.0

    def __repr__(self) -> str:
        return f"<Census {'differs' if self._differs else 'fits'}>"

    def count(self, sessions: int, known: int) -> None:
        """HEARTBEAT says how many sessions there are."""
        self._differs = sessions != known

    def due(self, now: float) -> bool:
        """Whether to list now."""
        return now - self._listed_at >= (LIST_APART if self._differs else LIST_EVERY)

    def failed(self) -> None:
        """The list that was asked for was none."""
        self._differs = True

    def listed(self, now: float) -> None:
        """A list has been asked for; what it says is doubted by whoever has it."""
        self._differs = False
        self._listed_at = now
