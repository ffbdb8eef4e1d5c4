"""Every registered task keeps its contract, and each clause of it finds who does not."""

import dataclasses

import numpy as np
import pytest

from playlist_pretrain.errors import TaskError
from playlist_pretrain.tasks import TASKS, Split
from playlist_pretrain.tasks.tag_table import TagTableReader
from playlist_pretrain.testing import ContractError, check_task


@pytest.mark.parametrize("name", list(TASKS))
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


def flipped(self, settings):
    """Another order of the training tracks whenever it is read."""
    self.times = getattr(self, "times", 0) + 1
    task = TagTableReader.read(self, settings)
    order = slice(None, None, -1 if self.times % 2 else 1)
    targets = task.train.targets[order]
    targets.flags.writeable = False
    return dataclasses.replace(task, train=Split(task.train.track_ids[order], targets))


def default_table(self, settings):
    return TagTableReader.read(self, settings if settings.tags else self.first)


def remembers(self, settings):
    self.first = getattr(self, "first", settings)
    return default_table(self, settings)


def says_little(self, settings):
    try:
        return TagTableReader.read(self, settings)
    except TaskError:
        raise
    except Exception:
        raise TaskError("the table cannot be read") from None


BROKEN = {
    "name": ({"name": ""}, "name: text without blanks"),
    "description": ({"description": " "}, "description: text"),
    "options": ({"options": frozenset({"tags", "fold"})}, "options: of .*; not fold"),
    "no source": ({"options": frozenset({"split_seed"})}, "splits or tags is among them"),
    "no task": ({"read": lambda self, settings: None}, "read: a TaggingTask, not NoneType"),
    "name of the task": (with_task(name="mine"), "name of the task: begins with 'tags'"),
    "no classes": (with_task(classes=()), "classes: a tuple of at least one"),
    "list of classes": (with_task(classes=lambda task: [*task.classes]), "classes: a tuple"),
    "empty class": (with_task(classes=("a", "", "c")), "classes: text"),
    "class twice": (with_task(classes=("a", "b", "a")), "classes: each once"),
    "leak": (with_task(test=lambda task: task.train), "splits: no track is in two"),
    "list of ids": (with_split(track_ids=lambda split: [*split.track_ids]), "train: track_ids"),
    "numbers": (with_split(track_ids=(1, 2, 3)), "train: ids are text"),
    "track twice": (with_split(track_ids=("a", "b", "a")), "train: each track once"),
    "float targets": (
        with_split(targets=lambda split: split.targets.astype(float)), "train: targets are a bool",
    ),
    "other targets": (
        with_split(targets=lambda split: split.targets[:-1]), r"train: targets are \[tracks",
    ),
    "writeable": (with_split(targets=lambda split: split.targets.copy()), "train: .* read-only"),
    "nothing to learn": (
        with_split(targets=lambda split: np.broadcast_to(False, split.targets.shape)),
        "some class has tracks in both",
    ),
    "whole tracks": (with_task(whole_tracks=1), "whole_tracks: True or False"),
    "no notes": (with_task(notes=()), "notes: a tuple of at least one"),
    "long note": (with_task(notes=("a\nb",)), "note: one line"),
    "citation": (with_task(citation=None), "citation: text"),
    "long citation": (with_task(citation="a\nb"), "citation: one line"),
    "endings": (with_task(endings=".mp3"), "endings: a tuple"),
    "other order": ({"read": flipped}, r"read: again, the same \(train\)"),
    "guesses": ({"read": remembers}, "no --tags: raises TaskError, but nothing"),
    "says little": ({"read": says_little}, "--tags that is not there: the message"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_tasks(case, settings):
    changes, clause = BROKEN[case]
    broken = type("Broken", (TagTableReader,), changes)()
    with pytest.raises(ContractError, match=clause):
        check_task(broken, settings)


def test_a_file_that_is_not_there_and_another_error(settings):
    class Broken(TagTableReader):
        def read(self, settings):
            if settings.tags:
                open(settings.tags).close()
            return super().read(settings)

    with pytest.raises(ContractError, match=r"not there: raises .*, not FileNotFoundError"):
        check_task(Broken(), settings)
