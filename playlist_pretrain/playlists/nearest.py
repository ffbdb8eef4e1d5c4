"""Nearest tracks of a few, by name: whether the tables of groups make sense to whoever looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import TrackError
from playlist_pretrain.playlists.coverage import shown

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.playlists.top_table import TopTable
    from playlist_pretrain.playlists.word2vec import TrackVectors
    from playlist_pretrain.records.collection import Collection

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
