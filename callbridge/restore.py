"""Calls as they were published, made channels again: for who takes over a switch, and for a daemon that starts anew.

A dump tells nearly everything of a channel. What it does not tell is who called whom, which call it belongs to and
which ids find that, what is recorded, how the other party is named: that is what makes a call the same before and
after. Nothing of it is believed: every channel is probed, as one of an earlier connection is. Until then what was
talking is taken to talk.
"""

from collections.abc import Iterable

from callbridge.calls import RESTORED, Call, Channel
from callbridge.callset import CallSet
from callbridge.esl.events import Event, Profile
from callbridge.records import Leg, Monitor, Record


def restore(calls: CallSet, records: Iterable[Record], last_us: int) -> list[str]:
    """Take in the calls of which nothing is known yet; gives the uuids of their channels. `last_us`: when they were
    last known to live, microseconds since 1970."""
    known: list[str] = []
    for record in records:
        legs = record.legs or (_unseen_leg(record),)
        if record.call_id in calls.calls or any(leg.uuid in calls.channels for leg in legs):
            continue
        channels = [_channel(leg, record, number) for number, leg in enumerate(legs)]
        monitors = [_monitor(monitor, record, last_us) for monitor in record.monitors]
        calls.restore(_call(record, channels), [channel for channel in monitors if channel.uuid not in calls.channels])
        known += [channel.uuid for channel in (*channels, *monitors)]
    return known


def _call(record: Record, channels: list[Channel]) -> Call:
    call = Call(channels[0], record.call_id)
    call.created, call.created_us = record.created_time, record.created_us
    call.legs = channels
    uuids = {channel.uuid for channel in channels}
    call.other_ids = tuple([uuid for uuid in record.ids if uuid not in uuids])
    call.record = record
    lead = call.lead
    lead.caller_number, lead.caller_name = record.source, record.source_name
    lead.destination, lead.ip, lead.state, lead.callstate = (
        record.destination,
        record.ip,
        record.state,
        record.callstate,
    )
    lead.answered_us, lead.hold_accum_us, lead.hold_since_us = record.answered_us, record.hold_us, record.hold_since_us
    for channel in channels:
        channel.call, channel.home_id = call, record.call_id
        channel.queue = record.queue or ""
        if channel.uuid == record.recorded_leg:
            channel.recording = record.recording or ""
        if channel is not lead:
            # A call of many legs is a star: whoever is tied to the one that leads is in it.
            channel.peers, lead.peers = (lead.uuid,), (*lead.peers, channel.uuid)
    return call


def _channel(leg: Leg, record: Record, number: int) -> Channel:
    us = record.created_us + number
    created = "" if number else record.created_time
    channel = Channel(_known(leg.uuid, us), created)
    channel.side, channel.number, channel.party_name = leg.side, leg.number, leg.name
    channel.extension = leg.number if leg.kind == "extension" else ""
    channel.state, channel.callstate = leg.state, leg.callstate
    channel.answered_us = (record.answered_us or us) if leg.answered else 0
    channel.context, channel.domain, channel.business_direction = record.context, record.tenant or "", record.direction
    channel.has_bridged = True
    channel.epoch = RESTORED
    return channel


def _monitor(monitor: Monitor, record: Record, last_us: int) -> Channel:
    channel = Channel(_known(monitor.channel, record.created_us), monitor.created_time)
    channel.given_id = monitor.uuid if monitor.uuid != monitor.channel else ""
    channel.number = channel.extension = monitor.extension
    channel.watching = monitor.watches
    channel.application = "three_way" if monitor.mode == "barge" else "eavesdrop"
    channel.whisper = "a" if monitor.mode == "whisper" else ""
    channel.callstate = "RINGING" if monitor.state == "ringing" else "ACTIVE"
    channel.answered_us = last_us if monitor.state == "active" else 0
    channel.context, channel.domain = record.context, record.tenant or ""
    channel.epoch = RESTORED
    return channel


def _known(uuid: str, created_us: int) -> Event:
    """All that is known of a channel from the first, as a dump would say it."""
    return Event(name="CHANNEL_DATA", uuid=uuid, profile_read=Profile(created_us=created_us))


def _unseen_leg(record: Record) -> Leg:
    """Of a call whose every leg is an end of a loopback pair, none is shown."""
    return Leg(record.call_id, "aleg", record.source, "", record.state, "outside", record.callstate, False)
