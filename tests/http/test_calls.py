"""The list and one call, as bytes and headers: the contract, how fresh it is, and what need not be sent again."""

import json
from typing import Any

import pytest

from callbridge.http.calls import Pieces
from callbridge.listing import BLOCK
from callbridge.mirror import REMEMBER_ENDED_FOR, Mirror
from callbridge.records import Ended, Leg, Monitor
from tests.http.kit import NOW, OF_A, OF_B, live, serving
from tests.http.samples import SAMPLE, SAMPLE_ID, change, ended, filled, record

ROW = (
    b'{"call_id":"01b7d166-b564-42ec-80a1-4ad343225934","context":"test.tel4vn.com",'
    b'"created_time":"2021-06-08 17:37:37","destination":"0899123456","direction":"outbound","ip":"1.2.3.4",'
    b'"source":"101","state":"CS_EXECUTE"}'
)
NO_CALL = "there is no live call of this id; GET /v1/call lists them"


# The list.


async def test_the_list_is_the_one_of_the_contract_byte_for_byte() -> None:
    async with serving(live(filled(SAMPLE))) as api:
        answer = await api.get("/v1/call")
        assert answer.status == 200
        assert answer.body == b'{"data":[' + ROW + b'],"total":1,"complete":true}'
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "private, no-cache"


async def test_without_calls_the_list_is_empty() -> None:
    async with serving(live(Mirror(["pbx"]))) as api:
        for token in (OF_A, OF_B):
            assert (await api.get("/v1/call", token)).body == b'{"data":[],"total":0,"complete":true}'


