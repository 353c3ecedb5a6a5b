"""transfer and park: one leg goes on, the others end."""

from typing import Final, Literal

from callbridge.calls import Side
from callbridge.commands import monitors
from callbridge.commands.legs import RINGING, answered, by_side, find_leg, is_parked, others
from callbridge.commands.orders import GetVariable, Kill, Park, SetVariable, Transfer
from callbridge.commands.outcome import Refused, refused_by
from callbridge.commands.work import EFFECT_TIMEOUT, Work
from callbridge.records import Leg, Record

ARRIVAL_SECONDS: Final = 20
"""Seconds within which the destination must ring. A phone on a slow mobile network takes some ten."""

LOOK_EVERY: Final = 1.0
"""Seconds after which the switch is asked how its dialling went: where the dialplan goes on after a failure, into a
voicemail say, no event tells of it. Also how long a call must stay at a destination that rings no phone."""

_UNDECIDED: Final = frozenset(("", "_undef_", "failure", "SUCCESS"))
"""What `originate_disposition` is before and while the switch dials: `failure` from the beginning (measured)."""


async def transfer(work: Work, record: Record, extension: str, side: Side) -> None:
    """Send the leg of that side to the extension, or where the operator allows; the other side ends.

    Success is that a phone rings there or has answered. Raises Refused.
    """
    tenant = work.tenant(record)
    leg = by_side(record, side)
    if not leg.answered and leg.state != "CS_EXECUTE":
        # A phone that rings is nobody who could be sent elsewhere; a caller who waits is.
        raise Refused("NOT_ANSWERED", f"the {leg.side} of this call has not been answered yet; try again when it is")
    is_user = await work.directory.demand_destination(work.console, extension, tenant)
    record, leg = _as_it_is_now(work, leg)
    ending = others(record, leg.uuid)
    to_whisper = await monitors.move(work, record, ending, leg)
    await work.tell(SetVariable(leg.uuid, "originate_disposition", ""))
    await work.tell(SetVariable(leg.uuid, "callbridge_park_seconds", ""))
    await work.tell(Transfer(leg.uuid, extension, work.context(tenant)))
    await work.end(*map(Kill, ending))
    await _arrival(work, record, leg.uuid, extension, is_user=is_user)
    if await work.until(leg.uuid, lambda: work.are_gone(ending) or None, EFFECT_TIMEOUT) is None:
        message = "the leg is where it was sent, but the other one has not been seen to end; look at the call"
        raise Refused("OUTCOME_UNKNOWN", message)
    for supervisor in to_whisper:
        work.later.run(monitors.whisper_again(work, supervisor, leg.uuid))


def _as_it_is_now(work: Work, leg: Leg) -> tuple[Record, Leg]:
    """The call of a leg after the switch was asked something: others may have moved it or joined it meanwhile.

    Raises Refused CALL_ENDED.
    """
    record = work.record(leg.uuid)
    now = find_leg(record, leg.uuid)
    if record is None or now is None:
        raise Refused("CALL_ENDED", "the leg hung up before anything was done")
    return record, now


async def _arrival(work: Work, before: Record, uuid: str, destination: str, *, is_user: bool) -> None:
    """`before`: the call as it was when the leg was sent. Where no user is at the destination, no phone may ring."""
    call_id, present = before.call_id, {leg.uuid for leg in before.legs}

    def look() -> Literal["rings", "gone"] | None:
        record = work.record(uuid)
        if record is None or find_leg(record, uuid) is None:
            return "gone"
        new = (leg for leg in record.legs if leg.uuid not in present)
        return "rings" if any(leg.answered or leg.callstate in RINGING for leg in new) else None

    def over() -> bool | None:
        # The other leg may take longer to end than the dialplan to fail. Why is known when the call is over, unless
        # it has become part of another.
        record = work.record(call_id)
        return record is None or any(leg.answered for leg in record.legs if leg.uuid not in present) or None

    for _ in range(round(ARRIVAL_SECONDS / LOOK_EVERY)):
        seen = await work.until(uuid, look, LOOK_EVERY)
        if seen == "rings":
            return
        if seen == "gone":
            await work.until(call_id, over, EFFECT_TIMEOUT)
            raise _ended(work.cause_of(uuid, call_id), destination)
        cause = await _disposition(work, uuid)
        if cause not in _UNDECIDED:
            raise refused_by(cause, destination, "; the dialplan went on with the call")
        if not is_user and _is_at(work, uuid, destination, before.destination):
            return
    message = f"{destination} has not rung within {ARRIVAL_SECONDS} s; the call goes on in its dialplan"
    raise Refused("NO_ANSWER", message)


async def _disposition(work: Work, uuid: str) -> str:
    try:
        return await work.tell(GetVariable(uuid, "originate_disposition"))
    except Refused as refused:
        if refused.code != "CALL_ENDED":
            raise
        # Why it ended is known when its last event has come.
        return ""


def _ended(cause: str, destination: str) -> Refused:
    if cause in ("NORMAL_CLEARING", "ORIGINATOR_CANCEL", ""):
        return Refused("CALL_ENDED", "the transferred party hung up")
    return refused_by(cause, destination, "; the call has ended")


def _is_at(work: Work, uuid: str, destination: str, came_from: str) -> bool:
    """Whether a leg does something at its destination, or where the dialplan sent it on to: a queue, a conference, an
    announcement."""
    record, leg = work.record(uuid), work.leg(uuid)
    if record is None or leg is None or leg.state != "CS_EXECUTE":
        return False
    return record.destination == destination or record.destination != came_from


async def park(work: Work, record: Record, side: Side) -> None:
    """Let the leg of that side wait for a transfer, for so long as the operator has set; the other side ends."""
    leg = answered(by_side(record, side))
    if is_parked(leg):
        raise Refused("ALREADY_PARKED", "this leg waits in a park already; a transfer takes it out")
    ending = others(record, leg.uuid)
    await monitors.move(work, record, ending, leg)
    seconds = work.settings.park_seconds
    await work.tell(SetVariable(leg.uuid, "park_timeout", f"{seconds}:NORMAL_CLEARING"))
    await work.tell(SetVariable(leg.uuid, "callbridge_park_seconds", f"{seconds}"))
    await work.tell(Park(leg.uuid))
    await work.end(*map(Kill, ending))
    await work.effect(leg.uuid, lambda leg: is_parked(leg) and work.are_gone(ending), "the park")
