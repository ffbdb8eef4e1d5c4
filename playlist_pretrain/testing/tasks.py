"""The contract of tagging tasks."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np

from playlist_pretrain.errors import PlaylistPretrainError, TaskError
from playlist_pretrain.tasks import SPLITS, Split, TaggingTask, TaskReader, TaskSettings
from playlist_pretrain.testing.clauses import (
    refusal,
    require,
    require_line,
    require_name,
    require_options,
)

SOURCES = ("splits", "tags")
NOWHERE = "/nowhere/at-all"


def check_task(reader: TaskReader, settings: TaskSettings) -> None:
    """Check a reader of a tagged dataset against :class:`playlist_pretrain.tasks.TaskReader`.

    ``settings`` lead to files of the dataset, or to small ones of its layout.
    Raises ContractError at the first clause that is broken.
    """
    require_name(reader.name)
    require_line(reader.description, "description")
    known = [field.name for field in dataclasses.fields(TaskSettings) if field.name != "task"]
    require_options(reader.options, known)
    used = [name for name in SOURCES if name in reader.options]
    require(used, f"options: {' or '.join(SOURCES)} is among them, which says where the files are")
    task = reader.read(settings)
    _task(reader, task)
    again = reader.read(settings)
    for name in SPLITS:
        before, after = task.splits()[name], again.splits()[name]
        require(
            before.track_ids == after.track_ids and np.array_equal(before.targets, after.targets),
            f"read: again, the same ({name})",
        )
    for option in used:
        lacking: Any = {option: None}
        nowhere: Any = {option: NOWHERE}
        without = partial(reader.read, dataclasses.replace(settings, **lacking))
        refusal(without, TaskError, f"--{option}", f"no --{option}")
        missing = partial(reader.read, dataclasses.replace(settings, **nowhere))
        refusal(missing, PlaylistPretrainError, NOWHERE, f"--{option} that is not there")


def _task(reader: TaskReader, task: TaggingTask) -> None:
    require(isinstance(task, TaggingTask), f"read: a TaggingTask, not {type(task).__name__}")
    require_line(task.name, "name of the task")
    require(task.name.startswith(reader.name), f"name of the task: begins with {reader.name!r}")
    classes = task.classes
    require(isinstance(classes, tuple) and classes, "classes: a tuple of at least one")
    require(all(isinstance(c, str) and c.strip() for c in classes), "classes: text")
    require(len(set(classes)) == len(classes), "classes: each once")
    split_of: dict[str, str] = {}
    for name, split in task.splits().items():
        _split(name, split, len(classes))
        for track_id in split.track_ids:
            alone = split_of.setdefault(track_id, name) == name
            require(alone, f"splits: no track is in two, but {track_id!r} is")
    both = task.train.targets.any(axis=0) & task.test.targets.any(axis=0)
    require(both.any(), "classes: some class has tracks in both train and test")
    require(isinstance(task.whole_tracks, bool), "whole_tracks: True or False")
    require(isinstance(task.notes, tuple) and task.notes, "notes: a tuple of at least one")
    for note in task.notes:
        require_line(note, "note")
    require(isinstance(task.citation, str), "citation: text, empty for a user's own table")
    require(task.citation.isprintable(), "citation: one line")
    endings = task.endings
    texts = isinstance(endings, tuple) and all(isinstance(end, str) for end in endings)
    require(texts, "endings: a tuple of text")


def _split(name: str, split: Split, classes: int) -> None:
    ids, targets = split.track_ids, split.targets
    require(isinstance(ids, tuple) and ids, f"{name}: track_ids is a tuple of at least one")
    require(all(isinstance(one, str) and one for one in ids), f"{name}: ids are text")
    require(len(set(ids)) == len(ids), f"{name}: each track once")
    plain = isinstance(targets, np.ndarray) and targets.dtype == bool
    require(plain, f"{name}: targets are a bool array")
    shape = [len(ids), classes]
    require(
        list(targets.shape) == shape,
        f"{name}: targets are [tracks, classes] = {shape}, not {list(targets.shape)}",
    )
    require(not targets.flags.writeable, f"{name}: targets are read-only")
