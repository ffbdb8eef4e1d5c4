"""How groups look: lengths, popularity, tracks per artist and co-occurrences, as PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.playlists.top_table import TopTable
    from playlist_pretrain.storage import RemotePath

BINS = 40


def draw_groups(
    groups: TrackGroups,
    table: TopTable,
    folder: Path | RemotePath,
    artists: TrackGroups | None = None,
) -> list[Path]:
    """Draw what there is to see of groups.

    Parameters
    ----------
    groups : TrackGroups
    table : TopTable
        Their co-occurrences.
    folder : Path
        Where the figures go.
    artists : TrackGroups, optional
        Groups of the same collection that are artists.

    Returns
    -------
    list of Path
        The figures written.
    """
    figures: dict[str, Callable[[Axes], None]] = {
        "lengths": lambda axes: _histogram(axes, groups.lengths, "tracks a group", "groups"),
        "popularity": lambda axes: _ranks(
            axes, np.bincount(groups.rows, minlength=groups.tracks), "groups a track"
        ),
        "co_occurrences": lambda axes: _histogram(
            axes, table.counts[table.counts > 0], "groups shared with one of the top ten", "pairs"
        ),
    }
    if artists is not None:
        figures["tracks_per_artist"] = lambda axes: _histogram(
            axes, artists.lengths, "tracks an artist", "artists"
        )
    return [_draw(folder / f"{name}.png", paint) for name, paint in figures.items()]


def _draw(path: Path | RemotePath, paint: Callable[[Axes], None]) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    paint(figure.subplots())
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=120)
    return path  # type: ignore[return-value]


def _histogram(axes: Axes, values: np.ndarray, across: str, up: str) -> None:
    """Histogram with logarithmic axes, bins a whole number wide or wider."""
    largest = int(values.max(initial=1))
    edges = np.unique(np.geomspace(1, largest + 1, BINS).round()) - 0.5
    axes.hist(values, bins=edges.tolist() if len(edges) > 1 else [0.5, 1.5], log=True)
    axes.set_xscale("log")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    if len(values):
        text = f"mean {values.mean():,.1f}, median {np.median(values):,.0f}, most {largest:,}"
        axes.set_title(text, fontsize="medium")


def _ranks(axes: Axes, counts: np.ndarray, up: str) -> None:
    """Counts by rank with logarithmic axes: a straight line is a power law."""
    ordered = np.sort(counts[counts > 0])[::-1]
    # A million points draw no other line than some thousands do.
    picked = np.unique(np.geomspace(1, max(len(ordered), 1), 2000).astype(np.int64)) - 1
    picked = picked[picked < len(ordered)]
    axes.loglog(picked + 1, ordered[picked], marker="." if len(ordered) < BINS else None)
    axes.set_xlabel("rank of the track")
    axes.set_ylabel(up)
    axes.set_title(f"{len(ordered):,} of {len(counts):,} tracks in a group", fontsize="medium")
