"""Bytes to frames: the outer layer of the event socket.

A frame is a block of `Name: value` lines, a blank line and, where `Content-Length` says so, a body of that many bytes
(mod_event_socket.c, `read_packet` and `api_exec`). The names vary in case. Nothing here knows what a frame means.

A reader that has raised is finished: where one frame ends is where the next begins, so after one wrong length every
later frame would be wrong as well.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from callbridge.errors import RemoteProtocolError

MAX_HEADER_LINE: Final = 8 * 1024
"""Bytes of one header line. The switch builds its own in buffers of 512 and 1,024 bytes."""

MAX_HEADER_BLOCK: Final = 64 * 1024
"""Bytes of all header lines of one frame."""

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of one body. `show channels as delim |` takes some 400 bytes a channel: this is room for 160,000."""

_EVENT_HEAD: Final = re.compile(rb"Content-Length: (\d{1,8})\nContent-Type: text/event-(json|plain)\n\n")
_ANSWER_HEAD: Final = re.compile(rb"Content-Type: api/response\nContent-Length: (\d{1,8})\n\n")
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame: its `Content-Type` (lower case), its headers (names in lower case) and its body."""

    kind: str
    headers: Mapping[str, str] = _NO_HEADERS
    body: bytes = b""


_EVENT_KIND: Final = {b"json": "text/event-json", b"plain": "text/event-plain"}


class FrameReader:
    """Cuts a stream of bytes into frames, wherever the network cut it.

    Holds at most one unfinished frame: `MAX_HEADER_BLOCK` and `MAX_BODY` bytes, and one read.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._missing = 0
        self._failed = False

    def __repr__(self) -> str:
        state = "failed" if self._failed else f"holds {len(self._rest)} bytes"
        return f"<FrameReader {state}>"

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun that has not ended: an end of file now cuts it off."""
        return bool(self._rest)

    @property
    def failed(self) -> bool:
        """Whether it has raised and is finished."""
        return self._failed

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield every frame that `data` completes.

        Raises RemoteProtocolError for a header without an end, a line without a colon, or a length that is none, is
        negative, contradicts another or is over the limit; the frames before it have been yielded by then.
        """
        if self._failed:
            raise RemoteProtocolError("this connection has already broken the framing and cannot be read any further")
        position = 0
        try:
            if self._rest:
                # Only what the unfinished frame lacks is joined to it: a read may be fifty times as long.
                position = self._missing or len(data)
                if position > len(data):
                    self._rest += data
                    self._missing = position - len(data)
                    return
                begun = b"".join((self._rest, data[:position]))
                self._rest.clear()
                self._missing = 0
                yield from self._cut(begun, 0)
            yield from self._cut(data, position)
        except RemoteProtocolError:
            self._failed = True
            self._rest.clear()
            raise

    def _cut(self, data: bytes, position: int) -> Iterator[Frame]:
        end = len(data)
        while position < end:
            if head := _EVENT_HEAD.match(data, position):
                kind, headers = _EVENT_KIND[head[2]], _NO_HEADERS
                start, length = head.end(), _within_limit(int(head[1]))
            elif head := _ANSWER_HEAD.match(data, position):
                kind, headers = "api/response", _NO_HEADERS
                start, length = head.end(), _within_limit(int(head[1]))
            elif data[position] == 0x0A:
                position += 1
                continue
            else:
                stop = data.find(b"\n\n", position)
                if stop < 0:
                    _check_unfinished(data[position : position + MAX_HEADER_BLOCK + 1])
                    break
                headers = _parse_headers(data[position:stop])
                kind = headers.get("content-type", "").lower()
                start, length = stop + 2, _content_length(headers)
            if start + length > end:
                self._missing = start + length - end
                break
            yield Frame(kind, headers, data[start : start + length])
            position = start + length
        if position < end:
            self._rest += data[position:]


def _check_unfinished(block: bytes) -> None:
    if len(block) > MAX_HEADER_BLOCK:
        raise RemoteProtocolError(f"a header block of more than {MAX_HEADER_BLOCK} bytes came without its blank line")
    if len(block) - (block.rfind(b"\n") + 1) > MAX_HEADER_LINE:
        raise RemoteProtocolError(f"a header line of more than {MAX_HEADER_LINE} bytes came without its end")


def _parse_headers(block: bytes) -> dict[str, str]:
    if len(block) > MAX_HEADER_BLOCK:
        raise RemoteProtocolError(f"a header block of {len(block)} bytes came; the limit is {MAX_HEADER_BLOCK}")
    headers: dict[str, str] = {}
    for line in block.decode("utf-8", "replace").split("\n"):
        if len(line) > MAX_HEADER_LINE:
            raise RemoteProtocolError(f"a header line of {len(line)} characters came; the limit is {MAX_HEADER_LINE}")
        name, colon, value = line.partition(":")
        if not colon:
            raise RemoteProtocolError(f"a header line without a colon came: {line[:60]!r}; is this an event socket?")
        name, value = name.strip().lower(), value.strip()
        if name == "content-length" and headers.get(name, value) != value:
            raise RemoteProtocolError(f"two lengths in one frame: {headers[name][:20]!r} and {value[:20]!r}")
        headers[name] = value
    return headers


def _content_length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0")
    if not _LENGTH.fullmatch(text):
        raise RemoteProtocolError(f"Content-Length is {text[:20]!r}, which is no length")
    return _within_limit(int(text))


def _within_limit(length: int) -> int:
    if length > MAX_BODY:
        raise RemoteProtocolError(f"Content-Length is {length} bytes; the limit is {MAX_BODY}")
    return length
