"""The recordings of a real switch (recordings/README.md), read with nothing of callbridge."""

import json
import lzma
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recordings"


def _plain_value(value: bytes) -> str:
    return "" if value == b"_undef_" else urllib.parse.unquote_to_bytes(value).decode("utf-8", "replace")


@dataclass(frozen=True)
class Frame:
    """One frame as the switch sent it: its headers, its body, and both as bytes."""

    headers: dict[str, str]
    body: bytes
    wire: bytes

    @property
    def is_event(self) -> bool:
        return self.headers["Content-Type"].startswith("text/event-")

    @property
    def event(self) -> dict[str, Any]:
        """Every header of the event, by the letter of the format. An array stands for a header set twice."""
        if self.headers["Content-Type"] == "text/event-json":
            headers: dict[str, Any] = json.loads(self.body.decode("utf-8", "replace"))
            return headers
        head, _, inner = self.body.partition(b"\n\n")
        pairs = (line.split(b": ", 1) for line in head.split(b"\n") if line)
        event = {name.decode(): _plain_value(value) for name, value in pairs}
        return event | ({"_body": inner.decode("utf-8", "replace")} if inner else {})


@dataclass(frozen=True)
class Recording:
    name: str
    about: dict[str, Any]
    wire: bytes

    @property
    def frames(self) -> Iterator[Frame]:
        position = 0
        while position < len(self.wire):
            stop = self.wire.index(b"\n\n", position) + 2
            lines = self.wire[position : stop - 2].decode("utf-8", "replace").split("\n")
            headers = dict(line.split(": ", 1) for line in lines)
            end = stop + int(headers.get("Content-Length", 0))
            yield Frame(headers, self.wire[stop:end], self.wire[position:end])
            position = end

    @property
    def checkpoints(self) -> dict[int | None, dict[str, Any]]:
        """By the Event-Sequence after which each was taken; None for the end."""
        return {c.get("after_event_sequence"): c for c in self.about["checkpoints"]}

    def as_json(self) -> "Recording":
        """The same stream as the switch would have sent it as event-json."""
        wire = b""
        for frame in self.frames:
            if frame.headers["Content-Type"] == "text/event-plain":
                body = json.dumps(frame.event, ensure_ascii=False, separators=(",", ":")).encode()
                wire += b"Content-Length: %d\nContent-Type: text/event-json\n\n" % len(body) + body
            else:
                wire += frame.wire
        return Recording(self.name + " as event-json", self.about, wire)


NAMES = sorted(path.name.removesuffix(".esl.xz") for path in FOLDER.glob("*.esl.xz"))
SMALL = [name for name in NAMES if not name.startswith("load_")]


def load(name: str) -> Recording:
    about = json.loads((FOLDER / f"{name.removesuffix('.json').removesuffix('.plain')}.json").read_text())
    return Recording(name, about, lzma.decompress((FOLDER / f"{name}.esl.xz").read_bytes()))
