"""Tables of groups made ahead, the nearest tracks of a few, and figures of the groups.

So that one sees whether groups and tables make sense before a run is started.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import GroupsError, TrackError
from playlist_pretrain.files import atomic_write
from playlist_pretrain.playlists.groups import TrackGroups, groups_path, load_groups, split_groups
from playlist_pretrain.playlists.match import shown
from playlist_pretrain.playlists.settings import TableSettings
from playlist_pretrain.playlists.top_table import TopTable, cached_top_table
from playlist_pretrain.playlists.word2vec import TrackVectors, cached_vectors
from playlist_pretrain.records.collection import Collection

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)
NEAREST = 10
MOST_POPULAR = 3
BINS = 40


def show_groups(
    collection: Collection,
    groups: TrackGroups,
    *,
    tables: Sequence[str] = ("tco",),
    nearest: Sequence[str] | None = None,
    figures: bool = False,
    settings: TableSettings | None = None,
    beam: str | None = None,
    temp: str | None = None,
) -> None:
    """Make tables, show the nearest tracks of a few, and draw figures of groups.

    Tables are those that ``pretrain.py`` will look for: of the groups that are trained on, which
    leaves out the tracks held out for the probe, with the collection's own window.

    ``tables`` are of ``tco`` and ``w2v``; ``nearest`` are ids of the tracks to show, by default the
    three in most groups. ``figures`` go into ``figures-<name>`` in the collection's folder.
    ``beam`` are options of Apache Beam to count the co-occurrences with, ``temp`` a folder that all
    workers reach; see :func:`~playlist_pretrain.playlists.beam_table.beam_top_table`.

    Raises
    ------
    GroupsError
        When nothing is left to make tables of.
    TrackError
        If the collection does not have a track of ``nearest``.
    """
    settings = settings or TableSettings()
    split = split_groups(
        groups,
        collection,
        frames=collection.front_end.window_frames,
        exclude=settings.exclude,
        probe_share=settings.probe_share,
    )
    if not len(split.kept):
        raise GroupsError(f"{collection.path}: no group of {groups.name!r} can be trained on")
    rows = _rows_to_show(nearest, collection, split.kept)
    logger.info(
        f"{len(split.kept):,} groups to train on, {len(split.held_out):,} pairs of tracks held out "
        "for the probe and in no table"
    )
    if beam is not None:
        from playlist_pretrain.playlists.beam_table import keep_beam_table

        keep_beam_table(split.kept, collection.path, settings.max_group_length, beam, temp)
    ids = collection.track_ids
    if "tco" in tables or figures:
        table = cached_top_table(
            split.kept, collection.path, max_group_length=settings.max_group_length
        )
    if "tco" in tables:
        for row in rows:
            logger.info(_nearest_text(ids, row, "groups shared", nearest_by_count(table, row)))
    if "w2v" in tables:
        vectors = cached_vectors(split.kept, ids, collection.path, settings)
        for row in rows:
            near = nearest_by_cosine(vectors, row)
            logger.info(_nearest_text(ids, row, "cosine of Word2Vec", near))
    if figures:
        folder = collection.path / f"figures-{groups.name}"
        artists = groups if groups.name == "artists" else None
        if artists is None and groups_path(collection.path, "artists").exists():
            artists = load_groups(collection, "artists")
        drawn = draw_groups(groups, table, folder, artists)
        logger.info("%s: %s", folder, ", ".join(path.name for path in drawn))


def _rows_to_show(
    ids: Sequence[str] | None, collection: Collection, groups: TrackGroups
) -> list[int]:
    """Rows of the tracks that are asked for, or of the three that are in most groups."""
    if ids is None:
        popularity = np.bincount(groups.rows, minlength=groups.tracks)
        order = np.argsort(-popularity, kind="stable")[:MOST_POPULAR]
        return [int(row) for row in order if popularity[row]]
    rows = collection.rows(ids)
    for track_id, row in zip(ids, rows, strict=True):
        if row < 0:
            raise TrackError(f"--nearest: collection {collection.name} has no track {track_id!r}")
    return rows.tolist()


def nearest_by_count(table: TopTable, row: int) -> list[tuple[int, str]]:
    """Rows with which a track shares most groups, and the number of groups."""
    return [
        (int(other), f"{count:,}")
        for other, count in zip(table.rows[row], table.counts[row], strict=True)
        if other >= 0
    ]


def nearest_by_cosine(vectors: TrackVectors, row: int) -> list[tuple[int, str]]:
    """Rows whose vectors are nearest to that of a track, and the cosine; none without a vector."""
    place = int(np.searchsorted(vectors.rows, row))
    if place == len(vectors.rows) or vectors.rows[place] != row:
        return []
    lengths = np.maximum(np.linalg.norm(vectors.vectors, axis=1), 1e-12)
    cosine = vectors.vectors @ vectors.vectors[place] / (lengths * lengths[place])
    cosine[place] = -np.inf
    order = np.argsort(-cosine, kind="stable")[: min(NEAREST, len(cosine) - 1)]
    return [(int(vectors.rows[i]), f"{cosine[i]:.3f}") for i in order]


def _nearest_text(
    track_ids: Sequence[str], row: int, measure: str, nearest: Sequence[tuple[int, str]]
) -> str:
    lines = [f"nearest to {shown(track_ids[row])} by {measure}"]
    width = max((len(value) for _, value in nearest), default=0)
    lines += [f"  {value:>{width}}  {shown(track_ids[other])}" for other, value in nearest]
    return "\n".join(lines if nearest else [*lines, "  none: the track is in no group"])


def draw_groups(
    groups: TrackGroups, table: TopTable, folder: Path, artists: TrackGroups | None = None
) -> list[Path]:
    """Draw lengths, popularity and co-occurrences, and tracks per artist, as PNG.

    ``table`` has the co-occurrences of ``groups``; ``artists`` are groups of the same collection.
    Returns the figures written into ``folder``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    popularity = np.bincount(groups.rows, minlength=groups.tracks)
    shared, across = table.counts[table.counts > 0], "groups shared with one of the top ten"
    plots: dict[str, tuple[Callable[[Axes, np.ndarray], None], np.ndarray, str, str]] = {
        "lengths": (_histogram, groups.lengths, "tracks a group", "groups"),
        "popularity": (_ranks, popularity, "rank of the track", "groups a track"),
        "co_occurrences": (_histogram, shared, across, "pairs"),
    }
    if artists is not None:
        plots["tracks_per_artist"] = _histogram, artists.lengths, "tracks an artist", "artists"
    drawn = []
    for name, (paint, values, across, up) in plots.items():
        figure = Figure(figsize=(6, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        paint(axes, values)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        drawn.append(folder / f"{name}.png")
        with atomic_write(drawn[-1]) as stream:
            figure.savefig(stream, format="png", dpi=120)
    return drawn


def _histogram(axes: Axes, values: np.ndarray) -> None:
    """Histogram with logarithmic axes, bins a whole number wide or wider."""
    largest = int(values.max(initial=1))
    edges = np.unique(np.geomspace(1, largest + 1, BINS).round()) - 0.5
    axes.hist(values, bins=edges.tolist() if len(edges) > 1 else [0.5, 1.5], log=True)
    axes.set_xscale("log")
    if len(values):
        text = f"mean {values.mean():,.1f}, median {np.median(values):,.0f}, most {largest:,}"
        axes.set_title(text, fontsize="medium")


def _ranks(axes: Axes, counts: np.ndarray) -> None:
    """Counts by rank with logarithmic axes: a straight line is a power law."""
    ordered = np.sort(counts[counts > 0])[::-1]
    # A million points draw no other line than some thousands do.
    picked = np.unique(np.geomspace(1, max(len(ordered), 1), 2000).astype(np.int64)) - 1
    picked = picked[picked < len(ordered)]
    axes.loglog(picked + 1, ordered[picked], marker="." if len(ordered) < BINS else None)
    axes.set_title(f"{len(ordered):,} of {len(counts):,} tracks in a group", fontsize="medium")
