"""What is not certain of a switch's channels: which are to be probed, which are known to be dead, what probes found.

A uuid is doubted once, however many reasons there are, until its probe is answered. Pure: `now` is seconds of any
steady clock.
"""

from collections.abc import Collection
from typing import Final, Literal

from callbridge.lately import Lately

TOMBSTONE_FOR: Final = 60.0
"""Seconds for which the uuid of a dead channel is remembered. CHANNEL_STATE follows CHANNEL_DESTROY at once, a row of
`show channels` outlives it by up to 270 ms (measured)."""

LAST_WORDS: Final = 5.0
"""Seconds that a channel's last events have to come after a probe has not found it. The switch finds no channel that
is on its way out (measured), and tells of its end only when its dialplan and modules have done what they do then."""

Found = Literal["gone", "alive", "changed"]


class Doubts:
    """See the module."""

    def __init__(self) -> None:
        self.zombies: set[str] = set()
        """What the last list named and a probe did not find: rows that stay for ever are not asked about again."""
        self._floors: dict[str, int] = {}
        """Channels to be probed -> the sequence number that the answer must exceed."""
        self._to_ask: list[str] = []
        """Those of them that nobody has asked about yet."""
        self._tombstones = Lately[int](TOMBSTONE_FOR)
        """uuid of a dead channel -> the sequence number of what was last heard of it."""
        self._unknown: set[str] = set()
        """What the last list named that was neither known nor known to be dead."""
        self._missing: dict[str, float] = {}
        """Known channels that a probe has not found -> when it first did not."""
        self._suspects: dict[str, int] = {}
        """Known channels of which a dump showed something else than their events -> its sequence number."""
        self._corrections: list[tuple[str, Found]] = []

    def __repr__(self) -> str:
        return f"<Doubts about {len(self._floors)}, {len(self.zombies)} zombies>"

    # What is asked.

    def about(self, uuid: str, floor: int = 0) -> None:
        """The switch is to be asked about this channel; an answer counts that has a higher number than `floor`."""
        if uuid not in self._floors:
            self._to_ask.append(uuid)
        self._floors[uuid] = max(floor, self._floors.get(uuid, 0))

    def again(self, uuid: str) -> None:
        """The answer was older than what is known already."""
        self._to_ask.append(uuid)

    def floor(self, uuid: str) -> int:
        """What the number of an answer must exceed."""
        return self._floors.get(uuid, 0)

    def answered(self, uuid: str) -> None:
        """The question is settled, or will be asked again by whoever doubts next."""
        self._floors.pop(uuid, None)
        self._unknown.discard(uuid)
        if not self._unknown:
            # A set that was large once keeps its room.
            self._unknown = set()

    def take(self) -> list[str]:
        """The channels to ask about now."""
        wanted, self._to_ask = self._to_ask, []
        if not self._floors:
            # A dictionary that was large once keeps its room.
            self._floors = {}
        return wanted

    # What the answers mean.

    def compare(self, listed: Collection[str], known: Collection[str], now: float) -> list[str]:
        """What a list names and is neither known nor known to be dead: it is doubted now."""
        self.zombies.intersection_update(listed)
        unknown = [
            uuid for uuid in listed if uuid not in known and uuid not in self.zombies and not self.is_dead(uuid, now)
        ]
        self._unknown = set(unknown)
        for uuid in unknown:
            self.about(uuid)
        return unknown

    def found(self, uuid: str) -> int | None:
        """A dump of a known channel came: it is there. Gives the number of the dump that made it a suspect."""
        self._floors.pop(uuid, None)
        self._missing.pop(uuid, None)
        return self._suspects.pop(uuid, None)

    def suspect(self, uuid: str, sequence: int) -> None:
        """The dump of that number showed the channel otherwise than its events. It overtakes those that wait, so only
        a second one proves anything, with no event in between."""
        self._suspects[uuid] = sequence

    def missing(self, uuid: str, now: float) -> float:
        """A known channel was not found. Until when its last events have the time to come."""
        return self._missing.setdefault(uuid, now) + LAST_WORDS

    def not_found(self, uuid: str, now: float) -> None:
        """What is not known was not found either."""
        if uuid in self._unknown:
            self.zombies.add(uuid)
        self.bury(uuid, now, 0)

    def correct(self, uuid: str, found: Found) -> None:
        """A probe has found what no event had said."""
        self._corrections.append((uuid, found))

    def take_corrections(self) -> list[tuple[str, Found]]:
        """What was found since the last call."""
        found, self._corrections = self._corrections, []
        return found

    # The dead.

    def bury(self, uuid: str, now: float, sequence: int) -> None:
        """The channel is dead; `sequence` is the number of what was last heard of it."""
        for kept in (self._floors, self._missing, self._suspects):
            kept.pop(uuid, None)
        self._tombstones.put((uuid,), sequence, now)

    def is_dead(self, uuid: str, now: float) -> bool:
        """Whether the channel died lately."""
        return self._tombstones.get(uuid, now) is not None

    def last_words(self, uuid: str, now: float) -> int:
        """The number of what was last heard of a channel that died lately; 0 of any other."""
        return self._tombstones.get(uuid, now) or 0

    def begin(self) -> None:
        """A new connection: what was asked on the one before is not answered any more."""
        for kept in (self._floors, self._missing, self._suspects):
            kept.clear()
        self._to_ask.clear()
