"""What a report is made of, as its template takes it.

How figures look: one colour, dash and marker a start, which no page shows otherwise.

Figures of a report, described for Bokeh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from playlist_pretrain.experiments.plan import AUDIOSET, MEAN_OF_MEL, RANDOM, SCRATCH
from playlist_pretrain.retrieval.map_page.page import shown


@dataclass(frozen=True)
class Figure:
    """A plot with words.

    Attributes
    ----------
    title, caption : str
    plot : bokeh model
    """

    title: str
    caption: str
    plot: Any


@dataclass(frozen=True)
class Table:
    """Text in rows; the first cell of a row is its head.

    Attributes
    ----------
    caption : str
    heads : sequence of str
    rows : sequence of sequence of str
    folded : bool
        Whether it is shown when it is asked for.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = True


@dataclass(frozen=True)
class Key:
    """What a colour and a mark mean."""

    colour: str
    mark: str
    text: str


@dataclass(frozen=True)
class Section:
    """A chapter of the page.

    Attributes
    ----------
    id, title : str
    about : sequence of str
        Paragraphs.
    figures : sequence of Figure
    small : bool
        Whether figures may stand three in a line.
    keys : sequence of Key
        Of all figures.
    tables : sequence of Table
    """

    id: str
    title: str
    about: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    small: bool = False
    keys: Sequence[Key] = ()
    tables: Sequence[Table] = field(default=())

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.about or self.figures or self.tables)


OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Colours that people of any colour vision tell apart (Okabe & Ito 2008), without black."""
MARKERS = ("circle", "triangle")
INK, EDGE, QUIET = "#18181b", "#767676", "#d4d4d8"
LONGEST_LABEL = 24


class Look(NamedTuple):
    """Of a start."""

    colour: str
    dash: str
    marker: str


LOOKS = {
    MEAN_OF_MEL: Look("#767676", "dotted", "cross"),
    AUDIOSET: Look("#000000", "dashdot", "plus"),
    RANDOM: Look("#56B4E9", "dotted", "asterisk"),
    SCRATCH: Look("#882255", "dashed", "x"),
    "simclr": Look("#CC79A7", "dashdot", "diamond"),
    "artist_co": Look("#D55E00", "solid", "square"),
    "playlist_co": Look("#0072B2", "solid", "circle"),
    "playlist_tco": Look("#009E73", "dashed", "triangle"),
    "playlist_w2v": Look("#E69F00", "dashdot", "inverted_triangle"),
}


def plot(x: str, y: str, *, height: int = 280, legend: bool = False, **more: Any) -> Any:
    """An empty Bokeh figure that is as wide as its place and lets a finger scroll the page."""
    from bokeh.models.annotations import Legend
    from bokeh.plotting import figure

    made = figure(
        height=height,
        sizing_mode="stretch_width",
        min_width=100,
        x_axis_label=x or None,
        y_axis_label=y or None,
        tools="",
        toolbar_location=None,
        outline_line_color=None,
        **more,
    )
    made.toolbar.logo = None
    for axis in made.axis:
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_color = axis.major_label_text_color = INK
        axis.minor_tick_line_color = None
    made.grid.grid_line_color = "#e4e4e7"
    if legend:
        place = Legend(ncols=2, location="left", margin=2, glyph_width=34, border_line_color=None)
        place.label_text_color = INK
        made.add_layout(place, "below")
    return made


def label(tag: str) -> str:
    """A tag beside an axis: without its kind, not too long, and never read as a formula."""
    text = shown(tag.rpartition("---")[2] or tag)
    text = text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"
    for delimiter in ("$$", r"\[", r"\("):  # Bokeh would fetch a library for what is between
        text = text.replace(delimiter, "\u2060".join(delimiter))
    return text


BINS = 40
_PIXELS_A_TAG = 20


class Line(NamedTuple):
    """A run's curve; values that are NaN are left out."""

    start: str
    title: str
    x: np.ndarray
    y: np.ndarray


class Points(NamedTuple):
    """Tracks on a plane, each with a colour and a marker."""

    x: np.ndarray
    y: np.ndarray
    colours: Sequence[str]
    markers: Sequence[str]


def curves(lines: Sequence[Line], x: str, y: str) -> Any:
    """A line a run, those of one start alike."""
    made = plot(x, y, height=360, legend=True)
    made.xaxis.ticker.min_interval = 1
    for line in lines:
        look, there = LOOKS[line.start], np.isfinite(line.y)
        if there.any():
            made.line(
                line.x[there], line.y[there], color=look.colour, line_dash=look.dash,
                line_width=1.7, alpha=0.85, legend_label=line.title,
            )  # fmt: skip
    return made


