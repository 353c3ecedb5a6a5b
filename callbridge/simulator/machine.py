"""The thread of a leg: the states that it goes through, and the applications that it executes
(switch_core_state_machine.c)."""

from collections.abc import Callable, Generator
from typing import Final

import msgspec

from callbridge.simulator.bridging import RINGS_FOR, Bridging, left_alone
from callbridge.simulator.causes import cause_of
from callbridge.simulator.channel import STATES, Channel, Parties
from callbridge.simulator.dialplan import inline, route
from callbridge.simulator.legs import SETUP
from callbridge.simulator.phones import PHONES_PORT, FarEnd
from callbridge.simulator.timeline import FOREVER, Steps

Reply = Callable[[str], None]

MADE_BY_ITSELF: Final = "src/switch_ivr_originate.c"
"""The source of a leg that `originate` made."""

TOO_EARLY: Final = 0.001
"""Seconds by which a step may come too early: its time is a sum of other times."""

NOBODY: Final = "0000000000"
"""The number of a leg that nobody gave one."""


_APPLICATIONS: Final = frozenset(("bridge", "eavesdrop", "export", "hangup", "park", "set", "transfer"))


class Origination(msgspec.Struct, frozen=True):
    """What `originate` is to do: call `target` with these variables; when it has answered, execute one application, or
    go to a destination, dialplan and context."""

    variables: dict[str, str]
    target: str
    application: tuple[str, str] | None = None
    goes_to: tuple[str, str, str] = ("", "", "")


