"""Channels as the switch tells of them, and calls: what belongs together.

A `Channel` takes the fields of its events by the rules by which the switch keeps its own `channels` table
(switch_core_sqldb.c, `core_event_handler`), so that a row says what `show channels` says. Which channels form a call is
`callset`'s work, what is published of it `records`'.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

from callbridge.esl.events import OF_STATES, Event, Profile, Variables
from callbridge.localtime import local_time, utc_offset

if TYPE_CHECKING:
    from callbridge.records import Record

INIT: Final = 1
ROUTING: Final = 2
EXECUTE: Final = 4
HANGUP: Final = 10
"""Numbers of the channel states (switch_types.h, `switch_channel_state_t`); from HANGUP on a channel is on its way out.
"""

STATE_NUMBERS: Final = {
    f"CS_{name}": number
    for number, name in enumerate(
        "NEW INIT ROUTING SOFT_EXECUTE EXECUTE EXCHANGE_MEDIA PARK CONSUME_MEDIA HIBERNATE RESET HANGUP".split()
    )
}

STATES_WITHOUT_ROW: Final = frozenset((0, INIT, HANGUP, 11, 12))
"""NEW, INIT, HANGUP, REPORTING, DESTROY: the switch does not write these into its `channels` table."""

FOLLOWING_STATES: Final = frozenset(("CS_CONSUME_MEDIA", "CS_EXCHANGE_MEDIA", "CS_HIBERNATE"))
"""The states of a channel that was called and follows its caller (CS_HIBERNATE: without media). With the caller profile
that it began with, and only then, its callee is its own far end, not whom it talks to."""

VIRTUAL: Final = ("loopback/", "pickup/")
"""How the names of channels begin behind which nobody is: ends of loopback pairs, and what waits in a call for somebody
to pick it up (mod_dptools.c, `pickup_outgoing_channel`; it has no CHANNEL_CREATE and no row of its own)."""

MONITOR_APPLICATIONS: Final = frozenset(("eavesdrop", "three_way"))
"""What a channel executes that listens to another one."""

TELLING_APPLICATIONS: Final = MONITOR_APPLICATIONS | {"conference"}
"""The applications whose argument is of use: whom they listen to, or the room."""

RANKED: Final = 48
"""Bits of an `age_key` for the number of the channel's first event."""

RESTORED: Final = -1
"""The `epoch` of a channel that is known from what was published of it, and of which no dump has come yet."""

TOLD_BY_EVENTS: Final = frozenset(
    "call epoch extension home_id hungup number party_name peers recording side watching".split()
)
"""What no dump tells of a channel, or tells less rightly than its events have."""

Side = Literal["aleg", "bleg"]
OTHER_SIDE: Final[dict[Side, Side]] = {"aleg": "bleg", "bleg": "aleg"}
DIRECTIONS: Final = frozenset(("inbound", "outbound", "local"))


@lru_cache(maxsize=1024)
def shared(text: str) -> str:
    """The same text, as one object for all who hold it. `sys.intern` is not bounded: what it has taken in, Python 3.12
    never gives back (gh-113993)."""
    return text