def probe_curves(lines: Sequence[Line], x: str, y: str, chance: float) -> Any:
    """The same of shares, known at a few steps, and a line where chance is."""
    from bokeh.models import DataRange1d
    from bokeh.models.annotations import Span

    made = curves(lines, x, y)
    for line in lines:
        look, there = LOOKS[line.start], np.isfinite(line.y)
        if there.any():
            made.scatter(
                line.x[there], line.y[there], color=look.colour, marker=look.marker, size=6,
                alpha=0.85, legend_label=line.title,
            )  # fmt: skip
    made.add_layout(Span(location=chance, dimension="width", line_color=EDGE, line_dash="dotted"))
    made.x_range = DataRange1d(start=0)
    made.y_range = DataRange1d(start=0, min_interval=0.05)
    return made


def tag_bars(
    tags: Sequence[str],
    values: Mapping[str, np.ndarray],
    titles: Mapping[str, str],
    bars: str,
) -> Any:
    """Average Precision by tag: bars of one start, and a mark for each other.

    Parameters
    ----------
    tags : sequence of str
        From top to bottom.
    values : mapping of start to np.ndarray [tags]
        NaN where a tag is left out.
    titles : mapping of start to str
    bars : str
        The start that has bars.
    """
    from bokeh.models import FixedTicker, Range1d

    places = np.arange(len(tags))[::-1].astype(float)
    made = plot(
        "Average Precision", "", height=130 + _PIXELS_A_TAG * len(tags), legend=True,
        x_range=Range1d(start=0, end=1.02), y_range=Range1d(start=-0.7, end=len(tags) - 0.3),
    )  # fmt: skip
    made.yaxis.ticker = FixedTicker(ticks=places.tolist())
    made.yaxis.major_label_overrides = {int(p): label(t) for p, t in zip(places, tags, strict=True)}
    made.ygrid.grid_line_color = None
    there = np.isfinite(values[bars])
    made.hbar(
        y=places[there], right=values[bars][there], height=0.72, fill_color=QUIET, line_color=EDGE,
        legend_label=titles[bars],
    )  # fmt: skip
    for start, of_start in values.items():
        if start != bars:
            look, there = LOOKS[start], np.isfinite(of_start)
            made.scatter(
                of_start[there], places[there], marker=look.marker, size=9, color=look.colour,
                line_width=1.5, fill_alpha=0.8, legend_label=titles[start],
            )  # fmt: skip
    return made


def margin_histogram(values: np.ndarray) -> Any:
    """Triplets by how much nearer the positive is than the negative, to both sides of 0."""
    from bokeh.models.annotations import Span

    counts, edges = np.histogram(values, BINS, _range(values))
    made = plot("distance to negative − to positive", "triplets", height=220)
    right = edges[:-1] >= 0
    for side, colour in ((right, OKABE_ITO[0]), (~right, OKABE_ITO[1])):
        made.quad(
            left=edges[:-1][side], right=edges[1:][side], top=counts[side], bottom=0,
            fill_color=colour, line_color="white", line_width=0.5,
        )  # fmt: skip
    made.add_layout(Span(location=0, dimension="height", line_color=INK))
    made.y_range.start, made.yaxis.ticker.min_interval = 0, 1
    return made


def cosine_histogram(cosines: np.ndarray) -> Any:
    """Pairs by their cosine similarity: of anchor and positive, of anchor and negative."""
    made = plot("cosine similarity", "pairs", height=250, legend=True)
    _, edges = np.histogram(cosines, BINS, _range(cosines, zero=False))
    for side, name, colour, filled in (
        (0, "positive pairs", OKABE_ITO[0], 0.55),
        (1, "negative pairs", OKABE_ITO[5], 0.0),
    ):
        counts, _ = np.histogram(cosines[:, side], edges)
        made.quad(
            left=edges[:-1], right=edges[1:], top=counts, bottom=0, fill_color=colour,
            fill_alpha=filled, line_color=colour, line_width=1.3, legend_label=name,
        )  # fmt: skip
    made.y_range.start, made.yaxis.ticker.min_interval = 0, 1
    return made


def _range(values: np.ndarray, *, zero: bool = True) -> tuple[float, float]:
    """From the least to the greatest value; with 0 on an edge of a bin."""
    low, high = float(values.min()), float(values.max())
    if not zero:
        return (low, high) if high > low else (low - 0.5, high + 0.5)
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return -1.0, 1.0
    width = (high - low) / (BINS - 1)
    below = int(np.ceil(-low / width))
    return -below * width, (BINS - below) * width


def embedding_map(points: Points) -> Any:
    """Tracks on a plane; the numbers along the edges would mean nothing."""
    made = plot("", "", height=320)
    made.axis.visible = made.grid.visible = False
    size = float(np.clip(160 / np.sqrt(len(points.x)), 4, 9))
    made.scatter(
        x=points.x, y=points.y, fill_color=list(points.colours), marker=list(points.markers),
        size=size, line_color="#52525b", line_width=0.5, fill_alpha=0.85,
    )  # fmt: skip
    return made
