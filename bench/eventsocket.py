"""An event socket that sends bytes as they are, as fast as they are read: the sender of the recordings."""

import itertools
import re
import socket
import threading
from collections.abc import Iterator
from typing import Final

from bench.processes import Failed
from tests.recorded import load

CORE_UUID: Final = "5be80f33-27f0-453f-8675-d1a21799003c"
"""Of the switch that was recorded: events of another one would be another run."""
_OTHER_UUID: Final = re.compile(
    rb"(?!%b)[0-9a-f]{8}(?=-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})" % CORE_UUID.encode()
)
"""How the uuid of anything else begins."""
_BEGINS_OR_ENDS: Final = re.compile(rb"Event-Name\"?: ?\"?CHANNEL_(CREATE|DESTROY)")
_STATE: Final = b'"Event-Name":"CHANNEL_STATE"'
_CREATE: Final = re.compile(rb"Event-Name\"?: ?\"?CHANNEL_CREATE")
_MAKES_A_CALL: Final = re.compile(rb"Event-Name\"?: ?\"?CHANNEL_(CREATE|ORIGINATE|ANSWER|BRIDGE)\"")
_ANSWERS: Final = {
    "global_getvar": CORE_UUID,
    "user_exists": "true",
    "sofia_contact": "sofia/internal/sip:108@127.0.0.1:5060",
}


class Played:
    """The event frames of the recording `load_a` (400 real calls), as event-json or event-plain."""

    def __init__(self, form: str) -> None:
        self.frames: list[bytes] = []
        self.calls: list[str] = []
        """The ids of its calls: the uuids of the legs that began them."""
        self.created: dict[int, str] = {}
        """Index of a frame -> the channel that begins in it."""
        self._last: dict[str, bytes] = {}
        """Channel -> the frame in which it ends."""
        for frame in load(f"load_a.{form}").frames:
            if not frame.is_event:
                continue
            if found := _BEGINS_OR_ENDS.search(frame.body, 0, 80):
                event = frame.event
                uuid = event["Unique-ID"]
                if found[1] == b"DESTROY":
                    self._last.setdefault(uuid, frame.wire)
                else:
                    self.created[len(self.frames)] = uuid
                    if event["Call-Direction"] == "inbound":
                        self.calls.append(uuid)
            self.frames.append(frame.wire)

    def another(self, number: int) -> tuple[str, bytes]:
        """One more call that begins: its id, and the frame that says so."""
        first = next(index for index, uuid in self.created.items() if uuid == self.calls[0])
        uuid = f"{number:08x}-0000-4000-8000-000000000000"
        return uuid, self.frames[first].replace(self.calls[0].encode(), uuid.encode())

    def brief(self, number: int) -> tuple[str, bytes, bytes]:
        """One more call that begins and ends: its id, and the frames that say so."""
        caller = self.calls[0]
        uuid, first = self.another(number)
        return uuid, first, self._last[caller].replace(caller.encode(), uuid.encode())

    def endless(self) -> Iterator[bytes]:
        """The frames again and again, of other channels each time. They are looked through before the first."""
        frames = [_OTHER_UUID.split(frame) for frame in self.frames]
        return ((b"%08x" % turn).join(pieces) for turn in itertools.count(1) for pieces in frames)

    def moves(self) -> list[bytes]:
        """What the switch says each time a call goes back to the dialplan and on with it: two frames, each of which
        changes the row. They are the first call's; its id in them can be replaced by that of `another`."""
        caller = self.calls[0].encode()
        return [
            next(frame for frame in self.frames if caller in frame and _STATE in frame[:200] and state in frame)
            for state in (b'"Channel-State":"CS_ROUTING"', b'"Channel-State":"CS_EXECUTE"')
        ]

    def talking(self, number: int) -> tuple[str, bytes]:
        """One more call whose legs talk: its id, and the frames that say so."""
        caller = self.calls[0]
        called = next(uuid for index, uuid in sorted(self.created.items()) if uuid != caller)
        frames = []
        for frame in self.frames:
            if caller.encode() in frame or called.encode() in frame:
                frames.append(frame)
                if b'"Event-Name":"CHANNEL_BRIDGE"' in frame[:400]:
                    break
        uuid = f"{number:08x}-0000-4000-9000-000000000000"
        text = b"".join(frames).replace(caller.encode(), uuid.encode())
        return uuid, text.replace(called.encode(), f"{number:08x}-0000-4000-a000-000000000000".encode())


