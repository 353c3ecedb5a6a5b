"""Waiting for what becomes of a call: a look at its record after every change, and no polling."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from callbridge.mirror import Mirror
from callbridge.records import Ended, Record

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[None]]


class Watch:
    """Wakes those who wait for a call, by any of its ids."""

    def __init__(self, mirror: Mirror, sleep: Sleep = asyncio.sleep) -> None:
        self._mirror = mirror
        self._sleep = sleep
        self._waiting: dict[tuple[str, str], dict[asyncio.Future[Any], Callable[[], Any]]] = {}
        """(switch, id of a call) -> who waits for it to change, and how they look whether it has"""
        mirror.subscribe(self._on_changes)

    def __repr__(self) -> str:
        return f"<Watch {len(self._waiting)} calls watched>"

    async def until(self, switch: str, call_id: str, look: Callable[[], T | None], seconds: float) -> T | None:
        """What `look` finds: asked now, and again after each change of the call that `call_id` leads to on that switch.
        None when the time is up."""
        found = look()
        if found is not None:
            return found
        timer = asyncio.ensure_future(self._sleep(seconds))
        try:
            while found is None and not timer.done():
                found = await self._change(switch, call_id, look, timer)
                if found is None:
                    found = look()
        finally:
            timer.cancel()
        return found

    async def pause(self, seconds: float) -> None:
        """Let that time pass, on the clock that all waiting here goes by."""
        await self._sleep(seconds)

    async def _change(
        self, switch: str, call_id: str, look: Callable[[], T | None], timer: "asyncio.Future[None]"
    ) -> T | None:
        """What `look` finds; None when the time is up, or when the call is no more what it was."""
        # The call may have become part of another: it is that one's changes that matter then.
        record = self._mirror.find_on(switch, call_id)
        key = (switch, call_id if record is None else record.call_id)
        found: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(key, {})
        waiting[found] = look
        waited: set[asyncio.Future[Any]] = {found, timer}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.pop(found, None)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]
        return found.result() if found.done() else None

    def _on_changes(self, switch: str, updated: Iterable[Record], gone: Iterable[str], ended: Iterable[Ended]) -> None:
        if not self._waiting:
            return
        for record in updated:
            # Looked at here, so that hundreds who wait for something else to happen are not woken.
            for found, look in list(self._waiting.get((switch, record.call_id), {}).items()):
                _look(found, look)
        names = [*gone, *(call_id for call in ended for call_id in (call.call_id, *call.ids))]
        for name in names:
            for found in self._waiting.pop((switch, name), ()):
                if not found.done():
                    found.set_result(None)


def _look(found: "asyncio.Future[Any]", look: Callable[[], Any]) -> None:
    if found.done():
        return
    try:
        seen = look()
    except Exception as error:
        # Whoever waits is to have it, not the switch's events.
        found.set_exception(error)
    else:
        if seen is not None:
            found.set_result(seen)
