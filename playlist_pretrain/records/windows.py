"""Windows of a collection, read by their bytes alone, and where the windows of tracks start.

>>> reader = WindowReader(Collection.open("tfrecords/mine"), frames=256, short="repeat")
>>> reader.read(rows=[3, 7], starts=[0, 120]).shape
(2, 256, 96)

Windows that do not overlap, of the central 30 seconds of each source: one full-length collection
serves training and validation on a central excerpt and a test on whole tracks.

>>> positions = window_positions(reader, rows, seconds=30)
>>> windows = reader.read(positions.rows, positions.starts)  # of the tracks positions.tracks
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import math
import os
import resource
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from playlist_pretrain.audio.windows import SHORT
from playlist_pretrain.errors import CollectionError, RecipeError, TrackError
from playlist_pretrain.kernels import jit
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.schema import MEL_DTYPE
from playlist_pretrain.storage import is_remote, read_ranges

if TYPE_CHECKING:
    import tensorflow as tf

Read = TypeVar("Read")
LOCAL_CALLS, REMOTE_CALLS = 2, 4
"""Batches that are read at the same time: more where answers take their time."""


class WindowReader:
    """Reader of windows of ``frames`` frames, and only their bytes; safe in many threads at once.

    Its files are closed when it is garbage collected. From a remote collection the windows of one
    call are fetched all at once.

    Parameters
    ----------
    short : {"skip", "repeat", "pad"}
        A track with fewer frames than a window cannot be read, is repeated from its start, or is
        followed by the front end's silence. See :data:`playlist_pretrain.audio.windows.SHORT` for
        what each command does.

    Attributes
    ----------
    usable : ndarray [shape=(tracks,), bool]
        False for short tracks under ``"skip"``.
    error : Exception or None
        The first exception inside the latest iteration of a :func:`window_dataset` on this
        reader. TensorFlow wraps it into an error of its own; raise this one instead.
    calls : int
        Batches that are best read at the same time.
    """

    def __init__(self, collection: Collection, frames: int, short: str = "skip"):
        if short not in SHORT:
            raise RecipeError(f"short tracks: {short!r} is none of {', '.join(SHORT)}")
        if frames < 1:
            raise RecipeError(f"a window of {frames} frames: it needs at least one")
        self.collection = collection
        self.frames = int(frames)
        self.short = short
        self.error: Exception | None = None
        self.pool = BufferPool()
        self._last = np.maximum(collection.frames - self.frames, 0)
        self._long = collection.frames >= self.frames
        self.usable = self._long if short == "skip" else np.ones(len(collection), bool)
        self._frame_bytes = collection.front_end.bands * MEL_DTYPE.itemsize
        # The bit pattern that follows a short track; below zero stands for "repeat it".
        silence = np.array(collection.front_end.silence, MEL_DTYPE)
        self._filler = -1 if short == "repeat" else int(silence.view(np.uint16))
        self._remote = is_remote(collection.path)
        self.calls = REMOTE_CALLS if self._remote else LOCAL_CALLS
        if self._remote:
            return
        self._fill_window = fill_kernel()
        descriptors = open_files(collection.shard_paths)
        weakref.finalize(self, close_files, descriptors).atexit = False
        self._descriptors = np.array(descriptors, np.int32)

    def last_start(self, rows: np.ndarray) -> np.ndarray:
        """The last frame a window of each row may start at: 0 for short tracks."""
        return self._last[rows]

    def read(self, rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Windows of ``rows`` [n, int] starting at frames ``starts`` [n, int].

        They are float16 [shape=(n, frames, bands)] on recycled memory, which is left alone while
        the array or any view of it lives.

        Raises
        ------
        CollectionError
            A row or a start that does not exist, or a shard that no longer holds the window or
            cannot be reached.
        TrackError
            A track shorter than a window when ``short`` is ``"skip"``.
        """
        rows, starts = np.asarray(rows), np.asarray(starts)
        self._check(rows, starts)
        c = self.collection
        shape = (len(rows), self.frames, c.front_end.bands)
        if not len(rows):
            return np.empty(shape, MEL_DTYPE)
        windows = self.pool.take(shape, MEL_DTYPE)
        lines = windows.view(np.uint16).reshape(len(rows), -1)
        shards = c.shard[rows]
        offsets = c.offset[rows] + starts.astype(np.int64) * self._frame_bytes
        sizes = np.minimum(c.frames[rows], self.frames).astype(np.int64) * self._frame_bytes
        if self._remote:
            position, what = fill_from_servers(
                lines, c.shard_paths, shards, offsets, sizes, self._filler
            )
        else:
            position, code = self._fill_window(
                lines, self._descriptors[shards], offsets, sizes, self._filler
            )
            what = os.strerror(code) if code else "the file ends before it: it was cut or replaced"
        if position >= 0:
            row = int(rows[position])
            raise CollectionError(
                f"{c.shard_paths[c.shard[row]]}: cannot read the window at frame "
                f"{int(starts[position])} of track {c.track_ids[row]!r} (row {row}): {what}"
            )
        return windows

    def _check(self, rows: np.ndarray, starts: np.ndarray) -> None:
        if rows.ndim != 1 or rows.shape != starts.shape:
            raise ValueError(f"rows {rows.shape} and starts {starts.shape}: needed are two (n,)")
        if len(rows) and (rows.dtype.kind not in "iu" or starts.dtype.kind not in "iu"):
            raise ValueError(f"rows {rows.dtype} and starts {starts.dtype}: needed are integers")
        _check_rows(self.collection, rows)
        rows, c = rows.astype(np.int64, copy=False), self.collection
        if self.short == "skip" and not self._long[rows].all():
            row = rows[~self._long[rows]][0]
            raise TrackError(
                f"track {c.track_ids[row]}: {c.frames[row]} frames, a window needs {self.frames}"
            )
        outside = (starts < 0) | (starts > self._last[rows])
        if outside.any():
            i = np.flatnonzero(outside)[0]
            raise CollectionError(
                f"{c.path}: a window at frame {starts[i]} of track {c.track_ids[rows[i]]!r}, "
                f"where the last starts at {self._last[rows[i]]}"
            )


