"""What callbridge tells a switch to do, or asks of it: a closed list, each with typed arguments.

Nothing becomes part of a command that does not match its pattern here, whoever checked it before, and no pattern has a
blank, a quote, a bracket, a comma, a dollar sign, a pipe or a control character: what is sent is exactly this command
with exactly these arguments. Sources: mod_commands.c for the form of each, switch_ivr_originate.c for the variables in
braces.
"""

import re
from typing import ClassVar, Final, Literal

import msgspec

from callbridge.errors import LocalProtocolError

UUID: Final = re.compile(r"[A-Za-z0-9_.@+][A-Za-z0-9_.@+-]{0,254}")
EXTENSION: Final = re.compile(r"[0-9A-Za-z_+*#.]{1,32}")
DOMAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
CAUSE: Final = re.compile(r"[A-Z][A-Z0-9_]{2,47}")
DIGITS: Final = re.compile(r"[0-9A-Dw*#]{1,64}")
PATH: Final = re.compile(r"/[A-Za-z0-9_./@+:-]{1,400}")
VALUE: Final = re.compile(r"[A-Za-z0-9_.:@+*#-]{0,255}")
VARIABLE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_WORDS: Final = frozenset(("all", "off", "toggle"))


class Order(msgspec.Struct, frozen=True):
    """One command. `acts`: whether it changes something, so that a lost answer leaves its outcome unknown."""

    acts: ClassVar[bool] = True
    name: ClassVar[str]

    def line(self) -> str:
        """The command as the switch reads it. Raises LocalProtocolError where an argument is none."""
        raise NotImplementedError


def _checked(pattern: "re.Pattern[str]", what: str, value: str) -> str:
    if pattern.fullmatch(value) is None:
        raise LocalProtocolError(f"what was to be {what} in a command is none; nothing was sent")
    return value


def _uuid(value: str) -> str:
    # `eavesdrop all` would listen to every call of the switch (mod_dptools.c, `eavesdrop_function`), and in `uuid_hold`
    # two more are what to do (mod_commands.c, `uuid_hold_function`); capitals make no difference there.
    if value.lower() in _WORDS:
        raise LocalProtocolError("a word of the switch's own is no channel; nothing was sent")
    return _checked(UUID, "a uuid", value)


def _user(extension: str, domain: str) -> str:
    return f"{_checked(EXTENSION, 'an extension', extension)}@{_checked(DOMAIN, 'a domain', domain)}"


class UserExists(Order, frozen=True):
    """Whether the directory has this user: `true` or `false`."""

    acts = False
    name = "user_exists"
    extension: str
    domain: str

    def line(self) -> str:
        extension, domain = _user(self.extension, self.domain).split("@")
        return f"user_exists id {extension} {domain}"


class Contact(Order, frozen=True):
    """Where the user's phones are registered, or `error/user_not_registered`."""

    acts = False
    name = "sofia_contact"
    extension: str
    domain: str

    def line(self) -> str:
        return f"sofia_contact */{_user(self.extension, self.domain)}"


class GetVariable(Order, frozen=True):
    """A channel's variable, or `_undef_`."""

    acts = False
    name = "uuid_getvar"
    uuid: str
    variable: Literal["originate_disposition", "callbridge_to_whisper"]

    def line(self) -> str:
        return f"uuid_getvar {_uuid(self.uuid)} {_checked(VARIABLE, 'a variable', self.variable)}"


class SetVariable(Order, frozen=True):
    """Set a channel's variable; an empty value unsets it."""

    name = "uuid_setvar"
    uuid: str
    variable: Literal[
        "originate_disposition",
        "park_timeout",
        "callbridge_park_seconds",
        "eavesdrop_whisper_aleg",
        "eavesdrop_whisper_bleg",
        "callbridge_watches",
        "callbridge_to_whisper",
    ]
    value: str

    def line(self) -> str:
        variable, value = _checked(VARIABLE, "a variable", self.variable), _checked(VALUE, "a value", self.value)
        return f"uuid_setvar {_uuid(self.uuid)} {variable} {value}".rstrip()


