"""Random numbers that are the same on every platform and with every version of NumPy."""

from __future__ import annotations

import numpy as np

from playlist_pretrain.files import content_key
from playlist_pretrain.playlists.kernels import stable_order


def random_stream(purpose: str, *numbers: int) -> np.random.Philox:
    """Counter-based Philox 4×64 whose key is 128 bits of the SHA-256 of ``purpose`` and numbers.

    Take only raw words from it (``random_raw``): NumPy promises that they never change, which it
    does not for shuffles and integers in a range. The key depends on the purpose, so streams for
    different purposes with equal seeds have nothing in common.
    """
    parts = [purpose.encode(), *(str(int(number)).encode() for number in numbers)]
    return np.random.Philox(key=int(content_key(*parts), 16))


def random_order(stream: np.random.Philox, size: int) -> np.ndarray:
    """Random permutation of 0 … size − 1 [shape=(size,), int64]; takes ``size`` words."""
    return stable_order(stream.random_raw(size))
