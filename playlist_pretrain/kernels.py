"""Functions over arrays that Numba compiles when they are first called."""

from __future__ import annotations

import functools
from collections.abc import Callable


def compiled(function: Callable) -> Callable:
    """Compile ``function`` with Numba at its first call; it then runs without the GIL.

    Numba is imported only then, and the compiled code is kept beside the source (or in the user's
    cache folder) for the next process. The plain function stays reachable as ``__wrapped__``.
    """

    @functools.cache
    def kernel():
        import numba

        try:
            return numba.njit(nogil=True, cache=True)(function)
        except RuntimeError:  # neither folder can be written: compile anew in every process
            return numba.njit(nogil=True)(function)

    @functools.wraps(function)
    def call(*arguments):
        return kernel()(*arguments)

    return call
