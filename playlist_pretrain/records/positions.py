"""Which windows of which tracks are read: all that do not overlap, or random ones.

Both may be confined to the central seconds of a track's source, so that one full-length
collection serves training and validation on a central excerpt and a test on whole tracks.

>>> reader = WindowReader(collection, frames=256, short="repeat")
>>> positions = WindowPositions(reader, rows, seconds=30)
>>> for block in positions.blocks(64):
...     predictions = model(reader.read(block.rows, block.starts))  # of the tracks block.tracks
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import CollectionError, RecipeError
from playlist_pretrain.records.windows import WindowReader, random_starts

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.records.collection import Collection

#: Tracks whose excerpts are worked out together.
TRACKS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class WindowBlock:
    """Some successive windows.

    Attributes
    ----------
    tracks : ndarray [shape=(n,), int64]
        Position of each window's track in :attr:`WindowPositions.rows`; never decreases.
    rows : ndarray [shape=(n,), int32]
        Row of each window in the collection.
    starts : ndarray [shape=(n,), int32]
        Frame each window starts at.
    """

    tracks: np.ndarray
    rows: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __add__(self, other: WindowBlock) -> WindowBlock:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return WindowBlock(*map(np.concatenate, pairs))

    def __getitem__(self, part: slice) -> WindowBlock:
        return WindowBlock(*(array[part] for array in vars(self).values()))


_NO_WINDOWS = WindowBlock(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int32))


class WindowPositions:
    """Where windows of some tracks start, in the order of the tracks.

    The excerpt of a track lies in the centre of its source, wherever the mel in the collection
    begins and ends: a collection of whole files and one of 30-second excerpts give the same
    windows for ``seconds=30``, to within a frame. Of an excerpt that the collection holds in
    part, that part is taken. Where it is shorter than a window, and the mel is not, the one
    window is that nearest to its middle.

    Parameters
    ----------
    reader : WindowReader
        Its ``frames`` is the length of a window; its ``short`` says whether a track shorter
        than that has one window or none.
    rows : array_like [shape=(tracks,), int], optional
        Rows of the collection, in any order; default all.
    seconds : float, optional
        Length of the excerpt; None for whole tracks.

    Attributes
    ----------
    rows : ndarray [shape=(tracks,), int32]
    windows : int
        Windows that do not overlap, over all tracks.
    left_out : int
        Tracks without a window: shorter than one, and ``short`` is ``"skip"``.
    incomplete : int
        Tracks of whose excerpt the collection lacks more than a frame at either end.

    Raises
    ------
    RecipeError
        ``seconds`` that are not above 0.
    CollectionError
        A row that does not exist.
    """

    def __init__(
        self, reader: WindowReader, rows: np.ndarray | None = None, seconds: float | None = None
    ):
        if seconds is not None and not 0 < seconds < math.inf:
            raise RecipeError(f"an excerpt of {seconds} seconds: it must be above 0")
        tracks = len(reader.collection)
        rows = np.arange(tracks, dtype=np.int32) if rows is None else np.asarray(rows)
        outside = rows[(rows < 0) | (rows >= tracks)]
        if len(outside):
            raise CollectionError(f"{reader.collection.path}: row {outside[0]} of {tracks} tracks")
        self.reader, self.seconds = reader, seconds
        self.rows = rows.astype(np.int32, copy=False)
        self.windows = self.left_out = self.incomplete = 0
        for _, part in self._parts():
            begin, last, incomplete = self._spans(part)
            counts = self._counts(part, begin, last)
            self.windows += int(counts.sum())
            self.left_out += int((counts == 0).sum())
            self.incomplete += int(incomplete.sum())

    def blocks(self, size: int) -> Iterator[WindowBlock]:
        """Windows that do not overlap, ``size`` at a time; the last block may have fewer.

        Memory grows with ``size`` alone, not with the number of tracks nor with their length.
        """
        waiting = _NO_WINDOWS
        for first, rows in self._parts():
            begin, last, _ = self._spans(rows)
            ends = np.cumsum(self._counts(rows, begin, last))
            done = 0
            while done < ends[-1]:
                number = np.arange(done, min(done + size - len(waiting), ends[-1]))
                track = np.searchsorted(ends, number, side="right")
                before = np.where(track > 0, ends[track - 1], 0)
                starts = begin[track] + (number - before) * self.reader.frames
                waiting += WindowBlock(first + track, rows[track], starts.astype(np.int32))
                done += len(number)
                if len(waiting) == size:
                    yield waiting
                    waiting = waiting[:0]
        if len(waiting):
            yield waiting

    def one_block(self) -> WindowBlock:
        """All windows that do not overlap; grows with their number."""
        return next(self.blocks(max(self.windows, 1)), _NO_WINDOWS)

    def requests(self, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The blocks as :func:`~playlist_pretrain.records.windows.window_dataset` wants them.

        Yields ``(rows, starts)`` [shape=(1, batch), int32] for each of ``blocks(batch)``. The
        last is filled up with its last window: of its batch, only as many as the block has count.
        """
        for block in self.blocks(batch):
            fill = (0, batch - len(block))
            rows, starts = (np.pad(a, fill, mode="edge")[None] for a in (block.rows, block.starts))
            yield rows, starts

    def random_starts(
        self, tracks: np.ndarray, seed: int, epoch: int, first_position: int
    ) -> np.ndarray:
        """Random windows inside the excerpts, for training.

        Depends on nothing but the arguments, and where excerpts have the same length moves with
        their beginning: a collection of whole files gives the windows of one of excerpts.

        Parameters
        ----------
        tracks : array_like [shape=(n, k), int]
            Positions in :attr:`rows`, for ``n`` successive positions of the epoch.
        seed, epoch, first_position : int
            See :func:`playlist_pretrain.records.windows.random_starts`.

        Returns
        -------
        ndarray [shape=(n, k), int32]
        """
        rows = self.rows[np.asarray(tracks)]
        begin, last, _ = self._spans(rows)
        return begin.astype(np.int32) + random_starts(last - begin, seed, epoch, first_position)

    def _parts(self) -> Iterator[tuple[int, np.ndarray]]:
        for first in range(0, len(self.rows), TRACKS_AT_ONCE):
            yield first, self.rows[first : first + TRACKS_AT_ONCE]

    def _counts(self, rows: np.ndarray, begin: np.ndarray, last: np.ndarray) -> np.ndarray:
        return np.where(self.reader.usable[rows], 1 + (last - begin) // self.reader.frames, 0)

    def _spans(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First and last frame a window may start at, and whether the excerpt is incomplete."""
        frames = self.reader.collection.frames[rows].astype(np.int64)
        begin, end = excerpt_frames(self.reader.collection, rows, self.seconds)
        incomplete = incomplete_excerpts(begin, end, frames)
        if self.seconds is None:
            return np.zeros_like(frames), self.reader.last_start(rows), incomplete
        begin, end = np.clip(begin, 0, frames), np.clip(end, 0, frames)
        missing = np.maximum(self.reader.frames - (end - begin), 0)
        begin = np.clip(begin - missing // 2, 0, self.reader.last_start(rows))
        return begin, np.maximum(end - self.reader.frames, begin), incomplete


def excerpt_frames(
    collection: Collection, rows: np.ndarray, seconds: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Where the central excerpts of some tracks begin and end, in frames of their mels.

    Parameters
    ----------
    collection : Collection
    rows : ndarray [shape=(tracks,), int]
    seconds : float, optional
        Length of the excerpts; None for the whole sources.

    Returns
    -------
    begin, end : ndarray [shape=(tracks,), int64]
        The first frame and the one after the last, wherever the mel begins and ends: a begin
        below 0 and an end above the mel's frames are not in the collection.
    """
    front_end = collection.front_end
    start, length = (
        np.rint(times[rows].astype(np.float64) * front_end.sample_rate).astype(np.int64)
        for times in (collection.start_seconds, collection.source_seconds)
    )
    # A source is at least as long as what there is of it, whatever its record says.
    frames = collection.frames[rows].astype(np.int64)
    length = np.maximum(length, start + _fewest_samples(front_end, frames))
    taken = length
    if seconds is not None:
        taken = np.minimum(max(1, round(seconds * front_end.sample_rate)), length)
    begin = np.rint(((length - taken) // 2 - start) / front_end.hop_length).astype(np.int64)
    lengths, which = np.unique(taken, return_inverse=True)
    in_frames = np.array([front_end.frames(n) for n in lengths.tolist()], np.int64)
    return begin, begin + in_frames[which].reshape(begin.shape)


def incomplete_excerpts(begin: np.ndarray, end: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Which excerpts a mel of so many frames does not hold [shape=(tracks,), bool].

    Rounding to frames, at either end of the mel and of the excerpt, is no lack.
    """
    return (begin < -1) | (end > frames + 1)


def _fewest_samples(front_end: FrontEnd, frames: np.ndarray) -> np.ndarray:
    """The smallest number of samples of which ``front_end`` makes so many frames."""
    if front_end.framing == "centred":
        return np.maximum((frames - 2) * front_end.hop_length + 1, 1)
    return (frames - 1) * front_end.hop_length + front_end.frame_length
