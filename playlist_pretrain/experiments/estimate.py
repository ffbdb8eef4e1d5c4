"""What is left of a plan: cells, time and disk.

How much disk cells will take, from what they are: weights, tracks and clips.

How long a pre-training cell will take, from a few of its own steps.

``python -m playlist_pretrain.experiments.estimate CELL``, CELL as JSON; answers with JSON.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from playlist_pretrain.errors import PlaylistPretrainError
from playlist_pretrain.experiments.cell_run import settled
from playlist_pretrain.experiments.cells import PRETRAIN, TAGS, WORLD, Cell, State
from playlist_pretrain.experiments.plan import AUDIOSET, MEAN_OF_MEL

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
        [sys.executable, "-m", "playlist_pretrain.experiments.estimate", request],
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


CHECKPOINTS, VALUES_OF_ADAM = 2, 3
"""Checkpoints that a pre-training keeps, and what each holds of a weight: itself and two means."""
GRAPH_BYTES = 800_000
"""Of a SavedModel without its weights, about; measured on VGGish."""
RESNET50_WEIGHTS = 23_554_880
"""For windows of any size; keras-cv cannot build it in a graph."""
BYTES = 4
"""Of a weight, and of a value of an embedding."""


def bytes_of(cell: Cell, cells: Mapping[str, Cell]) -> int | None:
    """Bytes that a cell will leave, but for logs and figures; None of triplets nobody can count.

    Parameters
    ----------
    cell : Cell
    cells : mapping
        By id; those that it needs are among them.
    """
    if cell.kind == WORLD:
        return _bytes_of_world()
    weights, values = _model(cell, cells)
    if cell.kind == PRETRAIN:
        return GRAPH_BYTES + BYTES * weights * (1 + CHECKPOINTS * VALUES_OF_ADAM)
    if cell.kind == TAGS:  # checkpoints of a fine-tuning go when it ends
        return (GRAPH_BYTES + BYTES * weights) * cell.spec["options"]["runs"]
    clips = _clips(cell)
    return None if clips is None else BYTES * values * clips


def _model(cell: Cell, cells: Mapping[str, Cell]) -> tuple[int, int]:
    """Weights of the model of a cell, and values of its embeddings."""
    from playlist_pretrain.training.recipes import PretrainRecipe

    model, options = cell.spec.get("model"), cell.spec["options"]
    if isinstance(model, dict):
        return _model(cells[model["cell"]], cells)
    frames, bands = _window(options.get("collection"))
    if model == MEAN_OF_MEL:
        return 0, bands
    width = options.get("width")
    if cell.kind == PRETRAIN:
        width = PretrainRecipe(**options).resolve(demo=False, window_frames=frames).width
    if model != AUDIOSET:
        frames = options.get("frames") or frames
    return _count(options.get("backbone", "vggish"), width, frames, bands)


@functools.cache
def _count(backbone: str, width: float | None, frames: int, bands: int) -> tuple[int, int]:
    import tensorflow as tf

    from playlist_pretrain.models.layers import projector
    from playlist_pretrain.models.resnet50 import EMBEDDING_UNITS
    from playlist_pretrain.models.vggish import vggish

    # In a graph nothing is made of the weights but their shapes, and no GPU is touched.
    with tf.Graph().as_default():
        if backbone == "resnet50":
            weights, values = RESNET50_WEIGHTS, EMBEDDING_UNITS
        else:
            model = vggish(frames=frames, bands=bands, width=width or 1.0)
            weights, values = model.count_params(), model.output_shape[-1]
        return weights + projector(values).count_params(), values


@functools.cache
def _window(collection: str | None) -> tuple[int, int]:
    """Frames and bands of a collection's windows; the paper's where it is not here yet."""
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.records.collection import front_end_of, read_document
    from playlist_pretrain.records.schema import COLLECTION_FILE
    from playlist_pretrain.storage import is_remote

    found = front_end("paper")
    if collection is not None and not is_remote(collection):
        file = Path(collection) / COLLECTION_FILE
        if file.is_file():
            found = front_end_of(read_document(file.parent), file)
    return found.window_frames, found.bands


def _bytes_of_world() -> int:
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.demo.build import SECONDS
    from playlist_pretrain.demo.world import PARTS, SONGS_PER_ARTIST, STYLES
    from playlist_pretrain.records.schema import MEL_DTYPE

    paper = front_end("paper")
    songs = sum(PARTS.values()) * len(STYLES) * SONGS_PER_ARTIST
    frames = round(SECONDS * paper.sample_rate / paper.hop_length)
    return songs * frames * paper.bands * MEL_DTYPE.itemsize


def _clips(cell: Cell) -> int | None:
    """Clips that triplets may name: three a line; None where the file is not here yet."""
    from playlist_pretrain.demo.world import PARTS, SONGS_PER_ARTIST, STYLES
    from playlist_pretrain.retrieval.similarity import TRIPLETS

    options = cell.spec["options"]
    if cell.world is not None and options["triplets"] is None:
        return PARTS["demo-eval"] * len(STYLES) * SONGS_PER_ARTIST
    file = Path(options["triplets"] or Path(options["collection"]) / TRIPLETS)
    if not file.is_file():
        return None
    with open(file, "rb") as lines:
        return 3 * sum(1 for _ in lines)


FIRST, TIMED = 2, 5
"""Steps that are not timed (graphs are made), and steps that are."""


def measure(cell: Cell) -> dict[str, Any]:
    """Seconds of all steps of a cell.

    Nothing is written but the tables of pairings, beside their groups, as a run would.
    """
    from playlist_pretrain.pairs.dataset import step_dataset
    from playlist_pretrain.training.pretrain import build_model

    recipe, data = settled(cell)
    recipe = recipe.resolve(demo=False, window_frames=data.collection.front_end.window_frames)
    recipe = recipe.with_steps(data.stream.steps_per_epoch)
    model = build_model(recipe, data)

    def fit(first: int, count: int) -> float:
        dataset = step_dataset(
            data.reader, data.stream, seed=recipe.seed, first=first, last=first + count
        )
        start = time.monotonic()
        model.fit(dataset, steps_per_epoch=count, verbose=0)
        return time.monotonic() - start

    fit(0, FIRST)
    seconds = fit(FIRST, TIMED) / TIMED
    steps = recipe.epochs * data.stream.steps_per_epoch
    return {"seconds": seconds * steps, "steps": steps}


def main(argv: Sequence[str] | None = None) -> int:
    """Print what :func:`measure` finds, or ``{"error": …}``."""
    cell = Cell(**json.loads((sys.argv[1:] if argv is None else argv)[0]))
    try:
        print(json.dumps(measure(cell)))
    except PlaylistPretrainError as error:
        print(json.dumps({"error": str(error)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
