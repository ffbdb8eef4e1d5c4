"""Nearest tracks by cosine similarity, exactly: which they are, and who is a hub.

How many of a track's nearest are its mates: of its playlists, its artist, its tags.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.evaluation.bootstrap import mean_intervals

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups

BLOCK_VALUES = 1 << 24
"""Similarities in memory at once."""
_ROWS_AT_ONCE = 1 << 14
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


def nearest(
    embeddings: np.ndarray, k: int, queries: Sequence[int] | np.ndarray | None = None
) -> Neighbours:
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
    return ExactSearch(embeddings).of_tracks(k, queries)


class ExactSearch:
    """Search that compares a query with every track.

    Parameters
    ----------
    embeddings : np.ndarray float [tracks, dim]
        As :func:`nearest` takes them, and refuses them.
    """

    def __init__(self, embeddings: np.ndarray):
        self._vectors = unit_vectors(embeddings)
        self._fast = self._vectors.astype(np.float32)

    def __len__(self) -> int:
        return len(self._vectors)

    def of_tracks(
        self,
        k: int,
        queries: Sequence[int] | np.ndarray | None = None,
        advance: Callable[[int], object] = lambda queries: None,
    ) -> Neighbours:
        """The ``k`` nearest others of some tracks; see :func:`nearest`.

        ``advance`` is told how many more queries have been answered.
        """
        asked = checked_queries(len(self), k, queries)
        found = self._search(self._vectors[asked], k, asked, np.empty(0, np.int64), advance)
        return Neighbours(asked, *found, len(self))

    def of_vectors(
        self, vectors: np.ndarray, k: int, left_out: Sequence[int] | np.ndarray = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` tracks nearest to each of some vectors.

        Parameters
        ----------
        vectors : np.ndarray float [queries, dim]
            Of any length but 0.
        k : int
            1 to the number of tracks that are not left out.
        left_out : sequence of int
            Rows that are no answer.

        Returns
        -------
        rows : np.ndarray int64 [queries, k]
        similarities : np.ndarray float64 [queries, k]
            As those of :class:`Neighbours`.

        Raises
        ------
        EmbeddingsError
            Vectors of another length or without a direction, ``k`` or a row out of range.
        """
        units, left_out = checked_vectors(self._vectors.shape, vectors, k, left_out)
        return self._search(units, k, None, left_out, lambda queries: None)

    def _search(
        self,
        units: np.ndarray,
        k: int,
        own: np.ndarray | None,
        left_out: np.ndarray,
        advance: Callable[[int], object],
    ) -> tuple[np.ndarray, np.ndarray]:
        """For unit vectors [queries, dim]; ``own`` has the row of each that is no answer to it."""
        tracks = len(self)
        rows, similarities = np.empty((len(units), k), np.int64), np.empty((len(units), k))
        size = max(1, BLOCK_VALUES // tracks)
        for first in range(0, len(units), size):
            block = units[first : first + size]
            products = block.astype(np.float32) @ self._fast.T
            if own is not None:
                products[np.arange(len(block)), own[first : first + size]] = -np.inf
            products[:, left_out] = -np.inf
            last = np.partition(products, tracks - k, axis=1)[:, tracks - k]
            for place, unit in enumerate(block):
                # The product of a block depends on its shape in the last bits, `ranked` does not.
                near = np.flatnonzero(products[place] >= last[place] - _ROUNDING)
                found = ranked(self._vectors[near], near, unit, k)
                rows[first + place], similarities[first + place] = found
            advance(len(block))
        return rows, similarities


def ranked(
    units: np.ndarray, rows: np.ndarray, query: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` of some rows nearest to a query, the nearest first, then the lower row.

    Parameters
    ----------
    units : np.ndarray float64 [rows, dim]
        Unit vectors of the rows.
    rows : np.ndarray int64 [rows]
    query : np.ndarray float64 [dim]
        A unit vector.
    k : int

    Returns
    -------
    rows : np.ndarray int64 [at most k]
    similarities : np.ndarray float64 [at most k]
    """
    exact = (units * query).sum(axis=1)
    order = np.lexsort((rows, -exact))[:k]
    return rows[order], exact[order]


def centre(embeddings: np.ndarray) -> np.ndarray:
    """Mean of the unit vectors of some embeddings, float64 [dim].

    Raises
    ------
    EmbeddingsError
        As :func:`nearest`, or when they cancel each other out.
    """
    mean = unit_vectors(embeddings).mean(axis=0)
    if np.linalg.norm(mean) < _ROUNDING:
        raise EmbeddingsError(
            f"the {len(embeddings)} embeddings cancel each other out: their centre has no direction"
        )
    return mean


def checked_queries(tracks: int, k: int, queries: Sequence[int] | np.ndarray | None) -> np.ndarray:
    """Rows that are asked for, int64 [queries]; EmbeddingsError as :func:`nearest`."""
    if not 1 <= k < tracks:
        raise EmbeddingsError(f"{k} nearest of {tracks} tracks: between 1 and {tracks - 1} can be")
    asked = np.arange(tracks) if queries is None else np.asarray(queries, np.int64)
    if asked.size and not 0 <= asked.min() <= asked.max() < tracks:
        raise EmbeddingsError(f"queries {asked.min()} to {asked.max()} of {tracks} tracks")
    return asked


def checked_vectors(
    shape: tuple[int, ...], vectors: np.ndarray, k: int, left_out: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors, and rows that are left out; EmbeddingsError as ``ExactSearch.of_vectors``."""
    tracks, dim = shape
    units = unit_vectors(vectors)
    if units.shape[1] != dim:
        raise EmbeddingsError(f"a query has {units.shape[1]} values, the embeddings {dim}")
    rows = np.unique(np.asarray(left_out, np.int64))
    if rows.size and not 0 <= rows[0] <= rows[-1] < tracks:
        raise EmbeddingsError(f"rows {rows[0]} to {rows[-1]} of {tracks} tracks are left out")
    if not 1 <= k <= tracks - len(rows):
        without = f" without the {len(rows)} asked about" if len(rows) else ""
        raise EmbeddingsError(
            f"{k} nearest of {tracks} tracks{without}: at most {tracks - len(rows)} can be"
        )
    return units, rows


def unit_vectors(embeddings: np.ndarray, dtype: str = "float64") -> np.ndarray:
    """Embeddings of length 1 [tracks, dim], worked out in double precision.

    Raises
    ------
    EmbeddingsError
        As :func:`nearest`.
    """
    array = np.asarray(embeddings)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.shape[1]:
        raise EmbeddingsError(f"embeddings: {array.dtype} {array.shape}, not numbers [tracks, dim]")
    units = np.empty(array.shape, dtype)
    for first in range(0, len(array), _ROWS_AT_ONCE):
        rows = array[first : first + _ROWS_AT_ONCE].astype(np.float64)
        largest = np.abs(rows).max(axis=1, initial=0)
        bad = ~(np.isfinite(largest) & (largest > 0))
        if bad.any():
            row = int(np.argmax(bad))
            what = "all zeros" if largest[row] == 0 else "NaN or infinite values"
            raise EmbeddingsError(f"embedding of row {first + row}: {what}, so it has no direction")
        rows /= largest[:, np.newaxis]  # else the square of a very small or large one is none
        units[first : first + len(rows)] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return units


def hubness(neighbours: Neighbours) -> float:
    """Skewness of the k-occurrence: how often each track is among the k nearest of others.

    Near 0 where all are alike, several where a few tracks are near to everything (Radovanović,
    Nanopoulos & Ivanović 2010, JMLR 11, equation 1); 0 where all occur equally often.
    """
    times = occurrences(neighbours)
    apart = times - times.mean()
    spread = np.sqrt(np.mean(apart**2))
    return float(np.mean(apart**3) / spread**3) if spread else 0.0


def occurrences(neighbours: Neighbours) -> np.ndarray:
    """How often each track is among the k nearest of the queries, int64 [tracks]."""
    return np.bincount(neighbours.rows.ravel(), minlength=neighbours.tracks)


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
