"""What is published of a call: the row of the list, and everything else that is known of it.

Which tenant a call belongs to and which direction it has is decided here, from all of its legs.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from callbridge.calls import Call, Channel, Side
from callbridge.localtime import local_time

Mode = Literal["listen", "whisper", "barge"]
MonitorState = Literal["dialling", "ringing", "active"]


class Leg(msgspec.Struct, frozen=True, gc=False):
    """One side of a call as `fields=legs` shows it. `kind` is `extension` or `outside`."""

    uuid: str
    side: Side
    number: str
    name: str
    state: str
    kind: Literal["extension", "outside"]
    callstate: str
    answered: bool


class Monitor(msgspec.Struct, frozen=True, gc=False):
    """Who listens to a call. `mode` is listen, whisper or barge; `watches` is the leg that it listens to.

    `uuid` is its id: the one that callbridge gave it or, where callbridge did not call the supervisor, the channel's.
    `channel` is the supervisor's; while several phones ring, one of them.
    """

    uuid: str
    extension: str
    mode: Mode
    state: MonitorState
    watches: str
    created_time: str
    channel: str


class Row(msgspec.Struct, frozen=True, gc=False):
    """The eight fields of the contract, in its order."""

    call_id: str
    context: str
    created_time: str
    destination: str
    direction: str
    ip: str
    source: str
    state: str


class Record(Row, frozen=True, gc=False, kw_only=True):
    """Everything that is published of a call; as JSON it is also its field in Redis (docs/redis.md).

    Times that end in `_time` are the switch's local time, `_us` microseconds since 1970 (0: not yet).
    """

    tenant: str | None
    switch: str
    callstate: str
    source_name: str
    answered_time: str | None
    parked_until: str | None
    recording: str | None
    recorded_leg: str
    queue: str | None
    legs: tuple[Leg, ...]
    monitors: tuple[Monitor, ...]
    ids: tuple[str, ...]
    created_us: int
    answered_us: int
    hold_us: int
    hold_since_us: int


class Ended(msgspec.Struct, frozen=True, gc=False):
    """What is remembered of a call that ended. `ended_time` is the switch's local time; `cause` is that of the leg that
    was the last, `causes` are those of the latest legs that had left it before."""

    call_id: str
    tenant: str | None
    ids: tuple[str, ...]
    ended_time: str
    cause: str
    causes: tuple[tuple[str, str], ...] = ()


class Changes(msgspec.Struct, frozen=True):
    """What has changed since the last time: the calls as they are now, and those that are shown no more.

    `gone` are ids: of calls that ended (they are in `ended` as well), became part of another or turned into a monitor.
    """

    updated: list[Record]
    gone: list[str]
    ended: list[Ended]


_encode_row: Final = msgspec.json.Encoder().encode


def encode_row(record: Record) -> bytes:
    """The row of the list."""
    row = Row(
        record.call_id,
        record.context,
        record.created_time,
        record.destination,
        record.direction,
        record.ip,
        record.source,
        record.state,
    )
    # A copy, because the block that the encoder gives is a third larger than what it holds.
    return bytes(memoryview(_encode_row(row)))


def tenant_of(call: Call, shared_contexts: frozenset[str]) -> str | None:
    """The tenant's domain: of the leg that leads, or, while that one does not know it, of any other.

    A leg's tenant is its dialplan context, unless that is one that tenants share (`public`, `default`); then what its
    variables and its presence id say.
    """
    for leg in (call.lead, *call.legs):
        tenant = leg.domain if leg.context in shared_contexts else leg.context
        if tenant:
            return tenant
    return None


def direction_of(call: Call) -> str:
    """What the dialplan says in `call_direction`, on the leg that leads or else on any other; where it says nothing:
    from a trunk inbound, from or to an outside party outbound, else local.
    """
    lead = call.lead
    for leg in (lead, *call.legs):
        if leg.business_direction:
            return leg.business_direction
    if lead.inbound and not lead.extension and not lead.is_virtual:
        return "inbound"
    outside = (not leg.extension and not leg.is_virtual for leg in call.legs)
    return "outbound" if any(outside) else "local"


def make_record(
    call: Call,
    switch: str,
    shared_contexts: frozenset[str],
    watchers: Mapping[str, list[Channel]],
    offset: int,
) -> Record:
    """Everything there is to say about a call now. `offset`: seconds the switch's wall clock is ahead of UTC."""
    lead = call.lead
    tenant = tenant_of(call, shared_contexts)
    legs = call.legs
    recorded = next((leg for leg in legs if leg.recording), None)
    leg_ids = [leg.uuid for leg in legs if leg.uuid != call.id]
    return Record(
        call.id,
        tenant or lead.context,
        call.created,
        _destination(lead, tenant),
        direction_of(call),
        lead.ip,
        lead.caller_number,
        lead.state,
        tenant=tenant,
        switch=switch,
        callstate=lead.callstate,
        source_name=lead.caller_name,
        answered_time=local_time(lead.answered_us, offset) if lead.answered_us else None,
        parked_until=local_time(lead.parked_until_us, offset) if lead.parked_until_us else None,
        recording=recorded.recording if recorded is not None else None,
        recorded_leg=recorded.uuid if recorded is not None else "",
        queue=next((leg.queue for leg in legs if leg.queue), None),
        # One that has hung up is nobody's side any more, and may stay in the switch for seconds (measured: att_xfer).
        legs=tuple([_leg(leg) for leg in legs if not leg.is_virtual and (lead.hungup or not leg.hungup)]),
        monitors=_monitors(legs, watchers) if watchers else (),
        ids=(*leg_ids, *[uuid for uuid in call.other_ids if uuid not in leg_ids]),
        created_us=call.created_us,
        answered_us=lead.answered_us,
        hold_us=lead.hold_accum_us,
        hold_since_us=lead.hold_since_us,
    )