class Channel:
    """One channel of the switch, and what ties it to others.

    Its texts are `shared`: a call says the same number five times and ten thousand calls the same state, a third of the
    memory that a call takes.
    """

    __slots__ = (
        "age_key",
        "answered_us",
        "application",
        "application_data",
        "business_direction",
        "call",
        "caller_name",
        "caller_number",
        "callstate",
        "cause",
        "context",
        "created",
        "destination",
        "domain",
        "epoch",
        "extension",
        "given_id",
        "has_bridged",
        "hold_accum_us",
        "hold_since_us",
        "home_id",
        "hungup",
        "inbound",
        "ip",
        "is_virtual",
        "loopback_uuid",
        "number",
        "origin_uuid",
        "park_timeout",
        "parked_until_us",
        "party_name",
        "peers",
        "queue",
        "recording",
        "sequence",
        "side",
        "state",
        "uuid",
        "watching",
        "whisper",
    )

    def __init__(self, event: Event, created: str = "") -> None:
        """From CHANNEL_CREATE, or from a `uuid_dump` of a channel that was there before us.

        `created` is the time of CHANNEL_CREATE in the switch's local time, where it is known from elsewhere.
        """
        fresh, profile = event.name == "CHANNEL_CREATE", event.profile
        self.uuid = event.uuid
        self.sequence = event.sequence
        self.epoch = 0
        self.inbound = event.call_direction == "inbound"
        self.is_virtual = event.channel_name.startswith(VIRTUAL)
        self.created = shared(event.date_local if fresh else created or _created(event))
        self.extension = shared(_extension(event, self.inbound, fresh))
        self.number = self.extension or shared(_outside_number(event, self.inbound))
        self.call: Call | None = None
        self.given_id = event.variables.id
        """The id under which callbridge rang this phone, and the user's other ones; or ""."""
        self.home_id = ""
        """Id of the call that it was in before any two calls were joined."""
        self.origin_uuid = _origin(event, fresh)
        made = bool(self.origin_uuid) or (self.inbound and self.is_virtual)
        rank = 2 if made else int(not self.inbound)
        created_us = event.timestamp if fresh else profile.created_us
        self.age_key = ((created_us << 2 | rank) << RANKED) + self.sequence
        """By which the older of two channels is told; one number, because a tuple takes twice the memory. The switch's
        clock ticks every 20 ms: of one tick, a leg that nobody made came first, and the far end of a loopback pair
        after the near one."""
        self.side: Side = "bleg" if self.origin_uuid else "aleg"
        self.loopback_uuid = event.variables.loopback_uuid
        self.peers: tuple[str, ...] = ()
        self.has_bridged = event.variables.last_bridge_to != ""
        self.watching = ""
        self.state = shared(event.state)
        self.callstate = shared(event.callstate)
        self.hungup = False
        self.cause = ""
        self.park_timeout = ""
        self.parked_until_us = 0
        self.recording = ""
        self.domain = ""
        self.business_direction = ""
        self.application = ""
        self.application_data = ""
        self.party_name = shared(profile.original_name or profile.caller_name) if self.inbound else ""
        self.queue = ""
        self.whisper = ""
        self.ip = ""
        self._take_profile(profile)
        self._take_common(event)

    def __repr__(self) -> str:
        return f"<Channel {self.uuid[:8]} {self.number} {self.state}{' hung up' if self.hungup else ''}>"

    @property
    def created_us(self) -> int:
        """When it was created."""
        return self.age_key >> RANKED + 2

    def take(self, event: Event) -> None:
        """Take over what an event of this channel says."""
        self.sequence = event.sequence
        special = _TAKE.get(event.name)
        if special is not None:
            special(self, event)
        self._take_common(event)

    def _take_state(self, event: Event) -> None:
        number = event.state_number
        if number == ROUTING:
            self._take_profile(event.profile)
            self.parked_until_us = 0
        if number not in STATES_WITHOUT_ROW:
            self.state = shared(event.state)
        elif number >= HANGUP:
            self.hungup = True

    def _take_callstate(self, event: Event) -> None:
        callstate = event.callstate
        if callstate not in ("DOWN", "HANGUP"):
            if callstate == "HELD":
                self.hold_since_us = event.timestamp
            elif self.hold_since_us:
                self.hold_accum_us += event.timestamp - self.hold_since_us
                self.hold_since_us = 0
            self.callstate = shared(callstate)

    def _take_party(self, event: Event) -> None:
        self.caller_name = shared(event.profile.caller_name)
        self.caller_number = shared(event.profile.caller_number)

    def catch_up(self, event: Event) -> None:
        """Take from a dump what events that nobody heard have said. Where all were heard it says less: `show channels`
        keeps a profile as it was at CS_ROUTING, a dump has the one of now."""
        self.state = shared(event.state)
        self.callstate = shared(event.callstate)
        self._take_profile(event.profile)
        parked = event.state == "CS_PARK"
        self.parked_until_us = _park_end(event.variables.park_seconds, event.profile.since_us) if parked else 0

    @property
    def is_restored(self) -> bool:
        """Whether it is known only from what was published of it."""
        return self.epoch == RESTORED

    def renew(self, event: Event) -> None:
        """Take everything that a dump tells of a channel that was restored."""
        fresh = Channel(event, self.created)
        for name in self.__slots__:
            if name not in TOLD_BY_EVENTS:
                setattr(self, name, getattr(fresh, name))
        self.party_name = self.party_name or fresh.party_name
        self.catch_up(event)

    def differs(self, event: Event) -> bool:
        """Whether a dump shows the channel in another state than its events have said. What else differs says nothing
        (`catch_up`), and neither does a channel that is between two states: then the number is that of the next one."""
        state, callstate = event.state, event.callstate
        if STATE_NUMBERS.get(state) == event.state_number not in STATES_WITHOUT_ROW and state != self.state:
            return True
        return callstate not in ("", "DOWN", "HANGUP", self.callstate)

    def _take_park(self, event: Event) -> None:
        self.parked_until_us = _park_end(self.park_timeout or event.variables.park_seconds, event.timestamp)
        self.park_timeout = ""

    def _take_unpark(self, event: Event) -> None:  # noqa: ARG002
        self.parked_until_us = 0

    def _take_recording(self, event: Event) -> None:
        self.recording = event.record_path if event.name == "RECORD_START" else ""

    def _take_profile(self, profile: Profile) -> None:
        self.caller_name = shared(profile.caller_name)
        self.caller_number = shared(profile.caller_number)
        self.destination = shared(profile.destination)
        # Of a phone that nobody but the switch calls, the address is known when it rings, and `show channels` takes it
        # only with the next profile.
        late = not self.inbound and not self.origin_uuid and profile.since_us == profile.created_us
        self.ip = "" if late else shared(profile.network_address)
        self.context = shared(profile.context)

    def _take_common(self, event: Event) -> None:
        if event.answer_state == "hangup":
            self.hungup = True
            self.cause = shared(event.hangup_cause)
        if event.variables.uuid:
            self._take_variables(event.variables, event.presence_id)
        # An event of a state has a caller profile only because all have (switch_channel.c,
        # `switch_channel_event_set_basic_data`), and what is new in it others say, but for the name of whom a channel
        # has reached that follows its caller, and the end of a hold that a transfer ends without CHANNEL_UNHOLD
        # (mod_sofia.c, `sofia_on_hibernate`). The times of a hold in CHANNEL_CALLSTATE are those of the one before
        # (`switch_channel_set_flag_value`, `switch_channel_clear_flag`), so its own time is taken.
        if event.name not in OF_STATES or event.state_number == ROUTING:
            self._take_times(event.profile, event.callstate)
        if not self.inbound and event.state in FOLLOWING_STATES:
            self._take_callee(event.profile)

    def _take_times(self, profile: Profile, callstate: str) -> None:
        self.answered_us = profile.answered_us
        self.hold_accum_us = profile.hold_accum_us
        # The event's own: a dump may overtake the event of another callstate, and then the hold is in the sum already.
        self.hold_since_us = profile.last_hold_us if callstate == "HELD" else 0

    def _take_callee(self, profile: Profile) -> None:
        name = profile.callee_name
        if name and name != "Outbound Call" and profile.since_us == profile.created_us:
            self.party_name = shared(name)

    def _take_variables(self, said: Variables, presence_id: str) -> None:
        if said.call_direction in DIRECTIONS:
            self.business_direction = shared(said.call_direction)
        self.domain = shared(said.domain_name or said.dialed_domain or presence_id.partition("@")[2])
        self.application = shared(said.application)
        self.application_data = said.application_data if self.application in TELLING_APPLICATIONS else ""
        self.queue = shared(said.queue)
        self.park_timeout = said.park_timeout or self.park_timeout
        self.whisper = ("a" if said.whisper_aleg == "true" else "") + ("b" if said.whisper_bleg == "true" else "")


