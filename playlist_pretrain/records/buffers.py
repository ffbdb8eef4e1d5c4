"""Aligned memory that is filled again once nobody looks at it any more.

Touching fresh memory costs more than copying a batch into it, so batches go into blocks that
were used before. TensorFlow takes an array that starts at a multiple of 64 bytes without a
copy and keeps a reference to it for as long as any tensor reads it; a block may be filled
again only when that reference, and every other one, is gone.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import deque

import numpy as np

ALIGNMENT = 64


class BufferPool:
    """Hands out arrays on recycled memory; any thread may ask, any thread may let go.

    Memory is bounded by what is in use plus ``reserve`` blocks.

    Parameters
    ----------
    reserve : int
        Blocks kept for later when nobody uses them.

    Attributes
    ----------
    allocations : int
        Blocks ever made: stays put while blocks are recycled.
    """

    def __init__(self, reserve: int = 4):
        # Blocks come back from garbage collection, which may interrupt any line of Python in
        # any thread: a lock could meet itself, the operations of a deque are atomic.
        self._free: deque[np.ndarray] = deque()
        self._reserve = reserve
        self.allocations = 0

    @property
    def reserve(self) -> int:
        """Blocks kept when nobody uses them."""
        return self._reserve

    def keep(self, blocks: int) -> None:
        """Raise :attr:`reserve` to ``blocks``; it is never lowered."""
        self._reserve = max(self._reserve, blocks)

    def _put(self, block: np.ndarray) -> None:
        if len(self._free) < self._reserve:
            self._free.append(block)

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array on a block of its own; the values are whatever is there.

        The block returns to the pool when the array and everything made from it without a
        copy (slices, reshapes, tensors) are gone.

        Parameters
        ----------
        shape : tuple of int
        dtype : dtype

        Returns
        -------
        ndarray
            C order, first byte at a multiple of 64.
        """
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if size == 0:
            return np.empty(shape, dtype)
        block = self._block(size + ALIGNMENT)
        start = -block.ctypes.data % ALIGNMENT
        # NumPy shortens chains of views: a slice of a view of `block` would refer to `block`
        # alone and outlive the view unseen. It cannot look behind a foreign object, so all that
        # is ever made from the array refers to `lease`, and its end is the end of all of them.
        lease = (ctypes.c_uint8 * size).from_address(block.ctypes.data + start)
        weakref.finalize(lease, self._put, block).atexit = False
        return np.ndarray(shape, dtype, buffer=lease)  # type: ignore[arg-type]

    def _block(self, size: int) -> np.ndarray:
        try:
            while True:
                block = self._free.pop()
                if block.nbytes >= size:
                    return block
        except IndexError:
            self.allocations += 1
            return np.empty(size, np.uint8)
