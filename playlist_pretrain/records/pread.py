"""Reading many pieces of many files outside the interpreter lock.

Reading many pieces of many remote files at once; the remote half of :mod:`.pread`.
"""

from __future__ import annotations

import errno
import functools
import math
import os
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.storage import CutError, RemotePath, read_pieces

_SPARE_FILES = 256


def open_files(paths: Sequence[Path]) -> list[int]:
    """Open ``paths`` for reading at random; the process may hold as many files as that takes.

    Returns
    -------
    list of int
        File descriptors, for :func:`close_files`.

    Raises
    ------
    CollectionError
        Names the file that cannot be opened, and the limit to raise when there are too many.
    """
    descriptors: list[int] = []
    path = None
    try:
        for path in paths:
            descriptors.append(_open(path))
            # Windows are far apart: what the system would read ahead is read for nothing.
            os.posix_fadvise(descriptors[-1], 0, 0, os.POSIX_FADV_RANDOM)
    except OSError as error:
        close_files(descriptors)
        hint = ""
        if error.errno == errno.EMFILE:
            hint = (
                f": the system allows {_limits()[1]} open files and the collection has "
                f"{len(paths)} shards; raise the limit with `ulimit -n {len(paths) + 1024}`"
            )
        raise CollectionError(f"{path}: {error.strerror}{hint}") from error
    # Checkpoints and logs need files too, long after the shards were opened.
    _allow(max(descriptors, default=0) + _SPARE_FILES)
    return descriptors


def close_files(descriptors: Sequence[int]) -> None:
    """Close what :func:`open_files` opened."""
    for descriptor in descriptors:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        _allow(_limits()[0] + 4096)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _limits() -> tuple[float, float]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    return (math.inf if soft == unlimited else soft, math.inf if hard == unlimited else hard)


def _allow(files: float) -> None:
    soft, hard = _limits()
    if soft < min(files, hard):
        resource.setrlimit(
            resource.RLIMIT_NOFILE,
            (int(min(files, hard)), resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        )


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
    import numba
    from numba import types

    global _pread, _errno_location
    _pread = types.ExternalFunction(
        "pread", types.int64(types.int32, types.uintp, types.uintp, types.int64)
    )
    _errno_location = types.ExternalFunction("__errno_location", types.CPointer(types.int32)())
    signature = types.UniTuple(types.int64, 2)(
        types.uint16[:, ::1], types.int32[::1], types.int64[::1], types.int64[::1], types.int64
    )
    try:
        return numba.njit(signature, nogil=True, cache=True)(_fill)
    except RuntimeError:  # no folder to keep compiled code in: compile in every process
        return numba.njit(signature, nogil=True)(_fill)


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


@dataclass
class Block:
    """Bytes ``first … last − 1`` of a file, and the lines that have their piece in them."""

    file: int
    first: int
    last: int
    lines: list[int] = field(default_factory=list)


def blocks_of(files: np.ndarray, offsets: np.ndarray, sizes: np.ndarray) -> list[Block]:
    """Fewer, larger reads that hold all pieces.

    Parameters
    ----------
    files, offsets, sizes : ndarray [shape=(n,), int]
        Piece ``i`` is ``sizes[i]`` bytes at ``offsets[i]`` of file ``files[i]``.
    """
    blocks: list[Block] = []
    order = np.lexsort((offsets, files)).tolist()
    files, offsets, sizes = files.tolist(), offsets.tolist(), sizes.tolist()
    for i in order:
        first, last = offsets[i], offsets[i] + sizes[i]
        block = blocks[-1] if blocks else None
        if (
            block is None
            or block.file != files[i]
            or first > block.last + LARGEST_GAP
            or max(last, block.last) - block.first > LARGEST_BLOCK
        ):
            block = Block(files[i], first, last)
            blocks.append(block)
        block.last = max(block.last, last)
        block.lines.append(i)
    return blocks


def fill(
    out: np.ndarray,
    paths: Sequence[RemotePath],
    files: np.ndarray,
    offsets: np.ndarray,
    sizes: np.ndarray,
    filler: int,
) -> tuple[int, str]:
    """Fill an array with pieces of remote files, all of them at once.

    Parameters
    ----------
    out : ndarray [shape=(n, values), uint16], C order
        Line ``i`` begins with piece ``i``. What is left of it is the piece again and again when
        ``filler`` is negative, else ``filler``.
    paths : sequence of RemotePath
    files, offsets, sizes : ndarray [shape=(n,), int]
        See :func:`blocks_of`; ``files`` are positions in ``paths``.
    filler : int

    Returns
    -------
    tuple of int and str
        ``(-1, "")``, or a line that could not be read, and why.

    Notes
    -----
    Memory: beside ``out``, the bytes of the blocks, less than ``n`` · (piece + 64 KiB).
    """
    return _fill_of_ranges(out, paths, blocks_of(files, offsets, sizes), offsets, sizes, filler)


def _fill_of_ranges(
    out: np.ndarray,
    paths: Sequence[RemotePath],
    blocks: list[Block],
    offsets: np.ndarray,
    sizes: np.ndarray,
    filler: int,
) -> tuple[int, str]:
    answers = read_pieces(
        [paths[block.file] for block in blocks],
        [block.first for block in blocks],
        [block.last - block.first for block in blocks],
    )
    for block, data in zip(blocks, answers, strict=True):
        if isinstance(data, CutError) and len(block.lines) > 1:  # which of its pieces is cut?
            pieces = [
                Block(block.file, int(offsets[i]), int(offsets[i] + sizes[i]), [i])
                for i in block.lines
            ]
            failed = _fill_of_ranges(out, paths, pieces, offsets, sizes, filler)
            if failed[0] >= 0:
                return failed
            continue
        if isinstance(data, CollectionError):
            return block.lines[0], str(data).removeprefix(f"{paths[block.file]}: ")
        values = np.frombuffer(data, np.uint8)
        for i in block.lines:
            start, size = int(offsets[i]) - block.first, int(sizes[i])
            out[i].view(np.uint8)[:size] = values[start : start + size]
            rest = out[i, size // 2 :]
            if len(rest):
                rest[:] = np.resize(out[i, : size // 2], len(rest)) if filler < 0 else filler
    return -1, ""
