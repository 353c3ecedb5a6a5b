"""The commands of a switch that change calls, with its words and its refusals (mod_commands.c).

A command sets what a leg is to do and answers; the leg's own thread (`machine`) follows a step later.
"""

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final

from callbridge.simulator.causes import cause_of
from callbridge.simulator.channel import Channel
from callbridge.simulator.legs import SETUP
from callbridge.simulator.machine import Machine, Origination
from callbridge.simulator.phones import DOES
from callbridge.simulator.switch import Reply
from callbridge.simulator.timeline import Steps

NO_CHANNEL: Final = "-ERR No such channel!\n"
NO_SESSION: Final = "-ERR Cannot locate session!\n"
FAILED: Final = "-ERR Operation failed\n"
OK: Final = "+OK\n"
SUCCESS: Final = "+OK Success\n"

_USAGES: Final = {
    "originate": "<call url> <exten>|&<application_name>(<app_args>) [<dialplan>] [<context>] [<cid_name>] [<cid_num>]"
    " [<timeout_sec>]",
    "uuid_audio": "<uuid> [start [read|write] [mute|level <level>]|stop]",
    "uuid_getvar": "<uuid> <var>",
    "uuid_hold": "[off|toggle] <uuid> [<display>]",
    "uuid_kill": "<uuid> [cause]",
    "uuid_record": "<uuid> [start|stop|mask|unmask] <path> [<limit>] [<recording_vars>]",
    "uuid_send_dtmf": "<uuid> <dtmf_data>",
    "uuid_setvar": "<uuid> <var> [value]",
    "uuid_transfer": "<uuid> [-bleg|-both] <dest-exten> [<dialplan>] [<context>]",
}

_ORIGINATE: Final = re.compile(r"(?:\{(?P<variables>[^}]*)\})?(?P<target>\S+) (?P<rest>\S.*)")
_APPLICATION: Final = re.compile(r"&(?P<name>[^(]+)(?:\((?P<data>[^)]*)\)?)?")
_DTMF: Final = re.compile(r"[0-9A-DFWa-dfw*#]+(?:@[0-9]+)?")
_NOWHERE: Final = frozenset(("/proc", "/sys", "/dev"))
"""Folders in which a switch cannot make a file."""


def usage(command: str) -> str:
    """What the switch says to an argument that it does not understand."""
    return f"-USAGE: {_USAGES[command]}\n"


