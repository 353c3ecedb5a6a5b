"""The charts of what was measured: `docs/bench/NAME.svg` for each chart that has figures.

pygal draws them: pure Python, one small wheel, SVG and nothing else. Nobody has to guess a value: each stands at its
bar. Every axis begins at 0.
"""

import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import pygal
from pygal.style import CleanStyle

from bench.report import Figure

# pygal's hook for plugins, of which there are none here, knows only what Python 3.12 has dropped (find_module).
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

FOLDER: Final = Path(__file__).parent.parent / "docs" / "bench"

_STYLE: Final = CleanStyle(
    background="white",
    plot_background="white",
    colors=("#1b6ca8", "#e08a1e", "#4f9d69", "#8a5ea8", "#b5483a", "#777777"),
)


class Chart(msgspec.Struct, frozen=True):
    """What is written on a chart. `x` says what the bars stand above, `unit` what their values count."""

    title: str
    x: str
    unit: str


CHARTS: Final = {
    "ingest": Chart("From the socket to a stored and listable call", "", "events a second of CPU"),
    "listing": Chart("The list over HTTP", "live calls", "requests a second of CPU"),
    "freshness": Chart("From an event on the socket to a client", "events a second", "ms"),
    "memory": Chart("Memory of the daemon", "live calls", "bytes a call"),
    "stream_delay": Chart("From an event to a client of the stream, 1,000 events/s", "clients", "ms"),
    "stream_cpu": Chart("CPU of the daemon, 1,000 events/s", "clients of the stream", "% of one core"),
}


def write(figures: Iterable[Figure], folder: Path = FOLDER) -> list[Path]:
    """Write the charts that these figures are of, and leave the others as they are. Returns the files. Raises KeyError
    for a figure of no chart."""
    of: dict[str, list[Figure]] = {}
    for figure in figures:
        of.setdefault(figure.chart, []).append(figure)
    drawn = {folder / f"{name}.svg": _draw(CHARTS[name], among) for name, among in of.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for path, svg in drawn.items():
        path.write_text(svg)
    return list(drawn)


def _draw(chart: Chart, figures: list[Figure]) -> str:
    values = {(figure.series, figure.x): figure.value for figure in figures}
    xs, names = list(dict.fromkeys(figure.x for figure in figures)), list(dict.fromkeys(one.series for one in figures))
    bars = pygal.Bar(
        title=f"{chart.title}: {chart.unit}",
        x_title=chart.x,
        width=760,
        height=400,
        explicit_size=True,
        style=_STYLE,
        range=(0, 1.08 * max(values.values())),
        show_legend=len(names) > 1,
        legend_at_bottom=True,
        print_values=True,
        truncate_label=-1,
        print_values_position="top",
        value_formatter=_text,
        # What is the same in every run is the same in every file: no identifiers by chance, no scripts.
        no_prefix=True,
        js=[],
    )
    bars.x_labels = [f"{x:,}" if isinstance(x, int) else x for x in xs]
    for name in names:
        bars.add(name, [values.get((name, x)) for x in xs])
    svg = bars.render_tree()
    for comment in [node for node in svg if node.tag is ET.Comment]:
        # It has the date.
        svg.remove(comment)
    ET.indent(svg)
    return ET.tostring(svg, encoding="unicode") + "\n"


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
