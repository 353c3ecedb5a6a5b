"""The calls of a simulated switch: what happens on them, event by event, in the order in which a real switch tells it.

A call is a generator of seconds to wait; in between it fires events. The orders are those of the recordings, and a test
holds them to it.
"""

import random
from collections.abc import Generator
from typing import Final

import msgspec

from callbridge.simulator.channel import STATES, Channel
from callbridge.simulator.switch import Switch
from callbridge.simulator.variables import put, unset

Steps = Generator[float, None, None]
"""Seconds until the next step."""

KINDS: Final = ("outbound", "inbound", "local", "busy", "cancelled", "hold")

SETUP: Final = 0.02
"""Seconds between the switch's own steps: one step of its clock."""

_TIMES: Final = ("created", "answered", "progress", "bridged")
"""What need not have happened before a call is hung up."""


class Parties(msgspec.Struct, frozen=True):
    """Who calls whom. `dialled` is what the caller dialled, `destination` where the dialplan led it."""

    domain: str
    caller_number: str
    caller_name: str
    dialled: str
    destination: str


def parties(kind: str, domain: str, chance: random.Random) -> Parties:
    """A pair of parties by chance, as it belongs to that kind of call."""
    extension, colleague = (str(number) for number in chance.sample(range(101, 200), 2))
    mobile = f"0{chance.randrange(900_000_000, 999_999_999)}"
    if kind == "inbound":
        return Parties(domain, mobile, mobile, f"0212345678{extension}", extension)
    if kind == "local":
        return Parties(domain, extension, f"Agent {extension}", colleague, colleague)
    return Parties(domain, extension, f"Agent {extension}", mobile, mobile)


