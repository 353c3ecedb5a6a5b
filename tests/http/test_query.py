"""What can be asked of the list: each filter, order, page and field, and the counts."""

from collections import Counter
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from callbridge.http.query import FIELDS, MAX_LIMIT, MAX_OFFSET, SINGLE_FIELDS
from callbridge.mirror import Mirror
from callbridge.records import Leg, Monitor
from tests.http.kit import EVERYTHING, live, serving
from tests.http.samples import SAMPLE, filled, record

BEGAN_US = SAMPLE.created_us
ROW_FIELDS = ("call_id", "context", "created_time", "destination", "direction", "ip", "source", "state")
MORE_FIELDS = tuple(
    "callstate answered_time duration billsec hold_seconds source_name legs monitors parked_until switch tenant "
    "recording queue".split()
)

ONE = record(
    "one",
    1,
    tenant="a.example",
    destination="102",
    direction="local",
    ip="10.0.0.1",
    source="101",
    state="CS_EXECUTE",
    callstate="ACTIVE",
    source_name="Anna",
    answered_time="2021-06-08 17:37:48",
    answered_us=BEGAN_US + 11_000_000,
    hold_us=5_000_000,
    legs=(Leg("leg1", "aleg", "101", "Anna", "CS_EXECUTE", "extension", "ACTIVE", True),),
    monitors=(Monitor("mon", "900", "listen", "active", "leg1", "2021-06-08 17:38:00", "mon"),),
    parked_until="2021-06-08 17:40:00",
    recording="/rec/1.wav",
    recorded_leg="leg1",
    queue="support",
    ids=("leg1", "old1"),
)
TWO = record(
    "two",
    2,
    tenant="b.example",
    destination="0899",
    direction="outbound",
    ip="10.0.0.2",
    source="202",
    state="CS_PARK",
    callstate="HELD",
    source_name="Bùi Văn",
    switch="west",
    answered_time="2021-06-08 17:37:40",
    answered_us=BEGAN_US + 3_000_000,
    hold_us=1_000_000,
    legs=(Leg("leg2", "bleg", "0899", "Mobile", "CS_PARK", "outside", "ACTIVE", True),),
    recording="/rec/2.wav",
    recorded_leg="leg2",
    queue="sales",
)
THREE = record("three", 3, tenant=None, direction="inbound", source="", source_name="", callstate="RINGING")

ANSWERED = {"answered_time": "2021-06-08 17:37:48", "duration": 99, "billsec": 89, "hold_seconds": 5}


def three_calls() -> Mirror:
    return live(filled(THREE, ONE, TWO))


def shown(call: dict[str, Any], name: str) -> str:
    """A value as a filter has to name it."""
    return "" if call[name] is None else str(call[name])


async def test_every_field_of_the_contract_can_be_asked_for() -> None:
    assert tuple(FIELDS) == ROW_FIELDS + MORE_FIELDS
    assert set(FIELDS) - set(SINGLE_FIELDS) == {"legs", "monitors"}


# Filters.


@pytest.mark.parametrize("name", SINGLE_FIELDS)
async def test_a_filter_on_a_field_gives_the_calls_that_have_that_value(name: str) -> None:
    async with serving(three_calls()) as api:
        calls = [(await api.get(f"/v1/call/{call_id}")).data for call_id in ("one", "two", "three")]
        values = {shown(call, name) for call in calls}
        assert len(values) > 1
        for value in values:
            expected = [call["call_id"] for call in calls if shown(call, name) == value]
            answer = await api.get(f"/v1/call?{urlencode({name: value})}")
            assert (answer.ids, answer.json["total"]) == (expected, len(expected))
            assert (await api.get(f"/v1/call/count?{urlencode({name: value})}")).json["total"] == len(expected)
        assert (await api.get(f"/v1/call?{name}=no+such+value")).ids == []


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("source=101", ["one"]),
        ("source=101&source=202", ["one", "two"]),
        ("source=101&source=101", ["one"]),
        ("source=101&state=CS_PARK", []),
        ("source=202&state=CS_PARK&direction=outbound", ["two"]),
        ("source=", ["three"]),
        ("source", ["three"]),
        ("queue=", ["three"]),
        ("queue=&queue=sales", ["two", "three"]),
        ("parked_until=", ["two", "three"]),
        ("tenant=", ["three"]),
        ("source=10", []),
        ("state=cs_park", []),
        ("source=+101", []),
        ("source_name=B%C3%B9i+V%C4%83n", ["two"]),
        ("source_name=B%c3%b9i%20V%c4%83n", ["two"]),
        ("created_time=2021-06-08+17:37:38", ["one"]),
        ("created_time=2021-06-08%2017%3A37%3A38", ["one"]),
        ("recording=/rec/1.wav", ["one"]),
        ("duration=99", ["one"]),
        ("billsec=0", ["three"]),
        ("%73ource=101", ["one"]),
    ],
)
async def test_values_of_one_field_are_alternatives_and_fields_must_all_match(query: str, ids: list[str]) -> None:
    async with serving(three_calls()) as api:
        assert (await api.get(f"/v1/call?{query}")).ids == ids
        assert (await api.get(f"/v1/call/count?{query}")).json == {"total": len(ids), "complete": True}


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("101", ["one"]),
        ("10", ["one"]),
        ("0899", ["two", "three"]),
        ("anna", ["one"]),
        ("ANNA", ["one"]),
        (" anna ", ["one"]),
        ("BÙI", ["two"]),
        ("mobile", ["two"]),
        ("ONE", ["one"]),
        ("leg1", ["one"]),
        ("old1", ["one"]),
        ("e", ["one", "two", "three"]),
        ("support", []),
        ("CS_PARK", []),
        ("10.0.0.1", []),
        ("a.example", []),
        (".*", []),
    ],
)
async def test_q_finds_a_part_of_an_id_a_number_or_a_name_in_any_case(text: str, ids: list[str]) -> None:
    async with serving(three_calls()) as api:
        assert (await api.get(f"/v1/call?q={quote(text)}")).ids == ids
        assert (await api.get(f"/v1/call/count?q={quote(text)}")).json["total"] == len(ids)


