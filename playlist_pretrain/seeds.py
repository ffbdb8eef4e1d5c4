"""Random numbers that are the same on every platform and with every version of NumPy."""

from __future__ import annotations

import hashlib

import numpy as np


def random_stream(purpose: str, *numbers: int) -> np.random.Philox:
    """Counter-based Philox 4×64 whose key is 128 bits of the SHA-256 of ``purpose`` and numbers.

    Take only raw words from it (``random_raw``): NumPy promises that they never change, which it
    does not for shuffles and integers in a range. The key depends on the purpose, so streams for
    different purposes with equal seeds have nothing in common.
    """
    digest = hashlib.sha256()
    for part in (purpose.encode(), *(str(int(number)).encode() for number in numbers)):
        digest.update(len(part).to_bytes(8, "little") + part)
    return np.random.Philox(key=int.from_bytes(digest.digest()[:16], "big"))


def random_order(stream: np.random.Philox, size: int) -> np.ndarray:
    """Random permutation of 0 … size − 1 [shape=(size,), int64]; takes ``size`` words."""
    return np.argsort(stream.random_raw(size), kind="stable")