class Commands:
    """Adds its commands to the switch of a machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._switch = machine.switch
        own: dict[str, Callable[[str], str]] = {
            "hupall": self._hang_up_all,
            "sofia_contact": machine.phones.contact,
            "user_exists": self._user_exists,
            "uuid_audio": self._audio,
            "uuid_getvar": self._get_variable,
            "uuid_hold": self._hold,
            "uuid_kill": self._kill,
            "uuid_park": self._park,
            "uuid_record": self._record,
            "uuid_send_dtmf": self._send_dtmf,
            "uuid_setvar": self._set_variable,
            "uuid_transfer": self._transfer,
        }
        self._switch.commands |= own
        self._switch.slow_commands["originate"] = self._originate
        self._switch.simulator_commands["phone"] = (f"<ext>@<domain> {'|'.join(DOES)} [<seconds>]", self._set_phone)

    # Who there is.

    def _user_exists(self, argument: str) -> str:
        words = argument.split()
        exists = len(words) == 3 and words[0] == "id" and self._machine.phones.exists(words[1], words[2])
        return str(exists).lower()

    def _set_phone(self, argument: str) -> str:
        words = argument.split()
        if len(words) not in (2, 3):
            return ""
        try:
            self._machine.phones.set(words[0], words[1], float(words[2]) if len(words) == 3 else None)
        except ValueError as error:
            return f"-ERR {error}\n"
        return OK

    # Where a leg goes.

    def _originate(self, argument: str, reply: Reply) -> None:
        found = _ORIGINATE.fullmatch(argument)
        if found is None:
            reply(usage("originate"))
            return
        pairs = (pair.partition("=") for pair in (found["variables"] or "").split(",") if pair)
        variables = {name.strip(): value.strip("'") for name, _, value in pairs}
        application = _APPLICATION.fullmatch(found["rest"])
        if application is not None:
            wanted = Origination(variables, found["target"], (application["name"], application["data"] or ""))
        else:
            destination, dialplan, context, *_ = [*found["rest"].split(), "XML", "default"][:3]
            wanted = Origination(variables, found["target"], goes_to=(destination, dialplan, context))
        self._machine.timeline.start(self._machine.originate(wanted, reply))

    def _transfer(self, argument: str) -> str:
        uuid, *words = argument.split()[:5] or [""]
        if not words:
            return usage("uuid_transfer")
        leg = self._switch.find(uuid)
        if leg is None:
            return NO_CHANNEL
        legs = [leg]
        if words[0] in ("-bleg", "-both"):
            other = leg.partner or leg
            legs = [other] if words.pop(0) == "-bleg" else [leg, other]
        destination, dialplan, context = [*words, *("", "", "")][:3]
        for each in dict.fromkeys(legs):
            values = each.profile.values
            self._machine.transfer(each, destination, dialplan or "XML", context or values["Context"])
            self._machine.send(each, "ROUTING")
        return OK

    def _park(self, uuid: str) -> str:
        leg = self._switch.find(uuid)
        if leg is None:
            return NO_CHANNEL
        self._machine.send(leg, "PARK")
        return OK

    def _kill(self, argument: str) -> str:
        uuid, _, cause = argument.partition(" ")
        if not uuid:
            return usage("uuid_kill")
        leg = self._switch.find(uuid)
        if leg is None:
            return NO_CHANNEL
        self._hang_up(leg, cause_of(cause))
        return OK

    def _hang_up_all(self, argument: str) -> str:
        cause, *words = argument.split() or ["MANAGER_REQUEST"]
        # What has no value is passed over, and without any variable all are meant.
        wanted = list(zip(words[::2], words[1::2], strict=False))
        for leg in list(self._switch.channels.values()):
            if all(leg.variable(name) == value for name, value in wanted):
                self._hang_up(leg, cause)
        matching = f" matching [{words[0]}]=[{words[1]}]{'...' * len(wanted[1:2])}" if wanted else ""
        return f"+OK hangup all channels{matching} with cause{':' * len(wanted[:1])} {cause}\n"

    def _hang_up(self, leg: Channel, cause: str) -> None:
        leg.go_astray()
        self._machine.hang_up(leg, cause)
        self._machine.wake(leg)

    # What is known of it.

    def _set_variable(self, argument: str) -> str:
        uuid, _, rest = argument.partition(" ")
        name, _, value = rest.partition(" ")
        if not name:
            return usage("uuid_setvar")
        leg = self._switch.find(uuid)
        if leg is None:
            return NO_CHANNEL
        leg.put(name, value.strip())
        return OK

    def _get_variable(self, argument: str) -> str:
        uuid, _, name = argument.partition(" ")
        if not name:
            return usage("uuid_getvar")
        leg = self._switch.find(uuid)
        if leg is None:
            return NO_CHANNEL
        return leg.variable(name) or "_undef_"

    # What is done to its media.

    def _hold(self, argument: str) -> str:
        words = argument.split()
        if not words:
            return usage("uuid_hold") + FAILED
        leg = self._switch.find(words[-1] if words[0] in ("off", "toggle") else words[0])
        if leg is None:
            return SUCCESS
        held = leg.callstate == "HELD"
        wanted = not held if words[0] == "toggle" else words[0] != "off"
        if wanted == held:
            return FAILED
        (self._machine.hold if wanted else self._machine.unhold)(leg)
        return SUCCESS

    def _audio(self, argument: str) -> str:
        words = argument.split()
        if len(words) < 2:
            return usage("uuid_audio")
        leg = self._switch.find(words[0])
        if leg is None:
            return NO_CHANNEL
        if words[1] == "stop":
            return OK
        if len(words) < 5 or words[1] != "start" or words[2] not in ("read", "write"):
            return usage("uuid_audio")
        if words[3] not in ("mute", "level"):
            return usage("uuid_audio")
        self._machine.give_media(leg)
        return OK

    def _send_dtmf(self, argument: str) -> str:
        uuid, _, digits = argument.partition(" ")
        if not digits:
            return usage("uuid_send_dtmf")
        if self._switch.find(uuid) is None:
            return NO_SESSION
        return f"+OK {uuid} sent DTMF {digits}.\n" if _DTMF.fullmatch(digits) else FAILED

    def _record(self, argument: str) -> str:
        uuid, *words = argument.split(" ") if argument else [""]
        if len(words) < 2:
            return usage("uuid_record")
        leg = self._switch.find(uuid)
        if leg is None:
            return NO_SESSION
        match words[0]:
            case "start":
                return self._start_recording(leg, words[1])
            case "stop":
                return self._stop_recording(leg, words[1])
        return usage("uuid_record")

    def _start_recording(self, leg: Channel, path: str) -> str:
        if str(PurePosixPath(path).parent) in _NOWHERE or not (leg.answered or leg.inbound):
            return "-ERR Cannot record session!\n"
        self._machine.give_media(leg)
        if path not in leg.recordings:
            leg.recordings += (path,)
            self._soon(lambda: self._machine.start_recording(leg, path), leg)
        return SUCCESS

    def _stop_recording(self, leg: Channel, path: str) -> str:
        paths = leg.recordings if path == "all" else (path,)
        if not paths or not set(paths) <= set(leg.recordings):
            return "-ERR Cannot stop record session!\n"
        for each in paths:
            self._machine.stop_recording(leg, each)
        return SUCCESS

    def _soon(self, act: Callable[[], None], leg: Channel) -> None:
        """A recording begins with the next frame, if the leg still lives then."""

        def steps() -> Steps:
            yield SETUP
            if not leg.dead:
                act()

        self._machine.timeline.start(steps())
