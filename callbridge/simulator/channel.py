"""A simulated channel, and the events that it makes.

An event is what switch_channel.c makes of a channel (`switch_channel_event_set_basic_data`, `…_extended_data`): the
headers common to all events, the channel's state, its caller profile, that of its other leg, and, in some events, its
variables.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import msgspec

from callbridge.simulator.forms import FORMS
from callbridge.simulator.profile import OtherLeg, Profile
from callbridge.simulator.timeline import FOREVER, Task
from callbridge.simulator.variables import NONE, Change, learned, unset, without

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

WITH_VARIABLES: Final = frozenset(
    f"CHANNEL_{name}"
    for name in "CREATE ORIGINATE UUID ANSWER PARK UNPARK BRIDGE UNBRIDGE PROGRESS PROGRESS_MEDIA"
    " HANGUP HANGUP_COMPLETE DATA EXECUTE EXECUTE_COMPLETE DESTROY HOLD UNHOLD".split()
) | {"CALL_UPDATE", "RECORD_START", "RECORD_STOP", "MEDIA_BUG_START", "MEDIA_BUG_STOP"}
"""Events that carry the channel's variables."""

_STORY: Final = frozenset(f"CHANNEL_{name}" for name in ("BRIDGE", "EXECUTE", "EXECUTE_COMPLETE", "PROGRESS")) | {
    "CALL_UPDATE"
}
"""Events whose variables say what a leg executes and whom it talks to."""

_NO_TIMES: Final[Mapping[str, int]] = MappingProxyType({})

_PARAMETERS_OF_TIMES: Final = {
    "Channel-Created": "created",
    "Channel-Answered": "answered",
    "Channel-Progress": "progress",
    "Channel-Bridged": "bridged",
    "Channel-Hangup": "hangup",
}

_CODEC: Final = tuple(
    (f"Channel-{way}-Codec-{what}", value)
    for way in ("Read", "Write")
    for what, value in (("Name", "PCMU"), ("Rate", "8000"), ("Bit-Rate", "64000"))
)


