"""Tagged datasets with their splits and protocols: one registry, one anatomy.

A task's reader turns the files of a dataset into a :class:`~.task.TaggingTask` and knows nothing
of collections; :mod:`~.match` finds the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

from playlist_pretrain.errors import TaskError
from playlist_pretrain.registry import Registry
from playlist_pretrain.tasks.jamendo import JAMENDO_READERS
from playlist_pretrain.tasks.magnatagatune import MagnaTagATuneReader
from playlist_pretrain.tasks.tag_table import TagTableReader
from playlist_pretrain.tasks.task import SPLITS, Split, TaggingTask

__all__ = ["SPLITS", "TASKS", "Split", "TaggingTask", "TaskReader", "TaskSettings", "read_task"]


@dataclass(frozen=True)
class TaskSettings:
    """Which task, and what decides it; a setting that a task does not look at is refused."""

    task: str = "tags"
    """task: jamendo-genre, jamendo-instrument, jamendo-mood, jamendo-top50, mtat, or tags for a
    table of your own"""
    splits: str | None = None
    """jamendo and mtat: folder of the dataset's official files"""
    split: int = 0
    """jamendo: which of the five official splits, 0 to 4"""
    protocol: str | None = None
    """mtat: mtg (all clips) or jongpil (tagged clips only); their figures do not compare [mtg]"""
    tags: str | None = None
    """tags: table with the columns track_id, tags (with | between them) and split [the tags.tsv of
    the collection]"""
    split_column: str = "split"
    """tags: column that says train, validation or test; a table without a column split is split at
    random, by artist where it has a column artist"""
    split_seed: int = 0
    """tags: seed of a split made at random"""


class TaskReader(Protocol):
    """What every reader of a task has.

    Attributes
    ----------
    name : str
        What ``--task`` takes.
    description : str
        One line: the dataset, and which files are read.
    options : frozenset of str
        Fields of the settings that it looks at.
    """

    name: str
    description: str
    options: frozenset[str]

    def read(self, settings: TaskSettings) -> TaggingTask:
        """Read and check the dataset's files.

        Raises
        ------
        TableError
            For a file that cannot be read, or a row that is not of its format.
        TaskError
            For settings that the task does not have, and files that are not the official ones.
        """


TASKS: Registry[TaskReader] = Registry("task", TaskError)
"""Readers by the name that ``--task`` takes."""

for _reader in (*JAMENDO_READERS, MagnaTagATuneReader(), TagTableReader()):
    TASKS.register(_reader.name, _reader)


def read_task(settings: TaskSettings) -> TaggingTask:
    """Read the task that the settings name.

    Raises
    ------
    TableError
        For a file that cannot be read, or a row that is not of its format.
    TaskError
        For an unknown task, settings that the task does not have, and files that are not what
        the task's protocol says.
    """
    reader = TASKS.get(settings.task)
    for field in fields(TaskSettings):
        value = getattr(settings, field.name)
        if field.name != "task" and field.name not in reader.options and value != field.default:
            option = "--" + field.name.replace("_", "-")
            raise TaskError(f"{option} {value} is not for task {reader.name}")
    return reader.read(settings)
