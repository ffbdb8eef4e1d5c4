"""Percentile bootstrap: of means, and of macro ROC-AUC and Average Precision over tracks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from playlist_pretrain.evaluation.scores import check_scores, measurable
from playlist_pretrain.kernels import compiled
from playlist_pretrain.messages import progress

METRICS = ("roc_auc", "average_precision")
"""Order of the metrics in what is resampled."""


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray | None],
    items: int,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Compute a statistic for items drawn with replacement, float64 [resamples, …].

    ``statistic`` takes how often each item was drawn (int64 [items]) and returns an array, or None
    where this draw has no value: then another one is drawn. Equal seeds draw the same items: the
    results of two models can be subtracted.
    """
    generator = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    with progress(total=resamples, desc="bootstrap", unit="resample") as bar:
        while len(found) < resamples:
            times = np.bincount(generator.integers(items, size=items), minlength=items)
            value = statistic(times)
            if value is not None:
                found.append(value)
                bar.update()
    return np.array(found)


def percentile_intervals(resampled: np.ndarray) -> list[tuple[float, float]]:
    """Compute the 95 % interval of each column of resampled values [resamples, columns]."""
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def mean_intervals(
    values: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> list[tuple[float, float]]:
    """Compute the 95 % interval of the mean of each column of float values [rows, columns].

    The rows of all columns are drawn together.
    """
    rows = len(values)
    return percentile_intervals(
        bootstrap(lambda times: times @ values / rows, rows, resamples=resamples, seed=seed)
    )


def grouped_mean_intervals(
    values: np.ndarray,
    groups: Sequence[np.ndarray],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[tuple[float, float]] | None:
    """Compute 95 % intervals of the means of columns [rows, columns], resampling groups of rows.

    Rows of one group (tracks of an artist) are not independent, so whole groups are drawn with
    replacement: the cluster bootstrap (Field & Welsh 2007, J. R. Statist. Soc. B 69). ``groups``
    has the numbers of the groups of each row, one at least. In each resample a row of several goes
    with one of them, drawn by lot. Counting it with all of its groups would make intervals too
    narrow by about the square root of their number; so, they are none narrower than those of rows
    drawn one by one. Of rows that are all of one group there are none: None.
    """
    sizes = np.array([len(one) for one in groups])
    there, numbers = np.unique(np.concatenate(groups), return_inverse=True)
    if len(there) < 2:
        return None
    first = np.cumsum(sizes) - sizes
    lots = np.random.default_rng([seed, 1])

    def mean(times: np.ndarray) -> np.ndarray | None:
        chosen = numbers[first + (lots.random(len(sizes)) * sizes).astype(np.int64)]
        weights = times[chosen]
        return weights @ values / weights.sum() if weights.any() else None

    return percentile_intervals(bootstrap(mean, len(there), resamples=resamples, seed=seed))


def resampled_means(
    targets: np.ndarray, scores: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """Compute macro ROC-AUC and Average Precision of resampled tracks, float64 [resamples, 2].

    A class that no track of a resample has, or all have, is left out of that resample. The
    Average Precision of resamples lies a little above that of the split, since a track that is
    drawn twice backs itself up; this is not corrected for.

    ``targets`` (bool) and ``scores`` (float) are [tracks, classes]; raises ScoresError as
    :func:`~playlist_pretrain.evaluation.tagging.tagging_metrics`.
    """
    targets, scores = check_scores(targets, scores)
    measured = measurable(targets)
    ranking = ranked_classes(targets[:, measured], scores[:, measured])

    def macro(times: np.ndarray) -> np.ndarray | None:
        areas = areas_of_resample(times, *ranking)
        return None if np.isnan(areas).all() else np.nanmean(areas, axis=1)

    return bootstrap(macro, len(targets), resamples=resamples, seed=seed)


def bootstrap_intervals(
    targets: np.ndarray, scores: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Compute 95 % intervals of macro ROC-AUC and Average Precision; see :func:`resampled_means`.

    They say how much the metrics depend on the tracks of the split, not how much runs differ.
    Returns ``{"roc_auc": (low, high), "average_precision": (low, high)}``.
    """
    means = resampled_means(targets, scores, resamples=resamples, seed=seed)
    return dict(zip(METRICS, percentile_intervals(means), strict=True))


def ranked_classes(
    targets: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort the tracks of each class by falling score, once for all resamples.

    Returns their order (int32), the targets in that order, and which is the last of the tracks
    that have the same score, each [classes, tracks].
    """
    order = np.argsort(-scores.T, axis=1, kind="stable").astype(np.int32)
    ranked = np.take_along_axis(scores.T, order, axis=1)
    last = np.ones(ranked.shape, bool)
    last[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    return order, np.take_along_axis(targets.T, order, axis=1), last


@compiled
def areas_of_resample(times, order, positive, last):
    """ROC-AUC and Average Precision [2, classes] where each track is there ``times`` times.

    NaN for a class that all of these tracks have, or none.
    """
    classes, tracks = order.shape
    areas = np.full((2, classes), np.nan)
    for column in range(classes):
        positives = negatives = new_positives = new_negatives = 0
        pairs = precision = 0.0
        for place in range(tracks):
            count = times[order[column, place]]
            if positive[column, place]:
                new_positives += count
            else:
                new_negatives += count
            if last[column, place] and new_positives + new_negatives:
                pairs += new_negatives * (positives + new_positives / 2)
                positives += new_positives
                negatives += new_negatives
                precision += new_positives * (positives / (positives + negatives))
                new_positives = new_negatives = 0
        if positives and negatives:
            areas[0, column] = pairs / (positives * negatives)
            areas[1, column] = precision / positives
    return areas
