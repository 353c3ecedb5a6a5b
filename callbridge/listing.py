"""The calls of one tenant, oldest first, and the bytes of their list: in blocks, so that a change costs one block.

A row is encoded when its call changes, and a block keeps its rows joined until one of them does. So a list of 10,000
rows of which a few have changed is some 30 pieces, all but a few of them as they were, and nobody puts them together.
Nothing here knows tenants, switches or HTTP.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from hashlib import blake2b
from itertools import chain, count
from operator import attrgetter
from typing import Final

from callbridge.records import Record, encode_row

BLOCK: Final = 512
"""Rows of a full block, some 100 KB. Fewer make more pieces to be sent, more make a change dearer."""

_START: Final = b'{"data":['
_place: Final = attrgetter("record.created_us", "record.call_id", "record.switch")
"""Where an entry belongs; no two have the same place, and it is the same in every daemon."""


class Entry:
    """One live call as readers see it: the record, and its row as bytes."""

    __slots__ = ("record", "row")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.row = encode_row(record)

    def __repr__(self) -> str:
        return f"<Entry {self.record.call_id}>"

    def digest(self) -> int:
        """A number of 128 bits that stands for the row and its place, the same wherever it is worked out."""
        return int.from_bytes(blake2b(b"%d" % self.record.created_us + self.row, digest_size=16).digest(), "little")


class _Block:
    """Some calls that follow each other, never none, and their rows joined, once somebody has asked for them."""

    __slots__ = ("_around", "_piece", "entries")

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self._around = (b"", b"")
        self._piece: bytes | None = None

    def piece(self, start: bytes, end: bytes) -> bytes:
        if self._piece is None or self._around != (start, end):
            self._piece = _joined([entry.row for entry in self.entries], start, end)
            self._around = (start, end)
        return self._piece

    def changed(self) -> None:
        self._piece = None


class Listing:
    """The calls of one tenant (or of all), oldest first; those that began in the same microsecond by their ids.

    `digest` is the sum of its entries' digests: two listings that have the same show the same rows, in whatever daemon
    they are. `version` counts all changes, also of what no row shows; two listings may have the same version, but never
    the same `serial`. `block`: rows of a full block.

    Two blocks that follow each other have more than `block // 2` rows together, so there are at most four times as many
    as full ones would be, and one, whichever calls stay and go.
    """

    _serials = count()

    def __init__(self, block: int = BLOCK) -> None:
        self.serial = next(self._serials)
        self.version = 0
        self.digest = 0
        self._block = block
        self._count = 0
        self._blocks: list[_Block] = []
        self._starts: list[tuple[int, str, str]] = []
        """For each block a place: none of its own is before it, all of the block before are."""

    def __repr__(self) -> str:
        return f"<Listing {self._count} calls, version {self.version}>"

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        """The entries, oldest call first."""
        return chain.from_iterable([block.entries for block in self._blocks])

    def pieces(self, complete: bool) -> list[bytes]:
        """The whole list as the contract has it, in pieces to be sent one after the other. Those that no change has
        touched are the same objects as before; every call more or less, and another `complete`, touches the last."""
        end = _end(self._count, complete)
        last = len(self._blocks) - 1
        made = [block.piece(b"" if at else _START, b"," if at < last else end) for at, block in enumerate(self._blocks)]
        return made or [_START + end]

    def add(self, entry: Entry, digest: int) -> None:
        """A call appears. `digest` is its entry's."""
        self._count += 1
        self.version += 1
        self.digest += digest
        place = _place(entry)
        if not self._blocks:
            self._insert(0, place, [entry])
        elif place > _place(self._blocks[-1].entries[-1]):
            last = self._blocks[-1]
            if len(last.entries) < self._block:
                last.entries.append(entry)
                last.changed()
            else:
                self._insert(len(self._blocks), place, [entry])
        else:
            self._starts[0] = min(self._starts[0], place)
            at = self._find(place)
            entries = self._blocks[at].entries
            insort(entries, entry, key=_place)
            self._blocks[at].changed()
            if len(entries) > self._block:
                half = len(entries) // 2
                self._insert(at + 1, _place(entries[half]), entries[half:])
                del entries[half:]

    def remove(self, entry: Entry, digest: int) -> None:
        """A call goes. `digest` is its entry's."""
        self._count -= 1
        self.version += 1
        self.digest -= digest
        place = _place(entry)
        at = self._find(place)
        block = self._blocks[at]
        del block.entries[bisect_left(block.entries, place, key=_place)]
        block.changed()
        self._tidy(at)

    def note(self, entry: Entry, difference: int) -> None:
        """A call of this listing has changed, and its digest by so much: by nothing where its row has not."""
        self.version += 1
        if difference:
            self.digest += difference
            self._blocks[self._find(_place(entry))].changed()

    def _find(self, place: tuple[int, str, str]) -> int:
        """The block that the place is in."""
        return bisect_right(self._starts, place) - 1

    def _insert(self, at: int, start: tuple[int, str, str], entries: list[Entry]) -> None:
        self._blocks.insert(at, _Block(entries))
        self._starts.insert(at, start)

    def _tidy(self, at: int) -> None:
        """A block has one row less: drop it if it has none, or make one of two that have become small."""
        if not self._blocks[at].entries:
            del self._blocks[at], self._starts[at]
            return
        for left in (at - 1, at):
            if 0 <= left < len(self._blocks) - 1:
                block, following = self._blocks[left], self._blocks[left + 1]
                if len(block.entries) + len(following.entries) <= self._block // 2:
                    block.entries += following.entries
                    block.changed()
                    del self._blocks[left + 1], self._starts[left + 1]
                    return


def list_body(rows: list[bytes], total: int, complete: bool) -> bytes:
    """Rows with what the contract puts around them. The list of rows is used up."""
    return _joined(rows, _START, _end(total, complete))


def _joined(rows: list[bytes], start: bytes, end: bytes) -> bytes:
    if not rows:
        return start + end
    # At the first and the last row, because bytes that are as long as all of them would be copied once more.
    rows[0] = start + rows[0]
    rows[-1] += end
    return b",".join(rows)


def _end(total: int, complete: bool) -> bytes:
    return b'],"total":%d,"complete":%b}' % (total, b"true" if complete else b"false")
