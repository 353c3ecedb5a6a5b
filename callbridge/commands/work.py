"""What a command works with: the call's switch, and what is known of the call now."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import msgspec

from callbridge.commands.console import Console
from callbridge.commands.directory import Directory
from callbridge.commands.legs import find_leg
from callbridge.commands.orders import Kill, Order, Originate, SetVariable, StopPhones
from callbridge.commands.outcome import Code, Refused
from callbridge.commands.watch import Watch
from callbridge.mirror import Mirror
from callbridge.records import Leg, Record

T = TypeVar("T")

EFFECT_TIMEOUT: Final = 5.0
"""Seconds within which the switch must show that it did what it said; it takes some 30 ms (measured)."""


END_WITHIN: Final = 60
"""Seconds for which a connection is waited for that a channel is to be hung up over: it is tried every second."""


_LOST: Final = frozenset(("SWITCH_UNAVAILABLE", "OUTCOME_UNKNOWN"))


class Settings(msgspec.Struct, frozen=True):
    """What the operator chooses. `contexts`: tenant -> dialplan context, where it is not the tenant's name."""

    ring_seconds: int
    park_seconds: int
    recording: str
    contexts: dict[str, str]


class Later(msgspec.Struct, frozen=True):
    """What outlives the answer to the consumer: `run` does something more, `failed` notes why no phone that rang under
    an id has answered."""

    run: Callable[[Coroutine[Any, Any, None]], None]
    failed: Callable[[str, Code], None]


class Work:
    """The surroundings of one command."""

    def __init__(
        self,
        console: Console,
        mirror: Mirror,
        watch: Watch,
        directory: Directory,
        settings: Settings,
        later: Later,
    ) -> None:
        self.console = console
        self.switch = console.switch
        self.directory = directory
        self.settings = settings
        self.later = later
        self._mirror = mirror
        self._watch = watch
        self._acted = False
        """Whether the switch has carried out anything that somebody on the phone can notice."""

    async def tell(self, order: Order) -> str:
        """See `Console.tell`. After something was done it never raises a SWITCH_UNAVAILABLE, which says that nothing
        was, but OUTCOME_UNKNOWN."""
        try:
            answer = await self.console.tell(order)
        except Refused as refused:
            raise self._truth(refused) from None
        self._acted = self._acted or (order.acts and not isinstance(order, SetVariable))
        return answer

    async def originate(self, order: Originate) -> str:
        """See `Console.originate`."""
        answer = await self.console.originate(order)
        self._acted = True
        return answer

    def _truth(self, refused: Refused) -> Refused:
        if refused.code != "SWITCH_UNAVAILABLE" or not self._acted:
            return refused
        message = f"{self.switch} was lost half-way; look at the call before you try again"
        return Refused("OUTCOME_UNKNOWN", message)

    def record(self, uuid: str) -> Record | None:
        """The live call that has this id or leg now."""
        return self._mirror.find_on(self.switch, uuid)

    def leg(self, uuid: str) -> Leg | None:
        """The living leg."""
        return find_leg(self.record(uuid), uuid)

    def cause_of(self, uuid: str, call_id: str) -> str:
        """Why a leg of a call ended; "" where that is not known, and while that call goes on."""
        ended = self._mirror.ended_on(self.switch, call_id)
        return dict(ended.causes).get(uuid, ended.cause) if ended is not None else ""

    async def until(self, call_id: str, look: Callable[[], T | None], seconds: float) -> T | None:
        """See `Watch.until`."""
        return await self._watch.until(self.switch, call_id, look, seconds)

    async def effect(self, uuid: str, holds: Callable[[Leg], bool], what: str) -> None:
        """Wait until the leg shows what it was told to do. Raises Refused CALL_ENDED or OUTCOME_UNKNOWN."""

        def look() -> bool | None:
            leg = self.leg(uuid)
            return False if leg is None else holds(leg) or None

        shown = await self.until(uuid, look, EFFECT_TIMEOUT)
        if shown is None:
            message = f"the switch took the order, but {what} has not been seen; look at the call before you try again"
            raise Refused("OUTCOME_UNKNOWN", message)
        if not shown:
            raise Refused("CALL_ENDED", "the leg hung up meanwhile")

    def are_gone(self, uuids: list[str]) -> bool:
        """Whether none of these legs lives."""
        return all(self.leg(uuid) is None for uuid in uuids)

    async def end(self, *kills: Kill | StopPhones) -> None:
        """Hang channels up, those that are gone already as well. Where the switch is lost, they are hung up when it is
        back: nobody else would, and to hang up twice does no harm. Raises Refused."""
        lost = []
        for kill, refused in zip(kills, await asyncio.gather(*map(self._kill, kills)), strict=True):
            if refused is not None and refused.code not in _LOST:
                raise refused
            if refused is not None:
                lost.append((kill, refused))
        if lost:
            self.later.run(self._end_later([kill for kill, _ in lost]))
            raise self._truth(lost[0][1])

    async def _kill(self, kill: Kill | StopPhones) -> Refused | None:
        try:
            await self.tell(kill)
        except Refused as refused:
            return None if refused.code == "CALL_ENDED" else refused
        return None

    async def _end_later(self, kills: list[Kill | StopPhones]) -> None:
        for _ in range(END_WITHIN):
            await self.pause(1.0)
            kills = [kill for kill in kills if (refused := await self._kill(kill)) and refused.code in _LOST]
            if not kills:
                return

    async def pause(self, seconds: float) -> None:
        """Let that time pass."""
        await self._watch.pause(seconds)

    def tenant(self, record: Record) -> str:
        """The tenant whose extensions the call can reach. Raises Refused INVALID_DESTINATION where it has none yet."""
        if record.tenant is None:
            raise Refused("INVALID_DESTINATION", "this call belongs to no tenant yet, so it can reach no extension")
        return record.tenant

    def context(self, tenant: str) -> str:
        """The dialplan context of a tenant."""
        return self.settings.contexts.get(tenant, tenant)
