"""ETag and If-None-Match: what has not changed is not sent again, and what has changed always is."""

import re
from typing import Any

import pytest

from callbridge.mirror import Mirror
from tests.http.kit import OF_A, Api, live, serving
from tests.http.samples import change, filled, record

LISTS = (
    "/v1/call",
    "/v1/call?limit=1",
    "/v1/call?offset=1",
    "/v1/call?require=live",
    "/v1/call?state=CS_EXECUTE",
    "/v1/call?q=101",
    "/v1/call?sort=-created_time",
    "/v1/call?fields=call_id,callstate",
)
OF_ROWS = (
    *LISTS[:5],
    "/v1/call?sort=-created_time",
    "/v1/call?fields=call_id,state&destination=0899123456",
)
SHOWING_MORE = (
    "/v1/call?fields=call_id,callstate",
    "/v1/call?q=101",
    "/v1/call?sort=callstate",
    "/v1/call?callstate=ACTIVE",
)


async def tag_of(api: Api, path: str = "/v1/call") -> str:
    return (await api.get(path)).headers["ETag"]


async def asked_again(api: Api, path: str, tag: str) -> int:
    return (await api.get(path, If_None_Match=tag)).status


@pytest.mark.parametrize("path", LISTS)
async def test_an_unchanged_list_is_not_sent_again(path: str) -> None:
    async with serving(live(filled(record("a"), record("b", 1)))) as api:
        first = await api.get(path)
        tag = first.headers["ETag"]
        assert re.fullmatch(r'"[0-9a-z-]+"', tag)
        again = await api.get(path, If_None_Match=tag)
        assert (again.status, again.body) == (304, b"")
        for name in ("ETag", "Cache-Control", "Callbridge-Age"):
            assert again.headers[name] == first.headers[name]
        assert "Content-Type" not in again.headers


@pytest.mark.parametrize("path", LISTS)
async def test_every_change_of_a_row_changes_the_tag(path: str) -> None:
    mirror = live(filled(record("a"), record("b", 1)))
    async with serving(mirror) as api:
        tags = [await tag_of(api, path)]
        for changed in (record("a", state="CS_PARK"), record("c", 2), record("a", -1)):
            change(mirror, changed)
            tags.append(await tag_of(api, path))
            assert await asked_again(api, path, tags[-2]) == 200
        change(mirror, gone=["c"])
        tags.append(await tag_of(api, path))
        assert len(set(tags)) == 5


async def test_what_no_row_shows_changes_only_the_tags_of_lists_that_depend_on_it() -> None:
    mirror = live(filled(record("a"), record("b", 1)))
    async with serving(mirror) as api:
        rows, more = [await tag_of(api, path) for path in OF_ROWS], [await tag_of(api, path) for path in SHOWING_MORE]
        change(mirror, record("a", callstate="HELD"))
        assert [await asked_again(api, path, tag) for path, tag in zip(OF_ROWS, rows, strict=True)] == [304] * 7
        assert [await asked_again(api, path, tag) for path, tag in zip(SHOWING_MORE, more, strict=True)] == [200] * 4


async def test_a_list_that_is_no_more_complete_has_another_tag() -> None:
    mirror = live(filled(record("a")))
    async with serving(mirror) as api:
        tag = await tag_of(api)
        mirror.switches["pbx"].state = "stale"
        answer = await api.get("/v1/call", If_None_Match=tag)
        assert answer.json["complete"] is False
        mirror.switches["pbx"].state = "live"
        assert await asked_again(api, "/v1/call", tag) == 304


@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', '{} , "x"', 'W/"x",W/{}', "*", " {} ", '"a,b", {}'])
async def test_the_tag_is_found_in_whatever_form_it_is_sent_back(form: str) -> None:
    async with serving(live(filled(record("a")))) as api:
        tag = await tag_of(api)
        assert await asked_again(api, "/v1/call", form.format(tag)) == 304


@pytest.mark.parametrize("form", ["{bare}", '"x"', "", "w/{}", '"{bare}x"', '"*"', "W/", ",", "**", '"'])
async def test_what_is_not_the_tag_gets_the_list(form: str) -> None:
    async with serving(live(filled(record("a")))) as api:
        tag = await tag_of(api)
        assert await asked_again(api, "/v1/call", form.format(tag, bare=tag.strip('"'))) == 200


