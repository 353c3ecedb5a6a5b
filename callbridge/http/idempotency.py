"""`Idempotency-Key`: a request that is sent again gets the answer of the first, and nothing happens twice.

The form is that of draft-ietf-httpapi-idempotency-key-header: the key is the consumer's, one for each thing wanted.

Daemons that share a Redis share the keys: a key is claimed there before the request is carried out, and the answer kept
there once it is known. What Redis is told of both are digests that nobody can guess who does not know the token's.
"""

import asyncio
import hmac
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import msgspec
from aiohttp import web

from callbridge.http.failures import Answer, Failure, invalid_parameter
from callbridge.sharing.claims import Claims, KeyUsed, OutcomeLost
from callbridge.sharing.line import Away

REMEMBER_FOR: Final = 600.0
"""Seconds for which an answer is kept."""

MAX_KEYS: Final = 50_000
"""Keys of one token in that time, some 300 bytes each. None is forgotten for another: it would be done again."""

HEADER: Final = "Idempotency-Key"
_NOTHING_DONE: Final = (429, 503)
"""Failures that were told before anything was done; the way out is to try again."""

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Answer).decode


class _Known(msgspec.Struct, frozen=True):
    who: str
    request: str
    at: float
    answer: "asyncio.Future[Answer]"


class Idempotency:
    """What was answered to whom: the name of a key, that nobody else's has, and what is known of it here. `claims`:
    what is shared with other daemons, if anything is."""

    def __init__(self, clock: Callable[[], float], claims: Claims | None = None) -> None:
        self._clock = clock
        self._claims = claims
        self._known: dict[str, _Known] = {}
        self._keys = Counter[str]()
        """How many of them each token has."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def once(self, request: web.Request, who: str, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of `work`, or the one that this key has had. `who` is the digest of a token.

        Raises Failure 400 for a key of another request, 429 where the token has too many.
        """
        keys = request.headers.getall(HEADER, [])
        if not keys:
            return await work()
        if len(keys) > 1 or _KEY.fullmatch(keys[0]) is None:
            raise invalid_parameter(HEADER, "must be 1 to 255 visible ASCII characters, like a uuid")
        name = _digest(who, keys[0].encode())
        digest = _digest(who, f"{request.method} {request.raw_path}\n".encode() + await request.read())
        self._forget()
        known = self._known.get(name)
        if known is None:
            known = self._remember(name, who, digest)
            self._begin(self._work(name, known, work))
        elif known.request != digest:
            raise _used()
        return await asyncio.shield(known.answer)

    async def _work(self, name: str, known: _Known, work: Callable[[], Awaitable[Answer]]) -> None:
        try:
            told = await self._elsewhere(name, known.request)
        except BaseException as error:
            self._drop(name, known)
            _fail(known, error)
            return
        if told is None:
            await self._carry_out(name, known, work)
        else:
            # Whoever had the key before knows for how long it is one.
            self._drop(name, known)
            known.answer.set_result(told)

    async def _elsewhere(self, name: str, request: str) -> Answer | None:
        """What another daemon has answered, or why that cannot be told. None: the key is this daemon's."""
        if self._claims is None:
            return None
        try:
            answer = await self._claims.reserve(name, request, REMEMBER_FOR)
            return None if answer is None else _decode(answer)
        except KeyUsed:
            return _used().answer()
        except Away:
            message = (
                "the Redis that the daemons share is away, so it cannot be told whether this was done already under its"
                f" {HEADER}; nothing was done now, try again"
            )
            return Failure(503, "SWITCH_UNAVAILABLE", message, headers={"Retry-After": "2"}).answer()
        except (OutcomeLost, msgspec.DecodeError):
            message = "another callbridge has begun this and was lost with the outcome; look at the call"
            return Failure(504, "OUTCOME_UNKNOWN", f"{message}, and use another key to do it again").answer()

    async def _carry_out(self, name: str, known: _Known, work: Callable[[], Awaitable[Answer]]) -> None:
        try:
            answer, kept = await work(), True
        except Failure as failure:
            # Where the way out is to try again, under the same key it is safe.
            answer, kept = failure.answer(), failure.status not in _NOTHING_DONE
        except BaseException as error:
            # What became of it is not known, so it is not done again under this key.
            if self._claims is not None:
                self._claims.abandon(name)
            _fail(known, error)
            return
        if not kept:
            self._drop(name, known)
        known.answer.set_result(answer)
        if self._claims is not None:
            await (self._claims.answer(name, _encode(answer)) if kept else self._claims.withdraw(name))

    def _remember(self, name: str, who: str, digest: str) -> _Known:
        if self._keys[who] >= MAX_KEYS:
            message = f"this token has used {MAX_KEYS:,} keys in {REMEMBER_FOR / 60:.0f} minutes; nothing was done"
            raise Failure(429, "TOO_MANY_REQUESTS", f"{message}, try again later", headers={"Retry-After": "60"})
        known = _Known(who, digest, self._clock(), asyncio.get_running_loop().create_future())
        self._known[name] = known
        self._keys[who] += 1
        return known

    def _drop(self, name: str, known: _Known) -> None:
        if self._known.get(name) is known:
            del self._known[name]
            self._keys[known.who] -= 1

    def _forget(self) -> None:
        now = self._clock()
        while self._known:
            name, known = next(iter(self._known.items()))
            if now - known.at < REMEMBER_FOR:
                return
            self._drop(name, known)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _fail(known: _Known, error: BaseException) -> None:
    known.answer.set_exception(error)
    known.answer.exception()
    if not isinstance(error, Exception):
        raise error


def _digest(who: str, text: bytes) -> str:
    return hmac.digest(who.encode(), text, "sha256").hex()


def _used() -> Failure:
    return invalid_parameter(HEADER, "was used for another request; every request needs a key of its own")
