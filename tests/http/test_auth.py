"""Who may ask, and that nobody ever sees another tenant's calls."""

import asyncio
import base64
from hashlib import sha256

import msgspec
import pytest
from aiohttp import web

from callbridge.config import Config
from callbridge.http.app import reconfigure
from callbridge.mirror import Mirror
from callbridge.records import Leg
from tests.http.kit import EVERYTHING, NAMED, NO_READER, OF_A, OF_B, TOKENS, Answer, live, serving
from tests.http.samples import change, ended, filled, record
from tests.service import until

PATHS = ("/v1/call", "/v1/call/count", "/v1/call/a", "/v1/call/x", "/v1/switch")
UNKNOWN = "this token is not known; ask the operator for one"
NO_FORM = "the Authorization header is not of the form `Bearer TOKEN`"
NO_HEADER = "send the header `Authorization: Bearer TOKEN`"
NO_CALL = "there is no live call of this id; GET /v1/call lists them"


def unauthorized(answer: Answer, message: str) -> None:
    answer.fails(401, "UNAUTHORIZED", message)
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="callbridge"'


def one_call() -> Mirror:
    return live(filled(record("a", tenant="a.example")))


# The token.


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_told_without_a_token(path: str) -> None:
    async with serving(one_call()) as api:
        unauthorized(await api.get(path, None), NO_HEADER)
        unauthorized(await api.get(path, None, Authorization=""), NO_HEADER)
        unauthorized(await api.get(path, "wrong"), UNKNOWN)
        assert (await api.get(path, None, method="HEAD")).status == 401


async def test_who_may_not_ask_does_not_learn_what_is_wrong_with_the_question() -> None:
    async with serving(one_call()) as api:
        unauthorized(await api.get("/v1/call?nonsense=1", "wrong"), UNKNOWN)
        (await api.get("/v1/call?nonsense=1", NO_READER)).fails(
            403, "FORBIDDEN", "the token 'no-reader' lacks the scope 'read'"
        )


@pytest.mark.parametrize(
    "token",
    ["wrong", EVERYTHING[:-1], EVERYTHING + "x", EVERYTHING.upper(), "ключ", "x" * 8000, "null"],
    ids=lambda token: token[:20],
)
async def test_a_wrong_token_opens_nothing(token: str) -> None:
    async with serving(one_call()) as api:
        unauthorized(await api.get("/v1/call", token), UNKNOWN)


async def test_the_digest_that_the_config_holds_is_no_token() -> None:
    async with serving(one_call()) as api:
        unauthorized(await api.get("/v1/call", sha256(EVERYTHING.encode()).hexdigest()), UNKNOWN)


