"""Which leg of a call a command means. Pure; the record says all there is to know."""

from collections.abc import Sequence
from typing import Final, Literal

from callbridge.calls import OTHER_SIDE, Side
from callbridge.commands.outcome import Refused
from callbridge.records import Leg, Monitor, Record

RINGING: Final = frozenset(("RINGING", "EARLY"))
"""Call states of a phone that rings (switch_types.h, `switch_channel_callstate_t`)."""

PARKED: Final = "CS_PARK"

Wanted = Side | Literal[""]
"""A side, or "" where the consumer leaves it to the command."""


def by_side(record: Record, side: Side) -> Leg:
    """The leg that a side names: the answered one, if there are several. Where one leg is left both names mean it.

    Raises Refused NOT_BRIDGED.
    """
    legs = record.legs
    if len(legs) == 1:
        return legs[0]
    found = [leg for leg in legs if leg.side == side]
    if not found:
        raise Refused("NOT_BRIDGED", f"this call has no {side} now; its only side is {OTHER_SIDE[side]}")
    return next((leg for leg in found if leg.answered), found[0])


def answered(leg: Leg) -> Leg:
    """The leg itself. Raises Refused NOT_ANSWERED where it has not answered yet."""
    if not leg.answered:
        raise Refused("NOT_ANSWERED", f"the {leg.side} of this call has not been answered yet; try again when it is")
    return leg


def extension_leg(record: Record, side: Wanted) -> Leg:
    """The extension's own leg, whichever that is: of two extensions' the calling one, unless a side is named.

    Raises Refused NOT_BRIDGED where there is none, NOT_ANSWERED where it has not answered.
    """
    if side:
        leg = by_side(record, side)
        if leg.kind != "extension":
            raise Refused("NOT_BRIDGED", f"the {side} of this call is an outside party, which is never whispered to")
        return answered(leg)
    extensions = [leg for leg in record.legs if leg.kind == "extension"]
    if not extensions:
        raise Refused("NOT_BRIDGED", "no extension is in this call")
    extensions.sort(key=lambda leg: (not leg.answered, leg.side))
    return answered(extensions[0])


def main_leg(record: Record, side: Wanted) -> Leg:
    """The leg of the side, else the extension's own, else the first. Raises Refused NOT_BRIDGED, NOT_ANSWERED."""
    if side:
        return answered(by_side(record, side))
    if not record.legs:
        raise Refused("NOT_BRIDGED", "this call has no leg now")
    ranked = sorted(record.legs, key=lambda leg: (not leg.answered, leg.kind != "extension", leg.side))
    return answered(ranked[0])


def find_leg(record: Record | None, uuid: str) -> Leg | None:
    """The leg of that channel."""
    return next((leg for leg in record.legs if leg.uuid == uuid), None) if record is not None else None


def others(record: Record, uuid: str) -> list[str]:
    """The channels of all other legs."""
    return [leg.uuid for leg in record.legs if leg.uuid != uuid]


def is_parked(leg: Leg) -> bool:
    """Whether a leg waits in a park."""
    return leg.state == PARKED


def watchers_of(record: Record, uuids: Sequence[str]) -> list[Monitor]:
    """The monitors that watch one of these channels."""
    return [monitor for monitor in record.monitors if monitor.watches in uuids]
