"""With which tracks a track shares most groups: the table behind ``playlist_tco``."""

from __future__ import annotations

import itertools
import json
import os
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import CollectionError, GroupsError, first_line
from playlist_pretrain.files import atomic_write, check_writable, content_key
from playlist_pretrain.messages import progress
from playlist_pretrain.playlists.kernels import compiled
from playlist_pretrain.playlists.split import short_enough
from playlist_pretrain.storage import open_bytes

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.storage import RemotePath

TOP = 10
FORMAT = 1
PARTS = 400
"""Parts of equal work; enough that progress moves and that no thread waits long for another."""


@dataclass(frozen=True, eq=False)
class TopTable:
    """The tracks with which each track shares most groups.

    Attributes
    ----------
    rows : ndarray [shape=(tracks, top), int32]
        By count descending, then by row ascending; −1 where there are fewer.
    counts : ndarray [shape=(tracks, top), int32]
        How many groups are shared; 0 where there is no track.
    left_out : int
        Groups that were too long to take part.
    """

    rows: np.ndarray
    counts: np.ndarray
    left_out: int

    def __post_init__(self):
        if self.rows.shape != self.counts.shape or self.rows.ndim != 2:
            raise GroupsError(f"rows {self.rows.shape} and counts {self.counts.shape} do not fit")


def top_table(
    groups: TrackGroups,
    *,
    top: int = TOP,
    max_group_length: int = 1000,
    threads: int | None = None,
    quiet: bool = True,
) -> TopTable:
    """Count co-occurrences over all groups and keep the largest of each track.

    The whole matrix A·Aᵀ of arXiv 2304.12257's Top Co-Occurrence is never made: each track's row
    is counted, searched and forgotten. A track does not co-occur with itself.

    Parameters
    ----------
    groups : TrackGroups
    top : int
        Tracks to keep for each.
    max_group_length : int
        Longer groups are left out; the work is the sum of the squared lengths.
    threads : int, optional
        As many as there are cores. The table does not depend on it.
    quiet : bool
        No progress.

    Notes
    -----
    Memory: 12 bytes an entry, 8 · ``top`` bytes a track, and 2 to 4 bytes a track and thread.
    """
    threads = threads or len(os.sched_getaffinity(0))
    lengths = groups.lengths
    taking_part = lengths <= max_group_length
    popularity = np.bincount(groups.rows[np.repeat(taking_part, lengths)], minlength=groups.tracks)
    # Counters of popular tracks are touched most: side by side they stay in the cache.
    by_rank = np.argsort(-popularity, kind="stable").astype(np.int32)
    rank_of = np.empty(groups.tracks, np.int32)
    rank_of[by_rank] = np.arange(groups.tracks, dtype=np.int32)
    indptr, ranks, starts, group_of, work = index_by_track(
        groups.indptr, groups.rows, taking_part, rank_of
    )
    rows = np.full((groups.tracks, top), -1, np.int32)
    counts = np.zeros((groups.tracks, top), np.int32)
    kind = np.uint16 if popularity.max(initial=0) < 2**16 else np.int32
    cuts = _equal_work(work, PARTS)
    arrays = indptr, ranks, starts, group_of, by_rank

    def part(first: int, last: int) -> int:
        counter = np.zeros(groups.tracks, kind)
        count_rows(*arrays, first, last, counter, rows, counts)
        return last - first

    with (
        ThreadPoolExecutor(threads) as executor,
        progress(
            total=int(np.count_nonzero(popularity)), quiet=quiet, desc="co-occurrences",
            unit="track",
        ) as bar,
    ):  # fmt: skip
        waiting = [
            executor.submit(part, int(first), int(last))
            for first, last in itertools.pairwise(cuts)
            if first < last
        ]
        try:
            for done in as_completed(waiting):
                bar.update(done.result())
        except BaseException:  # Ctrl-C too: what has not begun need not be waited for
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return TopTable(rows, counts, int((~taking_part).sum()))


def _equal_work(work: np.ndarray, parts: int) -> np.ndarray:
    """Cut points of ranks such that each part has about the same share of ``work``."""
    total = np.cumsum(work, dtype=np.float64)
    if not len(total) or total[-1] == 0:
        return np.zeros(2, np.int64)
    last = int(np.flatnonzero(work)[-1]) + 1
    inner = np.searchsorted(total, total[-1] * np.arange(1, parts) / parts)
    return np.unique(np.concatenate([[0], np.minimum(inner, last), [last]]))


