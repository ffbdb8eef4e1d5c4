"""Triplets: is the positive nearer to the anchor than the negative?"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.evaluation.bootstrap import mean_intervals

RESAMPLES = 10_000
BIN_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Of bins of agreement; of two answers one has half of the votes at least."""


@dataclass(frozen=True)
class TripletResult:
    """Accuracy over triplets, cosine distance.

    Attributes
    ----------
    margins : np.ndarray float64 [triplets]
        Distance(anchor, negative) − distance(anchor, positive), −2 to 2.
    right : np.ndarray float64 [triplets]
        1 where the negative is farther from the anchor than the positive, 0.5 for a tie.
    accuracy : float
        Mean of ``right``.
    interval : tuple of float
        95 % interval of the accuracy, bootstrap over triplets.
    difference : float
        Mean of ``margins``, as in arXiv 2304.12257.
    centred_difference : float
        The same of embeddings less the mean of those that the triplets name: where all embeddings
        share a direction, the former is small whatever they know.
    ties : int
        Triplets that count half.
    """

    margins: np.ndarray
    right: np.ndarray
    accuracy: float
    interval: tuple[float, float]
    difference: float
    centred_difference: float
    ties: int


@dataclass(frozen=True)
class PairedDifference:
    """Two models on the same triplets.

    Attributes
    ----------
    difference : float
        Accuracy of the first less that of the second.
    interval : tuple of float
        95 % interval, bootstrap over triplets.
    first, second : int
        Triplets that only the one, or only the other, has right; a tie is no side's.
    p_value : float
        McNemar's exact test, two-sided: how likely a split of these at least as uneven is if both
        models are equally good.
    """

    difference: float
    interval: tuple[float, float]
    first: int
    second: int
    p_value: float


def triplet_accuracy(embeddings: np.ndarray, triplets: np.ndarray, seed: int = 0) -> TripletResult:
    """Judge embeddings by triplets.

    Parameters
    ----------
    embeddings : np.ndarray [tracks, dim]
        One vector a track; only those that the triplets name are looked at.
    triplets : np.ndarray int [triplets, 3]
        Rows of anchor, positive and negative, at least one triplet.
    seed : int
        Of the bootstrap.

    Raises
    ------
    EmbeddingsError
        No triplets, or an embedding that is not finite.
    """
    if not len(triplets):
        raise EmbeddingsError("no triplets to judge embeddings by")
    named, places = np.unique(triplets, return_inverse=True)
    places = places.reshape(triplets.shape)
    vectors = embeddings[named].astype(np.float64)
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        raise EmbeddingsError(f"embedding of row {named[np.argmax(bad)]}: NaN or infinite values")
    margin = _margins(vectors, places)
    right = np.where(margin == 0, 0.5, margin > 0)
    (interval,) = mean_intervals(right[:, np.newaxis], resamples=RESAMPLES, seed=seed)
    return TripletResult(
        margin,
        right,
        float(right.mean()),
        interval,
        float(margin.mean()),
        float(_margins(vectors - vectors.mean(axis=0), places).mean()),
        int((margin == 0).sum()),
    )


def _margins(vectors: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    """Distance(anchor, negative) − distance(anchor, positive) of each triplet."""
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    anchor, positive, negative = (vectors[triplets[:, side]] for side in range(3))
    return (anchor * positive).sum(axis=1) - (anchor * negative).sum(axis=1)


def paired_difference(
    first: TripletResult, second: TripletResult, seed: int = 0
) -> PairedDifference:
    """Compare two models that were judged by the same triplets.

    Raises
    ------
    EmbeddingsError
        Different numbers of triplets.
    """
    from scipy.stats import binomtest

    if len(first.right) != len(second.right):
        raise EmbeddingsError(
            f"{len(first.right)} triplets and {len(second.right)}: only models that were judged "
            "by the same ones can be compared"
        )
    apart = first.right - second.right
    (interval,) = mean_intervals(apart[:, np.newaxis], resamples=RESAMPLES, seed=seed)
    only_first, only_second = (
        int(((one.right == 1) & (other.right == 0)).sum())
        for one, other in ((first, second), (second, first))
    )
    uneven = only_first + only_second
    p_value = float(binomtest(only_first, uneven).pvalue) if uneven else 1.0
    return PairedDifference(float(apart.mean()), interval, only_first, only_second, p_value)


def agreement_bins(agreement: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Triplets by how far people agree about them.

    Parameters
    ----------
    agreement : np.ndarray float [triplets]
        0 to 1, as the larger share of the votes.

    Returns
    -------
    list of (str, np.ndarray bool [triplets])
        Of each bin that holds triplets its name and its triplets; bins hold their lower edge,
        the last its upper one too.
    """
    edges = (0.0, *BIN_EDGES, 1.0)
    places = np.searchsorted(BIN_EDGES, agreement, side="right")
    return [
        (f"{low:g} to {high:g}" if high == 1 else f"{low:g} to below {high:g}", places == place)
        for place, (low, high) in enumerate(itertools.pairwise(edges))
        if (places == place).any()
    ]
