"""One embedding a track, from a collection."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.progress import progress
from playlist_pretrain.records.positions import WindowPositions
from playlist_pretrain.records.schema import SMALLEST_STD
from playlist_pretrain.records.windows import WindowReader, read_ahead

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.records.collection import Collection

BATCH = 64


def track_embeddings(
    backbone: tf.keras.Model,
    front_end: FrontEnd,
    collection: Collection,
    *,
    rows: np.ndarray | None = None,
    seconds: float | None = None,
    short: str = "repeat",
    quiet: bool = True,
) -> np.ndarray:
    """Mean embedding of each track's non-overlapping windows.

    Parameters
    ----------
    backbone : tf.keras.Model
        ``[batch, frames, bands] → [batch, dim]``.
    front_end : FrontEnd
        That the backbone was trained on.
    collection : Collection
    rows : np.ndarray int [tracks], optional
        Which tracks; default all.
    seconds : float, optional
        Only the windows of that many seconds in the centre of each source.
    short : {"repeat", "pad"}
        What fills the window of a track that is shorter.
    quiet : bool
        No progress.

    Returns
    -------
    np.ndarray float32 [tracks, dim]

    Raises
    ------
    FrontEndError
        If the collection was made by another front end.
    """
    front_end.check_same(collection.front_end, "the model", f"collection {collection.name}")
    reader = WindowReader(collection, backbone.input_shape[1], short=short)
    return track_means(backbone, WindowPositions(reader, rows, seconds), quiet=quiet)


def track_means(
    model: tf.keras.Model, positions: WindowPositions, *, quiet: bool = True
) -> np.ndarray:
    """Mean output of a model over the windows of each track.

    Parameters
    ----------
    model : tf.keras.Model
        ``[batch, frames, bands] → [batch, dim]``: a backbone, or a tagger.
    positions : WindowPositions
        Says which windows.
    quiet : bool
        No progress.

    Returns
    -------
    np.ndarray float32 [tracks, dim]
        In the order of ``positions.rows``; NaN for a track that has no window.
    """
    total = np.zeros((len(positions.rows), model.output_shape[-1]), np.float64)
    windows = np.zeros((len(total), 1))
    reader = positions.reader
    blocks, soon = itertools.tee(positions.blocks(BATCH))
    requests = ((block.rows, block.starts) for block in soon)
    batches = read_ahead(reader.read, requests, reader.calls, reader.calls)
    with progress(total=positions.windows, quiet=quiet, desc="embedding", unit="window") as bar:
        for block, batch in zip(blocks, batches, strict=True):
            np.add.at(total, block.tracks, model(batch, training=False).numpy())
            np.add.at(windows, block.tracks, 1)
            bar.update(len(block))
    with np.errstate(invalid="ignore"):
        return (total / windows).astype(np.float32)


def mean_of_mel(collection: Collection) -> np.ndarray:
    """Mean of the standardised log-mel over a track's frames: what any embedding has to beat.

    Returns
    -------
    np.ndarray float32 [tracks, bands]
    """
    std = np.maximum(collection.band_std, SMALLEST_STD)
    means = [collection.mel(row).mean(axis=0, dtype=np.float64) for row in range(len(collection))]
    return ((np.stack(means) - collection.band_mean) / std).astype(np.float32)