def _check_rows(collection: Collection, rows: np.ndarray) -> None:
    if len(rows) and (rows.min() < 0 or rows.max() >= len(collection)):
        wrong = rows[(rows < 0) | (rows >= len(collection))][0]
        raise CollectionError(f"{collection.path}: row {wrong} of {len(collection)} tracks")


def window_dataset(
    reader: WindowReader,
    requests: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]],
    *,
    batch: int,
    parts: int = 1,
) -> tf.data.Dataset:
    """Batches of windows as a ``tf.data.Dataset``, in the order of the requests.

    Windows stay float16 until the model casts them, on its device: half the bytes to move.

    ``requests()`` is called once an iteration and returns an iterable of ``(rows, starts)``, two
    integer arrays [shape=(parts, batch)]. Elements are ``parts`` tensors [shape=(batch, frames,
    bands), float16], 2 for pairs (x, y); a tensor and not a tuple when ``parts`` is 1. An exception
    in ``requests`` or in reading ends the iteration with an error of TensorFlow's; the original is
    ``reader.error``.
    """
    import tensorflow as tf

    shape = (batch, reader.frames, reader.collection.front_end.bands)
    # What is read ahead, and four on their way: handed over, prefetched, in use, and let go by
    # TensorFlow without Python's knowing yet.
    reader.pool.keep(parts * (2 * reader.calls + 4))

    # TensorFlow never forgets a Python function that a dataset called, so the function refers to
    # what it needs through a list that is emptied when the dataset goes.
    held: list[Any] = [reader, requests]

    def windows() -> Iterator:
        if not held:
            raise RuntimeError(
                "the window dataset is gone: keep it while iterating over its copies"
            )
        reader, requests = held
        reader.error = None

        def read(rows: np.ndarray, starts: np.ndarray) -> Any:
            if not np.shape(rows) == np.shape(starts) == (parts, batch):
                raise ValueError(
                    f"a request of shapes {np.shape(rows)}, {np.shape(starts)}, not "
                    f"{(parts, batch)}"
                )
            tensors = tuple(reader.read(rows[part], starts[part]) for part in range(parts))
            return tensors if parts > 1 else tensors[0]

        try:
            yield from read_ahead(read, requests(), reader.calls)
        except Exception as error:
            reader.error = error
            raise

    tensor = tf.TensorSpec(shape, tf.float16)
    options = tf.data.Options()
    # There is nothing to tune, and an iterator waits up to half a second for the tuner to end.
    options.autotune.enabled = False
    dataset = (
        tf.data.Dataset.from_generator(
            windows, output_signature=(tensor,) * parts if parts > 1 else tensor
        )
        .prefetch(1)
        .with_options(options)
    )
    weakref.finalize(dataset, held.clear).atexit = False
    return dataset


