"""The variables of channels: which stand in which event, in which order, learned from recordings of a real switch.

`headers.json` says for each leg of each recorded kind of call what changes before which of its events. A set variable
moves to the end (switch_event.c), so a channel's variables are a path of changes; the text of a path is made once and
filled in for every channel that has gone it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from callbridge.simulator.forms import FORMS

_PLACEHOLDER: Final = re.compile(r"\{\{([a-z_]+)\}\}")
_ARRAY: Final = "ARRAY::"
"""How event-plain writes a variable with several values; event-json writes a list."""


class Change:
    """Names to unset, then names to set with their templates. `{{name}}` in one is a parameter of the channel."""

    def __init__(self, unset: Iterable[str] = (), put: Iterable[tuple[str, str]] = ()) -> None:
        self.unset = tuple(unset)
        self.put = tuple(put)


class Variables:
    """What a channel's variables are after a path of changes. Immutable; the same path is the same object."""

    def __init__(self, templates: Mapping[str, str]) -> None:
        self.templates = templates
        self._next: dict[Change, Variables] = {}
        self._texts: dict[str, list[str]] = {}
        """form -> the text, and at every second place the name of a parameter."""

    def after(self, change: Change) -> "Variables":
        """The variables after one more change."""
        known = self._next.get(change)
        if known is None:
            templates = dict(self.templates)
            for name in (*change.unset, *(name for name, _ in change.put)):
                templates.pop(name, None)
            templates.update(change.put)
            known = self._next[change] = Variables(templates)
        return known

    def value(self, name: str, parameters: Mapping[str, str]) -> str:
        """One variable; an absent one is empty."""
        template = self.templates.get(name, "")
        if "{{" not in template:
            return template
        return _PLACEHOLDER.sub(lambda match: parameters[match[1]], template)

    def pieces(self, form: str, parameters: Mapping[str, str]) -> list[str]:
        """The block of `variable_…` headers, still to be joined; `parameters` are written in that form already."""
        text = self._texts.get(form)
        if text is None:
            write = _json_header if form == "json" else _plain_header
            whole = "".join([write(name, template) for name, template in self.templates.items()])
            text = self._texts[form] = _PLACEHOLDER.split(whole)
        # The % operator takes four times as long for so long a text.
        pieces = text.copy()
        pieces[1::2] = map(parameters.__getitem__, text[1::2])
        return pieces


def _json_header(name: str, template: str) -> str:
    if template.startswith(_ARRAY):
        values = ",".join(f'"{_fill("json", value)}"' for value in template.removeprefix(_ARRAY).split("|:"))
        return f',"variable_{name}":[{values}]'
    return f',"variable_{name}":"{_fill("json", template)}"'


def _plain_header(name: str, template: str) -> str:
    return f"variable_{name}: {_fill('plain', template)}\n"


def _fill(form: str, template: str) -> str:
    """A template whose literal parts are written in that form."""
    if not template:
        return FORMS[form].value("")
    parts = _PLACEHOLDER.split(template)
    parts[::2] = [FORMS[form].value(part) if part else "" for part in parts[::2]]
    parts[1::2] = [f"{{{{{name}}}}}" for name in parts[1::2]]
    return "".join(parts)


NONE: Final = Variables({})


@cache
def put(*pairs: tuple[str, str]) -> Change:
    """The change that sets some variables; the same one for the same variables."""
    return Change(put=pairs)


@cache
def unset(*names: str) -> Change:
    """The change that unsets some variables."""
    return Change(unset=names)


@cache
def without(change: Change, names: frozenset[str]) -> Change:
    """The change that leaves some variables as they are; the same one for the same variables."""
    return Change(change.unset, [pair for pair in change.put if pair[0] not in names]) if names else change


@cache
def learned() -> dict[str, dict[str, list[Change]]]:
    """leg -> event -> what changes before the first, the second … event of that name."""
    data = json.loads(files(__package__).joinpath("headers.json").read_text(encoding="utf-8"))
    usual = data["values"]
    return {
        leg: {event: [_change(raw, usual) for raw in changes] for event, changes in events.items()}
        for leg, events in data["legs"].items()
    }


def _change(raw: Mapping[str, Iterable[Any]], usual: Mapping[str, str]) -> Change:
    pairs = ((item, usual[item]) if isinstance(item, str) else (item[0], item[1]) for item in raw["set"])
    return Change(raw["unset"], pairs)
