"""The live calls of one switch, kept from its events and from probes.

Pure code: no I/O, no clock of its own (`now` is seconds of any steady clock). The reflector feeds it and takes the
changes out; what the table wants to know of the switch it asks for through `take_probes`.

What may be believed. CHANNEL_CREATE makes a channel known and CHANNEL_DESTROY ends it. A row of `show channels` comes
up to some 400 ms late and may stand there for ever, so a row is never believed: what it names and the table does not
know is probed with `uuid_dump`, and so is every channel known from before the connection that is up now. A dump carries
a sequence number of the same counter as the events, so one that is older than what the stream has said is asked for
again. Tombstones swallow what comes late of the dead.

What no event says. An event may be lost, so every channel is probed in turn, and the channels are listed again when
their number is not the one that HEARTBEAT says (`entropy`). A dump overtakes the events that wait, so what it shows
is believed of a channel whose events are heard only when it shows the same again and nothing was heard in between; and
"no such channel", when the channel's last events have had the time to come. Either is a correction.

Which channels form a call is decided in `callset`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from callbridge.calls import EXECUTE, HANGUP, INIT, MONITOR_APPLICATIONS, ROUTING, Channel
from callbridge.callset import CallSet
from callbridge.doubts import Doubts, Found
from callbridge.entropy import Census, Rounds
from callbridge.esl.events import Event
from callbridge.localtime import utc_offset
from callbridge.records import Changes, Record, make_ended, make_record
from callbridge.restore import restore

LOOK_AGAIN_AFTER: Final = 1.0
"""Seconds after which a leg that the switch itself made is probed once more when it starts to execute something: of a
conference member that was dialled out to, the events never say so (measured)."""

LOOK_AT_MONITORS: Final = 3.0
"""Seconds after which a monitor is probed, again and again: that it has stopped to listen (by a key, or because the
call that it listened to is over) and goes on with its dialplan, no event says (measured)."""

CONFIRM_AFTER: Final = 1.0
"""Seconds after which a dump that shows something else than the events said is asked for again."""

EVENTS: Final = (
    "CHANNEL_CREATE",
    "CHANNEL_STATE",
    "CHANNEL_CALLSTATE",
    "CHANNEL_ANSWER",
    "CHANNEL_BRIDGE",
    "CHANNEL_UNBRIDGE",
    "CHANNEL_DESTROY",
    "CHANNEL_UUID",
    "CHANNEL_HOLD",
    "CHANNEL_UNHOLD",
    "CHANNEL_PARK",
    "CHANNEL_UNPARK",
    "CALL_UPDATE",
    "RECORD_START",
    "RECORD_STOP",
)
"""The events of channels that the table reads, and so those to subscribe to."""

SWITCH_EVENTS: Final = ("HEARTBEAT", "SHUTDOWN")
"""Those of the switch itself. The table passes over all others."""


class CallTable:
    """The calls of one switch. See the module for what it believes."""

    def __init__(self, switch: str, shared_contexts: Iterable[str] = ("public", "default")) -> None:
        self.switch = switch
        self.offset = 0
        """Seconds by which the switch's wall clock is ahead of UTC."""
        self._shared_contexts = frozenset(shared_contexts)
        self._set = CallSet()
        self._channels = self._set.channels
        self.known = self._set.known
        self._epoch = 0
        self._heard_us = 0
        """When the switch last told of a channel: one that a probe does not find has ended by then."""
        self._doubts = Doubts()
        self._created: dict[str, str] = {}
        """When channels that are to be probed were created, as `show channels` says: a dump says it only roughly."""
        self._look_again: dict[str, float] = {}
        self.census = Census()
        self.shut_down_at: float | None = None
        """When the switch has said, on this connection, that it ends."""
        self._rounds = Rounds()
        self._handlers: dict[str, Callable[[Channel, Event, float], None]] = {
            **dict.fromkeys(EVENTS, self._on_any),
            "CHANNEL_STATE": self._on_state,
            "CHANNEL_BRIDGE": self._on_bridge,
            "CHANNEL_UNBRIDGE": self._on_unbridge,
            "CHANNEL_DESTROY": self._on_destroy,
            "CALL_UPDATE": self._on_update,
            "CHANNEL_DATA": self._on_dump,
        }

    def __repr__(self) -> str:
        return f"<CallTable {self.switch}: {self._set!r}>"

    def __len__(self) -> int:
        return len(self._set.calls)

    def __contains__(self, uuid: str) -> bool:
        """Whether this is a live channel."""
        return uuid in self._channels

    def reconfigure(self, shared_contexts: Iterable[str]) -> None:
        """Other contexts are no tenant's: of every call it is found out anew whose it is."""
        self._shared_contexts = frozenset(shared_contexts)
        self._set.mark_all()

    # What goes in.

    def apply(self, event: Event, now: float) -> None:
        """Take over one event of the stream, or a `uuid_dump` (CHANNEL_DATA)."""
        handler = self._handlers.get(event.name)
        if handler is None or not event.uuid:
            self._on_switch(event, now)
            return
        self._heard_us = event.timestamp
        channel = self._channels.get(event.uuid)
        if channel is None:
            self._meet(event, now)
        else:
            handler(channel, event, now)

    def begin(self, *, same_run: bool) -> None:
        """A new connection is up. What was known before it is to be probed, or, if this is another run of the switch
        (its Core-UUID has changed), is gone."""
        self._epoch += 1
        self._doubts.begin()
        self.shut_down_at = None
        if not same_run:
            self.forget()
        for uuid in self._channels:
            self._doubts.about(uuid)

    def restore(self, records: Sequence[Record], last_us: int) -> None:
        """Take in calls as they were published, by another daemon or by this one before it was started anew. They are
        shown, and probed like all that is known from before the connection. `last_us`: when they were last known to
        live, microseconds since 1970."""
        self._heard_us = last_us
        for uuid in restore(self._set, records, last_us):
            self._doubts.about(uuid)
        if records and (offset := utc_offset(records[0].created_time, records[0].created_us)) is not None:
            self.offset = offset

    def forget(self) -> None:
        """Nothing is known any more: another run of the switch has begun, or it has been away for too long. The calls
        are gone, but not ended: when and why they did, the switch has not said and never will."""
        self._set.clear()
        self._rounds = Rounds()
        self._doubts = Doubts()
        self._look_again.clear()
        self._created.clear()

    def compare(self, listed: Mapping[str, str], now: float) -> None:
        """Hold a list of the switch's channels (uuid -> `created`) against the table. It inserts nothing and deletes
        nothing: what it names and the table does not know is doubted, and so is what this connection has not told of.
        """
        self._created = {uuid: listed[uuid] for uuid in self._doubts.compare(listed, self._channels, now)}
        for channel in self._channels.values():
            if channel.epoch != self._epoch or channel.uuid not in listed:
                self._doubts.about(channel.uuid)

    def review(self, now: float) -> None:
        """Doubt the channels whose turn it is."""
        for uuid in self._rounds.take(self._channels, now):
            self._doubts.about(uuid)

    def absent(self, uuid: str, now: float) -> None:
        """A probe said that the switch has no such channel: proof that it is gone, or about to."""
        channel = self._channels.get(uuid)
        if channel is None:
            self._doubts.not_found(uuid, now)
            self._set.orphan(uuid)
        elif channel.epoch == self._epoch and now < (until := self._doubts.missing(uuid, now)):
            self._doubts.answered(uuid)
            self._look_again[uuid] = until
        else:
            self._doubts.correct(uuid, "gone")
            self._remove(channel, now)

    def unanswered(self, uuid: str) -> None:
        """A probe brought nothing that says whether the channel lives. It proves nothing; the next doubt asks again."""
        self._doubts.answered(uuid)

    def settle(self, now: float) -> None:
        """Do what time alone brings."""
        self._set.settle(now)
        for uuid in [uuid for uuid, due in self._look_again.items() if due <= now]:
            del self._look_again[uuid]
            self._doubts.about(uuid)
            if self._channels[uuid].watching:
                self._look_again[uuid] = now + LOOK_AT_MONITORS

    def next_deadline(self) -> float | None:
        """When `settle` has something to do, on the clock of `now`; None while it has not."""
        deadlines = [self._set.next_deadline(), min(self._look_again.values(), default=None)]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # What comes out.

    def take_probes(self) -> list[str]:
        """The channels that the switch is to be asked about now, with `uuid_dump UUID json`. The answer goes to
        `apply`, "No such channel" to `absent`, and no answer at all to `unanswered`."""
        return self._doubts.take()

    def take_corrections(self) -> list[tuple[str, Found]]:
        """What probes have found since the last call that no event had said: the channel, and what was found."""
        return self._doubts.take_corrections()

    @property
    def zombies(self) -> int:
        """How many channels the switch's last list named that are none: rows that stay for ever."""
        return len(self._doubts.zombies)

    def take_changes(self) -> Changes | None:
        """What has changed since the last call; None if nothing has."""
        calls, updated = self._set.calls, []
        for call in self._set.dirty:
            call.dirty = False
            if calls.get(call.id) is call:
                record = make_record(call, self.switch, self._shared_contexts, self._set.watchers, self.offset)
                if record != call.record:
                    call.record = record
                    updated.append(record)
        gone, ended = self._set.gone, []
        for call, last, us in self._set.ended:
            ended.append(make_ended(call, last, us, self._shared_contexts, self.offset))
        self._set.dirty, self._set.gone, self._set.ended = [], [], []
        return Changes(updated, gone, ended) if updated or gone or ended else None

    def records(self) -> list[Record]:
        """Every call as it was last published."""
        return [call.record for call in self._set.calls.values() if call.record is not None]

    # Events that are of no channel.

    def _on_switch(self, event: Event, now: float) -> None:
        if event.name == "HEARTBEAT":
            if event.session_count.isdecimal():
                self.census.count(int(event.session_count), len(self._channels))
        elif event.name == "SHUTDOWN":
            self.shut_down_at = now

    # Events of channels that are not known.

    def _meet(self, event: Event, now: float) -> None:
        name, uuid = event.name, event.uuid
        if name == "CHANNEL_UUID" and (channel := self._channels.get(event.old_uuid)):
            self._doubts.bury(channel.uuid, now, event.sequence)
            due = self._look_again.pop(channel.uuid, None)
            if due is not None:
                self._look_again[uuid] = due
            self._set.rename(channel, uuid)
            self._on_any(channel, event, now)
        elif name == "CHANNEL_CREATE":
            if event.sequence > self._doubts.last_words(uuid, now):
                # Whoever makes a channel may give it the uuid of an earlier one.
                self._welcome(event, now)
        elif self._doubts.is_dead(uuid, now):
            return
        elif name == "CHANNEL_DATA":
            if event.sequence > self._doubts.floor(uuid):
                self._doubts.correct(uuid, "alive")
                self._welcome(event, now)
            else:
                self._doubts.again(uuid)
        elif name == "CHANNEL_DESTROY":
            self._doubts.bury(uuid, now, event.sequence)
        elif INIT < event.state_number < HANGUP:
            self._doubts.about(uuid, event.sequence)

    def _welcome(self, event: Event, now: float) -> None:
        self.offset = utc_offset(event.date_local, event.timestamp) or 0
        self._doubts.answered(event.uuid)
        channel = Channel(event, self._created.pop(event.uuid, ""))
        channel.epoch = self._epoch
        channel.origin_uuid = origin = self._set.known(channel.origin_uuid)
        self._set.add(channel, event.variables.bridge_to if event.name == "CHANNEL_DATA" else "", now)
        self._look_for_monitor(channel, event, now)
        if origin and origin not in self._channels:
            if self._doubts.is_dead(origin, now):
                self._set.orphan(origin)
            else:
                self._doubts.about(origin)

    # Events of channels that are known.

    def _on_any(self, channel: Channel, event: Event, now: float) -> None:  # noqa: ARG002
        channel.take(event)
        self._set.note(channel)

    def _on_state(self, channel: Channel, event: Event, now: float) -> None:
        channel.take(event)
        number = event.state_number
        if number == ROUTING and channel.watching and (channel.inbound or channel.answered_us):
            # One that was called passes through here before it answers, with the number that was called.
            application, _, target = channel.destination.partition(":")
            if application not in MONITOR_APPLICATIONS:
                self._set.unwatch(channel, now)
            elif target != channel.watching:
                self._watch(channel, target, now)
        elif number == EXECUTE and channel.watching:
            # In which mode it listens from now on, no event says.
            self._doubts.about(channel.uuid, event.sequence)
        elif number == EXECUTE and not channel.inbound and not channel.origin_uuid:
            self._look_again[channel.uuid] = now + LOOK_AGAIN_AFTER
        self._set.note(channel)

    def _on_update(self, channel: Channel, event: Event, now: float) -> None:
        channel.take(event)
        self._look_for_monitor(channel, event, now)
        peer = event.variables.bridge_to
        if peer and peer not in channel.peers and not channel.hungup:
            self._set.talk(channel.uuid, peer, now)
        self._set.note(channel)

    def _on_bridge(self, channel: Channel, event: Event, now: float) -> None:
        channel.take(event)
        if channel.watching:
            self._set.unwatch(channel, now)
        if event.bridge_a_uuid and event.bridge_b_uuid:
            self._set.talk(event.bridge_a_uuid, event.bridge_b_uuid, now)
        self._set.note(channel)

    def _on_unbridge(self, channel: Channel, event: Event, now: float) -> None:
        channel.take(event)
        self._set.part(event.bridge_a_uuid, event.bridge_b_uuid, now)
        self._set.note(channel)

    def _on_destroy(self, channel: Channel, event: Event, now: float) -> None:
        channel.take(event)
        self._remove(channel, now)

    def _on_dump(self, channel: Channel, event: Event, now: float) -> None:
        if event.sequence <= channel.sequence:
            self._doubts.again(channel.uuid)
            return
        suspect = self._doubts.found(channel.uuid)
        peer = event.variables.bridge_to
        talks: tuple[str, ...] = (peer,) if peer else ()
        if channel.epoch == self._epoch and (channel.differs(event) or channel.peers != talks):
            if suspect != channel.sequence:
                self._doubts.suspect(channel.uuid, event.sequence)
                self._look_again[channel.uuid] = now + CONFIRM_AFTER
                talks = channel.peers
            else:
                self._doubts.correct(channel.uuid, "changed")
                channel.catch_up(event)
        elif channel.is_restored:
            channel.renew(event)
            channel.epoch = self._epoch
            self._set.renew(channel, now)
        elif channel.epoch != self._epoch:
            channel.epoch = self._epoch
            channel.catch_up(event)
        channel.take(event)
        for uuid in [uuid for uuid in channel.peers if uuid not in talks]:
            self._set.part(channel.uuid, uuid, now)
        for uuid in [uuid for uuid in talks if uuid not in channel.peers]:
            self._set.talk(channel.uuid, uuid, now)
        self._look_for_monitor(channel, event, now)
        self._set.note(channel)

    def _look_for_monitor(self, channel: Channel, event: Event, now: float) -> None:
        said = event.variables
        # One that is bridged away still has the application for its last one.
        if channel.application in MONITOR_APPLICATIONS and not said.bridge_to:
            target = channel.application_data.split(" ", 1)[0]
            if target != channel.watching and not channel.hungup:
                self._watch(channel, target, now)
        elif said.watches and not channel.application and not said.bridge_to:
            # A supervisor whose phone still rings says whom it is for.
            if said.watches != channel.watching and not channel.hungup:
                self._watch(channel, said.watches, now)
        elif channel.watching and said.uuid:
            self._set.unwatch(channel, now)

    def _watch(self, channel: Channel, target: str, now: float) -> None:
        self._set.watch(channel, target, now)
        self._look_again[channel.uuid] = now + LOOK_AT_MONITORS

    def _remove(self, channel: Channel, now: float) -> None:
        self._look_again.pop(channel.uuid, None)
        self._doubts.bury(channel.uuid, now, channel.sequence)
        for monitor in self._set.watchers.get(channel.uuid, ()):
            if monitor is not channel:
                self._look_again[monitor.uuid] = now + LOOK_AGAIN_AFTER
        self._set.remove(channel, now, self._heard_us)
