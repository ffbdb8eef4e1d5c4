"""Cells run by several processes, none of them twice, whatever fails or is killed."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from playlist_pretrain.experiments.cell_run import BUSY, FAILED, STOPPED
from playlist_pretrain.experiments.cells import LOG, Cell, State

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
BUSY_SECONDS = 2.0
"""Between two looks at a cell that another process works on."""
PATIENCE_SECONDS = 300.0
"""For a process to end its step, and save what it has, after SIGTERM."""


class Stop(Exception):
    """SIGTERM came."""


def run_cells(
    cells: Sequence[Cell], state: State, *, workers: int, threads: int | None = None
) -> None:
    """Run all cells that are not done, each in a process of its own.

    A cell starts when all that it needs is done. One that fails is recorded, and the rest goes
    on; the cells that need it are left. A cell that another process works on, maybe on another
    machine, is waited for.

    ``cells`` come each after those that it needs; there are ``workers`` processes at a time, of
    ``threads`` threads each [all cores divided by ``workers``].

    Raises
    ------
    Stop
        After SIGTERM; processes have ended, and what they had is saved.
    KeyboardInterrupt
        After Ctrl-C, as then.
    """
    threads = threads or max(1, len(os.sched_getaffinity(0)) // workers)
    done = {cell.id for cell in cells if state.done(cell) is not None}
    waiting = [cell for cell in cells if cell.id not in done]
    lost: set[str] = set()
    not_before: dict[str, float] = {}
    running: dict[str, tuple[Cell, subprocess.Popen]] = {}
    for cell in waiting:
        state.forget_failure(cell)
    if done:
        logger.info(f"{len(done)} of {len(cells)} cells are done already")
    with _sigterm(), _ending(running):
        while waiting or running:
            for cell in list(waiting):
                now = time.monotonic() >= not_before.get(cell.id, 0)
                if needed := [id for id in cell.needs if id in lost]:
                    waiting.remove(cell)
                    lost.add(cell.id)
                    logger.info(f"{cell.id}: not done, it needs {needed[0]}")
                elif now and len(running) < workers and done.issuperset(cell.needs):
                    waiting.remove(cell)
                    running[cell.id] = cell, _start(cell, state, threads)
            for cell, process in list(running.values()):
                if (code := process.poll()) is None:
                    continue
                del running[cell.id]
                process.stdin.close()
                if code in (BUSY, STOPPED):  # stopped by somebody else: it can be gone on with
                    if cell.id not in not_before:
                        logger.info(
                            f"{cell.id}: another process works on it, or stopped it; waiting"
                        )
                    not_before[cell.id] = time.monotonic() + BUSY_SECONDS
                    waiting.append(cell)
                    continue
                (done if code == 0 else lost).add(cell.id)
                how = _outcome(cell, state, code)
                logger.info(f"[{len(done) + len(lost)}/{len(cells)}] {cell.id}: {how}")
            if waiting or running:
                time.sleep(POLL_SECONDS)


def _start(cell: Cell, state: State, threads: int) -> subprocess.Popen:
    about = {"id": cell.id, "kind": cell.kind, "spec": cell.spec}
    request = json.dumps({"out": str(state.out), "cell": about})
    settings = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", **os.environ}
    settings |= {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": "1"}
    state.notes(cell).mkdir(parents=True, exist_ok=True)
    with open(state.notes(cell) / LOG, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "playlist_pretrain.experiments.cell_run", request],
            stdin=subprocess.PIPE, stdout=log, stderr=log, env=settings,
            start_new_session=True,  # Ctrl-C is for this process, which passes it on
        )  # fmt: skip


def _outcome(cell: Cell, state: State, code: int) -> str:
    """Text about a process that ended; a failure that it did not record itself is recorded."""
    if code == 0:
        return f"done, {time_text(state.done(cell)['seconds'])}"
    if code != FAILED or state.failed(cell) is None:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        log = state.notes(cell) / LOG
        state.fail(cell, f"its process ended with {how}; see the end of {log}")
    return f"FAILED: {state.failed(cell)}"


def time_text(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


@contextlib.contextmanager
def _ending(running: Mapping[str, tuple[Cell, subprocess.Popen]]) -> Iterator[None]:
    """End the processes with this one; each saves what it can go on with."""
    try:
        yield
    finally:
        for _, process in running.values():
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + PATIENCE_SECONDS
        for _, process in running.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


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
