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
    joint: str
    """What stands between two blocks."""

    def value(self, text: str) -> str:
        """A value as it stands on the wire."""

    def block(self, pairs: Pairs) -> str:
        """Some headers."""

    def event(self, blocks: list[str], body: str) -> bytes:
        """A whole event, as the body of a frame."""


@lru_cache(maxsize=65536)
def _json_value(text: str) -> str:
    return encode_basestring(text)[1:-1]


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
    joint = ","
    value = staticmethod(_json_value)

    def block(self, pairs: Pairs) -> str:
        """`"Name":"value","Name":"value"`"""
        return ",".join([f'"{name}":"{_json_value(value)}"' for name, value in pairs])

    def event(self, blocks: list[str], body: str) -> bytes:
        """One JSON object; a body of the event is in `_body`."""
        if body:
            blocks = [*blocks, self.block([("Content-Length", str(len(body.encode()))), ("_body", body)])]
        return f"{{{','.join([block for block in blocks if block])}}}".encode()


class PlainForm:
    """event-plain."""

    name = "plain"
    joint = ""
    value = staticmethod(_plain_value)

    def block(self, pairs: Pairs) -> str:
        """`Name: value` lines."""
        return "".join([f"{name}: {_plain_value(value)}\n" for name, value in pairs])

    def event(self, blocks: list[str], body: str) -> bytes:
        """Lines, an empty one, and a body of the event after it."""
        head = "".join(blocks)
        if body:
            return f"{head}Content-Length: {len(body.encode())}\n\n{body}".encode()
        return f"{head}\n".encode()


FORMS: Final[dict[str, Form]] = {"json": JsonForm(), "plain": PlainForm()}
