"""The file of a configuration and the environment over it: what stands in them, and where.

Knows nothing of what a configuration means (`config`).
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import msgspec
from msgspec import Struct

from callbridge.errors import ConfigError

ENVIRONMENT_PREFIX: Final = "CALLBRIDGE_"


class Source:
    """The file, to point at what is wrong in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.overridden: dict[str, str] = {}
        """key -> what has said it instead of the file, like `environment variable CALLBRIDGE_STORE__URL`"""
        try:
            self.text = path.read_text(encoding="utf-8")
            self.tree: dict[str, Any] = tomllib.loads(self.text)
        except FileNotFoundError:
            raise ConfigError(f"{path}: there is no such file; see deploy/callbridge.toml for a complete one") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read ({error})") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: is no TOML: {error}") from None

    def error(self, key: str, message: str) -> ConfigError:
        """What is wrong with a key like `switch[1].address`, and where that was said."""
        if instead := self.overridden.get(_ITEM.sub(r"\1", key)):
            return ConfigError(f"{instead}: {key}: {message}")
        line = self._line_of(key)
        return ConfigError(f"{self.path}{f':{line}' if line else ''}: {key}: {message}")

    def _line_of(self, key: str) -> int | None:
        """The line where a key stands, or its table, or None for what is not in the file."""
        wanted = _ITEM.sub(r"\1", key).split(".")
        # `switch = [{…}]` is one assignment and no table.
        unnumbered = [re.sub(r"\[\d+\]$", "", step) for step in wanted]
        best: int | None = None
        table: list[str] = []
        counts: dict[str, int] = {}
        # Not splitlines: an editor counts no U+2028, nor does TOML.
        for number, line in enumerate(self.text.split("\n"), 1):
            if header := re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$", line):
                name = header[2].strip("\"'")
                if header[1] == "[[":
                    counts[name] = counts.get(name, -1) + 1
                    name = f"{name}[{counts[name]}]"
                table = name.split(".")
                here = table
            elif assignment := re.match(r"\s*([A-Za-z0-9_.\"'-]+)\s*=", line):
                here = [*table, *(part.strip("\"'") for part in assignment[1].split("."))]
            else:
                continue
            if here == wanted:
                return number
            if here in (wanted[: len(here)], unnumbered[: len(here)]):
                best = number
        return best


_ITEM: Final = re.compile(r"(\.[a-z_0-9]+)\[\d+\]$")
"""A value of a list, which has no line of its own: `token[0].scopes[1]`."""


def override(tree: dict[str, Any], kind: type[Struct], environment: Mapping[str, str]) -> dict[str, str]:
    """Put what the environment says into the tree that is to become a `kind`; gives which keys it has said.

    Raises ConfigError for a variable that names no key.
    """
    overridden = {}
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or "__" not in variable:
            continue
        steps = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        try:
            _set(tree, steps, kind, text)
        except ValueError as error:
            raise ConfigError(f"environment variable {variable}: {error}") from None
        overridden[re.sub(r"\.(\d+)\b", r"[\1]", ".".join(steps))] = f"environment variable {variable}"
    return overridden


def _set(tree: dict[str, Any], steps: list[str], kind: Any, text: str) -> None:
    """Put `text` where `steps` lead in a tree that is to become a `kind`.

    Where the file has something else than a table on the way, it stays: that is the mistake to tell of.
    """
    step, *rest = steps
    hints = get_type_hints(kind)
    if step not in hints:
        raise ValueError(f"there is no key {step!r}; there are {', '.join(sorted(hints))}")
    hint = hints[step]
    if isinstance(hint, type) and issubclass(hint, Struct):
        branch = tree.setdefault(step, {})
        if not rest:
            raise ValueError(f"{step!r} is a table; name a key of it")
        if isinstance(branch, dict):
            _set(branch, rest, hint, text)
    elif (inner := next(iter(get_args(hint)), None)) and isinstance(inner, type) and issubclass(inner, Struct):
        tables = tree.setdefault(step, [])
        if not isinstance(tables, list):
            return
        if len(rest) < 2 or not rest[0].isdecimal() or int(rest[0]) >= len(tables):
            raise ValueError(f"{step!r} needs a number from 0 to {len(tables) - 1} and a key, like {step}__0__name")
        if isinstance(table := tables[int(rest[0])], dict):
            _set(table, rest[1:], inner, text)
    elif rest:
        raise ValueError(f"{step!r} has no keys of its own")
    else:
        tree[step] = _value(hint, text)


def _value(hint: Any, text: str) -> Any:
    if str(hint).startswith("tuple"):
        return [part.strip() for part in text.split(",") if part.strip()]
    if hint is bool:
        return {"true": True, "false": False}.get(text, text)
    return int(text) if hint is int and re.fullmatch(r"[0-9]{1,9}", text) else text


_PLACE: Final = re.compile(r"^(?P<message>.*?)(?: - at `(?P<path>\$[^`]*)`)?$", re.DOTALL)


def place(error: msgspec.ValidationError, kind: type[Struct]) -> tuple[str, str]:
    """What msgspec says of a tree that is to become a `kind`, as the key of the file and one sentence."""
    found = _PLACE.match(str(error))
    assert found is not None
    message, path = found["message"], (found["path"] or "$").removeprefix("$").lstrip(".")
    if unknown := re.search(r"unknown field `([^`]+)`", message):
        known = ", ".join(sorted(get_type_hints(_hint(kind, path))))
        return f"{path}.{unknown[1]}".lstrip("."), f"there is no such key; there are {known}"
    if missing := re.search(r"missing required field `([^`]+)`", message):
        return path or missing[1], f"the key {missing[1]!r} is missing"
    if "regex" in message:
        return path, f"has the wrong form ({message})"
    if "enum" in message:
        return path, f"{message}; there are {', '.join(_choices(_hint(kind, path)))}"
    if "`bool`" in message:
        return path, f"{message}; write true or false, without quotes"
    return path or "the file", message


def _hint(kind: Any, path: str) -> Any:
    """The type of what stands at `switch[0].events`."""
    for step in filter(None, re.sub(r"\[[^\]]*\]", "", path).split(".")):
        hint = get_type_hints(kind)[step]
        inner = (part for part in (hint, *get_args(hint)) if isinstance(part, type) and issubclass(part, Struct))
        kind = next(inner, hint)
    return kind


def _choices(hint: Any) -> list[str]:
    """The words that a type takes, however deep they stand in it."""
    return [hint] if isinstance(hint, str) else [word for part in get_args(hint) for word in _choices(part)]
