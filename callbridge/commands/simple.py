"""hangup, hold, unhold, mute, unmute, dtmf, record: one order, and a look whether it happened."""

import time
from collections.abc import Callable
from typing import Final

from callbridge.calls import Side
from callbridge.commands.legs import Wanted, answered, by_side, main_leg
from callbridge.commands.orders import DOMAIN, UUID, Hold, Kill, Mute, RecordCall, SendDtmf
from callbridge.commands.outcome import Refused
from callbridge.commands.work import EFFECT_TIMEOUT, Work
from callbridge.records import Leg, Record

CAUSES: Final = (
    "NORMAL_CLEARING",
    "USER_BUSY",
    "NO_ANSWER",
    "CALL_REJECTED",
    "NORMAL_TEMPORARY_FAILURE",
    "UNALLOCATED_NUMBER",
    "SERVICE_UNAVAILABLE",
    "ORIGINATOR_CANCEL",
    "MANAGER_REQUEST",
)
"""Why a consumer may say that a call was hung up (switch_types.h, `switch_call_cause_t`)."""


async def hang_up(work: Work, record: Record, cause: str) -> None:
    """End the call: every leg of it, so that no dialplan goes on with one. Raises Refused."""
    legs = [leg.uuid for leg in record.legs] or [record.call_id]
    try:
        await work.tell(Kill(legs[0], cause))
    except Refused as refused:
        if refused.code != "CALL_ENDED" or len(legs) == 1:
            raise
    await work.end(*(Kill(uuid, cause) for uuid in legs[1:]))

    def over() -> bool | None:
        return all(work.leg(uuid) is None for uuid in legs) or None

    if await work.until(record.call_id, over, EFFECT_TIMEOUT) is None:
        raise Refused("OUTCOME_UNKNOWN", "the switch took the order, but the call has not been seen to end")


async def hold(work: Work, record: Record, side: Wanted, on: bool) -> None:
    """Put the phone of a leg on hold, or take it back. The switch says +OK to both whatever happens, even for a channel
    that does not exist (measured), so only what the call then shows is believed. Raises Refused."""
    leg = main_leg(record, side)
    if _is_held(leg) != on:
        await work.tell(Hold(leg.uuid, on))
        await work.effect(leg.uuid, lambda leg: _is_held(leg) == on, "the hold" if on else "the end of the hold")


def _is_held(leg: Leg) -> bool:
    return leg.callstate == "HELD"


async def mute(work: Work, record: Record, side: Side, on: bool) -> None:
    """Have nobody hear the leg of that side, or hear it again. Raises Refused."""
    await work.tell(Mute(answered(by_side(record, side)).uuid, on))


async def send_dtmf(work: Work, record: Record, side: Side, digits: str) -> None:
    """Send keys to the party of that side. Raises Refused."""
    await work.tell(SendDtmf(answered(by_side(record, side)).uuid, digits))


async def record_call(work: Work, record: Record, on: bool, now: Callable[[], float] = time.time) -> None:
    """Begin or end the recording of the call. Raises Refused."""
    if (record.recording is not None) == on:
        return
    if record.recording is not None:
        uuid, path = record.recorded_leg, record.recording
    else:
        uuid, path = main_leg(record, "").uuid, _path(work, record, now())
    await work.tell(RecordCall(uuid, on, path))

    def shown() -> bool | None:
        found = work.record(uuid)
        return False if found is None else (found.recording is not None) == on or None

    seen = await work.until(uuid, shown, EFFECT_TIMEOUT)
    if seen is None:
        raise Refused("OUTCOME_UNKNOWN", "the switch took the order, but the recording has not been seen to change")
    if not seen:
        raise Refused("CALL_ENDED", "the leg hung up meanwhile")


def _path(work: Work, record: Record, now: float) -> str:
    """The operator's template, filled with what cannot leave its folder."""
    tenant = record.tenant or record.context
    if not work.settings.recording:
        raise Refused("SWITCH_REFUSED", "the configuration has no `recording` in [commands]; nothing was done")
    if DOMAIN.fullmatch(tenant) is None or ".." in tenant or UUID.fullmatch(record.call_id) is None:
        raise Refused("SWITCH_REFUSED", "this call's tenant or id cannot be part of a file's name")
    moment = time.localtime(now)
    return work.settings.recording.format(
        tenant=tenant,
        call_id=record.call_id,
        date=time.strftime("%Y-%m-%d", moment),
        time=time.strftime("%H%M%S", moment),
    )
