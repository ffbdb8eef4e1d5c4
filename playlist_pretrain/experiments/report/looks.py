"""How figures look: one colour, dash and marker a start, which no page shows otherwise."""

from __future__ import annotations

from typing import Any, NamedTuple

from playlist_pretrain.experiments.plan import AUDIOSET, MEAN_OF_MEL, RANDOM, SCRATCH
from playlist_pretrain.search.map_page.contents import shown

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
