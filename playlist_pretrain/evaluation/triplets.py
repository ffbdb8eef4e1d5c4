"""Triplets: is the positive nearer to the anchor than the negative?"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.evaluation.bootstrap import mean_intervals

RESAMPLES = 10_000
BIN_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Edges of bins of agreement; of two answers one has half of the votes at least."""


@dataclass(frozen=True)
class TripletResult:
    """Accuracy over triplets, cosine distance."""

    # Distance(anchor, negative) − distance(anchor, positive), float64 [triplets]
    margins: np.ndarray
    right: np.ndarray  # 1 where that is above 0, 0.5 for a tie, else 0; float64 [triplets]
    accuracy: float  # mean of ``right``
    interval: tuple[float, float]  # 95 % interval of the accuracy, bootstrap over triplets
    difference: float  # mean of ``margins``, as in arXiv 2304.12257
    # the same of embeddings less the mean of those that the triplets name: where all embeddings
    # share a direction, the former is small whatever they know
    centred_difference: float
    ties: int


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of a first model less that of a second on the same triplets.

    The interval is a 95 % bootstrap over triplets. ``first`` and ``second`` count the triplets
    that only the one has right (ties count for neither), ``p_value`` is the two-sided p of
    McNemar's exact test of them.
    """

    difference: float
    interval: tuple[float, float]
    first: int
    second: int
    p_value: float


def triplet_accuracy(embeddings: np.ndarray, triplets: np.ndarray, seed: int = 0) -> TripletResult:
    """Judge embeddings by triplets.

    ``embeddings`` are [tracks, dim], one vector a track; those that the triplets name must be
    finite. ``triplets``, int [triplets, 3], at least one, are rows of anchor, positive and
    negative; ``seed`` is that of the bootstrap.
    """
    if not len(triplets):
        raise EmbeddingsError("no triplets to judge embeddings by")
    named, places = np.unique(triplets, return_inverse=True)
    places = places.reshape(triplets.shape)
    vectors = embeddings[named].astype(np.float64)
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        raise EmbeddingsError(f"embedding of row {named[np.argmax(bad)]}: NaN or infinite values")
    margins = _margins(vectors, places)
    right = np.where(margins == 0, 0.5, margins > 0)
    (interval,) = mean_intervals(right[:, np.newaxis], resamples=RESAMPLES, seed=seed)
    return TripletResult(
        margins,
        right,
        accuracy=float(right.mean()),
        interval=interval,
        difference=float(margins.mean()),
        centred_difference=float(_margins(vectors - vectors.mean(axis=0), places).mean()),
        ties=int((margins == 0).sum()),
    )


def _margins(vectors: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    """Distance(anchor, negative) − distance(anchor, positive) of each triplet."""
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    anchor, positive, negative = (vectors[triplets[:, side]] for side in range(3))
    return (anchor * positive).sum(axis=1) - (anchor * negative).sum(axis=1)


def paired_difference(
    first: TripletResult, second: TripletResult, seed: int = 0
) -> PairedDifference:
    """Compare two models that were judged by the same triplets."""
    from scipy.stats import binomtest

    if len(first.right) != len(second.right):
        raise EmbeddingsError(
            f"{len(first.right)} triplets and {len(second.right)}: only models that were judged "
            "by the same ones can be compared"
        )
    apart = first.right - second.right
    (interval,) = mean_intervals(apart[:, np.newaxis], resamples=RESAMPLES, seed=seed)
    only_first, only_second = int((apart == 1).sum()), int((apart == -1).sum())
    uneven = only_first + only_second
    p_value = float(binomtest(only_first, uneven).pvalue) if uneven else 1.0
    return PairedDifference(float(apart.mean()), interval, only_first, only_second, p_value)


def agreement_bins(agreement: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Sort triplets into bins by how far people agree about them.

    ``agreement`` float [triplets] is the larger share of the votes, 0 to 1. Returns name and
    triplets (bool [triplets]) of each bin that is not empty; bins hold their lower edge, the last
    its upper one too.
    """
    places = np.searchsorted(BIN_EDGES, agreement, side="right")
    return [
        (f"{low:g} to {high:g}" if high == 1 else f"{low:g} to below {high:g}", places == place)
        for place, (low, high) in enumerate(itertools.pairwise((0.0, *BIN_EDGES, 1.0)))
        if (places == place).any()
    ]
