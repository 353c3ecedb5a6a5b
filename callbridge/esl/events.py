"""Frames to events: the headers that callbridge wants, typed, from event-json and event-plain alike.

An event of a call has 60 to 280 headers; some fifty are wanted. event-json goes through typed passes that skip the
rest: one over the event's own headers, one over the channel's caller profile, one over its variables. A pass holds
every header against every field that it wants, so three with fewer fields each are cheaper than one. The profile and
the variables are most of an event, and not every event is asked for them: they are read when it is.

event-plain (`switch_event_serialize`) percent-encodes quotes, backslashes, colons and control characters in every
value, so a few replacements make JSON of it and the same passes read it; values are decoded after that, never before
the lines are split, or a value could forge a header.

A body that a strict pass rejects (a byte that is no UTF-8, a raw control character, a header that became an array) is
read again leniently: no byte that a caller chooses can lose an event.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import field

from callbridge.errors import RemoteProtocolError


class Variables(msgspec.Struct, frozen=True, gc=False):
    """The channel variables of an event. An absent one is ""."""

    uuid: str = field(name="variable_uuid", default="")
    """Every channel has the variable `uuid`: empty means that this event carries no variables at all."""
    call_direction: str = field(name="variable_call_direction", default="")
    domain_name: str = field(name="variable_domain_name", default="")
    dialed_domain: str = field(name="variable_dialed_domain", default="")
    dialed_user: str = field(name="variable_dialed_user", default="")
    user_name: str = field(name="variable_user_name", default="")
    gateway: str = field(name="variable_sip_gateway_name", default="")
    originating_leg: str = field(name="variable_originating_leg_uuid", default="")
    bridge_to: str = field(name="variable_bridge_to", default="")
    last_bridge_to: str = field(name="variable_last_bridge_to", default="")
    loopback_uuid: str = field(name="variable_other_loopback_leg_uuid", default="")
    application: str = field(name="variable_current_application", default="")
    application_data: str = field(name="variable_current_application_data", default="")
    whisper_aleg: str = field(name="variable_eavesdrop_whisper_aleg", default="")
    whisper_bleg: str = field(name="variable_eavesdrop_whisper_bleg", default="")
    watches: str = field(name="variable_callbridge_watches", default="")
    """Of a supervisor that callbridge has called: the leg to watch, from its first event on."""
    id: str = field(name="variable_callbridge_id", default="")
    """Of every phone that callbridge has rung: the id of the monitor or the call, from its first event on."""
    park_seconds: str = field(name="variable_callbridge_park_seconds", default="")
    """Of a leg that callbridge has parked: for how long. `park_timeout` is gone when CHANNEL_PARK comes."""
    park_timeout: str = field(name="variable_park_timeout", default="")
    queue: str = field(name="variable_cc_queue", default="")
    queue_member_uuid: str = field(name="variable_cc_member_session_uuid", default="")


NO_VARIABLES: Final = Variables()

OF_STATES: Final = frozenset(("CHANNEL_STATE", "CHANNEL_CALLSTATE", "CHANNEL_DESTROY"))
"""Events that tell of a state. Their variables, which the first two have only where the switch or the channel is told
to be verbose (`verbose-channel-events`, `presence_data_cols`; switch_channel.c, `switch_channel_event_set_data`), are
passed over: other events have the same, and of a channel that is gone none is of use. None of them has a header of its
own after its profile."""


class Profile(msgspec.Struct, frozen=True, gc=False):
    """The caller profile of an event's channel, its times, and who the other leg is. An absent header is "" or 0.

    Times are microseconds since 1970.
    """

    caller_name: str = field(name="Caller-Caller-ID-Name", default="")
    caller_number: str = field(name="Caller-Caller-ID-Number", default="")
    original_name: str = field(name="Caller-Orig-Caller-ID-Name", default="")
    original_number: str = field(name="Caller-Orig-Caller-ID-Number", default="")
    callee_name: str = field(name="Caller-Callee-ID-Name", default="")
    network_address: str = field(name="Caller-Network-Addr", default="")
    destination: str = field(name="Caller-Destination-Number", default="")
    context: str = field(name="Caller-Context", default="")
    since_us: int = field(name="Caller-Profile-Created-Time", default=0)
    """When the channel got this profile: every transfer and every later bridge gives it another."""
    created_us: int = field(name="Caller-Channel-Created-Time", default=0)
    answered_us: int = field(name="Caller-Channel-Answered-Time", default=0)
    last_hold_us: int = field(name="Caller-Channel-Last-Hold", default=0)
    hold_accum_us: int = field(name="Caller-Channel-Hold-Accum", default=0)
    other_type: str = field(name="Other-Type", default="")
    other_leg_uuid: str = field(name="Other-Leg-Unique-ID", default="")


NO_PROFILE: Final = Profile()


class Event(msgspec.Struct, gc=False):
    """One event (or `uuid_dump`, which has the same form and the same sequence numbers). An absent header is "" or 0.

    The fields stand in the order in which a switch sends their headers: each is looked for first after the one before.
    `sequence` counts all events of the switch and is stamped when the event is made (switch_event.c,
    `switch_event_prep_for_delivery_detailed`). Times are microseconds since 1970; `date_local` is the switch's local
    time as `show channels` prints it.
    """

    name: str = field(name="Event-Name", default="")
    core_uuid: str = field(name="Core-UUID", default="")
    date_local: str = field(name="Event-Date-Local", default="")
    timestamp: int = field(name="Event-Date-Timestamp", default=0)
    sequence: int = field(name="Event-Sequence", default=0)
    job_uuid: str = field(name="Job-UUID", default="")
    bridge_a_uuid: str = field(name="Bridge-A-Unique-ID", default="")
    bridge_b_uuid: str = field(name="Bridge-B-Unique-ID", default="")
    old_uuid: str = field(name="Old-Unique-ID", default="")

    state: str = field(name="Channel-State", default="")
    callstate: str = field(name="Channel-Call-State", default="")
    state_number: int = field(name="Channel-State-Number", default=0)
    channel_name: str = field(name="Channel-Name", default="")
    uuid: str = field(name="Unique-ID", default="")
    call_direction: str = field(name="Call-Direction", default="")
    presence_id: str = field(name="Channel-Presence-ID", default="")
    answer_state: str = field(name="Answer-State", default="")
    hangup_cause: str = field(name="Hangup-Cause", default="")

    record_path: str = field(name="Record-File-Path", default="")
    session_count: str = field(name="Session-Count", default="")
    """Of HEARTBEAT: how many sessions there are; as text, because none and not said differ."""
    body: str = field(name="_body", default="")

    text: bytes = field(name="", default=b"")
    """The event as it came, where parts of it are not read yet."""
    profile_at: slice | None = field(name=" ", default=None)
    variables_at: slice | None = field(name="  ", default=None)
    profile_read: Profile | None = field(name="   ", default=None)
    variables_read: Variables | None = field(name="    ", default=None)
    """No header has such a name as these five: they are read by passes of their own."""

    @property
    def profile(self) -> Profile:
        """The caller profile, read the first time that it is asked for."""
        if self.profile_read is None:
            _read_part(self, _read_profile)
        return self.profile_read or NO_PROFILE

    @property
    def variables(self) -> Variables:
        """The channel variables, read the first time that they are asked for."""
        if self.variables_read is None:
            _read_part(self, _read_variables)
        return self.variables_read or NO_VARIABLES


_PARTS: Final = (Event, Profile, Variables)
_FIELDS: Final = {
    f.encode_name: (part, f.name, f.type is int)
    for part in _PARTS
    for f in msgspec.structs.fields(part)
    if f.encode_name.strip()
}
_TEXTS: Final = tuple(f.name for f in msgspec.structs.fields(Event) if f.type is str)
_decode_event: Final[Callable[[bytes], Event]] = msgspec.json.Decoder(Event, strict=False).decode
_decode_profile: Final[Callable[[bytes], Profile]] = msgspec.json.Decoder(Profile, strict=False).decode
_decode_variables: Final[Callable[[bytes], Variables]] = msgspec.json.Decoder(Variables).decode
_PROFILE_BEGINS: Final = b',"Caller-Direction":'
"""The first header of a profile (switch_caller.c, `switch_caller_profile_event_set_data`)."""
_VARIABLE_BEGINS: Final = b',"variable_'
_STATE_BEGINS: Final = tuple(b'{"Event-Name":"%b"' % name.encode() for name in OF_STATES)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)


def decode(kind: str, body: bytes) -> Event:
    """The event in the body of a frame of `kind` text/event-json or text/event-plain.

    Raises RemoteProtocolError where the body is no event at all.
    """
    return decode_json(body) if kind == "text/event-json" else decode_plain(body)


def decode_json(body: bytes) -> Event:
    """Read event-json, or the answer to `uuid_dump UUID json`."""
    try:
        return _strict(body)
    except _UNREADABLE:
        return _lenient_json(body)


def decode_plain(body: bytes) -> Event:
    """Read event-plain. A value of `_undef_` is the empty one; what is no UTF-8 becomes U+FFFD, as in event-json."""
    head, _, inner = body.partition(b"\n\n") if b"\nContent-Length: " in body else (body, b"", b"")
    try:
        event = _strict(_as_json(head.strip(b"\n")))
        # At once: that a part is no JSON may be the fault of a name in it, which the switch does not encode.
        _read_profile(event)
        _read_variables(event)
    except _UNREADABLE:
        event = _event_from(dict(_plain_lines(head)))
    if event.profile is not NO_PROFILE:
        event.profile_read = Profile(*_plain_values(event.profile))
    for name in _TEXTS:
        value = getattr(event, name)
        if value and ("%" in value or value == "_undef_"):
            setattr(event, name, _plain_value(value))
    if event.variables is not NO_VARIABLES:
        event.variables_read = Variables(*_plain_values(event.variables))
    if inner:
        event.body = inner.decode("utf-8", "replace")
    return event


def _strict(body: bytes) -> Event:
    """The event in a JSON object. The caller profiles, its channel's and the other leg's, go from where they begin to
    the variables, or to the end of an event that has none; the variables stand together (switch_channel.c,
    `switch_channel_event_set_basic_data` and `_extended_data`). What comes after them is the event's own again.

    No value moves a cut: a quote in a value is escaped, so `,"variable_` is never in one, and what is cut where a value
    ends, or in a variable that is an array, is no JSON any more; no text in an array has a colon after it. Raises
    msgspec.DecodeError or UnicodeDecodeError.
    """
    begin = body.find(_PROFILE_BEGINS)
    first = -1 if body.startswith(_STATE_BEGINS) else body.find(_VARIABLE_BEGINS, max(begin, 0))
    cut = begin if begin >= 0 else first
    if cut < 0:
        return _decode_event(body)
    end = -1 if first < 0 else body.find(b',"', body.rfind(_VARIABLE_BEGINS) + 1)
    if end < 0 and not body.endswith(b'"}'):
        raise msgspec.DecodeError("it does not end as an object of texts does")
    event = _decode_event(body[:cut] + (b"}" if end < 0 else body[end:]))
    event.text = body
    # What goes to the end of the body goes to -1, where the brace is.
    if begin >= 0:
        event.profile_at = slice(begin + 1, first)
    if first >= 0:
        event.variables_at = slice(first + 1, end)
    return event


def _read_profile(event: Event) -> None:
    event.profile_read = _decode_profile(b"{%b}" % event.text[event.profile_at]) if event.profile_at else NO_PROFILE


def _read_variables(event: Event) -> None:
    at = event.variables_at
    event.variables_read = _decode_variables(b"{%b}" % event.text[at]) if at else NO_VARIABLES


def _read_part(event: Event, read: Callable[[Event], None]) -> None:
    """Read one part strictly or, if that is rejected, the whole event leniently."""
    try:
        read(event)
    except _UNREADABLE:
        try:
            whole = _lenient_json(event.text)
        except RemoteProtocolError:
            # The event had a good beginning and no switch would go on so; that its state is known is worth more.
            whole = Event()
        event.profile_read = whole.profile_read or NO_PROFILE
        event.variables_read = whole.variables_read or NO_VARIABLES


def _as_json(head: bytes) -> bytes:
    """The lines of event-plain as a JSON object; b"" where they are not of the form that this is sure of.

    The switch encodes blanks and colons in values as well, so replacing single bytes does, which is twice as fast as
    replacing `: `. A line with a second colon could become two headers: what the replacements added counts both.
    """
    if b'"' in head or b"\\" in head:
        return b""
    names_quoted = head.replace(b" ", b'"').replace(b":", b'":')
    quoted = names_quoted.replace(b"\n", b'","')
    colons, line_ends = len(names_quoted) - len(head), (len(quoted) - len(names_quoted)) // 2
    return b'{"' + quoted + b'"}' if colons == line_ends + 1 else b""


def _lenient_json(body: bytes) -> Event:
    try:
        headers = json.loads(body.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"an event came that is no JSON ({error})") from None
    if not isinstance(headers, dict):
        raise RemoteProtocolError(f"an event came that is no JSON object but {type(headers).__name__}")
    return _event_from(headers)


def _plain_lines(head: bytes) -> "list[tuple[str, str]]":
    pairs = (line.partition(b": ") for line in head.split(b"\n"))
    return [(n.decode("utf-8", "replace"), v.decode("utf-8", "surrogateescape")) for n, colon, v in pairs if colon]


@lru_cache(maxsize=4096)
def _plain_value(value: str) -> str:
    # The cache is for the events of one channel, which repeat its name and its numbers twenty times.
    if value == "_undef_":
        return ""
    return unquote_to_bytes(value.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")


def _plain_values(part: Profile | Variables) -> list[Any]:
    values = msgspec.structs.astuple(part)
    return [_plain_value(value) if isinstance(value, str) else value for value in values]


def _event_from(headers: Mapping[str, Any]) -> Event:
    said: dict[type, dict[str, Any]] = {part: {} for part in _PARTS}
    for header, value in headers.items():
        if header not in _FIELDS:
            continue
        part, name, is_number = _FIELDS[header]
        if isinstance(value, list):
            # A header that was pushed twice; switch_event_get_header gives the first.
            value = value[0] if value else ""
        text = value if isinstance(value, str) else str(value)
        said[part][name] = text if not is_number else int(text) if _WHOLE_NUMBER.fullmatch(text) else 0
    event = Event(**said[Event])
    if said[Profile]:
        event.profile_read = Profile(**said[Profile])
    if said[Variables] and event.name not in OF_STATES:
        event.variables_read = Variables(**said[Variables])
    return event
