"""Reading many pieces of many remote files at once; the remote half of :mod:`.pread`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.servers import CutError
from playlist_pretrain.storage import RemotePath, read_pieces

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
    return _fill(out, paths, blocks_of(files, offsets, sizes), offsets, sizes, filler)


def _fill(
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
            failed = _fill(out, paths, pieces, offsets, sizes, filler)
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
