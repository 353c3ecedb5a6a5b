"""The simulated switch: its channels, the events they make, and what it answers to commands."""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from callbridge.simulator.channel import CALLSTATES, STATES, WITH_VARIABLES, Channel
from callbridge.simulator.faults import Faults
from callbridge.simulator.forms import FORMS
from callbridge.simulator.rows import Rows

VERSION: Final = "1.10.12-release+git~20240802T210227Z~a88d069d6f~64bit"
HOSTNAME: Final = "simulator"
HEARTBEAT_EVERY: Final = 20.0
"""Seconds between HEARTBEAT events (switch.conf, `event-heartbeat-interval`)."""

_TICK_US: Final = 20_000
"""The switch's clock steps in its timer's interval: events of one step carry the same time (in every recording)."""

_MADE_IN: Final = {
    "CHANNEL_STATE": ("switch_channel.c", "switch_channel_perform_set_running_state", 2408),
    "CODEC": ("switch_core_codec.c", "switch_core_session_set_real_read_codec", 168),
    "CHANNEL_CREATE": ("switch_core_state_machine.c", "switch_core_session_run", 626),
    "CHANNEL_CALLSTATE": ("switch_channel.c", "switch_channel_perform_set_callstate", 301),
    "CHANNEL_EXECUTE": ("switch_core_session.c", "switch_core_session_exec", 2944),
    "CHANNEL_EXECUTE_COMPLETE": ("switch_core_session.c", "switch_core_session_exec", 2967),
    "CHANNEL_OUTGOING": ("switch_core_session.c", "switch_core_session_outgoing_channel", 768),
    "CHANNEL_ORIGINATE": ("switch_core_state_machine.c", "switch_core_session_run", 632),
    "CHANNEL_PROGRESS": ("switch_channel.c", "switch_channel_perform_mark_ring_ready_value", 3505),
    "CHANNEL_ANSWER": ("switch_channel.c", "switch_channel_perform_mark_answered", 3846),
    "CHANNEL_BRIDGE": ("switch_ivr_bridge.c", "switch_ivr_multi_threaded_bridge", 1689),
    "CALL_UPDATE": ("mod_sofia.c", "sofia_receive_message", 2100),
    "CHANNEL_HANGUP": ("switch_channel.c", "switch_channel_perform_hangup", 3445),
    "CHANNEL_UNBRIDGE": ("switch_ivr_bridge.c", "switch_ivr_multi_threaded_bridge", 1879),
    "CHANNEL_HANGUP_COMPLETE": ("switch_core_state_machine.c", "switch_core_session_reporting_state", 943),
    "CHANNEL_DESTROY": ("switch_core_session.c", "switch_core_session_perform_destroy", 1584),
    "CHANNEL_HOLD": ("switch_channel.c", "switch_channel_mark_hold", 875),
    "CHANNEL_UNHOLD": ("switch_channel.c", "switch_channel_mark_hold", 875),
    "CHANNEL_DATA": ("mod_commands.c", "uuid_dump_function", 6468),
    "HEARTBEAT": ("switch_core.c", "send_heartbeat", 95),
    "BACKGROUND_JOB": ("mod_event_socket.c", "api_exec", 1572),
}


_FIXED: Final = 0xF << 76 | 0x3 << 62
_VERSION_4: Final = 0x4 << 76 | 0x2 << 62
"""The bits that say that a uuid is one by chance (RFC 9562, 5.4), and what they are then."""

Reply = Callable[[str], None]
"""What takes the answer to a command."""

_TIMESTAMP: Final = "__timestamp__"
_SEQUENCE: Final = "__sequence__"
"""What stands in a head for what differs from event to event."""

Own = Sequence[tuple[str, str]]
"""Headers of one event alone."""


class Listener(Protocol):
    """Who is connected to the event socket."""

    form: str

    def wants(self, name: str) -> bool:
        """Whether it has subscribed to events of that name."""

    def deliver(self, form: str, event: bytes) -> None:
        """Take one event."""


