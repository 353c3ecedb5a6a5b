"""How a switch writes headers: event-json (cJSON) and event-plain (`switch_event_serialize`).

An event is made of blocks, each a run of headers that is written once and used again until it changes.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Final, Protocol

Pairs = Iterable[tuple[str, str]]

_UNSAFE: Final = frozenset(b'\r\n #%&+:;<=>?@[\\]^`{|}"')
"""SWITCH_URL_UNSAFE of switch_utils.h."""

_ENCODED: Final = re.compile(rb"%[0-9A-F]{2}")


class Form(Protocol):
    """One of the two ways to write an event."""

    name: str

    def value(self, text: str) -> str:
        """A value as it stands on the wire."""

    def block(self, pairs: Pairs, prefix: str = "") -> str:
        """Some headers; `prefix` is what their names begin with."""

    def event(self, blocks: list[str], body: str) -> bytes:
        """A whole event, as the body of a frame. Its first block begins with its first header; the others may be
        pieces of any length."""


@lru_cache(maxsize=65536)
def _plain_value(text: str) -> str:
    data = text.encode()
    encoded = "".join(
        chr(byte)
        if 32 <= byte <= 126 and (byte not in _UNSAFE or (byte == 37 and _ENCODED.match(data, at)))
        else f"%{byte:02X}"
        for at, byte in enumerate(data)
    )
    return encoded or "_undef_"


class JsonForm:
    """event-json."""

    name = "json"

    def value(self, text: str) -> str:
        """Without the quotes."""
        return encode_basestring(text)[1:-1]

    def block(self, pairs: Pairs, prefix: str = "") -> str:
        """`,"Name":"value","Name":"value"`: what comes before is another header, or else `event` takes the comma."""
        return "".join([f',"{prefix}{name}":{encode_basestring(value)}' for name, value in pairs])

    def event(self, blocks: list[str], body: str) -> bytes:
        """One JSON object; a body of the event is in `_body`."""
        end = self.block([("Content-Length", str(len(body.encode()))), ("_body", body)]) if body else ""
        return "".join(["{", blocks[0][1:], *blocks[1:], end, "}"]).encode()


class PlainForm:
    """event-plain."""

    name = "plain"
    value = staticmethod(_plain_value)

    def block(self, pairs: Pairs, prefix: str = "") -> str:
        """`Name: value` lines."""
        return "".join([f"{prefix}{name}: {_plain_value(value)}\n" for name, value in pairs])

    def event(self, blocks: list[str], body: str) -> bytes:
        """Lines, an empty one, and a body of the event after it."""
        head = "".join(blocks)
        if body:
            return f"{head}Content-Length: {len(body.encode())}\n\n{body}".encode()
        return f"{head}\n".encode()


FORMS: Final[dict[str, Form]] = {"json": JsonForm(), "plain": PlainForm()}
