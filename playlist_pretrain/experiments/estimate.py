"""What is left of a plan: cells, time and disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from playlist_pretrain.experiments.cells import PRETRAIN, Cell
from playlist_pretrain.experiments.state import State

UNKNOWN = "?"


class Estimates:
    """Time and disk of cells, from the done ones most like them.

    Parameters
    ----------
    cells : sequence of Cell
        All of the plan.
    state : State
    measured : bool
        Time a few steps of pre-trainings of which no like is done.
    """

    def __init__(self, cells: Sequence[Cell], state: State, *, measured: bool = False):
        self.cells, self.state, self._measures = cells, state, measured
        self.done = {cell.id: state.done(cell) for cell in cells}
        self._known: dict[tuple, list[dict[str, Any]]] = {}
        self._tried: dict[tuple, dict[str, Any] | None] = {}
        for cell in cells:
            found = self.done[cell.id]
            if found is not None and not found["resumed"]:
                for key in _keys(cell):
                    self._known.setdefault(key, []).append(found)

    def of(self, cell: Cell) -> tuple[float, float, str] | None:
        """Seconds, bytes and where they are from; None when nothing is known."""
        for key, name in zip(
            _keys(cell), ("like it", "of its backbone", "of its kind"), strict=True
        ):
            if key in self._known:
                found = self._known[key]
                seconds, size = (
                    float(np.mean([f[n] for f in found])) for n in ("seconds", "bytes")
                )
                return seconds, size, f"{len(found)} done {name}"
        if not self._measures or cell.kind != PRETRAIN:
            return None
        key = _keys(cell)[0]
        if key not in self._tried:
            self._tried[key] = _measured(cell)
        found = self._tried[key]
        return None if found is None else (found["seconds"], found["bytes"], "a few steps timed")

    def left(self, workers: int) -> str:
        """How long what is not done takes, in words; empty when nothing is known of it."""
        estimates = [self.of(cell) for cell in self.cells if self.done[cell.id] is None]
        known = [estimate[0] for estimate in estimates if estimate is not None]
        if not known:
            return ""
        bound = "about" if len(known) == len(estimates) else "more than"
        return f"{bound} {time_text(sum(known) / workers)} left"

    def lines(self, workers: int) -> Iterator[str]:
        """A line a cell, then the sums."""
        left, size, unknown = 0.0, 0.0, 0
        for cell in self.cells:
            if (found := self.done[cell.id]) is not None:
                yield f"{cell.id}  done, {time_text(found['seconds'])}, {_size(found['bytes'])}"
                continue
            failed = self.state.failed(cell)
            why = f"failed: {failed}; " if failed else ""
            estimate = self.of(cell)
            if estimate is None:
                unknown += 1
                yield f"{cell.id}  {why}to do, time {UNKNOWN}"
                continue
            seconds, bytes_, source = estimate
            left, size = left + seconds, size + bytes_
            yield f"{cell.id}  {why}to do, {time_text(seconds)}, {_size(bytes_)} ({source})"
        todo = sum(found is None for found in self.done.values())
        yield f"{len(self.cells)} cells, {todo} to do"
        if todo > unknown:
            yield (
                f"{todo - unknown} of these take about {time_text(left / workers)} with {workers} "
                f"workers, and {_size(size)}"
            )
        if unknown:
            yield (
                f"nothing is known of {unknown}: no cell of their kind is done"
                + ("" if self._measures else "; --measure times a few steps of pre-trainings")
            )
        yield f"{_size(shutil.disk_usage(_existing(self.state.out)).free)} are free"


def _keys(cell: Cell) -> tuple[tuple, ...]:
    """What cells have in common that take a like time, the most telling first."""
    backbone, start = (cell.row.backbone, cell.row.start) if cell.row else ("", "")
    return (
        (cell.kind, cell.task, backbone, start),
        (cell.kind, cell.task, backbone),
        (cell.kind, cell.task),
    )


def _measured(cell: Cell) -> dict[str, Any] | None:
    request = json.dumps({"id": cell.id, "kind": cell.kind, "spec": cell.spec})
    done = subprocess.run(
        [sys.executable, "-m", "playlist_pretrain.experiments.measure", request],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
        env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
    )  # fmt: skip
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):  # it was killed, as for lack of memory
        return None
    return None if "error" in found else found


def _existing(path: Path) -> Path:
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())


def time_text(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
