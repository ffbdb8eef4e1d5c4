"""Cells done by several processes, none of them twice, whatever fails or is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from playlist_pretrain.experiments.cell_run import BUSY, FAILED, STOPPED
from playlist_pretrain.experiments.cells import LOG, Cell, State
from playlist_pretrain.experiments.estimate import Estimates, time_text

POLL_SECONDS = 0.1
BUSY_SECONDS = 2.0
"""Between two looks at a cell that another process works on."""
PATIENCE_SECONDS = 300.0
"""For a process to end its step, and save what it has, after SIGTERM."""


class Stop(Exception):
    """SIGTERM came."""


@dataclass
class _Running:
    cell: Cell
    process: subprocess.Popen


class Pool:
    """Makes cells in processes of their own.

    A cell starts when all that it needs is done. One that fails is recorded, and the rest goes
    on; what needs it is left. A cell that another process works on, maybe on another machine, is
    waited for.

    Parameters
    ----------
    cells : sequence of Cell
        Each after those that it needs.
    state : State
    workers : int
        Processes at a time.
    threads : int or None
        Of one process; None for all cores divided by ``workers``.
    say : callable
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        state: State,
        *,
        workers: int,
        threads: int | None,
        say: Callable[[str], None],
    ):
        self.state, self.workers, self.say = state, workers, say
        self.threads = threads or max(1, len(os.sched_getaffinity(0)) // workers)
        self._cells, self._waiting = cells, list(cells)
        self._count, self._finished = len(cells), 0
        self._running: list[_Running] = []
        self._not_before: dict[str, float] = {}
        self._done: set[str] = set()
        self._lost: set[str] = set()

    def run(self) -> None:
        """Go through all cells.

        Raises
        ------
        Stop
            After SIGTERM; processes have ended, and what they had is saved.
        KeyboardInterrupt
            After Ctrl-C, as then.
        """
        for cell in list(self._waiting):
            if self.state.done(cell) is not None:
                self._settle(cell, self._done)
            else:
                self.state.forget_failure(cell)
        if self._finished:
            self.say(f"{self._finished} of {self._count} cells are done already")
        with _sigterm(), self._ending():
            while self._waiting or self._running:
                self._start_what_can()
                self._look()
                if self._running or self._waiting:
                    time.sleep(POLL_SECONDS)

    def _settle(self, cell: Cell, among: set[str]) -> None:
        self._waiting = [other for other in self._waiting if other.id != cell.id]
        self._finished += 1
        among.add(cell.id)

    def _start_what_can(self) -> None:
        for cell in list(self._waiting):
            if lost := [id for id in cell.needs if id in self._lost]:
                self._settle(cell, self._lost)
                self.say(f"{cell.id}: not done, it needs {lost[0]}")
                continue
            later = self._not_before.get(cell.id, 0) > time.monotonic()
            ready = self._done.issuperset(cell.needs)
            if len(self._running) < self.workers and ready and not later:
                self._waiting.remove(cell)
                self._running.append(_Running(cell, self._start(cell)))

    def _start(self, cell: Cell) -> subprocess.Popen:
        request = {
            "out": str(self.state.out),
            "cell": {"id": cell.id, "kind": cell.kind, "spec": cell.spec},
        }
        threads = {"TF_NUM_INTRAOP_THREADS": str(self.threads), "TF_NUM_INTEROP_THREADS": "1"}
        shared = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        notes = self.state.notes(cell)
        notes.mkdir(parents=True, exist_ok=True)
        with open(notes / LOG, "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "playlist_pretrain.experiments.cell_run",
                 json.dumps(request)],
                stdin=subprocess.PIPE, stdout=log, stderr=log,
                env={**shared, **os.environ, **threads},
                start_new_session=True,  # Ctrl-C is for this process, which passes it on
            )  # fmt: skip

    def _look(self) -> None:
        for running in list(self._running):
            code = running.process.poll()
            if code is None:
                continue
            self._running.remove(running)
            running.process.stdin.close()
            cell = running.cell
            if code in (BUSY, STOPPED):  # stopped by somebody else: it can be gone on with
                if cell.id not in self._not_before:
                    self.say(f"{cell.id}: another process works on it, or stopped it; waiting")
                self._not_before[cell.id] = time.monotonic() + BUSY_SECONDS
                self._waiting.append(cell)
            elif code == 0:
                self._settle(cell, self._done)
                took = time_text(self.state.done(cell)["seconds"])
                left = Estimates(self._cells, self.state).left(self.workers)
                told = f"{took}; {left}" if left else took
                self.say(f"[{self._finished}/{self._count}] {cell.id}: done, {told}")
            else:
                if code != FAILED or self.state.failed(cell) is None:
                    how = f"signal {-code}" if code < 0 else f"exit code {code}"
                    log = self.state.notes(cell) / LOG
                    self.state.fail(cell, f"its process ended with {how}; see the end of {log}")
                self._settle(cell, self._lost)
                reason = self.state.failed(cell)
                self.say(f"[{self._finished}/{self._count}] {cell.id}: FAILED: {reason}")

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """End the processes with this one; each saves what it can go on with."""
        try:
            yield
        finally:
            for running in self._running:
                running.process.send_signal(signal.SIGTERM)
            until = time.monotonic() + PATIENCE_SECONDS
            for running in self._running:
                try:
                    running.process.wait(max(0.0, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    running.process.kill()
                    running.process.wait()


@contextlib.contextmanager
def _sigterm() -> Iterator[None]:
    """Raise Stop at SIGTERM as long as the block runs."""

    def stop(*_):
        raise Stop

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
