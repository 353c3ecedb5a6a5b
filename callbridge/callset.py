"""Which channels form which call.

Four ties hold channels together:

- *origin*: a channel was made for another and has not talked to anyone yet (a ringing leg, a queue's agent);
- *peers*: two channels talk (CHANNEL_BRIDGE until CHANNEL_UNBRIDGE);
- *loopback*: two channels are the ends of one loopback pair;
- *watching*: a channel eavesdrops on another; it is a monitor of that one's call and has no call of its own.

Besides, the phones that callbridge rings for one placed call are one call, under the id that was given to it, until one
of them talks.

A tie joins two calls at once: the older one keeps its id, and the younger one's finds it from then on. A tie that ends
splits a call only when both parts have lived apart for `SPLIT_AFTER`: every transfer, every park and every attended
transfer takes a call apart for some milliseconds before it puts it together again.
"""

from collections.abc import Iterable
from typing import Final

from callbridge.calls import OTHER_SIDE, Call, Channel

SPLIT_AFTER: Final = 0.5
"""Seconds that the parts of a call live apart before they are two calls. A transfer takes 20 to 60 ms (measured)."""

MAX_CAUSES: Final = 8
"""Legs that have left a call of which it keeps why, the latest."""

MAX_OTHER_IDS: Final = 64
"""Earlier ids that a call keeps, the newest: a call that waits in a queue for an hour is offered to many agents."""