_TAKE: Final[dict[str, Callable[[Channel, Event], None]]] = {
    "CHANNEL_STATE": Channel._take_state,
    "CHANNEL_CALLSTATE": Channel._take_callstate,
    "CALL_UPDATE": Channel._take_party,
    "CHANNEL_PARK": Channel._take_park,
    "CHANNEL_UNPARK": Channel._take_unpark,
    "RECORD_START": Channel._take_recording,
    "RECORD_STOP": Channel._take_recording,
}
"""What the switch takes from which event into its own table, and what else an event is the only one to say."""


class Call:
    """The channels that belong to one conversation. `lead` is the leg that the row shows. `id` never changes, unless a
    probe finds out that there was an earlier one (`CallSet.orphan`)."""

    __slots__ = ("age_key", "causes", "created", "created_us", "dirty", "id", "lead", "legs", "other_ids", "record")

    def __init__(self, first: Channel, call_id: str) -> None:
        self.id = call_id
        self.created = first.created
        self.created_us = first.created_us + (first.age_key >> RANKED & 3)
        """When it began; of two calls of one tick of the switch's clock, the one that began first has less."""
        self.age_key = first.age_key
        self.lead = first
        self.legs: list[Channel] = [first]
        self.other_ids: tuple[str, ...] = ()
        """Ids that are no live leg's and still find this call: of merged calls, of legs that talked in it."""
        self.causes: tuple[tuple[str, str], ...] = ()
        """Legs that have left it, the latest, each with why it ended."""
        self.dirty = False
        self.record: Record | None = None
        """What was last published of it."""

    def __repr__(self) -> str:
        return f"<Call {self.id[:8]} {self.legs!r}>"

    def choose_lead(self) -> None:
        """The leg that leads goes: the oldest of those that stay, a real one before a loopback one."""
        self.lead = min(self.legs, key=lambda leg: (leg.hungup, leg.is_virtual, leg.age_key))


