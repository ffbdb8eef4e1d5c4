"""The tracks with which each track shares most groups: the table behind ``playlist_tco``."""

from __future__ import annotations

import itertools
import logging
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.files import content_key, kept, read_arrays, whole, write_arrays
from playlist_pretrain.kernels import compiled
from playlist_pretrain.messages import progress
from playlist_pretrain.playlists.groups import groups_of_tracks, short_enough

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups

logger = logging.getLogger(__name__)
TOP = 10
FORMAT = 1
PARTS = 400
"""Parts of about equal work; enough that progress moves and no thread waits long for another."""


@dataclass(frozen=True, eq=False)
class TopTable:
    """The tracks with which each track shares most groups.

    ``rows`` (int32 [tracks, top]) are ordered by count descending, then by row ascending, −1 where
    there are fewer; ``counts`` (int32 [tracks, top]) are numbers of shared groups. ``left_out``
    groups were too long to take part.
    """

    rows: np.ndarray
    counts: np.ndarray
    left_out: int


def top_table(
    groups: TrackGroups,
    *,
    top: int = TOP,
    max_group_length: int = 1000,
    threads: int | None = None,
) -> TopTable:
    """Count co-occurrences over all groups and keep the largest of each track.

    The whole matrix A·Aᵀ of arXiv 2304.12257's Top Co-Occurrence is never made: each track's row
    is counted, searched and forgotten. A track does not co-occur with itself.

    ``top`` tracks are kept for each; groups longer than ``max_group_length`` are left out, since
    the work is the sum of the squared lengths. ``threads`` are by default as many as there are
    cores; the table does not depend on them.

    Memory: 12 bytes an entry, 8 · ``top`` bytes a track, and 2 to 4 bytes a track and thread.
    """
    threads = threads or len(os.sched_getaffinity(0))
    left_out = int(np.count_nonzero(groups.lengths > max_group_length))
    if left_out:
        groups = groups.select(groups.lengths <= max_group_length)
    tracks = groups.tracks
    popularity = np.bincount(groups.rows, minlength=tracks)
    # Counters of popular tracks are touched most: side by side they stay in the cache.
    by_rank = np.argsort(-popularity, kind="stable").astype(np.int32)
    rank_of = np.empty(tracks, np.int32)
    rank_of[by_rank] = np.arange(tracks, dtype=np.int32)
    ranks = rank_of[groups.rows]
    starts, group_of = groups_of_tracks(groups.indptr, ranks, tracks)
    rows = np.full((tracks, top), -1, np.int32)
    counts = np.zeros((tracks, top), np.int32)
    kind = np.uint16 if popularity.max(initial=0) < 2**16 else np.int32

    def part(first: int, last: int) -> int:
        counter = np.zeros(tracks, kind)
        count_rows(
            groups.indptr, ranks, starts, group_of, by_rank, first, last, counter, rows, counts
        )
        return last - first

    used = int(np.count_nonzero(popularity))
    cuts = np.searchsorted(starts, np.linspace(0, len(ranks), PARTS + 1), side="right") - 1
    cuts = np.unique(np.minimum(cuts, used)).tolist()
    with (
        ThreadPoolExecutor(threads) as executor,
        progress(total=used, desc="co-occurrences", unit="track") as bar,
    ):
        waiting = [executor.submit(part, *ends) for ends in itertools.pairwise(cuts)]
        try:
            for done in as_completed(waiting):
                bar.update(done.result())
        except BaseException:  # Ctrl-C too: what has not begun need not be waited for
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return TopTable(rows, counts, left_out)


