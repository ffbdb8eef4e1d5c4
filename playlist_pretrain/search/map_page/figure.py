"""The plot of a map page, described for BokehJS."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

MOST_CANVAS = 2_000
"""Tracks; more are drawn with WebGL where the browser has it."""
COLUMNS = ("x", "y", "color", "marker", "alpha")


def with_webgl(tracks: int) -> bool:
    """Whether a plot of so many tracks needs Bokeh's WebGL part."""
    return tracks > MOST_CANVAS


def plot_item(coordinates: np.ndarray) -> dict[str, Any]:
    """What ``Bokeh.embed.embed_item`` takes: a plot whose points the page's scripts fill in.

    Its renderers are named ``points`` (with :data:`COLUMNS`), ``near``, ``chosen`` and ``pointed``.

    Parameters
    ----------
    coordinates : np.ndarray float [tracks, 2]
        Decide the ranges, the size of a point and whether it is drawn with WebGL.
    """
    from bokeh.embed import json_item
    from bokeh.models import ColumnDataSource, Range1d
    from bokeh.plotting import figure

    tracks = len(coordinates)
    low, high = coordinates.min(axis=0).astype(float), coordinates.max(axis=0).astype(float)
    room = np.where(high > low, 0.05 * (high - low), 1.0)
    plot = figure(
        x_range=Range1d(*(low - room)[:1], *(high + room)[:1]),
        y_range=Range1d(*(low - room)[1:], *(high + room)[1:]),
        tools="pan,box_zoom,wheel_zoom,zoom_in,zoom_out,reset",
        active_scroll="wheel_zoom",
        toolbar_location="above",
        output_backend="webgl" if with_webgl(tracks) else "canvas",
        sizing_mode="stretch_both",
        min_width=100,
        min_height=100,
        name="map",
        outline_line_color=None,
        background_fill_color=None,
        border_fill_color=None,
    )
    plot.axis.visible = plot.grid.visible = False  # the numbers along the edges mean nothing
    plot.toolbar.logo = None
    # Bokeh keeps room for the sign of a menu in its toolbar, and so hides the last tool in one.
    plot.toolbar.stylesheets = [":host { padding-right: 20px; }"]
    size = float(np.clip(200 / np.sqrt(tracks), 4, 10))
    plot.scatter(
        "x",
        "y",
        source=ColumnDataSource({name: [] for name in COLUMNS}),
        fill_color="color",
        line_width=0.7,
        alpha="alpha",
        marker="marker",
        size=size,
        name="points",
    )
    for name, more, width in (("near", 4, 1), ("chosen", 7, 2.5), ("pointed", 5, 2)):
        plot.scatter(
            "x",
            "y",
            source=ColumnDataSource({"x": [], "y": []}),
            fill_color=None,
            size=size + more,
            line_width=width,
            name=name,
        )
    return with_plain_ids(json_item(plot, cast(Any, "plot")))


def with_plain_ids(item: Any) -> Any:
    """The same item with ids counted from 1: Bokeh goes on counting as long as a process lives."""
    names: dict[str, str] = {}

    def renamed(node: Any) -> Any:
        if isinstance(node, list):
            return [renamed(part) for part in node]
        if not isinstance(node, dict):
            return node
        return {
            key: names.setdefault(part, f"m{len(names) + 1}")
            if key in ("id", "root_id") and isinstance(part, str)
            else renamed(part)
            for key, part in node.items()
        }

    return renamed(item)
