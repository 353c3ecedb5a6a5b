"""`GET /v1/call?wait=SECONDS`: the answer comes when there is another one."""

import asyncio

import pytest

from callbridge.mirror import Mirror
from tests.http.kit import EVERYTHING, OF_A, Answer, Api, live, serving
from tests.http.samples import change, filled, record
from tests.service import until


async def tag_of(api: Api, path: str, token: str = EVERYTHING) -> str:
    return (await api.get(path, token)).headers["ETag"]


async def waiting(api: Api, path: str, tag: str, token: str = EVERYTHING) -> "asyncio.Task[Answer]":
    """A request that has come to where it waits."""
    before = api.clock.sleepers
    task = asyncio.create_task(api.get(path, token, If_None_Match=tag))
    await until(lambda: api.clock.sleepers > before or task.done())
    assert not task.done()
    return task


async def test_another_answer_comes_at_once() -> None:
    mirror = live(filled(record("a")))
    async with serving(mirror) as api:
        tag = await tag_of(api, "/v1/call")
        change(mirror, record("b", 1))
        assert (await api.get("/v1/call?wait=60", If_None_Match=tag)).ids == ["a", "b"]
        assert (await api.get("/v1/call?wait=60")).ids == ["a", "b"]


@pytest.mark.parametrize("path", ["/v1/call?wait=60", "/v1/call?wait=60&state=CS_EXECUTE&limit=5"])
async def test_a_change_brings_the_answer(path: str) -> None:
    mirror = live(filled(record("a")))
    async with serving(mirror) as api:
        tag = await tag_of(api, path)
        tasks = [await waiting(api, path, tag) for _ in range(3)]
        change(mirror, record("b", 1))
        for task in tasks:
            answer = await task
            assert answer.ids == ["a", "b"]
            assert answer.headers["ETag"] == await tag_of(api, path) != tag


async def test_nothing_new_is_304_when_the_time_is_up_and_not_before() -> None:
    async with serving(live(filled(record("a")))) as api:
        tag = await tag_of(api, "/v1/call")
        task = await waiting(api, "/v1/call?wait=30", tag)
        api.clock.pass_time(29.9)
        assert (await api.get("/v1/call?wait=0", If_None_Match=tag)).status == 304
        assert not task.done()
        api.clock.pass_time(0.1)
        answer = await task
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag)


async def test_a_change_that_is_not_shown_wakes_only_who_asked_for_it() -> None:
    mirror = live(filled(record("a", tenant="a.example")))
    async with serving(mirror) as api:
        more = "/v1/call?wait=60&fields=call_id,callstate"
        plain = await waiting(api, "/v1/call?wait=60", await tag_of(api, "/v1/call", OF_A), OF_A)
        shown = await waiting(api, more, await tag_of(api, more, OF_A), OF_A)
        change(mirror, record("b", tenant="b.example"))
        change(mirror, record("a", tenant="a.example", callstate="HELD"))
        assert (await shown).data == [{"call_id": "a", "callstate": "HELD"}]
        assert not plain.done()
        change(mirror, gone=["a"])
        assert (await plain).data == []


async def test_a_switch_that_is_no_more_in_sync_brings_the_answer_to_those_who_asked_for_it() -> None:
    mirror = live(Mirror(["east", "west"]))
    async with serving(mirror) as api:
        east, west = "/v1/call?wait=60&switch=east", "/v1/call?wait=60&switch=west"
        tag = await tag_of(api, east)
        assert tag == await tag_of(api, west)
        of_east, of_west = await waiting(api, east, tag), await waiting(api, west, tag)
        mirror.switches["west"].state = "stale"
        assert (await of_west).json["complete"] is False
        assert not of_east.done()
        mirror.switches["east"].state = "stale"
        assert (await of_east).json["complete"] is False


async def test_what_was_required_when_it_began_is_required_in_the_end() -> None:
    mirror = live(filled(record("a")))
    async with serving(mirror) as api:
        path = "/v1/call?wait=60&require=live"
        task = await waiting(api, path, await tag_of(api, path))
        mirror.switches["pbx"].state = "down"
        assert (await task).json["error"] == "SWITCH_UNAVAILABLE"


async def test_the_first_call_of_a_tenant_ends_the_wait_at_its_empty_list() -> None:
    mirror = live(Mirror(["pbx"]))
    async with serving(mirror) as api:
        task = await waiting(api, "/v1/call?wait=60", await tag_of(api, "/v1/call", OF_A), OF_A)
        change(mirror, record("a", tenant="a.example"))
        assert (await task).ids == ["a"]


async def test_the_end_of_the_service_ends_the_wait() -> None:
    async with serving(live(filled(record("a")))) as api:
        task = await waiting(api, "/v1/call?wait=60", await tag_of(api, "/v1/call"))
        await api.shut_down()
        assert (await task).status == 304


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "61", "1e1", "9" * 5000])
async def test_a_wait_that_is_none(value: str) -> None:
    async with serving(live(filled())) as api:
        answer = await api.get(f"/v1/call?wait={value}")
        message = "wait: must be a whole number from 0 to 60"
        answer.fails(400, "INVALID_PARAMETER", message, parameter="wait")


async def test_a_list_that_changes_by_itself_cannot_be_waited_for() -> None:
    async with serving(live(filled())) as api:
        answer = await api.get("/v1/call?wait=5&fields=duration")
        message = "wait: a list with fields that change every second is never the same; ask without it"
        answer.fails(400, "INVALID_PARAMETER", message, parameter="wait")
        assert (await api.get("/v1/call?wait=0&fields=duration")).status == 200
