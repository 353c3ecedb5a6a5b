"""How headers are written: as a switch writes them, byte for byte, and so that both forms are read to the same."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbridge.esl.events import decode_json, decode_plain
from callbridge.simulator.forms import FORMS
from tests import eventkit, recorded
from tests.eventkit import read

OWN, PROFILE, SAID = (
    [name for name, field in fields.items() if field.type is str and name != "_body"]
    for fields in (eventkit.FIELDS, eventkit.PROFILE, eventkit.VARIABLES)
)

# A header of a switch holds no NUL, which ends its strings; what plain cannot tell apart has tests of its own.
VALUE = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40).filter(
    lambda text: text != "_undef_" and not re.search("%[0-9A-F]{2}", text)
)


def written(form: str, headers: dict[str, str], body: str = "") -> bytes:
    return FORMS[form].event([FORMS[form].block(headers.items())], body)


@pytest.mark.parametrize("name", ["inbound_answered", "odd_names", "barge", "ring_group_loopback"])
def test_a_recorded_event_plain_is_written_again_byte_for_byte(name: str) -> None:
    frames = [frame for frame in recorded.load(name).frames if frame.is_event]
    assert len(frames) > 50
    for frame in frames:
        head, _, inner = frame.body.partition(b"\n\n")
        pairs = (line.split(b": ", 1) for line in head.split(b"\n"))
        names = [name.decode() for name, _ in pairs if name != b"Content-Length"]
        # A header that stands twice is in the dictionary once; what is repeated is the same.
        event = frame.event
        again = FORMS["plain"].block((name, event[name]) for name in names)
        assert FORMS["plain"].event([again], inner.decode()) == frame.body


def test_a_recorded_event_json_is_written_again_byte_for_byte() -> None:
    frames = [frame for frame in recorded.load("json_outbound_answered").frames if frame.is_event]
    exact = 0
    for frame in frames:
        pairs: list[tuple[str, Any]] = json.loads(frame.body, object_pairs_hook=list)
        # Lists are variables, which are written by `variables`.
        if all(isinstance(value, str) for _, value in pairs) and pairs[-1][0] != "_body":
            exact += 1
            assert FORMS["json"].event([FORMS["json"].block(pairs)], "") == frame.body
    assert exact > 30


def some_of(names: list[str]) -> st.SearchStrategy[dict[str, str]]:
    return st.dictionaries(st.sampled_from(names), VALUE)


@given(some_of(OWN), some_of(PROFILE), some_of(SAID))
def test_any_value_is_read_to_the_same_from_both_forms(
    own: dict[str, str], profile: dict[str, str], said: dict[str, str]
) -> None:
    told = {"Event-Name": "X"} | own | {"Caller-Direction": "inbound"} | profile | said
    event = read(decode_json(written("json", told)))
    assert event == read(decode_plain(written("plain", told)))
    assert {name: event[name] for name in OWN + PROFILE + SAID} == {
        name: told.get(name, "") for name in OWN + PROFILE + SAID
    }


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_body_is_read_to_the_same_from_both_forms(body: str) -> None:
    headers = {"Event-Name": "BACKGROUND_JOB", "Job-UUID": "j"}
    event = decode_json(written("json", headers, body))
    assert event.body == body
    assert read(event) == read(decode_plain(written("plain", headers, body)))


def test_the_length_of_a_body_counts_bytes() -> None:
    assert written("plain", {"A": "b"}, "é\n") == "A: b\nContent-Length: 3\n\né\n".encode()
    assert written("json", {"A": "b"}, "é\n") == '{"A":"b","Content-Length":"3","_body":"é\\n"}'.encode()


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("", "_undef_"),
        ("100%41%zz", "100%41%25zz"),
        ("a b", "a%20b"),
        ('"\\', "%22%5C"),
        ("\r\n\t\x7f", "%0D%0A%09%7F"),
        ("é", "%C3%A9"),
        ("(a),b/c*d!e$f'g~h", "(a),b/c*d!e$f'g~h"),
    ],
)
def test_plain_writes_as_switch_event_serialize_does(value: str, plain: str) -> None:
    assert written("plain", {"A": value}) == f"A: {plain}\n\n".encode()
    assert json.loads(written("json", {"A": value})) == {"A": value}
