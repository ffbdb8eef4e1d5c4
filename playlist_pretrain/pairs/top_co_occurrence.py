"""Top Co-Occurrence: a track and one of those with which it shares most playlists."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import numpy as np

from playlist_pretrain.pairs.co_occurrence import AHEAD, BLOCK, CountedEpochs, all_available
from playlist_pretrain.playlists.kernels import compiled
from playlist_pretrain.playlists.streams import random_order, random_stream
from playlist_pretrain.playlists.top_table import TopTable


class TopCoOccurrence(CountedEpochs):
    """Pairing ``playlist_tco`` of arXiv 2304.12257, section 2.

    The tracks that are still available are visited in random order. Each is paired with a random
    one of its ten most frequent neighbours that is still available, and both are not available
    any more; a track whose neighbours are all taken stays available to others. The visited track
    is the anchor. Pairs are used in the order in which they are made: the visit is random, so
    neighbours do not meet in one batch more often than chance has it.

    Parameters
    ----------
    table : TopTable
    seed : int

    Notes
    -----
    Randomness is Philox 4×64 keyed by (name, seed, epoch), of which only raw words are used, so
    equal seeds give equal pairs on every platform.
    """

    name = "playlist_tco"
    y: Literal["window"] = "window"

    def __init__(self, table: TopTable, seed: int):
        super().__init__()
        self.top_table = table
        self.seed = seed

    def epoch(self, epoch: int) -> Iterator[np.ndarray]:
        """Yield the pairs of ``epoch`` as arrays [shape=(k, 2), int32], k ≤ 65,536."""
        pairs = self._made(epoch)
        for start in range(0, len(pairs), BLOCK):
            yield pairs[start : start + BLOCK]

    @cached_property
    def _covered(self) -> np.ndarray:
        return np.flatnonzero(self.top_table.rows[:, 0] >= 0).astype(np.int32)

    def _made(self, epoch: int) -> np.ndarray:
        stream = random_stream(self.name, self.seed, epoch)
        order = self._covered[random_order(stream, len(self._covered))]
        pairs = np.empty((len(order) // 2, 2), np.int32)
        available = all_available(len(self.top_table.rows))
        words = stream.random_raw(len(order))
        made = pair_with_top(self.top_table.rows, order, words, available, pairs)
        self._counts[epoch] = made
        return pairs[:made]


@compiled
def pair_with_top(top_rows, order, words, available, pairs):
    """Pair tracks in the order of a visit with one of their neighbours.

    Parameters
    ----------
    top_rows : ndarray [shape=(tracks, top), int32]
        Neighbours of every track, −1 after the last.
    order : ndarray [shape=(n,), int32]
        Tracks in the order of the visit.
    words : ndarray [shape=(n,), uint64]
        A random word a visit.
    available : ndarray [shape=(tracks // 64 + 1,), uint64]
        See :func:`playlist_pretrain.pairs.co_occurrence.all_available`; afterwards the tracks that
        were not paired.
    pairs : ndarray [shape=(n // 2, 2), int32]
        Filled from its start.

    Returns
    -------
    int
        Number of pairs made.
    """
    top = top_rows.shape[1]
    free = np.empty(top, np.int32)
    made = 0
    ahead = np.int64(0)
    for visit in range(len(order)):
        if visit % AHEAD == 0:  # as in pair_groups: lines of the table lie anywhere in memory
            for soon in range(visit + AHEAD, min(visit + 2 * AHEAD, len(order))):
                ahead |= top_rows[order[soon], 0] | top_rows[order[soon], top - 1]
        anchor = order[visit]
        if not (available[anchor >> 6] >> np.uint64(anchor & 63)) & np.uint64(1):
            continue
        size = 0
        for i in range(top):
            other = top_rows[anchor, i]
            if other < 0:
                break
            free[size] = other  # stays only if the next line counts it
            size += np.int64((available[other >> 6] >> np.uint64(other & 63)) & np.uint64(1))
        if size:
            fraction = (words[visit] >> np.uint64(11)) * 2.0**-53  # 0 ≤ fraction < 1
            other = free[int(fraction * size)]
            pairs[made, 0], pairs[made, 1] = anchor, other
            for row in (anchor, other):
                available[row >> 6] &= ~(np.uint64(1) << np.uint64(row & 63))
            made += 1
    return made if ahead >= -1 else -1
