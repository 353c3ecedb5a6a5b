"""One leg calls another: it rings, answers, and they talk, until one of them hangs up or a command takes one away.

The leg that calls leads: its thread makes the steps of both. After every wait it looks at what has become of them.
"""

from collections.abc import Generator
from typing import Final

from callbridge.simulator.channel import STATES, Channel, Parties
from callbridge.simulator.legs import SETUP, Legs
from callbridge.simulator.phones import FarEnd
from callbridge.simulator.timeline import FOREVER, Steps
from callbridge.simulator.variables import put, unset

RINGS_FOR: Final = 60.0
"""Seconds after which a leg that nobody answers is given up (switch_ivr_originate.c, the default)."""

GIVES_MEDIA_FOR: Final = 3 * SETUP
"""How long a bridge waits for media from a called leg that was never answered (measured)."""

Waits = Generator[float, None, bool]
"""Seconds to wait; in the end, whether it has come to what it was for."""


def left_alone(*legs: Channel) -> bool:
    """Whether the legs are where they were: not hung up, not sent elsewhere."""
    return not any(leg.dead or leg.sent for leg in legs)


def _callee(number: str) -> dict[str, str]:
    """What the one that calls comes to know of whom it reaches."""
    return {"Callee-ID-Name": number, "Callee-ID-Number": number}


