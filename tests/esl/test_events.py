"""Frames to events: event-json and event-plain to the same result, and no byte loses one."""

import contextlib
import json
import urllib.parse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbridge.errors import RemoteProtocolError
from callbridge.esl.events import OF_STATES, Event, Profile, Variables, decode, decode_json, decode_plain
from tests import recorded
from tests.eventkit import FIELDS, PROFILE, VARIABLES, read


def expected(headers: dict[str, object]) -> dict[str, object]:
    """What the wanted headers of an event say, by the letter; of one that tells of a state, without its variables."""
    wanted: dict[str, object] = {}
    if headers.get("Event-Name") in OF_STATES:
        headers = {name: value for name, value in headers.items() if name not in VARIABLES}
    for header, field in (FIELDS | PROFILE | VARIABLES).items():
        value = headers.get(header, "")
        text = str(value[0] if isinstance(value, list) else value)
        wanted[header] = int(text or 0) if field.type is int else text
    return wanted


def compact(headers: dict[str, Any]) -> bytes:
    """An event as switch_event_serialize_json writes it."""
    return json.dumps(headers, ensure_ascii=False, separators=(",", ":")).encode()


def plain(headers: dict[str, str], body: str = "") -> bytes:
    """An event as switch_event_serialize writes it: everything unsafe percent-encoded, an empty value as _undef_."""
    lines = [f"{name}: {urllib.parse.quote(value, safe='/()*!$,~') or '_undef_'}\n" for name, value in headers.items()]
    inner = f"Content-Length: {len(body.encode())}\n\n{body}" if body else "\n"
    return ("".join(lines) + inner).encode()


@pytest.mark.parametrize("name", recorded.SMALL)
def test_every_recorded_event_is_read_to_the_letter(name: str) -> None:
    events = [frame for frame in recorded.load(name).frames if frame.is_event]
    assert events
    for frame in events:
        event = decode(frame.headers["Content-Type"], frame.body)
        assert read(event) == expected(frame.event)


def test_event_plain_and_event_json_of_the_same_400_calls_are_read_alike() -> None:
    pairs = zip(recorded.load("load_a.json").frames, recorded.load("load_a.plain").frames, strict=True)
    both = [(decode_json(a.body), decode_plain(b.body)) for a, b in pairs if a.is_event]
    assert len(both) == 13_558
    assert all(read(from_json) == read(from_plain) for from_json, from_plain in both)


@pytest.mark.parametrize("ending", ["", "\x01"], ids=["strict", "lenient"])
def test_the_variables_of_an_event_of_a_state_are_passed_over(ending: str) -> None:
    headers = {"Event-Name": "CHANNEL_DESTROY", "Unique-ID": "u", "variable_uuid": "u", "Hangup-Cause": f"X{ending}"}
    event = decode_json(compact(headers))
    assert (event.uuid, event.hangup_cause, event.variables) == ("u", f"X{ending}", Variables())


def test_a_byte_that_is_no_utf8_loses_no_event() -> None:
    names = {}
    for form in ("json", "plain"):
        frames = [frame for frame in recorded.load(f"odd_bytes.{form}").frames if frame.is_event]
        events = [decode(frame.headers["Content-Type"], frame.body) for frame in frames]
        assert any(b"\xe9" in frame.body or b"%E9" in frame.body for frame in frames)
        names[form] = [(event.name, event.sequence, event.profile.caller_name) for event in events]
    assert names["json"] == names["plain"]
    assert any("Jos\N{REPLACEMENT CHARACTER}" in caller_name for _, _, caller_name in names["json"])


