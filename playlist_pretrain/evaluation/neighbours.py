"""Nearest tracks by cosine similarity: which they are, how many are mates, and who is a hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.evaluation.bootstrap import mean_intervals

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups

BLOCK_VALUES = 1 << 24
"""Similarities in memory at once."""
_ROUNDING = 1e-5
"""Of a similarity by the fast product; what is so near the last place is worked out exactly."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest tracks of some tracks.

    Attributes
    ----------
    queries : np.ndarray int64 [queries]
        Rows of those tracks.
    rows : np.ndarray int64 [queries, k]
        Rows of the nearest others, the nearest first; of equally near ones the lower row.
    similarities : np.ndarray float64 [queries, k]
        Cosine similarity of each.
    tracks : int
        Tracks there are.
    """

    queries: np.ndarray
    rows: np.ndarray
    similarities: np.ndarray
    tracks: int


def nearest(embeddings: np.ndarray, k: int, queries: Sequence[int] | None = None) -> Neighbours:
    """Find the ``k`` nearest tracks of each query among all others, exactly.

    Parameters
    ----------
    embeddings : np.ndarray float [tracks, dim]
        One vector a track, of any length but 0. ``tracks`` squared similarities are worked out,
        but never held together.
    k : int
        1 to tracks − 1.
    queries : sequence of int, optional
        Rows; default all.

    Raises
    ------
    EmbeddingsError
        Embeddings that are no table of numbers, a row that is not finite or all zeros, ``k`` or a
        query out of range.
    """
    vectors = unit_vectors(embeddings)
    tracks = len(vectors)
    if not 1 <= k < tracks:
        raise EmbeddingsError(f"{k} nearest of {tracks} tracks: between 1 and {tracks - 1} can be")
    asked = np.arange(tracks) if queries is None else np.asarray(queries, np.int64)
    if asked.size and not 0 <= asked.min() <= asked.max() < tracks:
        raise EmbeddingsError(f"queries {asked.min()} to {asked.max()} of {tracks} tracks")
    fast = vectors.astype(np.float32)
    rows = np.empty((len(asked), k), np.int64)
    similarities = np.empty((len(asked), k))
    size = max(1, BLOCK_VALUES // tracks)
    for first in range(0, len(asked), size):
        block = asked[first : first + size]
        products = fast[block] @ fast.T
        products[np.arange(len(block)), block] = -np.inf
        last = np.partition(products, tracks - k, axis=1)[:, tracks - k]
        for place, query in enumerate(block):
            # The product of a block depends on its shape in the last bits, this one does not.
            near = np.flatnonzero(products[place] >= last[place] - _ROUNDING)
            exact = (vectors[near] * vectors[query]).sum(axis=1)
            order = np.lexsort((near, -exact))[:k]
            rows[first + place], similarities[first + place] = near[order], exact[order]
    return Neighbours(asked, rows, similarities, tracks)


def unit_vectors(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings of length 1, float64 [tracks, dim].

    Raises
    ------
    EmbeddingsError
        As :func:`nearest`.
    """
    array = np.asarray(embeddings)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.shape[1]:
        raise EmbeddingsError(f"embeddings: {array.dtype} {array.shape}, not numbers [tracks, dim]")
    array = array.astype(np.float64)
    largest = np.abs(array).max(axis=1, initial=0)
    bad = ~(np.isfinite(largest) & (largest > 0))
    if bad.any():
        row = int(np.argmax(bad))
        what = "all zeros" if largest[row] == 0 else "NaN or infinite values"
        raise EmbeddingsError(f"embedding of row {row}: {what}, so it has no direction")
    array /= largest[:, np.newaxis]  # else the square of a very small or large one is none
    return array / np.linalg.norm(array, axis=1, keepdims=True)


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


def hubness(neighbours: Neighbours) -> float:
    """Skewness of the k-occurrence: how often each track is among the k nearest of others.

    Near 0 where all are alike, several where a few tracks are near to everything (Radovanović,
    Nanopoulos & Ivanović 2010, JMLR 11, equation 1); 0 where all occur equally often.
    """
    times = np.bincount(neighbours.rows.ravel(), minlength=neighbours.tracks)
    apart = times - times.mean()
    spread = np.sqrt(np.mean(apart**2))
    return float(np.mean(apart**3) / spread**3) if spread else 0.0