async def test_q_and_filters_must_both_match() -> None:
    async with serving(three_calls()) as api:
        assert (await api.get("/v1/call?q=0899&direction=inbound")).ids == ["three"]


# Order.


ORDERS = {
    "call_id": ["one", "three", "two"],
    "context": ["one", "two", "three"],
    "created_time": ["one", "two", "three"],
    "destination": ["two", "three", "one"],
    "direction": ["three", "one", "two"],
    "ip": ["three", "one", "two"],
    "source": ["three", "one", "two"],
    "state": ["one", "three", "two"],
    "callstate": ["one", "two", "three"],
    "answered_time": ["two", "one", "three"],
    "duration": ["three", "two", "one"],
    "billsec": ["three", "one", "two"],
    "hold_seconds": ["three", "two", "one"],
    "source_name": ["three", "one", "two"],
    "parked_until": ["one", "two", "three"],
    "switch": ["one", "three", "two"],
    "tenant": ["one", "two", "three"],
    "recording": ["one", "two", "three"],
    "queue": ["two", "one", "three"],
}
"""The order of the three calls by each field. By number, not by text; what is not there comes last."""

TURNED = {
    **{name: ids[::-1] for name, ids in ORDERS.items()},
    "answered_time": ["one", "two", "three"],
    "parked_until": ["one", "two", "three"],
    "recording": ["two", "one", "three"],
    "queue": ["one", "two", "three"],
    "state": ["two", "one", "three"],
    "switch": ["two", "one", "three"],
    "tenant": ["two", "one", "three"],
}
"""The order the other way: last stays what is not there, and equal ones stay oldest first."""


@pytest.mark.parametrize("name", SINGLE_FIELDS)
async def test_every_single_field_sorts_both_ways(name: str) -> None:
    async with serving(three_calls()) as api:
        assert (await api.get(f"/v1/call?sort={name}")).ids == ORDERS[name]
        assert (await api.get(f"/v1/call?sort=-{name}")).ids == TURNED[name]


async def test_times_sort_finer_than_the_seconds_that_they_show() -> None:
    same: dict[str, Any] = {"created_time": "2021-06-08 17:37:37", "answered_time": "2021-06-08 17:37:40"}
    mirror = filled(
        record("a", created_us=BEGAN_US + 5, answered_us=BEGAN_US + 20, **same),
        record("b", created_us=BEGAN_US + 9, answered_us=BEGAN_US + 10, **same),
    )
    async with serving(live(mirror)) as api:
        assert (await api.get("/v1/call?sort=-created_time")).ids == ["b", "a"]
        assert (await api.get("/v1/call?sort=answered_time")).ids == ["b", "a"]
        assert (await api.get("/v1/call?sort=-answered_time")).ids == ["a", "b"]


async def test_seconds_sort_as_numbers() -> None:
    mirror = filled(*(record(f"{held}", second, hold_us=held * 1_000_000) for second, held in enumerate((9, 100, 20))))
    async with serving(live(mirror)) as api:
        assert (await api.get("/v1/call?sort=hold_seconds")).ids == ["9", "20", "100"]


