"""Choice of results: caps by artist and album, versions folded, away from tracks, song paths."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.evaluation.neighbours import (
    BLOCK_VALUES,
    Search,
    groups_of_tracks,
    unit_vectors,
)
from playlist_pretrain.playlists.groups import TrackGroups

SAME = 0.995
"""Cosine of two centred embeddings from which tracks are taken for the same recording.

Of 46 pieces of game music (a model of the demo's songs) none of the 1,035 pairs reached 0.991; of
20 copies of them as mp3 (96 kbit/s) and opus (48 kbit/s) 13 reached this with what they are of.
"""
AWAY = 0.5
"""Share of the unwanted centre that is taken from a query."""
LARGEST_PATH = 20_000
"""Tracks among which a path is looked for: work grows with their square."""
_FIRST_LOOK = 64
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Chosen:
    """Result of :func:`choose`."""

    rows: np.ndarray  # int64 [found], the nearest first
    similarities: np.ndarray  # float64 [found]
    folded: list[tuple[int, int]]  # row left out, and the row that it is a version of
    capped: int  # tracks nearer than the last one that a cap left out


class Likeness:
    """Cosines of centred embeddings, whose scale does not depend on what all tracks share.

    Tracks that are all the same have none, and are taken for versions of each other.
    """

    def __init__(self, embeddings: np.ndarray):
        self._embeddings = embeddings
        self._mean = embeddings.mean(axis=0, dtype=np.float64)

    def __call__(self, row: int, others: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the cosine of a row with each of some others, float64 [others]."""
        wanted = np.array([row, *others])
        apart = self._embeddings[wanted].astype(np.float64) - self._mean
        lengths = np.linalg.norm(apart, axis=1)
        products = lengths[0] * lengths[1:]
        near = (self._embeddings[wanted[1:]] == self._embeddings[row]).all(axis=1)
        cosines = apart[1:] @ apart[0] / np.where(products > 0, products, 1)
        return np.where(near, 1.0, cosines)

    def version_of(self, row: int, others: Sequence[int] | np.ndarray) -> int | None:
        """Return which of some others a row is a version of, the most alike; None of none."""
        if not len(others):
            return None
        cosines = self(row, others)
        best = int(np.argmax(cosines))
        return int(others[best]) if cosines[best] >= SAME else None


def choose(
    search: Search,
    vector: np.ndarray,
    k: int,
    left_out: np.ndarray,
    *,
    caps: Sequence[tuple[TrackGroups, int]] = (),
    fold: bool = False,
    asked: np.ndarray | None = None,
) -> Chosen:
    """Find the ``k`` tracks nearest to a vector [dim] that keep some rules; fewer if no more do.

    From the nearest on each track is taken unless one of its groups has as many as its cap allows,
    or, with ``fold``, it is a version of one taken, or of the rows ``asked`` about: the cosine of
    their embeddings less the mean of all is at least :data:`SAME`. ``left_out`` are no answer.

    Raises EmbeddingsError as :meth:`.Search.of_vectors`.
    """
    groups = [(groups_of_tracks(one), most, Counter[int]()) for one, most in caps]
    most = len(search) - len(np.unique(left_out))
    likeness = Likeness(search.embeddings)
    asked = left_out if asked is None else asked
    looked = k if not (groups or fold) else max(k, min(most, max(_FIRST_LOOK, 4 * k)))
    while True:
        near, similarities = (
            one[0] for one in search.of_vectors(vector[np.newaxis], looked, left_out)
        )
        taken: list[int] = []
        folded: list[tuple[int, int]] = []
        capped = 0
        for *_, counts in groups:
            counts.clear()
        for place, row in enumerate(near.tolist()):
            if len(taken) == k:
                break
            if fold:
                others = [*asked.tolist(), *near[taken].tolist()]
                version = likeness.version_of(row, others)
                if version is not None:
                    folded.append((row, version))
                    continue
            if any(counts[one] >= cap for of, cap, counts in groups for one in of[row].tolist()):
                capped += 1
                continue
            taken.append(place)
            for of, _, counts in groups:
                counts.update(of[row].tolist())
        if len(taken) == k or looked == most:
            return Chosen(near[taken], similarities[taken], folded, capped)
        looked = min(most, 4 * looked)


def away_from(vector: np.ndarray, unwanted: np.ndarray) -> np.ndarray:
    """Turn a query [dim] away from a centre of unwanted tracks, float64 [dim] of any length.

    The unit vector of the query less :data:`AWAY` times that of the centre: the formula of Rocchio
    (1971; Manning, Raghavan & Schütze 2008, section 9.1.1) without wanted examples. The mean cosine
    of the k nearest to the centre never rises by it.

    Raises EmbeddingsError where nothing of the query is left.
    """
    query, other = unit_vectors(np.stack([vector, unwanted]))
    if np.abs(query - other).max() < _ROUNDING:
        raise EmbeddingsError("--less names what is asked for: it leads nowhere else")
    return query - AWAY * other


def song_path(embeddings: np.ndarray, first: int, last: int, steps: int) -> np.ndarray:
    """Find a path of tracks between two, rows int64 [at most steps + 1], none twice.

    Of all paths of at most so many steps it is one whose largest step, in cosine distance, is as
    small as can be, and of these the one whose steps have the smallest sum: half the sum of their
    squared straight distances, which is small where steps are small and even. If it has fewer
    steps, tracks are put in between, where they add least to the sum, as long as no step
    becomes larger than the largest; so it has fewer only if there are none left that fit.

    Layers of paths by their number of steps (Bellman 1958); the work of a layer is at most that of
    all pairs of tracks.

    Raises EmbeddingsError for a path from a track to itself, or more than :data:`LARGEST_PATH`.
    """
    tracks = len(embeddings)
    if first == last:
        raise EmbeddingsError("--path: from a track to itself; name two tracks")
    if tracks > LARGEST_PATH:
        raise EmbeddingsError(
            f"--path: {tracks:,} tracks; a path is looked for among {LARGEST_PATH:,} at most"
        )
    units = unit_vectors(embeddings)
    largest = _largest_step(units, first, last, steps)
    path = _most_even(units, first, last, steps, largest)
    return np.array(_filled(units, path, steps, largest), np.int64)


def _distances(units: np.ndarray, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield some of the rows, and their cosine distances to all [some, tracks], in blocks."""
    at_once = max(1, BLOCK_VALUES // len(units))
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        yield some, np.maximum(1 - units[some] @ units.T, 0)


def _largest_step(units: np.ndarray, first: int, last: int, steps: int) -> float:
    """Return the largest step of a path of at most so many steps that has it as small as can be."""
    best = np.full(len(units), np.inf)
    best[first] = 0
    changed = np.array([first])
    for _ in range(steps):
        new = best.copy()
        for some, distances in _distances(units, changed[best[changed] < best[last]]):
            np.maximum(distances, best[some, np.newaxis], out=distances)
            np.minimum(new, distances.min(axis=0), out=new)
        changed = np.flatnonzero(new < best)
        best = new
        if not len(changed):
            break
    return float(best[last]) + _ROUNDING  # the same distance is another by some last bits


def _most_even(units: np.ndarray, first: int, last: int, steps: int, largest: float) -> list[int]:
    """Return the path of the smallest sum of at most so many steps, none above the largest."""
    sums = np.full(len(units), np.inf)
    sums[first] = 0
    changed = np.array([first])
    before: list[np.ndarray] = []  # by layer, the track before each one that it changed, or −1
    for _ in range(steps):
        new, came = sums.copy(), np.full(len(units), -1)
        for some, distances in _distances(units, changed[sums[changed] < sums[last]]):
            distances[distances > largest] = np.inf
            distances += sums[some, np.newaxis]
            nearest = distances.argmin(axis=0)
            reached = distances[nearest, np.arange(len(units))]
            better = reached < new
            new[better], came[better] = reached[better], some[nearest[better]]
        changed = np.flatnonzero(new < sums)
        sums = new
        before.append(came)
        if not len(changed):
            break
    path = [last]
    for came in reversed(before):
        if came[path[-1]] >= 0:
            path.append(int(came[path[-1]]))
    return path[::-1]


def _filled(units: np.ndarray, path: list[int], steps: int, largest: float) -> list[int]:
    """Put tracks into a path until it has so many steps, or none fits."""
    free = np.ones(len(units), bool)
    free[path] = False

    def between(a: int, b: int) -> tuple[float, int]:
        """Find the track between two that adds least to the sum, and what it adds."""
        to_a, to_b = (np.maximum(1 - units @ units[row], 0) for row in (a, b))
        fits = free & (to_a <= largest) & (to_b <= largest)
        added = np.where(fits, to_a + to_b, np.inf)
        row = int(np.argmin(added))
        return float(added[row] - to_a[b]), row

    best = [between(a, b) for a, b in itertools.pairwise(path)]
    while len(path) <= steps:
        place = min(range(len(best)), key=lambda i: best[i])
        added, row = best[place]
        if added == np.inf:
            break
        free[row] = False
        a, b = path[place], path[place + 1]
        path.insert(place + 1, row)
        best[place : place + 1] = [between(a, row), between(row, b)]
        for i, (_, other) in enumerate(best):
            if other == row:
                best[i] = between(path[i], path[i + 1])
    return path
