"""How many of a track's nearest are its mates: of its playlists, its artist, its tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.evaluation.bootstrap import mean_intervals

if TYPE_CHECKING:
    from playlist_pretrain.evaluation.neighbours import Neighbours
    from playlist_pretrain.playlists.groups import TrackGroups


@dataclass(frozen=True)
class Mates:
    """Which neighbours share a group with their query.

    Attributes
    ----------
    found : np.ndarray bool [queries, k]
    there : np.ndarray int64 [queries]
        All the tracks that do, near or not.
    """

    found: np.ndarray
    there: np.ndarray

    @property
    def share(self) -> float:
        """Of all neighbours; of artists, what hides whether a space knows more than voices."""
        return float(self.found.mean())


def mates_among(neighbours: Neighbours, groups: TrackGroups) -> Mates:
    """Look the neighbours up in groups: playlists, artists or tags.

    Raises
    ------
    EmbeddingsError
        The groups are of another number of tracks.
    """
    if groups.tracks != neighbours.tracks:
        raise EmbeddingsError(
            f"groups {groups.name!r} are of {groups.tracks} tracks, the embeddings of "
            f"{neighbours.tracks}"
        )
    # By track, the groups that it is in.
    order = np.argsort(groups.rows, kind="stable")
    group_of = np.repeat(np.arange(len(groups)), np.diff(groups.indptr))[order]
    ends = np.concatenate([[0], np.cumsum(np.bincount(groups.rows, minlength=groups.tracks))])
    marked = np.zeros(groups.tracks, bool)
    found = np.zeros(neighbours.rows.shape, bool)
    there = np.zeros(len(neighbours.queries), np.int64)
    for place, query in enumerate(neighbours.queries):
        parts = [groups.group(i) for i in group_of[ends[query] : ends[query + 1]]]
        for part in parts:
            marked[part] = True
        marked[query] = False
        found[place] = marked[neighbours.rows[place]]
        there[place] = np.count_nonzero(marked)
        for part in parts:
            marked[part] = False
    return Mates(found, there)


@dataclass(frozen=True)
class Retrieval:
    """How well mates are found among the nearest tracks.

    Attributes
    ----------
    recall, average_precision : dict of int to float
        Means over the queries, by k.
    intervals : dict of str to (float, float)
        95 % intervals, bootstrap over queries, by ``recall@k`` and ``map@k``.
    queries : int
        Tracks that have mates.
    left_out : int
        Those that have none.
    """

    recall: dict[int, float]
    average_precision: dict[int, float]
    intervals: dict[str, tuple[float, float]]
    queries: int
    left_out: int


def retrieval(mates: Mates, ks: Sequence[int] = (1, 10, 100), seed: int = 0) -> Retrieval:
    """Recall and Mean Average Precision at some k (Manning, Raghavan & Schütze 2008, chapter 8).

    Of a query with R mates, the one at place i of its neighbours being a mate or not (rᵢ):
    recall@k = Σ_{i ≤ k} rᵢ / R, which stays below 1 where R > k, and average precision
    AP@k = Σ_{i ≤ k} rᵢ · (Σ_{j ≤ i} rⱼ / i) / min(k, R), which reaches 1.

    Parameters
    ----------
    mates : Mates
    ks : sequence of int
        1 to the number of neighbours.
    seed : int
        Of the bootstrap.

    Raises
    ------
    EmbeddingsError
        A k out of range, or no query that has mates.
    """
    places = mates.found.shape[1]
    if not ks or not all(1 <= k <= places for k in ks):
        raise EmbeddingsError(f"k of {list(ks)}: between 1 and the {places} neighbours there are")
    some = mates.there > 0
    if not some.any():
        raise EmbeddingsError("no track shares a group with another: there is nothing to retrieve")
    found, there = mates.found[some], mates.there[some]
    hits = np.cumsum(found, axis=1)
    precise = np.cumsum(found * hits / np.arange(1, places + 1), axis=1)
    values = {f"recall@{k}": hits[:, k - 1] / there for k in ks}
    values |= {f"map@{k}": precise[:, k - 1] / np.minimum(k, there) for k in ks}
    columns = np.stack(list(values.values()), axis=1)
    means = dict(zip(values, columns.mean(axis=0).tolist(), strict=True))
    return Retrieval(
        recall={k: means[f"recall@{k}"] for k in ks},
        average_precision={k: means[f"map@{k}"] for k in ks},
        intervals=dict(zip(values, mean_intervals(columns, seed=seed), strict=True)),
        queries=int(some.sum()),
        left_out=int((~some).sum()),
    )
