"""Supervisors on calls: listen, whisper, barge, their change and their end.

Who hears the supervisor is decided by two variables on its channel (measured by tone): `eavesdrop_whisper_bleg` is for
the leg that it watches, `eavesdrop_whisper_aleg` for that leg's partner. So a whisper watches the extension's own leg
with the first, whichever side of the call that is, and an outside party is never within its reach.
"""

import asyncio
from typing import Final

from callbridge.commands.legs import Wanted, extension_leg, find_leg, is_parked, main_leg
from callbridge.commands.orders import EXTENSION, GetVariable, Kill, Originate, SetVariable, StopPhones, Watch
from callbridge.commands.outcome import Refused
from callbridge.commands.ring import State, ring
from callbridge.commands.work import EFFECT_TIMEOUT, Work
from callbridge.records import Leg, Mode, Monitor, MonitorState, Record

HEARD_BY: Final[dict[Mode, tuple[str, str]]] = {
    "listen": ("false", "false"),
    "whisper": ("false", "true"),
    "barge": ("true", "true"),
}
"""Mode -> `eavesdrop_whisper_aleg`, `eavesdrop_whisper_bleg`."""

_CALLER_NAMES: Final[dict[Mode, str]] = {"listen": "Listen", "whisper": "Whisper", "barge": "Barge"}
"""What the supervisor's phone shows."""

_STATES: Final[dict[MonitorState, State | None]] = {"dialling": None, "ringing": "rings", "active": "up"}


async def start(
    work: Work, record: Record, mode: Mode, extension: str, side: Wanted, monitor_id: str, wait: bool
) -> None:
    """Ring the supervisor's phones; the one that answers watches the call, as the monitor `monitor_id`. Success is that
    one rings, or, with `wait`, that it has answered. Raises Refused."""
    tenant = work.tenant(record)
    leg = _leg_for(record, mode, side)
    if any(leg.kind == "extension" and leg.number == extension for leg in record.legs):
        raise Refused("INVALID_DESTINATION", f"extension {extension} is a party of this call")
    if any(monitor.extension == extension for monitor in record.monitors):
        raise Refused("USER_BUSY", f"extension {extension} monitors this call already; PATCH /v1/monitor/… changes how")
    await work.directory.demand_phone(work.console, extension, tenant)
    if find_leg(work.record(leg.uuid), leg.uuid) is None:
        raise Refused("CALL_ENDED", "the leg hung up before anything was done")
    heard_a, heard_b = HEARD_BY[mode]
    variables = {
        "callbridge_watches": leg.uuid,
        "eavesdrop_enable_dtmf": "false",
        "eavesdrop_whisper_aleg": heard_a,
        "eavesdrop_whisper_bleg": heard_b,
        "origination_caller_id_name": _CALLER_NAMES[mode],
        "origination_caller_id_number": leg.number if EXTENSION.fullmatch(leg.number) else extension,
    }
    order = Originate(monitor_id, extension, tenant, work.settings.ring_seconds, variables, target=leg.uuid)

    def state() -> State | None:
        monitor = _monitor(work, leg.uuid, monitor_id)
        return None if monitor is None else _STATES[monitor.state]

    await ring(work, order, leg.uuid, state, wait)


def _leg_for(record: Record, mode: Mode, side: Wanted) -> Leg:
    """The leg to watch. Raises Refused."""
    if mode == "listen":
        return main_leg(record, side)
    leg = extension_leg(record, side) if mode == "whisper" else main_leg(record, side)
    if is_parked(leg):
        # Nothing is sent to a parked leg, so it would not hear a word (measured).
        raise Refused("NOT_BRIDGED", f"this call is parked, nobody would hear a {mode}; listen, or transfer it first")
    return leg


