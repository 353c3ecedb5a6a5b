"""The bench, as far as it measures nothing: what becomes of the figures that it was given."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench.charts import CHARTS, write
from bench.report import Figure

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
