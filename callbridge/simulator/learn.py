"""Learn `headers.json` from recordings of a real switch.

    python -m callbridge.simulator.learn tests/recordings callbridge/simulator/headers.json

For each leg of the recorded calls it takes which variables appear, change and go before each event, and turns what is
particular to the call (its uuids, numbers, names and times) into parameters.
"""

import json
import lzma
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

RECORDINGS: Final = {
    "outbound": "outbound_answered",
    "inbound": "inbound_answered",
    "local": "local_answered",
    "busy": "outbound_busy",
    "cancelled": "outbound_cancelled",
    "hold": "hold_unhold",
}
"""Kind of call -> the recording it is learned from."""

ORIGINATED: Final = "listen"
"""The recording in which the switch itself calls somebody: its last leg."""

_GIVEN: Final = frozenset(("eavesdrop_enable_dtmf", "origination_caller_id_number"))
"""What the command of that recording set."""

_ITS_OWN: Final = ("CHANNEL_EXECUTE", "CHANNEL_EXECUTE_COMPLETE")
"""Events of what it then did, which is for other such legs something else."""

_TIMES: Final = {
    "start": "created",
    "profile_start": "created",
    "answer": "answered",
    "bridge": "bridged",
    "progress": "progress",
    "end": "hangup",
}
_SIP_IDS: Final = frozenset(("sip_call_id", "sip_invite_call_id"))


def events_of(path: Path) -> Iterator[dict[str, str]]:
    """Every event of a recording in event-plain, headers decoded."""
    wire, position = lzma.decompress(path.read_bytes()), 0
    while position < len(wire):
        stop = wire.index(b"\n\n", position) + 2
        length = re.search(rb"Content-Length: (\d+)", wire[position:stop])
        end = stop + (int(length[1]) if length else 0)
        if b"text/event-plain" in wire[position:stop]:
            head = wire[stop:end].split(b"\n\n")[0].decode()
            pairs = (line.split(": ", 1) for line in head.split("\n") if line)
            yield {name: unquote(value) if value != "_undef_" else "" for name, value in pairs}
        position = end


