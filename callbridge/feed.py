"""The latest changes of every switch, so that whoever was away for a moment hears what it has missed.

A position is how far a switch's changes have come: (run, seq), as its `SwitchStatus` has them. The changes after it are
kept in a ring until there are too many. No I/O and no clock. While nobody listens, nothing is kept and nothing is done;
the first listener begins it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from callbridge.mirror import EVERY_TENANT, Mirror
from callbridge.records import Ended, Record

MAX_CHANGES: Final = 20_000
"""Changes of one switch that are kept: 20 seconds of 1,000 a second."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes, as JSON, of the calls that these changes tell of."""

Point = tuple[str, int]
Positions = Mapping[str, Point]
"""switch -> how far its changes have come"""

_encode: Final = msgspec.json.Encoder().encode


class Change(msgspec.Struct, frozen=True, gc=False):
    """One call, before and after. `after` None: it is gone; `ended` then says how, or `joined` that it has become part
    of another. Both are None where a call came and went unseen."""

    call_id: str
    before: Record | None
    after: Record | None
    ended: Ended | None = None
    joined: bool = False

    @property
    def tenants(self) -> set[str | None]:
        """Whose lists it can touch."""
        return {EVERY_TENANT, *(known.tenant for known in (self.before, self.after, self.ended) if known is not None)}


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Changes that readers saw at once, between two positions.

    `divisible`: whoever has had some of it from another daemon, whose batches may be finer, can be told the rest by
    being told all of it. It cannot where a call may have come and gone in between that is not named here, or not with
    its tenant.
    """

    was: Point
    now: Point
    changes: tuple[Change, ...]
    size: int
    divisible: bool


class Missed(NamedTuple):
    """What came after a position, oldest first. `begun`: some of the first batch has been told already."""

    batches: list[Batch]
    begun: bool = False


class _Ring:
    """The latest changes of one switch, and its calls as they were after them."""

    def __init__(self, now: Point, records: Iterable[Record]) -> None:
        self.now = now
        self.known = {record.call_id: record for record in records}
        self._batches: deque[Batch] = deque()
        self._starts: set[Point] = set()
        """Where a batch begins"""
        self._changes = 0
        self._bytes = 0

    def add(self, batch: Batch) -> None:
        """Keep one more, and let go of the oldest beyond the bounds."""
        self.now = batch.now
        self._batches.append(batch)
        self._starts.add(batch.was)
        # An empty one, which only moves the position, counts as well.
        self._changes += len(batch.changes) or 1
        self._bytes += batch.size
        while self._changes > MAX_CHANGES or self._bytes > MAX_BYTES:
            oldest = self._batches.popleft()
            self._starts.discard(oldest.was)
            self._changes -= len(oldest.changes) or 1
            self._bytes -= oldest.size

    def since(self, point: Point) -> Missed | None:
        """What came after that position; None where that is not known any more."""
        if self.ahead(point) or point == self.now:
            return Missed([])
        oldest = self._batches[0].was if self._batches else self.now
        within = point[0] == oldest[0] == self.now[0] and oldest[1] < point[1]
        if point not in self._starts and not within:
            return None
        found: list[Batch] = []
        for batch in reversed(self._batches):
            found.append(batch)
            if batch.was == point:
                return Missed(found[::-1])
            if point not in self._starts and batch.was[1] < point[1]:
                return Missed(found[::-1], begun=True) if batch.divisible else None
        return None

    def ahead(self, point: Point) -> bool:
        return point[0] == self.now[0] and point[1] > self.now[1]


class Feed:
    """The latest changes of all switches of a mirror. `tell` is called after each of them while they are kept."""

    def __init__(self, mirror: Mirror, tell: Callable[[], None]) -> None:
        self._mirror = mirror
        self._tell = tell
        self._rings: dict[str, _Ring] = {}
        self._listeners = 0
        self._unheard = 0
        """Changes since the last listener went."""
        mirror.subscribe_to_states(self._on_states)

    def __repr__(self) -> str:
        return f"<Feed of {self._listeners} listeners, {'keeping' if self._rings else 'idle'}>"

    def begin(self) -> None:
        """One more listens from now on."""
        self._listeners += 1
        self._unheard = 0
        if not self._rings:
            for name in self._mirror.switches:
                self._add(name)
            self._mirror.subscribe(self._on_changes)

    def end(self) -> None:
        """One listens no more. It may come back, so the changes are kept until they are too many for that."""
        self._listeners -= 1

    def positions(self) -> Positions:
        """How far all switches have come."""
        return {name: ring.now for name, ring in self._rings.items()}

    def since(self, switch: str, point: Point) -> Missed | None:
        """What a switch's calls have gone through since that position. Nothing where the position is still to come: it
        is another daemon's, which is ahead. None where it is not known."""
        ring = self._rings.get(switch)
        return None if ring is None else ring.since(point)

    def ahead(self, switch: str, point: Point) -> bool:
        """Whether that position of this run is still to come."""
        return switch in self._rings and self._rings[switch].ahead(point)

    def _add(self, switch: str) -> None:
        status = self._mirror.switches[switch]
        self._rings[switch] = _Ring((status.run, status.seq), self._mirror.records(switch))

    def _on_states(self) -> None:
        """There may be a switch more or less."""
        if self._rings and self._rings.keys() != self._mirror.switches.keys():
            for name in self._rings.keys() - self._mirror.switches.keys():
                del self._rings[name]
            for name in self._mirror.switches.keys() - self._rings.keys():
                self._add(name)

    def _on_changes(self, switch: str, updated: Iterable[Record], gone: Iterable[str], ended: Iterable[Ended]) -> None:
        ring, status = self._rings[switch], self._mirror.switches[switch]
        changes = [*_departures(ring.known, updated, gone, ended)]
        for record in updated:
            changes.append(Change(record.call_id, ring.known.get(record.call_id), record))
            ring.known[record.call_id] = record
        size = sum(len(_encode(change.after or change.before)) for change in changes)
        divisible = not self._mirror.replacing and all(map(_is_of_one, changes))
        ring.add(Batch(ring.now, (status.run, status.seq), tuple(changes), size, divisible))
        if not self._listeners:
            self._unheard += len(changes)
            if self._unheard > MAX_CHANGES:
                self._rings = {}
                self._mirror.unsubscribe(self._on_changes)
        self._tell()


def _departures(
    known: dict[str, Record], updated: Iterable[Record], gone: Iterable[str], ended: Iterable[Ended]
) -> Iterable[Change]:
    ends = {call.call_id: call for call in ended}
    others = {other_id for record in updated for other_id in record.ids}
    for call_id in gone:
        end = ends.get(call_id)
        yield Change(call_id, known.pop(call_id, None), None, end, joined=end is None and call_id in others)


def _is_of_one(change: Change) -> bool:
    """Whether it is known whose call it is, and it has been that one's all the time."""
    known = [state.tenant for state in (change.before, change.after, change.ended) if state is not None]
    return len(set(known)) == 1


def encode_positions(positions: Positions) -> str:
    """As text that goes unchanged into a header and into a query: a `~` is in no name of a switch."""
    return "~".join(f"{switch}~{run}~{seq}" for switch, (run, seq) in positions.items())


def decode_positions(text: str) -> Positions | None:
    """What `encode_positions` has made; None of any other text."""
    parts = text.split("~")
    if len(parts) % 3 or not all(seq.isascii() and seq.isdecimal() and len(seq) < 19 for seq in parts[2::3]):
        return None
    points = zip(parts[1::3], map(int, parts[2::3]), strict=True)
    return dict(zip(parts[0::3], points, strict=True))
