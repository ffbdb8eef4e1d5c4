"""Figures of a report, described for Bokeh, and how each start looks in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from playlist_pretrain.experiments.plan import RANDOM
from playlist_pretrain.models import AUDIOSET, MEAN_OF_MEL, SCRATCH
from playlist_pretrain.retrieval.map_page.page import shown

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Colours that people of any colour vision tell apart (Okabe & Ito 2008), without black."""
MARKERS = ("circle", "triangle")
INK, EDGE, QUIET = "#18181b", "#767676", "#d4d4d8"
LONGEST_LABEL = 24
BINS = 40
_PIXELS_A_TAG = 20


class Look(NamedTuple):
    """Colour, dash and marker of a start; each colour and marker is used once."""

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


class Line(NamedTuple):
    """Curve of a run; values that are NaN are left out."""

    start: str
    title: str
    x: np.ndarray
    y: np.ndarray


def plot(x: str, y: str, *, height: int = 280, legend: bool = False, **more: Any) -> Any:
    """Make an empty Bokeh figure, as wide as its place, that lets a finger scroll the page."""
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
    """Tag beside an axis: without its kind, not too long, and never read as a formula."""
    text = shown(tag.rpartition("---")[2] or tag)
    text = text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"
    for delimiter in ("$$", r"\[", r"\("):  # Bokeh would fetch a library for what is between
        text = text.replace(delimiter, "\u2060".join(delimiter))
    return text


def curves(lines: Sequence[Line], x: str, y: str, chance: float | None = None) -> Any:
    """Plot a line a run, those of one start alike.

    With ``chance`` values are shares that are known at a few steps: they get markers, and chance
    a line.
    """
    from bokeh.models import DataRange1d
    from bokeh.models.annotations import Span

    made = plot(x, y, height=360, legend=True)
    made.xaxis.ticker.min_interval = 1
    known = [(line, LOOKS[line.start], np.isfinite(line.y)) for line in lines]
    known = [(line, look, there) for line, look, there in known if there.any()]
    for line, look, there in known:
        made.line(
            line.x[there], line.y[there], color=look.colour, line_dash=look.dash,
            line_width=1.7, alpha=0.85, legend_label=line.title,
        )  # fmt: skip
    if chance is not None:
        for line, look, there in known:
            made.scatter(
                line.x[there], line.y[there], color=look.colour, marker=look.marker, size=6,
                alpha=0.85, legend_label=line.title,
            )  # fmt: skip
        span = Span(location=chance, dimension="width", line_color=EDGE, line_dash="dotted")
        made.add_layout(span)
        made.x_range = DataRange1d(start=0)
        made.y_range = DataRange1d(start=0, min_interval=0.05)
    return made


def tag_bars(
    tags: Sequence[str], values: Mapping[str, np.ndarray], titles: Mapping[str, str], bars: str
) -> Any:
    """Plot Average Precision by tag, from top to bottom: bars of one start, marks of the others.

    ``values`` [tags] of each start are NaN where a tag is left out; the start ``bars`` has bars.
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
    """Plot how much nearer positives are than negatives, in colours for both sides of 0."""
    from bokeh.models.annotations import Span

    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        low, high = -1.0, 1.0
    else:  # 0 is an edge of a bin
        width = (high - low) / (BINS - 1)
        below = int(np.ceil(-low / width))
        low, high = -below * width, (BINS - below) * width
    counts, edges = np.histogram(values, BINS, (low, high))
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
    """Plot cosine similarities [triplets, 2] of anchors to their positives and negatives."""
    made = plot("cosine similarity", "pairs", height=250, legend=True)
    edges = np.histogram_bin_edges(cosines, BINS)
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


def embedding_map(points: np.ndarray, looks: Sequence[tuple[str, str]]) -> Any:
    """Plot tracks [n, 2] on a plane, each with its colour and marker."""
    made = plot("", "", height=320)
    made.axis.visible = made.grid.visible = False  # numbers along the edges would mean nothing
    made.scatter(
        x=points[:, 0], y=points[:, 1], fill_color=[colour for colour, _ in looks],
        marker=[marker for _, marker in looks],
        size=float(np.clip(160 / np.sqrt(len(points)), 4, 9)), line_color="#52525b",
        line_width=0.5, fill_alpha=0.85,
    )  # fmt: skip
    return made
