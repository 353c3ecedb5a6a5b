"""What a follower makes of what the owner writes: the calls, how far they can be trusted, when it is to read anew."""

from typing import Any

import msgspec
import pytest

from callbridge.mirror import FORGET_AFTER, Mirror
from callbridge.records import Ended, Record
from callbridge.sharing.follower import NOBODY, REWRITTEN, Follower
from callbridge.sharing.ledger import Entry, Snapshot, State
from tests.storekit import make

LIVE = State("live", None, {"gone": 1, "alive": 0, "changed": 0}, 2, 0.5, 60.0)
LEASE = 10.0


class Reader:
    """A follower, and what readers see of it."""

    def __init__(self) -> None:
        self.mirror = Mirror(["pbx"])
        self.status = self.mirror.switches["pbx"]
        self.follower = Follower("pbx", self.mirror, LEASE)
        self.told: list[tuple[list[str], list[str], list[str], int]] = []
        self.mirror.subscribe(self._note)

    def _note(self, _: str, updated: Any, gone: Any, ended: Any) -> None:
        ids = [record.call_id for record in updated]
        self.told.append((ids, list(gone), [call.call_id for call in ended], self.status.seq))

    @property
    def calls(self) -> dict[str, Record]:
        return {record.call_id: record for record in self.mirror.records("pbx")}


def snapshot(*records: Record, **changes: Any) -> Snapshot:
    whole = Snapshot("7", 3, 40, True, 0.25, "1-0", "core", LIVE, list(records))
    return msgspec.structs.replace(whole, **changes)


def entry(writes: int, seq: int, *updated: Record, **changes: Any) -> Entry:
    plain = Entry(f"{writes}-1", False, False, False, "7", writes, seq, LIVE, list(updated), [], [])
    return msgspec.structs.replace(plain, **changes)


def test_what_was_read_is_shown_as_the_owner_shows_it() -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a"), make("b")), 100.0)
    assert set(reader.calls) == {"a", "b"}
    status = reader.status
    assert (status.state, status.error, status.run, status.seq) == ("live", None, "7", 40)
    assert (status.corrections, status.zombies) == ({"gone": 1, "alive": 0, "changed": 0}, 2)
    # It was written 0.25 s ago, and the switch had been silent for 0.5 s then.
    assert (status.seen, status.since) == (99.25, 39.75)


def test_changes_are_applied_in_their_order_at_the_owner_s_count() -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a")), 100.0)
    end = Ended("a", None, ("x",), "2021-06-08 17:40:00", "USER_BUSY")
    assert reader.follower.take(entry(4, 43, make("b")), 101.0)
    assert reader.follower.take(entry(5, 44, gone=["a"], ended=[end]), 102.0)
    assert reader.told[1:] == [(["b"], [], [], 43), ([], ["a"], ["a"], 44)]
    assert reader.mirror.find_ended("x", None, 102.0) == end
    assert reader.status.seen == 101.5


def test_an_entry_without_a_change_wakes_nobody_and_keeps_the_age_right() -> None:
    reader = Reader()
    reader.follower.load(snapshot(), 100.0)
    told = len(reader.told)
    assert reader.follower.take(entry(4, 40, state=msgspec.structs.replace(LIVE, state="stale", error="gone")), 103.0)
    assert len(reader.told) == told
    assert (reader.status.state, reader.status.error, reader.status.seen) == ("stale", "gone", 102.5)


@pytest.mark.parametrize(
    "missed",
    [entry(5, 42, make("b")), entry(4, 42, make("b"), run="8"), entry(4, 42, reset=True), entry(3, 42, run="8")],
    ids=["a gap", "another run", "a reset", "another run that counts less"],
)
def test_it_reads_anew_where_something_is_missing(missed: Entry) -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a")), 100.0)
    assert not reader.follower.take(missed, 101.0)
    assert set(reader.calls) == {"a"}


def test_what_was_in_the_snapshot_already_is_passed_over() -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a")), 100.0)
    assert reader.follower.take(entry(3, 40, make("old")), 101.0)
    assert reader.follower.take(entry(2, 39, reset=True), 101.0)
    assert set(reader.calls) == {"a"}


def test_reading_anew_tells_what_differs_and_that_nothing_has_ended() -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a"), make("b"), make("c")), 100.0)
    newer = snapshot(make("a"), make("b", state="newer"), make("d"), run="8", seq=2, writes=1)
    reader.follower.load(newer, 101.0)
    assert reader.told[-1] == (["b", "d"], ["c"], [], 2)
    assert (reader.status.run, reader.status.seq) == ("8", 2)
    assert reader.follower.take(entry(2, 3, make("e"), run="8"), 102.0)


def test_half_of_a_hash_is_not_shown() -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a"), make("b")), 100.0)
    reader.follower.load(snapshot(make("a"), run="8", whole=False, writes=1), 101.0)
    assert set(reader.calls) == {"a", "b"}
    assert (reader.status.state, reader.status.error) == ("stale", REWRITTEN)
    assert not reader.follower.take(entry(2, 0, run="8", reset=True), 101.0)
    reader.follower.load(snapshot(make("a"), run="8", writes=2), 101.0)
    assert (set(reader.calls), reader.status.state) == ({"a"}, "live")


