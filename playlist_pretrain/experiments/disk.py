"""How much disk cells will take, from what they are: weights, tracks and clips."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from playlist_pretrain.experiments.cells import PRETRAIN, TAGS, WORLD, Cell
from playlist_pretrain.experiments.plan import AUDIOSET, MEAN_OF_MEL

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
    from playlist_pretrain.recipes import PretrainRecipe

    model, options = cell.spec.get("model"), cell.spec["options"]
    if isinstance(model, dict):
        return _model(cells[model["cell"]], cells)
    frames, bands = _window(options.get("collection"))
    if model == MEAN_OF_MEL:
        return 0, bands
    width = options.get("width")
    if cell.kind == PRETRAIN:
        width = PretrainRecipe(**options).resolve(demo=False, window_frames=frames).recipe.width
    if model != AUDIOSET:
        frames = options.get("frames") or frames
    return _count(options.get("backbone", "vggish"), width, frames, bands)


@functools.cache
def _count(backbone: str, width: float | None, frames: int, bands: int) -> tuple[int, int]:
    import tensorflow as tf

    from playlist_pretrain.models.projector import projector
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
    from playlist_pretrain.evaluation.similarity_run import TRIPLETS

    options = cell.spec["options"]
    if cell.world is not None and options["triplets"] is None:
        return PARTS["demo-eval"] * len(STYLES) * SONGS_PER_ARTIST
    file = Path(options["triplets"] or Path(options["collection"]) / TRIPLETS)
    if not file.is_file():
        return None
    with open(file, "rb") as lines:
        return 3 * sum(1 for _ in lines)