@pytest.mark.parametrize("token", [b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\x80" * 200])
async def test_a_token_of_raw_bytes_opens_nothing(token: bytes) -> None:
    async with serving(one_call()) as api:
        answer = await api.send(b"GET /v1/call HTTP/1.1\r\nAuthorization: Bearer " + token)
        unauthorized(answer, UNKNOWN)


async def test_a_token_that_is_no_ascii_is_a_token_like_any_other() -> None:
    async with serving(one_call()) as api:
        assert (await api.get("/v1/call", NAMED)).ids == ["a"]
        answer = await api.send(b"GET /v1/call HTTP/1.1\r\nAuthorization: Bearer " + NAMED.encode())
        assert answer.ids == ["a"]
        unauthorized(await api.get("/v1/call", NAMED[:-1]), UNKNOWN)


BASIC = "Basic " + base64.b64encode(f"crm:{EVERYTHING}".encode()).decode()


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer   ", EVERYTHING, f"Token {EVERYTHING}", f"Bearer:{EVERYTHING}", BASIC, "\u2003"]
)
async def test_another_form_of_the_header_is_told_apart_from_a_wrong_token(header: str) -> None:
    async with serving(one_call()) as api:
        unauthorized(await api.get("/v1/call", None, Authorization=header), NO_FORM)


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
async def test_the_scheme_may_be_written_in_any_case_and_followed_by_more_spaces(scheme: str) -> None:
    async with serving(one_call()) as api:
        assert (await api.get("/v1/call", None, Authorization=f"{scheme}{EVERYTHING}")).ids == ["a"]


async def test_a_second_header_is_not_tried() -> None:
    async with serving(one_call()) as api:
        good = f"\r\nAuthorization: Bearer {EVERYTHING}".encode()
        bad = b"\r\nAuthorization: Bearer wrong"
        unauthorized(await api.send(b"GET /v1/call HTTP/1.1" + bad + good), UNKNOWN)


async def test_a_token_in_the_address_is_none() -> None:
    """It would be in every log on the way."""
    async with serving(one_call()) as api:
        for name in ("token", "access_token"):
            unauthorized(await api.get(f"/v1/call?{name}={EVERYTHING.replace(' ', '%20')}", None), NO_HEADER)


# The scopes.


@pytest.mark.parametrize("path", PATHS)
async def test_a_token_without_the_scope_read_may_not_read(path: str) -> None:
    async with serving(one_call()) as api:
        (await api.get(path, NO_READER)).fails(403, "FORBIDDEN", "the token 'no-reader' lacks the scope 'read'")
        assert (await api.get(path, NO_READER, method="HEAD")).status == 403


# Tenants.

LEG = Leg("b-leg", "bleg", "777", "Boris", "CS_EXECUTE", "outside", "ACTIVE", True)


def two_tenants() -> Mirror:
    """A call of each tenant and one of none yet; and one of each that has ended."""
    mirror = live(
        filled(
            record("a", 1, tenant="a.example", ids=("a-leg",), source="111"),
            record("b", 2, tenant="b.example", ids=("b-leg", "b-old"), source="222", source_name="Bo", legs=(LEG,)),
            record("n", 3, tenant=None, ids=("n-leg",), source="333"),
        )
    )
    over = [ended("a-over", ids=("a-gone",)), ended("b-over", "b.example", ("b-gone",)), ended("n-over", None)]
    change(mirror, ended=over, now=1_000.0)
    return mirror


async def test_a_tenant_lists_and_counts_its_own_calls_only() -> None:
    async with serving(two_tenants()) as api:
        for token, ids in ((OF_A, ["a"]), (OF_B, ["b"]), (EVERYTHING, ["a", "b", "n"])):
            answer = await api.get("/v1/call", token)
            assert (answer.ids, answer.json["total"]) == (ids, len(ids))
            assert (await api.get("/v1/call/count", token)).json["total"] == len(ids)
        assert (await api.get("/v1/call/count?by=tenant", OF_A)).data == {"a.example": 1}
        assert (await api.get("/v1/call/count?by=source", OF_A)).data == {"111": 1}
        everything = (await api.get("/v1/call/count?by=tenant", EVERYTHING)).data
        assert everything == {"a.example": 1, "b.example": 1, "": 1}


OTHERS = (
    "call_id=b tenant=b.example tenant= context=b.example context=public source=222 source_name=Bo "
    "q=222 q=b-leg q=b-old q=boris q=777 q=n-leg"
)


@pytest.mark.parametrize("query", OTHERS.split())
async def test_no_filter_reaches_beyond_the_tenant(query: str) -> None:
    async with serving(two_tenants()) as api:
        answer = await api.get(f"/v1/call?{query}", OF_A)
        assert answer.body == b'{"data":[],"total":0,"complete":true}'
        assert (await api.get(f"/v1/call/count?{query}", OF_A)).json["total"] == 0
        assert (await api.get(f"/v1/call?{query}", EVERYTHING)).json["total"] > 0


async def test_no_page_order_or_field_reaches_beyond_the_tenant() -> None:
    async with serving(two_tenants()) as api:
        for query in ("sort=-created_time", "limit=100", "offset=0", "fields=call_id,legs,monitors,tenant"):
            answer = await api.get(f"/v1/call?{query}", OF_A)
            assert (answer.ids, answer.json["total"]) == (["a"], 1)
        assert (await api.get("/v1/call?offset=1", OF_A)).json == {"data": [], "total": 1, "complete": True}


@pytest.mark.parametrize("call_id", ["b", "b-leg", "b-old", "n", "n-leg", "b-over", "b-gone", "n-over"])
async def test_another_tenants_call_is_as_if_it_had_never_been(call_id: str) -> None:
    async with serving(two_tenants()) as api:
        never = await api.get("/v1/call/never", OF_A)
        answer = await api.get(f"/v1/call/{call_id}", OF_A)
        answer.fails(404, "CALL_NOT_FOUND", NO_CALL)
        assert answer.body == never.body
        assert set(answer.headers) == set(never.headers)
        assert (await api.get(f"/v1/call/{call_id}", EVERYTHING)).status in (200, 410)


async def test_a_tenants_own_calls_are_found_by_every_id_also_after_their_end() -> None:
    async with serving(two_tenants()) as api:
        for token, call_ids in ((OF_A, ("a", "a-leg")), (OF_B, ("b", "b-leg", "b-old"))):
            for call_id in call_ids:
                assert (await api.get(f"/v1/call/{call_id}", token)).data["call_id"] == call_ids[0]
        assert (await api.get("/v1/call/a-over", OF_A)).status == 410
        assert (await api.get("/v1/call/a-gone", OF_A)).status == 410
        assert (await api.get("/v1/call/b-gone", OF_B)).status == 410


async def test_a_call_that_moves_to_another_tenant_is_no_more_seen_by_the_first() -> None:
    mirror = two_tenants()
    async with serving(mirror) as api:
        change(mirror, record("a", 1, tenant="b.example", ids=("a-leg",)))
        assert (await api.get("/v1/call", OF_A)).ids == []
        for call_id in ("a", "a-leg"):
            (await api.get(f"/v1/call/{call_id}", OF_A)).fails(404, "CALL_NOT_FOUND", NO_CALL)
        assert (await api.get("/v1/call", OF_B)).ids == ["a", "b"]


async def test_one_tenants_tag_is_none_of_anothers() -> None:
    """Both lists have seen one change, and nothing but their owners tells them apart."""
    async with serving(two_tenants()) as api:
        tags = {(await api.get("/v1/call", token)).headers["ETag"] for token in (EVERYTHING, OF_A, OF_B)}
        assert len(tags) == 3
        for tag in tags:
            answers = [await api.get("/v1/call", token, If_None_Match=tag) for token in (EVERYTHING, OF_A, OF_B)]
            assert sorted(answer.status for answer in answers) == [200, 200, 304]


async def test_a_tenant_sees_of_a_switch_its_own_calls_and_no_address() -> None:
    mirror = two_tenants()
    mirror.switches["pbx"].error = "10.0.0.1:8021 refuses"
    async with serving(mirror) as api:
        answer = await api.get("/v1/switch", OF_A)
        assert answer.data[0]["calls"] == 1
        assert "store" not in answer.json
        assert b"10.0.0.1" not in answer.body
        assert b"10.0.0.1" in (await api.get("/v1/switch", EVERYTHING)).body


# Other tokens while it runs.


async def test_whoever_waits_is_answered_when_the_tokens_change_and_only_new_ones_count_then() -> None:
    apps: list[web.Application] = []
    async with serving(one_call(), prepare=apps.append) as api:
        tag = (await api.get("/v1/call")).headers["ETag"]
        waiting = asyncio.create_task(api.get("/v1/call?wait=60", If_None_Match=tag))
        await until(lambda: api.clock.sleepers > 1)
        reconfigure(apps[0], Config(switch=(), token=tuple(token for token in TOKENS if token.name == "a")))
        assert (await waiting).status == 304
        unauthorized(await api.get("/v1/call"), UNKNOWN)
        assert (await api.get("/v1/call", OF_A)).ids == ["a"]


async def test_a_token_that_has_lost_its_scope_or_has_another_tenant_has_no_stream() -> None:
    apps: list[web.Application] = []
    async with serving(one_call(), prepare=apps.append) as api:
        for token, name, now in ((OF_A, "a", {"scopes": ("control",)}), (OF_B, "b", {"tenant": "a.example"})):
            async with api.stream(token=token) as goes, api.stream() as stays:
                await goes.next("switch")
                await stays.next("switch")
                tokens = [msgspec.structs.replace(known, **now) if known.name == name else known for known in TOKENS]
                reconfigure(apps[0], Config(switch=(), token=tuple(tokens)))
                while not goes.ended:
                    await goes.read()
                api.clock.pass_time(15.0)
                await stays.until(lambda stays=stays: stays.beats)
