"""Any question about any calls, against a model that looks at every call anew."""

import json
from typing import Any
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from callbridge.records import Leg, Record
from tests.http.kit import AFTER, EVERYTHING, OF_A, OF_B, live, serving
from tests.http.samples import SAMPLE, filled, record

ROW = "call_id context created_time destination direction ip source state".split()
STORED = (*ROW, "callstate", "answered_time", "source_name", "parked_until", "switch", "tenant", "recording", "queue")
SINGLE = (*STORED, "duration", "billsec", "hold_seconds")
TENANTS = {EVERYTHING: None, OF_A: "a.example", OF_B: "b.example"}

numbers = st.sampled_from(["101", "102", "0899", ""])
names = st.sampled_from(["Anna", "bert", "Bùi", ""])
seconds_us = st.sampled_from([0, 999_999, 1_000_000, 5_000_000])


@st.composite
def a_call(draw: st.DrawFn, call_id: str) -> Record:
    answered_us = draw(st.sampled_from([0, SAMPLE.created_us + 5_000_000, SAMPLE.created_us + 9_500_000]))
    leg = Leg(f"{call_id}-leg", "bleg", draw(numbers), draw(names), "CS_EXECUTE", "outside", "ACTIVE", True)
    return record(
        call_id,
        draw(st.integers(0, 3)),
        tenant=draw(st.sampled_from([None, "a.example", "b.example"])),
        source=draw(numbers),
        destination=draw(numbers),
        source_name=draw(names),
        state=draw(st.sampled_from(["CS_EXECUTE", "CS_PARK"])),
        queue=draw(st.sampled_from([None, "", "sales"])),
        answered_time="answered" if answered_us else None,
        answered_us=answered_us,
        hold_us=draw(seconds_us),
        hold_since_us=draw(st.sampled_from([0, SAMPLE.created_us + 90_000_000])),
        ids=draw(st.sampled_from([(), (f"old-{call_id}",)])),
        legs=draw(st.sampled_from([(), (leg,)])),
    )


some_calls = st.integers(0, 8).flatmap(lambda many: st.tuples(*(a_call(f"c{number}") for number in range(many))))
filters = st.dictionaries(
    st.sampled_from(["source", "state", "queue", "tenant", "source_name", "billsec", "hold_seconds", "call_id"]),
    st.lists(
        st.sampled_from(["101", "", "CS_PARK", "sales", "a.example", "Anna", "90", "0", "c1"]), min_size=1, max_size=3
    ),
    max_size=2,
)
questions = st.fixed_dictionaries(
    {"filters": filters},
    optional={
        "q": st.sampled_from(["101", "an", "AN", "ù", "leg", "old", "c1", "zz"]),
        "sort": st.sampled_from([sign + name for sign in ("", "-") for name in SINGLE]),
        "limit": st.integers(0, 9),
        "offset": st.integers(0, 9),
        "fields": st.lists(st.sampled_from([*SINGLE, "legs", "monitors"]), min_size=1, max_size=4, unique=True),
    },
)


def facts(call: Record) -> dict[str, Any]:
    """A call as plain values."""
    now_us = SAMPLE.created_us + AFTER * 1_000_000
    held_us = call.hold_us + (now_us - call.hold_since_us if call.hold_since_us else 0)
    return {name: getattr(call, name) for name in STORED} | {
        "duration": (now_us - call.created_us) // 1_000_000,
        "billsec": (now_us - call.answered_us) // 1_000_000 if call.answered_us else 0,
        "hold_seconds": held_us // 1_000_000,
        "legs": [{name: getattr(leg, name) for name in Leg.__struct_fields__} for leg in call.legs],
        "monitors": [],
    }


def is_found(call: Record, text: str) -> bool:
    names = [call.call_id, call.source, call.source_name, call.destination, *call.ids]
    for leg in call.legs:
        names += [leg.number, leg.name]
    return text.lower() in "\n".join(names).lower()


def matching(calls: list[Record], question: dict[str, Any], tenant: str | None) -> list[Record]:
    """The calls of the tenant that match, oldest first."""
    found = []
    for call in sorted(calls, key=lambda call: call.created_us):
        values = {name: "" if value is None else str(value) for name, value in facts(call).items()}
        if tenant is not None and call.tenant != tenant:
            continue
        if not all(values[name] in wanted for name, wanted in question["filters"].items()):
            continue
        if "q" in question and not is_found(call, question["q"]):
            continue
        found.append(call)
    return found


def sort_value(call: Record, name: str) -> Any:
    finer = {"created_time": call.created_us, "answered_time": call.answered_us or None}
    return finer.get(name, facts(call).get(name))


def ordered(calls: list[Record], sort: str) -> list[Record]:
    """By insertion, one after the other: what is equal stays, what has no value goes to the end."""
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    result: list[Record] = []
    absent: list[Record] = []
    for call in calls:
        value = sort_value(call, name)
        if value is None:
            absent.append(call)
            continue
        place = len(result)
        for index, other in enumerate(result):
            known = sort_value(other, name)
            if (known < value) if descending else (value < known):
                place = index
                break
        result.insert(place, call)
    return result + absent


def expected(calls: list[Record], question: dict[str, Any], tenant: str | None) -> dict[str, Any]:
    found = matching(calls, question, tenant)
    page = ordered(found, question["sort"]) if "sort" in question else found
    page = page[question.get("offset", 0) :]
    page = page[: question["limit"]] if "limit" in question else page
    fields = question.get("fields", ROW)
    rows = [{name: facts(call)[name] for name in fields} for call in page]
    return {"data": rows, "total": len(found), "complete": True}


def as_query(question: dict[str, Any], *more: str) -> str:
    pairs = [(name, value) for name, values in question["filters"].items() for value in values]
    for name in ("q", *more):
        if name in question:
            value = question[name]
            pairs.append((name, ",".join(value) if isinstance(value, list) else str(value)))
    return f"?{urlencode(pairs)}" if pairs else ""


@settings(deadline=None, max_examples=150)
@given(some_calls, questions, st.sampled_from(sorted(TENANTS)), st.sampled_from(SINGLE))
async def test_the_answer_is_what_looking_at_every_call_gives(
    calls: tuple[Record, ...], question: dict[str, Any], token: str, by: str
) -> None:
    async with serving(live(filled(*calls))) as api:
        answer = await api.get("/v1/call" + as_query(question, "sort", "limit", "offset", "fields"), token)
        # As text, for the order of the fields counts as well.
        right = expected(list(calls), question, TENANTS[token])
        assert answer.body.decode() == json.dumps(right, separators=(",", ":"), ensure_ascii=False)
        found = [facts(call)[by] for call in matching(list(calls), question, TENANTS[token])]
        values = ["" if value is None else str(value) for value in found]
        counted = await api.get("/v1/call/count" + as_query(question | {"by": by}, "by"), token)
        groups = {value: values.count(value) for value in values}
        assert counted.json == {"data": groups, "total": len(found), "complete": True}
