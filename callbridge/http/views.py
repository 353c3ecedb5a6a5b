"""What one kind of client is told of changes: the calls of one tenant that match, with the fields asked for.

As server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): a call that begins to match is
created for this client, one that ceases to match has ended for it. JSON holds no line end, so data is one line.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from callbridge.feed import Change, Positions, decode_positions, encode_positions
from callbridge.http.query import FIELDS, ROW_FIELDS, Query, answer, matches
from callbridge.http.trust import is_complete
from callbridge.mirror import EVERY_TENANT, Mirror
from callbridge.records import Record, encode_row

_encode: Final = msgspec.json.Encoder().encode


class Event(NamedTuple):
    """An event without its id: the name's line, and the data."""

    name: bytes
    data: bytes


class View:
    """What all clients see that ask the same. `query` has no field of the clock."""

    def __init__(self, tenant: str | None, query: Query) -> None:
        if query.fields and "call_id" not in query.fields:
            # Without it nobody could tell what an event is about.
            query = msgspec.structs.replace(query, fields=("call_id", *query.fields))
        self.tenant = tenant
        self.query = query
        self._fields = [(name, FIELDS[name]) for name in query.fields or ROW_FIELDS]
        filters = sorted((name, sorted(values)) for name, values in query.filters)
        asked = ascii((tenant, filters, query.text, query.fields))
        self._mark = hashlib.sha256(asked.encode()).hexdigest()[:8]

    def __repr__(self) -> str:
        return f"<View of {self.tenant or 'every tenant'}>"

    def event_id(self, at: Positions) -> bytes:
        """How far a client has come. It begins with a mark of what was asked: who asks for something else later has to
        begin anew."""
        return f"{self._mark}~{encode_positions(at)}".encode()

    def position(self, event_id: str) -> Positions | None:
        """What `event_id` was made of; None where it was made for another question, or is none."""
        mark, _, positions = event_id.partition("~")
        return decode_positions(positions) if mark == self._mark else None

    def snapshot(self, mirror: Mirror, at: Positions) -> bytes:
        """All calls, as the list has them."""
        complete = is_complete(mirror, self.query.switches)
        listing = mirror.listing(self.tenant)
        plain = not self.query.selects and not self.query.fields
        body = b"".join(listing.pieces(complete)) if plain else answer(listing, self.query, complete, 0)
        return b"event: snapshot\nid: %b\ndata: %b\n\n" % (self.event_id(at), body)

    def switches(self, mirror: Mirror) -> Event:
        """How far the calls can be trusted."""
        asked = [name for name in self.query.switches or mirror.switches if name in mirror.switches]
        data = [{"name": name, "state": mirror.switches[name].state} for name in asked]
        return Event(b"switch", _encode({"complete": is_complete(mirror, self.query.switches), "data": data}))

    def events(self, changes: Sequence[Change], *, in_full: bool = False) -> list[Event]:
        """What there is to tell of these changes. `in_full`: to a client of which it is not known whether it has been
        told some of them already."""
        tell = self._in_full if in_full else self._change
        return [event for change in changes if (event := tell(change)) is not None]

    def _change(self, change: Change) -> Event | None:
        before, after = self._shown(change.before), self._shown(change.after)
        if after is None:
            return None if before is None else self._end(change)
        return Event(b"call.created", self._row(after)) if before is None else self._update(before, after)

    def _in_full(self, change: Change) -> Event | None:
        if (after := self._shown(change.after)) is not None:
            return Event(b"call.created", self._row(after))
        return self._end(change) if self.tenant in change.tenants else None

    def _shown(self, record: Record | None) -> Record | None:
        """The call, if it is one of these."""
        if record is None or self.tenant not in (EVERY_TENANT, record.tenant):
            return None
        return record if not self.query.selects or matches(record, self.query, 0) else None

    def _row(self, record: Record) -> bytes:
        if not self.query.fields:
            return encode_row(record)
        return _encode({name: get(record, 0) for name, get in self._fields})

    def _update(self, before: Record, after: Record) -> Event | None:
        changed = {name: now for name, get in self._fields if (now := get(after, 0)) != get(before, 0)}
        return Event(b"call.updated", _encode({"call_id": after.call_id, **changed})) if changed else None

    def _end(self, change: Change) -> Event:
        time, cause = (change.ended.ended_time, change.ended.cause) if change.ended is not None else (None, None)
        if change.after is not None:
            reason = "unmatched"
        elif change.ended is not None:
            reason = "ended"
        else:
            reason = "joined" if change.joined else "gone"
        data = {"call_id": change.call_id, "reason": reason, "ended_time": time, "cause": cause}
        return Event(b"call.ended", _encode(data))


def stamped(events: Sequence[Event], was: bytes, now: bytes) -> list[bytes]:
    """The events of one batch as they are sent. Only the last one says that the batch is told: whoever is cut off
    before it is told all of it again, which changes nothing."""
    return [_stamped(event, was) for event in events[:-1]] + [_stamped(event, now) for event in events[-1:]]


def _stamped(event: Event, event_id: bytes) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (event.name, event_id, event.data)


class Sent:
    """Bytes as any number of clients get them. `chunk` is a chunk of HTTP/1.1 (RFC 9112, 7.1)."""

    __slots__ = ("_start", "chunk")

    def __init__(self, data: bytes) -> None:
        size = b"%x\r\n" % len(data)
        self._start = len(size)
        self.chunk = b"".join((size, data, b"\r\n"))

    @property
    def data(self) -> memoryview:
        """The bytes for a client of HTTP/1.0, which knows no chunks."""
        return memoryview(self.chunk)[self._start : -2]
