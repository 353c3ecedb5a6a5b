"""Supervisors and click to call: phones that ring for somebody, and what becomes of them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from callbridge.commands import desk as desk_module
from callbridge.commands import requests as r
from callbridge.records import Mode
from tests.commands.kit import (
    AGENT,
    CALL,
    CALLED,
    NO_PHONE,
    OPERATOR,
    PHONE,
    SUPERVISOR,
    TENANT,
    Bench,
    bench,
    leg,
    refused,
    talking,
    watching,
)
from tests.service import until

MODES: tuple[Mode, ...] = ("listen", "whisper", "barge")
HEARD = {"listen": ("false", "false"), "whisper": ("false", "true"), "barge": ("true", "true")}


async def start(b: Bench, mode: Mode = "listen", legs: Any = "", wait: bool = False, ext: str = "104") -> str:
    wanted = r.Monitor(mode, ext, legs, wait)
    await b.desk.carry_out(AGENT, CALL, wanted)
    return wanted.monitor_id


async def change(b: Bench, mode: Mode, monitor_id: str = SUPERVISOR) -> str:
    return await b.desk.change_monitor(AGENT, r.ChangeMonitor(monitor_id, mode))


def answer(b: Bench, monitor_id: str) -> None:
    """The supervisor answers."""
    (monitor,) = b.calls.of(CALL).monitors
    b.calls.show_monitor(monitor_id, watching(monitor.mode, "active", monitor.watches, monitor_id))
    assert b.calls.job is not None
    b.calls.job.set_result(f"+OK {PHONE}")


async def rung(b: Bench) -> None:
    await b.told("originate")
    await until(lambda: b.calls.job is not None)


def killed(b: Bench) -> set[str]:
    """Under which ids phones were hung up; those that do not stop ringing at once more than once."""
    return {line.removeprefix("hupall NORMAL_CLEARING callbridge_id ") for line in b.switch.told("hupall")}


@pytest.mark.parametrize("mode", MODES)
async def test_what_rings_and_who_will_hear_the_supervisor(tmp_path: Path, mode: Mode) -> None:
    async with bench(tmp_path) as b:
        uuid = await start(b, mode)
        exists, contact, ring = b.switch.lines
        assert (exists, contact) == (f"user_exists id 104 {TENANT}", f"sofia_contact */104@{TENANT}")
        aleg, bleg = HEARD[mode]
        assert ring == (
            f"originate {{callbridge_id={uuid},originate_timeout=30,ignore_early_media=true,callbridge_watches={CALL},"
            f"eavesdrop_enable_dtmf=false,eavesdrop_whisper_aleg={aleg},eavesdrop_whisper_bleg={bleg},"
            f"origination_caller_id_name={mode.capitalize()},origination_caller_id_number=101}}"
            f"user/104@{TENANT} &eavesdrop({CALL})"
        )
        assert b.mirror.find_monitor(uuid, TENANT) is not None


@pytest.mark.parametrize(("legs", "watched"), [("", CALL), ("aleg", CALL), ("bleg", CALLED)])
async def test_the_leg_that_is_listened_to_can_be_named(tmp_path: Path, legs: Any, watched: str) -> None:
    async with bench(tmp_path) as b:
        await start(b, legs=legs)
        assert b.switch.lines[-1].endswith(f"&eavesdrop({watched})")


async def test_whatever_number_a_caller_shows_nothing_else_is_sent(tmp_path: Path) -> None:
    for number in ("+84 899", "101}user/102", "", "anonymous,a=b", "ŝ", "101\n"):
        legs = (leg(CALL, "aleg", number), leg(CALLED, "bleg", "0899", kind="outside"))
        async with bench(tmp_path, talking(legs=legs)) as b:
            await start(b)
            assert "origination_caller_id_number=104}user/104@" in b.switch.lines[-1]


async def test_a_supervisor_is_known_as_soon_as_the_phone_rings_and_waited_for_if_wished(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        command = asyncio.ensure_future(start(b, wait=True))
        await rung(b)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not command.done()
        (monitor,) = b.calls.of(CALL).monitors
        answer(b, monitor.uuid)
        assert await command == monitor.uuid


async def test_a_phone_that_never_rings_is_not_answered_and_hung_up(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.calls.rings = False
        refusal = await b.over_time(refused(start(b)))
        assert (refusal.code, f"{refusal}") == ("NO_ANSWER", "the phone of 104 has not rung")
        (uuid,) = killed(b)
        assert f"callbridge_id={uuid}," in b.switch.told("originate")[0]


async def test_a_phone_that_is_not_answered_in_time_is_hung_up(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        refusal = await b.over_time(refused(start(b, wait=True)))
        assert (refusal.code, f"{refusal}") == ("NO_ANSWER", "the phone of 104 has not answered")
        assert len(killed(b)) == 1
        assert b.calls.of(CALL).monitors == ()


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("-ERR USER_BUSY", "USER_BUSY"),
        ("-ERR CALL_REJECTED", "CALL_REJECTED"),
        ("-ERR USER_NOT_REGISTERED", "USER_NOT_REGISTERED"),
        ("-ERR NO_ANSWER", "NO_ANSWER"),
        ("-ERR MANDATORY_IE_MISSING", "SWITCH_REFUSED"),
    ],
)
@pytest.mark.parametrize("wait", [False, True])
async def test_why_the_phone_does_not_ring(tmp_path: Path, reply: str, code: str, wait: bool) -> None:
    async with bench(tmp_path) as b:
        b.switch.says("originate", reply)
        assert (await refused(start(b, wait=wait))).code == code


@pytest.mark.parametrize(
    ("reply", "code"), [("-ERR NO_ANSWER", "NO_ANSWER"), ("-ERR USER_BUSY", "USER_BUSY"), ("-ERR X", "SWITCH_REFUSED")]
)
async def test_why_a_phone_that_rang_was_not_answered_is_told_later(tmp_path: Path, reply: str, code: str) -> None:
    async with bench(tmp_path) as b:
        uuid = await start(b)
        assert b.desk.why_not(uuid) is None
        assert b.calls.job is not None
        b.calls.job.set_result(reply)
        b.calls.show_monitor(uuid, None)
        await until(lambda: b.desk.why_not(uuid) == code)


async def test_only_the_newest_of_those_that_failed_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "MAX_FAILED", 2)
    async with bench(tmp_path) as b:
        failed = []
        for _ in range(3):
            failed.append(await start(b))
            assert b.calls.job is not None
            b.calls.job.set_result("-ERR NO_ANSWER")
            b.calls.show_monitor(failed[-1], None)
            await until(lambda: b.desk.why_not(failed[-1]) is not None)
        assert [b.desk.why_not(uuid) for uuid in failed] == [None, "NO_ANSWER", "NO_ANSWER"]


@pytest.mark.parametrize("wait", [False, True])
async def test_when_the_call_ends_the_phone_stops_ringing(tmp_path: Path, wait: bool) -> None:
    async with bench(tmp_path) as b:
        command = asyncio.ensure_future(start(b, wait=wait))
        await rung(b)
        (monitor,) = b.calls.of(CALL).monitors
        if not wait:
            assert await command == monitor.uuid
        b.calls.drop(CALLED)
        b.calls.drop(CALL)
        if wait:
            assert (await refused(_the(command))).code == "CALL_ENDED"
        else:
            await until(lambda: b.desk.why_not(monitor.uuid) == "CALL_ENDED")
        assert killed(b) == {monitor.uuid}


async def _the(command: "asyncio.Future[Any]") -> Any:
    return await command


async def test_a_supervisor_whose_phone_rings_goes_on_ringing_when_the_other_leg_ends(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        uuid = await start(b)
        b.calls.drop(CALLED)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not b.switch.told("hupall")
        answer(b, uuid)
        assert b.calls.of(CALL).monitors[0].state == "active"


async def test_a_connection_lost_while_a_phone_rings_leaves_unknown_whether_it_was_answered(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        command = asyncio.ensure_future(refused(start(b, wait=True)))
        await rung(b)
        b.switch.cut()
        assert (await command).code == "OUTCOME_UNKNOWN"
        assert len(b.switch.told("originate")) == 1


async def test_a_phone_that_answers_at_once_is_a_success_although_its_ringing_was_not_seen(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.calls.rings = False
        command = asyncio.ensure_future(start(b))
        await rung(b)
        (uuid,) = [line.partition("=")[2].partition(",")[0] for line in b.switch.told("originate")]
        assert b.calls.job is not None
        b.calls.job.set_result(f"+OK {PHONE}")
        await asyncio.sleep(0)
        b.calls.show_monitor(uuid, watching(uuid=uuid))
        assert await command == uuid


# Who may not monitor what.


@pytest.mark.parametrize(
    ("ext", "code"), [("101", "INVALID_DESTINATION"), ("999", "INVALID_DESTINATION"), (NO_PHONE, "USER_NOT_REGISTERED")]
)
@pytest.mark.parametrize("mode", MODES)
async def test_who_cannot_monitor(tmp_path: Path, mode: Mode, ext: str, code: str) -> None:
    async with bench(tmp_path) as b:
        assert (await refused(start(b, mode, ext=ext))).code == code
        assert not b.switch.told("originate")


async def test_an_outside_number_is_no_supervisor_whatever_the_operator_allows(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert (await refused(start(b, ext="0899123456"))).code == "INVALID_DESTINATION"


async def test_one_supervisor_has_one_monitor_of_a_call_and_others_may_have_more(tmp_path: Path) -> None:
    async with bench(tmp_path, talking(monitors=(watching(),))) as b:
        refusal = await refused(start(b))
        assert (refusal.code, "PATCH /v1/monitor/" in f"{refusal}") == ("USER_BUSY", True)
        await start(b, "barge", ext="103")
        assert len(b.calls.of(CALL).monitors) == 2


async def test_to_an_outside_party_nobody_whispers(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert (await refused(start(b, "whisper", legs="bleg"))).code == "NOT_BRIDGED"


@pytest.mark.parametrize("mode", ["whisper", "barge"])
async def test_a_parked_call_hears_nobody(tmp_path: Path, mode: Mode) -> None:
    parked = talking(legs=(leg(CALL, "aleg", "101", state="CS_PARK"),))
    async with bench(tmp_path, parked) as b:
        assert (await refused(start(b, mode))).code == "NOT_BRIDGED"
        await start(b, "listen")


# Changing and stopping.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("before", MODES)
async def test_a_monitor_is_changed(tmp_path: Path, before: Mode, mode: Mode) -> None:
    async with bench(tmp_path, talking(monitors=(watching(before),))) as b:
        assert await change(b, mode) == CALL
        aleg, bleg = HEARD[mode]
        assert b.switch.lines == [
            f"uuid_setvar {PHONE} eavesdrop_whisper_aleg {aleg}",
            f"uuid_setvar {PHONE} eavesdrop_whisper_bleg {bleg}",
            f"uuid_setvar {PHONE} callbridge_watches {CALL}",
            f"uuid_setvar {PHONE} callbridge_to_whisper",
            f"uuid_transfer {PHONE} eavesdrop:{CALL} inline",
        ]
        assert b.calls.of(CALL).monitors[0].mode == mode


async def test_who_listens_to_an_outside_party_whispers_to_the_extension(tmp_path: Path) -> None:
    async with bench(tmp_path, talking(monitors=(watching(watches=CALLED),))) as b:
        await change(b, "whisper")
        assert b.switch.lines[-1] == f"uuid_transfer {PHONE} eavesdrop:{CALL} inline"


async def test_a_change_that_has_not_been_seen_is_not_known(tmp_path: Path) -> None:
    async with bench(tmp_path, talking(monitors=(watching(),))) as b:
        b.switch.says("uuid_transfer", "+OK")
        refusal = await b.over_time(refused(change(b, "barge")))
        assert (refusal.code, "look at the monitor" in f"{refusal}") == ("OUTCOME_UNKNOWN", True)


async def test_a_phone_that_still_rings_is_not_changed(tmp_path: Path) -> None:
    async with bench(tmp_path, talking(monitors=(watching(state="ringing"),))) as b:
        assert (await refused(change(b, "barge"))).code == "NOT_ANSWERED"
        assert not b.switch.received


@pytest.mark.parametrize("state", ["active", "ringing", "dialling"])
async def test_a_monitor_is_stopped_in_every_state(tmp_path: Path, state: Any) -> None:
    async with bench(tmp_path, talking(monitors=(watching(state=state),))) as b:
        assert await b.desk.change_monitor(AGENT, r.StopMonitor(SUPERVISOR)) == CALL
        assert b.switch.lines == [f"hupall NORMAL_CLEARING callbridge_id {SUPERVISOR}"]


@pytest.mark.parametrize("state", ["active", "ringing", "dialling"])
async def test_who_was_not_called_by_callbridge_is_stopped_alone(tmp_path: Path, state: Any) -> None:
    async with bench(tmp_path, talking(monitors=(watching(state=state, channel=SUPERVISOR),))) as b:
        assert await b.desk.change_monitor(AGENT, r.StopMonitor(SUPERVISOR)) == CALL
        assert b.switch.lines == [f"uuid_kill {SUPERVISOR} NORMAL_CLEARING"]


@pytest.mark.parametrize("monitor_id", ["x", CALL, CALLED, "all"])
async def test_only_a_monitor_is_changed_or_stopped(tmp_path: Path, monitor_id: str) -> None:
    async with bench(tmp_path, talking(monitors=(watching(),))) as b:
        assert (await refused(change(b, "barge", monitor_id))).code == "MONITOR_NOT_FOUND"
        stop = b.desk.change_monitor(OPERATOR, r.StopMonitor(monitor_id))
        assert (await refused(stop)).code == "MONITOR_NOT_FOUND"
        assert not b.switch.received


# Click to call.


def place(b: Bench, destination: str = "0899123456", ext: str = "101", wait: bool = False, asker: Any = AGENT) -> Any:
    return b.desk.place(asker, r.Place(ext, destination, wait))


async def test_a_phone_rings_and_dials(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        call_id = await place(b)
        variables = "originate_timeout=30,ignore_early_media=true"
        variables += ",origination_caller_id_number=101,origination_caller_id_name=101"
        assert b.switch.lines == [
            f"user_exists id 101 {TENANT}",
            f"sofia_contact */101@{TENANT}",
            f"user_exists id 0899123456 {TENANT}",
            f"originate {{callbridge_id={call_id},{variables}}}user/101@{TENANT} 0899123456 XML {TENANT}",
        ]
        assert b.calls.of(call_id).call_id == call_id


async def test_a_placed_call_can_be_waited_for(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        command = asyncio.ensure_future(place(b, wait=True))
        await rung(b)
        (call_id,) = [line.partition("=")[2].partition(",")[0] for line in b.switch.told("originate")]
        b.calls.change_leg(PHONE, callstate="ACTIVE", answered=True)
        assert await command == call_id


async def test_a_phone_that_nobody_takes_places_no_call(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        refusal = await b.over_time(refused(place(b, wait=True)))
        assert refusal.code == "NO_ANSWER"
        assert len(killed(b)) == 1


@pytest.mark.parametrize(
    ("ext", "destination", "code"),
    [
        ("101", "101", "INVALID_DESTINATION"),
        ("101", "999", "INVALID_DESTINATION"),
        ("101", NO_PHONE, "USER_NOT_REGISTERED"),
        ("999", "102", "INVALID_DESTINATION"),
        (NO_PHONE, "102", "USER_NOT_REGISTERED"),
        ("2000", "102", "INVALID_DESTINATION"),
    ],
)
async def test_why_no_call_is_placed(tmp_path: Path, ext: str, destination: str, code: str) -> None:
    async with bench(tmp_path) as b:
        assert (await refused(place(b, destination, ext))).code == code
        assert not b.switch.told("originate")


async def test_a_token_for_every_tenant_places_no_call(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert (await refused(place(b, asker=OPERATOR))).code == "FORBIDDEN"
        assert not b.switch.received


async def test_without_a_switch_no_call_is_placed(tmp_path: Path) -> None:
    async with bench(tmp_path, connected=False) as b:
        assert (await refused(place(b))).code == "SWITCH_UNAVAILABLE"
