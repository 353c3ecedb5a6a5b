"""What a consumer writes: the body of a request, read field by field; every mistake is named with the way out."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar, get_args

import msgspec
from aiohttp import web

from callbridge.calls import Side
from callbridge.commands import requests as r
from callbridge.commands.orders import DIGITS, EXTENSION
from callbridge.commands.simple import CAUSES
from callbridge.http.failures import Failure, invalid_parameter
from callbridge.records import Mode

SIDES: Final[tuple[Side, ...]] = get_args(Side)
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
ACTIONS: Final = ("start", "stop")

T = TypeVar("T", bound=str)


class Body:
    """The fields of a JSON object. Each is taken once; what is left over at the end is a mistake."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields
        self._known: list[str] = []

    @classmethod
    async def read(cls, request: web.Request) -> "Body":
        """The body of a request; an empty one has no fields. Raises Failure 400 INVALID_BODY, 413."""
        data = await request.read()
        if not data.strip():
            return cls({})
        try:
            fields = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Failure(400, "INVALID_BODY", f"the body is no JSON ({error})") from None
        if not isinstance(fields, dict):
            raise Failure(400, "INVALID_BODY", 'the body is no JSON object; send one like {"ext": "101"}')
        return cls(fields)

    def extension(self, name: str) -> str:
        """An extension or a number."""
        value = self._text(name, 'an extension, like "101"')
        if EXTENSION.fullmatch(value) is None:
            raise invalid_parameter(name, "is no extension: 1 to 32 of 0-9 A-Z a-z _ + * # .")
        return value

    def side(self) -> Side:
        """`legs`, which must be there."""
        return self._one_of("legs", SIDES)

    def wanted_side(self) -> Side | Literal[""]:
        """`legs`, which may be left out."""
        if "legs" in self._fields:
            return self.side()
        self._known.append("legs")
        return ""

    def mode(self) -> Mode:
        """`mode`"""
        return self._one_of("mode", MODES)

    def action(self) -> Literal["start", "stop"]:
        """`action`"""
        return "start" if self._one_of("action", ACTIONS) == "start" else "stop"

    def cause(self) -> str:
        """`cause`, which may be left out."""
        if "cause" in self._fields:
            return self._one_of("cause", CAUSES)
        self._known.append("cause")
        return CAUSES[0]

    def digits(self) -> str:
        """`digits`"""
        value = self._text("digits", 'keys, like "123#"')
        if DIGITS.fullmatch(value) is None:
            raise invalid_parameter("digits", "can be 1 to 64 of 0-9 A-D * # and w, a pause of half a second")
        return value

    def end(self) -> None:
        """Raises Failure 400 for a field that no one has taken."""
        for name in self._fields:
            there_are = f"there are {', '.join(self._known)}" if self._known else "this request has none"
            raise invalid_parameter(name[:40], f"there is no such field; {there_are}")

    def _text(self, name: str, what: str) -> str:
        self._known.append(name)
        if name not in self._fields:
            raise invalid_parameter(name, f"is missing; it is {what}")
        value = self._fields.pop(name)
        if not isinstance(value, str):
            raise invalid_parameter(name, f"must be a string: {what}")
        return value

    def _one_of(self, name: str, choices: tuple[T, ...]) -> T:
        value = self._text(name, f"one of {', '.join(choices)}")
        for choice in choices:
            if value == choice:
                return choice
        raise invalid_parameter(name, f"can be {', '.join(choices)}")


def _monitor(mode: Mode) -> Callable[[Body, bool], r.OnCall]:
    return lambda body, wait: r.Monitor(mode, body.extension("ext"), body.wanted_side(), wait)


COMMANDS: Final[Mapping[str, Callable[[Body, bool], r.OnCall]]] = {
    "transfer": lambda body, _: r.Transfer(body.extension("ext"), body.side()),
    "park": lambda body, _: r.Park(body.side()),
    "listen": _monitor("listen"),
    "whisper": _monitor("whisper"),
    "barge": _monitor("barge"),
    "hangup": lambda body, _: r.HangUp(body.cause()),
    "hold": lambda body, _: r.Hold(True, body.wanted_side()),
    "unhold": lambda body, _: r.Hold(False, body.wanted_side()),
    "mute": lambda body, _: r.Mute(True, body.side()),
    "unmute": lambda body, _: r.Mute(False, body.side()),
    "dtmf": lambda body, _: r.Dtmf(body.side(), body.digits()),
    "record": lambda body, _: r.RecordCall(body.action()),
}
"""The last part of the path -> what the body, and `?wait=answer`, ask for."""


def read_place(body: Body, wait: bool) -> r.Place:
    """Click to call."""
    return r.Place(body.extension("ext"), body.extension("destination"), wait)
