"""Every registered task keeps its contract, and each clause of it finds who does not."""

import dataclasses

import numpy as np
import pytest

from playlist_pretrain.tasks import TASKS
from playlist_pretrain.tasks.tag_table import TagTableReader
from playlist_pretrain.testing import ContractError, check_task


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "mtat" else n for n in TASKS]
)
def test_registered_tasks(name, tmp_path, write_task):
    check_task(TASKS.get(name), write_task(name, tmp_path)[0])


@pytest.fixture
def settings(tmp_path, write_task):
    return write_task("tags", tmp_path)[0]


def with_task(**changes):
    """A reader whose task has something else, from a value or made of the task."""

    def read(self, settings):
        task = TagTableReader.read(self, settings)
        made = {name: new(task) if callable(new) else new for name, new in changes.items()}
        return dataclasses.replace(task, **made)

    return {"read": read}


def with_split(**changes):
    def train(task):
        made = {name: new(task.train) if callable(new) else new for name, new in changes.items()}
        return dataclasses.replace(task.train, **made)

    return with_task(train=train)


BROKEN = {
    "name": ({"name": ""}, "name: text without blanks"),
    "description": ({"description": " "}, "description: text"),
    "options": ({"options": frozenset({"tags", "fold"})}, "options: of .*; not fold"),
    "no task": ({"read": lambda self, settings: None}, "read: a TaggingTask, not NoneType"),
    "name of the task": (with_task(name="mine"), "name of the task: begins with 'tags'"),
    "no classes": (with_task(classes=()), "classes: a tuple of at least one"),
    "class twice": (with_task(classes=("a", "b", "a")), "classes: each once"),
    "leak": (with_task(test=lambda task: task.train), "splits: no track is in two"),
    "list of ids": (with_split(track_ids=lambda split: [*split.track_ids]), "train: track_ids"),
    "track twice": (with_split(track_ids=("a", "b", "a")), "train: each track once"),
    "float targets": (
        with_split(targets=lambda split: split.targets.astype(float)), "train: targets are a bool",
    ),
    "writeable": (with_split(targets=lambda split: split.targets.copy()), "train: .* read-only"),
    "nothing to learn": (
        with_split(targets=lambda split: np.broadcast_to(False, split.targets.shape)),
        "some class has tracks in both",
    ),
    "no notes": (with_task(notes=()), "notes: a tuple of at least one"),
    "citation": (with_task(citation=None), "citation: text"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_tasks(case, settings):
    changes, clause = BROKEN[case]
    broken = type("Broken", (TagTableReader,), changes)()
    with pytest.raises(ContractError, match=clause):
        check_task(broken, settings)
