"""Nearest tracks by cosine similarity, hubness, and retrieval of tracks of the same group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import EmbeddingsError, TrackError, printable
from playlist_pretrain.evaluation.bootstrap import grouped_mean_intervals
from playlist_pretrain.messages import progress

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups

BLOCK_VALUES = 1 << 24
"""Similarities in memory at once."""
PAIRS = 500_000
"""Pairs of tracks that a percentile is taken from: all there are of 1,000 tracks."""
_ROWS_AT_ONCE = 1 << 14
_ROUNDING = 1e-5
"""Error of a float32 similarity; candidates that are so near to the last place are ranked too."""
_MOST_SHOWN = 5


@dataclass(frozen=True, repr=False)
class Neighbours:
    """Nearest tracks of some queries; a notebook shows them as text."""

    queries: np.ndarray | None  # rows of the queries, int64 [queries]; None where they are vectors
    # nearest others, int64 [queries, k], the nearest first; of equally near ones the lower row
    rows: np.ndarray
    similarities: np.ndarray  # cosine similarity of each, float64 [queries, k]
    tracks: int  # number of all tracks
    ids: Sequence[str] | None = None  # their ids, where the embeddings have any

    def __repr__(self) -> str:
        queries, k = self.rows.shape
        lines = [f"{k} nearest of {self.tracks:,} tracks, queries: {queries:,}"]
        for query in range(min(queries, _MOST_SHOWN)):
            name = f"vector {query}" if self.queries is None else self._name(self.queries[query])
            lines.append(f"{name}:")
            found = zip(self.similarities[query], self.rows[query], strict=True)
            lines += [f"  {similarity:7.4f}  {self._name(row)}" for similarity, row in found]
        return "\n".join(lines + ["…"] * (queries > _MOST_SHOWN))

    def _name(self, row: int) -> str:
        return f"row {row}" if self.ids is None else printable(self.ids[int(row)])


def nearest(embeddings: Any, queries: Any = None, k: int = 10) -> Neighbours:
    """Find the ``k`` nearest tracks of each query by cosine similarity, exactly.

    Parameters
    ----------
    embeddings : Embeddings, EmbeddingTable, or float array [tracks, dim]
        One vector a track, of any length but 0; of one vector a window the mean of each track is
        taken.
    queries : optional
        An id or ids (where ``embeddings`` has ids), a row or rows, or float vectors [dim] or
        [queries, dim]; default all tracks. A track is no answer to itself, and none that is silent,
        or nearly, is an answer; asked for by its id or row it is refused.
    k : int
        1 to tracks − 1.

    Raises
    ------
    TrackError
        An id that is not there, or a track that is silent, or nearly.
    EmbeddingsError
        Embeddings that are no table of numbers, a vector that is not finite or all zeros, ``k`` or
        a row out of range.

    Examples
    --------
    >>> nearest(np.eye(3) + 0.1 * np.arange(3), [0], k=1)
    1 nearest of 3 tracks, queries: 1
    row 0:
       0.2026  row 2
    """
    if hasattr(embeddings, "by_track"):
        embeddings = embeddings.by_track()
    ids = getattr(embeddings, "ids", getattr(embeddings, "track_ids", None))
    search = ExactSearch(getattr(embeddings, "vectors", embeddings))
    silent = np.asarray(getattr(embeddings, "silent", ()), np.int64)
    asked = np.arange(len(search)) if queries is None else np.asarray(queries)
    if asked.dtype.kind == "f" and asked.size:
        found = search.of_vectors(np.atleast_2d(asked), k, silent)
        return Neighbours(None, *found, len(search), ids)
    if asked.dtype.kind in "UO":
        row_of = {track_id: row for row, track_id in enumerate(ids or ())}
        names = np.atleast_1d(asked).tolist()
        if missing := [name for name in names if name not in row_of]:
            theirs = f"their ids look like {', '.join(map(repr, ids[:3]))}" if ids else "ask by row"
            raise TrackError(
                f"no track {missing[0]!r} among the {len(search):,} embeddings; {theirs}"
            )
        asked = np.array([row_of[name] for name in names])
    asked = np.atleast_1d(asked)
    if queries is not None and (of_silence := np.intersect1d(asked, silent)).size:
        name = printable(ids[int(of_silence[0])])
        told = f"track {name!r} is silent, or nearly: it has no neighbours; ask others"
        raise TrackError(told)
    return replace(search.of_tracks(k, asked, silent), ids=ids)


class Search:
    """Search among embeddings [tracks, dim]; a subclass finds candidates, ranked exactly here."""

    queries_at_once = 1024

    def __init__(self, embeddings: np.ndarray):
        self.embeddings = np.asarray(embeddings)

    def __len__(self) -> int:
        return len(self.embeddings)

    def of_tracks(
        self,
        k: int,
        queries: Sequence[int] | np.ndarray | None = None,
        left_out: Sequence[int] | np.ndarray = (),
    ) -> Neighbours:
        """Find the ``k`` nearest others of some rows, default of all; see :func:`nearest`.

        Rows in ``left_out`` are no answer.
        """
        tracks = len(self)
        rows = np.unique(np.asarray(left_out, np.int64))
        _check_k(k, tracks, len(rows) + 1)
        asked = np.arange(tracks) if queries is None else np.asarray(queries, np.int64)
        if asked.size and not 0 <= asked.min() <= asked.max() < tracks:
            raise EmbeddingsError(f"queries {asked.min()} to {asked.max()} of {tracks} tracks")
        found = self._ranked(unit_vectors(self.embeddings[asked]), k, rows, asked[:, np.newaxis])
        return Neighbours(asked, *found, tracks)

    def of_vectors(
        self, vectors: np.ndarray, k: int, left_out: Sequence[int] | np.ndarray = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the ``k`` tracks nearest to each of some vectors [queries, dim].

        Rows in ``left_out`` are no answer. Returns ``rows`` and ``similarities`` as those of
        :class:`Neighbours`; raises EmbeddingsError for vectors of another length or without a
        direction, and for ``k`` or a row out of range.
        """
        tracks, dim = self.embeddings.shape
        units = unit_vectors(vectors)
        if units.shape[1] != dim:
            raise EmbeddingsError(f"a query has {units.shape[1]} values, the embeddings {dim}")
        rows = np.unique(np.asarray(left_out, np.int64))
        if rows.size and not 0 <= rows[0] <= rows[-1] < tracks:
            raise EmbeddingsError(f"rows {rows[0]} to {rows[-1]} of {tracks} tracks are left out")
        _check_k(k, tracks, len(rows))
        return self._ranked(units, k, rows, np.empty((len(units), 0), np.int64))

    def _ranked(
        self, units: np.ndarray, k: int, left_out: np.ndarray, own: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Answer unit vectors [queries, dim] without rows ``left_out`` [any], of each its ``own``
        [queries, any] too.
        """
        rows, similarities = np.empty((len(units), k), np.int64), np.empty((len(units), k))
        with progress(total=len(units), desc="neighbours", unit="track") as bar:
            for first in range(0, len(units), self.queries_at_once):
                block = slice(first, first + self.queries_at_once)
                rows_of_all = np.broadcast_to(left_out, (len(own[block]), len(left_out)))
                no_answers = np.hstack([own[block], rows_of_all])
                found = self._candidates(units[block], k, no_answers)
                for place, near in enumerate(found, first):
                    exact = (unit_vectors(self.embeddings[near]) * units[place]).sum(axis=1)
                    order = np.lexsort((near, -exact))[:k]
                    rows[place], similarities[place] = near[order], exact[order]
                    bar.update()
        return rows, similarities

    def _candidates(self, units: np.ndarray, k: int, left_out: np.ndarray) -> Iterator[np.ndarray]:
        """Yield, for each query, rows int64 [at least k] among which its nearest are."""
        raise NotImplementedError


class ExactSearch(Search):
    """Search that compares a query with every track; see :func:`nearest`."""

    def __init__(self, embeddings: np.ndarray):
        super().__init__(embeddings)
        self._units = unit_vectors(self.embeddings, "float32")
        self.queries_at_once = max(1, BLOCK_VALUES // max(1, len(self)))

    def _candidates(self, units: np.ndarray, k: int, left_out: np.ndarray) -> Iterator[np.ndarray]:
        products = units.astype(np.float32) @ self._units.T
        np.put_along_axis(products, left_out, -np.inf, axis=1)
        last = np.partition(products, -k, axis=1)[:, -k]
        for similar, least in zip(products, last - _ROUNDING, strict=True):
            yield np.flatnonzero(similar >= least)


def _check_k(k: int, tracks: int, left_out: int) -> None:
    most = tracks - left_out
    if not 1 <= k <= most:
        can = f"k must be between 1 and {most}" if most > 0 else "there is no other track to find"
        without = f", without the {left_out} asked about" if left_out else ""
        raise EmbeddingsError(f"{can}: {k} nearest of {tracks} tracks{without}")


def centre(embeddings: np.ndarray) -> np.ndarray:
    """Compute the mean of the unit vectors of some embeddings, float64 [dim].

    Raises EmbeddingsError as :func:`nearest`, or when they cancel each other out.
    """
    mean = unit_vectors(embeddings).mean(axis=0)
    if np.linalg.norm(mean) < _ROUNDING:
        raise EmbeddingsError(
            f"the {len(embeddings)} embeddings cancel each other out: their centre has no direction"
        )
    return mean


def unit_vectors(embeddings: np.ndarray, dtype: str = "float64") -> np.ndarray:
    """Scale embeddings [tracks, dim] to length 1, in float64; raises as :func:`nearest`."""
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
        rows /= largest[:, np.newaxis]  # else squares of very small or large values leave float64
        units[first : first + len(rows)] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return units


def mean_cosine(embeddings: np.ndarray) -> float:
    """Compute the mean cosine similarity of all pairs of two different tracks.

    Near 0 where embeddings point everywhere; near 1 all are alike, and the space has collapsed.
    """
    units = unit_vectors(embeddings)
    total = units.sum(axis=0)
    return float((total @ total - len(units)) / (len(units) * (len(units) - 1)))


def pair_similarities(embeddings: np.ndarray, seed: int = 0) -> np.ndarray:
    """Cosine similarities of pairs of two different tracks, float64, the smallest first.

    All pairs where there are at most :data:`PAIRS`, else as many drawn with ``seed``.
    """
    units = unit_vectors(embeddings)
    tracks = len(units)
    if tracks * (tracks - 1) // 2 <= PAIRS:
        return np.sort((units @ units.T)[np.triu_indices(tracks, 1)])
    generator = np.random.default_rng(seed)
    a = generator.integers(tracks, size=PAIRS)
    b = (a + generator.integers(1, tracks, size=PAIRS)) % tracks
    found = np.empty(PAIRS)
    for first in range(0, PAIRS, _ROWS_AT_ONCE):
        part = slice(first, first + _ROWS_AT_ONCE)
        found[part] = (units[a[part]] * units[b[part]]).sum(axis=1)
    return np.sort(found)


def percentiles(similarities: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Per cent of the ``pairs`` of :func:`pair_similarities` that are less alike, float64."""
    return np.searchsorted(pairs, similarities) * 100 / len(pairs)


def hubness(neighbours: Neighbours) -> float:
    """Compute the skewness of the k-occurrence: how often each track is among the k nearest.

    Near 0 where all are alike, several where a few tracks are near to everything (Radovanović,
    Nanopoulos & Ivanović 2010, JMLR 11, equation 1); 0 where all occur equally often.
    """
    times = occurrences(neighbours)
    apart = times - times.mean()
    spread = np.sqrt(np.mean(apart**2))
    return float(np.mean(apart**3) / spread**3) if spread else 0.0


def occurrences(neighbours: Neighbours) -> np.ndarray:
    """Count how often each track is among the k nearest of the queries, int64 [tracks]."""
    return np.bincount(neighbours.rows.ravel(), minlength=neighbours.tracks)


def groups_of_tracks(groups: TrackGroups) -> list[np.ndarray]:
    """Numbers of the groups that each track is in, in rising order."""
    # The kernel of playlists.groups gives the same; a search need not wait for Numba to start.
    order = np.argsort(groups.rows, kind="stable")
    numbers = np.repeat(np.arange(len(groups)), groups.lengths)[order]
    ends = np.searchsorted(groups.rows[order], np.arange(1, groups.tracks))
    return np.split(numbers, ends)


@dataclass(frozen=True)
class Mates:
    """Mates of queries: tracks that share a group with them."""

    found: np.ndarray  # whether each neighbour is one, bool [queries, k]
    there: np.ndarray  # number of all mates, near or not, int64 [queries]
    groups: list[np.ndarray]  # numbers of the groups that each query has mates in

    @property
    def share(self) -> float:
        """Share of all neighbours that are mates."""
        return float(self.found.mean())


def mates_among(neighbours: Neighbours, groups: TrackGroups) -> Mates:
    """Find out which neighbours share a group (playlist, artist or tag) with their query."""
    if groups.tracks != neighbours.tracks:
        raise EmbeddingsError(
            f"groups {groups.name!r} are of {groups.tracks} tracks, the embeddings of "
            f"{neighbours.tracks}"
        )
    found, there, groups_of = [], [], groups_of_tracks(groups)
    for query, rows in zip(neighbours.queries, neighbours.rows, strict=True):
        mates = np.zeros(groups.tracks, bool)
        for group in groups_of[query]:
            mates[groups.group(group)] = True
        mates[query] = False
        found.append(mates[rows])
        there.append(np.count_nonzero(mates))
    shared = groups.lengths > 1
    return Mates(
        np.array(found).reshape(neighbours.rows.shape),
        np.array(there, np.int64),
        [groups_of[query][shared[groups_of[query]]] for query in neighbours.queries],
    )


@dataclass(frozen=True)
class Retrieval:
    """Metrics of mates among the nearest tracks: means over the queries, by k."""

    recall: dict[int, float]
    average_precision: dict[int, float]
    r_precision: float
    # 95 % intervals, bootstrap over groups, by ``recall@k``, ``map@k`` and ``r_precision``; None
    # where all queries are of one group
    intervals: dict[str, tuple[float, float] | None]
    queries: int  # tracks that have mates
    left_out: int  # tracks that have none
    cut: int  # queries with more mates than neighbours were looked at, see :func:`retrieval`


def retrieval(mates: Mates, ks: Sequence[int] = (1, 10, 100), seed: int = 0) -> Retrieval:
    """Compute recall, MAP and R-precision (Manning, Raghavan & Schütze 2008, section 8.4).

    Of a query with R mates, rᵢ being 1 where its neighbour at place i is one:
    recall@k = Σ_{i ≤ k} rᵢ / min(k, R), the share of the mates that k places can hold;
    AP@k = Σ_{i ≤ k} rᵢ · (Σ_{j ≤ i} rⱼ / i) / min(k, R); and R-precision = Σ_{i ≤ R} rᵢ / R, where
    of ``cut`` queries, with more mates than there are places, all places count in place of R. Each
    reaches 1. The intervals are of :func:`.grouped_mean_intervals`.

    Raises EmbeddingsError for a k out of range, and where no query has mates.
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
    last = np.minimum(there, places)
    columns = [hits[:, k - 1] / np.minimum(k, there) for k in ks]
    columns += [precise[:, k - 1] / np.minimum(k, there) for k in ks]
    columns.append(hits[np.arange(len(hits)), last - 1] / last)
    values = np.stack(columns, axis=1)
    names = [f"{name}@{k}" for name in ("recall", "map") for k in ks] + ["r_precision"]
    groups = [one for one, has_mates in zip(mates.groups, some, strict=True) if has_mates]
    spans = grouped_mean_intervals(values, groups, seed=seed) or [None] * len(names)
    means = values.mean(axis=0).tolist()
    return Retrieval(
        recall=dict(zip(ks, means[: len(ks)], strict=True)),
        average_precision=dict(zip(ks, means[len(ks) : -1], strict=True)),
        r_precision=means[-1],
        intervals=dict(zip(names, spans, strict=True)),
        queries=int(some.sum()),
        left_out=int((~some).sum()),
        cut=int((there > places).sum()),
    )