def test_a_replica_that_lags_takes_no_call_away() -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a"), make("b")), 100.0)
    reader.follower.load(snapshot(make("a"), writes=2, seq=39), 101.0)
    assert set(reader.calls) == {"a", "b"}
    assert reader.status.state == "stale"
    # What is written there next is read as a whole.
    assert not reader.follower.take(entry(5, 42, make("c")), 102.0)
    reader.follower.load(snapshot(make("a"), make("c"), writes=5, seq=42), 102.0)
    assert (set(reader.calls), reader.status.state) == ({"a", "c"}, "live")


def test_an_owner_that_is_silent_for_longer_than_its_lease_is_none() -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a")), 100.0)
    reader.follower.check(109.5)
    assert reader.status.state == "live"
    reader.follower.check(110.0)
    assert (reader.status.state, reader.status.error, reader.status.since) == ("stale", NOBODY, 110.0)
    assert set(reader.calls) == {"a"}
    assert reader.follower.take(entry(4, 41), 111.0)
    assert reader.status.state == "live"
    reader.follower.load(snapshot(make("a"), silent=11.0), 120.0)
    assert reader.status.state == "stale"


def test_where_nobody_has_written_yet_nothing_is_known() -> None:
    reader = Reader()
    reader.follower.load(Snapshot("", 0, 0, False, 0.0, "0-0", "", None, [make("a")]), 100.0)
    assert (reader.calls, reader.status.state, reader.status.error) == ({}, "down", NOBODY)
    assert not reader.follower.take(entry(1, 0), 101.0)


def test_a_lease_that_is_given_up_leaves_the_calls_without_anybody_who_knows_them() -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a")), 100.0)
    assert reader.follower.take(Entry("9-0", True, False, False, "", 0, 0, None, [], [], []), 101.0)
    assert (set(reader.calls), reader.status.state, reader.status.error) == ({"a"}, "stale", NOBODY)
    reader.follower.load(snapshot(make("a"), make("b"), run="8"), 101.5)
    assert (set(reader.calls), reader.status.state) == ({"a", "b"}, "live")


def test_calls_that_nobody_has_followed_for_ten_minutes_are_gone_and_never_said_to_have_ended() -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a")), 100.0)
    silent_since = 99.75
    reader.follower.check(silent_since + FORGET_AFTER)
    assert (set(reader.calls), reader.status.state) == ({"a"}, "stale")
    # Redis was away, and has nothing of it now: the switch may have been removed meanwhile.
    reader.follower.load(LOST, silent_since + FORGET_AFTER)
    reader.follower.doubt("Redis is away", silent_since + FORGET_AFTER + 0.1)
    assert (reader.calls, reader.status.state, reader.status.seen) == ({}, "down", None)
    assert reader.mirror.find_ended("a", None, 800.0) is None
    assert not reader.follower.take(entry(4, 41, make("b")), 800.0)
    reader.follower.load(snapshot(make("b"), writes=4, seq=41), 800.0)
    assert (set(reader.calls), reader.status.state) == ({"b"}, "live")


def test_who_has_led_itself_for_long_keeps_its_calls_when_redis_is_empty() -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a")), 100.0)
    # It took over, and has followed the switch itself for an hour.
    reader.follower.begin(3700.0)
    reader.follower.load(LOST, 3700.0)
    assert (set(reader.calls), reader.status.state) == ({"a"}, "stale")


def test_what_was_left_in_redis_long_ago_is_not_shown() -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a"), silent=FORGET_AFTER + 1), 5000.0)
    assert (reader.calls, reader.status.state) == ({}, "down")


REMOVED = Entry("9-0", True, True, False, "", 0, 0, None, [], [], [])
LOST = Snapshot("", 0, 0, False, 0.0, "0-0", "", None, [])


@pytest.mark.parametrize("connected_anew", [False, True])
def test_calls_of_a_switch_that_was_removed_are_gone_when_nobody_follows_it_by_then(connected_anew: bool) -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a")), 100.0)
    assert reader.follower.take(REMOVED, 105.0)
    if connected_anew:
        reader.follower.load(LOST, 105.0)
    reader.follower.check(115.0)
    assert set(reader.calls) == {"a"}
    reader.follower.check(115.1)
    reader.follower.check(130.0)
    assert (reader.calls, reader.status.state, reader.status.error) == ({}, "down", NOBODY)
    assert (reader.status.seen, reader.status.seq) == (None, 41)
    assert reader.mirror.find_ended("a", None, 130.0) is None
    reader.follower.load(snapshot(make("a"), run="8"), 131.0)
    assert (set(reader.calls), reader.status.state) == ({"a"}, "live")


def test_calls_of_a_switch_that_another_daemon_goes_on_with_stay() -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a")), 100.0)
    assert reader.follower.take(REMOVED, 105.0)
    reader.follower.load(snapshot(make("a"), run="8"), 106.0)
    reader.follower.check(130.0)
    assert (set(reader.calls), reader.status.state) == ({"a"}, "stale")


def test_calls_that_redis_has_lost_stay() -> None:
    reader = Reader()
    reader.follower.load(snapshot(make("a")), 100.0)
    reader.follower.load(LOST, 105.0)
    reader.follower.check(130.0)
    assert (set(reader.calls), reader.status.state) == ({"a"}, "stale")


def test_half_of_a_hash_says_already_which_run_of_the_switch_it_is_of() -> None:
    reader = Reader()
    # It was the owner until now, and has calls.
    reader.mirror.apply("pbx", [make("a")], [], [], 99.0)
    reader.follower.load(snapshot(make("b"), whole=False), 100.0)
    assert (set(reader.calls), reader.status.state, reader.follower.core_uuid) == ({"a"}, "stale", "core")