def stamp(us: int) -> str:
    """A time in the switch's local time, which is UTC here."""
    return _stamp(us // 1_000_000)


@lru_cache(maxsize=4096)
def _stamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


@lru_cache(maxsize=4096)
def _state_block(form: str, state: str, callstate: str, number: int) -> str:
    """The headers that change most often."""
    pairs = (("Channel-State", f"CS_{state}"), ("Channel-Call-State", callstate), ("Channel-State-Number", str(number)))
    return FORMS[form].block(pairs)


class Parties(msgspec.Struct, frozen=True, gc=False):
    """Who calls whom. `dialled` is what the caller dialled, `destination` where the dialplan led it."""

    domain: str
    caller_number: str
    caller_name: str
    dialled: str
    destination: str


class Habits(msgspec.Struct, frozen=True, gc=False):
    """How those who talk on a leg behave: seconds until a called phone answers, seconds of talk, who hangs up then;
    whether the caller gives up where nobody answers, and whether he holds the call in its middle third."""

    ring: float = 0.3
    talk: float = FOREVER
    caller_hangs_up: bool = True
    gives_up: bool = False
    holds: bool = False


_NO_HABITS: Final = Habits()


class Channel:
    """One leg. `leg` names what it was learned from: `outbound.a` is the caller of an outbound call. It keeps `profile`
    and `parameters` for itself.

    `state` is the state in which its thread runs, `number` that of the state it is to be in: as in the switch, a
    command sets the second, and the thread follows when it comes to it.
    """

    __slots__ = (
        "_basics",
        "_leg",
        "_others",
        "_parameters",
        "_seen",
        "_variables",
        "_when",
        "_who",
        "_written",
        "actions",
        "answer",
        "astray",
        "call_uuid",
        "called",
        "callstate",
        "cause",
        "codec",
        "created_stamp",
        "execution",
        "extra",
        "flipped",
        "habits",
        "inbound",
        "learned_from",
        "led_by",
        "name",
        "number",
        "other",
        "partner",
        "presence_id",
        "profile",
        "recordings",
        "sent",
        "state",
        "task",
        "uuid",
        "watchers",
        "who",
    )

    def __init__(self, uuid: str, leg: str, who: Parties, profile: dict[str, str], parameters: dict[str, str]) -> None:
        self.uuid = self.call_uuid = uuid
        self.learned_from = leg
        self.who = who
        self.name = profile["Channel-Name"]
        self.inbound = profile["Direction"] == "inbound"
        self.profile = Profile(profile)
        self.presence_id = ""
        self.state = "NEW"
        self.number = 0
        self.callstate = "DOWN"
        self.answer = "ringing"
        self.cause = ""
        self.codec = False
        self.other: OtherLeg | None = None
        self.created_stamp = ""
        self.extra: dict[str, str] = {}
        """Variables of this channel alone. They win over the learned ones."""
        self.astray = False
        """Whether it does something else than what its variables were learned from."""
        self.habits = _NO_HABITS
        self.task: Task | None = None
        """Its own thread; a leg that was called has none and goes with that of the leg that called it."""
        self.led_by: Channel | None = None
        """The leg that called it, as long as that one rings it or talks to it."""
        self.sent = False
        """Whether a command has sent it elsewhere and its thread has not yet followed (CF_TRANSFER)."""
        self.actions: tuple[tuple[str, str], ...] = ()
        """The applications that it has yet to execute, each with its argument."""
        self.execution = ("", "", "")
        """The one that it executes: its name, its argument, the uuid of this execution."""
        self.called: Channel | None = None
        """The leg that it called last."""
        self.partner: Channel | None = None
        """The leg that it is bridged to."""
        self.flipped = False
        """Whether it was called and calls now."""
        self.watchers: tuple[Channel, ...] = ()
        self.recordings: tuple[str, ...] = ()
        self._leg = learned()[leg]
        self._seen: dict[str, int] = {}
        self._variables = NONE
        self._parameters = parameters
        self._written: dict[str, dict[str, str]] = {}
        self._who: dict[str, str] = {}
        self._when: dict[str, str] = {}
        self._others: dict[str, str] = {}
        self._basics: tuple[tuple[object, ...], str] = ((), "")

    def __repr__(self) -> str:
        return f"<Channel {self.uuid[:8]} {self.name} CS_{self.state}>"

    @property
    def answered(self) -> bool:
        """Whether it has been answered."""
        return self.answer == "answered"

    @property
    def gone(self) -> bool:
        """Whether all has been told of it."""
        return self.state == "DESTROY"

    @property
    def dead(self) -> bool:
        """Whether it is on its way out: the switch no longer finds it (`switch_core_session_locate`)."""
        return self.number >= STATES["HANGUP"]

    def set(self, change: Change) -> None:
        """Set or unset variables."""
        if self.extra:
            change = without(change, frozenset(name for name, _ in change.put if name in self.extra))
        self._variables = self._variables.after(change)

    def put(self, name: str, value: str) -> None:
        """Set a variable of this channel alone, which moves it to the end; an empty value unsets it."""
        self.extra.pop(name, None)
        if name in self._variables.templates:
            self._variables = self._variables.after(unset(name))
        if value:
            self.extra[name] = value

    def go_astray(self) -> None:
        """From now on it does something else than what its variables were learned from."""
        if not self.astray or _STORY & self._leg.keys():
            self.astray = True
            self._leg = {event: changes for event, changes in self._leg.items() if event not in _STORY}

    def say(self, name: str, value: str) -> None:
        """What the switch itself sets, where nothing was learned of it."""
        if self.astray:
            self.put(name, value)

    def variable(self, name: str) -> str:
        """The value of a variable; an absent one is empty."""
        return self.extra.get(name) or self._variables.value(name, self._parameters)

    def parameter(self, name: str, value: str) -> None:
        """Something that the variables' templates refer to."""
        self._parameters[name] = value
        for form, written in self._written.items():
            written[name] = FORMS[form].value(value)

    def mark(self, what: str, us: int) -> None:
        """One of the profile's times."""
        self.profile.times[what] = us
        self._when.clear()
        name = _PARAMETERS_OF_TIMES.get(what)
        if name is not None:
            for unit, text in (("us", str(us)), ("s", str(us // 1_000_000)), ("stamp", stamp(us))):
                self.parameter(f"{name}_{unit}", text)

    def know(self, values: Mapping[str, str]) -> None:
        """The caller profile says this from now on."""
        if not values.items() <= self.profile.values.items():
            self.profile.values |= values
            self.changed()

    def changed(self) -> None:
        """The caller profile has changed."""
        self._who.clear()
        self._when.clear()

    def meet(self, kind: str, other: "Channel", times: Mapping[str, int] = _NO_TIMES) -> None:
        """From now on the other leg is `other`, its originator or its originatee, as it is now; `times` are what it
        knows of that leg's."""
        self.other = OtherLeg(kind, other.profile, times)
        self._others.clear()

    def part(self) -> None:
        """It has no other leg any more."""
        self.other = None
        self._others.clear()

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
        blocks = [*self._basic(form), *self._profile(form)]
        if with_variables:
            written = self._written.get(form)
            if written is None:
                values = {name: writer.value(value) for name, value in self._parameters.items()}
                written = self._written[form] = values
            blocks += self._variables.pieces(form, written)
            if self.extra:
                blocks.append(writer.block(self.extra.items(), "variable_"))
        return blocks

    def _profile(self, form: str) -> list[str]:
        """The headers of its caller profile and of its other leg. Those of times change most often."""
        blocks: list[str] = []
        # Before CS_INIT a channel has no caller profile yet.
        if self.profile.times["Profile-Created"]:
            if form not in self._who:
                self._who[form] = self.profile.who(form)
            if form not in self._when:
                self._when[form] = self.profile.when(form)
            blocks += self._who[form], self._when[form]
        if self.other is not None:
            if form not in self._others:
                self._others[form] = self.other.written(form)
            blocks.append(self._others[form])
        return blocks

    def _basic(self, form: str) -> tuple[str, str]:
        """The headers of its state. They are the same for event after event but for the first three."""
        what = (form, self.presence_id, self.call_uuid, self.answer, self.cause, self.codec)
        if what != self._basics[0]:
            self._basics = what, FORMS[form].block(self._lasting())
        return _state_block(form, self.state, self.callstate, self.number), self._basics[1]

    def _lasting(self) -> list[tuple[str, str]]:
        direction = "inbound" if self.inbound else "outbound"
        return [
            ("Channel-Name", self.name),
            ("Unique-ID", self.uuid),
            ("Call-Direction", direction),
            ("Presence-Call-Direction", direction),
            ("Channel-HIT-Dialplan", "true" if self.inbound else "false"),
            *([("Channel-Presence-ID", self.presence_id)] if self.presence_id else ()),
            ("Channel-Call-UUID", self.call_uuid),
            ("Answer-State", self.answer),
            *([("Hangup-Cause", self.cause)] if self.cause else ()),
            *(_CODEC if self.codec else ()),
        ]
