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
from playlist_pretrain.experiments.disk import bytes_of
from playlist_pretrain.experiments.state import State

UNKNOWN = "?"
LIKE = ("like it", "of its backbone", "of its kind")
"""What cells are that share a key of :func:`_keys`."""


class Estimates:
    """Time of cells, from the done ones most like them, and disk, from these or their weights.

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
        self._by_id = {cell.id: cell for cell in cells}
        self.done = {cell.id: state.done(cell) for cell in cells}
        self._known: dict[tuple, list[dict[str, Any]]] = {}
        self._tried: dict[tuple, dict[str, Any] | None] = {}
        for cell in cells:
            found = self.done[cell.id]
            if found is not None and not found["resumed"]:
                for key in _keys(cell):
                    self._known.setdefault(key, []).append(found)

    def of(self, cell: Cell) -> tuple[float, str] | None:
        """Seconds and where they are from; None when nothing is known."""
        for key, name in zip(_keys(cell), LIKE, strict=True):
            if key in self._known:
                found = self._known[key]
                return _mean(found, "seconds"), f"{len(found)} done {name}"
        if not self._measures or cell.kind != PRETRAIN:
            return None
        key = _keys(cell)[0]
        if key not in self._tried:
            self._tried[key] = _measured(cell)
        found = self._tried[key]
        return None if found is None else (found["seconds"], "a few steps timed")

    def disk(self, cell: Cell) -> float | None:
        """Bytes: those of done cells of its backbone, or else what follows from its weights.

        None of triplets that are not here yet.
        """
        for key in _keys(cell)[:-1]:
            if key in self._known:
                return _mean(self._known[key], "bytes")
        return bytes_of(cell, self._by_id)

    def left(self, workers: int) -> str:
        """How long what is not done takes, in words; empty when nothing is known of it."""
        estimates = [self.of(cell) for cell in self.cells if self.done[cell.id] is None]
        known = [estimate[0] for estimate in estimates if estimate is not None]
        if not known:
            return ""
        bound = "about" if len(known) == len(estimates) else "more than"
        return f"{bound} {time_text(sum(known) / workers)} left"

    def lines(self, workers: int) -> Iterator[str]:
        """The sums, then a line a cell."""
        todo = [cell for cell in self.cells if self.done[cell.id] is None]
        times = {cell.id: self.of(cell) for cell in todo}
        sizes = {cell.id: self.disk(cell) for cell in todo}
        done = len(self.cells) - len(todo)
        yield f"{len(self.cells)} cells, {len(todo)} to do, {done} done"
        yield from self._times(list(times.values()), workers)
        yield self._disk(list(sizes.values()))
        for cell in self.cells:
            if (found := self.done[cell.id]) is not None:
                yield f"{cell.id}  done, {time_text(found['seconds'])}, {_size(found['bytes'])}"
                continue
            failed = self.state.failed(cell)
            why = f"failed: {failed}; " if failed else ""
            time, source = f"time {UNKNOWN}", ""
            if (estimate := times[cell.id]) is not None:
                time, source = time_text(estimate[0]), f" ({estimate[1]})"
            size = sizes[cell.id]
            disk = f"disk {UNKNOWN}" if size is None else _size(size)
            yield f"{cell.id}  {why}to do, {time}{source}, {disk}"

    def _times(self, estimates: Sequence[tuple[float, str] | None], workers: int) -> Iterator[str]:
        known = [estimate[0] for estimate in estimates if estimate is not None]
        if known:
            about = time_text(sum(known) / workers)
            yield f"time: about {about} for {len(known)} cells with --workers {workers}"
        if unknown := len(estimates) - len(known):
            measures = "" if self._measures else "; --measure times a few steps of pre-trainings"
            yield f"time: not known of {unknown}, no cell of their kind is done{measures}"

    def _disk(self, sizes: Sequence[float | None]) -> str:
        known = [size for size in sizes if size is not None]
        without = f" without {sizes.count(None)} of triplets that are not here yet"
        free = _size(shutil.disk_usage(_existing(self.state.out)).free)
        return (
            f"disk: about {_size(sum(known))} more{without if None in sizes else ''}; {free} are "
            "free"
        )


def _mean(found: Sequence[dict[str, Any]], name: str) -> float:
    return float(np.mean([one[name] for one in found]))


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