def make_ended(call: Call, last: Channel, us: int, shared_contexts: frozenset[str], offset: int) -> Ended:
    """What is remembered of a call whose last leg was `last`, until `us`."""
    ids = tuple(uuid for uuid in (last.uuid, *call.other_ids) if uuid != call.id)
    ended_time = local_time(us, offset)
    return Ended(call.id, tenant_of(call, shared_contexts), ids, ended_time, last.cause, call.causes)


def _leg(channel: Channel) -> Leg:
    kind: Literal["extension", "outside"] = "extension" if channel.extension else "outside"
    return Leg(
        channel.uuid,
        channel.side,
        channel.number,
        channel.party_name,
        channel.state,
        kind,
        channel.callstate,
        channel.answered_us > 0,
    )


def _monitors(legs: list[Channel], watchers: Mapping[str, list[Channel]]) -> tuple[Monitor, ...]:
    rung: dict[str, list[Channel]] = {}
    for leg in legs:
        for channel in watchers.get(leg.uuid, ()):
            rung.setdefault(channel.given_id or channel.uuid, []).append(channel)
    return tuple([_monitor(uuid, min(channels, key=_distance)) for uuid, channels in rung.items()])


def _monitor(uuid: str, channel: Channel) -> Monitor:
    return Monitor(
        uuid,
        channel.number,
        _mode(channel),
        _monitor_state(channel),
        channel.watching,
        channel.created,
        channel.uuid,
    )


def _distance(channel: Channel) -> tuple[bool, int]:
    """How far one of a supervisor's phones is from listening; one that has hung up is farthest."""
    return channel.hungup, ("active", "ringing", "dialling").index(_monitor_state(channel))


def _monitor_state(channel: Channel) -> MonitorState:
    if channel.answered_us:
        return "active"
    return "ringing" if channel.callstate in ("RINGING", "EARLY") else "dialling"


def _mode(channel: Channel) -> Mode:
    """Who hears the supervisor: nobody, one leg, both (freeswitch: mod_dptools.c `eavesdrop_function`)."""
    if channel.application == "three_way" or channel.whisper == "ab":
        return "barge"
    return "whisper" if channel.whisper else "listen"


def _destination(lead: Channel, tenant: str | None) -> str:
    """The number dialled; of a conference member that was dialled out to, the room (without its tenant)."""
    if lead.application != "conference" or lead.inbound:
        return lead.destination
    room = lead.application_data.partition("@")[0]
    return room.removesuffix(f"-{tenant}") if tenant else room
