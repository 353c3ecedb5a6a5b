"""Caller profiles (switch_caller.c): who calls whom, as a channel sees it, and when what happened."""

from collections.abc import Mapping
from functools import cache
from typing import Final

from callbridge.simulator.forms import FORMS, Pairs

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


class Profile:
    """A caller profile (switch_caller.c): who calls whom, as a channel sees it."""

    __slots__ = ("hold_us", "index", "last_hold_us", "times", "values")

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)
        self.times = dict.fromkeys(TIMES, 0)
        self.hold_us = 0
        self.last_hold_us = 0
        self.index = 1
        """Each transfer gives a channel its next profile."""

    def transfer(self, destination: str, dialplan: str, context: str, source: str) -> None:
        """The dialplan or a command sends the channel elsewhere (switch_ivr.c, `switch_ivr_session_transfer`)."""
        redirected_from, name = self.values["Destination-Number"], self.values.pop("Channel-Name")
        for key in ("Context", "RDNIS", "Transfer-Source"):
            self.values.pop(key, None)
        self.values |= {"Transfer-Source": source, "Context": context, "RDNIS": redirected_from, "Channel-Name": name}
        self.values["Dialplan"] = dialplan
        self.values["Destination-Number"] = destination
        self.index += 1

    def flip(self) -> None:
        """A channel that was called now calls: caller and callee change places (`switch_channel_flip_cid`)."""
        values = self.values
        for what in ("Name", "Number"):
            caller, callee = f"Caller-ID-{what}", f"Callee-ID-{what}"
            values[caller], values[callee] = values[callee], values[caller]

    def who(self, prefix: str) -> list[tuple[str, str]]:
        """Its headers without those of times, `Caller-…` or `Other-Leg-…`."""
        return [(f"{prefix}-{name}", value) for name, value in self.values.items() if value]

    def when(self, form: str) -> str:
        """Its headers of times, as `Caller-…`."""
        return _when(form) % (self.index, *self.times.values(), self.last_hold_us, self.hold_us)

    def as_other(self, times: Mapping[str, int]) -> list[tuple[str, str]]:
        """Its headers as those of an other leg, which knows of `times` alone."""
        pairs = [*self.who("Other-Leg"), *((f"Other-Leg-{name}-Time", str(times.get(name, 0))) for name in TIMES)]
        return [*pairs, *((f"Other-Leg-Channel-{what}", "0") for what in _HOLDS), *_manners("Other-Leg")]


_HOLDS: Final = ("Last-Hold", "Hold-Accum")


def _manners(prefix: str) -> Pairs:
    yield f"{prefix}-Screen-Bit", "true"
    for what in ("Name", "Number"):
        yield f"{prefix}-Privacy-Hide-{what}", "false"


@cache
def _when(form: str) -> str:
    """The headers of a caller profile's times, for the % operator."""
    names = ["Profile-Index", *(f"{name}-Time" for name in TIMES), *(f"Channel-{what}" for what in _HOLDS)]
    pairs = [*((f"Caller-{name}", "__number__") for name in names), *_manners("Caller")]
    return FORMS[form].block(pairs).replace("__number__", "%d")
