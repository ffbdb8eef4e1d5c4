"""Whole files decoded in worker processes; a file that ends its process costs itself alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from playlist_pretrain.errors import AudioError, PlaylistPretrainError, require
from playlist_pretrain.processes import describe_exit, ended_twice, work_through
from playlist_pretrain.records.sources import TrackSource


def decode_files(
    tracks: Sequence[TrackSource],
    folder: str | Path,
    load: Callable[[str], Any],
    workers: int | None = None,
    hold: Callable[[], bool] = lambda: False,
) -> Generator[tuple[int, Any], None, None]:
    """Yield the position in ``tracks`` and the decoded audio of each file, as they are done.

    ``load`` is picklable and takes a path below ``folder``. In place of its result comes, as text,
    why there is none: an error, without the name of the file, or a process that reading the file
    ended twice. A worker waits until its file is taken, so memory does not grow with the number of
    files. AudioError when a process ended twice before it began to read.
    """
    tasks = [_Task(position, track.source) for position, track in enumerate(tracks)]
    workers = workers or len(os.sched_getaffinity(0))
    work = _Work(os.fspath(folder), load)
    done = work_through(work, tasks, workers, on_death=_again, hold=hold)
    with contextlib.closing(done):
        for task, audio in done:
            yield task.position, audio


def decode_in_order(
    tracks: Sequence[TrackSource],
    folder: str | Path,
    load: Callable[[str], Any],
    workers: int | None = None,
    *,
    size_of: Callable[[Any], int],
    most_waiting: int = 1 << 28,
) -> Generator[tuple[int, Any], None, None]:
    """:func:`decode_files` in the order of ``tracks``.

    Results that come before their turn wait; while they have more than ``most_waiting`` bytes by
    ``size_of``, no further file is begun: memory is bounded however long one file takes.
    """
    require("essentia")
    early: dict[int, Any] = {}
    waiting = turn = 0
    decoded = decode_files(tracks, folder, load, workers, hold=lambda: waiting > most_waiting)
    with contextlib.closing(decoded):
        for position, result in decoded:
            early[position] = result
            waiting += size_of(result)
            while turn in early:
                result = early.pop(turn)
                waiting -= size_of(result)
                yield turn, result
                turn += 1


def why_unreadable(error: Exception, path: str) -> str:
    """Text of an error in reading ``path``, without the name of the file."""
    known = isinstance(error, OSError | PlaylistPretrainError)
    text = str(error) if known else f"{type(error).__name__}: {error}"
    return text.removeprefix(f"{path if path.isprintable() else ascii(path)}: ")


@dataclass(frozen=True)
class _Task:
    position: int
    source: str
    ended: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class _Work:
    """Decodes one file."""

    folder: str
    load: Callable[[str], Any]

    def __call__(self, task: _Task, announce: Callable[[int], None]) -> Any:
        if task.reason:
            return task.reason
        announce(task.position)
        path = os.path.join(self.folder, task.source)
        try:
            return self.load(path)
        except Exception as error:  # whatever a decoder thinks of, one file must not end the rest
            return why_unreadable(error, path)


def _again(task: _Task, step: int | None, code: int) -> _Task:
    """Try the file of a worker that ended once more, then leave it out."""
    if not task.ended:
        return replace(task, ended=True)
    how = describe_exit(code)
    if step is None:
        raise AudioError(
            f"the process that was to decode {task.source!r} ended twice before it began ({how})"
        )
    return replace(task, reason=ended_twice(how))
