"""Loops over all entries of all groups, compiled by Numba when they are first called."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np


def compiled(function: Callable) -> Callable:
    """Compile ``function`` with Numba at its first call; it then runs without the GIL.

    Numba is imported only then, and what it made is kept beside the source (or in the user's
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

    Parameters
    ----------
    run_group : ndarray [shape=(runs,), int32]
        Group of each run of entries; a group may have several runs.
    run_length : ndarray [shape=(runs,), int32]
        Entries of each run.
    entries : ndarray [shape=(nnz,), int32]
        Entries of all runs, one run after the other.
    groups : int
        Number of groups.

    Returns
    -------
    indptr : ndarray [shape=(groups + 1,), int64]
    rows : ndarray [shape=(nnz,), int32]
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
def first_in_group(indptr, rows, tracks):
    """Mark the first entry of every track in every group.

    Parameters
    ----------
    indptr : ndarray [shape=(groups + 1,), int64]
    rows : ndarray [shape=(nnz,), int32]
        Each in 0 … tracks − 1.
    tracks : int

    Returns
    -------
    ndarray [shape=(nnz,), bool]
        False where the track comes earlier in the same group.
    """
    first = np.empty(len(rows), np.bool_)
    last_group = np.full(tracks, -1, np.int32)
    for group in range(len(indptr) - 1):
        for entry in range(indptr[group], indptr[group + 1]):
            row = rows[entry]
            first[entry] = last_group[row] != group
            last_group[row] = group
    return first


@compiled
def filter_groups(indptr, rows, keep_group, keep_entry, fewest):
    """Leave out groups and entries, then groups that have become too short.

    Parameters
    ----------
    indptr : ndarray [shape=(groups + 1,), int64]
    rows : ndarray [shape=(nnz,), int32]
    keep_group : ndarray [shape=(groups,), bool]
    keep_entry : ndarray [shape=(nnz,), bool]
    fewest : int
        Groups with fewer entries are left out.

    Returns
    -------
    indptr, rows : ndarray
        Of the groups that are left.
    kept : ndarray [shape=(groups,), bool]
        Which groups they are.
    """
    groups = len(indptr) - 1
    kept = np.zeros(groups, np.bool_)
    left = np.zeros(groups + 1, np.int64)
    size = 0
    for group in range(groups):
        length = 0
        for entry in range(indptr[group], indptr[group + 1]):
            length += keep_entry[entry]
        if keep_group[group] and length >= fewest:
            kept[group] = True
            size += 1
            left[size] = left[size - 1] + length
    filtered = np.empty(left[size], np.int32)
    write = 0
    for group in range(groups):
        if kept[group]:
            for entry in range(indptr[group], indptr[group + 1]):
                if keep_entry[entry]:
                    filtered[write] = rows[entry]
                    write += 1
    return left[: size + 1].copy(), filtered, kept


@compiled
def stable_order(words):
    """What ``np.argsort(words, kind="stable")`` gives, for words drawn at random.

    Words go into as many heaps as leave about eight in each, by their highest bits, and a heap is
    put in order by insertion. Words that agree in these bits would take squared time.

    Parameters
    ----------
    words : ndarray [shape=(n,), uint64]

    Returns
    -------
    ndarray [shape=(n,), int64]
    """
    size = len(words)
    bits = 1
    while size >> bits > 8:
        bits += 1
    shift = np.uint64(64 - bits)
    ends = np.zeros((1 << bits) + 1, np.int64)
    for i in range(size):
        ends[(words[i] >> shift) + np.uint64(1)] += 1
    for heap in range(1 << bits):
        ends[heap + 1] += ends[heap]
    order, keys = np.empty(size, np.int64), np.empty(size, np.uint64)
    for i in range(size):
        heap = words[i] >> shift
        place = ends[heap]  # where the heap before ends, until it is filled
        ends[heap] = place + 1
        order[place], keys[place] = i, words[i]
    start = 0
    for heap in range(1 << bits):
        for i in range(start + 1, ends[heap]):
            number, key = order[i], keys[i]
            place = i
            while place > start and keys[place - 1] > key:
                order[place], keys[place] = order[place - 1], keys[place - 1]
                place -= 1
            order[place], keys[place] = number, key
        start = ends[heap]
    return order