class Call:
    """One call and its two legs. `run` is the call from beginning to end; `hang_up` ends it wherever it is."""

    def __init__(
        self,
        switch: Switch,
        kind: str,
        who: Parties,
        *,
        ring: float = 0.3,
        talk: float = 1.0,
        caller_hangs_up: bool = True,
    ) -> None:
        self.switch = switch
        self.kind = kind
        self.who = who
        self.ring = ring
        self.talk = talk
        self.caller_hangs_up = caller_hangs_up
        self.a = self._caller()
        self.b: Channel | None = None
        self.bridged = False
        self._execution = ""

    def __repr__(self) -> str:
        return f"<Call {self.kind} {self.who.caller_number} to {self.who.destination}>"

    def run(self) -> Steps:
        """The whole call."""
        yield from self._arrive()
        b = yield from self._dial()
        if self.kind == "busy":
            yield SETUP
            yield from self._fail(b)
            return
        yield from self._progress(b)
        yield self.ring
        if self.kind == "cancelled":
            self.caller_hangs_up = True
            yield from self.hang_up("ORIGINATOR_CANCEL")
            return
        yield from self._answer(b)
        if self.kind == "hold":
            yield self.talk / 3
            self._hold()
            yield self.talk / 3
            self._unhold()
            yield self.talk / 3
        else:
            yield self.talk
        yield from self.hang_up("NORMAL_CLEARING")

    # The beginning.

    def _caller(self) -> Channel:
        who, outside = self.who, self.kind == "inbound"
        uuid = self.switch.new_uuid()
        host = "external" if outside else "internal"
        name = f"sofia/{host}/{who.caller_number}@{'127.0.0.1' if outside else who.domain}"
        profile = {
            "Direction": "inbound",
            "Logical-Direction": "inbound",
            "Username": who.caller_number,
            "Dialplan": "XML",
            "Caller-ID-Name": who.caller_name,
            "Caller-ID-Number": who.caller_number,
            "Orig-Caller-ID-Name": who.caller_name,
            "Orig-Caller-ID-Number": who.caller_number,
            "Callee-ID-Name": "",
            "Callee-ID-Number": "",
            "Network-Addr": "127.0.0.1",
            "ANI": who.caller_number,
            "Destination-Number": who.dialled,
            "Unique-ID": uuid,
            "Source": "mod_sofia",
            "Context": "public" if outside else who.domain,
            "Channel-Name": name,
        }
        return self._channel("a", uuid, name, profile)

    def _channel(self, side: str, uuid: str, name: str, profile: dict[str, str]) -> Channel:
        parameters = {
            **msgspec.structs.asdict(self.who),
            "uuid": uuid,
            "other_uuid": self.a.uuid if side == "b" else "",
            "core_uuid": self.switch.core_uuid,
            "sip_id": uuid[::-1],
            "duration": "0",
            "billsec": "0",
            **{f"{time}_{unit}": "0" for time in _TIMES for unit in ("us", "s", "stamp")},
        }
        channel = Channel(uuid, f"{self.kind}.{side}", name, profile, parameters)
        self.switch.channels[uuid] = channel
        self.switch.started += 1
        return channel

    def _begin(self, channel: Channel) -> None:
        us = self.switch.now_us()
        channel.mark("Profile-Created", us)
        channel.mark("Channel-Created", us)

    def _take_codec(self, channel: Channel) -> None:
        channel.codec = True
        channel.changed()
        read = [("channel-read-codec-name", "PCMU"), ("channel-read-codec-rate", "8000")]
        self.switch.fire(channel, "CODEC", middle=[*read, ("channel-read-codec-bit-rate", "64000")])
        write = [("Channel-Write-Codec-Name", "PCMU"), ("Channel-Write-Codec-Rate", "8000")]
        self.switch.fire(channel, "CODEC", middle=[*write, ("Channel-Write-codec-bit-rate", "64000")])

    def _arrive(self) -> Steps:
        """The caller's INVITE, up to the end of the dialplan's settings."""
        switch, a, who = self.switch, self.a, self.who
        switch.enter(a, "NEW")
        yield SETUP
        self._begin(a)
        self._take_codec(a)
        switch.enter(a, "INIT")
        a.number = STATES["ROUTING"]
        switch.fire(a, "CHANNEL_CREATE")
        a.state = "ROUTING"
        switch.call_state(a, "RINGING")
        switch.enter(a, "ROUTING")
        switch.enter(a, "EXECUTE")
        if self.kind == "inbound":
            self._execute("export", "call_direction=inbound")
            self._execute("set", f"domain_name={who.domain}")
            self._execute("transfer", f"{who.destination} XML {who.domain}")
            switch.enter(a, "ROUTING")
            switch.enter(a, "EXECUTE")
        else:
            self._execute("export", "call_direction=local")
            if self.kind != "local":
                self._execute("export", "call_direction=outbound")
        self._execute("set", f"domain_name={who.domain}")
        self._execute("set", "hangup_after_bridge=true")
        if self._to_phone:
            self._execute("set", "continue_on_fail=false")

    def _execute(self, application: str, data: str, *, leg: Channel | None = None, ends: bool = True) -> None:
        """One application, on the calling leg unless another is named; `ends`: at once."""
        leg = leg or self.a
        execution = self.switch.new_uuid()
        headers = [("Application", application), ("Application-Data", data)]
        self.switch.fire(leg, "CHANNEL_EXECUTE", after=[*headers, ("Application-UUID", execution)])
        if application == "transfer":
            destination, _, context = data.split(" ")
            source = f"{self.switch.now_us() // 1_000_000}:{execution}:bl_xfer:{destination}/{context}/XML"
            leg.profile.transfer(destination, context, source)
            leg.changed()
            leg.number = STATES["ROUTING"]
        if ends:
            done = [*headers, ("Application-Response", "_none_"), ("Application-UUID", execution)]
            self.switch.fire(leg, "CHANNEL_EXECUTE_COMPLETE", after=done)
        else:
            self._execution = execution

    @property
    def _to_phone(self) -> bool:
        return self.kind in ("inbound", "local")

    @property
    def _bridge_data(self) -> str:
        who = self.who
        return f"user/{who.destination}@{who.domain}" if self._to_phone else f"sofia/gateway/pstn/{who.destination}"

    def _dial(self) -> Generator[float, None, Channel]:
        """The called leg comes to life."""
        switch, a = self.switch, self.a
        self._execute("bridge", self._bridge_data, ends=False)
        b = self.b = self._callee()
        a.parameter("other_uuid", b.uuid)
        b.meet("originator", a)
        b.state, b.number = "NONE", STATES["INIT"]
        switch.fire(b, "CHANNEL_OUTGOING")
        if self._to_phone:
            b.presence_id = f"{self.who.destination}@{self.who.domain}"
        b.call_uuid = a.uuid
        b.state = "INIT"
        switch.fire(b, "CHANNEL_STATE")
        b.number = STATES["ROUTING"]
        switch.fire(b, "CHANNEL_CREATE")
        yield SETUP
        switch.fire(b, "CHANNEL_ORIGINATE")
        switch.enter(b, "ROUTING")
        switch.enter(b, "CONSUME_MEDIA")
        return b

    def _callee(self) -> Channel:
        who = self.who
        uuid = self.switch.new_uuid()
        phone, trunk = f"sofia/internal/{who.destination}@127.0.0.1:16060", f"sofia/external/{who.destination}"
        name = phone if self._to_phone else trunk
        inherited = {name: value for name, value in self.a.profile.values.items() if name != "Transfer-Source"}
        profile = inherited | {
            "Direction": "outbound",
            "Logical-Direction": "outbound",
            "Callee-ID-Name": "Outbound Call",
            "Callee-ID-Number": who.destination,
            "Destination-Number": who.destination,
            "Unique-ID": uuid,
            "Channel-Name": name,
        }
        channel = self._channel("b", uuid, name, profile)
        self._begin(channel)
        return channel

    # The middle.

    def _progress(self, b: Channel) -> Steps:
        """The called phone rings."""
        switch, a, number = self.switch, self.a, self.who.destination
        us = switch.now_us()
        b.profile.values["Callee-ID-Name"] = number
        b.mark("Channel-Progress", us)
        b.meet("originator", a, {"Channel-Progress": us})
        switch.fire(b, "CHANNEL_PROGRESS")
        switch.call_state(b, "RINGING")
        yield SETUP
        a.profile.values |= {"Callee-ID-Name": number, "Callee-ID-Number": number}
        a.mark("Channel-Progress", us)
        switch.fire(a, "CHANNEL_PROGRESS")

    def _answer(self, b: Channel) -> Steps:
        """The called phone answers, and the two talk."""
        switch, a = self.switch, self.a
        self._take_codec(b)
        self._pick_up(b)
        yield SETUP
        self._pick_up(a)
        us = switch.now_us()
        a.mark("Channel-Bridged", us)
        a.meet("originatee", b, b.profile.times)
        self.bridged = True
        a.set(put(("signal_bond", "{{other_uuid}}")))
        if self._to_phone:
            # The channel of `user/…` tells of the one that it stood for once more.
            b.meet("originator", a)
            switch.fire(b, "CHANNEL_OUTGOING")
        ends = [("Bridge-A-Unique-ID", a.uuid), ("Bridge-B-Unique-ID", b.uuid)]
        switch.fire(a, "CHANNEL_BRIDGE", before=ends)
        b.mark("Channel-Bridged", us)
        switch.enter(b, "EXCHANGE_MEDIA")
        for leg, other in ((b, a), (a, b)):
            leg.set(put(("bridge_to", "{{other_uuid}}")))
            self._update(leg, other)
        yield SETUP

    def _pick_up(self, leg: Channel) -> None:
        leg.answer = "answered"
        leg.mark("Channel-Answered", self.switch.now_us())
        self.switch.fire(leg, "CHANNEL_ANSWER")
        self.switch.call_state(leg, "ACTIVE")

    def _update(self, leg: Channel, other: Channel) -> None:
        who = self.who
        name, number = (who.caller_name, who.caller_number) if leg is self.b else (who.destination,) * 2
        sent = [("Sent-Callee-ID-Name", name), ("Sent-Callee-ID-Number", number)]
        self.switch.fire(leg, "CALL_UPDATE", before=[("Direction", "SEND"), *sent, ("Bridged-To", other.uuid)])

    def _hold(self) -> None:
        a = self.a
        self.switch.call_state(a, "HELD")
        a.profile.last_hold_us = self.switch.now_us()
        a.changed()
        self.switch.fire(a, "CHANNEL_HOLD")
        self._execute("playback", "local_stream://moh", leg=self.b)

    def _unhold(self) -> None:
        a = self.a
        self.switch.call_state(a, "UNHELD")
        a.profile.hold_us += self.switch.now_us() - a.profile.last_hold_us
        a.changed()
        self.switch.fire(a, "CHANNEL_UNHOLD")
        self.switch.call_state(a, "ACTIVE")

    # The end.

    def _fail(self, b: Channel) -> Steps:
        """The called side refuses."""
        switch, a = self.switch, self.a
        for leg in (b, a):
            self._mark_hangup(leg, "USER_BUSY")
        self._finish(b)
        switch.destroy(b)
        yield SETUP
        self._end_bridge()
        self._finish(a)
        switch.destroy(a)

    def hang_up(self, cause: str) -> Steps:
        """Both legs end, the one that hangs up first; a caller who is left is let go of before it ends."""
        switch, a, b = self.switch, self.a, self.b
        if b is None:
            self._mark_hangup(a, cause)
            self._finish(a)
            switch.destroy(a)
            return
        if self.caller_hangs_up:
            self._mark_hangup(a, cause)
            yield SETUP
        self._mark_hangup(b, cause)
        switch.enter(b, "HANGUP")
        self._hung_up(b)
        if self.bridged:
            for leg in (a, b):
                leg.set(unset("bridge_to"))
            ends = [("Bridge-A-Unique-ID", a.uuid), ("Bridge-B-Unique-ID", b.uuid)]
            switch.fire(a, "CHANNEL_UNBRIDGE", before=ends)
            b.call_uuid = b.uuid
        self._mark_hangup(a, cause)
        switch.enter(b, "REPORTING")
        self._end_bridge()
        self._complete(b)
        switch.enter(a, "HANGUP")
        switch.destroy(b)
        self._hung_up(a)
        switch.enter(a, "REPORTING")
        self._complete(a)
        switch.destroy(a)

    def _mark_hangup(self, leg: Channel, cause: str) -> None:
        if leg.dead:
            return
        us = self.switch.now_us()
        leg.number, leg.answer, leg.cause = STATES["HANGUP"], "hangup", cause
        created, answered = (leg.profile.times[f"Channel-{what}"] for what in ("Created", "Answered"))
        for name, since in (("duration", created), ("billsec", answered)):
            leg.parameter(name, str((us - since) // 1_000_000 if since else 0))
        self.switch.fire(leg, "CHANNEL_HANGUP")

    def _hung_up(self, leg: Channel) -> None:
        """The leg's own thread has seen the hangup: only now the profile says when."""
        leg.mark("Channel-Hangup", self.switch.now_us())
        self.switch.call_state(leg, "HANGUP")

    def _finish(self, leg: Channel) -> None:
        self.switch.enter(leg, "HANGUP")
        self._hung_up(leg)
        self.switch.enter(leg, "REPORTING")
        self._complete(leg)

    def _complete(self, leg: Channel) -> None:
        # In this event the cause stands twice.
        self.switch.fire(leg, "CHANNEL_HANGUP_COMPLETE", before=[("Hangup-Cause", leg.cause)])

    def _end_bridge(self) -> None:
        headers = [("Application", "bridge"), ("Application-Data", self._bridge_data)]
        done = [*headers, ("Application-Response", "_none_"), ("Application-UUID", self._execution)]
        self.switch.fire(self.a, "CHANNEL_EXECUTE_COMPLETE", after=done)
