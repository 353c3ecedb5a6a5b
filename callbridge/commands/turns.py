"""One command at a time on one call: who may change it now.

With a Redis that daemons share, a turn is everybody's; while that is away, only this daemon's: the switch is there all
the same, and it refuses what cannot be any more.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from callbridge.commands.outcome import Refused
from callbridge.commands.work import Work
from callbridge.mirror import Mirror
from callbridge.sharing.claims import Claims, TurnTaken
from callbridge.sharing.line import Away

TURN_SECONDS: Final = 10.0
"""Seconds that a command waits for the one before it on the same call."""

LOOK_EVERY: Final = 0.01
LOOKS: Final = 100
"""How long it is waited for that this daemon shows what another one's command has done; it takes some 10 ms."""


class Turns:
    """Everybody who wants to change a call. `claims`: what is shared with other daemons, if anything is."""

    def __init__(self, mirror: Mirror, claims: Claims | None) -> None:
        self._mirror = mirror
        self._claims = claims
        self._turns: dict[tuple[str, str], _Turn] = {}

    def __repr__(self) -> str:
        return f"<Turns {len(self._turns)} calls>"

    @asynccontextmanager
    async def of(self, work: Work, call_id: str) -> AsyncIterator[None]:
        """Have the turn on a call, and on the one that it has become part of meanwhile. Raises Refused."""
        async with self._of(work, call_id):
            now = work.record(call_id)
            if now is None or now.call_id == call_id:
                yield
                return
            # The other one may be somebody else's turn.
            async with self._of(work, now.call_id):
                yield

    @asynccontextmanager
    async def _of(self, work: Work, call_id: str) -> AsyncIterator[None]:
        key = (work.switch, call_id)
        turn = self._turns.setdefault(key, _Turn())
        turn.wanted += 1
        now = asyncio.get_running_loop().time
        until = now() + TURN_SECONDS
        try:
            async with asyncio.timeout_at(until):
                await turn.lock.acquire()
        except TimeoutError:
            raise _taken() from None
        else:
            try:
                async with self._of_all(work, call_id, until - now()):
                    yield
            finally:
                turn.lock.release()
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                del self._turns[key]

    @asynccontextmanager
    async def _of_all(self, work: Work, call_id: str, seconds: float) -> AsyncIterator[None]:
        """The turn among all daemons, after that among the commands of this one."""
        if self._claims is None:
            yield
            return
        name = f"{work.switch}:{call_id}"
        try:
            position = await self._claims.take(name, seconds)
        except Away:
            yield
            return
        except TurnTaken:
            raise _taken() from None
        try:
            await self._come_up(work, position)
            yield
        finally:
            self._claims.leave(name, self._position(work.switch))

    async def _come_up(self, work: Work, position: str) -> None:
        """Wait until what the command before has done is shown here, or it looks as if it had not been done."""
        run, _, seq = position.partition(" ")
        for _ in range(LOOKS):
            status = self._mirror.switches.get(work.switch)
            if not position or status is None or (status.run == run and status.seq >= int(seq)):
                return
            await work.pause(LOOK_EVERY)

    def _position(self, switch: str) -> str:
        status = self._mirror.switches.get(switch)
        return "" if status is None else f"{status.run} {status.seq}"


class _Turn:
    """Who may change a call now, and how many want to."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wanted = 0


def _taken() -> Refused:
    return Refused("TOO_MANY_REQUESTS", "another command is under way on this call; try again")
