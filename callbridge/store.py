"""Where the live calls are kept besides the mirror: nowhere, or in a Redis that daemons share (`sharing`).

The truth is the switch; whatever a store has is a projection.
"""

import asyncio
from collections.abc import Iterable
from typing import Literal, Protocol

import msgspec

from callbridge.records import Ended, Record


class StoreStatus(msgspec.Struct, frozen=True):
    """How the store is: `embedded`, `up`, or `down` with the reason."""

    state: Literal["embedded", "up", "down"]
    error: str | None = None


class Store(Protocol):
    """What the daemon needs of a store."""

    @property
    def status(self) -> StoreStatus:
        """How it is now."""

    def publish(self, switch: str, updated: Iterable[Record], gone: Iterable[str], ended: Iterable[Ended]) -> None:
        """Note changes that the mirror has applied. Never waits, never fails."""

    def touch(self, switch: str) -> None:
        """What is said of the switch has changed. Never waits, never fails."""

    async def run(self, switch: str) -> None:
        """Write what is noted of a switch, until cancelled."""


class MemoryStore:
    """The embedded store. There is nothing to keep: the mirror has the calls, and the switch can tell them again."""

    status = StoreStatus("embedded")

    def publish(self, switch: str, updated: Iterable[Record], gone: Iterable[str], ended: Iterable[Ended]) -> None:
        """Nothing to do."""

    def touch(self, switch: str) -> None:
        """Nothing to do."""

    async def run(self, switch: str) -> None:  # noqa: ARG002 - as the protocol has it
        """Nothing to do, for ever."""
        await asyncio.Event().wait()
