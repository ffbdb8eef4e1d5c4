"""Worker processes that may die without taking the work with them.

``concurrent.futures`` cannot say which task a dead process was at, and one death breaks its
whole pool. Here every worker has a pipe of its own and announces each step before it takes it,
so a decoder that crashes on one file costs that file and nothing else. Processes, because Essentia
stops every other thread of its process for as long as it decodes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import connection, resource_tracker
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from playlist_pretrain.errors import AudioError, PlaylistPretrainError
from playlist_pretrain.records.sources import TrackSource


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: connection.Connection
    task: Any = None
    step: Any = None


def work_through(
    work: Callable[[Any, Callable[[Any], None]], Any],
    tasks: Sequence,
    workers: int,
    *,
    on_step: Callable[[Any, Any], None] = lambda task, step: None,
    on_death: Callable[[Any, Any, int], Any],
    hold: Callable[[], bool] = lambda: False,
) -> Generator[tuple[Any, Any], None, None]:
    """Do ``tasks`` in spawned processes and yield (task, result) as they are done.

    Processes are spawned, never forked, because a forked TensorFlow may hang. When the iterator
    is closed, by an error or Ctrl-C too, the workers are stopped; they also stop by themselves
    when this process is gone.

    Parameters
    ----------
    work : callable
        ``work(task, announce)``, picklable as the tasks are. ``announce(step)`` says what is about
        to happen; ``on_step(task, step)`` is then called here.
    workers : int
        At most that many processes; never more than tasks.
    on_death : callable
        ``on_death(task, step, exit_code)`` returns the task to try next in its place, or raises.
        ``step`` is the last one announced, None before the first.
    hold : callable
        Whether to begin no further task as long as others are being done.

    Raises
    ------
    OSError, PlaylistPretrainError
        Raised by ``work``, with the worker's traceback as a note.
    RuntimeError
        Stands for any other error of ``work``.
    """
    waiting = deque(tasks)
    busy: dict[Any, _Worker] = {}
    idle: list[_Worker] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < workers and not (busy and hold()):
                task = waiting.popleft()
                worker = idle.pop() if idle else _start(work)
                busy[worker.pipe] = worker
                _hand_over(worker, task)
            for pipe in cast(list[connection.Connection], connection.wait(list(busy))):
                worker = busy[pipe]
                try:
                    kind, value = pipe.recv()
                except (EOFError, OSError):
                    del busy[pipe]
                    pipe.close()
                    worker.process.join()
                    waiting.appendleft(on_death(worker.task, worker.step, worker.process.exitcode))
                    continue
                if kind == "step":
                    worker.step = value
                    on_step(worker.task, value)
                elif kind == "error":
                    raise value
                else:
                    done = worker.task
                    if not waiting:
                        del busy[pipe]
                        _stop([worker])
                    elif hold():
                        idle.append(busy.pop(pipe))
                    else:
                        _hand_over(worker, waiting.popleft())
                    yield done, value
    finally:
        _stop([*busy.values(), *idle])


def why_unreadable(error: Exception, path: str) -> str:
    """Text of an error in reading ``path``, without the name of the file."""
    known = isinstance(error, OSError | PlaylistPretrainError)
    text = str(error) if known else f"{type(error).__name__}: {error}"
    return text.removeprefix(f"{path if path.isprintable() else ascii(path)}: ")


def describe_exit(code: int) -> str:
    """Describe the exit code of a process that was not meant to end."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name}, often a sign of too little memory" if name == "SIGKILL" else name


def _start(work: Callable) -> _Worker:
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs), daemon=True)
    # Ctrl-C reaches every process of a terminal: workers inherit the block and leave it to us.
    resource_tracker.ensure_running()  # it lifts the block when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        with without_main(work):
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return _Worker(process, pipe)


@contextlib.contextmanager
def without_main(work: Any = None) -> Iterator[None]:
    """Let processes that are spawned in the block do without the program that runs now.

    They would run it first: a script of three lines would begin its work in each of them, and one
    from standard input cannot be run. ``work`` that is defined in the program needs it and keeps
    it.
    """
    program = sys.modules["__main__"]
    if b"__main__" not in pickle.dumps(work):
        sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def _hand_over(worker: _Worker, task: Any) -> None:
    worker.task, worker.step = task, None
    with suppress(OSError):  # it died while it was idle: the next wait sees the end of its pipe
        worker.pipe.send(task)


def _stop(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(timeout=5)
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


def _serve(work: Callable, pipe: connection.Connection) -> None:
    def end_with_parent() -> None:
        connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    with suppress(OSError, EOFError):  # nobody listens any more
        while True:
            task = pipe.recv()
            try:
                answer = "done", work(task, lambda step: pipe.send(("step", step)))
            except Exception as error:
                sent = error
                if not isinstance(error, OSError | PlaylistPretrainError):  # may not be picklable
                    sent = RuntimeError(f"{type(error).__name__}: {error}")
                sent.add_note(f"in a worker process:\n{traceback.format_exc()}")
                answer = "error", sent
            pipe.send(answer)


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
    return replace(task, reason=f"reading it ended the process twice ({how})")
