"""Every error of callbridge, by whose fault it is.

The message of each is one sentence for the operator: what happened and, where there is one, the way out. Nothing here
carries a password, a token or a caller's data.
"""


class CallbridgeError(Exception):
    """The root: whatever callbridge raises on purpose."""


class ConfigError(CallbridgeError):
    """The configuration is wrong; the process exits with 78 (EX_CONFIG of sysexits.h)."""


class SwitchError(CallbridgeError):
    """Something between callbridge and a switch went wrong; the connection it happened on is of no more use."""


class SwitchUnreachable(SwitchError):
    """No TCP connection, or no greeting in time."""


class AuthenticationFailed(SwitchError):
    """The switch refused the password."""


class AccessRefused(SwitchError):
    """The switch's access list (`apply-inbound-acl`) refuses this address."""


class Disconnected(SwitchError):
    """The connection ended: by the switch's own notice, by end of file, or by us."""


class SwitchSilent(SwitchError):
    """The switch has not answered in time; what it did with the command is not known."""


class RemoteProtocolError(SwitchError):
    """The switch sent what is no event socket traffic. After it nothing on that connection can be trusted."""


class LocalProtocolError(CallbridgeError):
    """We were about to send what must not be sent, or out of turn: a bug in callbridge, nothing left the process."""


class CommandRefused(CallbridgeError):
    """The switch answered a command with `-ERR`; `reply` is what it said."""

    def __init__(self, command: str, reply: str) -> None:
        super().__init__(f"the switch refused {command!r}: {reply}")
        self.reply = reply


class StartError(CallbridgeError):
    """The service cannot start although its configuration is right: the port is taken, say."""