class CallSet:
    """The channels of one switch, grouped into calls.

    `dirty` are the calls to look at again, `gone` those that were shown and are no more (joined to another, turned into
    a monitor, ended), `ended` the ended ones with the channel that was the last, and when.
    """

    def __init__(self) -> None:
        self.channels: dict[str, Channel] = {}
        self.calls: dict[str, Call] = {}
        self.watchers: dict[str, list[Channel]] = {}
        """uuid of a watched channel -> the channels that eavesdrop on it."""
        self.dirty: list[Call] = []
        self.gone: list[str] = []
        self.ended: list[tuple[Call, Channel, int]] = []
        self._awaited: dict[str, set[str]] = {}
        """uuid of a channel that is not known yet -> the channels that are tied to it."""
        self._loose: dict[Call, float] = {}

    def __repr__(self) -> str:
        return f"<CallSet {len(self.calls)} calls, {len(self.channels)} channels>"

    def next_deadline(self) -> float | None:
        """When `settle` has something to do; None while it has not."""
        return min(self._loose.values(), default=None)

    def known(self, uuid: str) -> str:
        """The same uuid, as the very string that its channel holds: a call would keep it four times."""
        channel = self.channels.get(uuid)
        return uuid if channel is None else channel.uuid

    def note(self, channel: Channel) -> None:
        """Something about `channel` has changed."""
        call = channel.call
        if call is not None:
            lead = call.lead
            # A phone of several that is busy stays in the switch until another one answers (measured).
            if lead.hungup and (lead.given_id or not channel.hungup):
                call.choose_lead()
            elif channel.answered_us and not lead.answered_us and channel.given_id == lead.given_id != "":
                call.lead = channel
            self._mark(call)
        elif channel.watching and (watched := self.channels.get(channel.watching)) and watched.call:
            self._mark(watched.call)

    def add(self, channel: Channel, peer_uuid: str, now: float) -> None:
        """Take in a new channel: alone, or in the call that its ties lead to. `peer_uuid`: whom it talks to, or ""."""
        self.channels[channel.uuid] = channel
        self._enter(channel)
        for uuid in (channel.origin_uuid, channel.loopback_uuid):
            if uuid and uuid != channel.uuid:
                self._tie(channel, uuid, now)
        if peer_uuid:
            self.talk(channel.uuid, peer_uuid, now)
        for uuid in self._awaited.pop(channel.uuid, ()):
            other = self.channels[uuid]
            if channel.uuid in other.peers:
                # The very string that this channel holds from now on (`known`).
                other.peers = (*_without(other.peers, channel.uuid), channel.uuid)
                self.talk(uuid, channel.uuid, now)
            elif channel.uuid == other.loopback_uuid or not other.has_bridged:
                self._join(channel, other, now)

    def restore(self, call: Call, monitors: Iterable[Channel]) -> None:
        """Take in a whole call, as it was published, and who listens to it."""
        self.calls[call.id] = call
        for channel in (*call.legs, *monitors):
            self.channels[channel.uuid] = channel
            if channel.watching:
                self.watchers.setdefault(channel.watching, []).append(channel)

    def renew(self, channel: Channel, now: float) -> None:
        """A restored channel says for the first time what it is tied to. What is not there is not waited for: it would
        be an earlier id (`orphan`), and the one that was published is a promise."""
        for uuid in (channel.origin_uuid, channel.loopback_uuid):
            if uuid != channel.uuid and uuid in self.channels:
                self._tie(channel, uuid, now)
        if channel.call is not None:
            self._loosen(channel.call, now)

    def orphan(self, uuid: str) -> None:
        """The channel `uuid` lives no more, and nothing is known of the call that it began. What it made goes on, and
        that call is found under the uuid. It also has it for an id: nearly always the called leg, parked or
        transferred, is all that is left of the call. (Of a called leg that `uuid_transfer -both` made a call of its own
        the switch tells nothing else.)
        """
        for waiting in list(self._awaited.get(uuid, ())):
            channel = self.channels[waiting]
            call = channel.call
            if call is None or channel.origin_uuid != uuid:
                continue
            self._await_no_more(uuid, waiting)
            self._keep_id(call, uuid)
            if call.id == waiting and uuid not in self.calls:
                self._close(call)
                call.id, call.record = uuid, None
                call.other_ids = _without(call.other_ids, uuid)
                self._settle_in(call)

    def talk(self, a_uuid: str, b_uuid: str, now: float) -> None:
        """Two channels are bridged. One of them may be unknown yet."""
        a, b = self.channels.get(a_uuid), self.channels.get(b_uuid)
        for channel, uuid, other in ((a, b_uuid, b), (b, a_uuid, a)):
            if channel is not None:
                channel.has_bridged = True
                if uuid not in channel.peers:
                    channel.peers += (self.known(uuid),)
                if other is None:
                    self._awaited.setdefault(uuid, set()).add(channel.uuid)
        if a is not None and b is not None and a.call is not None and b.call is not None:
            if a.call is b.call and a.side == b.side:
                later = a if a.created_us > b.created_us else b
                later.side = OTHER_SIDE[later.side]
            self._join(a, b, now)

    def part(self, a_uuid: str, b_uuid: str, now: float) -> None:
        """Two channels are bridged no longer."""
        for uuid, other in ((a_uuid, b_uuid), (b_uuid, a_uuid)):
            channel = self.channels.get(uuid)
            if channel is not None and other in channel.peers:
                channel.peers = _without(channel.peers, other)
                self._await_no_more(other, uuid)
                if channel.call is not None:
                    self._loosen(channel.call, now)

    def watch(self, channel: Channel, target_uuid: str, now: float) -> None:
        """`channel` eavesdrops on `target_uuid`: it leaves its call and is a monitor from now on."""
        self._stop_watching(channel)
        if channel.call is not None:
            self._leave(channel, now)
        channel.watching = target_uuid
        self.watchers.setdefault(target_uuid, []).append(channel)
        self.note(channel)

    def unwatch(self, channel: Channel, now: float) -> None:
        """`channel` has stopped eavesdropping and goes on as a call of its own, or with whom it talks to by now."""
        self._stop_watching(channel)
        self._enter(channel)
        for peer in channel.peers:
            self.talk(channel.uuid, peer, now)

    def rename(self, channel: Channel, uuid: str) -> None:
        """The switch gave the channel another uuid. Its call keeps its id, and the old uuid still finds it."""
        old = channel.uuid
        del self.channels[old]
        channel.uuid = uuid
        self.channels[uuid] = channel
        for other in self.channels.values():
            other.peers = tuple([uuid if peer == old else peer for peer in other.peers])
            other.origin_uuid = uuid if other.origin_uuid == old else other.origin_uuid
            other.loopback_uuid = uuid if other.loopback_uuid == old else other.loopback_uuid
            other.watching = uuid if other.watching == old else other.watching
        if old in self.watchers:
            self.watchers[uuid] = self.watchers.pop(old)
        for awaited, waiting in self._awaited.items():
            self._awaited[awaited] = {uuid if name == old else name for name in waiting}
        if channel.call is not None:
            self._keep_id(channel.call, old)
        self.note(channel)

    def remove(self, channel: Channel, now: float, us: int) -> None:
        """The channel is gone, since that many microseconds after 1970."""
        uuid = channel.uuid
        del self.channels[uuid]
        self._stop_watching(channel)
        for tied in (channel.origin_uuid, channel.loopback_uuid, *channel.peers):
            self._await_no_more(tied, uuid)
        for peer in channel.peers:
            if (other := self.channels.get(peer)) is not None and uuid in other.peers:
                other.peers = _without(other.peers, uuid)
        call = channel.call
        if call is None:
            return
        if len(call.legs) == 1:
            # Nor does it lead to the call that leads to it: a circle would stay until all objects are looked through.
            channel.call = None
            self._close(call)
            self.ended.append((call, channel, us))
            return
        self._leave(channel, now)
        if channel.has_bridged:
            self._keep_id(call, uuid)
        call.causes = (*call.causes, (uuid, channel.cause))[-MAX_CAUSES:]

    def clear(self) -> None:
        """Nothing is known any more. The calls are gone; that they have ended nobody has said."""
        self.gone += [call.id for call in self.calls.values() if call.record is not None]
        for kept in (self.channels, self.calls, self.watchers, self._awaited, self._loose):
            kept.clear()
        self.dirty.clear()

    def settle(self, now: float) -> None:
        """Split the calls whose parts have lived apart for `SPLIT_AFTER`."""
        for call in [call for call, due in self._loose.items() if due <= now]:
            del self._loose[call]
            self._split(call)

    # Calls.

    def mark_all(self) -> None:
        """Every call is to be looked at again."""
        for call in self.calls.values():
            self._mark(call)

    def _mark(self, call: Call) -> None:
        if not call.dirty:
            call.dirty = True
            self.dirty.append(call)

    def _enter(self, channel: Channel) -> None:
        """Into the call of the phones that are rung with it; else it begins one."""
        call = self.calls.get(channel.given_id)
        if call is None:
            self._open(channel, channel.given_id or channel.uuid)
            return
        channel.call = call
        channel.home_id = call.id
        call.legs = sorted([*call.legs, channel], key=lambda leg: leg.age_key)
        self._mark(call)

    def _open(self, channel: Channel, call_id: str) -> Call:
        while call_id in self.calls:
            # The call that it began goes on without it, under this id, which is a promise to whoever has seen it. So
            # this one gets another; by its uuid the older call is found, as long as that one lives.
            call_id += "+"
        call = channel.call = Call(channel, call_id)
        self._settle_in(call)
        return call

    def _settle_in(self, call: Call) -> None:
        """The call has a new id."""
        self.calls[call.id] = call
        for leg in call.legs:
            leg.home_id = call.id
        self._mark(call)

    def _close(self, call: Call) -> None:
        del self.calls[call.id]
        self._loose.pop(call, None)
        if call.record is not None:
            self.gone.append(call.id)

    def _leave(self, channel: Channel, now: float) -> None:
        """Take a living channel out of its call."""
        call = channel.call
        assert call is not None
        channel.call = None
        if len(call.legs) == 1:
            self._close(call)
            return
        call.legs.remove(channel)
        if call.lead is channel:
            call.choose_lead()
        self._loosen(call, now)
        self._mark(call)

    def _keep_id(self, call: Call, uuid: str) -> None:
        if uuid != call.id and uuid not in call.other_ids:
            call.other_ids = (*call.other_ids, uuid)[-MAX_OTHER_IDS:]

    # Ties.

    def _tie(self, channel: Channel, uuid: str, now: float) -> None:
        other = self.channels.get(uuid)
        if other is None:
            self._awaited.setdefault(uuid, set()).add(channel.uuid)
        elif uuid == channel.loopback_uuid or not channel.has_bridged:
            self._join(other, channel, now)

    def _await_no_more(self, awaited: str, uuid: str) -> None:
        waiting = self._awaited.get(awaited)
        if waiting is not None:
            waiting.discard(uuid)
            if not waiting:
                del self._awaited[awaited]

    def _join(self, a: Channel, b: Channel, now: float) -> None:
        if a.call is None or b.call is None or a.call is b.call:
            return
        older, younger = (a.call, b.call) if a.call.age_key <= b.call.age_key else (b.call, a.call)
        stays, comes = (a, b) if a.call is older else (b, a)
        comes.side = OTHER_SIDE[stays.side]
        self._close(younger)
        for leg in younger.legs:
            leg.call = older
            if younger.record is None:
                leg.home_id = older.id
        older.legs = sorted(older.legs + younger.legs, key=lambda leg: leg.age_key)
        older.causes = (*older.causes, *younger.causes)[-MAX_CAUSES:]
        for uuid in younger.other_ids:
            self._keep_id(older, uuid)
        if younger.record is not None:
            # Somebody may have seen it under this id.
            self._keep_id(older, younger.id)
        if older.lead.hungup or (older.lead.is_virtual and older.lead.origin_uuid):
            older.choose_lead()
        if len(older.legs) > 2:
            self._loosen(older, now)
        self._mark(older)

    def _loosen(self, call: Call, now: float) -> None:
        if len(call.legs) > 1:
            self._loose[call] = now + SPLIT_AFTER

    def _split(self, call: Call) -> None:
        for part in self._parts(call):
            if call.lead in part or all(leg.is_virtual for leg in part):
                continue
            call.legs = [leg for leg in call.legs if leg not in part]
            self._part_from(call, part)

    def _part_from(self, call: Call, part: list[Channel]) -> None:
        """A part of the call is a call of its own: again the one that was joined to this, where it has a leg of it."""
        first, *others = part
        call_id = next((leg.home_id for leg in part if leg.home_id in call.other_ids), first.uuid)
        call.other_ids = _without(_without(call.other_ids, first.uuid), call_id)
        new = self._open(first, call_id)
        new.legs = part
        for leg in others:
            leg.call = new
            leg.home_id = new.id
        self._mark(call)

    def _parts(self, call: Call) -> list[list[Channel]]:
        """The legs that are not on their way out, grouped by the ties they have now; each group oldest first."""
        left = {leg.uuid: leg for leg in call.legs if not leg.hungup}
        if call.lead.hungup and left:
            call.choose_lead()
            self._mark(call)
        near: dict[str, set[str]] = {uuid: set() for uuid in left}
        rung: dict[str, str] = {}
        for leg in left.values():
            tied = [leg.loopback_uuid, *leg.peers]
            if not leg.has_bridged:
                tied.append(leg.origin_uuid)
                if leg.given_id:
                    tied.append(rung.setdefault(leg.given_id, leg.uuid))
            for uuid in tied:
                if uuid in left:
                    near[leg.uuid].add(uuid)
                    near[uuid].add(leg.uuid)
        parts = []
        while left:
            reached, frontier = set[str](), [next(iter(left))]
            while frontier:
                uuid = frontier.pop()
                if uuid not in reached:
                    reached.add(uuid)
                    frontier.extend(near[uuid])
            parts.append([left.pop(uuid) for uuid in list(left) if uuid in reached])
        return parts

    def _stop_watching(self, channel: Channel) -> None:
        if not channel.watching:
            return
        watchers = self.watchers[channel.watching]
        watchers.remove(channel)
        if not watchers:
            del self.watchers[channel.watching]
        self.note(channel)
        channel.watching = ""


def _without(uuids: tuple[str, ...], uuid: str) -> tuple[str, ...]:
    return tuple([other for other in uuids if other != uuid])