class Switch:
    """A FreeSWITCH without media. `wall_clock` gives microseconds since 1970, `clock` seconds of a steady clock."""

    def __init__(
        self,
        seed: int = 0,
        wall_clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.chance = random.Random(seed)
        self.core_uuid = self.new_uuid()
        self.faults = Faults()
        self.channels: dict[str, Channel] = {}
        self.listeners: list[Listener] = []
        self.commands: dict[str, Callable[[str], str]] = {
            "show": self.show,
            "uuid_dump": self.dump,
            "uuid_exists": lambda uuid: str(self.find(uuid) is not None).lower(),
            "global_getvar": lambda name: self.core_uuid if name == "core_uuid" else "",
            "hostname": lambda _: HOSTNAME,
            "version": lambda _: f"FreeSWITCH Version {VERSION} (simulated by callbridge)\n",
            "status": lambda _: f"UP\n{len(self.channels)} session(s)\n",
            "echo": lambda text: text,
            "simulator": self.simulate,
        }
        """name -> what is called with the argument. Whoever drives the calls adds its own."""
        self.slow_commands: dict[str, Callable[[str, Reply], None]] = {}
        """Those that answer when they are done: name -> what is called with the argument and with what takes the
        answer."""
        self.simulator_commands: dict[str, tuple[str, Callable[[str], str]]] = {
            "fault": ("<name> <value>", self.set_fault)
        }
        """Second word of `simulator …` -> its usage, and what is called with the rest and gives "" for a wrong one."""
        self.rows = Rows(HOSTNAME, clock, self.faults, self.chance)
        self.sequence = 500
        self.started = 0
        self._wall_clock = wall_clock
        self._began_us = wall_clock()
        self._second = 0
        self._heads: dict[tuple[str, str], tuple[str, str, str]] = {}
        """(form, name) -> the headers that all such events have in the second that it is"""

    def __repr__(self) -> str:
        return f"<Switch {len(self.channels)} channels, {len(self.listeners)} listeners>"

    def new_uuid(self) -> str:
        """A uuid by chance of this switch's seed."""
        digits = f"{self.chance.getrandbits(128) & ~_FIXED | _VERSION_4:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def now_us(self) -> int:
        """The switch's clock: microseconds since 1970, in its steps."""
        return self._wall_clock() // _TICK_US * _TICK_US

    # Events.

    def fire(self, channel: Channel, name: str, *, before: Own = (), middle: Own = (), after: Own = ()) -> None:
        """Make one event of a channel and give it to whoever wants it. `before`, `middle`, `after`: where the switch
        puts the event's own headers."""
        self.sequence += 1
        us = self.now_us()
        if name in WITH_VARIABLES:
            channel.advance(name)
        self.rows.note(channel, name, us, (*before, *after))
        wanted = [listener for listener in self.listeners if listener.wants(name)]
        if not wanted or (self.faults.lost_events and self.chance.random() < self.faults.lost_events):
            return
        written: dict[str, bytes] = {}
        for listener in wanted:
            form = listener.form
            event = written.get(form)
            if event is None:
                writer = FORMS[form]
                blocks = [self._common(form, name, us)]
                if before:
                    blocks.append(writer.block(before))
                blocks += channel.blocks(form, with_variables=name in WITH_VARIABLES)
                if middle:
                    blocks.append(writer.block(middle))
                if after:
                    blocks.append(writer.block(after))
                event = written[form] = writer.event(blocks, "")
            listener.deliver(form, event)

    def announce(self, name: str, headers: Iterable[tuple[str, str]], body: str = "") -> None:
        """Make one event that is of no channel."""
        self.sequence += 1
        us, headers = self.now_us(), list(headers)
        for listener in [listener for listener in self.listeners if listener.wants(name)]:
            writer = FORMS[listener.form]
            blocks = [self._common(listener.form, name, us), writer.block(headers)]
            listener.deliver(listener.form, writer.event(blocks, body))

    def heartbeat(self) -> None:
        """HEARTBEAT, as the switch sends it every 20 seconds."""
        up_us = self._wall_clock() - self._began_us
        self.announce(
            "HEARTBEAT",
            [
                ("Event-Info", "System Ready"),
                ("Up-Time", _up_time(up_us)),
                ("FreeSWITCH-Version", VERSION),
                ("Uptime-msec", str(up_us // 1000)),
                ("Session-Count", str(sum(not channel.dead for channel in self.channels.values()))),
                ("Max-Sessions", "20000"),
                ("Session-Per-Sec", "2000"),
                ("Session-Per-Sec-Last", "0"),
                ("Session-Per-Sec-Max", "6"),
                ("Session-Per-Sec-FiveMin", "4"),
                ("Session-Since-Startup", str(self.started)),
                ("Session-Peak-Max", str(self.started)),
                ("Session-Peak-FiveMin", "4"),
                ("Idle-CPU", "77.633333"),
            ],
        )

    def _common(self, form: str, name: str, us: int) -> str:
        if us // 1_000_000 != self._second:
            self._second = us // 1_000_000
            self._heads.clear()
        head = self._heads.get((form, name))
        if head is None:
            head = self._heads[form, name] = self._head(form, name)
        # Nothing but digits goes in, which are the same in both forms.
        return f"{head[0]}{us}{head[1]}{self.sequence}{head[2]}"

    def _head(self, form: str, name: str) -> tuple[str, str, str]:
        """The headers that every event of that name has in this second: before, between and after its numbers."""
        moment = datetime.fromtimestamp(self._second, UTC)
        file, function, line = _MADE_IN.get(name, ("switch_core.c", "simulated", 1))
        text = FORMS[form].block(
            (
                ("Event-Name", name),
                ("Core-UUID", self.core_uuid),
                ("FreeSWITCH-Hostname", HOSTNAME),
                ("FreeSWITCH-Switchname", HOSTNAME),
                ("FreeSWITCH-IPv4", "127.0.0.1"),
                ("FreeSWITCH-IPv6", "::1"),
                ("Event-Date-Local", moment.strftime("%Y-%m-%d %H:%M:%S")),
                ("Event-Date-GMT", moment.strftime("%a, %d %b %Y %H:%M:%S GMT")),
                ("Event-Date-Timestamp", _TIMESTAMP),
                ("Event-Calling-File", file),
                ("Event-Calling-Function", function),
                ("Event-Calling-Line-Number", str(line)),
                ("Event-Sequence", _SEQUENCE),
            )
        )
        before, _, rest = text.partition(_TIMESTAMP)
        between, _, after = rest.partition(_SEQUENCE)
        return before, between, after

    # What every channel goes through.

    def enter(self, channel: Channel, state: str) -> None:
        """The channel's thread runs in a new state."""
        channel.state, channel.number = state, STATES[state]
        if channel.inbound and channel.number < STATES["HANGUP"]:
            if state == "ROUTING":
                self.call_state(channel, "RINGING")
            elif channel.answered:
                self.call_state(channel, "ACTIVE")
        self.fire(channel, "CHANNEL_STATE")

    def call_state(self, channel: Channel, callstate: str) -> None:
        """The call state as phones see it."""
        before = channel.callstate
        if before in (callstate, "HANGUP"):
            return
        channel.callstate = callstate
        headers = [("Original-Channel-Call-State", before), ("Channel-Call-State-Number", str(CALLSTATES[callstate]))]
        self.fire(channel, "CHANNEL_CALLSTATE", before=headers)

    def destroy(self, channel: Channel) -> None:
        """The last of a channel: CHANNEL_DESTROY, and one more CHANNEL_STATE."""
        channel.number = STATES["DESTROY"]
        self.fire(channel, "CHANNEL_DESTROY")
        self.channels.pop(channel.uuid, None)
        channel.state = "DESTROY"
        self.fire(channel, "CHANNEL_STATE")

    # Commands.

    def api(self, line: str) -> str:
        """What `api LINE` gives."""
        name, _, argument = line.partition(" ")
        answer = self.commands.get(name)
        return answer(argument) if answer is not None else f"-ERR {name} Command not found!\n"

    def ask(self, line: str, reply: Reply) -> None:
        """Run a command, also one that takes its time."""
        name, _, argument = line.partition(" ")
        slow = self.slow_commands.get(name)
        if slow is not None:
            slow(argument, reply)
        else:
            reply(self.api(line))

    def find(self, uuid: str) -> Channel | None:
        """The channel, unless it is on its way out: then no command finds it any more."""
        channel = self.channels.get(uuid)
        return None if channel is None or channel.dead else channel

    def show(self, argument: str) -> str:
        """`show channels …` and `show calls count`; a simulated switch has nothing else to show."""
        words = argument.split()
        if words[:1] == ["channels"]:
            return self.rows.show(words[1:])
        if words[:2] == ["calls", "count"]:
            bridged = sum(channel.inbound for channel in self.channels.values())
            return f"\n{bridged} total.\n"
        return "-USAGE: channels [count] [as json|delim X]|calls count\n"

    def dump(self, argument: str) -> str:
        """`uuid_dump UUID [json|plain|txt]`."""
        uuid, _, form = argument.partition(" ")
        channel = self.find(uuid)
        if channel is None:
            return "-ERR No such channel!\n" if uuid else "-USAGE: <uuid> [format]\n"
        self.sequence += 1
        form = "json" if form == "json" else "plain"
        blocks = [self._common(form, "CHANNEL_DATA", self.now_us()), *channel.blocks(form, with_variables=True)]
        return FORMS[form].event(blocks, "").decode()

    def simulate(self, argument: str) -> str:
        """`simulator …`: what no real switch has."""
        word, _, rest = argument.partition(" ")
        known = self.simulator_commands.get(word)
        if known is None:
            usages = "|".join(f"{name} {usage}" for name, (usage, _) in self.simulator_commands.items())
            return f"-USAGE: {usages}\n"
        usage, command = known
        return command(rest) or f"-USAGE: {word} {usage}\n"

    def set_fault(self, argument: str) -> str:
        """`simulator fault NAME VALUE`; empty for a wrong usage."""
        words = argument.split()
        if len(words) != 2:
            return ""
        try:
            self.faults.set(*words)
        except ValueError as error:
            return f"-ERR {error}\n"
        return "+OK\n"


def _up_time(us: int) -> str:
    seconds, rest = divmod(us, 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = {"year": 0, "day": days, "hour": hours, "minute": minutes, "second": seconds}
    parts |= {"millisecond": rest // 1000, "microsecond": rest % 1000}
    return ", ".join(f"{number} {unit}{'' if number == 1 else 's'}" for unit, number in parts.items())