async def test_a_list_of_several_blocks_is_sent_whole() -> None:
    calls = [record(f"{number:04}", number) for number in range(2 * BLOCK + 1)]
    async with serving(live(filled(*calls))) as api:
        answer = await api.get("/v1/call")
        assert answer.ids == [call.call_id for call in calls]
        assert answer.json["total"] == len(calls)
        assert answer.body == (await api.get("/v1/call?require=live")).body
        assert answer.headers["Content-Length"] == f"{len(answer.body)}"
        assert answer.headers["Content-Type"] == "application/json"
        head = await api.get("/v1/call", method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == f"{len(answer.body)}"
        assert (await api.get("/v1/call", If_None_Match=answer.headers["ETag"])).status == 304


def test_what_is_sent_in_pieces_can_be_read_as_text() -> None:
    assert Pieces(["đ".encode()[:1], "đ".encode()[1:]]).decode() == "đ"


@pytest.mark.parametrize("path", ["/v1/call?", "/v1/call?&", "/v1/call?&&"])
async def test_a_query_that_asks_for_nothing_is_none(path: str) -> None:
    async with serving(live(filled(SAMPLE))) as api:
        assert (await api.get(path)).body == (await api.get("/v1/call")).body


async def test_a_filtered_list_has_the_same_rows_byte_for_byte() -> None:
    async with serving(live(filled(SAMPLE, record("b", 1, source="102")))) as api:
        for query in ("source=101", "limit=1", "q=101&sort=-state&limit=1"):
            answer = await api.get(f"/v1/call?{query}")
            assert answer.body.startswith(b'{"data":[' + ROW + b'],"total":')


async def test_the_oldest_call_comes_first() -> None:
    async with serving(live(filled(record("b", 2), record("a", 1), record("c", 3)))) as api:
        assert (await api.get("/v1/call")).ids == ["a", "b", "c"]


async def test_names_of_every_script_come_through_and_nothing_breaks_out_of_its_quotes() -> None:
    odd = 'Nguyễn "\\ \u2028\t\x00</script> 📞'
    async with serving(live(filled(record("a", source=odd, source_name=odd)))) as api:
        assert (await api.get("/v1/call")).data[0]["source"] == odd
        assert (await api.get("/v1/call?fields=source_name")).data == [{"source_name": odd}]
        assert (await api.get("/v1/call/a")).data["source"] == odd


async def test_the_list_follows_the_calls() -> None:
    mirror = live(filled(record("a")))
    async with serving(mirror) as api:
        change(mirror, record("a", state="CS_PARK"), record("b", 1))
        answer = await api.get("/v1/call")
        assert [(row["call_id"], row["state"]) for row in answer.data] == [("a", "CS_PARK"), ("b", "CS_EXECUTE")]
        change(mirror, gone=["a"])
        assert (await api.get("/v1/call")).ids == ["b"]


# How fresh it is.


def two_switches() -> Mirror:
    mirror = Mirror(["east", "west"])
    change(mirror, record("a", switch="east"), switch="east")
    change(mirror, record("b", 1, switch="west"), switch="west")
    return live(mirror)


@pytest.mark.parametrize("state", ["syncing", "stale", "down"])
async def test_a_list_is_complete_only_while_every_switch_is_live(state: Any) -> None:
    mirror = two_switches()
    async with serving(mirror) as api:
        for path in ("/v1/call", "/v1/call?limit=1", "/v1/call?fields=state", "/v1/call/count", "/v1/switch"):
            mirror.switches["west"].state = "live"
            assert (await api.get(path)).json["complete"] is True
            mirror.switches["west"].state = state
            assert (await api.get(path)).json["complete"] is False


async def test_only_the_switches_that_are_asked_for_have_to_be_live() -> None:
    mirror = two_switches()
    mirror.switches["west"].state = "stale"
    async with serving(mirror) as api:
        for query, complete in (
            ("switch=east", True),
            ("switch=west", False),
            ("switch=east&switch=west", False),
            ("switch=north", False),
        ):
            assert (await api.get(f"/v1/call?{query}")).json["complete"] is complete
            assert (await api.get(f"/v1/call/count?{query}")).json["complete"] is complete
        assert (await api.get("/v1/call?switch=east&require=live")).ids == ["a"]


@pytest.mark.parametrize("path", ["/v1/call", "/v1/call/count"])
async def test_who_requires_live_rows_gets_no_others(path: str) -> None:
    mirror = two_switches()
    async with serving(mirror) as api:
        assert (await api.get(f"{path}?require=live")).json == (await api.get(path)).json
        mirror.switches["west"].state = "syncing"
        for query in ("require=live", "require=live&switch=west"):
            answer = await api.get(f"{path}?{query}")
            said = "not every switch is live (west); try again, or ask without require=live"
            answer.fails(503, "SWITCH_UNAVAILABLE", said)
            assert answer.headers["Retry-After"] == "2"
        mirror.switches["east"].state = "down"
        said = "not every switch is live (east, west); try again, or ask without require=live"
        (await api.get(f"{path}?require=live")).fails(503, "SWITCH_UNAVAILABLE", said)
        assert (await api.get(path)).json["total"] == 2


async def test_what_is_not_live_is_refused_also_to_who_has_its_tag() -> None:
    mirror = live(filled(record("a")))
    async with serving(mirror) as api:
        tag = (await api.get("/v1/call?require=live")).headers["ETag"]
        mirror.switches["pbx"].state = "stale"
        assert (await api.get("/v1/call?require=live", If_None_Match=tag)).status == 503


async def test_the_age_is_that_of_the_switch_that_has_been_silent_longest() -> None:
    mirror = two_switches()
    mirror.switches["east"].seen, mirror.switches["west"].seen = NOW - 2.5, NOW - 0.25
    async with serving(mirror) as api:
        for path, age in (
            ("/v1/call", "2.500"),
            ("/v1/call?limit=1", "2.500"),
            ("/v1/call/count", "2.500"),
            ("/v1/call?switch=west", "0.250"),
            ("/v1/call/count?switch=west", "0.250"),
            ("/v1/call?switch=west&switch=east", "2.500"),
            ("/v1/call/a", "2.500"),
            ("/v1/call/b", "0.250"),
        ):
            assert (await api.get(path)).headers["Callbridge-Age"] == age
        api.clock.pass_time(10)
        assert (await api.get("/v1/call")).headers["Callbridge-Age"] == "12.500"
        assert (await api.get("/v1/call", If_None_Match="*")).headers["Callbridge-Age"] == "12.500"


async def test_there_is_no_age_where_no_switch_has_said_anything() -> None:
    async with serving(Mirror(["pbx"])) as api:
        assert "Callbridge-Age" not in (await api.get("/v1/call")).headers
        assert "Callbridge-Age" not in (await api.get("/v1/call?switch=nonesuch")).headers


# One call.


FULL = record(
    "a",
    tenant="a.example",
    ids=("a-leg", "a-old"),
    callstate="HELD",
    source_name="Anna",
    answered_time="2021-06-08 17:37:47",
    answered_us=SAMPLE.created_us + 10_000_000,
    parked_until="2021-06-08 17:39:00",
    hold_us=3_900_000,
    hold_since_us=SAMPLE.created_us + 98_000_000,
    recording="/var/rec/a.wav",
    recorded_leg="a",
    queue="support",
    legs=(Leg("a", "aleg", "101", "Anna", "CS_EXECUTE", "extension", "ACTIVE", True),),
    monitors=(Monitor("m", "900", "whisper", "active", "leg1", "2021-06-08 17:38:00", "c"),),
)
FULL_JSON = {
    "call_id": "a",
    "context": "a.example",
    "created_time": "2021-06-08 17:37:37",
    "destination": "0899123456",
    "direction": "outbound",
    "ip": "1.2.3.4",
    "source": "101",
    "state": "CS_EXECUTE",
    "callstate": "HELD",
    "answered_time": "2021-06-08 17:37:47",
    "duration": 100,
    "billsec": 90,
    "hold_seconds": 5,
    "source_name": "Anna",
    "legs": [
        {
            "uuid": "a",
            "side": "aleg",
            "number": "101",
            "name": "Anna",
            "state": "CS_EXECUTE",
            "kind": "extension",
            "callstate": "ACTIVE",
            "answered": True,
        },
    ],
    "monitors": [
        {
            "uuid": "m",
            "extension": "900",
            "mode": "whisper",
            "state": "active",
            "watches": "leg1",
            "created_time": "2021-06-08 17:38:00",
            "channel": "c",
        },
    ],
    "parked_until": "2021-06-08 17:39:00",
    "switch": "pbx",
    "tenant": "a.example",
    "recording": "/var/rec/a.wav",
    "queue": "support",
}


async def test_one_call_is_told_with_every_field() -> None:
    async with serving(live(filled(FULL))) as api:
        answer = await api.get("/v1/call/a")
        assert answer.status == 200
        assert answer.body == json.dumps({"data": FULL_JSON}, separators=(",", ":")).encode()
        assert answer.headers["Cache-Control"] == "private, no-cache"


async def test_of_one_id_on_two_switches_each_call_can_be_had() -> None:
    mirror = live(Mirror(["pbx", "far"]))
    change(mirror, record(SAMPLE_ID, tenant="a.example"))
    change(mirror, record("elsewhere", switch="far", ids=(SAMPLE_ID,), tenant="b.example"), switch="far")
    async with serving(mirror) as api:
        answer = await api.get(f"/v1/call/{SAMPLE_ID}")
        message = "switch: must say whose call is meant: pbx, far each have one of this id"
        answer.fails(400, "INVALID_PARAMETER", message, parameter="switch")
        assert (await api.get(f"/v1/call/{SAMPLE_ID}?switch=far")).data["call_id"] == "elsewhere"
        assert (await api.get(f"/v1/call/{SAMPLE_ID}?switch=pbx")).data["call_id"] == SAMPLE_ID
        assert (await api.get(f"/v1/call/{SAMPLE_ID}?switch=near")).status == 404
        (await api.get(f"/v1/call/{SAMPLE_ID}?fields=legs")).fails(
            400, "INVALID_PARAMETER", "fields: there is no such parameter; there is switch", parameter="fields"
        )
        # Nobody learns of another tenant's call.
        assert (await api.get(f"/v1/call/{SAMPLE_ID}", OF_A)).data["call_id"] == SAMPLE_ID


async def test_what_is_not_known_of_a_call_is_null_empty_or_zero() -> None:
    async with serving(live(filled(record(SAMPLE_ID, tenant=None)))) as api:
        data = (await api.get(f"/v1/call/{SAMPLE_ID}")).data
        assert list(data) == list(FULL_JSON)
        assert {name for name, value in data.items() if value is None} == {
            "answered_time", "parked_until", "tenant", "recording", "queue",
        }  # fmt: skip
        assert (data["legs"], data["monitors"], data["billsec"], data["hold_seconds"]) == ([], [], 0, 0)


async def test_its_seconds_pass_and_never_run_below_zero() -> None:
    async with serving(live(filled(FULL))) as api:

        async def seconds(after_us: int) -> tuple[int, int, int]:
            api.wall_us = SAMPLE.created_us + after_us
            data = (await api.get("/v1/call/a")).data
            return data["duration"], data["billsec"], data["hold_seconds"]

        assert await seconds(99_999_999) == (99, 89, 5)
        assert await seconds(100_100_000) == (100, 90, 6)
        assert await seconds(3_700_000_000) == (3700, 3690, 3605)
        assert await seconds(-5_000_000) == (0, 0, 3)


@pytest.mark.parametrize("call_id", ["a", "a-leg", "a-old"])
async def test_a_call_is_found_by_its_id_a_legs_or_an_earlier_one(call_id: str) -> None:
    async with serving(live(filled(FULL))) as api:
        assert (await api.get(f"/v1/call/{call_id}")).data == FULL_JSON


@pytest.mark.parametrize("path", ["/v1/call/x%2Fy%20%3F", "/v1/call/%C3%A9", "/v1/call/%c3%a9", "/v1/call/%61"])
async def test_an_id_may_be_percent_encoded(path: str) -> None:
    async with serving(live(filled(record("a", ids=("x/y ?", "é"))))) as api:
        assert (await api.get(path)).data["call_id"] == "a"


@pytest.mark.parametrize("call_id", ["x", "A", "a%20", "%00", "%ff", "%EF%BF%BD", "a" * 4000, "countx", "..a", "*"])
async def test_an_id_of_no_call_finds_none(call_id: str) -> None:
    async with serving(live(filled(record("a")))) as api:
        (await api.get(f"/v1/call/{call_id}")).fails(404, "CALL_NOT_FOUND", NO_CALL)


# A call that ended.


async def test_a_call_that_ended_is_gone_with_its_time_and_cause_by_every_id() -> None:
    mirror = live(filled(record("a", tenant="a.example", ids=("a2",))))
    async with serving(mirror) as api:
        change(mirror, gone=["a"], ended=[ended("a", ids=("a2",))], now=NOW)
        for call_id in ("a", "a2"):
            (await api.get(f"/v1/call/{call_id}", OF_A)).fails(
                410,
                "CALL_ENDED",
                "this call ended at 2021-06-08 17:40:00 (NORMAL_CLEARING)",
                ended_time="2021-06-08 17:40:00",
                cause="NORMAL_CLEARING",
            )
        api.clock.pass_time(REMEMBER_ENDED_FOR)
        assert (await api.get("/v1/call/a", OF_A)).status == 410
        api.clock.pass_time(0.001)
        (await api.get("/v1/call/a", OF_A)).fails(404, "CALL_NOT_FOUND", NO_CALL)


async def test_where_the_switch_gave_no_cause_that_is_said() -> None:
    mirror = live(Mirror(["pbx"]))
    change(mirror, ended=[Ended("a", None, (), "2021-06-08 17:40:00", "")], now=NOW)
    async with serving(mirror) as api:
        message = "this call ended at 2021-06-08 17:40:00 (the switch gave no cause)"
        answer = await api.get("/v1/call/a")
        answer.fails(410, "CALL_ENDED", message, ended_time="2021-06-08 17:40:00", cause="")


async def test_a_call_that_lives_is_told_of_whatever_ended_before_under_its_id() -> None:
    mirror = live(filled(record("a")))
    change(mirror, ended=[ended("a", None)], now=NOW)
    async with serving(mirror) as api:
        assert (await api.get("/v1/call/a")).data["call_id"] == "a"
        change(mirror, gone=["a"])
        assert (await api.get("/v1/call/a")).status == 410
