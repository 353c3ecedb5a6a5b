"""The mirror against a model that keeps nothing: whatever calls do, readers see what the model works out anew."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from callbridge.mirror import EVERY_TENANT, Mirror
from callbridge.records import Record, Row
from tests.http.samples import change, record
from tests.test_mirror import body, versions

TENANTS = (None, "a.example", "b.example")
CALLS = ("0", "1", "2", "3", "4")
OTHER_IDS = ("x", "y", "z")


class Model:
    """The records and who has which other id; everything asked of it is worked out anew."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.owners: dict[str, str] = {}

    def records_of(self, tenant: str | None) -> dict[str, Record]:
        return {key: value for key, value in self.records.items() if tenant in (EVERY_TENANT, value.tenant)}

    def rows_of(self, tenant: str | None) -> dict[str, tuple[Any, ...]]:
        fields = (*Row.__struct_fields__, "created_us")
        return {
            call_id: tuple(getattr(value, name) for name in fields)
            for call_id, value in self.records_of(tenant).items()
        }

    def find(self, call_id: str, tenant: str | None) -> Record | None:
        return self.records_of(tenant).get(call_id) or self.records_of(tenant).get(self.owners.get(call_id, ""))

    def take(self, steps: list[tuple[str, Any]], backwards: bool) -> tuple[list[Record], list[str]]:
        """Take over some steps; gives what a switch would tell of them: (updated, gone)."""
        before = dict(self.records)
        for call_id, step in steps:
            if step is None:
                self.records.pop(call_id, None)
            elif isinstance(step, str):
                self.owners[step] = call_id
            else:
                self.records[call_id] = record(call_id, **step)
        self.owners = {other: owner for other, owner in self.owners.items() if owner in self.records}
        for call_id, known in self.records.items():
            ids = tuple(sorted(other for other, owner in self.owners.items() if owner == call_id))
            self.records[call_id] = msgspec.structs.replace(known, ids=ids)
        updated = [known for call_id, known in self.records.items() if before.get(call_id) != known]
        return updated[:: -1 if backwards else 1], [call_id for call_id in before if call_id not in self.records]


a_call = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from(TENANTS),
        "second": st.integers(0, 2),
        "state": st.sampled_from(["CS_EXECUTE", "CS_PARK"]),
        "source_name": st.sampled_from(["Anna", "Bert"]),
    }
)
a_step = st.tuples(st.sampled_from(CALLS), a_call | st.none() | st.sampled_from(OTHER_IDS))


def check(mirror: Mirror, model: Model, tenant: str | None) -> None:
    entries, expected = list(mirror.listing(tenant)), model.records_of(tenant)
    assert {entry.record.call_id: entry.record for entry in entries} == expected
    assert len(entries) == len(mirror.listing(tenant)) == len(expected)
    began = [entry.record.created_us for entry in entries]
    assert began == sorted(began)
    rows = [{name: getattr(entry.record, name) for name in Row.__struct_fields__} for entry in entries]
    assert body(mirror, tenant) == {"data": rows, "total": len(rows), "complete": True}
    for call_id in (*CALLS, *OTHER_IDS):
        assert mirror.find(call_id, tenant) == model.find(call_id, tenant)


@given(st.lists(st.tuples(st.lists(a_step, max_size=4), st.booleans()), max_size=12))
def test_it_shows_what_a_model_without_any_memory_says(batches: list[tuple[list[tuple[str, Any]], bool]]) -> None:
    mirror, model = Mirror(["pbx"]), Model()
    for steps, backwards in batches:
        before = {
            tenant: (model.records_of(tenant), model.rows_of(tenant), versions(mirror, tenant)) for tenant in TENANTS
        }
        updated, gone = model.take(steps, backwards)
        change(mirror, *updated, gone=gone)
        for tenant in TENANTS:
            check(mirror, model, tenant)
            records, rows, (version, digest) = before[tenant]
            listing = mirror.listing(tenant)
            assert (listing.version == version) == (model.records_of(tenant) == records)
            assert (listing.digest == digest) == (model.rows_of(tenant) == rows)
        assert mirror.calls("pbx") == len(model.records)
