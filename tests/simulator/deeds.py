"""What is done to calls, once on a real switch (`observe`) and then on the simulated one (`test_commands`), and how
what comes of it is written down.

A deed is a call and then steps: seconds to wait, or a line for the switch, in which `{A}`, `{B}` and so on are the legs
in the order in which they came up, `{U}` is a uuid of one's own, `{D}` the tenant.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from callbridge.table import EVENTS

TENANT: Final = "test.tel4vn.com"
OWN_UUID: Final = "5eed0000-0000-4000-8000-000000000001"
UNKNOWN: Final = "00000000-0000-4000-8000-000000000000"
LEGS: Final = "ABCDEFGH"

SETTLE: Final = 1.2
"""Seconds after which a call that is set up talks, or rings."""

Step = str | float


class Deed(msgspec.Struct, frozen=True):
    """`call`: what there is before the first step."""

    name: str
    call: str
    steps: Sequence[Step]


class Outcome(msgspec.Struct):
    """What came of a deed: the answers, the results of jobs, and for each leg its events from the first step on, in
    each of the orders and with each of the values that were seen."""

    answers: list[str] = []
    jobs: list[str] = []
    legs: dict[str, list[list[str]]] = {}


TARGETS: Final = {
    "answers": "102",
    "outside": "0899777777",
    "busy": "107",
    "rings": "108",
    "rejects": "109",
    "away": "115",
    "nobody": "150",
    "outside busy": "0899000486",
    "no route": "777",
}

_SPY: Final = (
    "bgapi originate {origination_uuid={U},callbridge_monitor=m1,eavesdrop_enable_dtmf=false,"
    "origination_caller_id_number=101,origination_caller_id_name=Listen%s}user/%s@{D} &eavesdrop({%s})"
)
_CLICK: Final = (
    "bgapi originate {origination_uuid={U},callbridge_click=1,originate_timeout=%s,origination_caller_id_number=%s,"
    "origination_caller_id_name=Click}user/%s@{D} %s XML {D}"
)


def _steps(*steps: Step) -> list[Step]:
    return list(steps)


def _spy(target: str = "A", phone: str = "103", more: str = "") -> str:
    return _SPY % (more, phone, target)


def _transfers() -> Iterator[Deed]:
    for call, legs in (("outbound", "AB"), ("inbound", "AB"), ("local", "AB"), ("ringing", "A")):
        for leg in legs:
            wanted = (
                TARGETS if call == "outbound" else {name: TARGETS[name] for name in ("answers", "away", "no route")}
            )
            for name, number in wanted.items():
                line = f"uuid_transfer {{{leg}}} {number} XML {{D}}"
                yield Deed(f"{call}: transfer {leg} to {name}", call, [line, 1.0, "uuid_exists {A}", "uuid_exists {B}"])
    first = _steps("uuid_transfer {A} 108 XML {D}", 0.6)
    second = _steps("uuid_transfer {B} 102 XML {D}", 1.0)
    yield Deed("transfer A twice", "outbound", [*first, "uuid_transfer {A} 102 XML {D}", 1.0])
    yield Deed("transfer A, then park it", "outbound", [*first, "uuid_park {A}", 0.5])
    yield Deed("transfer A, then kill whom it calls", "outbound", [*first, "uuid_kill {C}", 0.5])
    yield Deed("transfer A, then kill it", "outbound", ["uuid_transfer {A} 102 XML {D}", "uuid_kill {A}", 0.5])
    yield Deed("transfer both", "outbound", ["uuid_transfer {A} 102 XML {D}", "uuid_transfer {B} 103 XML {D}", 1.0])
    yield Deed("transfer B, then again", "outbound", [*second, "uuid_transfer {B} 103 XML {D}", 1.0])
    yield Deed("transfer B, then its partner", "outbound", [*second, "uuid_transfer {C} 103 XML {D}", 1.0])
    yield Deed("transfer B, then park its partner", "outbound", [*second, "uuid_park {C}", 0.5])
    yield Deed("transfer B, then kill it", "outbound", [*second, "uuid_kill {B}", 0.5])
    yield Deed("transfer to no tenant", "outbound", ["uuid_transfer {A} 102 XML nowhere.example.com", 0.5])
    hold = _steps("uuid_hold {A}", 0.3)
    yield Deed("transfer A on hold", "outbound", [*hold, "uuid_transfer {A} 102 XML {D}", 1.0])
    yield Deed("transfer B while A holds", "outbound", [*hold, "uuid_transfer {B} 102 XML {D}", 1.0])


def _parks() -> Iterator[Deed]:
    timeout = "uuid_setvar {%s} park_timeout %s:NORMAL_CLEARING"
    for call, legs in (("outbound", "AB"), ("inbound", "AB"), ("local", "AB"), ("ringing", "A")):
        for leg in legs:
            park = _steps(timeout % (leg, 2), f"uuid_park {{{leg}}}", 0.5, f"uuid_getvar {{{leg}}} park_timeout", 2.0)
            yield Deed(f"{call}: park {leg} until it ends", call, park)
    for leg in "AB":
        park = _steps(timeout % (leg, 10), f"uuid_park {{{leg}}}", 0.5)
        take = _steps(f"uuid_transfer {{{leg}}} 102 XML {{D}}", 1.0)
        yield Deed(f"park {leg} and take it out", "outbound", [*park, *take])
        yield Deed(f"park {leg} and kill it", "outbound", [*park, f"uuid_kill {{{leg}}}", 0.5])
        again = _steps(*park, f"uuid_park {{{leg}}}", 0.5, f"uuid_kill {{{leg}}}", 0.5)
        yield Deed(f"park {leg} twice", "outbound", again)
    yield Deed("park A on hold", "outbound", ["uuid_hold {A}", 0.3, "uuid_park {A}", 0.5])
    yield Deed("park both", "outbound", ["uuid_park {A}", "uuid_park {B}", 0.5])
    yield Deed("park A, then kill it", "outbound", ["uuid_park {A}", "uuid_kill {A}", 0.5])


def _ends() -> Iterator[Deed]:
    for call in ("outbound", "ringing"):
        for leg in "AB":
            steps: list[Step] = [f"uuid_kill {{{leg}}} USER_BUSY", f"uuid_exists {{{leg}}}", 0.5]
            yield Deed(f"{call}: kill {leg}", call, [*steps, "uuid_exists {A}", "uuid_exists {B}"])
    for cause in ("", "FOO", "call_rejected", "17", "0"):
        yield Deed(f"kill for {cause or 'no cause'}", "outbound", [f"uuid_kill {{A}} {cause}".strip(), 0.5])
    yield Deed("kill B while A holds", "outbound", ["uuid_hold {A}", 0.3, "uuid_kill {B}", 0.5])
    yield Deed("kill A on hold", "outbound", ["uuid_hold {A}", 0.3, "uuid_kill {A}", 0.5])


def _media() -> Iterator[Deed]:
    for call, leg in (("outbound", "A"), ("outbound", "B"), ("ringing", "A")):
        on, off = f"uuid_hold {{{leg}}}", f"uuid_hold off {{{leg}}}"
        yield Deed(f"{call}: hold {leg}", call, [off, 0.2, on, 0.3, on, 0.2, off, 0.3, off, 0.2])
        start, stop = f"uuid_record {{{leg}}} start /tmp/%s.wav", f"uuid_record {{{leg}}} stop %s"
        record: list[Step] = [
            start % 1,
            0.2,
            start % 1,
            0.2,
            start % 2,
            0.2,
            stop % "/tmp/1.wav",
            0.2,
            stop % "/tmp/1.wav",
            0.2,
        ]
        record += [stop % "all", 0.2, start % 3, 0.2, f"uuid_kill {{{leg}}}", 0.5]
        yield Deed(f"{call}: record {leg}", call, record)
        audio = [
            "start read mute -1",
            "start read mute -1",
            "stop",
            "stop",
            "start read mute",
            "start none mute 1",
            "foo",
        ]
        lines = [f"uuid_audio {{{leg}}} {words}" for words in audio]
        lines += [f"uuid_send_dtmf {{{leg}}} {digits}".strip() for digits in ("12#", "", "1@100", "x")]
        yield Deed(f"{call}: mute {leg} and send digits", call, [*lines, 0.3])
    wrong = ["uuid_record {A} start /proc/x.wav", "uuid_record {A} start", "uuid_record {A} foo /tmp/x.wav"]
    yield Deed("what cannot be recorded", "outbound", [*wrong, "uuid_record {A} stop all", 0.3])
    started = _steps("uuid_record {A} start /tmp/4.wav", 0.3)
    yield Deed("record A, then transfer it", "outbound", [*started, "uuid_transfer {A} 102 XML {D}", 1.0])
    yield Deed("record A, then park it", "outbound", [*started, "uuid_park {A}", 0.5])


def _supervisors() -> Iterator[Deed]:
    started: list[Step] = [_spy(), 0.8]
    yield Deed("listen to A", "outbound", [*started, "uuid_kill {A}", 0.5])
    yield Deed("whisper to B", "outbound", [_spy("B", more=",eavesdrop_whisper_bleg=true"), 0.8, "uuid_kill {A}", 0.5])
    for name, phone in TARGETS.items():
        if phone in ("107", "109", "115", "150"):
            yield Deed(f"listen, {name}", "outbound", [_spy(phone=phone), 0.5, "uuid_exists {U}"])
    yield Deed("listen, nobody answers", "outbound", [_spy(phone="108", more=",originate_timeout=2"), 2.5])
    yield Deed("listen to nothing", "outbound", [_spy().replace("{A}", UNKNOWN), 0.8])
    for cause in ("", " ORIGINATOR_CANCEL"):
        kill = f"uuid_kill {{U}}{cause}"
        yield Deed(f"listen, killed while it rings{cause}", "outbound", [_spy(phone="108"), 0.4, kill, 0.4])
    yield Deed("listen, the call ends first", "outbound", [_spy(phone="110"), 0.4, "uuid_kill {A}", 2.5])
    yield Deed("listen, then kill the supervisor", "outbound", [*started, "uuid_kill {U}", 0.5])
    whisper = _steps("uuid_setvar {U} eavesdrop_whisper_bleg true", "uuid_transfer {U} eavesdrop:{A} inline", 0.5)
    look = [f"uuid_getvar {{U}} {name}" for name in ("current_application", "eavesdrop_whisper_bleg")]
    yield Deed("listen, then whisper", "outbound", [*started, *whisper, *look, "uuid_kill {A}", 0.5])
    yield Deed(
        "listen, then to B", "outbound", [*started, "uuid_transfer {U} eavesdrop:{B} inline", 0.5, "uuid_kill {A}", 0.5]
    )
    yield Deed(
        "listen, then to nothing", "outbound", [*started, f"uuid_transfer {{U}} eavesdrop:{UNKNOWN} inline", 0.5]
    )
    yield Deed(
        "listen, then moved while it rings", "outbound", [_spy(phone="108"), 0.4, "uuid_transfer {U} 102 XML {D}", 0.15]
    )
    yield Deed("listen, then A is transferred", "outbound", [*started, "uuid_transfer {A} 102 XML {D}", 1.0])
    yield Deed("listen to B, then A is transferred", "outbound", [_spy("B"), 0.8, "uuid_transfer {A} 102 XML {D}", 1.0])
    yield Deed("listen, then A is parked", "outbound", [*started, "uuid_park {A}", 0.5, "uuid_kill {A}", 0.5])
    yield Deed(
        "listen to B, then B is parked", "outbound", [_spy("B"), 0.8, "uuid_park {B}", 0.5, "uuid_kill {B}", 0.5]
    )
    yield Deed("listen, then transfer the supervisor", "outbound", [*started, "uuid_transfer {U} 102 XML {D}", 1.0])
    yield Deed(
        "listen, then hold and park the supervisor", "outbound", [*started, "uuid_hold {U}", 0.3, "uuid_park {U}", 0.5]
    )
    yield Deed("listen with a uuid that is taken", "outbound", [*started, _spy(phone="104"), 0.3])
    yield Deed("listen to A while it is parked", "outbound", ["uuid_park {A}", 0.4, _spy(), 0.8, "uuid_kill {A}", 0.5])


def _clicks() -> Iterator[Deed]:
    for name, number in TARGETS.items():
        click = _CLICK % (20, number, "101", number)
        yield Deed(f"click to call, {name}", "none", [click, 1.3, "uuid_exists {U}", "uuid_kill {U}", 0.5])
    for name, phone in (("busy", "107"), ("rejects", "109"), ("away", "115"), ("nobody", "150"), ("rings", "108")):
        yield Deed(f"click to call, first {name}", "none", [_CLICK % (2, "1", phone, "0899777777"), 2.5])
    click = _CLICK % (20, "0899777777", "101", "0899777777")
    yield Deed("click to call, then transfer A", "none", [click, 1.3, "uuid_transfer {A} 102 XML {D}", 1.0])
    yield Deed("click to call, then transfer B", "none", [click, 1.3, "uuid_transfer {B} 102 XML {D}", 1.0])
    yield Deed("click to call, then kill B", "none", [click, 1.3, "uuid_kill {B}", 0.5])
    other = click.replace("XML {D}", "XML nowhere.example.com")
    yield Deed("click to call, no tenant", "none", [other, 0.8])
    wrong = ["user/101@nowhere.example.com 1 XML {D}", "user/101 1 XML {D}", "user/101@{D}", ""]
    yield Deed(
        "originate what cannot be",
        "none",
        [step for words in wrong for step in (f"bgapi originate {words}".strip(), 0.1)],
    )
    yield Deed(
        "originate with an unknown application",
        "none",
        ["bgapi originate {origination_uuid={U}}user/101@{D} &nothing(x)", 0.8],
    )


def _words() -> Iterator[Deed]:
    names = ("originate_disposition", "domain_name", "call_direction", "uuid", "bridge_to", "park_timeout", "nothing")
    yield Deed("variables of A", "outbound", [f"uuid_getvar {{A}} {name}" for name in names])
    yield Deed("variables of B", "outbound", [f"uuid_getvar {{B}} {name}" for name in ("bridge_to", "call_direction")])
    pairs = ("foo bar", "foo", "x a b c", "x ${y}", "originate_disposition")
    lines = [line for pair in pairs for line in (f"uuid_setvar {{A}} {pair}", f"uuid_getvar {{A}} {pair.split()[0]}")]
    yield Deed("set variables", "outbound", lines)
    look: Step = "uuid_getvar {A} originate_disposition"
    clear: Step = "uuid_setvar {A} originate_disposition"
    for name, number in TARGETS.items():
        if name in ("answers", "rings", "outside"):
            transfer = f"uuid_transfer {{A}} {number} XML {{D}}"
            yield Deed(f"the disposition, {name}", "outbound", [clear, look, transfer, look, 0.15, look, 0.8, look])
    nobody = [
        *(f"uuid_transfer {UNKNOWN} {rest}" for rest in ("102 XML d", "eavesdrop:x inline", "")),
        *(f"{name} {UNKNOWN}" for name in ("uuid_park", "uuid_kill", "uuid_hold", "uuid_hold off", "uuid_hold toggle")),
        *(
            f"uuid_kill {UNKNOWN} FOO",
            f"uuid_setvar {UNKNOWN} a b",
            f"uuid_setvar {UNKNOWN}",
            f"uuid_getvar {UNKNOWN} a",
        ),
        *(f"uuid_audio {UNKNOWN} start read mute -1", f"uuid_audio {UNKNOWN} stop", f"uuid_getvar {UNKNOWN}"),
        *(f"uuid_send_dtmf {UNKNOWN} 12", f"uuid_send_dtmf {UNKNOWN}", f"uuid_exists {UNKNOWN}", "uuid_exists nothing"),
        *(f"uuid_record {UNKNOWN} start /tmp/x.wav", f"uuid_record {UNKNOWN} stop /tmp/x.wav", "uuid_exists"),
    ]
    names = ("uuid_transfer", "uuid_park", "uuid_kill", "uuid_hold", "uuid_setvar", "uuid_getvar", "uuid_audio")
    yield Deed(
        "commands to nobody", "none", [line.strip() for line in (*nobody, *names, "uuid_send_dtmf", "uuid_record")]
    )
    users = ("id 101 {D}", "id 115 {D}", "id 150 {D}", "id 101 nowhere.example.com", "id 101", "")
    lines = [f"user_exists {words}".strip() for words in users]
    lines += [f"sofia_contact {who}" for who in ("*/115@{D}", "*/150@{D}", "*/101@nowhere.example.com")]
    yield Deed("who there is", "none", lines)


DEEDS: Final = [deed for some in (_transfers, _parks, _ends, _media, _supervisors, _clicks, _words) for deed in some()]


# How it is written down.

_PLAIN: Final = {
    "state": "Channel-State",
    "call": "Channel-Call-State",
    "answer": "Answer-State",
    "cause": "Hangup-Cause",
    "number": "Caller-Caller-ID-Number",
    "name": "Caller-Caller-ID-Name",
    "dest": "Caller-Destination-Number",
    "context": "Caller-Context",
    "callee": "Caller-Callee-ID-Number",
    "callee name": "Caller-Callee-ID-Name",
    "other": "Other-Type",
    "other leg": "Other-Leg-Unique-ID",
    "presence": "Channel-Presence-ID",
    "way": "Call-Direction",
    "a": "Bridge-A-Unique-ID",
    "b": "Bridge-B-Unique-ID",
    "path": "Record-File-Path",
}
_VARIABLES: Final = (
    "call_direction domain_name dialed_domain dialed_user user_name bridge_to current_application"
    " current_application_data eavesdrop_whisper_aleg eavesdrop_whisper_bleg park_timeout originate_disposition"
    " callbridge_monitor callbridge_click origination_uuid"
).split()
_ONCE: Final = frozenset(("a", "b", "path"))
"""Of one event alone, so told each time."""


def anonymous(text: str, roles: Mapping[str, str]) -> str:
    """A text with the legs by their letters."""
    for uuid, leg in roles.items():
        text = text.replace(uuid, leg)
    return re.sub(r"/\S*?(\w+\.wav)", r"/\1", text)


def written(events: Iterable[Mapping[str, Any]], roles: Mapping[str, str]) -> dict[str, list[str]]:
    """leg -> its events, each as its name and what is other than in the one before it."""
    before: dict[str, dict[str, str]] = {}
    told: dict[str, list[str]] = {}
    for event in events:
        leg = roles.get(str(event.get("Unique-ID", "")))
        if leg is None or event["Event-Name"] not in EVENTS:
            continue
        now = {name: str(event.get(header, "")) for name, header in _PLAIN.items()}
        now["state"] = f"{now['state'].removeprefix('CS_')}/{event['Channel-State-Number']}"
        was = before.get(leg, {})
        if "variable_uuid" in event:
            now |= {f"${name}": str(event.get(f"variable_{name}", "")) for name in _VARIABLES}
        else:
            now |= {name: value for name, value in was.items() if name.startswith("$")}
        news = [f"{name}={anonymous(value, roles)}" for name, value in now.items() if was.get(name, "") != value]
        before[leg] = {name: value for name, value in now.items() if name not in _ONCE}
        told.setdefault(leg, []).append(" | ".join([event["Event-Name"], *news]))
    return told


def line(step: str, roles: Mapping[str, str]) -> str:
    """The line for the switch, with the uuids of the legs."""
    for uuid, leg in roles.items():
        step = step.replace(f"{{{leg}}}", uuid)
    return step.replace("{U}", OWN_UUID).replace("{D}", TENANT)
