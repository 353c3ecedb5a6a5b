"""`Idempotency-Key`: a request that is sent again gets the answer of the first, and nothing happens twice.

The form is that of draft-ietf-httpapi-idempotency-key-header: the key is the consumer's, one for each thing wanted.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final

import msgspec
from aiohttp import web

from callbridge.http.failures import Answer, Failure, invalid_parameter

REMEMBER_FOR: Final = 600.0
"""Seconds for which an answer is kept."""

MAX_ANSWERS: Final = 50_000
"""Answers kept, the newest: some 300 bytes each."""

HEADER: Final = "Idempotency-Key"
_NOTHING_DONE: Final = (429, 503)
"""Failures that were told before anything was done; the way out is to try again."""

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


class _Known(msgspec.Struct, frozen=True):
    request: bytes
    at: float
    answer: "asyncio.Future[Answer]"


class Idempotency:
    """What was answered to whom."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], _Known] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def once(self, request: web.Request, who: str, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of `work`, or the one that this key has had. Raises Failure 400 for a key of another request."""
        keys = request.headers.getall(HEADER, [])
        if not keys:
            return await work()
        if len(keys) > 1 or _KEY.fullmatch(keys[0]) is None:
            raise invalid_parameter(HEADER, "must be 1 to 255 visible ASCII characters, like a uuid")
        digest = sha256(f"{request.method} {request.raw_path}\n".encode() + await request.read()).digest()
        self._forget()
        key = (who, keys[0])
        known = self._known.get(key)
        if known is None:
            known = self._remember(key, digest)
            task = asyncio.ensure_future(self._work(key, known, work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif known.request != digest:
            raise invalid_parameter(HEADER, "was used for another request; every request needs a key of its own")
        return await asyncio.shield(known.answer)

    async def _work(self, key: tuple[str, str], known: _Known, work: Callable[[], Awaitable[Answer]]) -> None:
        try:
            known.answer.set_result(await work())
        except Failure as failure:
            if failure.status in _NOTHING_DONE and self._known.get(key) is known:
                # To try again is the way out, and under the same key it is safe.
                del self._known[key]
            known.answer.set_result(failure.answer())
        except BaseException as error:
            # What became of it is not known, so it is not done again under this key.
            known.answer.set_exception(error)
            known.answer.exception()
            if not isinstance(error, Exception):
                raise

    def _remember(self, key: tuple[str, str], digest: bytes) -> _Known:
        while len(self._known) >= MAX_ANSWERS:
            del self._known[next(iter(self._known))]
        known = self._known[key] = _Known(digest, self._clock(), asyncio.get_running_loop().create_future())
        return known

    def _forget(self) -> None:
        now = self._clock()
        while self._known and now - self._known[oldest := next(iter(self._known))].at >= REMEMBER_FOR:
            del self._known[oldest]
