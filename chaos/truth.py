"""What a right list says, and what is wrong with a list.

The truth are the channels that the switch has, never the events that it has sent of them. One call is one leg that came
in, from its CHANNEL_CREATE on; nobody here transfers or joins calls. A leg on its way out may be listed or not: the
switch does not find it any more, and has not yet said that it ended.
"""

from collections.abc import Iterable, Mapping, Set
from typing import Any, Final

import msgspec

from callbridge.simulator.channel import Channel
from callbridge.simulator.switch import Switch

_DIRECTIONS: Final = {"inbound": "inbound", "local": "local"}
"""Kind of a call -> its direction; all others are outbound."""


class Truth(msgspec.Struct, frozen=True):
    """What a list has to have: id -> what is known of the row; and the ids that it may have."""

    live: Mapping[str, Mapping[str, str]]
    maybe: Set[str] = frozenset()


def calls(switch: Switch) -> dict[str, Channel]:
    """The calls that live: id -> the leg that came in."""
    return {uuid: leg for uuid, leg in switch.channels.items() if _is_call(leg) and not leg.dead}


def _is_call(leg: Channel) -> bool:
    return leg.inbound and bool(leg.created_stamp)


def row(leg: Channel) -> dict[str, str]:
    """The row of the list. Without `direction` while it depends on a leg that is not there yet."""
    values = leg.profile.values
    told = {
        "call_id": leg.uuid,
        "context": leg.who.domain,
        "created_time": leg.created_stamp,
        "destination": values["Destination-Number"],
        "ip": values["Network-Addr"],
        "source": values["Caller-ID-Number"],
        "state": f"CS_{leg.state}",
    }
    if leg.called is not None and leg.called.created_stamp:
        told["direction"] = _DIRECTIONS.get(leg.learned_from.partition(".")[0], "outbound")
    return told


def told(switch: Switch) -> Truth:
    """The truth about a simulated switch, now."""
    live = {uuid: row(leg) for uuid, leg in calls(switch).items()}
    return Truth(live, {uuid for uuid, leg in switch.channels.items() if _is_call(leg) and leg.dead})


def differences(rows: Iterable[Mapping[str, Any]], true: Truth) -> list[str]:
    """What is wrong with the rows of a list: ghosts, lost calls, wrong fields."""
    listed = {str(given["call_id"]): given for given in rows}
    wrong = [f"ghost {uuid}" for uuid in listed.keys() - true.live.keys() - true.maybe]
    wrong += [f"lost {uuid}" for uuid in true.live.keys() - listed.keys()]
    for uuid in true.live.keys() & listed.keys():
        for name, value in true.live[uuid].items():
            if listed[uuid][name] != value:
                wrong.append(f"{uuid}: {name} is {listed[uuid][name]!r}, not {value!r}")
    return wrong
