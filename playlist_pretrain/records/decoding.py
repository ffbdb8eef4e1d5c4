"""Whole files decoded in worker processes, one after the other for whoever takes them.

Processes, because Essentia stops every other thread of its process for as long as it decodes. A
worker waits until the file it has decoded is taken, so that memory does not grow with the number
of files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from playlist_pretrain.errors import AudioError, PlaylistPretrainError
from playlist_pretrain.records.pool import describe_exit, work_through
from playlist_pretrain.records.sources import TrackSource

MOST_WAITING = 1 << 28
"""Bytes that wait for a file that takes longer."""


def decode_files(
    tracks: Sequence[TrackSource],
    folder: str | Path,
    load: Callable[[str], Any],
    workers: int | None = None,
    hold: Callable[[], bool] | None = None,
) -> Generator[tuple[int, Any], None, None]:
    """Yield the position in ``tracks`` and the audio of each, as they are decoded.

    Parameters
    ----------
    tracks : sequence of TrackSource
    folder : str or Path
        That their sources are below.
    load : callable, picklable
        Of a path, as :class:`~playlist_pretrain.audio.decode.AudioLoader`.
    workers : int, optional
        Processes; default one for each core this process may use.
    hold : callable, optional
        See :func:`~playlist_pretrain.records.pool.work_through`.

    Yields
    ------
    (int, Decoded or str)
        What ``load`` returned, or why there is nothing: an error, without the name of the file,
        or a process that reading the file ended twice.

    Raises
    ------
    AudioError
        A process ended twice before it began to read.
    """
    tasks = [_Task(position, track.source) for position, track in enumerate(tracks)]
    workers = workers or len(os.sched_getaffinity(0))
    work = _Work(os.fspath(folder), load)
    more = {} if hold is None else {"hold": hold}
    done = work_through(work, tasks, workers, on_step=lambda *_: None, on_death=_again, **more)
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
    most_waiting: int = MOST_WAITING,
) -> Generator[tuple[int, Any], None, None]:
    """:func:`decode_files` in the order of ``tracks``.

    What comes before its turn waits; while more than ``most_waiting`` does, by ``size_of``, no
    further file is begun. So memory is bounded however long one file among many takes.
    """
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


@dataclass(frozen=True)
class _Task:
    position: int
    source: str
    ended: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class _Work:
    """Decodes one file; picklable, called in worker processes."""

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
            known = isinstance(error, OSError | PlaylistPretrainError)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            return text.removeprefix(f"{path if path.isprintable() else ascii(path)}: ")


def _again(task: _Task, step: int | None, code: int) -> _Task:
    """What to try after a worker ended: the file once more, then without it."""
    if not task.ended:
        return replace(task, ended=True)
    how = describe_exit(code)
    if step is None:
        raise AudioError(
            f"the process that was to decode {task.source!r} ended twice before it began ({how})"
        )
    return replace(task, reason=f"reading it ended the process twice ({how})")
