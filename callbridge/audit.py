"""The audit log: who did what to which call, as JSON lines that are only ever added.

Each command is two lines of one `id`: `asked` before the switch hears of it, `done` when its outcome is known. What
cannot be written is not done. The file is opened for every write, so it can be moved away at any time (logrotate).

One thread writes at a time, and all lines that come meanwhile go together in the next write: two hundred commands at
once are a few flushes of the disk, and no crowd of threads that fight the event loop for the interpreter.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

AT_ONCE: Final = 8
"""Commands that go on in one turn of the event loop: each takes some 0.2 ms, and a switch's events come in between."""

MODE: Final = 0o640
"""Of a new file: its lines hold numbers of callers."""


class Audit:
    """One file. `now` gives the wall clock."""

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self._now = now
        self._torn = False
        """Whether the last line is not whole: the disk became full in the middle of it."""
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Audit {self.path}>"

    async def write(self, event: str, fields: dict[str, Any]) -> None:
        """Add one line and have it on the disk when this comes back. Raises OSError. A line that is no more waited for
        is written all the same."""
        line = msgspec.json.encode({"time": self._now().isoformat(timespec="milliseconds"), "event": event, **fields})
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((line + b"\n", written))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        await written

    async def flush(self) -> None:
        """Come back when every line so far is on the disk, or has failed."""
        if self._writer is not None:
            await asyncio.wait([self._writer])

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                lines, self._waiting = self._waiting, []
                # In a thread: a slow disk holds up these commands, never the events of a switch.
                try:
                    failures = await asyncio.to_thread(self._append, [line for line, _ in lines])
                except Exception as error:
                    # There is no thread for it, or no memory: nothing is on the disk.
                    failures = [OSError(f"{type(error).__name__}: {error}")] * len(lines)
                for number, ((_, written), failure) in enumerate(zip(lines, failures, strict=True), 1):
                    if not written.done():
                        written.set_exception(failure) if failure else written.set_result(None)
                    if number % AT_ONCE == 0:
                        await asyncio.sleep(0)
        finally:
            self._writer = None

    def _append(self, lines: Sequence[bytes]) -> list[OSError | None]:
        """Why each line could not be written; None for those that are on the disk."""
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        except OSError as error:
            return [error] * len(lines)
        try:
            failures = [self._write(file, line) for line in lines]
            os.fdatasync(file)
        except OSError as error:
            return [error] * len(lines)
        finally:
            os.close(file)
        return failures

    def _write(self, file: int, line: bytes) -> OSError | None:
        # What stands after a line that was torn is a line of its own.
        line = b"\n" + line if self._torn else line
        try:
            written = os.write(file, line)
        except OSError as error:
            return error
        self._torn = 0 < written < len(line) or (self._torn and not written)
        return None if written == len(line) else OSError("the line could not be written whole")
