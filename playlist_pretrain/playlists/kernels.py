"""Loops over all entries of all groups, compiled by Numba when they are first called."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np


def compiled(function: Callable) -> Callable:
    """Compile ``function`` with Numba at its first call; it then runs without the GIL.

    Numba is imported only then, and the compiled code is kept beside the source (or in the user's
    cache folder) for the next process. The plain function stays reachable as ``__wrapped__``.
    """

    @functools.cache
    def kernel():
        import numba

        try:
            return numba.njit(nogil=True, cache=True)(function)
        except RuntimeError:  # neither folder can be written: compile anew in every process
            return numba.njit(nogil=True)(function)

    @functools.wraps(function)
    def call(*arguments):
        return kernel()(*arguments)

    return call


@compiled
def gather_runs(run_group, run_length, entries, groups):
    """Bring the entries of every group together, in the order in which they came.

    ``run_group`` and ``run_length`` (int32 [runs]) tell the group and size of each run of
    ``entries`` (int32 [nnz]). Returns ``indptr`` (int64 [groups + 1]) and ``rows`` (int32 [nnz]).
    """
    indptr = np.zeros(groups + 1, np.int64)
    for run in range(len(run_group)):
        indptr[run_group[run] + 1] += run_length[run]
    for group in range(groups):
        indptr[group + 1] += indptr[group]
    free = indptr[:-1].copy()
    rows = np.empty(len(entries), np.int32)
    read = 0
    for run in range(len(run_group)):
        write = free[run_group[run]]
        for _ in range(run_length[run]):
            rows[write] = entries[read]
            write += 1
            read += 1
        free[run_group[run]] = write
    return indptr, rows


@compiled
def groups_of_tracks(indptr, rows, tracks):
    """Transpose the matrix of groups: the groups of every track, ascending.

    Returns ``starts`` (int64 [tracks + 1]), where the groups of each track begin in ``groups``
    (int32 [nnz]).
    """
    starts = np.zeros(tracks + 1, np.int64)
    for entry in range(len(rows)):
        starts[rows[entry] + 1] += 1
    for track in range(tracks):
        starts[track + 1] += starts[track]
    free = starts[:-1].copy()
    groups = np.empty(len(rows), np.int32)
    for group in range(len(indptr) - 1):
        for entry in range(indptr[group], indptr[group + 1]):
            groups[free[rows[entry]]] = group
            free[rows[entry]] += 1
    return starts, groups


@compiled
def first_in_group(indptr, rows, tracks):
    """Mark the first entry of every track in every group.

    Returns bool [nnz], False where the track comes earlier in the same group.
    """
    first = np.empty(len(rows), np.bool_)
    last_group = np.full(tracks, -1, np.int32)
    for group in range(len(indptr) - 1):
        for entry in range(indptr[group], indptr[group + 1]):
            row = rows[entry]
            first[entry] = last_group[row] != group
            last_group[row] = group
    return first


def filter_groups(
    indptr: np.ndarray,
    rows: np.ndarray,
    keep_group: np.ndarray,
    keep_entry: np.ndarray,
    fewest: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leave out groups and entries, then groups with fewer than ``fewest`` entries.

    Returns ``indptr`` and ``rows`` of the groups that are left, read-only, and the mask of those
    groups.
    """
    before = np.diff(indptr)
    filled = before > 0
    lengths = np.zeros(len(before), np.int64)
    lengths[filled] = np.add.reduceat(keep_entry, indptr[:-1][filled], dtype=np.int64)
    kept = keep_group & (lengths >= fewest)
    left = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[kept])])
    rows = rows[keep_entry & np.repeat(kept, before)]
    left.flags.writeable = rows.flags.writeable = False
    return left, rows, kept