def _created(event: Event) -> str:
    """When the channel was created, from a dump, which does not say it in local time."""
    return local_time(event.profile.created_us, utc_offset(event.date_local, event.timestamp) or 0)


def _extension(event: Event, inbound: bool, fresh: bool) -> str:
    """The extension whose phone is at the far end of this channel, or "".

    A phone that calls in has authenticated (`user_name`). A phone that was called has `dialed_user`; but a bridge
    imports that variable into the caller's channel as well, so on a channel that is not fresh only its presence id
    counts, and a gateway is never a phone.
    """
    if inbound:
        return event.variables.user_name
    if event.variables.gateway:
        return ""
    if fresh and event.variables.dialed_user:
        return event.variables.dialed_user
    return event.presence_id.partition("@")[0]


def _origin(event: Event, fresh: bool) -> str:
    """The channel that this one was made for, or "": its caller, or who waits in the queue that calls an agent.

    Later the other leg is whom the channel talks to; who made it stays in `originating_leg_uuid`.
    """
    caller = event.variables.originating_leg
    if fresh and event.profile.other_type == "originator":
        caller = event.profile.other_leg_uuid
    return caller or event.variables.queue_member_uuid


def _outside_number(event: Event, inbound: bool) -> str:
    """The far end's own number: who called in, or, from the channel's name (`sofia/external/0899123456`), who was
    called. The destination will not do, it changes when the channel is transferred.
    """
    if inbound:
        return event.profile.original_number or event.profile.caller_number
    return event.channel_name.rpartition("/")[2].partition("@")[0]


def _park_end(timeout: str, parked_us: int) -> int:
    """When a parked channel is hung up; 0 where it waits for ever.

    `park_timeout` is `SECONDS` or `SECONDS:CAUSE`. The switch unsets it before it sends CHANNEL_PARK (switch_ivr.c,
    `switch_ivr_park`), so it is what an earlier event of the channel said.
    """
    seconds = timeout.partition(":")[0]
    return parked_us + int(seconds) * 1_000_000 if seconds.isdecimal() else 0