class Machine(Bridging):
    """Everything that the legs of a switch do of their own."""

    def live(self, leg: Channel) -> Steps:
        """From state to state until it is hung up. A leg that calls in begins with its INVITE."""
        if leg.state == "NEW":
            leg.task = self.timeline.current
            self.switch.enter(leg, "NEW")
            yield SETUP
            self._come_in(leg)
        while not leg.dead:
            leg.sent = False
            if leg.number == STATES["ROUTING"]:
                self._find_way(leg)
            elif leg.number == STATES["PARK"]:
                yield from self._park(leg)
            else:
                self.switch.enter(leg, "EXECUTE")
                while leg.number == STATES["EXECUTE"]:
                    steps = self._execute(leg)
                    if steps is not None:
                        yield from steps
        if not leg.gone:
            self.finish(leg)

    # States.

    def _come_in(self, leg: Channel) -> None:
        if leg.dead:
            return
        self.begin(leg)
        self.take_codec(leg)
        self.switch.enter(leg, "INIT")
        leg.number = STATES["ROUTING"]
        self.switch.fire(leg, "CHANNEL_CREATE")

    def _find_way(self, leg: Channel) -> None:
        self.switch.enter(leg, "ROUTING")
        values = leg.profile.values
        destination, context = values["Destination-Number"], values["Context"]
        if values["Dialplan"] == "inline":
            actions = inline(destination)
            # It takes the destination apart where it stands.
            leg.know({"Destination-Number": values["RDNIS"]})
        else:
            known = context == "public" or self.phones.serves(context)
            actions = route(destination, context, leg.who.domain, leg.variable) if known else []
        self._take_actions(leg, actions)

    def _take_actions(self, leg: Channel, actions: list[tuple[str, str]]) -> None:
        if not actions:
            self.hang_up(leg, "NO_ROUTE_DESTINATION")
            return
        self.begins_to_call(leg)
        leg.actions = tuple(actions)
        leg.number = STATES["EXECUTE"]

    def _park(self, leg: Channel) -> Steps:
        """It waits for a command. A second `uuid_park` ends that, and its time, and leaves it where it is."""
        self.switch.enter(leg, "PARK")
        seconds, _, cause = leg.variable("park_timeout").partition(":")
        leg.put("park_timeout", "")
        self.switch.fire(leg, "CHANNEL_PARK")
        yield self._whole_seconds(int(seconds)) if seconds.isdecimal() else FOREVER
        if left_alone(leg):
            self.hang_up(leg, cause_of(cause))
        self.switch.fire(leg, "CHANNEL_UNPARK")
        while leg.sent and leg.number == STATES["PARK"]:
            leg.sent = False
            yield FOREVER

    def _whole_seconds(self, seconds: int) -> float:
        """Some seconds, as the switch counts them: from the beginning of the one that has begun."""
        return seconds - self.switch.now_us() % 1_000_000 / 1e6

    # Applications.

    def _execute(self, leg: Channel) -> Steps | None:
        """The next application; the steps of one that takes its time."""
        if not leg.actions:
            self.hang_up(leg, "NORMAL_CLEARING")
            return None
        application, data = leg.actions[0]
        leg.actions = leg.actions[1:]
        if application not in _APPLICATIONS:
            self.hang_up(leg, "DESTINATION_OUT_OF_ORDER")
            return None
        self.begin_application(leg, application, data)
        match application:
            case "bridge":
                return self.bridge(leg, data)
            case "eavesdrop":
                return self._eavesdrop(leg, data)
            case "set" | "export":
                name, _, value = data.partition("=")
                leg.say(name, value)
            case "transfer":
                destination, dialplan, context = data.split(" ")
                self.transfer(leg, destination, dialplan, context)
            case "park":
                leg.number = STATES["PARK"]
            case "hangup":
                self.hang_up(leg, data or "NORMAL_CLEARING")
        self.end_application(leg)
        return None

    def _eavesdrop(self, leg: Channel, target_uuid: str) -> Steps:
        """Listen to a leg until that one ends (switch_ivr_async.c, `switch_ivr_eavesdrop_session`)."""
        target = self.switch.find(target_uuid)
        if target is not None and target.codec:
            self.switch.fire(target, "MEDIA_BUG_START")
            if leg.profile.index == 1:
                who = {name: target.profile.values[f"Caller-ID-{name}"] for name in ("Name", "Number")}
                sent = [(f"Sent-Callee-ID-{name}", value) for name, value in who.items()]
                self.switch.fire(leg, "CALL_UPDATE", before=[("Direction", "SEND"), *sent])
            target.watchers += (leg,)
            while left_alone(leg) and not target.dead:
                yield FOREVER
            target.watchers = tuple([watcher for watcher in target.watchers if watcher is not leg])
            if not target.gone:
                self.switch.fire(target, "MEDIA_BUG_STOP")
        self.end_application(leg)

    # Calls that the switch makes itself.

    def originate(self, wanted: Origination, reply: Reply) -> Steps:
        """Call somebody, and say what has come of it as soon as that is known (switch_ivr_originate.c). Of several
        phones all ring, and the first that answers is taken."""
        yield SETUP
        legs, cause = self._fork(wanted)
        if not legs:
            reply(f"-ERR {cause}\n")
            return
        leg = yield from self._await_answer(legs, wanted.variables)
        for other in legs:
            if other is not leg:
                self.hang_up(other, "LOSE_RACE")
                self.finish(other)
        if leg.sent and not leg.dead:
            reply("-ERR ORIGINATOR_CANCEL\n")
        elif leg.dead:
            self.finish(leg)
            yield SETUP
            reply(f"-ERR {leg.cause}\n")
            return
        else:
            self._answered(leg, wanted)
            reply(f"+OK {leg.uuid}\n")
        yield from self.live(leg)

    def _fork(self, wanted: Origination) -> tuple[dict[Channel, FarEnd], str]:
        """A leg for each phone that is reached; without any, the cause."""
        legs: dict[Channel, FarEnd] = {}
        cause = "DESTINATION_OUT_OF_ORDER"
        address = wanted.target.removeprefix("user/") if wanted.target.startswith("user/") else ""
        for far in self.phones.find_all(wanted.target):
            uuid = wanted.variables.get("origination_uuid") or self.switch.new_uuid()
            if not far.leg:
                cause = far.cause
            elif uuid not in self.switch.channels:
                leg = self._originated(wanted, uuid, far)
                self.come_up(leg, address, uuid)
                legs[leg] = far
        for leg in legs:
            self.take_wait(leg)
        return legs, cause

    def _originated(self, wanted: Origination, uuid: str, far: FarEnd) -> Channel:
        variables = wanted.variables
        number = variables.get("origination_caller_id_number", NOBODY)
        name = variables.get("origination_caller_id_name", "")
        domain = wanted.target.rpartition("@")[2]
        caller = {"Caller-ID-Name": name, "Caller-ID-Number": number}
        profile = {
            "Direction": "outbound",
            "Logical-Direction": "outbound",
            "Dialplan": "",
            **caller,
            **{f"Orig-{name}": value for name, value in caller.items()},
            "Callee-ID-Name": "Outbound Call",
            "Callee-ID-Number": far.number,
            "Network-Addr": "",
            "ANI": number,
            "Destination-Number": far.number,
            "Unique-ID": uuid,
            "Source": MADE_BY_ITSELF,
            "Context": "default",
            "Channel-Name": f"sofia/internal/{far.number}@127.0.0.1:{PHONES_PORT}",
        }
        leg = self.make("originated.a", uuid, profile, Parties(domain, number, name, far.number, far.number))
        leg.task, leg.habits, leg.astray = self.timeline.current, self.habits(), True
        for name, value in variables.items():
            leg.put(name, value)
        self.begin(leg)
        return leg

    def _await_answer(self, legs: dict[Channel, FarEnd], variables: dict[str, str]) -> Generator[float, None, Channel]:
        """The leg that has answered or was sent elsewhere; else one that says why none has."""
        for leg, far in legs.items():
            if far.cause:
                self.hang_up(leg, far.cause)
                self.wind_up(leg)
            else:
                self.begin_to_ring(leg, far.number)
        began = self.timeline.clock()
        timeout = variables.get("originate_timeout", "")
        limit = self._whole_seconds(int(timeout)) if timeout.isdecimal() else RINGS_FOR
        after = {leg: leg.habits.ring if far.after is None else far.after for leg, far in legs.items()}
        while ringing := [leg for leg in legs if left_alone(leg)]:
            first = min(ringing, key=after.__getitem__)
            wait = min(after[first], limit) - (self.timeline.clock() - began)
            if wait > TOO_EARLY:
                yield wait
                for leg in [leg for leg in ringing if leg.dead]:
                    self.wind_up(leg)
            elif after[first] > limit:
                for leg in ringing:
                    self.hang_up(leg, "NO_ANSWER")
                return first
            else:
                yield from self._take(first)
                return first
            if any(leg.sent and not leg.dead for leg in legs):
                break
        return min(legs, key=lambda leg: leg.dead)

    def _take(self, leg: Channel) -> Steps:
        """It answers."""
        leg.know({"Network-Addr": "127.0.0.1"})
        self.take_codec(leg)
        self.pick_up(leg)
        yield SETUP

    def _answered(self, leg: Channel, wanted: Origination) -> None:
        self.switch.fire(leg, "CHANNEL_OUTGOING")
        if wanted.application is not None:
            self._take_actions(leg, [wanted.application])
        else:
            self.transfer(leg, *wanted.goes_to)
