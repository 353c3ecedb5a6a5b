"""A simulated channel, and the events that it makes.

An event is what switch_channel.c makes of a channel (`switch_channel_event_set_basic_data`, `…_extended_data`): the
headers common to all events, the channel's state, its caller profile, that of its other leg, and, in some events, its
variables.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from callbridge.simulator.forms import FORMS, Pairs
from callbridge.simulator.variables import NONE, Change, learned

STATES: Final = {
    name: number
    for number, name in enumerate(
        "NEW INIT ROUTING SOFT_EXECUTE EXECUTE EXCHANGE_MEDIA PARK CONSUME_MEDIA HIBERNATE RESET"
        " HANGUP REPORTING DESTROY NONE".split()
    )
}
"""Numbers of the channel states (switch_types.h, `switch_channel_state_t`)."""

CALLSTATES: Final = {
    name: number for number, name in enumerate("DOWN DIALING RINGING EARLY ACTIVE HELD RING_WAIT HANGUP UNHELD".split())
}
"""Numbers of the call states (switch_types.h, `switch_channel_callstate_t`)."""

TIMES: Final = (
    "Profile-Created",
    "Channel-Created",
    "Channel-Answered",
    "Channel-Progress",
    "Channel-Progress-Media",
    "Channel-Hangup",
    "Channel-Transfer",
    "Channel-Resurrect",
    "Channel-Bridged",
)

WITH_VARIABLES: Final = frozenset(
    f"CHANNEL_{name}"
    for name in "CREATE ORIGINATE UUID ANSWER PARK UNPARK BRIDGE UNBRIDGE PROGRESS PROGRESS_MEDIA"
    " HANGUP HANGUP_COMPLETE DATA EXECUTE EXECUTE_COMPLETE DESTROY HOLD UNHOLD".split()
) | {"CALL_UPDATE", "RECORD_START", "RECORD_STOP", "MEDIA_BUG_START", "MEDIA_BUG_STOP"}
"""Events that carry the channel's variables."""

_NO_TIMES: Final[Mapping[str, int]] = MappingProxyType({})

_PARAMETERS_OF_TIMES: Final = {
    "created": "Channel-Created",
    "answered": "Channel-Answered",
    "progress": "Channel-Progress",
    "bridged": "Channel-Bridged",
    "hangup": "Channel-Hangup",
}


def stamp(us: int) -> str:
    """A time in the switch's local time, which is UTC here."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


class Profile:
    """A caller profile (switch_caller.c): who calls whom, as a channel sees it."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)
        self.times = dict.fromkeys(TIMES, 0)
        self.hold_us = 0
        self.last_hold_us = 0
        self.index = 1
        """Each transfer gives a channel its next profile."""

    def transfer(self, destination: str, context: str, source: str) -> None:
        """The dialplan or a command sends the channel elsewhere (switch_ivr.c, `switch_ivr_session_transfer`)."""
        redirected_from, name = self.values["Destination-Number"], self.values.pop("Channel-Name")
        for key in ("Context", "RDNIS", "Transfer-Source"):
            self.values.pop(key, None)
        self.values |= {"Transfer-Source": source, "Context": context, "RDNIS": redirected_from, "Channel-Name": name}
        self.values["Destination-Number"] = destination
        self.index += 1

    def pairs(self, prefix: str, *, times: Mapping[str, int], index: bool) -> list[tuple[str, str]]:
        """Its headers, `Caller-…` or `Other-Leg-…`."""
        pairs = [(f"{prefix}-{name}", value) for name, value in self.values.items() if value]
        if index:
            pairs.append((f"{prefix}-Profile-Index", str(self.index)))
        pairs += [(f"{prefix}-{name}-Time", str(times.get(name, 0))) for name in TIMES]
        own = times is self.times
        pairs.append((f"{prefix}-Channel-Last-Hold", str(self.last_hold_us if own else 0)))
        pairs.append((f"{prefix}-Channel-Hold-Accum", str(self.hold_us if own else 0)))
        pairs.append((f"{prefix}-Screen-Bit", "true"))
        pairs += [(f"{prefix}-Privacy-Hide-{what}", "false") for what in ("Name", "Number")]
        return pairs


