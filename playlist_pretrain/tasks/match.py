"""Matching: from the tracks of a task to the rows of a collection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SplitRows:
    """The tracks of a split that a collection has.

    Attributes
    ----------
    rows : ndarray [shape=(tracks,), int64]
        In the order of the split.
    targets : ndarray [shape=(tracks, classes), bool]
    asked : int
        Tracks that the split names.
    """

    rows: np.ndarray
    targets: np.ndarray
    asked: int


@dataclass(frozen=True)
class TaskRows:
    """A task in the rows of a collection.

    Attributes
    ----------
    classes : tuple of str
    train, validation, test : SplitRows
        Each has tracks.
    notes : tuple of str
        One line each, for the report: those of the task, and what was matched.
    """

    classes: tuple[str, ...]
    train: SplitRows
    validation: SplitRows
    test: SplitRows
    notes: tuple[str, ...]
