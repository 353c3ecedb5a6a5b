"""`Idempotency-Key`: a request that is sent again is not carried out again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from callbridge.commands.requests import Mute
from callbridge.http import idempotency as idempotency_module
from callbridge.http.idempotency import REMEMBER_FOR
from tests.commands.kit import CALLED, NO_CHANNEL, SUPERVISOR, talking, watching
from tests.http.kit import MAY_ALL, OPERATOR, STRANGER, Answer, Api
from tests.http.test_commands import BODIES, commanding, path

MUTE = path("mute")
ANOTHER = "Idempotency-Key: was used for another request; every request needs a key of its own"
NO_KEY = "Idempotency-Key: must be 1 to 255 visible ASCII characters, like a uuid"


def same(answer: Answer, other: Answer) -> None:
    assert (answer.status, answer.body) == (other.status, other.body)
    for name in ("Location", "Content-Type", "Cache-Control"):
        assert answer.headers.get(name) == other.headers.get(name)


TOO_MANY_KEYS = "this token has used 2 keys in 10 minutes; nothing was done, try again later"


async def mute(api: Api, key: str | None, token: str = MAY_ALL, legs: str = "aleg") -> Answer:
    return await api.post(MUTE, token, key, legs=legs)


@pytest.mark.parametrize("command", BODIES)
async def test_the_same_key_gets_the_same_answer_and_one_command(tmp_path: Path, command: str) -> None:
    async with commanding(tmp_path) as (b, api):
        answer = await api.post(path(command), key="k", **BODIES[command])
        assert answer.status == 200
        told = bytes(b.switch.received)
        for _ in range(3):
            same(await api.post(path(command), key="k", **BODIES[command]), answer)
        assert bytes(b.switch.received) == told


async def test_the_same_key_places_one_call(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        body = {"ext": "101", "destination": "102"}
        answer = await api.post("/v1/call", key="k", **body)
        same(await api.post("/v1/call", key="k", **body), answer)
        assert len(b.switch.told("originate")) == 1
        assert (await api.post("/v1/call", key="k2", **body)).body != answer.body


async def test_without_a_key_each_request_is_carried_out(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        for _ in range(2):
            assert (await mute(api, None)).status == 200
        assert len(b.switch.lines) == 2


async def test_many_at_once_with_one_key_are_one(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        waits: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        b.switch.says("uuid_audio", waits)
        asking = [asyncio.ensure_future(mute(api, "k")) for _ in range(10)]
        await b.told("uuid_audio")
        waits.set_result("+OK")
        answers = await asyncio.gather(*asking)
        for answer in answers:
            same(answer, answers[0])
        assert len(b.switch.lines) == 1


@pytest.mark.parametrize(
    ("answers", "status"), [((NO_CHANNEL, "+OK"), 409), (("-ERR no", "+OK"), 502), ((None, "+OK"), 504)]
)
async def test_a_failure_is_answered_again_and_not_tried_again(tmp_path: Path, answers: Any, status: int) -> None:
    async with commanding(tmp_path) as (b, api):
        b.switch.says("uuid_audio", *answers)
        answer = await mute(api, "k")
        assert answer.status == status
        await b.connect()
        same(await mute(api, "k"), answer)
        assert len(b.switch.lines) == 1


async def test_a_call_that_is_not_found_is_not_looked_for_again(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        answer = await api.post(path("mute", "new"), key="k", legs="aleg")
        assert answer.status == 404
        b.calls.show(talking(call_id="new", ids=()))
        same(await api.post(path("mute", "new"), key="k", legs="aleg"), answer)
        assert (await api.post(path("mute", "new"), legs="aleg")).status == 200


async def test_what_nothing_was_done_about_is_tried_again_under_its_key(tmp_path: Path) -> None:
    async with commanding(tmp_path, connected=False) as (b, api):
        answer = await mute(api, "k")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
        await b.connect()
        answer = await mute(api, "k")
        assert answer.status == 200
        same(await mute(api, "k"), answer)
        assert len(b.switch.lines) == 1


async def test_the_answer_is_there_also_when_the_first_client_has_gone_away(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        waits: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        b.switch.says("uuid_audio", waits)
        first = asyncio.ensure_future(mute(api, "k"))
        await b.told("uuid_audio")
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.ensure_future(mute(api, "k"))
        waits.set_result("+OK")
        assert (await second).status == 200
        assert len(b.switch.lines) == 1


@pytest.mark.parametrize(
    ("asked", "body"),
    [
        (MUTE, {"legs": "bleg"}),
        (path("unmute"), {"legs": "aleg"}),
        (path("mute", CALLED), {"legs": "aleg"}),
        (path("mute", "other"), {"legs": "aleg"}),
        ("/v1/call", {"ext": "101", "destination": "102"}),
    ],
)
async def test_another_request_under_a_key_that_was_used_is_refused(tmp_path: Path, asked: str, body: Any) -> None:
    async with commanding(tmp_path) as (b, api):
        answer = await mute(api, "k")
        (await api.post(asked, key="k", **body)).fails(400, "INVALID_PARAMETER", ANOTHER, parameter="Idempotency-Key")
        same(await mute(api, "k"), answer)
        assert len(b.switch.lines) == 1


async def test_the_query_is_part_of_the_request(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (_, api):
        assert (await api.post(path("listen"), key="k", ext="104")).status == 200
        answer = await api.post(f"{path('listen')}?wait=answer", key="k", ext="104")
        answer.fails(400, "INVALID_PARAMETER", ANOTHER, parameter="Idempotency-Key")


async def test_every_token_has_keys_of_its_own(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        assert (await mute(api, "k")).status == 200
        assert (await mute(api, "k", STRANGER)).status == 404
        assert (await mute(api, "k", OPERATOR, "bleg")).status == 200
        assert len(b.switch.lines) == 2


async def test_a_request_that_is_wrong_uses_no_key(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (_, api):
        assert (await mute(api, "k", legs="both")).status == 400
        assert (await mute(api, "k", "wrong")).status == 401
        assert (await mute(api, "k")).status == 200


async def test_a_key_is_forgotten_after_its_time(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        await mute(api, "k")
        b.clock.pass_time(REMEMBER_FOR - 0.001)
        await mute(api, "k")
        assert len(b.switch.lines) == 1
        b.clock.pass_time(0.001)
        # Whatever it is then used for.
        assert (await mute(api, "k", legs="bleg")).status == 200
        assert len(b.switch.lines) == 2


async def test_a_token_has_only_so_many_keys_and_none_is_forgotten_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency_module, "MAX_KEYS", 2)
    async with commanding(tmp_path) as (b, api):
        first, _ = await mute(api, "a"), await mute(api, "b")
        (await mute(api, "c")).fails(429, "TOO_MANY_REQUESTS", TOO_MANY_KEYS)
        assert len(b.switch.lines) == 2
        same(await mute(api, "a"), first)
        # It is nobody else's limit.
        assert (await mute(api, "c", token=OPERATOR)).status == 200
        b.clock.pass_time(REMEMBER_FOR)
        assert (await mute(api, "c")).status == 200
        assert len(b.switch.lines) == 4


@pytest.mark.parametrize("key", ["a b", "ключ", "", "x" * 256, "a\tb", "é"])
async def test_a_key_of_the_wrong_form_is_named(tmp_path: Path, key: str) -> None:
    async with commanding(tmp_path) as (b, api):
        (await mute(api, key)).fails(400, "INVALID_PARAMETER", NO_KEY, parameter="Idempotency-Key")
        assert not b.switch.received


@pytest.mark.parametrize("key", ["k", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "!~#{}|,;"])
async def test_every_visible_character_may_be_in_a_key(tmp_path: Path, key: str) -> None:
    async with commanding(tmp_path) as (b, api):
        same(await mute(api, key), await mute(api, key))
        assert len(b.switch.lines) == 1


async def test_two_keys_are_no_key(tmp_path: Path) -> None:
    async with commanding(tmp_path) as (b, api):
        head = f"POST {path('hangup')} HTTP/1.1\r\nAuthorization: Bearer {MAY_ALL}\r\nContent-Length: 0\r\n"
        answer = await api.send(f"{head}Idempotency-Key: a\r\nIdempotency-Key: b".encode())
        answer.fails(400, "INVALID_PARAMETER", NO_KEY, parameter="Idempotency-Key")
        assert not b.switch.received


async def test_changing_a_monitor_twice_is_the_same_as_once_with_a_key_or_without(tmp_path: Path) -> None:
    async with commanding(tmp_path, talking(monitors=(watching(),))) as (_, api):
        asked = f"/v1/monitor/{SUPERVISOR}"
        for key in ("k", "k", None):
            assert (await api.ask("PATCH", asked, {"mode": "barge"}, key=key)).status == 200


async def test_a_failure_of_callbridge_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with commanding(tmp_path) as (b, api):
        tries = []

        async def fails(*_: Any) -> None:
            tries.append(1)
            raise RuntimeError("a mistake")

        monkeypatch.setattr(Mute, "do", fails)
        for _ in range(2):
            assert (await mute(api, "k")).status == 500
        assert len(tries) == 1
        monkeypatch.undo()
        assert (await mute(api, "k2")).status == 200
        assert len(b.switch.lines) == 1