async def change(work: Work, record: Record, monitor_id: str, mode: Mode) -> None:
    """Give a running monitor another mode. Raises Refused."""
    monitor = _demand(record, monitor_id)
    if monitor.state != "active":
        # What it will do when it answers was said when it was called.
        raise Refused("NOT_ANSWERED", "the supervisor's phone still rings; change the mode when it has answered")
    watched = find_leg(record, monitor.watches)
    stays = watched is not None and (mode != "whisper" or watched.kind == "extension")
    leg = _leg_for(record, mode, watched.side if watched is not None and stays else "")
    await _set(work, monitor, leg.uuid, mode, to_whisper="")

    def look() -> bool | None:
        now = _monitor(work, record.call_id, monitor.uuid)
        return False if now is None else (now.mode == mode and now.watches == leg.uuid) or None

    shown = await work.until(record.call_id, look, EFFECT_TIMEOUT)
    if shown is None:
        message = f"the switch took the order, but the {mode} has not been seen; look at the monitor first"
        raise Refused("OUTCOME_UNKNOWN", message)
    if not shown:
        raise Refused("CALL_ENDED", "the monitor ended meanwhile")


async def stop(work: Work, record: Record, monitor_id: str) -> None:
    """Hang the supervisor up. Raises Refused."""
    monitor = _demand(record, monitor_id)
    await work.tell(_end_of(monitor))

    def gone() -> bool | None:
        return _monitor(work, record.call_id, monitor.uuid) is None or None

    if await work.until(record.call_id, gone, EFFECT_TIMEOUT) is None:
        raise Refused("OUTCOME_UNKNOWN", "the switch took the order, but the monitor has not been seen to end")


async def move(work: Work, record: Record, ending: list[str], to: Leg) -> list[str]:
    """Have the monitors of legs that are about to end watch the leg that stays; else the switch ends them as well.

    A whisperer only listens at an outside party's leg; gives the ids of those that are to whisper again.
    """
    to_whisper = []
    for monitor in record.monitors:
        if monitor.watches not in ending:
            continue
        if monitor.state != "active":
            # What it will do when it answers was said when it was called; it would watch a channel that is gone.
            await work.end(_end_of(monitor))
            continue
        mode, waits = monitor.mode, ""
        if mode == "whisper" and to.kind != "extension":
            mode, waits = "listen", "true"
            to_whisper.append(monitor.uuid)
        await _set(work, monitor, to.uuid, mode, to_whisper=waits)
    return to_whisper


async def whisper_again(work: Work, supervisor: str, leg_uuid: str) -> None:
    """Once an extension has answered the transferred call, let the supervisor whisper to it; but not one that has been
    told meanwhile how to go on."""

    def look() -> Leg | bool | None:
        record = work.record(leg_uuid)
        if record is None or _monitor(work, leg_uuid, supervisor) is None:
            return False
        return next((leg for leg in record.legs if leg.kind == "extension" and leg.answered), None)

    leg = await work.until(leg_uuid, look, work.settings.ring_seconds)
    record = work.record(leg_uuid)
    monitor = _monitor(work, leg_uuid, supervisor)
    if not isinstance(leg, Leg) or record is None or monitor is None:
        return
    if await work.tell(GetVariable(monitor.channel, "callbridge_to_whisper")) == "true":
        await change(work, record, supervisor, "whisper")


async def _set(work: Work, monitor: Monitor, target: str, mode: Mode, *, to_whisper: str) -> None:
    heard_a, heard_b = HEARD_BY[mode]
    tell, uuid = work.tell, monitor.channel
    # Together, in this order on the one connection: nothing else of ours comes between.
    await asyncio.gather(
        tell(SetVariable(uuid, "eavesdrop_whisper_aleg", heard_a)),
        tell(SetVariable(uuid, "eavesdrop_whisper_bleg", heard_b)),
        tell(SetVariable(uuid, "callbridge_watches", target)),
        tell(SetVariable(uuid, "callbridge_to_whisper", to_whisper)),
    )
    await tell(Watch(uuid, target))


def _end_of(monitor: Monitor) -> Kill | StopPhones:
    """What hangs the supervisor up. Of one that callbridge has called, several phones may ring."""
    return Kill(monitor.channel) if monitor.uuid == monitor.channel else StopPhones(monitor.uuid)


def _demand(record: Record, uuid: str) -> Monitor:
    for monitor in record.monitors:
        if monitor.uuid == uuid:
            return monitor
    raise Refused("MONITOR_NOT_FOUND", "this monitor ended meanwhile")


def _monitor(work: Work, call_id: str, uuid: str) -> Monitor | None:
    record = work.record(call_id)
    return next((monitor for monitor in record.monitors if monitor.uuid == uuid), None) if record else None
