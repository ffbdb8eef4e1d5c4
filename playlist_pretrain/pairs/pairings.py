"""The pairings of arXiv 2304.12257, section 2.

``playlist_co`` and ``artist_co`` (Co-Occurrence): two tracks of one group. ``playlist_tco`` (Top
Co-Occurrence): a track and one of those with which it shares most playlists. ``simclr`` and
``playlist_w2v``: every track is its own positive.

Randomness is Philox 4×64 keyed by (name, seed, epoch), of which only raw words are used, so equal
seeds give equal pairs on every platform.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import numpy as np

from playlist_pretrain.kernels import compiled
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.playlists.top_table import TopTable
from playlist_pretrain.playlists.word2vec import TrackVectors
from playlist_pretrain.seeds import random_order, random_stream

BLOCK = 65_536


class _MadeAtOnce:
    """Pairings whose pairs of an epoch are made at once."""

    name: str

    def __init__(self, seed: int):
        self.seed = seed
        self._counts: dict[int, int] = {}

    def epoch(self, epoch: int) -> Iterator[np.ndarray]:
        """Yield the pairs of ``epoch`` as arrays [shape=(k, 2), int32], k ≤ 65,536."""
        stream = random_stream(self.name, self.seed, epoch)
        pairs = self._pairs(stream)
        self._counts[epoch] = len(pairs)
        order = self._order(stream, len(pairs))
        for start in range(0, len(pairs), BLOCK):
            yield pairs[order[start : start + BLOCK]]

    def count(self, epoch: int) -> int:
        """Number of pairs of ``epoch``; makes them once and remembers their number."""
        if epoch not in self._counts:
            self._counts[epoch] = len(self._pairs(random_stream(self.name, self.seed, epoch)))
        return self._counts[epoch]

    @cached_property
    def expected_pairs(self) -> float:
        """Mean number of pairs of epochs 0, 1 and 2."""
        return sum(map(self.count, range(3))) / 3

    def _pairs(self, stream: np.random.Philox) -> np.ndarray:
        """The pairs of an epoch in the order in which they are made [shape=(k, 2), int32]."""
        raise NotImplementedError

    def _order(self, stream: np.random.Philox, size: int) -> np.ndarray:
        """Order in which the pairs are used: shuffled over the whole epoch.

        The paper does not say. In the order in which they are made the pairs of one group would
        meet in one batch, each a false negative of the others.
        """
        return random_order(stream, size)


class PlaylistCoOccurrence(_MadeAtOnce):
    """Pairing ``playlist_co``.

    Groups are visited in random order; the tracks of a group that are still available are paired
    at random, ⌊n/2⌋ pairs, and are not available any more. Every epoch starts anew. Which of the
    two tracks is the anchor is random too.

    An epoch takes memory for one word a group, two a track and its pairs; ``epoch`` makes all
    pairs before it yields the first block.
    """

    name = "playlist_co"
    y: Literal["window"] = "window"

    def __init__(self, groups: TrackGroups, seed: int):
        super().__init__(seed)
        self.groups = groups

    @cached_property
    def _covered(self) -> int:
        return int(self.groups.covered.sum())

    def _pairs(self, stream: np.random.Philox) -> np.ndarray:
        pairs = np.empty((self._covered // 2, 2), np.int32)
        made = pair_groups(
            self.groups.indptr,
            self.groups.rows,
            random_order(stream, len(self.groups)),
            stream.random_raw(self._covered),
            np.ones(self.groups.tracks, bool),
            pairs,
        )
        return pairs[:made]


class ArtistCoOccurrence(_MadeAtOnce):
    """Pairing ``artist_co``: Co-Occurrence over artists.

    The tracks of an artist are paired at random, ⌊n/2⌋ pairs. A track comes once in an artist,
    but may come again in another one: repetitions are allowed, since few tracks have several
    artists.
    """

    name = "artist_co"
    y: Literal["window"] = "window"

    def __init__(self, groups: TrackGroups, seed: int):
        super().__init__(seed)
        self.groups = groups

    def count(self, epoch: int) -> int:
        """Number of pairs, the same for every epoch."""
        return int((self.groups.lengths // 2).sum())

    def _pairs(self, stream: np.random.Philox) -> np.ndarray:
        pairs = np.empty((self.count(0), 2), np.int32)
        words = stream.random_raw(len(self.groups.rows))
        pair_within_groups(self.groups.indptr, self.groups.rows, words, pairs)
        return pairs


class TopCoOccurrence(_MadeAtOnce):
    """Pairing ``playlist_tco``.

    The tracks that are still available are visited in random order. Each is paired with a random
    one of its ten most frequent neighbours that is still available, and both are not available
    any more; a track whose neighbours are all taken stays available to others. The visited track
    is the anchor. Pairs are used in the order in which they are made: the visit is random, so
    neighbours do not meet in one batch more often than chance has it.
    """

    name = "playlist_tco"
    y: Literal["window"] = "window"

    def __init__(self, table: TopTable, seed: int):
        super().__init__(seed)
        self.top_table = table

    @cached_property
    def _covered(self) -> np.ndarray:
        return np.flatnonzero(self.top_table.rows[:, 0] >= 0).astype(np.int32)

    def _pairs(self, stream: np.random.Philox) -> np.ndarray:
        order = self._covered[random_order(stream, len(self._covered))]
        pairs = np.empty((len(order) // 2, 2), np.int32)
        available = np.ones(len(self.top_table.rows), bool)
        words = stream.random_raw(len(order))
        return pairs[: pair_with_top(self.top_table.rows, order, words, available, pairs)]

    def _order(self, stream: np.random.Philox, size: int) -> np.ndarray:
        return np.arange(size)


class EveryTrack(_MadeAtOnce):
    """Pairs (i, i) of all given rows, each once an epoch, in random order."""

    def __init__(self, rows: np.ndarray, seed: int):
        super().__init__(seed)
        self.rows = np.asarray(rows, np.int32)

    def count(self, epoch: int) -> int:
        """Number of rows."""
        return len(self.rows)

    def _pairs(self, stream: np.random.Philox) -> np.ndarray:
        return np.repeat(self.rows[:, None], 2, axis=1)


class SimClr(EveryTrack):
    """Pairing ``simclr``: x and y are two views of one window of a track."""

    name = "simclr"
    y: Literal["views"] = "views"


class PlaylistWord2Vec(EveryTrack):
    """Pairing ``playlist_w2v``: y is the Word2Vec vector of the track, of those that have one."""

    name = "playlist_w2v"
    y: Literal["vector"] = "vector"

    def __init__(self, vectors: TrackVectors, tracks: int, seed: int):
        super().__init__(vectors.rows, seed)
        self.table = vectors.table(tracks)


@compiled
def pair_within_groups(indptr, rows, words, pairs):
    """Pair the tracks of every group at random, each group for itself.

    ``words`` (uint64 [nnz]) are random; ``pairs`` (int32 [sum of ⌊length / 2⌋, 2]) is filled group
    after group.
    """
    pool = np.empty(np.diff(indptr).max() if len(indptr) > 1 else 0, np.int32)
    made = 0
    for group in range(len(indptr) - 1):
        first = indptr[group]
        size = indptr[group + 1] - first
        for i in range(size):
            pool[i] = rows[first + i]
        paired = size - size % 2
        for i in range(min(paired, size - 1)):  # Fisher and Yates, as far as it is needed
            fraction = (words[first + i] >> np.uint64(11)) * 2.0**-53  # 0 ≤ fraction < 1
            j = i + int(fraction * (size - i))
            pool[i], pool[j] = pool[j], pool[i]
        for i in range(0, paired, 2):
            pairs[made, 0], pairs[made, 1] = pool[i], pool[i + 1]
            made += 1


@compiled
def pair_groups(indptr, rows, order, words, available, pairs):
    """Pair the available tracks of one group after the other.

    ``order`` (int64 [groups]) are the groups in the order of the visit; of the random ``words``
    (uint64) as many as there are available tracks suffice. ``available`` (bool [tracks]) are the
    tracks that may be paired, afterwards those that were not. ``pairs`` (int32 [m, 2]) is filled
    from its start; the number of pairs made is returned.
    """
    pool = np.empty(np.diff(indptr).max() if len(indptr) > 1 else 0, np.int32)
    made = used = 0
    for group in order:
        size = 0
        for entry in range(indptr[group], indptr[group + 1]):
            row = rows[entry]
            pool[size] = row  # stays only if the next line counts it
            size += available[row]
        paired = size - size % 2
        for i in range(min(paired, size - 1)):  # Fisher and Yates, as far as it is needed
            fraction = (words[used] >> np.uint64(11)) * 2.0**-53  # 0 ≤ fraction < 1
            used += 1
            j = i + int(fraction * (size - i))
            pool[i], pool[j] = pool[j], pool[i]
        for i in range(0, paired, 2):
            pairs[made, 0], pairs[made, 1] = pool[i], pool[i + 1]
            available[pool[i]] = available[pool[i + 1]] = False
            made += 1
    return made


@compiled
def pair_with_top(top_rows, order, words, available, pairs):
    """Pair tracks in the order of a visit with one of their neighbours.

    ``top_rows`` (int32 [tracks, top]) are the neighbours of every track, −1 after the last;
    ``order`` (int32 [n]) the tracks in the order of the visit, with a random word each in ``words``
    (uint64 [n]). ``available`` and ``pairs`` (int32 [n // 2, 2]) are as in :func:`pair_groups`.
    """
    top = top_rows.shape[1]
    free = np.empty(top, np.int32)
    made = 0
    for visit in range(len(order)):
        anchor = order[visit]
        if not available[anchor]:
            continue
        size = 0
        for i in range(top):
            other = top_rows[anchor, i]
            if other < 0:
                break
            free[size] = other  # stays only if the next line counts it
            size += available[other]
        if size:
            fraction = (words[visit] >> np.uint64(11)) * 2.0**-53  # 0 ≤ fraction < 1
            other = free[int(fraction * size)]
            pairs[made, 0], pairs[made, 1] = anchor, other
            available[anchor] = available[other] = False
            made += 1
    return made
