"""A simulated call against recorded ones of the same kind: the same events, headers, values and sizes.

What may differ is named here, with its reason; anything else is a fault of the simulator.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from itertools import groupby
from typing import Any, Final

import pytest

from callbridge.simulator import learn
from callbridge.simulator.scenarios import KINDS
from tests import recorded
from tests.recorded import Frame
from tests.simulator.kit import simulate

NOT_OF_CALLS: Final = frozenset(
    ("API", "BACKGROUND_JOB", "CUSTOM", "HEARTBEAT", "PRESENCE_IN", "PRIVATE_COMMAND", "RE_SCHEDULE")
)
"""Recorded as well, but made by modules or commands, not by the call. PRIVATE_COMMAND: an application was queued."""

SIZE: Final = 0.03
"""What the size of an event may differ by."""

OF_THE_MACHINE: Final = frozenset(
    "Core-UUID variable_Core-UUID FreeSWITCH-Hostname FreeSWITCH-Switchname FreeSWITCH-IPv4 FreeSWITCH-IPv6"
    " Event-Date-Local Event-Date-GMT Event-Date-Timestamp Event-Sequence Application-UUID variable_sip_call_id".split()
)
"""Another switch, another time, other ids drawn by chance."""

LENGTHS: Final = frozenset(("Caller-Channel-Hold-Accum", "variable_duration", "variable_billsec"))
"""How long something took: this call was not as long as that one."""

NAMELESS: Final = frozenset(
    f"{whose}-{what}"
    for whose in ("Caller", "Other-Leg")
    for what in (
        "Caller-ID-Name",
        "Caller-ID-Number",
        "Orig-Caller-ID-Name",
        "Orig-Caller-ID-Number",
        "Username",
        "ANI",
    )
) | {"variable_sip_Remote-Party-ID", "variable_caller_id"}
"""In the recordings of busy and cancelled calls the phone gives no display name, so it calls as 0000000000 and its
number stands where the name belongs. A simulated phone has a name in every call."""

TOLERATED: Final = {
    ("CODEC", "Event-Calling-Function"): "the codecs for reading and writing are set in two places of the source",
    ("CODEC", "Event-Calling-Line-Number"): "the same",
    ("CHANNEL_STATE", "Channel-Call-UUID"): "leg B ends before or after leg A has let go of it: a race of two threads",
    ("CHANNEL_HANGUP_COMPLETE", "Channel-Call-UUID"): "the same",
    ("CHANNEL_EXECUTE_COMPLETE", "Application-Response"): "the switch of the recordings had no music to play on hold",
    ("CHANNEL_HOLD", "variable_rtp_local_sdp_str"): "the phone held before leg A had its CALL_UPDATE, which counts on",
}

BY_CHANCE: Final = frozenset(
    f"variable_{name}"
    for name in "bridge_hangup_cause last_bridge_hangup_cause last_bridge_proto_specific_hangup_cause"
    " call_uuid sip_cseq".split()
)
"""Which of two threads comes first: the bridge that notes why it ended, or the leg that reports; the phone's next
request, or the bridge."""

_ID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_TIME: Final = re.compile(r"-Time$|-Last-Hold$|_(?:stamp|epoch|uepoch)$")


def headers(frame: Frame) -> list[tuple[str, Any]]:
    """The headers of an event as they stand, repeated ones too; the body of a plain one ends with its empty line."""
    if frame.headers["Content-Type"] == "text/event-json":
        pairs: list[tuple[str, Any]] = json.loads(frame.body, object_pairs_hook=list)
        return pairs
    assert frame.body.endswith(b"\n\n")
    values = frame.event
    names = [line.split(b": ")[0].decode() for line in frame.body.strip(b"\n").split(b"\n")]
    return [(name, values[name]) for name in names]


def as_json(frame: Frame) -> str:
    """What a switch would have sent as event-json for this event-plain."""
    values = ((name, value.removeprefix("ARRAY::").split("|:"), value) for name, value in headers(frame))
    pairs = ((name, several if value.startswith("ARRAY::") else value) for name, several, value in values)
    written = (f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in pairs)
    return f"{{{','.join(written)}}}"


def step(frame: Frame) -> str:
    """What the event says of the order: its name, and the state that it tells of."""
    event = frame.event
    name: str = event["Event-Name"]
    return f"{name} {event['Channel-State']}" if name == "CHANNEL_STATE" else name


def legs(frames: Iterator[Frame] | list[Frame]) -> dict[str, list[Frame]]:
    """uuid -> the events of that channel, in the order in which the channels came up."""
    found: dict[str, list[Frame]] = {}
    for frame in frames:
        if frame.is_event:
            event = frame.event
            if event["Event-Name"] not in NOT_OF_CALLS and "Unique-ID" in event:
                found.setdefault(event["Unique-ID"], []).append(frame)
    return found


def without_update_when_held(kind: str, leg: list[Frame]) -> list[Frame]:
    """A leg without its CALL_UPDATE where that has no fixed place: it comes when the phone has confirmed the bridge,
    and the phone of the recording held the call in the same moment."""
    held = kind == "hold" and any(step(frame) == "CHANNEL_HOLD" for frame in leg)
    return [frame for frame in leg if not (held and step(frame) == "CALL_UPDATE")]


def names_of(frame: Frame, kind: str) -> list[str]:
    """Its header names. On the leg of the CALL_UPDATE that has no fixed place, what that sets has none either."""
    names = [name for name, _ in headers(frame)]
    if kind != "hold" or frame.event["Call-Direction"] != "inbound":
        return names
    late = "variable_last_sent_callee_id_" if step(frame) == "CHANNEL_HOLD" else "none"
    return sorted(name for name in names if not name.startswith(late))


def recorded_call(kind: str) -> dict[str, list[Frame]]:
    return legs(recorded.load(learn.RECORDINGS[kind]).frames)


def pairs(kind: str, form: str) -> Iterator[tuple[Frame, Frame]]:
    """Each event of a simulated call with the recorded one in its place, which is event-plain."""
    real, made = recorded_call(kind), legs(simulate(kind, form))
    for of_real, of_made in zip(real.values(), made.values(), strict=True):
        yield from zip(without_update_when_held(kind, of_made), without_update_when_held(kind, of_real), strict=True)


def test_every_kind_of_call_has_a_recording() -> None:
    assert set(learn.RECORDINGS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_events_of_each_leg_come_in_the_recorded_order(kind: str) -> None:
    real, made = recorded_call(kind), legs(simulate(kind, "plain"))
    assert len(made) == len(real) == 2
    for of_real, of_made in zip(real.values(), made.values(), strict=True):
        wanted = [step(frame) for frame in without_update_when_held(kind, of_real)]
        assert [step(frame) for frame in without_update_when_held(kind, of_made)] == wanted
        assert Counter(map(step, of_made)) == Counter(map(step, of_real))


@pytest.mark.parametrize("form", ["plain", "json"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_event_has_the_recorded_headers_in_their_order(kind: str, form: str) -> None:
    for made, real in pairs(kind, form):
        assert names_of(made, kind) == names_of(real, kind), step(real)


@pytest.mark.parametrize("form", ["plain", "json"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_event_has_about_the_recorded_size(kind: str, form: str) -> None:
    for made, real in pairs(kind, form):
        size = len(real.body) if form == "plain" else len(as_json(real))
        assert len(made.body) == pytest.approx(size, rel=SIZE), step(real)


def meaning(name: str, value: Any, roles: dict[str, str]) -> str:
    """A value with the ids of the call's legs and of its times replaced by what they stand for."""
    text = _ID.sub(lambda match: roles.get(match[0], "an id"), str(value))
    if _TIME.search(name):
        return "never" if text in ("", "0") else "at some time"
    # `time:id:how`
    return text.partition(":")[2] if name == "Caller-Transfer-Source" else text


