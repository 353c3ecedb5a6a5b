"""What daemons on one Redis claim before they act, so that nothing is done twice, nor two things at once.

A *key* is an `Idempotency-Key`: who has it carries the request out, the others have its answer. A *turn* is that of a
command on a call. A *hold* on either is renewed while what it is for is under way, so of a daemon that was killed
nothing is waited for longer than a hold lasts. docs/redis.md has the layout.

All of it is in one slot of a Cluster, and goes over one connection. Redis being away is known at once while it is, and
costs whoever finds out a second.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from callbridge.backoff import delays
from callbridge.sharing.client import close, endable
from callbridge.store import StoreStatus

HOLD: Final = 10.0
"""Seconds that a hold lasts unless it is renewed, and that the position which a turn ended at is remembered."""

RENEW_AFTER: Final = 3.0
"""Seconds after which holds are renewed, and a Redis that has gone away is found out."""

ANSWER_TIMEOUT: Final = 1.0
"""Seconds that Redis may take while a consumer waits. On loopback it takes less than 1 ms (measured)."""

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


class Away(Exception):
    """Redis is away: nothing was claimed."""


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
        self._client: Redis | None = None
        """While Redis is there."""
        self._held: dict[str, str] = {}
        """hold -> its own text"""
        self._owed: dict[str, bytes | None] = {}
        """key -> the answer that is to be kept; None: it is to be given back"""
        self._lost = asyncio.Event()
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
        while True:
            try:
                found = await self._ask(
                    _RESERVE, (key, hold), request, self._by, round(seconds * 1000), round(HOLD * 1000)
                )
            except Away:
                # Redis may have done it all the same.
                self._owe(name, None)
                raise
            match found:
                case [b"reserved"]:
                    self._hold(hold, self._by)
                    return None
                case [b"answered", answer]:
                    return bytes(answer)
                case [b"used"]:
                    raise KeyUsed
                case [b"lost"]:
                    raise OutcomeLost
            await self._sleep(next(waits))

    async def answer(self, name: str, answer: bytes) -> None:
        """Keep the answer of a key that this daemon has."""
        await self._settle(name, answer)

    async def withdraw(self, name: str) -> None:
        """Give a key of this daemon back, as if it had never been used."""
        await self._settle(name, None)

    def abandon(self, name: str) -> None:
        """What became of a request is not known: whoever repeats it is to hear that."""
        self._let_go(self._key(name)[1])

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
            with suppress(Away):
                await self._ask(_LEAVE, (hold,), text, f"@{position}", round(HOLD * 1000))
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
                if self._client is not None:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._nothing_held.wait(), END_TIMEOUT)
            finally:
                keeping.cancel()
                await asyncio.wait([keeping])

    async def _try(self) -> None:
        waits = delays(FIRST_RETRY, LAST_RETRY)
        while True:
            client = None
            self._lost.clear()
            try:
                client = await self._connect()
                await self._pay(client)
                # Whether it is there, only the first command tells, and there may have been nothing to pay.
                await self._renew(client)
                self._client = client
                self._tell(StoreStatus("up"))
                waits = delays(FIRST_RETRY, LAST_RETRY)
                await self._keep(client)
            except (RedisError, OSError) as error:
                self._tell(StoreStatus("down", f"{error}" or type(error).__name__))
            finally:
                self._client = None
                await close(client)
            await self._sleep(next(waits))

    async def _keep(self, client: "Redis") -> None:
        while not self._lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_AFTER):
                    await self._lost.wait()
                return
            await self._renew(client)

    async def _renew(self, client: "Redis") -> None:
        held = list(self._held.items())
        for start in range(0, max(1, len(held)), _AT_ONCE):
            part = held[start : start + _AT_ONCE]
            texts: list[Any] = [round(HOLD * 1000), *(text for _, text in part)]
            await client.register_script(_RENEW)([self._slot, *(hold for hold, _ in part)], texts)

    async def _pay(self, client: "Redis") -> None:
        """What Redis was not told while it was away."""
        while self._owed:
            name, answer = next(iter(self._owed.items()))
            await _call(client, *self._settling(name, answer))
            if self._owed.get(name, b"") is answer:
                del self._owed[name]

    async def _settle(self, name: str, answer: bytes | None) -> None:
        try:
            await self._ask(*self._settling(name, answer))
        except Away:
            self._owe(name, answer)
        self._let_go(self._key(name)[1])

    def _settling(self, name: str, answer: bytes | None) -> tuple[Any, ...]:
        return (
            (_WITHDRAW, self._key(name), self._by) if answer is None else (_ANSWER, self._key(name), self._by, answer)
        )

    async def _ask(self, script: str, keys: tuple[str, ...], *arguments: Any) -> Any:
        client = self._client
        if client is None:
            raise Away(self.status.error)
        # As a task of its own: one that is cancelled half-way would leave the connection in the middle of an answer.
        asking = self._begin(_call(client, script, keys, *arguments))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await asyncio.shield(asking)
        except (RedisError, OSError) as error:
            # asyncio's TimeoutError is an OSError.
            if self._client is client:
                self._client = None
                self._tell(StoreStatus("down", f"{error}" or "Redis does not answer"))
                self._lost.set()
            raise Away(self.status.error) from None

    def _begin(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Whoever asked may have given up.
            task.exception()

    def _owe(self, name: str, answer: bytes | None) -> None:
        self._owed[name] = answer
        if len(self._owed) > MAX_OWED:
            del self._owed[next(iter(self._owed))]

    def _hold(self, hold: str, text: str) -> None:
        self._held[hold] = text
        self._nothing_held.clear()

    def _let_go(self, hold: str, text: str | None = None) -> None:
        if text in (None, self._held.get(hold)):
            self._held.pop(hold, None)
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


async def _call(client: "Redis", script: str, keys: tuple[str, ...], *arguments: Any) -> Any:
    return await client.register_script(script)(list(keys), list(arguments))
