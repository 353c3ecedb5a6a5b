"""A recording of a real switch, played to whoever listens: byte for byte, at its own speed or as fast as it goes.

What it is asked (`show channels`, `uuid_dump`) it answers from what it has played so far, as the switch would have.
"""

import asyncio
import json
import lzma
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from callbridge.simulator.faults import Faults
from callbridge.simulator.forms import FORMS
from callbridge.simulator.rows import COLUMNS
from callbridge.simulator.server import Session
from callbridge.simulator.switch import Listener

_LENGTH: Final = re.compile(rb"(?m)^Content-Length: (\d+)$")


class RecordedEvent(msgspec.Struct, frozen=True):
    """One event frame as it was sent, and its headers."""

    wire: bytes
    headers: dict[str, str]

    @property
    def sequence(self) -> int:
        """Event-Sequence."""
        return int(self.headers["Event-Sequence"])

    @property
    def us(self) -> int:
        """When it was made, microseconds since 1970."""
        return int(self.headers["Event-Date-Timestamp"])


def read_recording(path: Path) -> list[RecordedEvent]:
    """The events of a recording (`.esl`, or `.esl.xz`). Raises ValueError for what is none or is not whole."""
    try:
        wire = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    except lzma.LZMAError as error:
        raise ValueError(f"{path} cannot be unpacked: {error}") from None
    events, position = [], 0
    while position < len(wire):
        stop = wire.find(b"\n\n", position) + 2
        length = _LENGTH.search(wire[position:stop])
        end = stop + (int(length[1]) if length else 0)
        if stop <= position or end > len(wire):
            raise ValueError(f"{path} ends in the middle of a frame, or is no recording of an event socket")
        if b"text/event-" in wire[position:stop]:
            events.append(RecordedEvent(wire[position:end], _headers(wire[position:stop], wire[stop:end])))
        position = end
    if not events:
        raise ValueError(f"{path} holds no events of an event socket")
    return events


def _headers(head: bytes, body: bytes) -> dict[str, str]:
    if b"text/event-json" in head:
        read: dict[str, Any] = json.loads(body.decode("utf-8", "replace"), strict=False)
        return {name: value[0] if isinstance(value, list) else value for name, value in read.items()}
    lines = (line.partition(": ") for line in body.partition(b"\n\n")[0].decode("utf-8", "replace").split("\n"))
    return {name: unquote(value) if value != "_undef_" else "" for name, _, value in lines if name}


class Replay:
    """Stands behind an event socket like a switch. `channels` are the rows that were there when the recording began."""

    def __init__(self, events: list[RecordedEvent], channels: list[dict[str, str]] | None = None) -> None:
        self.faults = Faults()
        self.listeners: list[Listener] = []
        self.core_uuid = events[0].headers["Core-UUID"]
        self._events = events
        self._position = 0
        self._sequence = 0
        self._channels: dict[str, dict[str, str]] = {}
        for row in channels or []:
            # What the recording itself says first of such a channel is the nearest to what it was like.
            first = next((e.headers for e in events if e.headers.get("Unique-ID") == row["uuid"]), {})
            alive = {"Channel-State": row["state"], "Answer-State": "answered", "Channel-State-Number": "4"}
            self._channels[row["uuid"]] = first | alive | {"Event-Sequence": "0", "created": row["created"]}

    def __repr__(self) -> str:
        return f"<Replay {self._position} of {len(self._events)} events>"

    @classmethod
    def load(cls, path: Path) -> "Replay":
        """A recording, with the `.json` beside it if there is one."""
        name = path.name.removesuffix(".xz").removesuffix(".esl")
        beside = path.with_name(f"{name}.json")
        about = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {}
        return cls(read_recording(path), about.get("joined_with", {}).get("show_channels"))

    def play(self, until: int | None = None) -> None:
        """Send everything up to and with the event of that Event-Sequence (None: to the end), at once."""
        while self._position < len(self._events):
            event = self._events[self._position]
            self._position += 1
            # Events do not always come in the order in which they were made.
            self._sequence = max(self._sequence, event.sequence)
            self._take(event)
            for listener in self.listeners:
                if isinstance(listener, Session) and listener.wants(event.headers["Event-Name"]):
                    listener.send(event.wire)
            if event.sequence == until:
                break

    async def run(self, speed: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Play the rest at so many times its own speed; 0 is as fast as it goes."""
        while self._position < len(self._events):
            event = self._events[self._position]
            previous = self._events[max(0, self._position - 1)]
            await sleep(max(0, event.us - previous.us) / 1e6 / speed if speed else 0)
            self.play(event.sequence)

    def _take(self, event: RecordedEvent) -> None:
        headers = event.headers
        uuid, name = headers.get("Unique-ID"), headers["Event-Name"]
        if uuid is None:
            return
        if name == "CHANNEL_CREATE":
            self._channels[uuid] = headers | {"created": headers["Event-Date-Local"]}
        elif name == "CHANNEL_DESTROY":
            self._channels.pop(uuid, None)
        elif uuid in self._channels:
            was = self._channels[uuid]
            if "variable_uuid" not in headers:
                headers = {k: v for k, v in was.items() if k.startswith("variable_")} | headers
            self._channels[uuid] = headers | {"created": was["created"]}

    # What an event socket needs of a switch.

    def announce(self, name: str, headers: list[tuple[str, str]], body: str = "") -> None:
        """Send an event that is not in the recording: the result of a job."""
        for listener in [listener for listener in self.listeners if listener.wants(name)]:
            writer = FORMS[listener.form]
            listener.deliver(listener.form, writer.event([writer.block([("Event-Name", name), *headers])], body))

    def ask(self, line: str, reply: Callable[[str], None]) -> None:
        """The same, for what asks for it in another way."""
        reply(self.api(line))

    def api(self, line: str) -> str:
        """`show channels as delim |`, `uuid_dump`, `uuid_exists`, `global_getvar core_uuid`."""
        name, _, argument = line.partition(" ")
        match name:
            case "global_getvar":
                return self.core_uuid if argument == "core_uuid" else ""
            case "show":
                return self._show()
            case "uuid_exists":
                return str(argument in self._channels).lower()
            case "uuid_dump":
                return self._dump(argument.partition(" ")[0])
        return f"-ERR {name} Command not found!\n"

    def _show(self) -> str:
        lines = ["|".join(COLUMNS)] if self._channels else []
        for uuid, headers in self._channels.items():
            row = {"uuid": uuid, "direction": headers.get("Call-Direction", ""), "created": headers["created"]}
            lines.append("|".join(row.get(column, "") for column in COLUMNS))
        return "".join(f"{line}\n" for line in lines) + f"\n{len(self._channels)} total.\n"

    def _dump(self, uuid: str) -> str:
        headers = self._channels.get(uuid)
        if headers is None:
            return "-ERR No such channel!\n"
        own = {name: value for name, value in headers.items() if name != "created"}
        own |= {"Event-Name": "CHANNEL_DATA", "Event-Sequence": str(self._sequence + 1)}
        return json.dumps(own, ensure_ascii=False)
