"""How much macro ROC-AUC and Average Precision depend on the tracks they were measured on."""

from __future__ import annotations

import numpy as np

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.evaluation.scores import check_scores, measurable
from playlist_pretrain.messages import progress
from playlist_pretrain.playlists.kernels import compiled

METRICS = ("roc_auc", "average_precision")
"""In the order of what is resampled."""


def bootstrap_intervals(
    targets: np.ndarray,
    scores: np.ndarray,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    quiet: bool = True,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the macro means, from resampling tracks with replacement.

    A class that no track of a resample has, or all have, is left out of that resample. Says how
    much the numbers depend on the tracks of the split, not how much runs differ. The Average
    Precision of resamples lies a little above that of the split, since a track that is drawn
    twice backs itself up; the interval is not corrected for that.

    Parameters
    ----------
    targets : np.ndarray bool [tracks, classes]
    scores : np.ndarray float [tracks, classes]
    resamples : int
        At least 1.
    confidence : float
        Share of the resamples within the interval; between 0 and 1.
    seed : int
        Of the resampling.
    quiet : bool
        No progress.

    Returns
    -------
    dict
        ``{"roc_auc": (low, high), "average_precision": (low, high)}``

    Raises
    ------
    ScoresError
        As :func:`~playlist_pretrain.evaluation.tagging.tagging_metrics`.
    RecipeError
        For ``resamples`` or ``confidence`` that are not possible.
    """
    _check(resamples, confidence)
    means = resampled_means(targets, scores, resamples=resamples, seed=seed, quiet=quiet)
    low, high = np.percentile(means, [50 - 50 * confidence, 50 + 50 * confidence], axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(METRICS)}


def resampled_means(
    targets: np.ndarray,
    scores: np.ndarray,
    *,
    resamples: int = 1000,
    seed: int = 0,
    quiet: bool = True,
) -> np.ndarray:
    """Macro ROC-AUC and Average Precision of resampled tracks, float64 [resamples, 2].

    With equal targets and an equal seed the same tracks are drawn: the results of two models can
    then be subtracted, resample by resample.

    Parameters
    ----------
    targets, scores, resamples, seed, quiet
        As in :func:`bootstrap_intervals`.

    Raises
    ------
    ScoresError
        As there.
    """
    targets, scores = check_scores(targets, scores)
    measured = measurable(targets)
    ranking = _Ranking(targets[:, measured], scores[:, measured])
    generator = np.random.default_rng(seed)
    tracks = len(targets)
    means: list[np.ndarray] = []
    with progress(total=resamples, quiet=quiet, desc="bootstrap", unit="resample") as bar:
        while len(means) < resamples:
            drawn = np.bincount(generator.integers(tracks, size=tracks), minlength=tracks)
            values = ranking.metrics(drawn)
            if not np.isnan(values).all():  # else no class is left, and it is drawn again
                means.append(np.nanmean(values, axis=1))
                bar.update()
    return np.array(means)


def mean_intervals(
    values: np.ndarray, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> list[tuple[float, float]]:
    """Percentile intervals of the means of columns, from resampling rows with replacement.

    Parameters
    ----------
    values : np.ndarray float [rows, columns]
        At least one row; the rows of all columns are drawn together.
    resamples, confidence, seed
        As in :func:`bootstrap_intervals`.

    Raises
    ------
    RecipeError
        As there.
    """
    _check(resamples, confidence)
    generator = np.random.default_rng(seed)
    rows = len(values)
    means = np.empty((resamples, values.shape[1]))
    for resample in range(resamples):
        drawn = np.bincount(generator.integers(rows, size=rows), minlength=rows)
        means[resample] = drawn @ values / rows
    low, high = np.percentile(means, [50 - 50 * confidence, 50 + 50 * confidence], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _check(resamples: int, confidence: float) -> None:
    if resamples < 1:
        raise RecipeError(f"resamples {resamples}: must be at least 1")
    if not 0 < confidence < 1:
        raise RecipeError(f"confidence {confidence}: must be between 0 and 1")


class _Ranking:
    """Tracks of each class by falling score, sorted once for all resamples."""

    def __init__(self, targets: np.ndarray, scores: np.ndarray):
        self._order = np.argsort(-scores.T, axis=1, kind="stable").astype(np.int32)
        ranked = np.take_along_axis(scores.T, self._order, axis=1)
        self._positive = np.take_along_axis(targets.T, self._order, axis=1)
        self._last = np.ones(ranked.shape, bool)  # of the tracks that have its score
        self._last[:, :-1] = ranked[:, 1:] != ranked[:, :-1]

    def metrics(self, times: np.ndarray) -> np.ndarray:
        """ROC-AUC and Average Precision [2, classes] when each track is there some times."""
        return _areas(times, self._order, self._positive, self._last)


@compiled
def _areas(times, order, positive, last):
    """Areas under the curves of ROC and of precision and recall, from whole numbers of tracks."""
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
