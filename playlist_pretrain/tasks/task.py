"""What a tagged dataset is to those who train and test on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from playlist_pretrain.errors import TaskError

SPLITS = ("train", "validation", "test")
MOST_NAMED = 5


@dataclass(frozen=True)
class Split:
    """One of train, validation and test.

    Attributes
    ----------
    track_ids : tuple of str
        As the dataset has them.
    targets : ndarray [shape=(tracks, classes), bool]
        Which classes each track has; a track may have none.
    """

    track_ids: tuple[str, ...]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.track_ids)


@dataclass(frozen=True)
class TaggingTask:
    """A tagged dataset with its splits and its protocol.

    Attributes
    ----------
    name : str
        With what tells it from its like: ``jamendo-genre split 0``, ``mtat mtg``.
    classes : tuple of str
        In the order of the columns of all targets.
    train, validation, test : Split
        No track is in two of them, and each has tracks.
    whole_tracks : bool
        The protocol tests whole tracks, not excerpts.
    notes : tuple of str
        One line each, for the report: counts, and what a reader of the figures should know.
    citation : str
        What a paper that gives figures cites; empty for a user's own table.
    endings : tuple of str
        What may follow a track's id in a collection made of other copies of the same audio.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    whole_tracks: bool
    notes: tuple[str, ...]
    citation: str
    endings: tuple[str, ...] = ()

    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {name: getattr(self, name) for name in SPLITS}


def make_splits(
    tracks: Mapping[str, Mapping[str, Sequence[str]]], classes: Sequence[str]
) -> dict[str, Split]:
    """Splits from the tags of each track.

    Parameters
    ----------
    tracks : mapping
        From the name of a split to its tracks, from a track's id to its tags.
    classes : sequence of str
        All tags there are.
    """
    column = {name: number for number, name in enumerate(classes)}
    made = {}
    for split, tags_of in tracks.items():
        targets = np.zeros((len(tags_of), len(classes)), bool)
        for row, tags in enumerate(tags_of.values()):
            targets[row, [column[tag] for tag in tags]] = True
        targets.flags.writeable = False
        made[split] = Split(tuple(tags_of), targets)
    return made


def missing_classes(
    classes: Sequence[str], train: np.ndarray, test: np.ndarray
) -> dict[str, list[str]]:
    """Classes that no track of train, and those that none of test has, by the split's name.

    Parameters
    ----------
    classes : sequence of str
    train, test : ndarray [shape=(tracks, classes), bool]
    """
    return {
        split: [name for name, found in zip(classes, targets.any(axis=0), strict=True) if not found]
        for split, targets in (("train", train), ("test", test))
    }


def check_positives(where: str, classes: Sequence[str], splits: Mapping[str, Split]) -> None:
    """Refuse official files in which a class is not in train or not in test.

    Raises
    ------
    TaskError
        Begins with ``where``.
    """
    missing = missing_classes(classes, splits["train"].targets, splits["test"].targets)
    for split, names in missing.items():
        if names:
            raise TaskError(f"{where}: no track of {split} has {named(names)}")


def counts_note(classes: Sequence[str], splits: Mapping[str, Split]) -> str:
    """How many classes and tracks there are, for the report."""
    tracks = ", ".join(f"{name} {len(split):,}" for name, split in splits.items())
    return f"{len(classes)} classes; tracks: {tracks}"


def named(names: Sequence[str]) -> str:
    """The first few of ``names``, quoted, for a message."""
    shown = ", ".join(map(repr, names[:MOST_NAMED]))
    return shown + (", …" if len(names) > MOST_NAMED else "")
