"""The event socket of a simulated switch: mod_event_socket as its source has it, in asyncio.

Authentication and its refusal, the access list, `event` in both forms, `nixevent`, `noevents`, `filter`, `api`, `bgapi`
with a Job-UUID, the queue of events and what happens when it is full, and the words at the end.
"""

import asyncio
import json
import re
import uuid
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, cast
from urllib.parse import unquote

from callbridge.simulator.faults import Faults
from callbridge.simulator.switch import Listener

MAX_MISSED: Final = 500
"""Events dropped in a row after which the reader is thrown out (MAX_MISSED)."""

WRITE_AT_ONCE: Final = 64
"""Events that a reader gets in one write: some 300 KB."""

EVENT_NAMES: Final = frozenset(
    "ALL CUSTOM CLONE CHANNEL_CREATE CHANNEL_DESTROY CHANNEL_STATE CHANNEL_CALLSTATE CHANNEL_ANSWER CHANNEL_HANGUP"
    " CHANNEL_HANGUP_COMPLETE CHANNEL_EXECUTE CHANNEL_EXECUTE_COMPLETE CHANNEL_HOLD CHANNEL_UNHOLD CHANNEL_BRIDGE"
    " CHANNEL_UNBRIDGE CHANNEL_PROGRESS CHANNEL_PROGRESS_MEDIA CHANNEL_OUTGOING CHANNEL_PARK CHANNEL_UNPARK"
    " CHANNEL_APPLICATION CHANNEL_ORIGINATE CHANNEL_UUID API LOG INBOUND_CHAN OUTBOUND_CHAN STARTUP SHUTDOWN PUBLISH"
    " UNPUBLISH TALK NOTALK SESSION_CRASH MODULE_LOAD MODULE_UNLOAD DTMF MESSAGE PRESENCE_IN NOTIFY_IN PRESENCE_OUT"
    " PRESENCE_PROBE MESSAGE_WAITING MESSAGE_QUERY ROSTER CODEC BACKGROUND_JOB DETECTED_SPEECH DETECTED_TONE"
    " PRIVATE_COMMAND HEARTBEAT TRAP ADD_SCHEDULE DEL_SCHEDULE EXE_SCHEDULE RE_SCHEDULE RELOADXML NOTIFY PHONE_FEATURE"
    " PHONE_FEATURE_SUBSCRIBE SEND_MESSAGE RECV_MESSAGE REQUEST_PARAMS CHANNEL_DATA GENERAL COMMAND SESSION_HEARTBEAT"
    " CLIENT_DISCONNECTED SERVER_DISCONNECTED SEND_INFO RECV_INFO RECV_RTCP_MESSAGE SEND_RTCP_MESSAGE CALL_SECURE NAT"
    " RECORD_START RECORD_STOP PLAYBACK_START PLAYBACK_STOP CALL_UPDATE FAILURE SOCKET_DATA MEDIA_BUG_START"
    " MEDIA_BUG_STOP CONFERENCE_DATA_QUERY CONFERENCE_DATA CALL_SETUP_REQ CALL_SETUP_RESULT CALL_DETAIL DEVICE_STATE"
    " TEXT SHUTDOWN_REQUESTED".split()
)
"""The names that can be subscribed to (switch_event.c, `EVENT_NAMES`); others are passed over without a word."""

_KILLED: Final = "killed listener because of lost events\n"
_GOODBYE: Final = "Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"


class Behind(Protocol):
    """What is behind an event socket: a simulated switch, or a recording."""

    faults: Faults
    listeners: list[Listener]

    def api(self, line: str) -> str:
        """What a command gives."""

    def ask(self, line: str, reply: Callable[[str], None]) -> None:
        """Run a command; `reply` takes what it gives, when it is done."""

    def announce(self, name: str, headers: list[tuple[str, str]], body: str = "") -> None:
        """Make an event that is of no channel."""


class EventSocket:
    """The server. `async with EventSocket(switch) as port` listens on a port of loopback."""

    def __init__(
        self,
        switch: Behind,
        password: str = "ClueCon",  # noqa: S107 - the default of every FreeSWITCH
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        refuse: bool = False,
        on_subscribed: Callable[["Session"], None] = lambda _: None,
    ) -> None:
        self.switch = switch
        self.password = password
        self.refuse = refuse
        """Whether the access list refuses everybody."""
        self.on_subscribed = on_subscribed
        self.sessions: set[Session] = set()
        self.waits_for: Session | None = None
        """Whom it throws out and cannot tell so, because that one does not read: until then nobody is answered and no
        event is handed on (mod_event_socket.c, `kill_listener` sends under the lock that all listeners need)."""
        self._held: list[Callable[[], None]] = []
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> int:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Session(self), self._host, self._port)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.disconnect("")
        await self._server.wait_closed()

    def hold(self, later: Callable[[], None]) -> None:
        """An event or an answer comes while nothing is handed on."""
        self._held.append(later)

    def go_on(self) -> None:
        """Whom it waited for has read, or is gone. What was held comes first, in its order; one of it may make the
        switch wait again."""
        self.waits_for = None
        held, self._held = self._held, []
        for later in held:
            later()
        for session in list(self.sessions):
            if self.waits_for is None:
                session.go_on()

    def disconnect(self, reason: str = _GOODBYE) -> None:
        """Close every connection, with a notice if there is a reason."""
        for session in list(self.sessions):
            session.close(reason)


