"""A list in blocks against a sorted list that keeps nothing, whatever calls come, change and go in whatever order."""

import json
import random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from callbridge.listing import BLOCK, Entry, Listing
from callbridge.records import Record, encode_row
from tests.http.samples import record


class Kept:
    """A listing, and the entries that are in it."""

    def __init__(self, block: int = BLOCK) -> None:
        self.listing = Listing(block)
        self.entries: dict[str, Entry] = {}

    def put(self, new: Record) -> None:
        """A call appears, or another one takes its place."""
        self.drop(new.call_id)
        entry = self.entries[new.call_id] = Entry(new)
        self.listing.add(entry, entry.digest())

    def drop(self, call_id: str) -> None:
        """A call goes, if there is one."""
        entry = self.entries.pop(call_id, None)
        if entry is not None:
            self.listing.remove(entry, entry.digest())

    def change(self, call_id: str, **changes: Any) -> None:
        """A call shows something else, and stays where it is."""
        entry = self.entries[call_id]
        before = entry.digest()
        entry.record = msgspec.structs.replace(entry.record, **changes)
        entry.row = encode_row(entry.record)
        self.listing.note(entry, entry.digest() - before)

    @property
    def sent(self) -> bytes:
        return b"".join(self.listing.pieces(complete=True))

    @property
    def order(self) -> list[str]:
        return [entry.record.call_id for entry in self.listing]


def anew(entries: dict[str, Entry]) -> tuple[bytes, int]:
    """The body and the digest, worked out from nothing but the records."""
    records = sorted((entry.record for entry in entries.values()), key=lambda call: (call.created_us, call.call_id))
    data = b",".join(encode_row(call) for call in records)
    digest = sum(Entry(call).digest() for call in records)
    return b'{"data":[%b],"total":%d,"complete":true}' % (data, len(records)), digest


IDS = st.integers(0, 40).map("c{:02}".format)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), IDS, st.integers(-3, 30)),
        st.tuples(st.just("put"), IDS, st.just(0)),
        st.tuples(st.just("drop"), IDS, st.just(0)),
        st.tuples(st.just("change"), IDS, st.integers(0, 3)),
    ),
    max_size=120,
)


@given(STEPS, st.sampled_from([2, 4, 7]))
def test_it_is_what_is_worked_out_anew(steps: list[tuple[str, str, int]], block: int) -> None:
    kept = Kept(block)
    for step, call_id, number in steps:
        if step == "put":
            kept.put(record(call_id, created_us=number))
        elif step == "drop":
            kept.drop(call_id)
        elif call_id in kept.entries:
            kept.change(call_id, state=str(number))
        body, digest = anew(kept.entries)
        assert kept.sent == body
        assert kept.listing.digest == digest
        assert len(kept.listing) == len(kept.entries) == json.loads(body)["total"]
        assert kept.order == [row["call_id"] for row in json.loads(body)["data"]]
        assert len(kept.listing.pieces(complete=True)) <= 4 * len(kept.entries) / block + 1


def test_a_few_calls_that_stay_among_many_that_go_are_few_blocks() -> None:
    kept = Kept(16)
    for number in range(4000):
        kept.put(record(f"{number}", created_us=number))
        if number >= 100 and (number - 100) % 50:
            kept.drop(f"{number - 100}")
    stayed = len(kept.listing)
    assert stayed == 100 + 78
    assert len(kept.listing.pieces(complete=True)) <= 4 * stayed / 16 + 1
    for number in range(4000):
        kept.drop(f"{number}")
    assert kept.sent == b'{"data":[],"total":0,"complete":true}'


def test_only_the_block_of_what_has_changed_is_joined_anew() -> None:
    kept = Kept(8)
    for number in range(80):
        kept.put(record(f"{number:02}", created_us=number))
    before = kept.listing.pieces(complete=True)
    assert len(before) == 10
    kept.change("27", state="CS_PARK")
    kept.put(record("80", created_us=80))
    after = kept.listing.pieces(complete=True)
    # The last one of before is no more the last.
    same = [was is now for was, now in zip(before, after[:-1], strict=True)]
    assert same == [True] * 3 + [False] + [True] * 5 + [False]
    kept.drop("80")
    assert [was is now for was, now in zip(after[:-2], kept.listing.pieces(complete=True)[:-1], strict=True)] == [
        True
    ] * 9
    again = kept.listing.pieces(complete=True)
    assert [was is now for was, now in zip(again, kept.listing.pieces(complete=True), strict=True)] == [True] * 10


def test_what_shows_nothing_new_touches_no_block() -> None:
    kept = Kept(4)
    for number in range(12):
        kept.put(record(f"{number:02}", created_us=number))
    before, digest = kept.listing.pieces(complete=True), kept.listing.digest
    kept.change("05", source_name="Somebody else")
    assert [was is now for was, now in zip(before, kept.listing.pieces(complete=True), strict=True)] == [True] * 3
    assert kept.listing.digest == digest


def test_the_order_in_which_calls_become_known_leaves_no_trace() -> None:
    calls = [record(f"{number:03}", created_us=number // 3) for number in range(300)]
    first, second = Kept(16), Kept(16)
    for call in calls:
        first.put(call)
    for call in random.Random(7).sample(calls, len(calls)):
        second.put(call)
    assert first.sent == second.sent
    assert first.listing.digest == second.listing.digest


def test_many_that_began_at_once_are_in_blocks_as_others_are() -> None:
    kept, same = Kept(8), [f"{number:03}" for number in range(200)]
    for call_id in random.Random(3).sample(same, len(same)):
        kept.put(record(call_id, created_us=5))
    assert kept.order == same
    assert 200 / 8 <= len(kept.listing.pieces(complete=True)) <= 4 * 200 / 8 + 1
    for call_id in same[::2]:
        kept.drop(call_id)
    assert kept.order == same[1::2]


def test_a_call_of_one_id_on_two_switches_is_two_of_them() -> None:
    listing = Listing(2)
    entries = [Entry(record("a", created_us=1, switch=switch)) for switch in ("west", "east", "north")]
    for entry in entries:
        listing.add(entry, entry.digest())
    assert [entry.record.switch for entry in listing] == ["east", "north", "west"]
    listing.remove(entries[1], entries[1].digest())
    assert [entry.record.switch for entry in listing] == ["north", "west"]
