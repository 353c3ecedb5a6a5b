"""The dialogue with a switch over its event socket, without any I/O: bytes in, items out; commands in, bytes out.

How it goes (mod_event_socket.c, `listener_run`):

1. The switch greets with `auth/request`, or refuses the address with `text/rude-rejection` and closes.
2. We send `auth PASSWORD`. `+OK accepted` opens the dialogue; after `-ERR invalid` the switch closes.
3. From then on we send commands; the switch answers each in turn, `command/reply` for its own commands and `bgapi`,
   `api/response` for `api`, and sends events in between.
4. It says `text/disconnect-notice` with its reason before it closes.

A reply carries no name of its command: it belongs to the oldest command that has none yet. So a place in that queue is
never given up, not by a timeout either; a reply that nobody waits for, like any other breach, finishes the connection.
"""

import enum
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from callbridge.errors import (
    AccessRefused,
    AuthenticationFailed,
    Disconnected,
    LocalProtocolError,
    RemoteProtocolError,
    SwitchError,
)
from callbridge.esl.events import Event, decode
from callbridge.esl.frames import Frame, FrameReader

MAX_COMMAND: Final = 64 * 1024
"""Bytes of one command with its headers. The switch takes up to 10 MB (`read_packet`); nothing of ours comes near."""

_GREETING: Final = b"Content-"
_UNSENDABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


class State(enum.Enum):
    """Where the dialogue stands."""

    GREETING = "waits for the greeting"
    AUTHENTICATING = "waits for the answer to the password"
    OPEN = "open"
    FINISHED = "finished"


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The switch's answer to the command that was sent as number `serial`; `text` without its line end."""

    serial: int
    text: str

    @property
    def ok(self) -> bool:
        """Whether the switch did not refuse. The text of an `api` answer is free: only `-ERR` and `-USAGE` refuse."""
        return not self.text.startswith(("-ERR", "-USAGE"))


class Opened(msgspec.Struct, frozen=True, gc=False):
    """The password was accepted: commands may follow."""


Item = Event | Reply | Opened
"""What comes out of the dialogue, in the order in which the switch sent it."""


