"""The calls of a simulated switch: of which kind they are, who calls whom, and how these behave."""

import random
from typing import Final

from callbridge.simulator.channel import Channel, Habits, Parties
from callbridge.simulator.machine import Machine
from callbridge.simulator.phones import BUSY_SUFFIX, EXTENSIONS, RINGING_SUFFIX
from callbridge.simulator.timeline import Steps

KINDS: Final = ("outbound", "inbound", "local", "busy", "cancelled", "hold")

_SUFFIXES: Final = {"busy": BUSY_SUFFIX, "cancelled": RINGING_SUFFIX}


def parties(kind: str, domain: str, chance: random.Random) -> Parties:
    """A pair of parties by chance, as it belongs to that kind of call."""
    extension, colleague = (str(number) for number in chance.sample(EXTENSIONS, 2))
    if kind == "inbound":
        mobile = f"0{chance.randrange(900_000_000, 999_999_999)}"
        return Parties(domain, mobile, mobile, f"0212345678{extension}", extension)
    if kind == "local":
        return Parties(domain, extension, f"Agent {extension}", colleague, colleague)
    number = f"0{chance.randrange(900_000, 999_999)}"
    number += _SUFFIXES.get(kind) or chance.choice(_ORDINARY)
    return Parties(domain, extension, f"Agent {extension}", number, number)


_ORDINARY: Final = tuple(
    suffix for suffix in (f"{number:03}" for number in range(1000)) if suffix not in _SUFFIXES.values()
)


class Call:
    """One call that comes in to the switch. `run` is all that happens of its own; a command changes it."""

    def __init__(
        self,
        machine: Machine,
        kind: str,
        who: Parties,
        *,
        ring: float = 0.3,
        talk: float = 1.0,
        caller_hangs_up: bool = True,
    ) -> None:
        self.kind = kind
        self.who = who
        self._machine = machine
        machine.phones.add_tenant(who.domain)
        self.a = machine.caller(kind, who)
        self.a.habits = Habits(
            ring=ring,
            talk=talk,
            caller_hangs_up=caller_hangs_up,
            gives_up=kind == "cancelled",
            holds=kind == "hold",
        )

    def __repr__(self) -> str:
        return f"<Call {self.kind} {self.who.caller_number} to {self.who.destination}>"

    @property
    def talk(self) -> float:
        """Seconds of talk."""
        return self.a.habits.talk

    @property
    def b(self) -> Channel | None:
        """The leg that was called."""
        return self.a.called

    @property
    def bridged(self) -> bool:
        """Whether the two talk."""
        return self.a.partner is not None

    def run(self) -> Steps:
        """The whole call."""
        return self._machine.live(self.a)