class Lives:
    """One recorded call from its first event to its last, as often as wanted, each in two parts: until its legs talk,
    and from then on."""

    def __init__(self, played: Played) -> None:
        self._caller = played.calls[0]
        self._called = next(uuid for _, uuid in sorted(played.created.items()) if uuid != self._caller)
        own = [frame for frame in played.frames if self._caller.encode() in frame or self._called.encode() in frame]
        talks = next(at for at, frame in enumerate(own) if b'"Event-Name":"CHANNEL_BRIDGE"' in frame[:400]) + 1
        self._begin, self._end = own[:talks], own[talks:]
        self.events = len(own)
        """Of a whole call."""
        self.created = next(at for at, frame in enumerate(own) if _CREATE.search(frame, 0, 400))
        """Which of them is the first that shows the call."""

    def uuid(self, number: int) -> str:
        """The id of that call."""
        return f"{number:08x}-0000-4000-9000-000000000000"

    def up(self, number: int) -> bytes:
        """The few of them that make it a call that talks."""
        return b"".join(self._of(number, frame) for frame in self._begin if _MAKES_A_CALL.search(frame, 0, 400))

    def begin(self, number: int) -> list[bytes]:
        """The frames until it talks."""
        return [self._of(number, frame) for frame in self._begin]

    def end(self, number: int) -> list[bytes]:
        """The frames of its end."""
        return [self._of(number, frame) for frame in self._end]

    def _of(self, number: int, frame: bytes) -> bytes:
        text = frame.replace(self._caller.encode(), self.uuid(number).encode())
        return text.replace(self._called.encode(), f"{number:08x}-0000-4000-a000-000000000000".encode())


class EventSocket:
    """The server, in threads. It plays to whoever has subscribed to the events of channels."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.originates = 0
        """Phones that were to be rung. They ring, and that is never answered."""
        self.channels: list[str] = []
        """What a list of the channels names. Those that it does not name are doubted, and the daemon asks for each."""
        self._listener: socket.socket | None = None
        self._subscribed = threading.Event()
        self._open: list[socket.socket] = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "EventSocket":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._open:
            connection.close()

    def play(self, data: bytes) -> None:
        """Send bytes to the listener. Returns when the kernel has taken all of them."""
        if not self._subscribed.wait(60) or self._listener is None:
            raise Failed("nobody subscribed to the events")
        self._listener.sendall(data)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.append(connection)
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        unread = b""
        try:
            connection.sendall(b"Content-Type: auth/request\n\n")
            while data := connection.recv(65536):
                # The switch drops carriage returns as well (mod_event_socket.c, read_packet).
                *commands, unread = (unread + data.replace(b"\r", b"")).split(b"\n\n")
                for command in commands:
                    self._obey(connection, command.decode())
        except OSError:
            pass

    def _obey(self, connection: socket.socket, command: str) -> None:
        line, *headers = command.split("\n")
        word, _, rest = line.partition(" ")
        if word == "api":
            text = _ANSWERS.get(rest.partition(" ")[0], "-ERR no reply\n").encode()
            connection.sendall(b"Content-Type: api/response\nContent-Length: %d\n\n%b" % (len(text), text))
        elif word == "bgapi":
            job = headers[0].partition(": ")[2].encode()
            connection.sendall(b"Content-Type: command/reply\nReply-Text: +OK Job-UUID: %b\n\n" % job)
            if rest.startswith("originate "):
                self.originates += 1
                return
            listed = _listed(self.channels)
            event = b"Event-Name: BACKGROUND_JOB\nJob-UUID: %b\nContent-Length: %d\n\n%b" % (job, len(listed), listed)
            connection.sendall(b"Content-Length: %d\nContent-Type: text/event-plain\n\n%b" % (len(event), event))
        else:
            connection.sendall(b"Content-Type: command/reply\nReply-Text: +OK accepted\n\n")
            if word == "event" and rest.split()[-1] != "BACKGROUND_JOB":
                self._listener = connection
                self._subscribed.set()


def _listed(uuids: list[str]) -> bytes:
    """As `show channels as delim |` begins its rows."""
    rows = "".join(f"{uuid}|inbound|2026-11-23 18:34:59|\n" for uuid in uuids)
    return f"{rows}\n{len(uuids)} total.\n".encode()