def differences(kind: str) -> Iterator[tuple[str, str, str, str]]:
    """(event, header, simulated, recorded) for every value that is not the recorded one."""
    real, made = recorded_call(kind), legs(simulate(kind, "plain"))
    roles = {uuid: side for call in (real, made) for uuid, side in zip(call, "AB", strict=True)}
    ignored = OF_THE_MACHINE | LENGTHS | (NAMELESS if kind in ("busy", "cancelled") else frozenset())
    for frame, other in pairs(kind, "plain"):
        wanted = dict(headers(other))
        for name, value in headers(frame):
            if name in wanted and name not in ignored and (step(other).split()[0], name) not in TOLERATED:
                texts = meaning(name, value, roles), meaning(name, wanted[name], roles)
                if texts[0] != texts[1]:
                    yield step(other), name, *texts


@pytest.mark.parametrize("kind", KINDS)
def test_each_header_has_the_recorded_value(kind: str) -> None:
    assert list(differences(kind)) == []


def lists(frame: Frame, roles: dict[str, str]) -> dict[str, list[str]]:
    """The variables with several values."""
    several = ((name, value) for name, value in headers(frame) if isinstance(value, list))
    return {name: [meaning(name, part, roles) for part in value] for name, value in several}


def test_what_a_switch_sends_as_json_is_what_the_simulator_sends_as_json() -> None:
    real, made = legs(recorded.load("json_outbound_answered").frames), legs(simulate("outbound", "json"))
    roles = {uuid: side for call in (real, made) for uuid, side in zip(call, "AB", strict=True)}
    for of_real, of_made in zip(real.values(), made.values(), strict=True):
        assert [step(frame) for frame in of_made] == [step(frame) for frame in of_real]
        for theirs, ours in zip(of_real, of_made, strict=True):
            wanted = [(name, type(value)) for name, value in headers(theirs) if name not in BY_CHANCE]
            assert [(name, type(value)) for name, value in headers(ours) if name not in BY_CHANCE] == wanted
            assert lists(ours, roles) == lists(theirs, roles)
            assert len(ours.body) == pytest.approx(len(theirs.body), rel=SIZE)