def read_ahead(read: Callable[..., Read], requests: Iterable[tuple], calls: int) -> Iterator[Read]:
    """Yield ``read(*request)`` of every request in their order, ``calls`` at the same time.

    As many results wait for whoever iterates. ``read`` is called from several threads.
    """
    # Threads of our own: where TensorFlow enforces determinism it makes every pipeline that
    # starts in Python sequential, and it cannot know that reading has no side effects.
    ahead: deque[Future] = deque()
    executor = ThreadPoolExecutor(calls, thread_name_prefix="windows")
    try:
        for request in requests:
            ahead.append(executor.submit(read, *request))
            if len(ahead) == 2 * calls:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def random_starts(
    last_starts: np.ndarray, seed: int, epoch: int, first_position: int
) -> np.ndarray:
    """Uniform window positions that depend on (seed, epoch, position) and nothing else.

    Not from ``seeds``, as any position must be had without those before it: counter-based
    (Philox4x64-10 with key (seed, epoch), each 0 … 2⁶⁴ − 1): the numbers of a
    position do not depend on how the epoch is cut into batches. ``last_starts`` [shape=(n, k), int]
    are the largest positions allowed, from :meth:`WindowReader.last_start`, for ``n`` successive
    positions of the epoch from ``first_position`` on, with ``k`` windows each.

    Returns int32 [shape=(n, k)], 0 … last start, both included; departs from uniform by less than
    one part in 2³² / (last start + 1).
    """
    last_starts = np.asarray(last_starts)
    n, k = last_starts.shape
    for name, value in (("seed", seed), ("epoch", epoch), ("position", first_position)):
        if not 0 <= value < 2**64:
            raise RecipeError(f"{name} {value}: it must lie in 0 … 2⁶⁴ − 1")
    blocks = -(-k // 4)  # one step of the counter gives four numbers
    philox = np.random.Philox(
        key=np.array([seed, epoch], np.uint64), counter=first_position * blocks
    )
    words = philox.random_raw(n * blocks * 4).reshape(n, blocks * 4)[:, :k]
    choices = last_starts.astype(np.uint64) + np.uint64(1)
    return ((words >> np.uint64(32)) * choices >> np.uint64(32)).astype(np.int32)


class WindowBlock(NamedTuple):
    """Positions of ``n`` windows, track by track: arrays [shape=(n,)].

    ``tracks`` (int64) are the positions of their tracks in the rows that were asked for and never
    decrease; ``rows`` (int32) their rows in the collection; ``starts`` (int32) their first frames.
    """

    tracks: np.ndarray
    rows: np.ndarray
    starts: np.ndarray


def window_positions(
    reader: WindowReader, rows: np.ndarray | None = None, seconds: float | None = None
) -> WindowBlock:
    """Positions of all windows of some tracks that do not overlap.

    The excerpt of a track lies in the centre of its source, wherever the mel in the collection
    begins and ends: a collection of whole files and one of 30-second excerpts give the same
    windows for ``seconds=30``, to within a frame. Of an excerpt that the collection holds in
    part, that part is taken. Where it is shorter than a window, and the mel is not, the one
    window is that nearest to its middle.

    ``rows`` [shape=(tracks,), int] come in any order, by default all; without ``seconds`` whole
    tracks are cut. The reader's ``short`` says whether a short track has one window or none.
    RecipeError for ``seconds`` that are not above 0, CollectionError for a row that does not exist.
    """
    collection = reader.collection
    if seconds is not None and not 0 < seconds < math.inf:
        raise RecipeError(f"an excerpt of {seconds} seconds: it must be above 0")
    rows = np.arange(len(collection)) if rows is None else np.asarray(rows, np.int64)
    _check_rows(collection, rows)
    first, last = np.zeros(len(rows), np.int64), reader.last_start(rows)
    if seconds is not None:
        frames = collection.frames[rows].astype(np.int64)
        begin, end = (np.clip(x, 0, frames) for x in excerpt_frames(collection, rows, seconds))
        missing = np.maximum(reader.frames - (end - begin), 0)
        first = np.clip(begin - missing // 2, 0, last)
        last = np.maximum(end - reader.frames, first)
    counts = np.where(reader.usable[rows], 1 + (last - first) // reader.frames, 0)
    tracks = np.repeat(np.arange(len(rows)), counts)
    number = np.arange(len(tracks)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = first[tracks] + number * reader.frames
    return WindowBlock(tracks, rows[tracks].astype(np.int32), starts.astype(np.int32))


def excerpt_frames(
    collection: Collection, rows: np.ndarray, seconds: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Begin and end of the central ``seconds`` of the sources of ``rows``, in frames of their mels.

    Two arrays [shape=(tracks,), int64], of whole sources where ``seconds`` is None. A begin below
    0 and an end above the mel's frames are not in the collection.
    """
    front_end = collection.front_end
    start, length = (
        np.rint(times[rows].astype(np.float64) * front_end.sample_rate).astype(np.int64)
        for times in (collection.start_seconds, collection.source_seconds)
    )
    # A source is at least as long as what there is of it, whatever its record says.
    frames = collection.frames[rows].astype(np.int64)
    if front_end.framing == "centred":
        fewest = np.maximum((frames - 2) * front_end.hop_length + 1, 1)
    else:
        fewest = (frames - 1) * front_end.hop_length + front_end.frame_length
    length = np.maximum(length, start + fewest)
    taken = length
    if seconds is not None:
        taken = np.minimum(max(1, round(seconds * front_end.sample_rate)), length)
    begin = np.rint(((length - taken) // 2 - start) / front_end.hop_length).astype(np.int64)
    lengths, which = np.unique(taken, return_inverse=True)
    in_frames = np.array([front_end.frames(n) for n in lengths.tolist()], np.int64)
    return begin, begin + in_frames[which].reshape(begin.shape)


def incomplete_excerpts(begin: np.ndarray, end: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Mask [shape=(tracks,), bool] of excerpts that a mel of ``frames`` frames does not hold.

    A frame less at either end is rounding, and no lack.
    """
    return (begin < -1) | (end > frames + 1)


class BufferPool:
    """Arrays on memory that is recycled when nobody refers to it any more; thread-safe.

    Touching fresh memory takes longer than copying a batch into it: without the pool,
    :func:`window_dataset` delivers a third of the windows a second (``benchmarks/windows.py``).
    TensorFlow takes an array that starts at a multiple of 64 bytes without a copy and refers to it
    for as long as any tensor reads it. ``reserve`` unused blocks are kept of ``allocations`` made.
    """

    def __init__(self, reserve: int = 4):
        # Blocks come back from garbage collection, which may interrupt any line of Python in
        # any thread: a lock could meet itself, the operations of a deque are atomic.
        self._free: deque[np.ndarray] = deque()
        self.reserve = reserve
        self.allocations = 0

    def keep(self, blocks: int) -> None:
        """Raise :attr:`reserve` to ``blocks``; it is never lowered."""
        self.reserve = max(self.reserve, blocks)

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array [shape, C order] of whatever values are there, aligned to 64 bytes.

        Its memory returns to the pool when the array and everything made from it without a
        copy (slices, reshapes, tensors) are gone.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        block = None
        while self._free and block is None:
            with contextlib.suppress(IndexError):  # another thread took it
                block = self._free.pop()
                block = block if block.nbytes >= size + 64 else None
        if block is None:
            self.allocations += 1
            block = np.empty(size + 64, np.uint8)
        start = -block.ctypes.data % 64
        # NumPy shortens chains of views: a slice of a view of `block` would refer to `block`
        # alone and outlive the view unseen. It cannot look behind a foreign object, so all that
        # is ever made from the array refers to `lease`, and its end is the end of all of them.
        lease = (ctypes.c_uint8 * size).from_address(block.ctypes.data + start)
        weakref.finalize(lease, self._put, block).atexit = False
        return np.ndarray(shape, dtype, buffer=lease)

    def _put(self, block: np.ndarray) -> None:
        if len(self._free) < self.reserve:
            self._free.append(block)


SPARE_FILES = 256
"""Files beside the shards that the process may open: checkpoints and logs come later."""


def open_files(paths: Sequence[Path]) -> list[int]:
    """Open ``paths`` for random reading, raising the process's limit of open files as needed.

    Returns file descriptors, for :func:`close_files`. CollectionError names the file that cannot
    be opened, and the limit to raise when there are too many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 20 if hard == resource.RLIM_INFINITY else hard
    wanted = min(len(os.listdir("/proc/self/fd")) + len(paths) + SPARE_FILES, most)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    descriptors: list[int] = []
    for path in paths:
        try:
            descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            close_files(descriptors)
            hint = ""
            if error.errno == errno.EMFILE:
                hint = (
                    f": the system allows {hard} open files and the collection has {len(paths)} "
                    f"shards; raise the limit with `ulimit -n {len(paths) + 1024}`"
                )
            raise CollectionError(f"{path}: {error.strerror}{hint}") from error
        # Windows are far apart: what the system would read ahead is read for nothing.
        os.posix_fadvise(descriptors[-1], 0, 0, os.POSIX_FADV_RANDOM)
    return descriptors


def close_files(descriptors: Sequence[int]) -> None:
    """Close what :func:`open_files` opened."""
    for descriptor in descriptors:
        os.close(descriptor)


# Numba keeps compiled code between processes for functions of a module, not for closures, so the
# functions of libc are names of the module; fill_kernel() gives them their meaning.
_pread = _errno_location = None
_INTERRUPTED = errno.EINTR


@functools.cache
def fill_kernel() -> Callable:
    """The compiled function that fills an array with pieces of files.

    ``fill(out, descriptors, offsets, sizes, filler) -> (line, code)`` reads ``sizes[i]`` bytes at
    ``offsets[i]`` of file ``descriptors[i]`` into line ``i`` of ``out`` [uint16, C order]. What
    is left of the line is the piece again and again when ``filler`` is negative, else
    ``filler``. It returns ``(-1, 0)``, or the line that could not be read with the system's
    error number, 0 for a file that ends too early.
    """
    from numba import types

    global _pread, _errno_location
    _pread = types.ExternalFunction(
        "pread", types.int64(types.int32, types.uintp, types.uintp, types.int64)
    )
    _errno_location = types.ExternalFunction("__errno_location", types.CPointer(types.int32)())
    signature = types.UniTuple(types.int64, 2)(
        types.uint16[:, ::1], types.int32[::1], types.int64[::1], types.int64[::1], types.int64
    )
    return jit(_fill, signature)


def _fill(out, descriptors, offsets, sizes, filler):
    line_bytes = out.shape[1] * 2
    for i in range(out.shape[0]):
        address = out.ctypes.data + i * line_bytes
        done = 0
        while done < sizes[i]:
            count = _pread(descriptors[i], address + done, sizes[i] - done, offsets[i] + done)
            if count > 0:
                done += count
            elif count == 0:
                return i, 0
            else:
                code = _errno_location()[0]
                if code != _INTERRUPTED:
                    return i, code
        period = sizes[i] // 2
        for j in range(period, out.shape[1]):
            out[i, j] = out[i, j - period] if filler < 0 else filler
    return -1, 0


LARGEST_GAP = 64 * 1024
"""Bytes between two pieces that are read for nothing rather than asking twice: some milliseconds
of a connection that takes tens of them to answer."""
LARGEST_BLOCK = 1024 * 1024
"""Bytes of one request at most, unless one piece is larger: several connections are faster."""


def blocks_of(files: np.ndarray, offsets: np.ndarray, sizes: np.ndarray) -> list[list[int]]:
    """Group pieces that one request reads, neighbours in one file; lists of positions.

    Piece ``i`` is ``sizes[i]`` bytes at ``offsets[i]`` of file ``files[i]``.
    """
    blocks: list[list[int]] = []
    file, first, last = -1, 0, 0
    for i in np.lexsort((offsets, files)).tolist():
        end = max(last, offsets[i] + sizes[i])
        apart = offsets[i] > last + LARGEST_GAP or end - first > LARGEST_BLOCK
        if not blocks or files[i] != file or apart:
            file, first, end = files[i], offsets[i], offsets[i] + sizes[i]
            blocks.append([])
        blocks[-1].append(i)
        last = end
    return blocks


def fill_from_servers(
    out: np.ndarray,
    paths: Sequence[Path],
    files: np.ndarray,
    offsets: np.ndarray,
    sizes: np.ndarray,
    filler: int,
) -> tuple[int, str]:
    """Fill an array with pieces of remote files, all at once; see :func:`fill_kernel`.

    Returns ``(-1, "")``, or a line that could not be read, and why.
    """
    blocks = blocks_of(files, offsets, sizes)
    starts = [int(offsets[lines].min()) for lines in blocks]
    ends = [int((offsets[lines] + sizes[lines]).max()) for lines in blocks]
    block_paths = [paths[files[lines[0]]] for lines in blocks]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    answers = read_ranges(block_paths, starts, lengths)
    for lines, start, path, data in zip(blocks, starts, block_paths, answers, strict=True):
        if isinstance(data, CollectionError):
            return lines[0], str(data).removeprefix(f"{path}: ")
        for i in lines:
            at, values = int(offsets[i]) - start, int(sizes[i]) // 2
            if at + 2 * values > len(data):
                return i, "ends too early: it was cut or replaced"
            out[i, :values] = np.frombuffer(data, np.uint16, values, at)
            rest = out[i, values:]
            rest[:] = np.resize(out[i, :values], len(rest)) if filler < 0 else filler
    return -1, ""
