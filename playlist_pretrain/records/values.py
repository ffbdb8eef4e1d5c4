"""What the values of mels are like: exact counts, sums and extremes, in one pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from playlist_pretrain.records.schema import MEL_DTYPE

PATTERNS = 1 << 16
"""Bit patterns of a float16."""
BINS = 60


class Tally:
    """Values of many mels.

    Parameters
    ----------
    bands : int

    Attributes
    ----------
    counts : ndarray [shape=(65536,), int64]
        How often each bit pattern of a float16 occurs.
    low, high : ndarray [shape=(bands,), float64]
        Extremes of each band.
    """

    def __init__(self, bands: int):
        self.counts = np.zeros(PATTERNS, np.int64)
        self.low = np.full(bands, np.inf)
        self.high = np.full(bands, -np.inf)

    def merge(self, other: Tally) -> None:
        """Add what ``other`` has seen."""
        self.counts += other.counts
        np.minimum(self.low, other.low, out=self.low)
        np.maximum(self.high, other.high, out=self.high)

    def summary(self) -> tuple[float, float, float, float]:
        """Smallest and largest value, mean and standard deviation over all."""
        present = self.counts > 0
        values, counts = _values()[present], self.counts[present]
        mean = np.average(values, weights=counts)
        deviation = np.sqrt(np.average(np.square(values - mean), weights=counts))
        return float(values.min()), float(values.max()), float(mean), float(deviation)

    def histogram(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts [shape=(bins,)] and edges [shape=(bins + 1,)] over the values that occur."""
        present = self.counts > 0
        return np.histogram(_values()[present], BINS, weights=self.counts[present])


@dataclass
class MelSums:
    """Sums over the frames of one mel, added up in the order the writer of shards has.

    Attributes
    ----------
    sums : ndarray [shape=(4, bands), float64]
        Sum, sum of squares, lowest and highest value.
    not_finite, silent : int
        Values that are not finite, and values that are the front end's silence.
    """

    sums: np.ndarray
    not_finite: int = 0
    silent: int = 0

    @classmethod
    def empty(cls, bands: int) -> MelSums:
        """Of no frames."""
        sums = np.zeros((4, bands))
        sums[2], sums[3] = np.inf, -np.inf
        return cls(sums)

    def add(self, piece: bytes, silence: int, counts: np.ndarray) -> None:
        """Add whole frames; ``silence`` is a bit pattern, ``counts`` are a tally's."""
        bits = np.frombuffer(piece, "<u2").reshape(-1, self.sums.shape[1])
        not_finite, silent = tally_kernel()(bits, _values(), counts, self.sums, silence)
        self.not_finite += not_finite
        self.silent += silent


@functools.cache
def _values() -> np.ndarray:
    values = np.arange(PATTERNS, dtype=np.uint16).view(MEL_DTYPE).astype(np.float64)
    values[~np.isfinite(values)] = 0.0  # they are counted, and must not spoil the sums
    return values


@functools.cache
def tally_kernel() -> Callable:
    """The compiled pass over frames.

    ``tally(bits, values, counts, sums, silence) -> (not finite, silent)``: ``bits``
    [shape=(frames, bands), uint16] are added to ``counts`` [shape=(65536,), int64] and to
    ``sums`` [shape=(4, bands), float64], see :class:`MelSums`.
    """
    import numba
    from numba import types

    bits = types.Array(types.uint16, 2, "C", readonly=True)
    signature = types.UniTuple(types.int64, 2)(
        bits, types.float64[::1], types.int64[::1], types.float64[:, ::1], types.int64
    )
    try:
        return numba.njit(signature, nogil=True, cache=True)(_tally)
    except RuntimeError:  # no folder to keep compiled code in: compile in every process
        return numba.njit(signature, nogil=True)(_tally)


def _tally(bits, values, counts, sums, silence):
    not_finite = silent = 0
    for frame in range(bits.shape[0]):
        for band in range(bits.shape[1]):
            pattern = bits[frame, band]
            value = values[pattern]
            counts[pattern] += 1
            silent += pattern == silence
            not_finite += (pattern & 0x7C00) == 0x7C00
            sums[0, band] += value
            sums[1, band] += value * value
            sums[2, band] = min(sums[2, band], value)
            sums[3, band] = max(sums[3, band], value)
    return not_finite, silent