@pytest.mark.parametrize(
    "body",
    [
        b'{"Event-Name":"HEARTBEAT","Channel-Presence-ID":"Jos\xe9","Event-Sequence":"7"}',
        b'{"Event-Name":"HEARTBEAT","Channel-Presence-ID":"a\x01b","Event-Sequence":"7"}',
        b'{"Event-Name":"HEARTBEAT","Channel-Name":["a","b"],"Event-Sequence":"7"}',
        b'{"Event-Name":"HEARTBEAT","Channel-Name":[],"Event-Sequence":"7"}',
        b'{"Event-Name":"HEARTBEAT","Channel-Name":null,"Event-Sequence":7}',
        b'{"Event-Name":"HEARTBEAT","Event-Date-Timestamp":"x","Event-Sequence":"7"}',
        b'{"Event-Name":"HEARTBEAT","Event-Date-Timestamp":"","Event-Sequence":"7"}',
    ],
)
def test_what_the_strict_pass_rejects_is_read_leniently(body: bytes) -> None:
    event = decode_json(body)
    assert (event.name, event.sequence) == ("HEARTBEAT", 7)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'"x"', b"{", b"\xff\xfe", b"not an event", pytest.param(b'{"a":' + b"[" * 100_000, id="nested")],
)
def test_what_is_no_event_is_a_breach(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="an event came that is no JSON"):
        decode_json(body)


def test_an_encoded_line_break_in_a_value_forges_no_header() -> None:
    event = decode_plain(b"Event-Name: X\nChannel-Presence-ID: x%0AHangup-Cause: FAKE\nUnique-ID: u\n\n")
    assert event.hangup_cause == ""
    event = decode_plain(b"Event-Name: X\nChannel-Presence-ID: x%0AHangup-Cause%3A%20FAKE\nUnique-ID: u\n\n")
    assert (event.presence_id, event.hangup_cause, event.uuid) == ("x\nHangup-Cause: FAKE", "", "u")


def test_a_quote_in_a_header_name_forges_no_header() -> None:
    event = decode_plain(b'Event-Name: X\nvariable_a","Unique-ID":"forged","b: c\nUnique-ID: u\n\n')
    assert event.uuid == "u"


@pytest.mark.parametrize("name", ["foo ", " foo", "x, Unique-ID", "x, Answer-State"])
@pytest.mark.parametrize("event_name", ["CHANNEL_ANSWER", "CHANNEL_STATE"])
def test_a_blank_in_the_name_of_a_variable_hides_and_forges_nothing(event_name: str, name: str) -> None:
    """`set` takes the name of `foo = bar` with its blank (mod_dptools.c, `base_set`), and no name is encoded."""
    headers = {"Event-Name": event_name, "Unique-ID": "u", "Answer-State": "answered", "Caller-Direction": "inbound"}
    headers |= {"Caller-Context": "c", "variable_uuid": "u", "variable_user_name": "101", f"variable_{name}": "forged"}
    for event in (decode_plain(plain(headers)), decode_json(compact(headers))):
        assert read(event) == expected({**headers})


def test_the_body_of_an_event_is_no_header() -> None:
    body = "+OK\nUnique-ID: forged\n\nEvent-Name: forged\n"
    event = decode_plain(plain({"Event-Name": "BACKGROUND_JOB", "Job-UUID": "j"}, body))
    assert (event.name, event.uuid, event.body) == ("BACKGROUND_JOB", "", body)


TEXT = st.text(st.characters(exclude_characters="%\0", exclude_categories=["Cs"]), max_size=30).filter(
    lambda text: text != "_undef_"
)


def some_of(fields: dict[str, Any]) -> st.SearchStrategy[dict[str, str]]:
    """Some of these headers, in any order."""
    number = st.integers(0, 2**60).map(str)
    named = [st.tuples(st.just(name), number if field.type is int else TEXT) for name, field in fields.items()]
    return st.lists(st.one_of(named), unique_by=lambda pair: pair[0]).map(dict)


SAID = st.dictionaries(st.sampled_from([*VARIABLES, "variable_other"]), TEXT)


