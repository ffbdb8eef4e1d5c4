"""Nearest tracks of a few, by name: whether the tables of groups make sense to whoever looks.

How groups look: lengths, popularity, tracks per artist and co-occurrences, as PNG.

A look at groups: their tables made ahead, the nearest tracks of a few, and figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import GroupsError, TrackError
from playlist_pretrain.files import atomic_write
from playlist_pretrain.playlists.groups import TrackGroups, groups_path, load_groups
from playlist_pretrain.playlists.match import shown
from playlist_pretrain.playlists.split import split_groups
from playlist_pretrain.playlists.top_table import cached_top_table
from playlist_pretrain.playlists.word2vec import Word2VecSettings, cached_vectors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from playlist_pretrain.cli.match_playlists import MatchOptions
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.playlists.top_table import TopTable
    from playlist_pretrain.playlists.word2vec import TrackVectors
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.storage import RemotePath

NEAREST = 10
MOST_POPULAR = 3


def rows_to_show(ids: str | None, collection: Collection, groups: TrackGroups) -> list[int]:
    """Rows of the tracks that are asked for, or of the three that are in most groups.

    Raises
    ------
    TrackError
        If the collection does not have one of them.
    """
    if ids is None:
        popularity = np.bincount(groups.rows, minlength=groups.tracks)
        order = np.argsort(-popularity, kind="stable")[:MOST_POPULAR]
        return [int(row) for row in order if popularity[row]]
    asked = [part.strip() for part in ids.split(",") if part.strip()]
    rows = collection.rows(asked)
    for track_id, row in zip(asked, rows, strict=True):
        if row < 0:
            raise TrackError(f"--nearest: collection {collection.name} has no track {track_id!r}")
    return rows.tolist()


def nearest_by_count(table: TopTable, row: int) -> list[tuple[int, str]]:
    """Rows with which a track shares most groups, and how many."""
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


def nearest_text(
    track_ids: Sequence[str], row: int, how: str, nearest: Sequence[tuple[int, str]]
) -> str:
    """The nearest tracks of one as lines: how near, and the id."""
    lines = [f"nearest to {shown(track_ids[row])} by {how}"]
    width = max((len(value) for _, value in nearest), default=0)
    lines += [f"  {value:>{width}}  {shown(track_ids[other])}" for other, value in nearest]
    return "\n".join(lines if nearest else [*lines, "  none: the track is in no group"])


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


def show_groups(
    options: MatchOptions,
    tables: tuple[str, ...],
    collection: Collection,
    groups: TrackGroups,
) -> None:
    """Make tables, print the nearest tracks, and draw, as the options ask for.

    Tables are those that ``pretrain.py`` will look for: of the groups that are trained on, which
    leaves out the ones held out for the probe, with the collection's own window.

    Raises
    ------
    GroupsError
        When nothing is left to make tables of.
    """
    split = split_groups(
        groups,
        collection,
        frames=collection.front_end.window_frames,
        exclude=options.exclude,
        probe_share=options.probe_share,
        say=options.say,
    )
    if not len(split.kept):
        raise GroupsError(f"{collection.path}: no group of {groups.name!r} can be trained on")
    rows = rows_to_show(options.nearest, collection, split.kept)
    options.say(
        f"{len(split.kept):,} groups to train on, {len(split.held_out):,} held out for the probe "
        "and in no table"
    )
    common: dict[str, Any] = {"quiet": options.quiet, "say": options.say}
    found = {}
    table = None
    if "tco" in tables or options.figures:
        table = cached_top_table(
            split.kept, collection.path, max_group_length=options.max_group_length, **common
        )
    if "tco" in tables:
        found["groups shared"] = [nearest_by_count(table, row) for row in rows]
    if "w2v" in tables:
        settings = Word2VecSettings.of(options)
        vectors = cached_vectors(
            split.kept, collection.track_ids, collection.path, settings, **common
        )
        found["cosine of Word2Vec"] = [nearest_by_cosine(vectors, row) for row in rows]
    for how, nearest in found.items():
        for row, near in zip(rows, nearest, strict=True):
            options.say(nearest_text(collection.track_ids, row, how, near))
    if options.figures:
        folder = collection.path / f"figures-{groups.name}"
        drawn = draw_groups(groups, table, folder, _artists(collection, groups))
        options.say(f"{folder}: {', '.join(path.name for path in drawn)}")


def _artists(collection: Collection, groups: TrackGroups) -> TrackGroups | None:
    """Artists of the collection, when it has such groups and they are of its present content."""
    if groups.name == "artists":
        return groups
    if not groups_path(collection.path, "artists").exists():
        return None
    return load_groups(collection, "artists")
