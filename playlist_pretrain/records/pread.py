"""Reading many pieces of many files at once, local ones outside the interpreter lock."""

from __future__ import annotations

import errno
import functools
import os
import resource
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.storage import read_ranges

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
