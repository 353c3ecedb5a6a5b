"""Events of made-up channels, for what no recording shows."""

from itertools import count
from typing import Any

import msgspec

from callbridge.calls import HANGUP
from callbridge.esl.events import Event, Profile, Variables
from callbridge.records import Record
from callbridge.table import CallTable

NUMBERS = {"CS_NEW": 0, "CS_INIT": 1, "CS_ROUTING": 2, "CS_SOFT_EXECUTE": 3, "CS_EXECUTE": 4, "CS_EXCHANGE_MEDIA": 5}
NUMBERS |= {"CS_PARK": 6, "CS_CONSUME_MEDIA": 7, "CS_HIBERNATE": 8, "CS_RESET": 9, "CS_HANGUP": 10, "CS_REPORTING": 11}
NUMBERS |= {"CS_DESTROY": 12}
T0 = 1_795_458_117_000_000
"""2026-11-23 18:21:57 UTC, in microseconds."""


FIELDS = {field.encode_name: field for field in msgspec.structs.fields(Event) if field.encode_name.strip()}
PROFILE = {field.encode_name: field for field in msgspec.structs.fields(Profile)}
VARIABLES = {field.encode_name: field for field in msgspec.structs.fields(Variables)}
"""Header -> field of the part of an event that holds it."""


def event_of(name: str, uuid: str, **fields: Any) -> Event:
    """An event with these fields, of its own or its profile's; those that begin with `var_` are its variables'."""
    said = {field.removeprefix("var_"): fields.pop(field) for field in list(fields) if field.startswith("var_")}
    profile = {field: fields.pop(field) for field in Profile.__struct_fields__ if field in fields}
    return Event(name=name, uuid=uuid, variables_read=Variables(**said), profile_read=Profile(**profile), **fields)


def read(event: Event) -> dict[str, object]:
    """What was read of an event, by header."""
    own = {header: getattr(event, field.name) for header, field in FIELDS.items()}
    profile = {header: getattr(event.profile, field.name) for header, field in PROFILE.items()}
    return own | profile | {header: getattr(event.variables, field.name) for header, field in VARIABLES.items()}


class Told:
    """A table that is told of made-up channels, and what it publishes of them."""

    def __init__(self, table: CallTable | None = None) -> None:
        self.table = CallTable("pbx") if table is None else table
        self.calls: dict[str, Record] = {}
        self.ended: list[str] = []
        self.now = 0.0
        self.sequence = count(1)
        self._last: dict[str, dict[str, Any]] = {}

    def create(self, uuid: str, **fields: Any) -> None:
        """CHANNEL_CREATE, of a phone's incoming leg unless `origin` or fields say otherwise."""
        origin = fields.pop("origin", "")
        leg: dict[str, Any] = {
            "channel_name": f"sofia/internal/{uuid}",
            "call_direction": "outbound" if origin else "inbound",
            "context": "acme.example.com",
            "caller_number": "101",
            "destination": "102",
            "network_address": "192.0.2.1",
            "callstate": "DOWN",
            "answer_state": "ringing",
            "created_us": T0 + int(self.now * 1e6),
            "var_uuid": uuid,
        }
        if origin:
            leg |= {"other_type": "originator", "other_leg_uuid": origin}
        self._last[uuid] = leg | fields
        self.tell("CHANNEL_CREATE", uuid, state="CS_INIT", state_number=2)

    def tell(self, name: str, uuid: str, **fields: Any) -> None:
        """Any event of a channel; what it does not say is as it was last."""
        sequence = fields.pop("sequence", None) or next(self.sequence)
        self._last[uuid] = self._last.get(uuid, {}) | fields
        us = T0 + int(self.now * 1e6)
        stamp = {"timestamp": us, "date_local": "2026-11-23 18:21:57", "sequence": sequence}
        self.table.apply(event_of(name, uuid, **(self._last[uuid] | stamp)), self.now)
        self.collect()

    def state(self, uuid: str, state: str, **fields: Any) -> None:
        """CHANNEL_STATE."""
        self.tell("CHANNEL_STATE", uuid, state=state, state_number=NUMBERS[state], **fields)

    def bridge(self, a: str, b: str) -> None:
        """CHANNEL_BRIDGE, told of `a`."""
        self.tell("CHANNEL_BRIDGE", a, bridge_a_uuid=a, bridge_b_uuid=b)

    def unbridge(self, a: str, b: str) -> None:
        """CHANNEL_UNBRIDGE, told of `a`."""
        self.tell("CHANNEL_UNBRIDGE", a, bridge_a_uuid=a, bridge_b_uuid=b)

    def hang_up(self, uuid: str, cause: str = "NORMAL_CLEARING") -> None:
        """CS_HANGUP, with which the leg is on its way out."""
        self.state(uuid, "CS_HANGUP", answer_state="hangup", hangup_cause=cause)

    def destroy(self, uuid: str) -> None:
        """CHANNEL_DESTROY, and the CHANNEL_STATE that follows it."""
        self.tell("CHANNEL_DESTROY", uuid, state_number=12)
        self.state(uuid, "CS_DESTROY")

    def dump(self, uuid: str, **fields: Any) -> None:
        """The answer to `uuid_dump`."""
        leg: dict[str, Any] = {"call_direction": "inbound", "context": "acme.example.com", "var_uuid": uuid}
        leg |= {"state": "CS_EXECUTE", "state_number": 4, "callstate": "ACTIVE", "created_us": T0, "channel_name": uuid}
        self._last[uuid] = leg | self._last.get(uuid, {})
        self.tell("CHANNEL_DATA", uuid, **fields)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.table.settle(self.now)
        self.collect()

    def talk(self, a: str, b: str) -> None:
        """A whole call from `a` to `b`, answered."""
        self.create(a)
        self.create(b, origin=a)
        self.state(b, "CS_CONSUME_MEDIA")
        self.bridge(a, b)
        self.state(a, "CS_EXECUTE")
        self.state(b, "CS_EXCHANGE_MEDIA")

    def collect(self) -> None:
        """Take the table's changes out, as a reflector does."""
        changes = self.table.take_changes()
        if changes is None:
            return
        for call_id in changes.gone:
            del self.calls[call_id]
        for record in changes.updated:
            assert self.calls.get(record.call_id) != record, "published without a change"
            self.calls[record.call_id] = record
        self.ended += [ended.call_id for ended in changes.ended]

    @property
    def legs(self) -> dict[str, list[str]]:
        """call id -> the uuids of its legs."""
        return {call_id: [leg.uuid for leg in record.legs] for call_id, record in self.calls.items()}


__all__ = ["FIELDS", "HANGUP", "PROFILE", "T0", "VARIABLES", "Told", "event_of", "read"]
