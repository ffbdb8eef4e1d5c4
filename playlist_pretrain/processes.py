"""Processes that may die without taking the work, or this process, with them.

``concurrent.futures`` cannot say which task a dead process was at, and one death breaks its
whole pool. Here every worker has a pipe of its own and announces each step before it takes it,
so a decoder that crashes on one file costs that file and nothing else. Processes, because Essentia
stops every other thread of its process for as long as it decodes, and because its TensorFlow does
not go with another one: what runs Essentia does so in a process of this module.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from playlist_pretrain.errors import PlaylistPretrainError


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
    OSError, ImportError, MemoryError, PlaylistPretrainError
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
                    kind, value = _receive(pipe)
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


def describe_exit(code: int) -> str:
    """Describe the exit code of a process that was not meant to end."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name}, often a sign of too little memory" if name == "SIGKILL" else name


def ended_twice(how: str) -> str:
    """Reason why a file is left out whose reading ended a process twice."""
    return f"reading it ended the process twice ({how})"


class ProcessEnded(Exception):
    """A process ended twice at one task; the text is how."""

    def __init__(self, began: bool, how: str) -> None:
        super().__init__(how)
        self.began = began  # it announced a step


class OwnProcess:
    """One process that does task after task apart from this one.

    It is started by the first task, and again after whatever ended it. It ends with this process,
    however that ends; a forked child starts its own. Threads take turns. It needs nothing of the
    program that runs now, and goes in daemons and in programs that are imported by a child too.

    Parameters
    ----------
    work : callable
        ``work(task, announce)`` as in :func:`work_through`, a function of a module.
    """

    def __init__(self, work: Callable[[Any, Callable[[Any], None]], Any]) -> None:
        self._work = work
        self._process: subprocess.Popen | None = None
        self._forget()
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self._end)

    def __call__(self, task: Any) -> Any:
        """Do a task, once more if it ends the process.

        Raises
        ------
        OSError, ImportError, MemoryError, PlaylistPretrainError, RuntimeError
            As in :func:`work_through`.
        ProcessEnded
            It ended twice.
        """
        with self._lock:
            for _ in range(2):
                began = False
                if self._process is None or self._process.poll() is not None:
                    self._start()
                try:
                    _send(self._pipe, task)
                    while (answer := _receive(self._pipe))[0] == "step":
                        began = True
                    break
                except (EOFError, OSError):
                    code = self._end(5)
                except BaseException:  # Ctrl-C: its answer to this task must not be the next one's
                    self._end()
                    raise
            else:
                raise ProcessEnded(began, describe_exit(code))
        kind, value = answer
        if kind == "error":
            raise value
        return value

    def _start(self) -> None:
        self._end()
        pipe, theirs = multiprocessing.Pipe()
        root = str(Path(__file__).parents[1])
        with without_interrupts():
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                )
            self._pipe = pipe
            with suppress(OSError):  # it died at once: the next wait sees the end of its pipe
                pipe.send([*(folder or root for folder in sys.path), root])
                pipe.send(self._work)

    def _end(self, wait: float = 0) -> int:
        """End the process after ``wait`` seconds, if there is one; its exit code."""
        if self._process is None:
            return 0
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(wait)
        self._process.kill()
        self._pipe.close()
        code, self._process = self._process.wait(), None
        return code

    def _forget(self) -> None:
        """Begin without a process, and with a lock that no thread holds."""
        self._lock = threading.Lock()
        if self._process is not None:
            self._pipe.close()
            self._process.returncode = 0  # or it warns that a process runs that nobody waits for
            self._process = None


_PROGRAM = """
import sys
from multiprocessing.connection import Connection
pipe = Connection(int(sys.argv[1]))
sys.path[:] = pipe.recv()
from playlist_pretrain.processes import _serve
_serve(pipe.recv(), pipe)
"""


def _start(work: Callable) -> _Worker:
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs), daemon=True)
    resource_tracker.ensure_running()  # it lifts the block of interrupts when it starts
    with without_interrupts(), without_main(work):
        process.start()
    theirs.close()
    return _Worker(process, pipe)


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM until the block ends; processes started in it leave Ctrl-C to us.

    Ctrl-C reaches every process of a terminal; those of the block inherit that it is blocked. In
    this process another thread may take the signal all the same, and the main thread then runs
    its handler, so another handler stands in until the block ends.
    """
    asked: list[int] = []
    handlers: dict[int, Any] = {}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        if threading.current_thread() is threading.main_thread():  # handlers run in it alone
            for number in (signal.SIGINT, signal.SIGTERM):
                if callable(handler := signal.getsignal(number)):  # what is ignored stays so
                    handlers[number] = handler
                    signal.signal(number, lambda number, frame: asked.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number in asked:
            signal.raise_signal(number)


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
        _send(worker.pipe, task)


def _stop(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(timeout=5)
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


_serving = False


def in_worker() -> bool:
    """True in a process that this module started."""
    return _serving


def _serve(work: Callable, pipe: connection.Connection) -> None:
    global _serving
    _serving = True

    def end_with_parent() -> None:
        hangup = select.poll()
        hangup.register(pipe.fileno(), 0)
        hangup.poll()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    with suppress(OSError, EOFError):  # nobody listens any more
        while True:
            _send(pipe, _answer(work, _receive(pipe), lambda step: _send(pipe, ("step", step))))


def _answer(work: Callable, task: Any, announce: Callable[[Any], None]) -> tuple[str, Any]:
    try:
        return "done", work(task, announce)
    except Exception as error:
        sent = error
        if not isinstance(error, OSError | ImportError | MemoryError | PlaylistPretrainError):
            sent = RuntimeError(f"{type(error).__name__}: {error}")  # it may not be picklable
        sent.add_note(f"in a worker process:\n{traceback.format_exc()}")
        return "error", sent


def _send(pipe: connection.Connection, message: Any) -> None:
    """Send a message, its arrays as they lie in memory."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    pipe.send(([array.nbytes for array in arrays], data))
    for array in arrays:
        while array:
            array = array[os.write(pipe.fileno(), array) :]


def _receive(pipe: connection.Connection) -> Any:
    """Receive what :func:`_send` sent."""
    sizes, data = pipe.recv()
    arrays = [np.empty(size, np.uint8) for size in sizes]
    for array in arrays:
        rest = array.data
        while rest:
            count = os.readv(pipe.fileno(), [rest])
            if count == 0:
                raise EOFError
            rest = rest[count:]
    return pickle.loads(data, buffers=arrays)
