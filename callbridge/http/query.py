"""What a consumer asks of the list: filters, order, page, fields; and the answer to it.

Every field of a call can be shown and, where it is one value, filtered by, sorted by and counted by. A parameter that
is not known is an error, so that a misspelt filter never gives the whole list. The count and the stream are asked in
the same way.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final, Literal
from urllib.parse import unquote, unquote_to_bytes

import msgspec
from multidict import MultiMapping
from yarl import URL

from callbridge.http.failures import invalid_parameter
from callbridge.listing import Entry, Listing, list_body
from callbridge.records import Record, Row

MAX_LIMIT: Final = 100_000
MAX_OFFSET: Final = 10_000_000
MAX_WAIT: Final = 60
"""Seconds; proxies give up on an answer after as many."""

Kind = Literal["list", "count", "stream"]
"""What is asked for; each takes parameters of its own."""

Getter = Callable[[Record, int], Any]
"""A field of a call at a time (microseconds since 1970)."""


def _duration(record: Record, now_us: int) -> int:
    return max(0, now_us - record.created_us) // 1_000_000


def _billsec(record: Record, now_us: int) -> int:
    return max(0, now_us - record.answered_us) // 1_000_000 if record.answered_us else 0


def _hold_seconds(record: Record, now_us: int) -> int:
    holding = max(0, now_us - record.hold_since_us) if record.hold_since_us else 0
    return (record.hold_us + holding) // 1_000_000


def _stored(name: str) -> Getter:
    get = attrgetter(name)
    return lambda record, _: get(record)


ROW_FIELDS: Final = Row.__struct_fields__
CLOCK_FIELDS: Final[Mapping[str, Getter]] = {
    "duration": _duration,
    "billsec": _billsec,
    "hold_seconds": _hold_seconds,
}
"""Fields that change by themselves, second by second."""

LIST_FIELDS: Final = ("legs", "monitors")
FIELDS: Final[Mapping[str, Getter]] = {
    **{name: _stored(name) for name in ROW_FIELDS},
    "callstate": _stored("callstate"),
    "answered_time": _stored("answered_time"),
    **CLOCK_FIELDS,
    "source_name": _stored("source_name"),
    "legs": _stored("legs"),
    "monitors": _stored("monitors"),
    "parked_until": _stored("parked_until"),
    "switch": _stored("switch"),
    "tenant": _stored("tenant"),
    "recording": _stored("recording"),
    "queue": _stored("queue"),
}
"""Every field of a call, in the order in which `GET /v1/call/{id}` shows them."""

_OF_ROWS: Final = frozenset(ROW_FIELDS)

SINGLE_FIELDS: Final = tuple(name for name in FIELDS if name not in LIST_FIELDS)


class Query(msgspec.Struct, frozen=True):
    """A checked question. `filters`: every field must have one of its values, as text ("" for none)."""

    filters: tuple[tuple[str, frozenset[str]], ...] = ()
    text: str = ""
    sort: str = ""
    descending: bool = False
    limit: int | None = None
    offset: int = 0
    fields: tuple[str, ...] = ()
    by: str = ""
    switches: tuple[str, ...] = ()
    """The only switches that are asked for; none named: all of them."""
    require_live: bool = False
    wait: int = 0
    """Seconds that the answer may take where nothing has changed."""
    last_event_id: str = ""
    """How far a stream has been read."""
    ages: bool = False
    """Whether the answer changes with the clock alone."""

    @property
    def selects(self) -> bool:
        """Whether calls are left out, apart from paging."""
        return bool(self.filters or self.text)

    @property
    def rows_alone(self) -> bool:
        """Whether the answer comes of the rows of the contract and their order, and of nothing else."""
        named = (*self.fields, *[name for name, _ in self.filters], self.sort or "call_id")
        return not self.text and _OF_ROWS.issuperset(named)


def parse(url: URL, kind: Kind = "list") -> Query:
    """The query string of `/v1/call`, `/v1/call/count` or `/v1/call/stream`. Raises Failure 400 that names the
    parameter."""
    parameters = _decoded(url)
    given: dict[str, Any] = {}
    filters = []
    used: set[str] = set()
    for name in parameters:
        if name in used:
            continue
        values = parameters.getall(name)
        used.add(name)
        if name in SINGLE_FIELDS:
            filters.append((name, frozenset(values)))
            if name == "switch":
                given["switches"] = tuple(dict.fromkeys(values))
            continue
        reader = _READERS[kind].get(name)
        if reader is None:
            raise invalid_parameter(name, f"there is no such parameter{_hint(name, kind)}")
        if len(values) > 1:
            raise invalid_parameter(name, "is given more than once")
        given |= reader(name, values[0])
    touched = {*used, given.get("sort", ""), given.get("by", ""), *given.get("fields", ())}
    query = Query(filters=tuple(filters), ages=not touched.isdisjoint(CLOCK_FIELDS), **given)
    _check_clock(query, kind)
    return query


def _check_clock(query: Query, kind: Kind) -> None:
    """What changes with the clock alone is no change that a stream tells or a request can wait for."""
    if not query.ages:
        return
    if kind == "stream":
        parameter = next((name for name, _ in query.filters if name in CLOCK_FIELDS), "fields")
        fields = ", ".join(CLOCK_FIELDS)
        raise invalid_parameter(parameter, f"{fields} change every second, which is no event; leave them out here")
    if query.wait:
        raise invalid_parameter("wait", "a list with fields that change every second is never the same; ask without it")


def _decoded(url: URL) -> MultiMapping[str]:
    # yarl reads bytes that are no UTF-8 as U+FFFD, which a row may hold as well: it would match what was never asked.
    if "%" in url.raw_query_string:
        for parameter in url.raw_query_string.split("&"):
            try:
                unquote_to_bytes(parameter).decode()
            except UnicodeDecodeError:
                raise invalid_parameter(unquote(parameter.partition("=")[0]), "is not UTF-8") from None
    return url.query


def matches(record: Record, query: Query, now_us: int) -> bool:
    """Whether a call is one of those asked for."""
    for name, values in query.filters:
        if _text(FIELDS[name](record, now_us)) not in values:
            return False
    return not query.text or _contains(record, query.text)


def select(listing: Listing, query: Query, now_us: int) -> list[Entry]:
    """The calls that match, in the order asked for, not yet cut to the page."""
    entries = list(listing)
    if query.selects:
        entries = [entry for entry in entries if matches(entry.record, query, now_us)]
    if query.sort:
        entries = _sorted(entries, _SORT_BY[query.sort], query.descending, now_us)
    return entries


def answer(listing: Listing, query: Query, complete: bool, now_us: int) -> bytes:
    """The body of the list."""
    entries = select(listing, query, now_us)
    total = len(entries)
    stop = None if query.limit is None else query.offset + query.limit
    page = entries[query.offset : stop]
    if not query.fields:
        return list_body([entry.row for entry in page], total, complete)
    getters = [(name, FIELDS[name]) for name in query.fields]
    data = [{name: getter(entry.record, now_us) for name, getter in getters} for entry in page]
    return msgspec.json.encode({"data": data, "total": total, "complete": complete})


def count(listing: Listing, query: Query, complete: bool, now_us: int) -> bytes:
    """The body of the count: `total`, and with `by` how many calls have each value (`""` where there is none)."""
    if not query.selects and not query.by:
        return msgspec.json.encode({"total": len(listing), "complete": complete})
    entries = select(listing, query, now_us)
    body: dict[str, Any] = {"total": len(entries), "complete": complete}
    if query.by:
        getter = FIELDS[query.by]
        groups: dict[str, int] = {}
        for entry in entries:
            value = _text(getter(entry.record, now_us))
            groups[value] = groups.get(value, 0) + 1
        body = {"data": groups, **body}
    return msgspec.json.encode(body)


def full(record: Record, now_us: int) -> dict[str, Any]:
    """Every field of one call."""
    return {name: getter(record, now_us) for name, getter in FIELDS.items()}


_SORT_BY: Final[Mapping[str, Getter]] = {
    **{name: FIELDS[name] for name in SINGLE_FIELDS},
    # Finer than the seconds that are shown.
    "created_time": _stored("created_us"),
    "answered_time": lambda record, _: record.answered_us or None,
}


def _sorted(entries: list[Entry], getter: Getter, descending: bool, now_us: int) -> list[Entry]:
    """By a field; calls that have none come last either way, equal ones stay oldest first."""
    valued = [(getter(entry.record, now_us), entry) for entry in entries]
    present = [pair for pair in valued if pair[0] is not None]
    present.sort(key=lambda pair: pair[0], reverse=descending)
    return [entry for _, entry in present] + [entry for value, entry in valued if value is None]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _contains(record: Record, text: str) -> bool:
    """Whether a call has `text` (in lower case) in one of its ids, numbers or names."""
    places = [record.call_id, record.source, record.source_name, record.destination, *record.ids]
    places += [part for leg in record.legs for part in (leg.number, leg.name)]
    return any(text in place.lower() for place in places)


def _number(name: str, value: str, least: int, most: int) -> int:
    # Ten digits hold every bound, and int() fails for thousands.
    if not value.isascii() or not value.isdecimal() or len(value) > 10 or not least <= int(value) <= most:
        raise invalid_parameter(name, f"must be a whole number from {least} to {most}")
    return int(value)


def _known(name: str, value: str, choices: Iterable[str]) -> str:
    if value not in choices:
        raise invalid_parameter(name, f"there is no field {value[:40]!r}; there are {', '.join(choices)}")
    return value


def _read_limit(name: str, value: str) -> dict[str, Any]:
    return {"limit": _number(name, value, 0, MAX_LIMIT)}


def _read_offset(name: str, value: str) -> dict[str, Any]:
    return {"offset": _number(name, value, 0, MAX_OFFSET)}


def _read_sort(name: str, value: str) -> dict[str, Any]:
    return {"sort": _known(name, value.removeprefix("-"), SINGLE_FIELDS), "descending": value.startswith("-")}


def _read_fields(name: str, value: str) -> dict[str, Any]:
    return {"fields": tuple(dict.fromkeys(_known(name, field.strip(), FIELDS) for field in value.split(",")))}


def _read_text(name: str, value: str) -> dict[str, Any]:
    if not value.strip():
        raise invalid_parameter(name, "is empty; leave it out to get every call")
    return {"text": value.strip().lower()}


def _read_require(name: str, value: str) -> dict[str, Any]:
    if value != "live":
        raise invalid_parameter(name, "can only be `live`")
    return {"require_live": True}


def _read_wait(name: str, value: str) -> dict[str, Any]:
    return {"wait": _number(name, value, 0, MAX_WAIT)}


def _read_last_event_id(_: str, value: str) -> dict[str, Any]:
    return {"last_event_id": value}


def _read_by(name: str, value: str) -> dict[str, Any]:
    return {"by": _known(name, value, SINGLE_FIELDS)}


_EVERYWHERE: Final = {"q": _read_text, "require": _read_require}
_READERS: Final[Mapping[Kind, Mapping[str, Callable[[str, str], dict[str, Any]]]]] = {
    "list": {
        **_EVERYWHERE,
        "sort": _read_sort,
        "limit": _read_limit,
        "offset": _read_offset,
        "fields": _read_fields,
        "wait": _read_wait,
    },
    "count": {**_EVERYWHERE, "by": _read_by},
    "stream": {**_EVERYWHERE, "fields": _read_fields, "last_event_id": _read_last_event_id},
}
_PATHS: Final[Mapping[Kind, str]] = {"list": "/v1/call", "count": "/v1/call/count", "stream": "/v1/call/stream"}


def _hint(name: str, kind: Kind) -> str:
    for other, readers in _READERS.items():
        if name in readers:
            return f" here; it is one of {_PATHS[other]}"
    if near := difflib.get_close_matches(name, [*SINGLE_FIELDS, *_READERS[kind]], 1):
        return f"; do you mean {near[0]!r}?"
    return f"; there are {', '.join([*_READERS[kind], *SINGLE_FIELDS])}"