class Protocol:
    """One connection's dialogue, from the client's side.

    `receive` takes what was read and gives items; `send` gives what is to be written. Once either has raised a
    SwitchError, or `eof` was told, the dialogue is FINISHED and `failure` says why.
    """

    def __init__(self, password: str) -> None:
        self.state = State.GREETING
        self.failure: SwitchError | None = None
        self._password = password
        self._reader = FrameReader()
        self._unanswered: deque[int] = deque()
        self._serial = 0
        self._out = bytearray()
        self._greeting = b""

    def __repr__(self) -> str:
        return f"<Protocol {self.state.value}, {len(self._unanswered)} unanswered>"

    @property
    def unanswered(self) -> int:
        """How many commands wait for their reply."""
        return len(self._unanswered)

    def send(self, line: str, headers: Mapping[str, str] | None = None) -> int:
        """Queue one command; its bytes come out of `data_to_send`. Returns the serial number its Reply will carry.

        Raises LocalProtocolError, and queues nothing, for a command out of turn or one that would end early: a lone CR
        or LF in an argument starts a new header (`read_packet`), and NUL ends the switch's strings.
        """
        if self.state is not State.OPEN:
            raise LocalProtocolError(f"a command was sent on a connection that is {self.state.value}")
        self._queue(encode_command(line, headers or {}))
        self._serial += 1
        self._unanswered.append(self._serial)
        return self._serial

    def data_to_send(self) -> bytes:
        """What is to be written to the socket now; each byte is given once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> Iterator[Item]:
        """Yield what `data` completes. Raises the SwitchError that finishes the dialogue, after what came before it."""
        if self.state is State.FINISHED:
            return
        try:
            if self.state is State.GREETING:
                self._check_greeting(data)
            for frame in self._reader.feed(data):
                if frame.kind == "text/event-json" or frame.kind == "text/event-plain":
                    if self.state is not State.OPEN:
                        raise RemoteProtocolError("an event came before the password was accepted")
                    yield decode(frame.kind, frame.body)
                else:
                    item = self._take(frame)
                    if item is not None:
                        yield item
        except SwitchError as error:
            raise self._finish(self._discreet(error)) from None

    def eof(self, how: str = "") -> SwitchError:
        """The peer closed, or the socket broke (`how`): finish and say why."""
        if self.failure is not None:
            return self.failure
        if self.state is State.AUTHENTICATING:
            return self._finish(AuthenticationFailed("the switch closed the connection instead of taking the password"))
        where = "in the middle of a frame" if self._reader.mid_frame else "without a word"
        return self._finish(Disconnected(f"the connection to the switch ended {where}" + (f" ({how})" if how else "")))

    def _check_greeting(self, data: bytes) -> None:
        """Every event socket begins with `Content-`; what does not is another service, and may never end a header."""
        self._greeting = (self._greeting + data)[:40]
        if not _GREETING.startswith(self._greeting[: len(_GREETING)]):
            raise RemoteProtocolError(
                f"what answers there is no event socket: it greets with {_text(self._greeting)!r}"
            )

    def _take(self, frame: Frame) -> Item | None:
        match frame.kind:
            case "command/reply" | "api/response":
                return self._take_reply(frame)
            case "auth/request":
                if self.state is not State.GREETING:
                    raise RemoteProtocolError("the switch asked for the password twice")
                self.state = State.AUTHENTICATING
                self._queue(encode_command(f"auth {self._password}", {}))
            case "text/rude-rejection":
                raise AccessRefused(f"the switch's access list refuses this address ({_words(frame.body)})")
            case "text/disconnect-notice":
                if self.state is not State.AUTHENTICATING:
                    raise Disconnected(f"the switch closed the connection: {_words(frame.body)}")
            case "log/data" | "text/event-xml":
                pass
            case _:
                raise RemoteProtocolError(f"a frame of kind {frame.kind[:60]!r} came; is this an event socket?")
        return None

    def _take_reply(self, frame: Frame) -> Item:
        text = frame.headers.get("reply-text", "") if frame.kind == "command/reply" else _text(frame.body)
        if self.state is State.AUTHENTICATING:
            if not text.startswith("+OK"):
                words = "and repeated it" if self._password in text else f"({text[:60]})"
                raise AuthenticationFailed(f"the switch refused the password {words}")
            self.state = State.OPEN
            return Opened()
        if not self._unanswered:
            raise RemoteProtocolError("a reply came that belongs to no command")
        return Reply(self._unanswered.popleft(), text)

    def _discreet(self, error: SwitchError) -> SwitchError:
        """Where the password has just been sent, what breaks the framing is not repeated: it may be an echo."""
        if self.state is State.AUTHENTICATING and self._reader.failed:
            return RemoteProtocolError("what asked for the password there is no event socket; it broke the framing")
        return error

    def _queue(self, data: bytes) -> None:
        self._out += data

    def _finish(self, error: SwitchError) -> SwitchError:
        self.state = State.FINISHED
        self.failure = error
        self._unanswered.clear()
        self._out.clear()
        return error


def encode_command(line: str, headers: Mapping[str, str]) -> bytes:
    """The bytes of one command. The last check before the socket: raises LocalProtocolError for what would not arrive
    as exactly this command.

    `mod_event_socket` takes any line with its own name and `unload` or `reload` in it as the order to unload itself
    (`parse_command`), so such a line does not leave.
    """
    lines = [line, *(f"{name}: {value}" for name, value in headers.items())]
    if not line or _UNSENDABLE.search(" ".join(lines)):
        raise LocalProtocolError("a command held a control character or nothing at all; it was not sent")
    low = line.lower()
    if "mod_event_socket" in low and ("unload" in low or "reload" in low):
        raise LocalProtocolError("a command would have unloaded the event socket; it was not sent")
    data = "\n".join(lines).encode() + b"\n\n"
    if len(data) > MAX_COMMAND:
        raise LocalProtocolError(f"a command of {len(data)} bytes was not sent; the limit is {MAX_COMMAND}")
    return data


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace").rstrip("\r\n")


def _words(body: bytes) -> str:
    return " ".join(_text(body[:300]).split()) or "it gave no reason"
