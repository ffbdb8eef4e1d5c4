"""Triplets: is the positive nearer to the anchor than the negative?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import TableError
from playlist_pretrain.tables import read_columns

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection

COLUMNS = ("anchor", "positive", "negative")
RESAMPLES = 10_000


@dataclass(frozen=True)
class TripletResult:
    """Accuracy over triplets, cosine distance.

    Attributes
    ----------
    right : np.ndarray float64 [triplets]
        1 where the negative is farther from the anchor than the positive, 0.5 for a tie.
    accuracy : float
        Mean of ``right``.
    interval : tuple of float
        95 % interval of the accuracy, bootstrap over triplets.
    difference : float
        Mean of distance(anchor, negative) − distance(anchor, positive), as in arXiv 2304.12257.
    """

    right: np.ndarray
    accuracy: float
    interval: tuple[float, float]
    difference: float


def triplet_accuracy(embeddings: np.ndarray, triplets: np.ndarray, seed: int = 0) -> TripletResult:
    """Judge embeddings by triplets.

    Parameters
    ----------
    embeddings : np.ndarray [tracks, dim]
        One vector a track.
    triplets : np.ndarray int [triplets, 3]
        Rows of anchor, positive and negative.
    seed : int
        Of the bootstrap.
    """
    vectors = embeddings.astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    anchor, positive, negative = (vectors[triplets[:, side]] for side in range(3))
    margin = (anchor * positive).sum(axis=1) - (anchor * negative).sum(axis=1)
    right = np.where(margin == 0, 0.5, margin > 0)
    generator = np.random.default_rng(seed)
    means = [generator.choice(right, len(right)).mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return TripletResult(
        right, float(right.mean()), (float(low), float(high)), float(margin.mean())
    )


def read_triplets(path: str | Path, collection: Collection) -> np.ndarray:
    """Read a table of track ids with the columns ``anchor``, ``positive`` and ``negative``.

    Parameters
    ----------
    path : str or Path
        CSV or TSV as ``playlist_pretrain.tables`` reads it. Other columns are ignored.
    collection : Collection
        Holds the tracks.

    Returns
    -------
    np.ndarray int32 [triplets, 3]
        Rows of the collection.

    Raises
    ------
    TableError
        For a table that cannot be read, or an id that is not in the collection.
    """
    numbers, ids = zip(*read_columns(path, COLUMNS), strict=True)
    triplets = np.stack([collection.rows(column) for column in zip(*ids, strict=True)], 1)
    if (triplets < 0).any():
        row, side = np.argwhere(triplets < 0)[0]
        raise TableError(
            f"{path}: line {numbers[row]}: the {COLUMNS[side]} {ids[row][side]!r} is not in "
            f"{collection.name}"
        )
    return triplets