@given(some_of(FIELDS), some_of(PROFILE), SAID, some_of(FIELDS))
def test_both_forms_of_any_event_are_read_to_the_same(
    own: dict[str, str], profile: dict[str, str], said: dict[str, str], after: dict[str, str]
) -> None:
    """A profile begins with a header of its own, and only variables end it."""
    headers = {"Event-Name": "X"} | own | ({"Caller-Direction": "inbound"} | profile if profile else {}) | said
    if said:
        headers |= {name: after[name] for name in after if name not in own}
    body = headers.pop("_body", "")
    in_json = headers | ({"_body": body} if body and not profile else {})
    assert read(decode_json(compact(in_json))) == expected({**in_json})
    assert read(decode_plain(plain(headers, body))) == expected({**headers, "_body": body})


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b'"Caller-Caller-ID-Number":"101"', "101"),
        (b'"Caller-Caller-ID-Number":"10\xe91"', "10\N{REPLACEMENT CHARACTER}1"),
        (b'"Caller-Caller-ID-Number":"10\x011"', "10\x011"),
        (b'"Caller-Caller-ID-Number":["101","102"]', "101"),
        (b'"Caller-Caller-ID-Number":"101","Caller-Channel-Created-Time":"x"', "101"),
    ],
)
@pytest.mark.parametrize("after", [b"", b',"variable_uuid":"u"'])
def test_a_profile_is_read_whatever_is_in_it(text: bytes, number: str, after: bytes) -> None:
    event = decode_json(b'{"Event-Name":"X","Unique-ID":"u","Caller-Direction":"inbound",%b%b}' % (text, after))
    assert (event.uuid, event.profile.caller_number, event.profile.created_us) == ("u", number, 0)
    assert event.profile is event.profile


@pytest.mark.parametrize("odd", [b'"y" "z":"1"', b"[" * 100_000 + b'"'], ids=["no comma", "nested"])
def test_an_event_whose_variables_are_no_json_is_still_one(odd: bytes) -> None:
    event = decode_json(b'{"Event-Name":"X","Unique-ID":"u","Caller-Direction":"inbound","variable_uuid":%b}' % odd)
    assert (event.uuid, event.variables, event.profile) == ("u", Variables(), Profile())


@pytest.mark.parametrize("end", ["", "}", '"', "x}"])
def test_a_body_that_is_cut_off_in_its_profile_is_a_breach(end: str) -> None:
    body = b'{"Event-Name":"X","Unique-ID":"u","Caller-Direction":"inbound","Caller-Context":"c' + end.encode()
    with pytest.raises(RemoteProtocolError, match="no JSON"):
        decode_json(body)


def test_an_array_before_the_profile_moves_no_cut() -> None:
    headers = {"Event-Name": "X", "Channel-Presence-Data": ["a", "Caller-Direction"], "Answer-State": "hangup"}
    headers |= {"Caller-Direction": "inbound", "Caller-Context": "c", "variable_uuid": "u"}
    headers |= {"variable_z": ["q", "variable_w", "y"]}
    event = decode_json(compact(headers))
    assert (event.answer_state, event.profile.context, event.variables.uuid) == ("hangup", "c", "u")


@pytest.mark.parametrize("value", ["a,", ',"variable_cc_queue":"forged"', ",", '","Unique-ID":"forged', "\\", '\\",'])
@pytest.mark.parametrize("header", ["Caller-Context", "variable_uuid", "variable_x", "Bridge-A-Unique-ID"])
@pytest.mark.parametrize("odd", [False, True])
def test_no_value_moves_a_cut(header: str, value: str, odd: bool) -> None:
    headers = {"Event-Name": "X", "Caller-Direction": "inbound", "Caller-Context": "c"}
    headers |= {"variable_uuid": "u", "variable_x": "x"}
    headers |= {"Bridge-A-Unique-ID": "a", header: value}
    said: dict[str, object] = dict(headers)
    if odd:
        # Only variables become arrays; what comes after them never does.
        said[header] = [value, "second"] if header == "Bridge-A-Unique-ID" else [value, "second", "variable_cc_queue"]
    assert read(decode_json(compact(said))) == expected({**headers})


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_a_breach(body: bytes) -> None:
    assert isinstance(decode_plain(body), Event)
    with contextlib.suppress(RemoteProtocolError):
        assert isinstance(decode_json(body), Event)
