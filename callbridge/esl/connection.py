"""One TCP connection to a switch's event socket, in asyncio.

The reader never waits: what arrives is decoded and handed on before the event loop turns, and the kernel's window is
the only queue. Everything else about the dialogue is in `protocol`.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, Self, cast

from callbridge.errors import CommandRefused, Disconnected, SwitchError, SwitchSilent, SwitchUnreachable
from callbridge.esl.events import Event
from callbridge.esl.protocol import Opened, Protocol, Reply

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for the TCP connection, the greeting and the password together."""

REPLY_TIMEOUT: Final = 30.0
"""Seconds for the answer to one command. A switch that is alive answers in milliseconds (0.1 on loopback)."""

MAX_UNWRITTEN: Final = 1024 * 1024
"""Bytes of commands that the switch has not taken yet; past them it is not reading and the connection is given up."""


class Connection(asyncio.Protocol):
    """An open, authenticated connection; `Connection.open` makes one.

    `on_events` gets the events of each read, in order. `closed` is done when the connection has ended: its result
    says why, its exception is a failure of `on_events`. Nothing is ever sent twice.
    """

    def __init__(
        self, password: str, on_events: Callable[[list[Event]], None], clock: Callable[[], float] | None = None
    ) -> None:
        loop = asyncio.get_running_loop()
        self._clock = clock or loop.time
        self.closed: asyncio.Future[SwitchError] = loop.create_future()
        self.last_received = self._clock()
        """When the switch last said anything, on `clock` (the loop's, if none is given). Only a whole frame counts: a
        peer that sends an endless one byte by byte says nothing."""
        self._protocol = Protocol(password)
        self._opened: asyncio.Future[None] = loop.create_future()
        self._replies: dict[int, asyncio.Future[str]] = {}
        self._jobs: dict[str, asyncio.Future[str]] = {}
        self._on_events = on_events
        self._transport: asyncio.Transport | None = None
        self._flushing = False
        """Whether what is to be sent will be, at the end of this turn of the loop."""
        self._ended = False

    def __repr__(self) -> str:
        return f"<Connection {self._protocol.state.value}, {self._protocol.unanswered} unanswered>"

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        password: str,
        on_events: Callable[[list[Event]], None] = lambda _: None,
        clock: Callable[[], float] | None = None,
    ) -> Self:
        """Connect and log in.

        Raises SwitchUnreachable, AuthenticationFailed, AccessRefused, RemoteProtocolError or Disconnected.
        """
        loop = asyncio.get_running_loop()
        connection = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, connection = await loop.create_connection(lambda: cls(password, on_events, clock), host, port)
                await connection._opened
        except TimeoutError:
            where = "did not greet" if connection else "did not take the connection"
            error = SwitchUnreachable(f"{host}:{port} {where} within {CONNECT_TIMEOUT:.0f} s")
            if connection:
                connection.close(error)
            raise error from None
        except OSError as error:
            raise SwitchUnreachable(f"{host}:{port} cannot be reached: {error.strerror or error}") from None
        except UnicodeError:
            # Of the codec that a name goes through before it is looked up.
            raise SwitchUnreachable(f"{host}:{port} cannot be reached: this is no name of a host") from None
        return connection

    async def command(self, line: str, *, timeout: float = REPLY_TIMEOUT) -> str:
        """Send one command and wait for the switch's words.

        Raises SwitchError when the connection ends before the answer came, SwitchSilent when it did not come in time
        (its place in the queue is kept: a late reply goes nowhere), LocalProtocolError when nothing was sent.
        """
        return await self.answer_to(self.send(line), line, timeout=timeout)

    def send(self, line: str, headers: Mapping[str, str] | None = None) -> "asyncio.Future[str]":
        """Send one command. The future gives the switch's words, or raises the SwitchError with which the connection
        ends; `answer_to` waits for it with a limit.

        Raises LocalProtocolError when nothing was sent, SwitchError when the connection has ended.
        """
        if self.closed.done():
            raise self.closed.result()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        self._replies[self._protocol.send(line, headers)] = future
        if not self._flushing:
            # What is sent in the same turn of the loop leaves in one write: a read brings many answers, and each of
            # them lets another probe go.
            self._flushing = True
            loop.call_soon(self._flush)
        return future

    async def answer_to(self, sent: "asyncio.Future[str]", line: str, *, timeout: float = REPLY_TIMEOUT) -> str:
        """Wait for the answer to what was sent. Raises what `command` raises."""
        try:
            async with asyncio.timeout(timeout):
                return await sent
        except TimeoutError:
            # The name alone: an argument may be a caller's number.
            name = line.removeprefix("api ").partition(" ")[0]
            raise SwitchSilent(f"the switch has not answered {name!r} within {timeout:g} s") from None

    async def api(self, line: str, *, timeout: float = REPLY_TIMEOUT) -> str:
        """Run `api LINE` and give its output. Raises CommandRefused for `-ERR`, and what `command` raises."""
        return _accepted(line, await self.command(f"api {line}", timeout=timeout))

    async def job(self, line: str, *, timeout: float = REPLY_TIMEOUT) -> str:
        """Run `bgapi LINE`, which holds nothing else up, and give its output.

        The connection must have subscribed to BACKGROUND_JOB. Raises what `api` raises.
        """
        job = str(uuid.uuid4())
        result = self._jobs[job] = asyncio.get_running_loop().create_future()
        try:
            sent = self.send(f"bgapi {line}", {"Job-UUID": job})
            _accepted(line, await self.answer_to(sent, line, timeout=timeout))
            return _accepted(line, await self.answer_to(result, line, timeout=timeout))
        finally:
            self._jobs.pop(job, None)
            result.cancel()

    def close(self, reason: SwitchError | None = None) -> None:
        """End the connection now; whatever waits on it fails with `reason`."""
        self._end(reason or Disconnected("callbridge closed the connection"))

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no asyncio class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        events: list[Event] = []
        failure: SwitchError | None = None
        said = False
        try:
            for item in self._protocol.receive(data):
                said = True
                if type(item) is Event:
                    events.append(item)
                elif type(item) is Reply:
                    self._take_reply(item)
                elif type(item) is Opened and not self._opened.done():
                    self._opened.set_result(None)
        except SwitchError as error:
            failure = error
        if said:
            self.last_received = self._clock()
        self._flush()
        if events:
            self._hand_on(events)
        if failure is not None:
            self._end(failure)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(self._protocol.eof(str(exc) if exc else ""))

    # How it is done.

    def _flush(self) -> None:
        self._flushing = False
        data = self._protocol.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > MAX_UNWRITTEN:
                self._end(SwitchSilent("the switch no longer reads what it is sent"))

    def _take_reply(self, reply: Reply) -> None:
        future = self._replies.pop(reply.serial)
        if not future.done():
            future.set_result(reply.text)

    def _hand_on(self, events: list[Event]) -> None:
        try:
            if self._jobs:
                self._take_jobs(events)
            self._on_events(events)
        except Exception as error:
            # A bug of ours, not the switch's fault: `closed` carries it to whoever runs this connection.
            if not self.closed.done():
                self.closed.set_exception(error)
            self._end(Disconnected("callbridge failed on an event"))

    def _take_jobs(self, events: list[Event]) -> None:
        for event in events:
            if event.job_uuid and event.name == "BACKGROUND_JOB":
                future = self._jobs.get(event.job_uuid)
                if future is not None and not future.done():
                    future.set_result(event.body.rstrip("\r\n"))

    def _end(self, reason: SwitchError) -> None:
        if self._ended:
            return
        self._ended = True
        if not self.closed.done():
            self.closed.set_result(reason)
        waiting: list[asyncio.Future[Any]] = [self._opened, *self._replies.values(), *self._jobs.values()]
        self._replies.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(reason)
                # Whoever waits gets it; where nobody does (any more), it is no news.
                future.exception()
        if self._transport is not None:
            self._transport.abort()


def _accepted(line: str, text: str) -> str:
    if text.startswith(("-ERR", "-USAGE")):
        raise CommandRefused(line, text)
    return text