class Transfer(Order, frozen=True):
    """Send a leg to a destination of the dialplan. Its other leg is let go of."""

    name = "uuid_transfer"
    uuid: str
    destination: str
    context: str

    def line(self) -> str:
        destination = _checked(EXTENSION, "an extension", self.destination)
        return f"uuid_transfer {_uuid(self.uuid)} {destination} XML {_checked(DOMAIN, 'a context', self.context)}"


class Watch(Order, frozen=True):
    """Have a supervisor's channel eavesdrop on `target`, with the mode that its variables say."""

    name = "uuid_transfer"
    uuid: str
    target: str

    def line(self) -> str:
        return f"uuid_transfer {_uuid(self.uuid)} eavesdrop:{_uuid(self.target)} inline"


class Park(Order, frozen=True):
    """Let a leg wait."""

    name = "uuid_park"
    uuid: str

    def line(self) -> str:
        return f"uuid_park {_uuid(self.uuid)}"


class Kill(Order, frozen=True):
    """Hang a channel up."""

    name = "uuid_kill"
    uuid: str
    cause: str = "NORMAL_CLEARING"

    def line(self) -> str:
        return f"uuid_kill {_uuid(self.uuid)} {_checked(CAUSE, 'a cause', self.cause)}"


class StopPhones(Order, frozen=True):
    """Hang up every phone that was rung under `id`, whether it rings or has answered. The switch says +OK also where
    there is none (mod_commands.c, `hupall_api_function`)."""

    name = "hupall"
    id: str

    def line(self) -> str:
        # With fewer words it would hang up every channel of the switch.
        return f"hupall NORMAL_CLEARING callbridge_id {_uuid(self.id)}"


class Hold(Order, frozen=True):
    """Put the phone of a leg on hold, or take it back."""

    name = "uuid_hold"
    uuid: str
    on: bool

    def line(self) -> str:
        return f"uuid_hold {'' if self.on else 'off '}{_uuid(self.uuid)}"


class Mute(Order, frozen=True):
    """Have nobody hear a leg, or hear it again. Level -1 is silence (measured)."""

    name = "uuid_audio"
    uuid: str
    on: bool

    def line(self) -> str:
        return f"uuid_audio {_uuid(self.uuid)} {'start read mute -1' if self.on else 'stop'}"


class SendDtmf(Order, frozen=True):
    """Send keys to the phone of a leg."""

    name = "uuid_send_dtmf"
    uuid: str
    digits: str

    def line(self) -> str:
        return f"uuid_send_dtmf {_uuid(self.uuid)} {_checked(DIGITS, 'keys', self.digits)}"


class RecordCall(Order, frozen=True):
    """Begin or end the recording of a leg, which hears both sides."""

    name = "uuid_record"
    uuid: str
    on: bool
    path: str

    def line(self) -> str:
        return f"uuid_record {_uuid(self.uuid)} {'start' if self.on else 'stop'} {_checked(PATH, 'a path', self.path)}"


class Originate(Order, frozen=True):
    """Ring all phones of a user; the first that answers goes to `destination` of the dialplan, or eavesdrops on the
    channel `target`, and the others stop. `variables` are set on each of their channels from its first event on, and so
    is `id`, under which they are known: each has a uuid of its own, because the switch gives one to one channel only
    (switch_core_session.c, `switch_core_session_set_uuid`)."""

    name = "originate"
    id: str
    extension: str
    domain: str
    ring_seconds: int
    variables: dict[str, str]
    target: str = ""
    destination: str = ""
    context: str = ""

    def line(self) -> str:
        variables = {
            "callbridge_id": _uuid(self.id),
            "originate_timeout": str(self.ring_seconds),
            # Else a phone that plays something while it rings would have answered.
            "ignore_early_media": "true",
            **self.variables,
        }
        pairs = [
            f"{_checked(VARIABLE, 'a variable', name)}={_checked(VALUE, 'a value', value)}"
            for name, value in variables.items()
        ]
        if self.target:
            then = f"&eavesdrop({_uuid(self.target)})"
        else:
            destination = _checked(EXTENSION, "an extension", self.destination)
            then = f"{destination} XML {_checked(DOMAIN, 'a context', self.context)}"
        return f"originate {{{','.join(pairs)}}}user/{_user(self.extension, self.domain)} {then}"
