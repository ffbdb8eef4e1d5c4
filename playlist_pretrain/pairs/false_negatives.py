"""False negatives: tracks of one batch that belong together though they are no pair."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from playlist_pretrain.kernels import compiled
from playlist_pretrain.playlists.groups import TrackGroups, groups_of_tracks


@dataclass(frozen=True, eq=False)
class FalseNegatives:
    """Finds the projections of a batch that are no negatives of each other.

    Two tracks that share a group, or that are one track drawn twice, are left out of each other's
    negatives, as ``left_out`` of :func:`~playlist_pretrain.models.nt_xent.nt_xent` (Huynh et al.
    2022, arXiv 2011.11765, eliminate false negatives that they guess; groups tell them).

    ``indptr`` (int64 [tracks + 1]) and ``groups`` (int32 [nnz]) are the groups of every track, of
    ``count`` groups in all.
    """

    indptr: np.ndarray
    groups: np.ndarray
    count: int

    @classmethod
    def of(cls, groups: TrackGroups) -> FalseNegatives:
        """Index the groups by their tracks; takes as much memory as the groups themselves."""
        indptr, of_track = groups_of_tracks(groups.indptr, groups.rows, groups.tracks)
        return cls(indptr, of_track, len(groups))

    def left_out(self, pairs: np.ndarray) -> np.ndarray:
        """Mask of the projections of a batch that are no negatives of each other.

        ``pairs`` (int32 [n, 2]) are rows of a batch. The mask (bool [2·n, 2·n]) is symmetric,
        anchors before positives, and False for a projection and itself, and for it and its partner.
        """
        rows = pairs.T.reshape(-1)
        left_out = rows[:, None] == rows[None, :]
        lengths = self.indptr[rows + 1] - self.indptr[rows]
        # The pages of zeros that are never touched cost nothing, however many groups there are.
        latest = np.zeros(self.count, np.int32)
        mark_shared(self.indptr, self.groups, rows, int(lengths.sum()), latest, left_out)
        n = len(pairs)
        either = np.arange(2 * n)
        left_out[either, either] = left_out[either, (either + n) % (2 * n)] = False
        return left_out

    def chance_loss(self, pairs: np.ndarray) -> float:
        """NT-Xent of a batch whose projections say nothing."""
        negatives = 2 * len(pairs) - 2 - self.left_out(pairs).sum(axis=1)
        return float(np.log1p(negatives).mean())

    def share(self, pairs: np.ndarray) -> float:
        """Share of the negatives of a batch that are left out, nan where there are none."""
        size = 2 * len(pairs)
        return self.left_out(pairs).sum() / (size * (size - 2)) if size > 2 else math.nan


@compiled
def mark_shared(indptr, groups, rows, entries, latest, marks):
    """Mark the pairs of positions whose rows have a group in common.

    ``entries`` is the number of groups of all these rows (int32 [n]) together, ``latest`` (int32
    [groups]) zeros that are used up, ``marks`` bool [n, n], filled on both sides of the diagonal.
    """
    # One chain a group: an entry knows its position and the entry of its group before it.
    position_of = np.empty(entries + 1, np.int32)
    before = np.empty(entries + 1, np.int32)
    entry = 0
    for position in range(len(rows)):
        for i in range(indptr[rows[position]], indptr[rows[position] + 1]):
            entry += 1
            other = latest[groups[i]]
            position_of[entry], before[entry] = position, other
            latest[groups[i]] = entry
            while other:
                marks[position, position_of[other]] = True
                marks[position_of[other], position] = True
                other = before[other]
