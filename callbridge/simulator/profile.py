"""Caller profiles (switch_caller.c): who calls whom, as a channel sees it, and when what happened."""

from collections.abc import Mapping
from functools import cache
from typing import Final

from callbridge.simulator.forms import FORMS

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

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values
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

    def who(self, form: str) -> str:
        """Its headers without those of times, `Caller-…`."""
        return FORMS[form].block([*_filled(self.values), ("Profile-Index", str(self.index))], "Caller-")

    def when(self, form: str) -> str:
        """Its headers of times, and those after them."""
        return _when(form, "Caller-") % (*self.times.values(), self.last_hold_us, self.hold_us)


class OtherLeg:
    """What a channel knows of its other leg, an `originator` or `originatee`: the profile that this one has now, and
    `times`. The logical direction is the originator's in both cases."""

    __slots__ = ("_kind", "_times", "_values")

    def __init__(self, kind: str, profile: Profile, times: Mapping[str, int]) -> None:
        self._kind = kind
        self._values = profile.values | {"Logical-Direction": "inbound"}
        self._values.pop("Transfer-Source", None)
        self._times = tuple([times.get(name, 0) for name in TIMES])

    def written(self, form: str) -> str:
        """Its headers, `Other-…`."""
        kind = FORMS[form].block([("Other-Type", self._kind)])
        who = FORMS[form].block(_filled(self._values), "Other-Leg-")
        return f"{kind}{who}{_when(form, 'Other-Leg-') % (*self._times, 0, 0)}"


def _filled(values: Mapping[str, str]) -> list[tuple[str, str]]:
    return [pair for pair in values.items() if pair[1]]


@cache
def _when(form: str, prefix: str) -> str:
    """The headers of a caller profile's times, and those after them, for the % operator."""
    names = [*(f"{name}-Time" for name in TIMES), "Channel-Last-Hold", "Channel-Hold-Accum"]
    manners = [("Screen-Bit", "true"), ("Privacy-Hide-Name", "false"), ("Privacy-Hide-Number", "false")]
    text = FORMS[form].block([*((name, "__number__") for name in names), *manners], prefix)
    return text.replace("__number__", "%d")