@compiled
def index_by_track(indptr, rows, taking_part, rank_of):
    """The groups that take part, by rank of their tracks, and the groups of every track.

    Parameters
    ----------
    indptr : ndarray [shape=(groups + 1,), int64]
    rows : ndarray [shape=(nnz,), int32]
    taking_part : ndarray [shape=(groups,), bool]
    rank_of : ndarray [shape=(tracks,), int32]
        New number of every track.

    Returns
    -------
    kept_indptr : ndarray [shape=(kept + 1,), int64]
    ranks : ndarray [shape=(kept entries,), int32]
        Tracks of each group, as ranks.
    starts : ndarray [shape=(tracks + 1,), int64]
        Where the groups of each rank begin in ``group_of``.
    group_of : ndarray [shape=(kept entries,), int32]
    work : ndarray [shape=(tracks,), int64]
        Entries that counting the co-occurrences of each rank has to look at.
    """
    tracks = len(rank_of)
    kept = 0
    size = 0
    for group in range(len(indptr) - 1):
        if taking_part[group]:
            kept += 1
            size += indptr[group + 1] - indptr[group]
    kept_indptr = np.zeros(kept + 1, np.int64)
    ranks = np.empty(size, np.int32)
    starts = np.zeros(tracks + 1, np.int64)
    work = np.zeros(tracks, np.int64)
    kept = 0
    write = 0
    for group in range(len(indptr) - 1):
        if taking_part[group]:
            length = indptr[group + 1] - indptr[group]
            for entry in range(indptr[group], indptr[group + 1]):
                rank = rank_of[rows[entry]]
                ranks[write] = rank
                starts[rank + 1] += 1
                work[rank] += length
                write += 1
            kept += 1
            kept_indptr[kept] = write
    for rank in range(tracks):
        starts[rank + 1] += starts[rank]
    free = starts[:-1].copy()
    group_of = np.empty(size, np.int32)
    for group in range(kept):
        for entry in range(kept_indptr[group], kept_indptr[group + 1]):
            rank = ranks[entry]
            group_of[free[rank]] = group
            free[rank] += 1
    return kept_indptr, ranks, starts, group_of, work


@compiled
def count_rows(indptr, ranks, starts, group_of, by_rank, first, last, counter, rows, counts):
    """Count the co-occurrences of some tracks and keep the largest of each.

    Parameters
    ----------
    indptr, ranks, starts, group_of : ndarray
        From :func:`index_by_track`.
    by_rank : ndarray [shape=(tracks,), int32]
        Row of each rank.
    first, last : int
        Ranks ``first … last − 1`` are counted.
    counter : ndarray [shape=(tracks,)]
        Zeros of an unsigned or signed integer type that holds any number of groups of a track;
        zeros again afterwards.
    rows, counts : ndarray [shape=(tracks, top), int32]
        Filled where they belong to these ranks.
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
            place = min(found, top - 1) if found < top else top - 1
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
    groups: TrackGroups, folder: Path | RemotePath, *, top: int, max_group_length: int
) -> Path | RemotePath:
    """Where the table of these groups and settings is kept."""
    settings = f"top {top}, longest {max_group_length}, format {FORMAT}"
    key = content_key(groups.content_key.encode(), settings.encode())[:16]
    return folder / f"tco-{groups.name}-{key}.npz"


def cached_top_table(
    groups: TrackGroups,
    folder: Path | RemotePath,
    *,
    top: int = TOP,
    max_group_length: int = 1000,
    quiet: bool = True,
    say: Callable[[str], object] = lambda text: None,
) -> TopTable:
    """Read the table of these groups from ``folder``, or make and keep it.

    The file is named after the content of the groups and the settings, so groups that change get
    another table. A file that cannot be read is made again.

    Raises
    ------
    GroupsError
        If no group is short enough.
    """
    short_enough(groups, max_group_length)
    path = table_path(groups, folder, top=top, max_group_length=max_group_length)
    table = None
    if path.exists():
        try:
            table = load_table(path, groups.tracks, top)
            say(f"{path}: read")
        except GroupsError as error:
            say(f"{error}; made again")
    if table is None:
        check_writable(folder)
        started = time.monotonic()
        table = top_table(groups, top=top, max_group_length=max_group_length, quiet=quiet)
        save_table(table, path)
        say(f"{path}: co-occurrences counted in {time.monotonic() - started:.1f} s")
    if table.left_out:
        say(
            f"{table.left_out:,} groups of more than {max_group_length:,} tracks are left out of "
            "the co-occurrences"
        )
    return table


def save_table(table: TopTable, path: Path | RemotePath) -> None:
    """Write a table, whole or not at all; equal tables give equal bytes."""
    header = json.dumps({"format": FORMAT, "left_out": table.left_out}).encode()
    with atomic_write(path) as stream:
        np.savez(
            stream,
            header=np.frombuffer(header, np.uint8),
            rows=table.rows.astype("<i4", copy=False),
            counts=table.counts.astype("<i4", copy=False),
        )


def load_table(path: Path | RemotePath, tracks: int, top: int) -> TopTable:
    """Read what :func:`save_table` wrote.

    Raises
    ------
    GroupsError
        If the file is damaged, foreign or of another size.
    """
    try:
        with open_bytes(path) as stream, np.load(stream, allow_pickle=False) as archive:
            if any(i.compress_type != zipfile.ZIP_STORED for i in archive.zip.infolist()):
                raise ValueError("compressed entries")
            header = json.loads(archive["header"].tobytes())
            rows, counts = archive["rows"], archive["counts"]
        if header["format"] != FORMAT or type(header["left_out"]) is not int:
            raise ValueError(f"not format {FORMAT}")
        for array in (rows, counts):
            if array.shape != (tracks, top) or array.dtype != np.dtype("<i4"):
                raise ValueError(f"{array.dtype} {array.shape}, not int32 ({tracks}, {top})")
        if rows.size and (rows.min() < -1 or rows.max() >= tracks):
            raise ValueError("rows that are not in the collection")
        if not np.array_equal(rows >= 0, counts > 0):
            raise ValueError("rows and counts that do not fit together")
    except CollectionError:  # a server that is away is no reason to count again
        raise
    except Exception as error:  # a damaged zip or header fails in a dozen ways
        raise GroupsError(f"{path}: not a whole table ({first_line(error)})") from error
    return TopTable(rows, counts, header["left_out"])
