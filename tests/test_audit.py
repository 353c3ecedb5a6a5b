"""The audit log: who did what, written before it is done."""

import asyncio
import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from callbridge import audit as audit_module
from callbridge.audit import Audit
from callbridge.commands import requests as r
from tests.commands.kit import (
    AGENT,
    CALL,
    CALLED,
    NO_CHANNEL,
    OPERATOR,
    SUPERVISOR,
    TENANT,
    Bench,
    bench,
    refused,
    talking,
    watching,
)
from tests.http.kit import MAY_ALL, serving
from tests.service import until

NOW = datetime(2021, 6, 8, 17, 38, 0, 123_456, tzinfo=UTC)
MUTE = r.Mute(True, "aleg")


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_bytes().decode()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


# The file.


async def test_a_line_is_one_json_object_with_its_time_first(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "a", lambda: NOW)
    await audit.write("asked", {"token": "crm", "n": 1})
    await audit.write("done", {"odd": "a\nb\x00\u2028é"})
    first, second = (tmp_path / "a").read_text(encoding="utf-8").split("\n")[:2]
    assert first == '{"time":"2021-06-08T17:38:00.123+00:00","event":"asked","token":"crm","n":1}'
    assert json.loads(second)["odd"] == "a\nb\x00\u2028é"
    assert len(lines(tmp_path / "a")) == 2


async def test_its_own_clock_is_the_time_of_day_in_utc(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    await Audit(tmp_path / "a").write("asked", {})
    written = datetime.fromisoformat(lines(tmp_path / "a")[0]["time"])
    assert abs((written - before).total_seconds()) < 60
    assert written.tzinfo is not None


async def test_only_its_owner_and_group_can_read_a_new_file(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        await Audit(tmp_path / "a").write("asked", {})
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == audit_module.MODE == 0o640


async def test_what_stands_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text('{"kept":1}\n')
    await Audit(path).write("asked", {})
    assert [line.get("kept") for line in lines(path)] == [1, None]


async def test_after_the_file_was_moved_away_a_new_one_begins(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "a")
    await audit.write("asked", {"n": 1})
    (tmp_path / "a").rename(tmp_path / "a.1")
    await audit.write("done", {"n": 2})
    assert [line["n"] for line in (*lines(tmp_path / "a.1"), *lines(tmp_path / "a"))] == [1, 2]


async def test_many_at_once_do_not_mix(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "a")
    await asyncio.gather(*(audit.write("asked", {"n": n, "long": "x" * 5000}) for n in range(100)))
    assert sorted(line["n"] for line in lines(tmp_path / "a")) == list(range(100))


async def test_a_line_that_was_written_in_part_is_a_failure_and_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, audit = os.write, Audit(tmp_path / "a")
    await audit.write("asked", {"n": 1})
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:5]))
    for _ in range(2):
        with pytest.raises(OSError, match="could not be written whole"):
            await audit.write("asked", {"n": 2})
    monkeypatch.undo()
    for n in (3, 4):
        await audit.write("asked", {"n": n})
    whole = [line for line in (tmp_path / "a").read_text().split("\n") if line.endswith("}")]
    assert [json.loads(line)["n"] for line in whole] == [1, 3, 4]


async def test_lines_that_come_at_once_are_one_flush_and_each_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, flush, flushed = os.write, os.fdatasync, 0

    def count(file: int) -> None:
        nonlocal flushed
        flushed += 1
        flush(file)

    monkeypatch.setattr(os, "fdatasync", count)
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:9] if b'"n":7}' in line else line))
    audit = Audit(tmp_path / "a")
    results = await asyncio.gather(*(audit.write("asked", {"n": n}) for n in range(50)), return_exceptions=True)
    assert flushed == 1
    assert [n for n, result in enumerate(results) if result is not None] == [7]
    whole = [line for line in (tmp_path / "a").read_text().split("\n") if line.endswith("}")]
    assert [json.loads(line)["n"] for line in whole] == [n for n in range(50) if n != 7]


async def test_where_the_disk_cannot_be_flushed_every_line_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError("no more")

    monkeypatch.setattr(os, "fdatasync", fails)
    audit = Audit(tmp_path / "a")
    results = await asyncio.gather(*(audit.write("asked", {"n": n}) for n in range(3)), return_exceptions=True)
    assert [f"{result}" for result in results] == ["no more"] * 3


async def test_where_there_is_no_thread_to_write_with_every_line_has_failed_and_later_ones_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    audit = Audit(tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "to_thread", fails)
        for _ in range(2):
            with pytest.raises(OSError, match="can't start new thread"):
                await audit.write("asked", {"n": 1})
    await audit.write("asked", {"n": 2})
    assert [line["n"] for line in lines(tmp_path / "a")] == [2]


