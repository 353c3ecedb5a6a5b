"""What of a switch's changes is still to be written: the last state of each call that has changed, and no more.

Pure. Memory follows the calls that change, not the events, and not for how long nobody writes.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from callbridge.records import Ended, Record

MAX_NOTED: Final = 20_000
"""Changed calls that wait at most. What ends while a slow Redis falls behind would pile up without bound; past this it
is cheaper to write everything again."""


class Batch(msgspec.Struct, frozen=True):
    """Changes that are written together. `seq` is the count of changes (mirror.SwitchStatus) that are whole with it."""

    seq: int
    updated: list[Record]
    gone: list[str]
    ended: list[Ended]


class Noted:
    """The changes that wait, in the order of each call's last one."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[Record | None, Ended | None, int]] = {}
        """call id -> what it is now (None: gone), how it ended, and the count at its last change"""
        self.overflowed = False
        """Too much was to be noted: everything is to be written again."""

    def __repr__(self) -> str:
        return f"<Noted {len(self)}>"

    def __len__(self) -> int:
        return len(self._calls)

    def note(self, updated: Iterable[Record], gone: Iterable[str], ended: Iterable[Ended], seq: int) -> None:
        """Take in changes; `seq` is the count with them."""
        for call_id in gone:
            self._put(call_id, None, None, seq)
        for call in ended:
            self._put(call.call_id, None, call, seq)
        for record in updated:
            self._put(record.call_id, record, None, seq)
        if len(self._calls) > MAX_NOTED:
            self._calls.clear()
            self.overflowed = True

    def take(self, limit: int, seq: int) -> Batch:
        """The oldest changes, `limit` at most; `seq` is the count now."""
        taken = {call_id: self._calls.pop(call_id) for call_id in list(self._calls)[:limit]}
        if self._calls:
            # Changes that were made together may have been taken apart: of the next one's count not all are in here.
            seq = next(iter(self._calls.values()))[2] - 1
        return Batch(
            seq,
            [record for record, _, _ in taken.values() if record is not None],
            [call_id for call_id, (record, _, _) in taken.items() if record is None],
            [ended for _, ended, _ in taken.values() if ended is not None],
        )

    def clear(self) -> None:
        """Everything is about to be written anyway."""
        self._calls.clear()
        self.overflowed = False

    def _put(self, call_id: str, record: Record | None, ended: Ended | None, seq: int) -> None:
        # At the end: batches go by the order of the last changes.
        self._calls.pop(call_id, None)
        self._calls[call_id] = (record, ended, seq)
