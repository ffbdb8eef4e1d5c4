"""One embedding a track, from a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.progress import progress
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
    frames = backbone.input_shape[1]
    reader = WindowReader(collection, frames, short=short)
    windows = np.maximum(collection.frames // frames, 1)
    rows = np.repeat(np.arange(len(collection), dtype=np.int32), windows)
    first = np.cumsum(windows) - windows
    starts = ((np.arange(len(rows)) - np.repeat(first, windows)) * frames).astype(np.int32)
    total = np.zeros((len(collection), backbone.output_shape[-1]), np.float64)
    parts = [slice(i, i + BATCH) for i in range(0, len(rows), BATCH)]
    batches = read_ahead(
        reader.read, ((rows[part], starts[part]) for part in parts), reader.calls, reader.calls
    )
    bar = progress(batches, quiet=quiet, total=len(parts), desc="embedding", unit="batch")
    for part, batch in zip(parts, bar, strict=True):
        np.add.at(total, rows[part], backbone(batch, training=False).numpy())
    return (total / windows[:, None]).astype(np.float32)


def mean_of_mel(collection: Collection) -> np.ndarray:
    """Mean of the standardised log-mel over a track's frames: what any embedding has to beat.

    Returns
    -------
    np.ndarray float32 [tracks, bands]
    """
    std = np.maximum(collection.band_std, SMALLEST_STD)
    means = [collection.mel(row).mean(axis=0, dtype=np.float64) for row in range(len(collection))]
    return ((np.stack(means) - collection.band_mean) / std).astype(np.float32)