@compiled
def count_rows(indptr, ranks, starts, group_of, by_rank, first, last, counter, rows, counts):
    """Count the co-occurrences of some tracks and keep the largest of each.

    ``indptr`` and ``ranks`` are groups whose tracks are given by their rank, ``starts`` and
    ``group_of`` the groups of every rank, ``by_rank`` has the row of each. Ranks ``first … last −
    1`` are counted. ``counter`` ([tracks]) holds zeros of a type for any number of groups of a
    track, and zeros again afterwards. ``rows`` and ``counts`` (int32 [tracks, top]) are filled
    where they belong to these ranks.
    """
    top = rows.shape[1]
    touched = np.empty(len(counter), np.int32)
    best_count = np.empty(top + 1, np.int64)
    best_row = np.empty(top + 1, np.int64)
    for rank in range(first, last):
        size = 0
        for place in range(starts[rank], starts[rank + 1]):
            group = group_of[place]
            for entry in range(indptr[group], indptr[group + 1]):
                other = ranks[entry]
                if counter[other] == 0:
                    touched[size] = other
                    size += 1
                counter[other] += 1
        found = 0
        for i in range(size):
            other = touched[i]
            count = np.int64(counter[other])
            counter[other] = 0
            if other == rank or (found == top and count < best_count[top - 1]):
                continue
            row = np.int64(by_rank[other])
            if found == top and count == best_count[top - 1] and row > best_row[top - 1]:
                continue
            place = min(found, top - 1)
            while place > 0 and (
                best_count[place - 1] < count
                or (best_count[place - 1] == count and best_row[place - 1] > row)
            ):
                best_count[place] = best_count[place - 1]
                best_row[place] = best_row[place - 1]
                place -= 1
            best_count[place] = count
            best_row[place] = row
            found = min(found + 1, top)
        own = by_rank[rank]
        for i in range(found):
            rows[own, i] = best_row[i]
            counts[own, i] = best_count[i]


def table_path(
    groups: TrackGroups, folder: Path, *, top: int = TOP, max_group_length: int = 1000
) -> Path:
    """File of the table of these groups and settings; its name holds a key of both."""
    settings = f"top {top}, longest {max_group_length}, format {FORMAT}"
    key = content_key(groups.content_key.encode(), settings.encode())[:16]
    return folder / f"tco-{groups.name}-{key}.npz"


def cached_top_table(
    groups: TrackGroups,
    folder: Path,
    *,
    top: int = TOP,
    max_group_length: int = 1000,
) -> TopTable:
    """Read the table of these groups from ``folder``, or make and keep it.

    Raises GroupsError: if no group is short enough.
    """
    short_enough(groups, max_group_length)
    path = table_path(groups, folder, top=top, max_group_length=max_group_length)
    table = kept(
        path,
        lambda: load_table(path, groups.tracks, top),
        lambda: top_table(groups, top=top, max_group_length=max_group_length),
        lambda table: save_table(table, path),
    )
    if table.left_out:
        logger.info(
            f"{table.left_out:,} groups of more than {max_group_length:,} tracks are left out of "
            "the co-occurrences"
        )
    return table


def save_table(table: TopTable, path: Path) -> None:
    """Write a table, whole or not at all; equal tables give equal bytes."""
    header = {"format": FORMAT, "left_out": table.left_out}
    write_arrays(path, header, rows=table.rows.astype("<i4"), counts=table.counts.astype("<i4"))


def load_table(path: Path, tracks: int, top: int = TOP) -> TopTable:
    """Read the table that :func:`save_table` wrote.

    Raises GroupsError: if the file is damaged, foreign or of another size.
    """
    with whole(path, "table"):
        header, arrays = read_arrays(path, FORMAT)
        rows, counts = arrays["rows"], arrays["counts"]
        for array in (rows, counts):
            if array.shape != (tracks, top) or array.dtype != np.dtype("<i4"):
                raise ValueError(f"{array.dtype} {array.shape}, not int32 ({tracks}, {top})")
        if rows.size and (rows.min() < -1 or rows.max() >= tracks):
            raise ValueError("rows that are not in the collection")
        if not np.array_equal(rows >= 0, counts > 0):
            raise ValueError("rows and counts that do not fit together")
        return TopTable(rows, counts, int(header["left_out"]))
