"""Functions over arrays that Numba compiles when they are first called."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def jit(function: Callable, *signature: Any) -> Callable:
    """Compile ``function`` with Numba, to run without the GIL, and keep the code for later.

    It lies beside the source, or in the user's cache folder.
    """
    import numba

    try:
        return numba.njit(*signature, nogil=True, cache=True)(function)  # type: ignore[call-overload]
    except (RuntimeError, OSError):  # no folder, or a full disk: compile anew in every process
        return numba.njit(*signature, nogil=True)(function)


def compiled(function: Callable) -> Callable:
    """Compile ``function`` by :func:`jit` at its first call; Numba is imported only then.

    The plain function stays reachable as ``__wrapped__``.
    """
    kernel = functools.cache(functools.partial(jit, function))

    @functools.wraps(function)
    def call(*arguments):
        try:
            return kernel()(*arguments)
        except OSError:  # the disk is full: the code is there, but could not be kept
            return kernel()(*arguments)

    return call
