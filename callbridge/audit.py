"""The audit log: who did what to which call, as JSON lines that are only ever added.

Each command is two lines of one `id`: `asked` before the switch hears of it, `done` when its outcome is known. What
cannot be written is not done. The file is opened for every line, so it can be moved away at any time (logrotate).
"""

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

MODE: Final = 0o640
"""Of a new file: its lines hold numbers of callers."""


class Audit:
    """One file. `now` gives the wall clock."""

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self._now = now
        self._torn = False
        """Whether the last line is not whole: the disk became full in the middle of it."""

    def __repr__(self) -> str:
        return f"<Audit {self.path}>"

    async def write(self, event: str, fields: dict[str, Any]) -> None:
        """Add one line and have it on the disk when this comes back. Raises OSError."""
        line = msgspec.json.encode({"time": self._now().isoformat(timespec="milliseconds"), "event": event, **fields})
        # In a thread: a slow disk holds up this command, never the events of a switch.
        await asyncio.to_thread(self._append, line + b"\n")

    def _append(self, line: bytes) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        try:
            # What stands after a line that was torn is a line of its own.
            line = b"\n" + line if self._torn else line
            written = os.write(file, line)
            self._torn = 0 < written < len(line) or (self._torn and not written)
            if written != len(line):
                raise OSError("the line could not be written whole")
            os.fdatasync(file)
        finally:
            os.close(file)