class Channel:
    """One leg. `leg` names what it was learned from: `outbound.a` is the caller of an outbound call."""

    def __init__(
        self, uuid: str, leg: str, name: str, profile: Mapping[str, str], parameters: Mapping[str, str]
    ) -> None:
        self.uuid = uuid
        self.name = name
        self.inbound = profile["Direction"] == "inbound"
        self.profile = Profile(profile)
        self.call_uuid = uuid
        self.presence_id = ""
        self.state = "NEW"
        self.number = 0
        self.callstate = "DOWN"
        self.answer = "ringing"
        self.cause = ""
        self.codec = False
        self.other: list[tuple[str, str]] = []
        self.created_stamp = ""
        self.extra: dict[str, str] = {}
        """Variables of this channel alone, set by a command."""
        self._leg = learned()[leg]
        self._seen: dict[str, int] = {}
        self._variables = NONE
        self._parameters = dict(parameters)
        self._written: dict[str, dict[str, str]] = {}
        self._blocks: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Channel {self.uuid[:8]} {self.name} CS_{self.state}>"

    @property
    def dead(self) -> bool:
        """Whether it is on its way out: the switch no longer finds it (`switch_core_session_locate`)."""
        return self.number >= STATES["HANGUP"]

    def set(self, change: Change) -> None:
        """Set or unset variables."""
        self._variables = self._variables.after(change)

    def variable(self, name: str) -> str:
        """The value of a variable; an absent one is empty."""
        return self._variables.value(name, self._parameters)

    def parameter(self, name: str, value: str) -> None:
        """Something that the variables' templates refer to."""
        self._parameters[name] = value
        self._written.clear()

    def mark(self, what: str, us: int) -> None:
        """One of the profile's times."""
        self.profile.times[what] = us
        self.changed()
        for name, time in _PARAMETERS_OF_TIMES.items():
            if time == what:
                for unit, text in (("us", str(us)), ("s", str(us // 1_000_000)), ("stamp", stamp(us))):
                    self._parameters[f"{name}_{unit}"] = text
        self._written.clear()

    def changed(self) -> None:
        """The caller profile has changed."""
        self._blocks.clear()

    def meet(self, kind: str, other: "Channel", times: Mapping[str, int] = _NO_TIMES) -> None:
        """From now on the other leg is `other`, its originator or its originatee, as it is now; `times` are what it
        knows of that leg's. The logical direction is the originator's in both cases."""
        pairs = dict(other.profile.pairs("Other-Leg", times=times, index=False))
        pairs.pop("Other-Leg-Transfer-Source", None)
        pairs["Other-Leg-Logical-Direction"] = "inbound"
        self.other = [("Other-Type", kind), *pairs.items()]
        self._blocks.clear()

    def part(self) -> None:
        """It has no other leg any more."""
        self.other = []
        self._blocks.clear()

    def advance(self, event: str) -> None:
        """Bring the variables to where they stand in the next event of that name."""
        changes = self._leg.get(event)
        if changes:
            seen = self._seen.get(event, 0)
            if seen < len(changes):
                self._seen[event] = seen + 1
                self.set(changes[seen])

    def blocks(self, form: str, *, with_variables: bool) -> list[str]:
        """Its headers, written in that form."""
        writer = FORMS[form]
        profile = self._blocks.get(form)
        if profile is None:
            # Before CS_INIT a channel has no caller profile yet.
            pairs = (
                self.profile.pairs("Caller", times=self.profile.times, index=True) if self.codec or self.other else []
            )
            profile = self._blocks[form] = writer.block([*pairs, *self.other])
        blocks = [writer.block(self._basic()), profile]
        if with_variables:
            written = self._written.get(form)
            if written is None:
                values = {name: writer.value(value) for name, value in self._parameters.items()}
                written = self._written[form] = values
            blocks.append(self._variables.text(form, written))
            if self.extra:
                blocks.append(writer.block([(f"variable_{name}", value) for name, value in self.extra.items()]))
        return blocks

    def _basic(self) -> Pairs:
        direction = "inbound" if self.inbound else "outbound"
        yield "Channel-State", f"CS_{self.state}"
        yield "Channel-Call-State", self.callstate
        yield "Channel-State-Number", str(self.number)
        yield "Channel-Name", self.name
        yield "Unique-ID", self.uuid
        yield "Call-Direction", direction
        yield "Presence-Call-Direction", direction
        yield "Channel-HIT-Dialplan", "true" if self.inbound else "false"
        if self.presence_id:
            yield "Channel-Presence-ID", self.presence_id
        yield "Channel-Call-UUID", self.call_uuid
        yield "Answer-State", self.answer
        if self.cause:
            yield "Hangup-Cause", self.cause
        if self.codec:
            for way in ("Read", "Write"):
                yield f"Channel-{way}-Codec-Name", "PCMU"
                yield f"Channel-{way}-Codec-Rate", "8000"
                yield f"Channel-{way}-Codec-Bit-Rate", "64000"
