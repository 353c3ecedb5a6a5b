"""Commands as a consumer sees them: what is asked for, what comes back, and what each mistake is called."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from callbridge.commands import desk as desk_module
from callbridge.commands.simple import CAUSES
from callbridge.http.bodies import COMMANDS
from callbridge.http.commands import STATUS
from callbridge.mirror import SwitchStatus
from callbridge.records import Record
from tests.commands.kit import CALL, CALLED, NO_CHANNEL, NO_PHONE, SUPERVISOR, Bench, bench, leg, talking, watching
from tests.http.kit import MAY_ALL, OPERATOR, Api, serving
from tests.service import until


@asynccontextmanager
async def commanding(tmp_path: Path, *calls: Record, connected: bool = True) -> AsyncIterator[tuple[Bench, Api]]:
    """The API before a desk, whose switch does what it is told."""
    async with (
        bench(tmp_path, *calls, connected=connected) as b,
        serving(b.mirror, desk=b.desk, clock=b.clock) as api,
    ):
        yield b, api


BODIES: dict[str, dict[str, Any]] = {
    "transfer": {"ext": "102", "legs": "aleg"},
    "park": {"legs": "aleg"},
    "listen": {"ext": "104"},
    "whisper": {"ext": "104"},
    "barge": {"ext": "104"},
    "hangup": {},
    "hold": {},
    "unhold": {},
    "mute": {"legs": "aleg"},
    "unmute": {"legs": "aleg"},
    "dtmf": {"legs": "bleg", "digits": "42#"},
    "record": {"action": "start"},
}


def path(command: str, call_id: str = CALL) -> str:
    return f"/v1/call/{call_id}/{command}"


def test_there_is_a_body_for_every_command() -> None:
    assert set(BODIES) == set(COMMANDS)


# What is answered.


@pytest.mark.parametrize("command", BODIES)
@pytest.mark.parametrize("call_id", [CALL, CALLED])
async def test_the_body_of_each_success(tmp_path: Path, command: str, call_id: str) -> None:
    async with commanding(tmp_path) as (_, api):
        answer = await api.post(path(command, call_id), **BODIES[command])
        ext = BODIES[command].get("ext")
        said = b'{"status":"success","call_id":"%s"' % CALL.encode()
        assert (answer.status, answer.body) == (200, said + (b',"ext":"%s"}' % ext.encode() if ext else b"}"))
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("mode", ["listen", "whisper", "barge"])
async def test_a_monitor_is_found_where_the_answer_says(tmp_path: Path, mode: str) -> None:
    async with commanding(tmp_path) as (_, api):
        location = (await api.post(path(mode), ext="104")).headers["Location"]
        data = (await api.get(location, MAY_ALL)).data
        assert location == f"/v1/monitor/{data['monitor_id']}"
        assert (data["call_id"], data["state"]) == (CALL, "ringing")


@pytest.mark.parametrize("command", [name for name in BODIES if "ext" not in BODIES[name] or name == "transfer"])
async def test_what_makes_nothing_new_names_no_place(tmp_path: Path, command: str) -> None:
    async with commanding(tmp_path) as (_, api):
        assert "Location" not in (await api.post(path(command), **BODIES[command])).headers


async def test_a_placed_call_is_found_where_the_answer_says(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (_, api):
        answer = await api.post("/v1/call", ext="101", destination="0899123456")
        call_id = answer.json["call_id"]
        assert answer.body == b'{"status":"success","call_id":"%s"}' % call_id.encode()
        assert answer.headers["Location"] == f"/v1/call/{call_id}"
        assert (await api.get(answer.headers["Location"], MAY_ALL)).data["call_id"] == call_id


async def test_a_command_that_succeeded_is_in_the_list_when_it_is_told(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (_, api):
        await api.post(path("park"), legs="aleg")
        assert (await api.get("/v1/call", MAY_ALL)).data[0]["state"] == "CS_PARK"
        await api.post(path("transfer"), ext="102", legs="bleg")
        assert (await api.get("/v1/call", MAY_ALL)).data[0]["destination"] == "102"
        await api.post(path("hangup"))
        assert (await api.get("/v1/call", MAY_ALL)).data == []


@pytest.mark.parametrize("command", [*BODIES, "call"])
@pytest.mark.parametrize("body", [b"", b" \n", b"{}"])
async def test_an_empty_body_has_no_fields(tmp_path: Path, command: str, body: bytes) -> None:
    async with commanding(tmp_path) as (b, api):
        answer = await api.ask("POST", "/v1/call" if command == "call" else path(command), body)
        if BODIES.get(command) == {}:
            assert answer.status == 200
        else:
            assert (answer.status, answer.json["error"]) == (400, "INVALID_PARAMETER")
            assert not b.switch.received


async def test_whether_it_is_answered_is_waited_for_on_request(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        for asked in (path("listen"), "/v1/call"):
            body = {"ext": "104"} if "listen" in asked else {"ext": "101", "destination": "102"}
            b.calls.job = None
            waiting = asyncio.ensure_future(api.ask("POST", f"{asked}?wait=answer", body))
            await until(lambda: b.calls.job is not None)
            assert not waiting.done()
            assert b.calls.job is not None
            b.calls.job.set_result("-ERR CALL_REJECTED")
            assert (await waiting).json["error"] == "CALL_REJECTED"
            b.calls.show(b.calls.of(CALL), monitors=())
            assert (await api.ask("POST", asked, body)).status == 200
            b.calls.job.set_result("-ERR NO_ANSWER")


# What is wrong with a request.


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"nonsense", "the body is no JSON ("),
        (b'{"ext": "101"', "the body is no JSON ("),
        (b"{'ext': '101'}", "the body is no JSON ("),
        (b"ext=101&legs=aleg", "the body is no JSON ("),
        (b'{"ext": "\xff"}', "the body is no JSON ("),
        (b'{"ext": "\xed\xa0\x80"}', "the body is no JSON ("),
        (b'{"ext": "\\ud800"}', "the body is no JSON ("),
        (b"\xef\xbb\xbf{}", "the body is no JSON ("),
        (b"[" * 10_000, "the body is no JSON ("),
        (b"[]", 'the body is no JSON object; send one like {"ext": "101"}'),
        (b'[{"ext": "101"}]', "the body is no JSON object"),
        (b'"101"', "the body is no JSON object"),
        (b"null", "the body is no JSON object"),
        (b"1", "the body is no JSON object"),
    ],
)
@pytest.mark.parametrize("command", ["transfer", "hangup"])
async def test_a_body_that_is_none(tmp_path: Path, command: str, body: bytes, words: str) -> None:
    async with commanding(tmp_path) as (b, api):
        answer = await api.ask("POST", path(command), body)
        assert (answer.status, answer.json["error"]) == (400, "INVALID_BODY")
        assert answer.json["message"].startswith(words)
        assert not b.switch.received


async def test_a_body_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        for method, asked in (("POST", path("park")), ("POST", "/v1/call"), ("PATCH", f"/v1/monitor/{SUPERVISOR}")):
            answer = await api.ask(method, asked, b'{"legs": "aleg"}' + b" " * 16_384)
            assert (answer.status, answer.json["error"]) == (413, "BODY_TOO_LARGE")
            assert "16384" in answer.json["message"]
        assert not b.switch.received


EXT = "ext: is no extension: 1 to 32 of 0-9 A-Z a-z _ + * # ."
KEYS = "digits: can be 1 to 64 of 0-9 A-D * # and w, a pause of half a second"
SIDES = "one of aleg, bleg"
MISTAKES: list[tuple[str, dict[str, Any], str, str]] = [
    ("transfer", {"legs": "aleg"}, "ext", 'ext: is missing; it is an extension, like "101"'),
    ("transfer", {"ext": "102"}, "legs", f"legs: is missing; it is {SIDES}"),
    ("transfer", {"ext": 102, "legs": "aleg"}, "ext", 'ext: must be a string: an extension, like "101"'),
    ("transfer", {"ext": None, "legs": "aleg"}, "ext", 'ext: must be a string: an extension, like "101"'),
    ("transfer", {"ext": "", "legs": "aleg"}, "ext", EXT),
    ("transfer", {"ext": "1 2", "legs": "aleg"}, "ext", EXT),
    ("transfer", {"ext": "101\n", "legs": "aleg"}, "ext", EXT),
    ("transfer", {"ext": "9" * 33, "legs": "aleg"}, "ext", EXT),
    ("transfer", {"ext": "٣", "legs": "aleg"}, "ext", EXT),
    ("transfer", {"ext": "102", "legs": "both"}, "legs", "legs: can be aleg, bleg"),
    ("transfer", {"ext": "102", "legs": "ALEG"}, "legs", "legs: can be aleg, bleg"),
    ("transfer", {"ext": "102", "legs": ["aleg"]}, "legs", f"legs: must be a string: {SIDES}"),
    ("transfer", {"ext": "102", "legs": "aleg", "leg": 1}, "leg", "leg: there is no such field; there are ext, legs"),
    ("park", {}, "legs", f"legs: is missing; it is {SIDES}"),
    ("park", {"legs": "aleg", "ext": "1"}, "ext", "ext: there is no such field; there are legs"),
    ("listen", {}, "ext", 'ext: is missing; it is an extension, like "101"'),
    ("whisper", {"ext": "104", "legs": ""}, "legs", "legs: can be aleg, bleg"),
    ("barge", {"ext": "104", "mode": "x"}, "mode", "mode: there is no such field; there are ext, legs"),
    ("hangup", {"cause": "BECAUSE"}, "cause", f"cause: can be {', '.join(CAUSES)}"),
    ("hangup", {"legs": "aleg"}, "legs", "legs: there is no such field; there are cause"),
    ("hold", {"legs": None}, "legs", f"legs: must be a string: {SIDES}"),
    ("unhold", {"x": 1}, "x", "x: there is no such field; there are legs"),
    ("mute", {}, "legs", f"legs: is missing; it is {SIDES}"),
    ("dtmf", {"legs": "aleg"}, "digits", 'digits: is missing; it is keys, like "123#"'),
    ("dtmf", {"legs": "aleg", "digits": "12a"}, "digits", KEYS),
    ("dtmf", {"legs": "aleg", "digits": ""}, "digits", KEYS),
    ("dtmf", {"legs": "aleg", "digits": 12}, "digits", 'digits: must be a string: keys, like "123#"'),
    ("record", {}, "action", "action: is missing; it is one of start, stop"),
    ("record", {"action": "pause"}, "action", "action: can be start, stop"),
    ("call", {"ext": "101"}, "destination", 'destination: is missing; it is an extension, like "101"'),
    ("call", {"ext": "101", "destination": "a b"}, "destination", EXT.replace("ext:", "destination:")),
    ("call", {"ext": "1", "destination": "2", "x": 1}, "x", "x: there is no such field; there are ext, destination"),
    ("PATCH", {}, "mode", "mode: is missing; it is one of listen, whisper, barge"),
    ("PATCH", {"mode": "shout"}, "mode", "mode: can be listen, whisper, barge"),
    ("PATCH", {"mode": "barge", "ext": "1"}, "ext", "ext: there is no such field; there are mode"),
    ("DELETE", {"x" * 60: 1}, "x" * 40, f"{'x' * 40}: there is no such field; this request has none"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "body", "parameter", "message"), MISTAKES)
async def test_each_mistake_names_the_field_and_the_way_out(
    tmp_path: Path, command: str, body: dict[str, Any], parameter: str, message: str
) -> None:
    method = command if command in ("PATCH", "DELETE") else "POST"
    asked = "/v1/call" if command == "call" else path(command) if method == "POST" else f"/v1/monitor/{SUPERVISOR}"
    async with commanding(tmp_path, talking(monitors=(watching(),))) as (b, api):
        (await api.ask(method, asked, body)).fails(400, "INVALID_PARAMETER", message, parameter=parameter)
        assert not b.switch.received
        assert not b.audit.path.exists()


@pytest.mark.parametrize(
    ("asked", "parameter", "message"),
    [
        (f"{path('listen')}?wait=ring", "wait", "wait: can only be `answer`"),
        (f"{path('listen')}?wait=", "wait", "wait: can only be `answer`"),
        (f"{path('listen')}?wait=answer&wait=ring", "wait", "wait: can only be `answer`"),
        (f"{path('listen')}?legs=aleg", "legs", "legs: there is no such parameter; there is switch and wait"),
        (f"{path('transfer')}?wait=answer", "wait", "wait: there is no such parameter; there is switch"),
        (f"{path('park')}?legs=aleg", "legs", "legs: there is no such parameter; there is switch"),
        ("/v1/call?limit=1", "limit", "limit: there is no such parameter; there is wait"),
        ("/v1/call?%ff=1", "\ufffd", "\ufffd: there is no such parameter; there is wait"),
    ],
)
async def test_a_parameter_that_there_is_not(tmp_path: Path, asked: str, parameter: str, message: str) -> None:
    async with commanding(tmp_path) as (b, api):
        answer = await api.ask("POST", asked, {"ext": "104"})
        answer.fails(400, "INVALID_PARAMETER", message, parameter=parameter)
        assert not b.switch.received


async def test_a_command_is_for_the_call_of_the_switch_that_is_named(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        b.mirror.switches["standby"] = SwitchStatus("standby", lambda: None)
        b.mirror.apply("standby", [msgspec.structs.replace(b.calls.of(CALL), switch="standby")], (), (), 0.0)
        answer = await api.ask("POST", path("mute"), {"legs": "aleg"})
        message = "switch: must say whose call is meant: pbx, standby each have one of this id"
        answer.fails(400, "INVALID_PARAMETER", message, parameter="switch")
        assert not b.switch.received
        assert (await api.ask("POST", f"{path('mute')}?switch=pbx", {"legs": "aleg"})).status == 200
        assert b.switch.told("uuid_audio") == [f"uuid_audio {CALL} start read mute -1"]
        answer = await api.ask("POST", f"{path('mute')}?switch=nowhere", {"legs": "aleg"})
        assert (answer.status, answer.json["error"]) == (404, "CALL_NOT_FOUND")


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_changing_a_monitor_takes_no_parameter(tmp_path: Path, method: str) -> None:
    async with commanding(tmp_path, talking(monitors=(watching(),))) as (b, api):
        body = {"mode": "barge"} if method == "PATCH" else None
        answer = await api.ask(method, f"/v1/monitor/{SUPERVISOR}?mode=barge", body)
        answer.fails(400, "INVALID_PARAMETER", "mode: there is no such parameter", parameter="mode")
        assert not b.switch.received


# Every code, once.

Setup = Callable[[Bench], None]


def nothing(_: Bench) -> None:
    pass


def told(name: str, *answers: str | None) -> Setup:
    return lambda b: b.switch.says(name, *answers)


def over(b: Bench) -> None:
    b.calls.drop(CALLED)
    b.calls.drop(CALL)


PARKED = talking(legs=(leg(CALL, "aleg", "101", state="CS_PARK"),))
RINGING = talking(legs=(leg(CALL, "aleg", "101", callstate="RINGING", answered=False),))
CODES: list[tuple[str, Setup, Record, str, dict[str, Any], str]] = [
    ("INVALID_PARAMETER", nothing, talking(), path("park"), {}, "legs: is missing"),
    ("FORBIDDEN", nothing, talking(), "/v1/call", {"ext": "101", "destination": "102"}, "use one of that tenant"),
    ("CALL_NOT_FOUND", nothing, talking(), path("park", "x"), {"legs": "aleg"}, "GET /v1/call lists them"),
    ("MONITOR_NOT_FOUND", nothing, talking(), "/v1/monitor/x", {"mode": "barge"}, "GET /v1/monitor lists them"),
    ("ALREADY_PARKED", nothing, PARKED, path("park"), {"legs": "aleg"}, "a transfer takes it out"),
    ("CALL_ENDED", told("uuid_audio", NO_CHANNEL), talking(), path("mute"), {"legs": "aleg"}, "the leg hung up"),
    ("CALL_REJECTED", told("originate", "-ERR CALL_REJECTED"), talking(), path("listen"), {"ext": "104"}, "104 rej"),
    ("INVALID_DESTINATION", nothing, talking(), path("listen"), {"ext": "999"}, "ext: a.example has no extension 999"),
    ("NOT_ANSWERED", nothing, RINGING, path("park"), {"legs": "aleg"}, "try again when it is"),
    ("NOT_BRIDGED", nothing, PARKED, path("barge"), {"ext": "104"}, "listen, or transfer it first"),
    ("NO_ANSWER", told("originate", "-ERR NO_ANSWER"), talking(), path("listen"), {"ext": "104"}, "104 did not"),
    ("USER_BUSY", told("originate", "-ERR USER_BUSY"), talking(), path("listen"), {"ext": "104"}, "104 is busy"),
    ("USER_NOT_REGISTERED", nothing, talking(), path("listen"), {"ext": NO_PHONE}, "no phone of extension 115"),
    ("TOO_MANY_REQUESTS", nothing, talking(), path("mute"), {"legs": "aleg"}, "0 commands are under way on pbx"),
    ("SWITCH_REFUSED", told("uuid_audio", "-ERR no"), talking(), path("mute"), {"legs": "aleg"}, "uuid_audio: no"),
    ("SWITCH_UNAVAILABLE", told("user_exists", None), talking(), path("listen"), {"ext": "104"}, "nothing was done"),
    ("OUTCOME_UNKNOWN", told("uuid_audio", None), talking(), path("mute"), {"legs": "aleg"}, "look at the call"),
]


def test_every_code_is_produced() -> None:
    assert {code for code, *_ in CODES} == set(STATUS)


@pytest.mark.parametrize(("code", "setup", "call", "asked", "body", "words"), CODES, ids=lambda value: str(value)[:20])
async def test_the_status_and_the_words_of_each_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: Any,
    setup: Setup,
    call: Record,
    asked: str,
    body: dict[str, Any],
    words: str,
) -> None:
    if code == "TOO_MANY_REQUESTS":
        monkeypatch.setattr(desk_module, "MAX_UNDER_WAY", 0)
    async with commanding(tmp_path, call) as (b, api):
        setup(b)
        method = "PATCH" if "monitor" in asked else "POST"
        answer = await api.ask(method, asked, body, OPERATOR if code == "FORBIDDEN" else MAY_ALL)
        assert answer.status == STATUS[code], answer
        assert list(answer.json)[:3] == ["status", "error", "message"]
        assert (answer.json["status"], answer.json["error"]) == ("fail", code)
        assert words in answer.json["message"]
        assert ("Retry-After" in answer.headers) == (STATUS[code] in (429, 503))
        assert "Location" not in answer.headers


@pytest.mark.parametrize("command", BODIES)
async def test_a_call_that_ended_lately_is_gone_with_its_time_and_cause(tmp_path: Path, command: str) -> None:
    async with commanding(tmp_path) as (b, api):
        over(b)
        for call_id in (CALL, CALLED):
            (await api.post(path(command, call_id), **BODIES[command])).fails(
                410,
                "CALL_ENDED",
                "this call ended at 2021-06-08 17:40:00 (NORMAL_CLEARING)",
                ended_time="2021-06-08 17:40:00",
                cause="NORMAL_CLEARING",
            )
        assert not b.switch.received


async def test_without_the_switch_a_command_can_be_tried_again_later(tmp_path: Path) -> None:
    async with commanding(tmp_path, connected=False) as (b, api):
        answer = await api.post(path("park"), legs="aleg")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
        await b.connect()
        assert (await api.post(path("park"), legs="aleg")).status == 200


async def test_a_client_that_goes_away_in_the_middle_of_its_body_does_no_harm(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        head = f"POST {path('hangup')} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {MAY_ALL}\r\n"
        with capture_logs() as logs:
            await api.leave(f"{head}Content-Length: 9\r\n\r\n{{".encode())
        assert logs == []
        assert not b.switch.received


async def test_a_client_that_goes_away_after_its_request_stops_nothing(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        waits: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        park = b.calls.uuid_park
        b.switch.answers["uuid_park"] = lambda line: (park(line), waits)[1]
        asking = asyncio.ensure_future(api.post(path("park"), legs="aleg"))
        await b.told("uuid_park")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        waits.set_result("+OK")
        await until(lambda: b'"done"' in b.audit.path.read_bytes())
        assert json.loads(b.audit.path.read_bytes().splitlines()[-1])["outcome"] == "success"
