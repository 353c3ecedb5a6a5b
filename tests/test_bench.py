"""The bench, as far as it measures nothing: what becomes of the figures that it was given."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pytest

from bench.charts import CHARTS, write
from bench.delays import Delays, Load
from bench.eventsocket import Played
from bench.processes import Failed
from bench.report import Figure
from callbridge.esl.events import decode
from callbridge.table import CallTable

SVG = "{http://www.w3.org/2000/svg}"


def _bars(path: Path) -> list[float]:
    """The heights of the bars, as they come: by series, then by x."""
    return [
        float(bar.get("height", 0))
        for bar in ET.parse(path).iter(f"{SVG}rect")
        if "tooltip-trigger" in bar.get("class", "")
    ]


def _texts(path: Path) -> list[str]:
    return [node.text for node in ET.parse(path).iter(f"{SVG}text") if node.text]


FIGURES = [
    Figure("listing", "callbridge", 1000, 6500.4),
    Figure("listing", "a constant", 1000, 8123),
    Figure("listing", "callbridge", 10_000, 1625.1),
    Figure("listing", "a constant", 10_000, 1800),
]


def test_a_chart_shows_every_figure_its_unit_and_its_series(tmp_path: Path) -> None:
    assert write(FIGURES, tmp_path) == [tmp_path / "listing.svg"]
    texts = _texts(tmp_path / "listing.svg")
    assert {"6,500", "8,123", "1,625", "1,800", "1,000", "10,000", "callbridge", "a constant"} <= set(texts)
    assert any(CHARTS["listing"].unit in text for text in texts)


def test_a_bar_is_as_high_as_its_value_from_zero_on(tmp_path: Path) -> None:
    write(FIGURES, tmp_path)
    ours, ours_of_many, theirs, theirs_of_many = _bars(tmp_path / "listing.svg")
    assert ours_of_many / ours == pytest.approx(1625.1 / 6500.4, rel=0.01)
    assert theirs / ours == pytest.approx(8123 / 6500.4, rel=0.01)
    assert theirs_of_many / theirs == pytest.approx(1800 / 8123, rel=0.01)


def test_what_one_series_lacks_is_left_out(tmp_path: Path) -> None:
    figures = [Figure("ingest", "event-json", "callbridge", 58_900), Figure("ingest", "event-plain", "Genesis", 3300)]
    write(figures, tmp_path)
    assert len(_bars(tmp_path / "ingest.svg")) == 2
    assert {"callbridge", "Genesis", "58,900", "3,300"} <= set(_texts(tmp_path / "ingest.svg"))


def test_the_same_figures_make_the_same_file(tmp_path: Path) -> None:
    [first], [second] = write(FIGURES, tmp_path / "a"), write(FIGURES, tmp_path / "b")
    assert first.read_text() == second.read_text()
    # A comment could hold the date.
    assert "<!--" not in first.read_text()


def test_a_run_of_some_parts_leaves_the_charts_of_the_others(tmp_path: Path) -> None:
    [path] = write([Figure("memory", "RSS", 10_000, 3846)], tmp_path)
    before = path.read_text()
    assert write(FIGURES, tmp_path) == [tmp_path / "listing.svg"]
    assert write([], tmp_path) == []
    assert path.read_text() == before


def test_a_figure_of_no_chart_is_a_mistake_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="lists"):
        write([*FIGURES, Figure("lists", "callbridge", 1, 2)], tmp_path)
    assert list(tmp_path.iterdir()) == []


LOAD = Load(calls=1000, wanted=1000, rate=999, share=0.2)


def test_a_percentile_is_one_of_the_delays() -> None:
    delays = Delays.of(LOAD, [float(ms) for ms in range(1000, 0, -1)])
    assert [delays.percentile(percent) for percent in (50, 99, 99.9, 100)] == [500, 990, 999, 1000]
    assert [(one.series, one.value) for one in delays.figures("freshness", "list, ", 100)] == [
        ("list, p50", 500),
        ("list, p99", 990),
        ("list, p99.9", 999),
    ]


def test_a_target_is_met_only_at_the_rate_that_it_is_for() -> None:
    delays = [1.0] * 990 + [7.0] * 10
    assert Delays.of(LOAD, delays).line("x", p99_ms=5).ok is True
    assert Delays.of(LOAD, delays).line("x", p99_ms=1).ok is False
    assert Delays.of(Load(1000, 1000, 900, 0.2), delays).line("x", p99_ms=5).ok is False
    assert Delays.of(LOAD, delays).line("x").ok is None


def test_a_call_that_was_not_seen_is_no_small_delay() -> None:
    with pytest.raises(Failed, match="999 of 1000"):
        Delays.of(LOAD, [1.0] * 999)


def _apply(table: CallTable, frames: Iterable[bytes]) -> None:
    for frame in frames:
        table.apply(decode("text/event-json", frame.partition(b"\n\n")[2]), 0.0)


def test_the_recording_goes_on_with_other_calls_and_those_between_begin_and_end() -> None:
    played, table = Played("json"), CallTable("x")
    frames = list(islice(played.endless(), len(played.frames) + 500))
    _apply(table, frames[:500])
    begun = len(table)
    _apply(table, frames[-500:])
    assert begun > 5
    assert len(table) == 2 * begun
    uuid, first, last = played.brief(7)
    _apply(table, [first])
    assert uuid in table
    _apply(table, [last])
    assert uuid not in table
    assert len(table) == 2 * begun
