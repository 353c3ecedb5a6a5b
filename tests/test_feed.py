"""The latest changes: what is kept of them, for whom, and how much."""

from typing import Any

import pytest

from callbridge import feed as feed_module
from callbridge.feed import Feed, decode_positions, encode_positions
from callbridge.mirror import Mirror
from tests.http.samples import change, ended, filled, record


def listened_to(*records: Any) -> tuple[Mirror, Feed]:
    mirror = filled(*records)
    feed = Feed(mirror, lambda: None)
    feed.begin()
    return mirror, feed


def told(feed: Feed, point: tuple[str, int]) -> list[list[str]] | None:
    missed = feed.since("pbx", point)
    return None if missed is None else [[one.call_id for one in batch.changes] for batch in missed.batches]


def test_it_tells_what_came_after_a_position() -> None:
    mirror, feed = listened_to(record("a"))
    run, seq = feed.positions()["pbx"]
    change(mirror, record("b", 1))
    change(mirror, record("a", state="CS_PARK"), gone=["b"], ended=[ended("b")])
    assert told(feed, (run, seq)) == [["b"], ["b", "a"]]
    assert told(feed, (run, seq + 1)) == [["b", "a"]]
    assert told(feed, (run, seq + 2)) == []
    assert feed.positions() == {"pbx": (run, seq + 2)}
    missed = feed.since("pbx", (run, seq + 1))
    assert missed is not None
    gone, changed = missed.batches[0].changes
    assert (gone.before, gone.after, gone.ended) == (record("b", 1), None, ended("b"))
    assert (changed.before, changed.after) == (record("a"), record("a", state="CS_PARK"))


def test_it_does_not_know_what_was_before_the_first_listener_nor_other_runs_nor_other_switches() -> None:
    _, feed = listened_to(record("a"))
    run, seq = feed.positions()["pbx"]
    assert told(feed, (run, seq - 1)) is None
    assert told(feed, ("another", seq)) is None
    assert feed.since("other", (run, seq)) is None
    assert told(feed, (run, seq + 1)) == []
    assert feed.ahead("pbx", (run, seq + 1))
    assert not feed.ahead("pbx", (run, seq))
    assert not feed.ahead("pbx", ("another", seq + 1))


def test_changes_of_nothing_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "MAX_CHANGES", 10)
    mirror, feed = listened_to(record("a"))
    for _ in range(20):
        change(mirror)
    run, seq = feed.positions()["pbx"]
    assert told(feed, (run, seq - 10)) == [[]] * 10
    assert told(feed, (run, seq - 11)) is None


@pytest.mark.parametrize(("bound", "most"), [("MAX_CHANGES", 10), ("MAX_BYTES", 8_000)])
def test_it_keeps_so_much_and_no_more(monkeypatch: pytest.MonkeyPatch, bound: str, most: int) -> None:
    monkeypatch.setattr(feed_module, bound, most)
    mirror, feed = listened_to()
    run, _ = feed.positions()["pbx"]
    for number in range(100):
        change(mirror, record(f"{number}", number))
    now = feed.positions()["pbx"][1]
    kept = [back for back in range(101) if told(feed, (run, now - back)) is not None]
    assert kept == list(range(len(kept)))
    assert 4 < len(kept) <= 18
    change(mirror, *[record(f"{number}", number, state="CS_PARK") for number in range(100)])
    assert told(feed, (run, now)) is None
    assert told(feed, (run, now + 1)) == []


def test_while_nobody_listens_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "MAX_CHANGES", 5)
    mirror = filled(record("a"))
    feed = Feed(mirror, lambda: None)
    change(mirror, record("b", 1))
    assert repr(feed) == "<Feed of 0 listeners, idle>"
    feed.begin()
    point = feed.positions()["pbx"]
    feed.end()
    change(mirror, record("c", 2))
    assert told(feed, point) == [["c"]]
    for number in range(5):
        change(mirror, record(f"{number}", number))
    assert repr(feed) == "<Feed of 0 listeners, idle>"
    assert told(feed, point) is None
    feed.begin()
    assert told(feed, feed.positions()["pbx"]) == []


def test_a_position_within_a_batch_is_told_all_of_it_where_that_is_right() -> None:
    mirror, feed = listened_to(record("a"))
    run, seq = feed.positions()["pbx"]
    mirror.apply("pbx", [record("b", 1)], (), (), 0.0, seq + 10)
    missed = feed.since("pbx", (run, seq + 4))
    assert missed is not None
    assert missed.begun
    # Whose this one was is not known.
    mirror.apply("pbx", (), ["unseen"], (), 0.0, seq + 20)
    assert told(feed, (run, seq + 14)) is None
    mirror.apply("pbx", (), ["unseen"], [ended("unseen")], 0.0, seq + 30)
    assert told(feed, (run, seq + 24)) == [["unseen"]]
    mirror.replace("pbx", [record("c")], run, seq + 40, 0.0)
    assert told(feed, (run, seq + 34)) is None
    assert told(feed, (run, seq + 30)) == [["a", "b", "c"]]


def test_positions_go_into_text_and_back() -> None:
    positions = {"pbx": ("8f3a12cd", 1042), "east-2.example_x": ("ab", 0)}
    text = encode_positions(positions)
    assert text == "pbx~8f3a12cd~1042~east-2.example_x~ab~0"
    assert decode_positions(text) == positions
    for wrong in ("", "pbx", "pbx~a", "pbx~a~", "pbx~a~x", "pbx~a~-1", "pbx~a~²", f"pbx~a~{'9' * 30}", f"{text}~x"):
        assert decode_positions(wrong) is None


def test_it_knows_nothing_of_a_switch_that_has_left_and_everything_of_the_others() -> None:
    mirror, feed = listened_to(record("a"))
    before = feed.positions()["pbx"]
    mirror.add("other")
    mirror.apply("other", [record("b", 1)], (), (), 0.0)
    assert feed.positions().keys() == {"pbx", "other"}
    mirror.remove("other", 0.0)
    assert feed.positions() == {"pbx": before}
    change(mirror, record("c", 2))
    assert told(feed, before) == [["c"]]


def test_a_switch_that_leaves_takes_its_calls_along_and_none_is_said_to_have_ended() -> None:
    mirror, _ = listened_to(record("a"))
    heard: list[tuple[str, list[str], list[Any]]] = []
    mirror.subscribe(lambda switch, _, gone, ended: heard.append((switch, list(gone), list(ended))))
    mirror.remove("pbx", 0.0)
    assert heard == [("pbx", ["a"], [])]
    assert not mirror.switches
    assert not len(mirror.listing(None))
    assert mirror.find("a", None) is None
    assert mirror.find_ended("a", None, 0.0) is None