async def test_those_who_waited_go_on_a_few_in_a_turn_of_the_loop(tmp_path: Path) -> None:
    audit, turn, went_on = Audit(tmp_path / "a"), 0, Counter[int]()

    async def turns() -> None:
        nonlocal turn
        while True:
            await asyncio.sleep(0)
            turn += 1

    async def writes() -> None:
        await audit.write("asked", {})
        went_on[turn] += 1

    counting = asyncio.create_task(turns())
    await asyncio.gather(*(writes() for _ in range(5 * audit_module.AT_ONCE)))
    counting.cancel()
    assert went_on.total() == 5 * audit_module.AT_ONCE
    assert max(went_on.values()) <= audit_module.AT_ONCE


async def test_a_line_that_nobody_waits_for_any_more_is_written(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "a")
    writing = asyncio.create_task(audit.write("done", {"n": 1}))
    await asyncio.sleep(0)
    writing.cancel()
    await audit.flush()
    assert [line["n"] for line in lines(tmp_path / "a")] == [1]


# What stands in it.


async def test_each_command_is_asked_and_done(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.desk.carry_out(AGENT, CALLED, r.Transfer("102", "aleg"))
        asked, done = lines(b.audit.path)
    described = {
        "token": "crm",
        "address": "192.0.2.9",
        "tenant": TENANT,
        "switch": "pbx",
        "call_id": CALL,
        "aleg": "101",
        "bleg": "0899123456",
        "command": "transfer",
        "ext": "102",
        "legs": "aleg",
        "id": asked["id"],
    }
    assert {name: value for name, value in asked.items() if name != "time"} == {"event": "asked", **described}
    assert {name: value for name, value in done.items() if name != "time"} == {
        "event": "done",
        **described,
        "outcome": "success",
        "seconds": 0.0,
    }


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (r.Park("bleg"), {"command": "park", "legs": "bleg"}),
        (r.Monitor("whisper", "104", "aleg"), {"command": "monitor", "mode": "whisper", "ext": "104", "legs": "aleg"}),
        (r.HangUp("USER_BUSY"), {"command": "hangup", "cause": "USER_BUSY"}),
        (r.Hold(True), {"command": "hold", "on": True}),
        (r.Hold(False, "bleg"), {"command": "hold", "on": False, "legs": "bleg"}),
        (r.Mute(True, "aleg"), {"command": "mute", "on": True, "legs": "aleg"}),
        (r.RecordCall("start"), {"command": "record", "action": "start"}),
        (r.Dtmf("bleg", "4711#"), {"command": "dtmf", "legs": "bleg", "digits": 5}),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_was_asked_for_is_said(tmp_path: Path, request_: r.OnCall, said: dict[str, Any]) -> None:
    async with bench(tmp_path) as b:
        await b.desk.carry_out(AGENT, CALL, request_)
        for line in lines(b.audit.path):
            assert said.items() <= line.items()
            assert ("legs" in line) == ("legs" in said)
            assert line.get("monitor_id") == getattr(request_, "monitor_id", None)


async def test_the_id_of_a_placed_call_is_said_before_it_is_placed(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        wanted = r.Place("101", "102")
        await b.desk.place(AGENT, wanted)
        assert [line["call_id"] for line in lines(b.audit.path)] == [wanted.call_id] * 2


async def test_keys_are_counted_and_never_written(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.desk.carry_out(AGENT, CALL, r.Dtmf("bleg", "4711#"))
        b.switch.says("uuid_send_dtmf", "-ERR Operation Failed")
        await refused(b.desk.carry_out(AGENT, CALL, r.Dtmf("bleg", "4711#")))
        assert b"4711" not in b.audit.path.read_bytes()


@pytest.mark.parametrize("request_", [r.ChangeMonitor(SUPERVISOR, "barge"), r.StopMonitor(SUPERVISOR)])
async def test_a_monitors_change_and_end_name_it(tmp_path: Path, request_: Any) -> None:
    async with bench(tmp_path, talking(monitors=(watching(),))) as b:
        await b.desk.change_monitor(OPERATOR, request_)
        for line in lines(b.audit.path):
            assert (line["monitor_id"], line["call_id"], line["token"]) == (SUPERVISOR, CALL, "operator")


async def test_a_placed_call_is_named_once_it_has_an_id(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        call_id = await b.desk.place(AGENT, r.Place("101", "102"))
        asked, done = lines(b.audit.path)
        expected = {"command": "call", "ext": "101", "destination": "102", "tenant": TENANT, "token": "crm"}
        assert expected.items() <= asked.items()
        assert (expected | {"switch": "pbx", "call_id": call_id, "outcome": "success"}).items() <= done.items()


async def test_a_refusal_is_written_with_its_reason_and_its_time(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        waits: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        b.switch.says("uuid_audio", waits)
        command = asyncio.ensure_future(refused(b.desk.carry_out(AGENT, CALL, MUTE)))
        await b.told("uuid_audio")
        b.clock.pass_time(1.2345)
        waits.set_result(NO_CHANNEL)
        refusal = await command
        asked, done = lines(b.audit.path)
        assert (done["outcome"], done["reason"], done["seconds"]) == ("CALL_ENDED", f"{refusal}", 1.234)
        assert done["id"] == asked["id"]


async def test_a_failure_of_callbridge_has_an_unknown_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(r.Mute, "do", fails)
    async with bench(tmp_path) as b:
        with pytest.raises(RuntimeError):
            await b.desk.carry_out(AGENT, CALL, MUTE)
        assert lines(b.audit.path)[1]["outcome"] == "OUTCOME_UNKNOWN"


async def test_no_token_and_no_name_of_a_caller_is_in_it(tmp_path: Path) -> None:
    async with bench(tmp_path) as b, serving(b.mirror, desk=b.desk, clock=b.clock) as api:
        assert (await api.post(f"/v1/call/{CALL}/park", key="a key of mine", legs="aleg")).status == 400
        assert (await api.post(f"/v1/call/{CALL}/park", key="a-key", legs="aleg")).status == 200
        written = b.audit.path.read_text()
        for secret in (MAY_ALL, "Bearer", "a-key", "Agent 101"):
            assert secret not in written
        assert lines(b.audit.path)[0]["token"] == "may-all"
        assert lines(b.audit.path)[0]["address"] == "127.0.0.1"


# Before, and not without.


async def test_it_is_written_before_the_switch_hears_of_it(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        seen: list[list[str]] = []

        def look(_: str) -> str:
            seen.append([line["event"] for line in lines(b.audit.path)])
            return "+OK"

        b.switch.answers["uuid_audio"] = look
        await b.desk.carry_out(AGENT, CALL, MUTE)
        for name in ("user_exists", "originate"):
            b.switch.answers[name] = lambda line: (look(line), "false")[1]
        await refused(b.desk.place(AGENT, r.Place("101", "102")))
        assert seen == [["asked"], ["asked", "done", "asked"]]


def a_folder(path: Path) -> None:
    path.mkdir()


def no_folder(path: Path) -> None:
    path.parent.rmdir()


def a_full_disk(path: Path) -> None:
    path.symlink_to("/dev/full")


def a_loop(path: Path) -> None:
    path.symlink_to(path)


async def nothing_is_done(b: Bench) -> None:
    with capture_logs() as logs:
        for command in (
            b.desk.carry_out(AGENT, CALL, MUTE),
            b.desk.carry_out(AGENT, CALL, r.HangUp("NORMAL_CLEARING")),
            b.desk.change_monitor(AGENT, r.StopMonitor(SUPERVISOR)),
            b.desk.place(AGENT, r.Place("101", "102")),
        ):
            refusal = await refused(command)
            assert refusal.code == "SWITCH_UNAVAILABLE"
            assert "the audit log cannot be written, so nothing was done" in f"{refusal}"
    assert [(entry["event"], entry["path"]) for entry in logs] == [("audit.failed", str(b.audit.path))] * 4
    assert not b.switch.received


@pytest.mark.parametrize("spoil", [a_folder, no_folder, a_full_disk, a_loop])
async def test_what_cannot_be_written_is_not_done(tmp_path: Path, spoil: Any) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    async with bench(folder, talking(monitors=(watching(),))) as b:
        spoil(b.audit.path)
        await nothing_is_done(b)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("mode", [0o500, 0o000])
async def test_in_a_folder_that_cannot_be_written_nothing_is_done(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    async with bench(folder, talking(monitors=(watching(),))) as b:
        folder.chmod(mode)
        try:
            await nothing_is_done(b)
        finally:
            folder.chmod(0o700)


async def test_the_consumer_is_told_that_it_is_the_operators_to_mend(tmp_path: Path) -> None:
    async with bench(tmp_path) as b, serving(b.mirror, desk=b.desk, clock=b.clock) as api:
        a_folder(b.audit.path)
        answer = await api.post(f"/v1/call/{CALL}/park", legs="aleg")
        assert (answer.status, answer.json["error"]) == (503, "SWITCH_UNAVAILABLE")
        assert str(tmp_path) not in answer.json["message"]
        assert answer.headers["Retry-After"] == "2"


async def test_what_was_done_is_told_also_where_it_can_no_more_be_written(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        mute = b.switch.answers.get("uuid_audio")
        assert mute is None

        def fill(_: str) -> str:
            b.audit.path.unlink()
            a_full_disk(b.audit.path)
            return "+OK"

        b.switch.answers["uuid_audio"] = fill
        with capture_logs() as logs:
            assert await b.desk.carry_out(AGENT, CALL, MUTE) == CALL
        assert [entry["event"] for entry in logs] == ["audit.failed"]


async def test_a_slow_disk_holds_up_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    goes_on = threading.Event()
    write = os.write

    def slowly(file: int, line: bytes) -> int:
        assert goes_on.wait(20)
        return write(file, line)

    monkeypatch.setattr(os, "write", slowly)
    async with bench(tmp_path) as b:
        command = asyncio.ensure_future(b.desk.carry_out(AGENT, CALL, MUTE))
        turns = 0

        def turned() -> bool:
            nonlocal turns
            turns += 1
            return turns > 100

        await until(turned)
        assert not b.switch.received
        goes_on.set()
        assert await command == CALL
