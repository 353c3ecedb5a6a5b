"""Probes: the switch is asked about channels with `uuid_dump`, a few at a time, the longest doubted first.

Twenty thousand are asked on a start with ten thousand calls, so a probe costs no task and no timer of its own: what one
read has answered is handed over together, and as many are sent after it in one write.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from callbridge.esl.connection import Connection

AT_ONCE: Final = 16
"""Probes under way at once: enough to keep the switch busy (3,400 a second), few enough to let a command through."""

ANSWER_TIMEOUT: Final = 30.0
"""Seconds that the switch has for the next answer."""

_UUID: Final = re.compile(r"[A-Za-z0-9_.:@+-]{1,255}", re.ASCII)

Answers = list[tuple[str, str]]
"""(uuid, the switch's words)"""


class Probes:
    """Asks about channels over one connection. `take` gets the answers, in the order in which they were asked for; a
    uuid that cannot be asked about has the answer ""."""

    def __init__(self, connection: Connection, take: Callable[[Answers], None]) -> None:
        self._connection = connection
        self._take = take
        self._waiting: deque[str] = deque()
        self._asked: deque[tuple[str, asyncio.Future[str]]] = deque()
        self._wanted = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    def __repr__(self) -> str:
        return f"<Probes {len(self._asked)} under way, {len(self._waiting)} waiting>"

    def ask(self, uuids: Iterable[str]) -> None:
        """Ask about these channels, after those that wait already."""
        self._waiting.extend(uuids)
        if self._waiting:
            self._wanted.set()
            self._settled.clear()

    async def join(self) -> None:
        """Wait until everything is answered that was asked, and whatever the answers gave reason to ask."""
        await self._settled.wait()

    async def run(self) -> None:
        """Ask for ever. Raises SwitchSilent when an answer does not come in time, SwitchError when the connection has
        ended, and whatever `take` raises."""
        while True:
            self._send()
            if self._asked:
                # Answers come in the order of the questions: when the first is there, so are all that came with it.
                await self._connection.answer_to(self._asked[0][1], "uuid_dump", timeout=ANSWER_TIMEOUT)
            answers = self._answered()
            if answers:
                self._take(answers)
            elif not self._waiting:
                self._settled.set()
                self._wanted.clear()
                await self._wanted.wait()

    def _send(self) -> None:
        while self._waiting and len(self._asked) < AT_ONCE:
            uuid = self._waiting.popleft()
            if _UUID.fullmatch(uuid):
                answer = self._connection.send(f"api uuid_dump {uuid} json")
            else:
                # With a blank in it, it would be another command, whose answer proves nothing.
                answer = asyncio.get_running_loop().create_future()
                answer.set_result("")
            self._asked.append((uuid, answer))

    def _answered(self) -> Answers:
        answers = []
        while self._asked and self._asked[0][1].done():
            uuid, answer = self._asked.popleft()
            answers.append((uuid, answer.result()))
        return answers