class Bridging(Legs):
    """The application `bridge`."""

    def live(self, leg: Channel) -> Steps:
        """What a leg does of its own from now on."""
        raise NotImplementedError

    def bridge(self, a: Channel, data: str) -> Steps:
        """Call whom the dial string reaches, talk, and end it."""
        far = self.phones.find(data)
        to_phone = data.startswith("user/")
        if to_phone and far.cause != "SUBSCRIBER_ABSENT":
            a.say("dialed_user", far.number)
            a.say("dialed_domain", data.rpartition("@")[2])
        a.say("originate_disposition", "failure")
        if a.answered:
            self.switch.call_state(a, "RING_WAIT")
        if not far.leg:
            a.go_astray()
            self._fail(a, far.cause)
            self.end_application(a)
            return
        b = self._dial(a, far, to_phone=to_phone)
        yield SETUP
        if left_alone(a, b):
            self.take_wait(b)
            if far.cause:
                yield from self._refuse(a, b, far.cause)
                return
            if (yield from self._ring(a, b, far)) and (yield from self._connect(a, b, to_phone=to_phone)):
                yield from self._talk(a, b)
        if b.sent and not b.dead and a.partner is not b:
            yield from self._lose(a, b)
        else:
            self._part(a, b)

    # Ringing.

    def _dial(self, a: Channel, far: FarEnd, *, to_phone: bool) -> Channel:
        """The called leg comes to life."""
        if a.astray:
            direction, values = a.variable("call_direction"), a.profile.values
            kind = "outbound" if not to_phone else direction if direction == "inbound" else "local"
            who = Parties(a.who.domain, values["Caller-ID-Number"], values["Caller-ID-Name"], far.number, far.number)
            b = self.callee(a, f"{kind}.b", who, to_phone=to_phone)
            b.put("call_direction", direction)
        else:
            b = self.callee(a, a.learned_from.replace(".a", ".b"), a.who, to_phone=to_phone)
        a.parameter("other_uuid", b.uuid)
        b.meet("originator", a)
        self.come_up(b, f"{far.number}@{a.profile.values['Context']}" if to_phone else "", a.uuid)
        return b

    def come_up(self, leg: Channel, presence_id: str, call_uuid: str) -> None:
        """The first events of a leg that is called."""
        leg.state, leg.number = "NONE", STATES["INIT"]
        self.switch.fire(leg, "CHANNEL_OUTGOING")
        leg.presence_id = presence_id
        leg.call_uuid = call_uuid
        leg.state = "INIT"
        self.switch.fire(leg, "CHANNEL_STATE")
        leg.number = STATES["ROUTING"]
        self.switch.fire(leg, "CHANNEL_CREATE")

    def take_wait(self, leg: Channel) -> None:
        """Such a leg waits for what its far end does."""
        self.switch.fire(leg, "CHANNEL_ORIGINATE")
        self.switch.enter(leg, "ROUTING")
        self.switch.enter(leg, "CONSUME_MEDIA")

    def begin_to_ring(self, leg: Channel, number: str) -> None:
        """The called phone says that it rings."""
        us = self.switch.now_us()
        leg.know({"Callee-ID-Name": number})
        leg.mark("Channel-Progress", us)
        if leg.led_by is not None:
            leg.meet("originator", leg.led_by, {"Channel-Progress": us})
        self.switch.fire(leg, "CHANNEL_PROGRESS")
        self.switch.call_state(leg, "RINGING")

    def _ring(self, a: Channel, b: Channel, far: FarEnd) -> Waits:
        """The called phone rings; whether it is to be answered."""
        self.begin_to_ring(b, far.number)
        progress = self.switch.now_us()
        yield SETUP
        if not left_alone(a, b):
            return False
        a.know(_callee(far.number))
        if not a.answered:
            a.mark("Channel-Progress", progress)
            self.switch.fire(a, "CHANNEL_PROGRESS")
        after = a.habits.ring if far.after is None else far.after
        if after == FOREVER and a.habits.gives_up:
            yield a.habits.ring
            self.hang_up(a, "ORIGINATOR_CANCEL")
            yield SETUP
        elif after > RINGS_FOR:
            yield RINGS_FOR
            if left_alone(a, b):
                self.hang_up(b, "NO_ANSWER")
        else:
            yield after
        return left_alone(a, b)

    # Not answered.

    def _fail(self, a: Channel, cause: str) -> None:
        """Calling somebody has failed, so the leg that called ends as well."""
        a.say("originate_disposition", cause)
        if a.answered:
            self.switch.call_state(a, "ACTIVE")
        self.hang_up(a, cause)

    def _refuse(self, a: Channel, b: Channel, cause: str) -> Steps:
        """The called side refuses."""
        if not a.learned_from.startswith("busy."):
            a.go_astray()
        yield SETUP
        if not left_alone(a, b):
            self._part(a, b)
            return
        self.hang_up(b, cause)
        self._fail(a, cause)
        self.finish(b)
        yield SETUP
        self.end_application(a)
        self.finish(a)

    def _lose(self, a: Channel, b: Channel) -> Steps:
        """Whom it rings was sent elsewhere. While that one is parked, it rings on."""
        self._let_go(b)
        yield SETUP
        while left_alone(a) and not b.dead and b.number == STATES["PARK"]:
            yield SETUP
        if left_alone(a):
            a.go_astray()
            self._fail(a, b.cause or "NORMAL_CLEARING")
        a.say("originate_disposition", b.cause or "ORIGINATOR_CANCEL")
        self.end_application(a)

    def _let_go(self, b: Channel) -> None:
        b.led_by = None
        b.task = self.timeline.start(self.live(b))

    # Answered.

    def _connect(self, a: Channel, b: Channel, *, to_phone: bool) -> Waits:
        """The called phone answers, and the two are bridged."""
        switch = self.switch
        self.take_codec(b)
        self.pick_up(b)
        yield SETUP
        if not left_alone(a, b):
            return False
        if a.inbound and not a.answered:
            self.pick_up(a)
        us = switch.now_us()
        a.know(_callee(b.profile.values["Callee-ID-Number"]))
        a.mark("Channel-Bridged", us)
        a.meet("originatee", b, b.profile.times)
        if a.answered:
            switch.call_state(a, "ACTIVE")
        a.partner, b.partner = b, a
        a.say("originate_disposition", "SUCCESS")
        a.set(put(("signal_bond", "{{other_uuid}}")))
        if to_phone:
            # The channel of `user/…` tells of the one that it stood for once more.
            b.meet("originator", a)
            switch.fire(b, "CHANNEL_OUTGOING")
        switch.fire(a, "CHANNEL_BRIDGE", before=[("Bridge-A-Unique-ID", a.uuid), ("Bridge-B-Unique-ID", b.uuid)])
        b.mark("Channel-Bridged", us)
        switch.enter(b, "EXCHANGE_MEDIA")
        if not a.answered:
            yield GIVES_MEDIA_FOR
            self.hang_up(a, "INCOMPATIBLE_DESTINATION")
            return False
        for leg, other in ((b, a), (a, b)):
            leg.set(put(("bridge_to", "{{other_uuid}}")))
            leg.say("bridge_to", other.uuid)
        self._tell_each_other(a, b)
        yield SETUP
        return left_alone(a, b)

    def _tell_each_other(self, a: Channel, b: Channel) -> None:
        caller, callee = a.profile.values, b.profile.values["Callee-ID-Number"]
        self.tell_of(b, a, caller["Caller-ID-Name"], caller["Caller-ID-Number"])
        self.tell_of(a, b, callee, callee)
        for watcher in a.watchers:
            self.switch.fire(watcher, "CALL_UPDATE", before=[("Direction", "SEND")])

    def _talk(self, a: Channel, b: Channel) -> Steps:
        """They talk until one hangs up, or until a command changes something."""
        talk = a.habits.talk
        if a.habits.holds:
            for act in (self._hold_by_phone, self._unhold_by_phone):
                yield talk / 3
                if not left_alone(a, b):
                    return
                act(a, b)
            yield talk / 3
        else:
            yield talk
        if not left_alone(a, b):
            return
        if a.habits.caller_hangs_up:
            self.hang_up(a, "NORMAL_CLEARING")
            yield SETUP
        else:
            self.hang_up(b, "NORMAL_CLEARING")

    def _hold_by_phone(self, a: Channel, b: Channel) -> None:
        if a.callstate != "HELD":
            self.hold(a)
            self.begin_application(b, "playback", "local_stream://moh")
            self.end_application(b)

    def _unhold_by_phone(self, a: Channel, b: Channel) -> None:  # noqa: ARG002
        self.unhold(a)

    # The end.

    def _part(self, a: Channel, b: Channel) -> None:
        """What is left of the two after one of them has hung up or was sent elsewhere. Who is neither goes with the
        other, but a caller whose dialplan says `hangup_after_bridge=false`."""
        switch, bridged = self.switch, a.partner is b
        if not (b.dead or b.sent):
            self.hang_up(b, "NORMAL_CLEARING" if bridged else "ORIGINATOR_CANCEL")
        if b.dead:
            switch.enter(b, "HANGUP")
            self.see_hangup(b)
        if bridged:
            self._unbridge(a, b)
        else:
            self._give_up(a, b)
        if left_alone(a) and (not bridged or a.variable("hangup_after_bridge") == "true"):
            self.hang_up(a, b.cause or "NORMAL_CLEARING")
        if b.dead:
            switch.enter(b, "REPORTING")
        self.end_application(a)
        self._see_off(a, b)

    def _give_up(self, a: Channel, b: Channel) -> None:
        if not a.habits.gives_up:
            a.go_astray()
        moved = a.dead or a.sent or not b.dead
        a.say("originate_disposition", "ORIGINATOR_CANCEL" if moved else b.cause)
        if a.answered:
            self.switch.call_state(a, "ACTIVE")

    def _see_off(self, a: Channel, b: Channel) -> None:
        """Who is dead comes to its end, the called leg first; it lives on by itself if it was sent elsewhere."""
        switch = self.switch
        if b.dead:
            self.complete(b)
        if a.dead:
            switch.enter(a, "HANGUP")
        if b.dead:
            self.destroy(b)
        else:
            self._let_go(b)
        if a.dead:
            self.see_hangup(a)
            switch.enter(a, "REPORTING")
            self.complete(a)
            self.destroy(a)

    def _unbridge(self, a: Channel, b: Channel) -> None:
        a.partner = b.partner = None
        for leg in (a, b):
            leg.set(unset("bridge_to"))
            leg.extra.pop("bridge_to", None)
            self.release(leg)
        ends = [("Bridge-A-Unique-ID", a.uuid), ("Bridge-B-Unique-ID", b.uuid)]
        self.switch.fire(a, "CHANNEL_UNBRIDGE", before=ends)
        b.call_uuid = b.uuid
