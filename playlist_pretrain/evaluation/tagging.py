"""Tagging: ROC-AUC and Average Precision of per-track scores, class by class and macro."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from playlist_pretrain.errors import ScoresError
from playlist_pretrain.evaluation.bootstrap import METRICS
from playlist_pretrain.evaluation.scores import check_scores, measurable
from playlist_pretrain.files import TableWriter, atomic_write


@dataclass(frozen=True)
class TaggingResult:
    """Metrics of one run on one split, class by class and as the paper's macro means.

    A class that no track of the split has, or all have, is left out: nothing can be measured there.
    """

    classes: tuple[str, ...]
    support: np.ndarray  # tracks of the split that have the class, int64 [classes]
    roc_auc: np.ndarray  # 0 to 1, NaN for a class that is left out, float64 [classes]
    average_precision: np.ndarray  # likewise
    left_out: tuple[str, ...]
    macro_roc_auc: float  # means over the other classes
    macro_average_precision: float


def tagging_metrics(
    targets: np.ndarray, scores: np.ndarray, classes: Sequence[str]
) -> TaggingResult:
    """Measure scores as arXiv 2304.12257 (section 4.1) does, with scikit-learn.

    ``targets`` (bool) and ``scores`` (float, of any scale: only their order within a class counts)
    are [tracks, classes]. Raises ScoresError for arrays that do not fit together or scores that are
    not finite (names the class), and when every class would be left out.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    targets, scores = check_scores(targets, scores, classes)
    measured = measurable(targets)
    values = np.full((2, len(classes)), np.nan)
    for column in np.flatnonzero(measured):
        pair = targets[:, column], scores[:, column]
        values[:, column] = roc_auc_score(*pair), average_precision_score(*pair)
    left_out = tuple(name for name, kept in zip(classes, measured, strict=True) if not kept)
    roc_auc, average_precision = values
    macro = values[:, measured].mean(axis=1).tolist()
    support = targets.sum(axis=0)
    return TaggingResult(
        tuple(classes), support, roc_auc, average_precision, left_out, macro[0], macro[1]
    )


def write_per_tag_table(path: str | Path, results: TaggingResult | Sequence[TaggingResult]) -> None:
    """Write a CSV with a row a class; empty cells for a class that is left out.

    The columns of one run are ``class``, ``support``, ``roc_auc``, ``average_precision``; of
    several runs on the same split ``roc_auc_mean``, ``roc_auc_std`` and so on, see
    :func:`over_runs`.
    """
    results = [results] if isinstance(results, TaggingResult) else list(results)
    means, stds = over_runs(results)
    columns: dict[str, np.ndarray] = {}
    for name, mean, std in zip(METRICS, means, stds, strict=True):
        columns |= {name: mean} if len(results) == 1 else {f"{name}_mean": mean, f"{name}_std": std}
    with atomic_write(path, "w") as stream:
        table = TableWriter(stream)
        table.writerow(["class", "support", *columns])
        for row, name in enumerate(results[0].classes):
            cells = [float(column[row]) for column in columns.values()]
            support = int(results[0].support[row])
            table.writerow([name, support, *("" if np.isnan(cell) else cell for cell in cells)])


def over_runs(results: Sequence[TaggingResult]) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and sample standard deviation (n − 1) over runs, class by class.

    Returns two arrays float64 [2, classes], for ROC-AUC and Average Precision; the deviation is
    NaN for one run. Raises ScoresError if the results are not of the same classes and tracks.
    """
    if not results:
        raise ScoresError("no result to average")
    first = results[0]
    for result in results:
        if result.classes != first.classes:
            raise ScoresError("results of different classes have no common mean")
        for name, *support in zip(first.classes, result.support, first.support, strict=True):
            if support[0] != support[1]:
                raise ScoresError(
                    f"class {name!r} has {support[0]:,} tracks in one result and {support[1]:,} in "
                    "another: they are not of one split"
                )
    values = np.array([[result.roc_auc, result.average_precision] for result in results])
    std = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)
    return values.mean(axis=0), std
