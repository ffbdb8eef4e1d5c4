"""Tagged datasets with their splits and protocols: a registry of readers.

A reader turns the files of a dataset into a :class:`TaggingTask` and knows nothing of collections;
:func:`~playlist_pretrain.tasks.task.match_task` finds the rows.
"""

from __future__ import annotations

from dataclasses import fields

from playlist_pretrain.errors import TaskError
from playlist_pretrain.messages import option
from playlist_pretrain.registry import Registry
from playlist_pretrain.tasks.jamendo import JAMENDO_READERS
from playlist_pretrain.tasks.magnatagatune import MagnaTagATuneReader
from playlist_pretrain.tasks.tag_table import TagTableReader
from playlist_pretrain.tasks.task import SPLITS, Split, TaggingTask, TaskReader, TaskSettings

__all__ = ["SPLITS", "TASKS", "Split", "TaggingTask", "TaskReader", "TaskSettings", "read_task"]

TASKS: Registry[TaskReader] = Registry("task", TaskError)
"""Readers by the value of ``--task``."""

for _reader in (*JAMENDO_READERS, MagnaTagATuneReader(), TagTableReader()):
    TASKS.register(_reader.name, _reader)


def read_task(settings: TaskSettings) -> TaggingTask:
    """Read the task that the settings name; see :meth:`TaskReader.read`."""
    reader = TASKS.get(settings.task)
    for field in fields(TaskSettings):
        value = getattr(settings, field.name)
        if field.name != "task" and field.name not in reader.options and value != field.default:
            raise TaskError(f"{option(field.name)} {value} is not for task {reader.name}")
    return reader.read(settings)
