"""A client of the stream as its documentation has it: what it has been told, and nothing else."""

import asyncio
import json
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
from yarl import URL


class Told(NamedTuple):
    """One event."""

    name: str
    id: str
    data: Any


class Reader:
    """Keeps the calls that it is told of. `last_id` stays when it is cut off, and `rows` too."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        token: str,
        *,
        rows: dict[str, dict[str, Any]] | None = None,
        last_id: str = "",
    ) -> None:
        self._session = session
        self._url = URL(url, encoded=True)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._response: aiohttp.ClientResponse | None = None
        self._unread = b""
        self.rows = dict(rows or {})
        self.complete: bool | None = None
        self.states: dict[str, str] = {}
        self.last_id = last_id
        self.snapshots = 0
        self.beats = 0
        self.retry = 0
        self.ended = False
        self.events: list[Told] = []

    @property
    def response(self) -> aiohttp.ClientResponse:
        assert self._response is not None
        return self._response

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.cut()

    async def connect(self) -> None:
        """Ask, from the last id on."""
        headers = self._headers | ({"Last-Event-ID": self.last_id} if self.last_id else {})
        self._unread = b""
        self.ended = False
        timeout = aiohttp.ClientTimeout(total=None)
        self._response = await self._session.get(self._url, headers=headers, timeout=timeout)

    def cut(self) -> None:
        """Be cut off."""
        if self._response is not None:
            self._response.close()
            self._response = None

    async def read(self, seconds: float = 30.0) -> list[Told]:
        """Take in what comes next, at least one whole block of lines; nothing at the end of the stream. `seconds` is
        for a test that fails."""
        told: list[Told] = []
        blocks = 0
        while not blocks:
            async with asyncio.timeout(seconds):
                data = await self.response.content.readany()
            if not data:
                self.ended = True
                break
            *whole, self._unread = (self._unread + data).split(b"\n\n")
            blocks = len(whole)
            told += [event for event in map(self._take, whole) if event is not None]
        self.events += told
        return told

    async def until(self, reached: Any, seconds: float = 30.0) -> None:
        """Read until `reached()`."""
        while not reached():
            assert not self.ended, "the stream has ended"
            await self.read(seconds)

    async def next(self, name: str) -> Told:
        """The next event of that name that has not been read yet."""
        known = len(self.events)
        await self.until(lambda: any(event.name == name for event in self.events[known:]))
        return next(event for event in self.events[known:] if event.name == name)

    def _take(self, block: bytes) -> Told | None:
        name, data = "message", ""
        for line in block.decode().split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "":
                self.beats += 1
            elif field == "id":
                self.last_id = value
            elif field == "event":
                name = value
            elif field == "data":
                data += value
            elif field == "retry":
                self.retry = int(value)
            else:
                raise AssertionError(line)
        if not data:
            return None
        event = Told(name, self.last_id, json.loads(data))
        self._apply(event)
        return event

    def _apply(self, event: Told) -> None:
        data = event.data
        if event.name == "snapshot":
            self.rows = {row["call_id"]: row for row in data["data"]}
            assert len(self.rows) == data["total"]
            self.complete = data["complete"]
            self.snapshots += 1
        elif event.name == "call.created":
            self.rows[data["call_id"]] = data
        elif event.name == "call.updated":
            self.rows[data["call_id"]].update(data)
        elif event.name == "call.ended":
            self.rows.pop(data["call_id"], None)
        elif event.name == "switch":
            self.complete = data["complete"]
            self.states = {switch["name"]: switch["state"] for switch in data["data"]}
        else:
            raise AssertionError(event)
