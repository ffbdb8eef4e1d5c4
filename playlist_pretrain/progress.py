"""Progress with rate and time left; silent when nobody is watching."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any


def progress(iterable: Iterable | None = None, *, quiet: bool = False, **options: Any) -> Any:
    """``tqdm`` bar on standard error, shown after two seconds and only on a terminal.

    Parameters
    ----------
    iterable : iterable, optional
        What to iterate over; without one the caller updates the bar.
    quiet : bool
        Never show the bar.
    **options
        Passed to ``tqdm`` (``total``, ``desc``, ``unit``, …).
    """
    from tqdm import tqdm

    disable = quiet or not sys.stderr.isatty()
    return tqdm(iterable, delay=2, disable=disable, dynamic_ncols=True, **options)
