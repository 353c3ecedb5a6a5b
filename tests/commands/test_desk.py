"""How requests are carried out: each in its turn, to its end, and told as it was."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from callbridge.commands import console as console_module
from callbridge.commands import desk as desk_module
from callbridge.commands import requests as r
from callbridge.commands import turns as turns_module
from callbridge.http.bodies import SIDES
from callbridge.records import Ended
from tests.commands.kit import (
    AGENT,
    ARRIVED,
    CALL,
    CALLED,
    NO_CHANNEL,
    NO_PHONE,
    OPERATOR,
    PHONE,
    SUPERVISOR,
    TENANT,
    Bench,
    accepts,
    bench,
    leg,
    refused,
    talking,
    watching,
)
from tests.service import until

TRANSFER = r.Transfer("102", "aleg")
TRANSFER_LINES = [
    f"user_exists id 102 {TENANT}",
    f"sofia_contact */102@{TENANT}",
    f"uuid_setvar {CALL} originate_disposition",
    f"uuid_setvar {CALL} callbridge_park_seconds",
    f"uuid_transfer {CALL} 102 XML {TENANT}",
    f"uuid_kill {CALLED} NORMAL_CLEARING",
]
ON_CALL: list[tuple[r.OnCall, list[str]]] = [
    (TRANSFER, TRANSFER_LINES),
    (
        r.Park("bleg"),
        [
            f"uuid_setvar {CALLED} park_timeout 10:NORMAL_CLEARING",
            f"uuid_setvar {CALLED} callbridge_park_seconds 10",
            f"uuid_park {CALLED}",
            f"uuid_kill {CALL} NORMAL_CLEARING",
        ],
    ),
    (r.HangUp("USER_BUSY"), [f"uuid_kill {CALL} USER_BUSY", f"uuid_kill {CALLED} USER_BUSY"]),
    (r.Hold(True), [f"uuid_hold {CALL}"]),
    (r.Hold(True, "bleg"), [f"uuid_hold {CALLED}"]),
    (r.Hold(False), []),
    (r.Mute(True, "bleg"), [f"uuid_audio {CALLED} start read mute -1"]),
    (r.Mute(False, "aleg"), [f"uuid_audio {CALL} stop"]),
    (r.Dtmf("bleg", "42#"), [f"uuid_send_dtmf {CALLED} 42#"]),
    (r.RecordCall("start"), [f"uuid_record {CALL} start /rec/{TENANT}/{CALL}.wav"]),
    (r.RecordCall("stop"), []),
]
DOING = [(request, lines) for request, lines in ON_CALL if lines]


async def carry_out(b: Bench, request: r.OnCall, asker: Any = AGENT, call_id: str = CALL) -> str:
    return await b.desk.carry_out(asker, call_id, request)


def named(value: object) -> str:
    return type(value).__name__ if isinstance(value, r.Request) else ""


@pytest.mark.parametrize(("request_", "lines"), ON_CALL, ids=named)
async def test_what_the_switch_is_told_for_each_request(tmp_path: Path, request_: r.OnCall, lines: list[str]) -> None:
    async with bench(tmp_path) as b:
        assert await carry_out(b, request_) == CALL
        assert b.switch.lines == lines


@pytest.mark.parametrize("asker", [AGENT, OPERATOR])
@pytest.mark.parametrize("call_id", [CALL, CALLED])
async def test_any_id_of_the_call_finds_it(tmp_path: Path, asker: Any, call_id: str) -> None:
    async with bench(tmp_path) as b:
        assert await carry_out(b, r.Mute(True, "aleg"), asker, call_id) == CALL


async def test_a_context_of_the_tenants_own_is_used(tmp_path: Path) -> None:
    async with bench(tmp_path, talking(tenant="context.example")) as b:
        b.switch.says("user_exists", "true")
        await carry_out(b, TRANSFER, OPERATOR)
        assert f"uuid_transfer {CALL} 102 XML from-context" in b.switch.lines


# What is lost on the way.


@pytest.mark.parametrize(("request_", "lines"), DOING, ids=named)
async def test_without_the_switch_nothing_is_done(tmp_path: Path, request_: r.OnCall, lines: list[str]) -> None:
    async with bench(tmp_path, connected=False) as b:
        refusal = await refused(carry_out(b, request_))
        assert refusal.code == "SWITCH_UNAVAILABLE"
        await b.connect()
        assert not b.switch.received


@pytest.mark.parametrize(("request_", "lines"), DOING, ids=named)
@pytest.mark.parametrize("after", range(6))
async def test_a_connection_that_is_lost_half_way_is_never_said_to_have_done_nothing(
    tmp_path: Path, request_: r.OnCall, lines: list[str], after: int
) -> None:
    """The switch does what it is told and says no more about it: after each command in turn."""
    if after >= len(lines):
        return
    async with bench(tmp_path) as b:
        name = lines[after].partition(" ")[0]
        does = b.switch.answers.get(name, accepts)

        def cut(line: str) -> Any:
            answer = does(line)
            return None if line == lines[after] else answer

        b.switch.answers[name] = cut
        command = asyncio.ensure_future(refused(carry_out(b, request_)))
        await b.told(name)
        # Questions change nothing, nor do variables that nobody hears.
        harmless = lines[after].startswith(("user_exists", "sofia_contact"))
        refusal = await b.over_time(wait_for(command))
        assert refusal.code == ("SWITCH_UNAVAILABLE" if harmless else "OUTCOME_UNKNOWN"), refusal
        b.console.connection = None
        sent = b.switch.lines
        assert len(sent) == len(set(sent)), "something was sent twice"
        assert sent == lines[: len(sent)]


async def wait_for(command: "asyncio.Future[Any]") -> Any:
    return await command


@pytest.mark.parametrize(
    "request_", [r.Park("aleg"), r.Hold(True), r.RecordCall("start"), r.HangUp("NORMAL_CLEARING")], ids=named
)
async def test_what_the_switch_says_it_did_and_nobody_has_seen_is_not_known(tmp_path: Path, request_: r.OnCall) -> None:
    async with bench(tmp_path) as b:
        for name in ("uuid_park", "uuid_hold", "uuid_record", "uuid_kill"):
            b.switch.says(name, "+OK")
        refusal = await b.over_time(refused(carry_out(b, request_)))
        assert refusal.code == "OUTCOME_UNKNOWN"
        assert "the switch took the order" in f"{refusal}"


async def test_a_late_reply_belongs_to_no_other_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(tmp_path) as b:
        late: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        b.switch.says("uuid_audio", late, "-ERR no")
        monkeypatch.setattr(console_module, "ANSWER_TIMEOUT", 0.02)
        assert (await refused(carry_out(b, r.Mute(True, "aleg")))).code == "OUTCOME_UNKNOWN"
        monkeypatch.undo()
        following = asyncio.ensure_future(refused(carry_out(b, r.Mute(True, "bleg"))))
        late.set_result("+OK")
        assert (await following).code == "SWITCH_REFUSED"


# What the calls may do meanwhile.


async def test_a_call_that_ends_before_its_turn_is_told_to_have_ended(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        waits: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        b.switch.says("uuid_audio", waits)
        first = asyncio.ensure_future(carry_out(b, r.Mute(True, "aleg")))
        await b.told("uuid_audio")
        second = asyncio.ensure_future(refused(carry_out(b, r.Park("aleg"))))
        await asyncio.sleep(0)
        over = Ended(CALL, TENANT, (CALLED,), "2021-06-08 17:40:00", "NORMAL_CLEARING")
        b.mirror.apply("pbx", (), [CALL], [over], 0.0)
        waits.set_result(NO_CHANNEL)
        assert (await refused(wait_for(first))).code == "CALL_ENDED"
        assert (await second).code == "CALL_ENDED"
        assert b.switch.lines == [f"uuid_audio {CALL} start read mute -1"]


@pytest.mark.parametrize(
    ("request_", "name"), [(r.Mute(True, "aleg"), "uuid_audio"), (r.Park("aleg"), "uuid_park")], ids=named
)
async def test_a_leg_that_the_switch_does_not_find_has_ended(tmp_path: Path, request_: r.OnCall, name: str) -> None:
    async with bench(tmp_path) as b:
        b.switch.says(name, NO_CHANNEL)
        assert (await refused(carry_out(b, request_))).code == "CALL_ENDED"


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        ("USER_BUSY", "USER_BUSY"),
        ("CALL_REJECTED", "CALL_REJECTED"),
        ("NO_ANSWER", "NO_ANSWER"),
        ("NORMAL_CLEARING", "CALL_ENDED"),
        ("DESTINATION_OUT_OF_ORDER", "SWITCH_REFUSED"),
    ],
)
async def test_a_transfer_that_ends_the_call_says_why(tmp_path: Path, cause: str, code: str) -> None:
    async with bench(tmp_path) as b:
        b.calls.arrives = False
        command = asyncio.ensure_future(refused(carry_out(b, TRANSFER)))
        await until(lambda: b.mirror.find_on("pbx", CALLED) is None or len(b.calls.of(CALL).legs) == 1)
        b.calls.drop(CALL, cause)
        refusal = await b.over_time(wait_for(command))
        assert refusal.code == code


@pytest.mark.parametrize(
    ("cause", "last", "code"),
    [("CALL_REJECTED", "NORMAL_CLEARING", "CALL_REJECTED"), ("NORMAL_CLEARING", "NO_ANSWER", "CALL_ENDED")],
)
async def test_a_transfer_that_fails_says_why_its_leg_ended_whichever_ends_last(
    tmp_path: Path, cause: str, last: str, code: str
) -> None:
    async with bench(tmp_path) as b:
        b.calls.arrives = False
        b.switch.says("uuid_kill", "+OK")
        command = asyncio.ensure_future(refused(carry_out(b, TRANSFER)))
        await b.told("uuid_kill")
        b.calls.drop(CALL, cause)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not command.done()
        b.calls.drop(CALLED, last)
        assert (await b.over_time(wait_for(command))).code == code


@pytest.mark.parametrize(("disposition", "code"), [("USER_BUSY", "USER_BUSY"), ("NO_ANSWER", "NO_ANSWER")])
async def test_a_transfer_that_the_dialplan_answers_otherwise_says_why(
    tmp_path: Path, disposition: str, code: str
) -> None:
    async with bench(tmp_path) as b:
        b.calls.arrives = False
        b.switch.says("uuid_getvar", "failure", disposition)
        refusal = await b.over_time(refused(carry_out(b, TRANSFER)))
        assert refusal.code == code
        assert "the dialplan went on with the call" in f"{refusal}"


async def test_a_transfer_to_a_phone_that_never_rings_is_not_answered(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.calls.arrives = False
        refusal = await b.over_time(refused(carry_out(b, TRANSFER)))
        assert refusal.code == "NO_ANSWER"
        assert "20 s" in f"{refusal}"
        assert len(b.switch.told("uuid_transfer")) == 1


async def test_only_its_own_way_out_leads_out_of_a_park(tmp_path: Path) -> None:
    parked = talking(legs=(leg(CALLED, "bleg", "0899123456", kind="outside", state="CS_PARK"),))
    async with bench(tmp_path, parked) as b:
        for side in SIDES:
            assert (await refused(carry_out(b, r.Park(side)))).code == "ALREADY_PARKED"
        assert await carry_out(b, r.Transfer("102", "aleg")) == CALL
        assert b.calls.of(CALL).legs[1].uuid == ARRIVED


@pytest.mark.parametrize(
    ("destination", "code"),
    [("999", "INVALID_DESTINATION"), (NO_PHONE, "USER_NOT_REGISTERED"), ("3000", "INVALID_DESTINATION")],
)
async def test_who_cannot_be_reached_is_found_out_before_anything_is_done(
    tmp_path: Path, destination: str, code: str
) -> None:
    async with bench(tmp_path) as b:
        assert (await refused(carry_out(b, r.Transfer(destination, "aleg")))).code == code
        assert {line.partition(" ")[0] for line in b.switch.lines} <= {"user_exists", "sofia_contact"}


async def test_monitors_move_to_the_leg_that_stays_before_the_other_one_ends(tmp_path: Path) -> None:
    async with bench(tmp_path, talking(monitors=(watching("whisper"),))) as b:
        await carry_out(b, r.Transfer("102", "bleg"))
        moved = b.switch.lines.index(f"uuid_transfer {PHONE} eavesdrop:{CALLED} inline")
        assert moved < b.switch.lines.index(f"uuid_kill {CALL} NORMAL_CLEARING")
        # To the party outside nobody whispers.
        assert f"uuid_setvar {PHONE} eavesdrop_whisper_bleg false" in b.switch.lines
        b.calls.change_leg(ARRIVED, callstate="ACTIVE", answered=True)
        await b.told("uuid_transfer", 3)
        assert b.switch.told("uuid_transfer")[-1] == f"uuid_transfer {PHONE} eavesdrop:{ARRIVED} inline"
        await until(lambda: b.calls.of(CALL).monitors[0].mode == "whisper")


async def test_a_whisperer_who_chose_to_listen_while_the_call_was_transferred_goes_on_listening(tmp_path: Path) -> None:
    async with bench(tmp_path, talking(monitors=(watching("whisper"),))) as b:
        await carry_out(b, r.Transfer("102", "bleg"))
        await b.desk.change_monitor(AGENT, r.ChangeMonitor(SUPERVISOR, "listen"))
        b.calls.change_leg(ARRIVED, callstate="ACTIVE", answered=True)
        await b.told("uuid_getvar")
        # One more, which would come behind a whisper.
        await carry_out(b, r.Mute(True, "aleg"))
        assert len(b.switch.told("uuid_transfer")) == 3
        assert b.calls.of(CALL).monitors[0].mode == "listen"


# Taking turns.


async def test_two_commands_on_one_call_take_turns_and_hang_ups_wait_for_nobody(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.calls.arrives = False
        first = asyncio.ensure_future(carry_out(b, TRANSFER))
        await b.told("uuid_kill")
        second = asyncio.ensure_future(carry_out(b, r.Mute(True, "aleg")))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not b.switch.told("uuid_audio")
        assert await carry_out(b, r.HangUp("NORMAL_CLEARING")) == CALL
        assert (await refused(wait_for(first))).code == "CALL_ENDED"
        assert (await refused(wait_for(second))).code == "CALL_ENDED"
        assert not b.switch.told("uuid_audio")


async def test_a_call_that_became_part_of_another_takes_its_turn_there(tmp_path: Path) -> None:
    older = talking(call_id="older", ids=(), legs=(leg("older", "aleg", "103"),))
    async with bench(tmp_path, talking(), older) as b:
        b.calls.arrives = False
        first = asyncio.ensure_future(carry_out(b, TRANSFER))
        await b.told("uuid_kill")
        b.switch.says("uuid_park", "+OK")
        elsewhere = asyncio.ensure_future(carry_out(b, r.Park("aleg"), call_id="older"))
        await b.told("uuid_park")
        third = asyncio.ensure_future(carry_out(b, r.Dtmf("aleg", "1")))
        await asyncio.sleep(0)
        b.calls.join(CALL, "older")
        b.calls.drop(CALL)
        await refused(wait_for(first))
        await until(lambda: b.desk._turns._turns["pbx", "older"].wanted == 2)
        assert not b.switch.told("uuid_send_dtmf"), "the call that it is part of now is being parked"
        b.calls.change_leg("older", state="CS_PARK")
        assert await wait_for(elsewhere) == "older"
        assert await wait_for(third) == "older"


async def test_commands_on_different_calls_do_not_wait_for_each_other(tmp_path: Path) -> None:
    other = talking(call_id="other", ids=(), legs=(leg("other", "aleg", "103"),))
    async with bench(tmp_path, talking(), other) as b:
        b.calls.arrives = False
        first = asyncio.ensure_future(carry_out(b, TRANSFER))
        await b.told("uuid_kill")
        assert await carry_out(b, r.Mute(True, "aleg"), call_id="other") == "other"
        assert not first.done()
        first.cancel()


async def test_who_waits_too_long_for_a_turn_is_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "TURN_SECONDS", 0.02)
    async with bench(tmp_path) as b:
        b.calls.arrives = False
        first = asyncio.ensure_future(carry_out(b, TRANSFER))
        await b.told("uuid_kill")
        refusal = await refused(carry_out(b, r.Mute(True, "aleg")))
        assert refusal.code == "TOO_MANY_REQUESTS"
        assert not b.switch.told("uuid_audio")
        b.calls.drop(CALL)
        await refused(wait_for(first))
        assert b.desk._turns._turns == {}


async def test_too_many_commands_at_once_are_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "MAX_UNDER_WAY", 2)
    async with bench(tmp_path) as b:
        waits: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        b.switch.says("uuid_audio", waits, "+OK")
        busy = [asyncio.ensure_future(carry_out(b, r.Mute(True, "aleg"))) for _ in range(2)]
        await until(lambda: repr(b.desk) == "<Desk 2 commands under way>")
        # Also one that would not wait for its turn.
        for request_ in (r.Mute(True, "aleg"), r.HangUp("NORMAL_CLEARING")):
            refusal = await refused(carry_out(b, request_))
            assert refusal.code == "TOO_MANY_REQUESTS"
            assert "2 commands are under way on pbx" in f"{refusal}"
        waits.set_result("+OK")
        assert await asyncio.gather(*busy) == [CALL, CALL]
        assert await carry_out(b, r.Mute(True, "aleg")) == CALL


async def test_a_consumer_that_goes_away_stops_no_command(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        waits: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        park = b.calls.uuid_park

        def slowly(line: str) -> Any:
            park(line)
            return waits

        b.switch.answers["uuid_park"] = slowly
        command = asyncio.ensure_future(carry_out(b, r.Park("aleg")))
        await b.told("uuid_park")
        command.cancel()
        waits.set_result("+OK")
        await until(lambda: b'"outcome":"success"' in b.audit.path.read_bytes())
        assert b.switch.lines[-1] == f"uuid_kill {CALLED} NORMAL_CLEARING"


async def test_when_the_desk_closes_what_is_under_way_is_let_go_of(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.calls.arrives = False
        command = asyncio.ensure_future(carry_out(b, TRANSFER))
        await b.told("uuid_kill")
        await b.desk.close()
        with pytest.raises(asyncio.CancelledError):
            await command
        assert b'"outcome":"OUTCOME_UNKNOWN"' in b.audit.path.read_bytes()


# What nobody may do.


@pytest.mark.parametrize("call_id", ["x", "", "all", CALL.upper(), f"{CALL}\n"])
async def test_a_call_that_is_none_is_not_found(tmp_path: Path, call_id: str) -> None:
    async with bench(tmp_path) as b:
        assert (await refused(carry_out(b, r.HangUp("NORMAL_CLEARING"), call_id=call_id))).code == "CALL_NOT_FOUND"
        assert not b.switch.received


async def test_a_call_of_no_tenant_can_reach_no_extension_and_be_hung_up(tmp_path: Path) -> None:
    async with bench(tmp_path, talking(tenant=None)) as b:
        assert (await refused(carry_out(b, TRANSFER))).code == "CALL_NOT_FOUND"
        assert (await refused(carry_out(b, TRANSFER, OPERATOR))).code == "INVALID_DESTINATION"
        assert await carry_out(b, r.HangUp("NORMAL_CLEARING"), OPERATOR) == CALL


async def test_without_a_folder_for_recordings_nothing_is_recorded(tmp_path: Path) -> None:
    async with bench(tmp_path, recording="") as b:
        refusal = await refused(carry_out(b, r.RecordCall("start")))
        assert (refusal.code, "`recording` in [commands]" in f"{refusal}") == ("SWITCH_REFUSED", True)
        assert not b.switch.received


@pytest.mark.parametrize("tenant", ["..", "a..b", "a/b", "a b", "/etc", "a%b", "{call_id}"])
async def test_no_tenant_leads_a_recording_out_of_its_folder(tmp_path: Path, tenant: str) -> None:
    async with bench(tmp_path, talking(tenant=tenant)) as b:
        assert (await refused(carry_out(b, r.RecordCall("start"), OPERATOR))).code == "SWITCH_REFUSED"
        assert not b.switch.received


async def test_a_recording_that_another_began_is_ended_where_it_is(tmp_path: Path) -> None:
    async with bench(tmp_path, talking(recording="/by/dialplan.wav", recorded_leg=CALLED)) as b:
        assert await carry_out(b, r.RecordCall("start")) == CALL
        assert not b.switch.received
        assert await carry_out(b, r.RecordCall("stop")) == CALL
        assert b.switch.lines == [f"uuid_record {CALLED} stop /by/dialplan.wav"]