async def test_the_tag_may_be_in_a_second_header() -> None:
    async with serving(live(filled(record("a", tenant="a.example")))) as api:
        tag = await tag_of(api, "/v1/call?limit=1")
        head = (
            b'GET /v1/call?limit=1 HTTP/1.1\r\nAuthorization: Bearer a token for every tenant\r\nIf-None-Match: "x"\r\n'
        )
        assert (await api.send(head + f"If-None-Match: {tag}".encode())).status == 304


@pytest.mark.parametrize("path", OF_ROWS)
async def test_a_list_of_rows_has_the_same_tag_in_every_daemon_and_after_a_restart(path: str) -> None:
    calls = [record("a"), record("b", 1), record("c", 1, state="CS_PARK"), record("d", 2)]
    async with serving(live(filled(*calls))) as api:
        tag = await tag_of(api, path)
    # There they became known in another order, and one by one.
    other = live(filled(*reversed(calls)))
    change(other, record("b", 1, state="CS_PARK"), record("x", tenant="x.example"))
    change(other, record("b", 1), gone=["x"])
    async with serving(other) as api:
        assert await asked_again(api, path, tag) == 304
        change(other, record("d", 2, destination="100"))
        assert await asked_again(api, path, tag) == 200


@pytest.mark.parametrize("path", SHOWING_MORE)
async def test_any_other_list_has_a_tag_of_its_run_alone(path: str) -> None:
    mirror = live(filled(record("a")))
    async with serving(mirror) as api:
        tag = await tag_of(api, path)
    async with serving(mirror) as api:
        assert await asked_again(api, path, tag) == 200


@pytest.mark.parametrize("path", OF_ROWS)
async def test_what_is_as_it_was_before_is_not_sent_again(path: str) -> None:
    mirror = live(filled(record("a"), record("b", 1)))
    async with serving(mirror) as api:
        tag = await tag_of(api, path)
        change(mirror, record("a", state="CS_PARK"), record("c"))
        change(mirror, record("a"), gone=["c"])
        assert await asked_again(api, path, tag) == 304


CLOCKED = (
    "fields=duration",
    "fields=call_id,billsec",
    "sort=hold_seconds",
    "sort=-duration",
    "duration=5",
    "billsec=0",
)


@pytest.mark.parametrize("query", [*CLOCKED, "hold_seconds=0&limit=1"])
async def test_what_changes_with_the_clock_alone_has_no_tag(query: str) -> None:
    async with serving(live(filled(record("a")))) as api:
        answer = await api.get(f"/v1/call?{query}", If_None_Match="*")
        assert answer.status == 200
        assert "ETag" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/call/a", "/v1/call/count", "/v1/switch"])
async def test_only_lists_have_tags(path: str) -> None:
    async with serving(live(filled(record("a")))) as api:
        answer = await api.get(path, If_None_Match="*")
        assert answer.status == 200
        assert "ETag" not in answer.headers


@pytest.mark.parametrize("first", [{"tenant": "a.example"}, {"tenant": "a.example", "state": "CS_PARK"}])
async def test_the_first_call_of_a_tenant_ends_the_tag_of_its_empty_list(first: dict[str, Any]) -> None:
    mirror = live(Mirror(["pbx"]))
    async with serving(mirror) as api:
        empty = await api.get("/v1/call", OF_A)
        change(mirror, record("a", **first))
        answer = await api.get("/v1/call", OF_A, If_None_Match=empty.headers["ETag"])
        assert answer.ids == ["a"]


async def test_another_tenants_calls_leave_the_tag_as_it_is() -> None:
    mirror = live(filled(record("a", tenant="a.example")))
    async with serving(mirror) as api:
        tag = (await api.get("/v1/call", OF_A)).headers["ETag"]
        change(mirror, record("b", tenant="b.example"), record("n", tenant=None))
        assert (await api.get("/v1/call", OF_A, If_None_Match=tag)).status == 304