class Session(asyncio.Protocol):
    """One connection, and its part as a listener of the switch."""

    def __init__(self, server: EventSocket) -> None:
        self.form = "plain"
        self._server = server
        self._switch = server.switch
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._authenticated = False
        self._names: set[str] = set()
        self._filters: list[tuple[str, str]] = []
        self._queue: deque[tuple[bytes, ...]] = deque()
        self._paused = False
        self._missed = 0
        self._greeted = False
        self._busy = False
        """Whether a command is under way; those after it wait."""

    def __repr__(self) -> str:
        return f"<Session {self.form}, {len(self._names)} events subscribed, {len(self._queue)} waiting>"

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no asyncio class.
        self._transport = cast(asyncio.Transport, transport)
        self._server.sessions.add(self)
        if self._server.waits_for is None:
            self._greet()

    def go_on(self) -> None:
        """The switch goes on, which has kept everybody waiting."""
        if not self._greeted:
            self._greet()
        self._read_on()

    def _greet(self) -> None:
        self._greeted = True
        if self._server.refuse:
            words = "Access Denied, go away.\n"
            self._write(f"Content-Type: text/rude-rejection\nContent-Length: {len(words)}\n\n{words}")
            self.close(_GOODBYE)
        else:
            self._write("Content-Type: auth/request\n\n")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._server.sessions.discard(self)
        if self in self._switch.listeners:
            self._switch.listeners.remove(self)
        self._transport = None
        if self._server.waits_for is self:
            self._server.go_on()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()
        if self._server.waits_for is self and not self._paused:
            self.close(_KILLED)

    def data_received(self, data: bytes) -> None:
        self._unread += data.replace(b"\r", b"")
        self._read_on()

    def _read_on(self) -> None:
        while self._transport is not None and not self._busy and self._server.waits_for is None:
            self._unread = self._unread.lstrip(b"\n")
            command, end, rest = self._unread.partition(b"\n\n")
            if not end:
                return
            self._unread = rest
            line, *headers = command.decode("utf-8", "replace").split("\n")
            pairs = (header.partition(":") for header in headers)
            self._obey(line, {name.lower(): value.strip() for name, _, value in pairs})

    # What the switch calls.

    def wants(self, name: str) -> bool:
        return name in self._names

    def deliver(self, form: str, event: bytes) -> None:
        if self._server.waits_for is not None:
            self._server.hold(lambda: self.deliver(form, event))
            return
        if self._transport is None:
            return
        if self._filters and not self._passes(form, event):
            return
        head = b"Content-Length: %d\nContent-Type: text/event-%s\n\n" % (len(event), form.encode())
        if self._switch.faults.cut:
            self._switch.faults.cut = False
            frame = head + event
            self.send(frame[: len(frame) // 2])
            self._drop()
        else:
            self.send(head, event)

    def send(self, *frame: bytes) -> None:
        """Send a frame, which may be in pieces, after those that wait, or drop it as the switch would."""
        if self._transport is None:
            return
        if len(self._queue) < self._switch.faults.max_queue:
            if not self._queue and not self._paused:
                # At the end of this turn of the loop: one write for many events.
                asyncio.get_running_loop().call_soon(self._flush)
            self._queue.append(frame)
            self._missed = 0
        else:
            self._missed += 1
            if self._missed > MAX_MISSED and self._paused:
                self._server.waits_for = self
            elif self._missed > MAX_MISSED:
                self.close(_KILLED)

    def _flush(self) -> None:
        while self._queue and not self._paused and self._transport is not None:
            frames = [self._queue.popleft() for _ in range(min(len(self._queue), WRITE_AT_ONCE))]
            self._transport.writelines([piece for frame in frames for piece in frame])

    def close(self, reason: str) -> None:
        """End the connection, with a notice if there is a reason."""
        if reason:
            self._write(f"Content-Type: text/disconnect-notice\nContent-Length: {len(reason)}\n\n{reason}")
        self._drop()

    # Commands.

    def _obey(self, line: str, headers: dict[str, str]) -> None:
        word, _, rest = line.partition(" ")
        word = word.lower()
        if word in ("exit", "..."):
            self._reply("+OK bye")
            self.close(_GOODBYE)
        elif not self._authenticated:
            self._authenticate(word, rest)
        elif word == "api":
            self._busy = True
            self._switch.ask(rest, self._respond)
        elif word == "bgapi":
            self._run_job(rest, headers.get("job-uuid") or str(uuid.uuid4()))
        elif word in ("event", "nixevent", "noevents", "filter", "log", "nolog"):
            getattr(self, f"_do_{word}")(rest)
        else:
            self._reply("-ERR command not found")

    def _authenticate(self, word: str, password: str) -> None:
        if word != "auth":
            self._reply("-ERR command not found")
        elif password == self._server.password:
            self._authenticated = True
            self._reply("+OK accepted")
        else:
            self._reply("-ERR invalid")
            self.close(_GOODBYE)

    def _run_job(self, line: str, job: str) -> None:
        self._write(f"Content-Type: command/reply\nReply-Text: +OK Job-UUID: {job}\nJob-UUID: {job}\n\n")
        name, _, argument = line.partition(" ")
        headers = [("Job-UUID", job), ("Job-Command", name)] + ([("Job-Command-Arg", argument)] if argument else [])
        loop = asyncio.get_running_loop()
        switch = self._switch
        loop.call_soon(lambda: switch.ask(line, lambda output: switch.announce("BACKGROUND_JOB", headers, output)))

    def _respond(self, output: str) -> None:
        if self._server.waits_for is not None:
            self._server.hold(lambda: self._respond(output))
            return
        output = output or "-ERR no reply\n"
        self._write(f"Content-Type: api/response\nContent-Length: {len(output.encode())}\n\n{output}")
        self._busy = False
        if self._unread:
            asyncio.get_running_loop().call_soon(self._read_on)

    def _do_event(self, rest: str) -> None:
        names = rest.split()
        if names and names[0].lower() in ("plain", "json", "xml"):
            # XML is accepted by a switch; here it is written as plain.
            self.form = "json" if names.pop(0).lower() == "json" else "plain"
        known = {name.upper() for name in names} & EVENT_NAMES
        if not known:
            self._reply("-ERR no keywords supplied")
            return
        self._names |= EVENT_NAMES if "ALL" in known else known
        if self not in self._switch.listeners:
            self._switch.listeners.append(self)
        self._reply(f"+OK event listener enabled {self.form}")
        self._server.on_subscribed(self)

    def _do_nixevent(self, rest: str) -> None:
        names = {name.upper() for name in rest.split()} & EVENT_NAMES
        if not names:
            self._reply("-ERR no keywords supplied")
            return
        self._names -= EVENT_NAMES if "ALL" in names else names
        self._reply("+OK events nixed")

    def _do_noevents(self, _: str) -> None:
        listening = self in self._switch.listeners
        if listening:
            self._switch.listeners.remove(self)
        self._names.clear()
        self._queue.clear()
        self._reply("+OK no longer listening for events" if listening else "-ERR not listening for events")

    def _do_filter(self, rest: str) -> None:
        name, _, value = rest.strip().partition(" ")
        if name.lower() == "delete" and value:
            name, _, value = value.partition(" ")
            if name.lower() == "all":
                self._filters.clear()
            self._filters = [f for f in self._filters if f[0].lower() != name.lower() or (value and f[1] != value)]
            self._reply(f"+OK filter deleted. [{name}][{value}]")
        elif value:
            if name.lower() == "add":
                name, _, value = value.partition(" ")
            self._filters.append((name, value))
            self._reply(f"+OK filter added. [{name}]=[{value}]")
        else:
            self._reply("-ERR invalid syntax")

    def _do_log(self, rest: str) -> None:
        self._reply(f"+OK log level {rest or 'debug'} [7]")

    def _do_nolog(self, _: str) -> None:
        self._reply("+OK no longer logging")

    # How it is done.

    def _passes(self, form: str, event: bytes) -> bool:
        """Whether an event passes the filters: any that fits lets it in, one with a minus keeps it out
        (`event_handler`)."""
        headers = _headers(form, event)
        send = False
        for name, wanted in self._filters:
            value = headers.get(name.lower())
            if value is None:
                continue
            text = wanted.lstrip("+- ")
            # After a sign, a slash begins no pattern.
            pattern = wanted.startswith("/")
            fits = bool(re.search(text.strip("/"), value)) if pattern else text.lower() == value.lower()
            if fits and wanted.removesuffix(text).rstrip().endswith("-"):
                return False
            send = send or fits
        return send

    def _reply(self, text: str) -> None:
        self._write(f"Content-Type: command/reply\nReply-Text: {text}\n\n")

    def _write(self, text: str) -> None:
        # What the switch answers goes out at once, past the events that wait (seen in `listener_run`).
        self._flush()
        if self._transport is not None:
            self._transport.write(text.encode())

    def _drop(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()
        self.connection_lost(None)


def _headers(form: str, event: bytes) -> dict[str, str]:
    if form == "json":
        return {name.lower(): str(value) for name, value in json.loads(event).items()}
    pairs = (line.partition(": ") for line in event.decode().partition("\n\n")[0].split("\n"))
    return {name.lower(): unquote(value) for name, _, value in pairs}
