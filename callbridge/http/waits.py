"""Requests that wait for a list to change, and cost nothing until it does."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from callbridge.http.query import Query
from callbridge.mirror import Mirror

Sleep = Callable[[float], Awaitable[None]]


class Asked(NamedTuple):
    """A question, and the tag of the answer that is known."""

    tenant: str | None
    query: Query
    tag: str


class Waits:
    """Wakes those who wait for another answer. All who wait for the same one cost one look at it."""

    def __init__(self, mirror: Mirror, sleep: Sleep) -> None:
        self._sleep = sleep
        self._waiting: dict[Asked, tuple[Callable[[], str], set[asyncio.Future[None]]]] = {}
        """What was asked -> the tag as it is now, and who waits for another one"""
        self._looking: asyncio.Handle | None = None
        self._closed = False
        self._mirror = mirror
        mirror.subscribe_to_states(self._look_soon)

    def __repr__(self) -> str:
        return f"<Waits for {len(self._waiting)} answers>"

    async def until_changed(self, asked: Asked, tag_now: Callable[[], str], seconds: float) -> None:
        """Return when the tag is no more what it was, when the time is up, or when the service ends."""
        if self._closed:
            return
        if not self._waiting:
            self._mirror.subscribe(self._on_changes)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        _, waiting = self._waiting.setdefault(asked, (tag_now, set()))
        waiting.add(woken)
        timer = asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait({woken, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            waiting.discard(woken)
            if not waiting and self._waiting.get(asked, (tag_now, None))[1] is waiting:
                self._forget(asked)

    async def close(self, _: Any = None) -> None:
        """Nobody waits any more."""
        self._closed = True
        self.wake_all()

    def wake_all(self) -> None:
        """Whoever waits now is answered."""
        for asked in list(self._waiting):
            self._wake(asked)

    def _on_changes(self, *_: Iterable[Any]) -> None:
        self._look_soon()

    def _look_soon(self) -> None:
        # Once for all changes of a turn.
        if self._waiting and self._looking is None:
            self._looking = asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looking = None
        for asked, (tag_now, _) in list(self._waiting.items()):
            if tag_now() != asked.tag:
                self._wake(asked)

    def _wake(self, asked: Asked) -> None:
        for woken in self._forget(asked):
            if not woken.done():
                woken.set_result(None)

    def _forget(self, asked: Asked) -> set[asyncio.Future[None]]:
        _, waiting = self._waiting.pop(asked)
        if not self._waiting:
            self._mirror.unsubscribe(self._on_changes)
        return waiting
