"""What daemons on one Redis claim before they act, so that nothing is done twice, nor two things at once.

A *key* is an `Idempotency-Key`: who has it carries the request out, the others have its answer. A *turn* is that of a
command on a call. A *hold* on either is renewed while what it is for is under way, so of a daemon that was killed
nothing is waited for longer than a hold lasts. docs/redis.md has the layout.

All of it is in one slot of a Cluster, and goes over one connection. Redis being away is known at once while it is, and
costs whoever finds out a second.
"""

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from callbridge.backoff import delays
from callbridge.sharing.client import close, endable
from callbridge.sharing.line import Away, Line
from callbridge.store import StoreStatus

HOLD: Final = 10.0
"""Seconds that a hold lasts unless it is renewed, and that the position which a turn ended at is remembered."""

RENEW_AFTER: Final = 3.0
"""Seconds after which holds are renewed, and a Redis that has gone away is found out."""

FIRST_LOOK: Final = 0.02
LAST_LOOK: Final = 1.0
"""Seconds between looks at what another daemon has: doubling, with jitter. One for each key or call, however many
requests wait for it."""

FIRST_RETRY: Final = 0.2
LAST_RETRY: Final = 5.0
"""Seconds between attempts to reach a Redis that is away: doubling, with jitter."""

END_TIMEOUT: Final = 1.0
"""Seconds at the end in which the last answers are still kept."""

MAX_OWED: Final = 10_000
"""Answers, and keys to be given back, that wait for a Redis that is away; the newest."""

_RESERVE: Final = """
local known = redis.call('HMGET', KEYS[1], 'request', 'answer')
if not known[1] then
    redis.call('HSET', KEYS[1], 'request', ARGV[1], 'by', ARGV[2])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4])
    return {'reserved'}
end
if known[1] ~= ARGV[1] then return {'used'} end
if known[2] then return {'answered', known[2]} end
return {redis.call('EXISTS', KEYS[2]) == 1 and 'held' or 'lost'}
"""
"""KEYS key, hold; ARGV the request, the daemon, milliseconds of the key and of the hold."""

_ANSWER: Final = """
if redis.call('HGET', KEYS[1], 'by') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'answer', ARGV[2])
redis.call('DEL', KEYS[2])
return 1
"""
"""KEYS key, hold; ARGV the daemon, the answer. The key's time goes on."""

_WITHDRAW: Final = """
if redis.call('HGET', KEYS[1], 'by') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
"""
"""KEYS key, hold; ARGV the daemon."""

_TAKE: Final = """
local left = redis.call('GET', KEYS[1]) or '@'
if string.sub(left, 1, 1) ~= '@' then return false end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return left
"""
"""KEYS turn; ARGV the hold's own text, milliseconds. Gives the position at which the last turn ended, after an @; or
nothing, while it is another's."""

_LEAVE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
"""KEYS turn; ARGV the hold's own text, the position after an @, milliseconds."""

_RENEW: Final = """
for number = 2, #KEYS do
    if redis.call('GET', KEYS[number]) == ARGV[number] then redis.call('PEXPIRE', KEYS[number], ARGV[1]) end
end
return 1
"""
"""KEYS any, holds; ARGV milliseconds, the holds' own texts."""

_AT_ONCE: Final = 1000
"""Holds that one script renews."""

log = structlog.get_logger("callbridge.store")


class KeyUsed(Exception):
    """The key is another request's."""


class OutcomeLost(Exception):
    """The request was begun by a daemon that is no more, or has lost what it would answer."""


class TurnTaken(Exception):
    """It is somebody else's turn, and stays so."""


