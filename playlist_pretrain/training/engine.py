"""The fits that a run is made of, wherever it goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playlist_pretrain.records.windows import WindowReader


def fits(done: int, per_epoch: int, epochs: int) -> list[tuple[int, int, int]]:
    """``(initial_epoch, epochs, steps_per_epoch)`` of the fits from step ``done`` to the end.

    Keras takes one number of steps for all epochs of a fit, so the rest of an interrupted epoch
    is a fit of its own.

    Parameters
    ----------
    done : int
        Steps done before.
    per_epoch, epochs : int
        Steps of an epoch, and epochs of the run.
    """
    epoch, within = divmod(done, per_epoch)
    parts = [(epoch, epoch + 1, per_epoch - within)] if within else []
    if epoch + bool(within) < epochs:
        parts.append((epoch + bool(within), epochs, per_epoch))
    return parts


@contextlib.contextmanager
def reading_errors(reader: WindowReader) -> Iterator[None]:
    """What stopped a reader comes out as it was, not as the error TensorFlow makes of it."""
    try:
        yield
    except Exception:
        if reader.error is not None:
            raise reader.error from None
        raise