def test_the_headers_that_are_shipped_are_those_of_the_recordings() -> None:
    shipped = files("callbridge.simulator").joinpath("headers.json").read_text(encoding="utf-8")
    assert learn.write(learn.learn(recorded.FOLDER)) == shipped


# Calls that nothing was learned from.

MIXED: Final = 120
"""How many legs of the recording of mixed calls are looked at."""

NO_NAME_GIVEN: Final = frozenset(("variable_sip_from_display",))
"""The phones of that recording give no display name."""


def mixed_calls() -> Iterator[tuple[str, str, list[Frame]]]:
    """(kind, side, events) of legs of the 400 calls that ran at the same time, with a call list's subscription."""
    frames = (frame for frame in recorded.load("load_a.json").frames if frame.is_event)
    whole = legs(frame for frame, _ in zip(frames, range(MIXED * 22), strict=False))
    for leg in [leg for leg in whole.values() if step(leg[-1]) == "CHANNEL_STATE CS_DESTROY"][:MIXED]:
        last = next(frame.event for frame in reversed(leg) if "variable_uuid" in frame.event)
        other = last.get("Other-Leg-Unique-ID") or last.get("variable_originate_signal_bond") or ""
        side = "a" if last["Call-Direction"] == "inbound" else "b"
        answered = any(step(frame) == "CHANNEL_ANSWER" for frame in [*leg, *whole.get(other, [])])
        bridged = any(step(frame) == "CHANNEL_BRIDGE" for frame in leg)
        # A caller who is answered and never bridged heard an announcement, which is no kind of call here.
        if side == "b" or bridged or not answered:
            yield last["variable_call_direction"] if answered else "busy", side, leg


def test_other_calls_than_those_learned_from_look_the_same() -> None:
    calls = list(mixed_calls())
    names = frozenset(frame.event["Event-Name"] for _, _, leg in calls for frame in leg)
    made = {
        kind: list(legs(simulate(kind, "json", names)).values()) for kind in ("outbound", "inbound", "local", "busy")
    }
    alike = Counter[tuple[str, str]]()
    total = Counter((kind, side) for kind, side, _ in calls)
    for kind, side, leg in calls:
        ours = made[kind]["ab".index(side)]
        if [step(frame) for frame in ours] == [step(frame) for frame in leg]:
            alike[kind, side] += 1
            for theirs, mine in zip(leg, ours, strict=True):
                assert set(mine.event) ^ set(theirs.event) <= BY_CHANCE | NO_NAME_GIVEN, (kind, side, step(theirs))
                assert len(mine.body) == pytest.approx(len(theirs.body), rel=SIZE), (kind, side, step(theirs))
    assert {kind for kind, _ in total} == {"outbound", "inbound", "local", "busy"}
    # Two threads end a call, so here and there two events have changed places.
    assert all(alike[leg] >= 0.9 * count for leg, count in total.items()), (alike, total)


def test_a_called_party_that_hangs_up_ends_the_call_in_the_recorded_order() -> None:
    real = legs(recorded.load("outbound_callee_hangs_up").frames)
    made = legs(simulate("outbound", "plain", caller_hangs_up=False))
    for of_real, of_made in zip(real.values(), made.values(), strict=True):
        assert [step(frame) for frame in of_made] == [step(frame) for frame in of_real]


def test_events_that_were_not_asked_for_change_nothing_in_those_that_were() -> None:
    wanted = frozenset(("CHANNEL_CREATE", "CHANNEL_ANSWER", "CHANNEL_HANGUP_COMPLETE"))
    everything = [frame for frame in simulate("inbound", "json") if step(frame) in wanted]
    assert [frame.body for frame in simulate("inbound", "json", wanted)] == [frame.body for frame in everything]


def test_the_legs_of_a_call_are_told_of_together_as_recorded() -> None:
    real = [frame.event for leg in recorded_call("outbound").values() for frame in leg]
    made = [frame.event for frame in simulate("outbound", "plain")]
    real.sort(key=lambda event: int(event["Event-Sequence"]))
    turns = [len(list(group)) for _, group in groupby(event["Unique-ID"] for event in real)]
    assert [len(list(group)) for _, group in groupby(event["Unique-ID"] for event in made)] == turns
