"""Matching: from the tracks of a task to the rows of a collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import TaskError
from playlist_pretrain.records.id_table import did_you_mean
from playlist_pretrain.records.positions import excerpt_frames, incomplete_excerpts
from playlist_pretrain.tasks.task import SPLITS, Split, TaggingTask, missing_classes, named

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection

EXAMPLES = 3


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

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class TaskRows:
    """A task in the rows of a collection.

    Attributes
    ----------
    classes : tuple of str
    train, validation, test : SplitRows
        Each has tracks.
    notes : tuple of str
        One line each, for the report: those of the task, and what the collection lacks.
    """

    classes: tuple[str, ...]
    train: SplitRows
    validation: SplitRows
    test: SplitRows
    notes: tuple[str, ...]


def match_task(task: TaggingTask, collection: Collection, *, partial: bool) -> TaskRows:
    """Find the tracks of a task in a collection.

    Parameters
    ----------
    task : TaggingTask
    collection : Collection
        Needed are its ``rows``, ``track_ids``, ``name``, times and front end.
    partial : bool
        Go on without tracks that the collection lacks, and with excerpts of tracks that the
        protocol tests whole; the notes say so.

    Raises
    ------
    TaskError
        When tracks are missing, or test tracks are there in part, and ``partial`` is False; when
        a split has no track at all, or no class has tracks in both train and test; when a track
        is there twice, by its id and with an ending.
    """
    found = {
        name: _rows_of(split, task.endings, collection) for name, split in task.splits().items()
    }
    kept = {
        name: SplitRows(rows[rows >= 0], task.splits()[name].targets[rows >= 0], len(rows))
        for name, rows in found.items()
    }
    for name, rows in kept.items():
        if not len(rows):
            first = task.splits()[name].track_ids[0]
            raise TaskError(
                f"{task.name}: none of the {rows.asked:,} tracks of {name} (the first is "
                f"{first!r}{did_you_mean(first, collection.rows)}) is in collection "
                f"{collection.name!r}, whose ids are like {_ids(collection)}"
            )
    cut = _cut(kept["test"].rows, collection) if task.whole_tracks else np.empty(0, np.int64)
    lacks = _lacks(task, collection, found, cut)
    if lacks and not partial:
        raise TaskError(
            f"{task.name}: collection {collection.name!r} {'; it '.join(lacks)}; --partial goes on "
            "all the same, and figures then do not compare with those of the protocol"
        )
    notes = []
    if any(len(rows) < rows.asked for rows in kept.values()):
        notes += [
            f"{name}: {len(rows):,} of {rows.asked:,} tracks "
            f"({100 * len(rows) / rows.asked:.1f} %) are in the collection"
            for name, rows in kept.items()
        ]
    if len(cut):
        notes.append(
            f"of {len(cut):,} of the {len(kept['test']):,} test tracks there are excerpts only; "
            "the protocol tests whole tracks"
        )
    notes += _lost_classes(task, kept)
    return TaskRows(task.classes, **kept, notes=(*task.notes, *notes))


def _rows_of(split: Split, endings: Sequence[str], collection: Collection) -> np.ndarray:
    """Row of every track of a split, -1 where the collection does not have it."""
    rows = collection.rows(split.track_ids).astype(np.int64)
    for ending in endings:
        others = collection.rows([track_id + ending for track_id in split.track_ids])
        if len(twice := np.flatnonzero((rows >= 0) & (others >= 0))):
            one, other = rows[twice[0]], others[twice[0]]
            raise TaskError(
                f"collection {collection.name!r}: {collection.track_ids[one]!r} and "
                f"{collection.track_ids[other]!r} are the same track ({len(twice):,} such); build "
                "a collection with only one of them"
            )
        rows = np.where(rows < 0, others, rows)
    return rows


def _cut(rows: np.ndarray, collection: Collection) -> np.ndarray:
    """Those of ``rows`` whose mel is not of the whole source."""
    begin, end = excerpt_frames(collection, rows)
    return rows[incomplete_excerpts(begin, end, collection.frames[rows])]


def _lacks(
    task: TaggingTask, collection: Collection, found: dict[str, np.ndarray], cut: np.ndarray
) -> list[str]:
    """What the collection lacks, as ends of a sentence that begins with its name."""
    lacks = []
    missing = [
        track_id
        for name, split in task.splits().items()
        for track_id, row in zip(split.track_ids, found[name], strict=True)
        if row < 0
    ]
    if missing:
        counts = ", ".join(
            f"{int((found[name] < 0).sum()):,} of {len(found[name]):,} for {name}"
            for name in SPLITS
        )
        lacks.append(
            f"lacks tracks ({counts}), such as {named(missing)}"
            f"{did_you_mean(missing[0], collection.rows)}; its ids are like "
            f"{_ids(collection)}"
        )
    if len(cut):
        row = int(cut[0])
        rate = collection.front_end.hop_length / collection.front_end.sample_rate
        lacks.append(
            f"holds but a part of {len(cut):,} of {int((found['test'] >= 0).sum()):,} test tracks "
            f"({collection.track_ids[row]!r}: {collection.frames[row] * rate:.1f} of "
            f"{collection.source_seconds[row]:.1f} s), and the protocol tests whole tracks "
            "(a collection made with --excerpt full has them)"
        )
    return lacks


def _ids(collection: Collection) -> str:
    return named([collection.track_ids[row] for row in range(min(EXAMPLES, len(collection)))])


def _lost_classes(task: TaggingTask, kept: dict[str, SplitRows]) -> list[str]:
    """Notes on classes that the task has in train and test, and the collection has not."""
    before = missing_classes(task.classes, task.train.targets, task.test.targets)
    now = missing_classes(task.classes, kept["train"].targets, kept["test"].targets)
    if len(set().union(*now.values())) == len(task.classes):
        raise TaskError(
            f"{task.name}: of the tracks that are in the collection, train and test share no class"
        )
    notes = []
    for split, names in now.items():
        if lost := [name for name in names if name not in before[split]]:
            notes.append(
                f"of the tracks in the collection, none of {split} has {named(lost)} "
                f"({len(lost):,} of {len(task.classes):,} classes): left out of the figures"
            )
    return notes