class Claims:
    """The claims of one daemon. `connect` gives a client that is new, of the server that has the slot of `slot`."""

    def __init__(
        self,
        prefix: str,
        connect: Callable[[], Awaitable["Redis"]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.status = StoreStatus("down", "not connected yet")
        self._slot = slot(prefix)
        self._connect = connect
        self._sleep = sleep
        self._by = secrets.token_hex(8)
        self._reservations = itertools.count()
        self._line: Line | None = None
        """While Redis is there."""
        self._reserved: dict[str, str] = {}
        """key -> by which reservation this daemon has it"""
        self._held: dict[str, str] = {}
        """hold -> its own text"""
        self._owed: dict[str, tuple[str, bytes | None]] = {}
        """reservation -> the key, and the answer that is to be kept; None: it is to be given back"""
        self._wake = asyncio.Event()
        self._nothing_held = asyncio.Event()
        self._nothing_held.set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<Claims {self.status.state}, {len(self._held)} held, {len(self._owed)} owed>"

    # Keys.

    async def reserve(self, name: str, request: str, seconds: float) -> bytes | None:
        """Have a key for so many seconds. None: the request is to be carried out, and `answer` or `withdraw` to follow.
        Else it was carried out by another daemon, which is waited for, and this is the answer.

        Raises Away, KeyUsed, OutcomeLost.
        """
        key, hold = self._key(name)
        waits = delays(FIRST_LOOK, LAST_LOOK)
        # Another one each time: what is told late of one reservation undoes no other.
        by = f"{self._by}:{next(self._reservations)}"
        while True:
            try:
                found = await self._ask(_RESERVE, (key, hold), request, by, round(seconds * 1000), round(HOLD * 1000))
            except Away as away:
                if away.sent:
                    self._owe(by, name, None)
                raise
            match found:
                case [b"reserved"]:
                    self._reserved[name] = by
                    self._hold(hold, by)
                    return None
                case [b"answered", answer]:
                    return bytes(answer)
                case [b"used"]:
                    raise KeyUsed
                case [b"lost"]:
                    raise OutcomeLost
            await self._sleep(next(waits))

    async def answer(self, name: str, answer: bytes) -> None:
        """Keep the answer of a key that this daemon has; later, where Redis is away."""
        with suppress(Away):
            await self._settle(name, answer)

    async def withdraw(self, name: str) -> None:
        """Give a key of this daemon back, as if it had never been used; later, where Redis is away."""
        with suppress(Away):
            await self._settle(name, None)

    def abandon(self, name: str) -> None:
        """What became of a request is not known: whoever repeats it is to hear that."""
        if (by := self._reserved.pop(name, None)) is not None:
            self._let_go(self._key(name)[1], by)

    # Turns.

    async def take(self, name: str, seconds: float) -> str:
        """Have a turn, waiting so many seconds at most. Gives the position that `leave` was given last, "" for none.

        Raises Away, TurnTaken.
        """
        hold, text = f"{self._slot}turn:{name}", secrets.token_hex(8)
        waits, waited = delays(FIRST_LOOK, LAST_LOOK), 0.0
        while (left := await self._ask(_TAKE, (hold,), text, round(HOLD * 1000))) is None:
            wait = next(waits)
            if waited + wait > seconds:
                raise TurnTaken
            await self._sleep(wait)
            waited += wait
        self._hold(hold, text)
        return bytes(left).decode().removeprefix("@")

    def leave(self, name: str, position: str) -> None:
        """End a turn. Waits for nothing: a turn that Redis hears nothing of ends with its hold."""
        hold = f"{self._slot}turn:{name}"
        text = self._held.get(hold, "")

        async def tell() -> None:
            try:
                with suppress(Away):
                    await self._ask(_LEAVE, (hold,), text, f"@{position}", round(HOLD * 1000))
            finally:
                self._let_go(hold, text)

        self._begin(tell())

    # The connection.

    async def run(self) -> None:
        """Be connected, and renew what is held, until cancelled; then see to it that the last answers are kept."""
        keeping = asyncio.create_task(endable(self._try()))
        try:
            await asyncio.shield(keeping)
        finally:
            try:
                if self._line is not None:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._nothing_held.wait(), END_TIMEOUT)
            finally:
                keeping.cancel()
                await asyncio.wait([keeping])

    async def _try(self) -> None:
        waits = delays(FIRST_RETRY, LAST_RETRY)
        while True:
            client = line = None
            try:
                client = await self._connect()
                line = Line(client, lambda _: self._wake.set())
                await self._pay(line)
                # Whether it is there, only the first command tells, and there may have been nothing to pay.
                await self._renew(line)
                self._line = line
                self._tell(StoreStatus("up"))
                waits = delays(FIRST_RETRY, LAST_RETRY)
                await self._keep(line)
            except (RedisError, OSError, Away) as error:
                self._tell(StoreStatus("down", f"{error}" or type(error).__name__))
            finally:
                self._line = None
                if line is not None:
                    line.lose("the connection has ended")
                await close(client)
            await self._sleep(next(waits))

    async def _keep(self, line: Line) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_AFTER):
                    await self._wake.wait()
            self._wake.clear()
            await self._pay(line)
            await self._renew(line)

    async def _renew(self, line: Line) -> None:
        held = list(self._held.items())
        for start in range(0, max(1, len(held)), _AT_ONCE):
            part = held[start : start + _AT_ONCE]
            holds = [hold for hold, _ in part]
            await line.ask(_RENEW, (self._slot, *holds), round(HOLD * 1000), *(text for _, text in part))

    async def _pay(self, line: Line) -> None:
        """What Redis was not told while it was away."""
        while self._owed:
            by, (name, answer) = next(iter(self._owed.items()))
            await line.ask(*self._settling(name, by, answer))
            self._owed.pop(by, None)

    async def _settle(self, name: str, answer: bytes | None) -> None:
        by = self._reserved.pop(name, None)
        if by is None:
            return
        try:
            await self._ask(*self._settling(name, by, answer))
        except BaseException:
            self._owe(by, name, answer)
            raise
        finally:
            self._let_go(self._key(name)[1], by)

    def _settling(self, name: str, by: str, answer: bytes | None) -> tuple[Any, ...]:
        return (_WITHDRAW, self._key(name), by) if answer is None else (_ANSWER, self._key(name), by, answer)

    async def _ask(self, script: str, keys: tuple[str, ...], *arguments: Any) -> Any:
        line = self._line
        if line is None:
            raise Away(self.status.error)
        try:
            return await line.ask(script, keys, *arguments)
        except Away as away:
            if self._line is line:
                self._line = None
                self._tell(StoreStatus("down", f"{away}"))
            raise

    def _owe(self, by: str, name: str, answer: bytes | None) -> None:
        self._owed[by] = (name, answer)
        if len(self._owed) > MAX_OWED:
            del self._owed[next(iter(self._owed))]
        self._wake.set()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hold(self, hold: str, text: str) -> None:
        self._held[hold] = text
        self._nothing_held.clear()

    def _let_go(self, hold: str, text: str) -> None:
        if self._held.get(hold) == text:
            del self._held[hold]
        if not self._held:
            self._nothing_held.set()

    def _key(self, name: str) -> tuple[str, str]:
        return f"{self._slot}key:{name}", f"{self._slot}hold:{name}"

    def _tell(self, status: StoreStatus) -> None:
        if status != self.status:
            level = log.info if status.state == "up" else log.warning
            level("store.claims_" + status.state, error=status.error)
        self.status = status


def slot(prefix: str) -> str:
    """What all keys of claims begin with: the braces put them into one slot of a Redis Cluster."""
    return f"{prefix}:{{commands}}:"