# Pages.


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("limit=2", ["0", "1"]),
        ("limit=0", []),
        ("limit=5", ["0", "1", "2", "3", "4"]),
        (f"limit={MAX_LIMIT}", ["0", "1", "2", "3", "4"]),
        ("limit=0002", ["0", "1"]),
        ("offset=3", ["3", "4"]),
        ("offset=5", []),
        (f"offset={MAX_OFFSET}", []),
        ("limit=2&offset=1", ["1", "2"]),
        ("offset=4&limit=2", ["4"]),
        ("limit=2&sort=-created_time", ["4", "3"]),
        ("limit=1&offset=1&sort=-created_time", ["3"]),
    ],
)
async def test_a_page_is_cut_from_the_ordered_list_and_the_total_counts_beyond_it(query: str, ids: list[str]) -> None:
    async with serving(live(filled(*(record(f"{number}", number) for number in range(5))))) as api:
        answer = await api.get(f"/v1/call?{query}")
        assert (answer.ids, answer.json["total"], answer.json["complete"]) == (ids, 5, True)


async def test_the_total_of_a_page_counts_what_matches_only() -> None:
    calls = (record(f"{number}", number, state=("CS_EXECUTE", "CS_PARK")[number % 2]) for number in range(7))
    async with serving(live(filled(*calls))) as api:
        answer = await api.get("/v1/call?state=CS_PARK&limit=1&offset=1")
        assert (answer.ids, answer.json["total"]) == (["3"], 3)


async def test_pages_side_by_side_are_the_whole_list() -> None:
    async with serving(live(filled(*(record(f"{number}", number % 3) for number in range(10))))) as api:
        whole = (await api.get("/v1/call")).ids
        pages = [(await api.get(f"/v1/call?limit=3&offset={offset}")).ids for offset in range(0, 12, 3)]
        assert [call_id for page in pages for call_id in page] == whole
        assert len(whole) == 10


# Fields.


async def test_only_the_fields_asked_for_are_shown_in_the_order_asked_for() -> None:
    async with serving(three_calls()) as api:
        answer = await api.get("/v1/call?fields=source,call_id,queue")
        assert answer.body == (
            b'{"data":[{"source":"101","call_id":"one","queue":"support"},{"source":"202","call_id":"two",'
            b'"queue":"sales"},{"source":"","call_id":"three","queue":null}],"total":3,"complete":true}'
        )


async def test_every_field_can_be_shown_and_is_as_in_the_answer_about_one_call() -> None:
    async with serving(three_calls()) as api:
        rows = (await api.get(f"/v1/call?fields={','.join(FIELDS)}")).data
        assert rows == [(await api.get(f"/v1/call/{call_id}")).data for call_id in ("one", "two", "three")]
        assert {name: rows[0][name] for name in ANSWERED} == ANSWERED
        for name in FIELDS:
            assert (await api.get(f"/v1/call?fields={name}")).data == [{name: row[name]} for row in rows]


async def test_a_field_named_twice_is_shown_once_and_spaces_do_no_harm() -> None:
    async with serving(three_calls()) as api:
        answer = await api.get("/v1/call?fields=state,+source+,state&limit=1&q=anna")
        assert answer.body == b'{"data":[{"state":"CS_EXECUTE","source":"101"}],"total":1,"complete":true}'


async def test_the_list_can_be_filtered_and_sorted_by_what_is_not_shown() -> None:
    async with serving(three_calls()) as api:
        answer = await api.get("/v1/call?fields=call_id&direction=local&direction=outbound&sort=-source")
        assert answer.body == b'{"data":[{"call_id":"two"},{"call_id":"one"}],"total":2,"complete":true}'


# Counts.


async def test_the_count_is_the_total_alone() -> None:
    async with serving(three_calls()) as api:
        answer = await api.get("/v1/call/count")
        assert answer.body == b'{"total":3,"complete":true}'
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert (await api.get("/v1/call/count?require=live")).json["total"] == 3


@pytest.mark.parametrize("name", SINGLE_FIELDS)
async def test_calls_are_counted_by_every_single_field(name: str) -> None:
    async with serving(three_calls()) as api:
        calls = [(await api.get(f"/v1/call/{call_id}")).data for call_id in ("one", "two", "three")]
        answer = await api.get(f"/v1/call/count?by={name}")
        assert list(answer.json) == ["data", "total", "complete"]
        assert answer.data == Counter(shown(call, name) for call in calls)
        assert answer.json["total"] == 3


async def test_a_count_by_a_field_counts_what_matches_only() -> None:
    async with serving(three_calls()) as api:
        answer = await api.get("/v1/call/count?by=direction&q=0899", EVERYTHING)
        assert answer.body == b'{"data":{"outbound":1,"inbound":1},"total":2,"complete":true}'
        answer = await api.get("/v1/call/count?by=direction&state=CS_RESET")
        assert answer.body == b'{"data":{},"total":0,"complete":true}'
