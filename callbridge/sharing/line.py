"""Scripts to one Redis, one after another, over one connection whose first failure is its last.

redis-py has a queue of its own for callers of one connection. Whoever waits there when the client is closed connects
again and goes on, with a Redis that may be another one, or after it was said that nothing was done. So nobody waits
there.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

ANSWER_TIMEOUT: Final = 1.0
"""Seconds that Redis may take for a script while a consumer waits. On loopback it takes less than 1 ms (measured)."""


class Away(Exception):
    """Redis is away. `sent`: whether it was told first, and may have done it all the same."""

    def __init__(self, reason: str | None, *, sent: bool = False) -> None:
        super().__init__(reason)
        self.sent = sent


class Line:
    """The way to a client that is new. `on_lost` is called once, with the reason."""

    def __init__(self, client: "Redis", on_lost: Callable[[str], None]) -> None:
        self.lost = ""
        """Why it cannot be used any more; "" while it can."""
        self._client = client
        self._on_lost = on_lost
        self._free = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Line {self.lost or 'open'}>"

    async def ask(self, script: str, keys: tuple[str, ...], *arguments: Any) -> Any:
        """What the script gives. Raises Away. Whoever waits for others is not waiting for Redis."""
        async with self._free:
            if self.lost:
                raise Away(self.lost)
            # As a task of its own: redis-py may forget a cancellation, and then waits for the answer (see `endable`).
            asking = asyncio.create_task(self._client.register_script(script)(list(keys), list(arguments)))
            asking.add_done_callback(lambda task: task.cancelled() or task.exception())
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    return await asyncio.shield(asking)
            except (RedisError, OSError, RuntimeError, LookupError) as error:
                # asyncio's TimeoutError is an OSError; the last two are what redis-py makes of a lost connection.
                self.lose(f"{error}" or "Redis does not answer")
                raise Away(self.lost, sent=True) from None
            except asyncio.CancelledError:
                self.lose("a question was given up half-way")
                raise
            finally:
                # What still connects would do so behind the back of who closes the client, and ask all the same.
                asking.cancel()

    def lose(self, reason: str) -> None:
        """Have nobody use it any more."""
        if not self.lost:
            self.lost = reason
            self._on_lost(reason)