def changes_of(events: list[dict[str, str]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(uuid, event name, change) for every event that carries variables."""
    before: dict[str, dict[str, str]] = {}
    parameters = _parameters(events)
    for event in events:
        uuid = event.get("Unique-ID", "")
        if uuid not in parameters:
            continue
        now = {name[9:]: value for name, value in event.items() if name.startswith("variable_")}
        if not now or event["Event-Name"] in ("CUSTOM", "PRESENCE_IN"):
            continue
        now = {name: _template(name, value, parameters[uuid]) for name, value in now.items()}
        was = before.get(uuid, {})
        yield uuid, event["Event-Name"], {"unset": [n for n in was if n not in now], "set": _moved(was, now)}
        before[uuid] = now


def _moved(was: dict[str, str], now: dict[str, str]) -> list[tuple[str, str]]:
    """What was set in between. A set variable moves to the end, so it is everything after the longest beginning of
    `now` that stands in `was` in the same order and with the same values."""
    names, old = list(now), iter(was)
    for index, name in enumerate(names):
        if name not in old or was[name] != now[name]:
            return [(name, now[name]) for name in names[index:]]
    return []


def _parameters(events: list[dict[str, str]]) -> dict[str, list[tuple[re.Pattern[str], str]]]:
    """For each channel, what to look for in its values and which parameter it is; the longest first."""
    created = [event for event in events if event["Event-Name"] == "CHANNEL_CREATE"]
    first, last = created[0], {event["Unique-ID"]: event for event in events if "Unique-ID" in event}
    routed = [e for e in events if e.get("Unique-ID") == first["Unique-ID"] and e.get("Caller-Destination-Number")][-1]
    domains = (e.get("variable_dialed_domain") or e.get("variable_domain_name") for e in events)
    domain = next(domain for domain in domains if domain)
    found: dict[str, list[tuple[re.Pattern[str], str]]] = {}
    for event in created:
        uuid = event["Unique-ID"]
        others = [other for other in last if other != uuid]
        texts = {
            uuid: "uuid",
            **dict.fromkeys(others[:1], "other_uuid"),
            event["Core-UUID"]: "core_uuid",
            domain: "domain",
            first["Caller-Destination-Number"]: "dialled",
            routed["Caller-Destination-Number"]: "destination",
            first.get("Caller-Caller-ID-Name", ""): "caller_name",
            first["Caller-Caller-ID-Number"]: "caller_number",
            # A phone that gives no name calls as 0000000000, and its number stands where the name belongs.
            first.get("variable_effective_caller_id_name", ""): "caller_name",
            first.get("variable_user_name", ""): "caller_number",
        }
        found[uuid] = [
            (re.compile(rf"(?<![0-9A-Za-z]){re.escape(text)}(?![0-9A-Za-z])"), f"{{{{{name}}}}}")
            for text, name in sorted(texts.items(), key=lambda item: -len(item[0]))
            if text
        ]
    return found


def originated(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """event -> changes, of a leg that the switch made: up to where it executes something, and its end."""
    events = list(events_of(folder / f"{ORIGINATED}.esl.xz"))
    uuid = [event["Unique-ID"] for event in events if event["Event-Name"] == "CHANNEL_CREATE"][-1]
    own = [event for event in events if event.get("Unique-ID") == uuid]
    for event in own:
        for name in _GIVEN:
            event.pop(f"variable_{name}", None)
    changes: dict[str, list[dict[str, Any]]] = {}
    for _, name, change in changes_of(own):
        if name in _ITS_OWN or (name == "CALL_UPDATE" and name in changes):
            continue
        change["set"] = [pair for pair in change["set"] if pair[0] not in _LAST]
        changes.setdefault(name, []).append(change)
    return changes


_LAST: Final = frozenset(("current_application", "current_application_data", "last_app", "last_arg", "read_codec"))


def _template(name: str, value: str, parameters: list[tuple[re.Pattern[str], str]]) -> str:
    if name in _SIP_IDS:
        return "{{sip_id}}"
    stem, _, unit = name.rpartition("_")
    if stem in _TIMES and unit in ("epoch", "uepoch", "stamp") and value not in ("", "0"):
        return f"{{{{{_TIMES[stem]}_{'us' if unit == 'uepoch' else 's' if unit == 'epoch' else 'stamp'}}}}}"
    if name in ("duration", "billsec"):
        return f"{{{{{name}}}}}"
    if name.startswith("rtp_") or name.endswith("_sdp"):
        # Payload types look like extensions.
        return value
    for pattern, parameter in parameters:
        value = pattern.sub(parameter, value)
    return value


def learn(folder: Path) -> dict[str, Any]:
    """The contents of `headers.json`."""
    legs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for kind, name in RECORDINGS.items():
        events = list(events_of(folder / f"{name}.esl.xz"))
        order = [event["Unique-ID"] for event in events if event["Event-Name"] == "CHANNEL_CREATE"]
        for uuid, event, change in changes_of(events):
            leg = legs.setdefault(f"{kind}.{'ab'[order.index(uuid)]}", {})
            leg.setdefault(event, []).append(change)
    legs["originated.a"] = originated(folder)
    seen = Counter(pair for leg in legs.values() for changes in leg.values() for c in changes for pair in c["set"])
    usual: dict[str, str] = {}
    for (variable, template), _ in seen.most_common():
        usual.setdefault(variable, template)
    for leg in legs.values():
        for changes in leg.values():
            for change in changes:
                change["set"] = [n if usual[n] == template else [n, template] for n, template in change["set"]]
    return {"values": dict(sorted(usual.items())), "legs": legs}


def write(learned: dict[str, Any]) -> str:
    """JSON with a line for each value and for each change, so that a difference can be read."""
    values = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in learned["values"].items())
    legs = ",\n".join(
        f"  {json.dumps(leg)}: {{\n"
        + ",\n".join(
            f"   {json.dumps(event)}: [\n    " + ",\n    ".join(map(json.dumps, changes)) + "]"
            for event, changes in events.items()
        )
        + "}"
        for leg, events in learned["legs"].items()
    )
    return f'{{"values": {{\n{values}}},\n "legs": {{\n{legs}}}}}\n'


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(write(learn(Path(sys.argv[1]))), encoding="utf-8")
