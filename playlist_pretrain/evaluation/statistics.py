"""Statistics of runs: mean ± deviation, the paper's t-test, effect sizes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from playlist_pretrain.errors import ScoresError

LEVEL = 0.005
"""Level of significance in the tables of arXiv 2304.12257."""


@dataclass(frozen=True)
class RunsSummary:
    """Mean and sample standard deviation (n − 1) of a metric; ``std`` is None for one run."""

    mean: float
    std: float | None
    runs: int

    def text(self, digits: int = 3) -> str:
        """``mean ± std``, or the mean alone for one run, rounded to ``digits`` after the point."""
        mean = f"{self.mean:.{digits}f}"
        return mean if self.std is None else f"{mean} ± {self.std:.{digits}f}"


@dataclass(frozen=True)
class Comparison:
    """Result of :func:`compare_runs`: t (positive when the model's mean is greater) and its p.

    ``significant`` says whether ``p_value`` is below ``level``.
    """

    statistic: float
    degrees_of_freedom: float
    p_value: float
    significant: bool
    level: float
    equal_var: bool


def summarise_runs(values: Sequence[float]) -> RunsSummary:
    """Compute mean and sample standard deviation of a metric over runs, all of them finite."""
    array = _finite(values)
    std = float(array.std(ddof=1)) if len(array) > 1 else None
    return RunsSummary(float(array.mean()), std, len(array))


def compare_runs(
    values: Sequence[float],
    baseline: Sequence[float],
    *,
    level: float = LEVEL,
    equal_var: bool = True,
) -> Comparison:
    """Test whether a model is better than a baseline, with ``scipy.stats.ttest_ind``.

    The paper compares with its artist pairing at p = 0.005 and does not say which t-test it uses.
    Student's, the default here, assumes that both scatter alike and has four degrees of freedom
    for three runs of each; Welch's (``equal_var=False``) has between two and four.

    ``values`` and ``baseline`` are a metric of each run, greater being better, of at least two
    runs (else ScoresError). When the runs of neither side differ, t is infinite and p 0 or 1;
    with equal means besides, t is 0 and p is 0.5.
    """
    from scipy.stats import ttest_ind

    values, baseline = _finite(values), _finite(baseline)
    runs = len(values), len(baseline)
    if min(runs) < 2:
        raise ScoresError(f"{runs[0]} and {runs[1]} runs: a t-test needs two of each at least")
    if np.ptp(values) == np.ptp(baseline) == 0:  # scipy would warn, and divide by zero
        side = float(np.sign(values[0] - baseline[0]))
        statistic = side * np.inf if side else 0.0
        freedom, p_value = float(sum(runs) - 2), 0.5 - 0.5 * side
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # runs that nearly agree
            result = ttest_ind(values, baseline, alternative="greater", equal_var=equal_var)
        statistic, freedom, p_value = map(float, (result.statistic, result.df, result.pvalue))
    return Comparison(statistic, freedom, p_value, p_value < level, level, equal_var)


def _finite(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not len(array):
        raise ScoresError(f"values of runs {array.tolist()}: one number a run, at least one run")
    if not np.isfinite(array).all():
        raise ScoresError(f"values of runs {array.tolist()}: not all of them are finite")
    return array


def hedges_g(values: Sequence[float], baseline: Sequence[float]) -> float | None:
    """Compute the difference of the means of independent runs in pooled standard deviations.

    Corrected for small samples with J = 1 − 3 / (4 · degrees of freedom − 1): Hedges, "Distribution
    theory for Glass's estimator of effect size and related estimators", Journal of Educational
    Statistics 6(2), 1981. None for fewer than two runs of each, or where no run differs.
    """
    values, baseline = np.asarray(values, np.float64), np.asarray(baseline, np.float64)
    if min(len(values), len(baseline)) < 2:
        return None
    freedom = len(values) + len(baseline) - 2
    squares = sum(float(((a - a.mean()) ** 2).sum()) for a in (values, baseline))
    return _in_deviations(float(values.mean() - baseline.mean()), squares, freedom)


def hedges_g_paired(
    values: Sequence[float] | np.ndarray, baseline: Sequence[float] | np.ndarray
) -> float | None:
    """Compute the mean difference of pairs in standard deviations of the differences.

    Cohen's d_z with the same correction (Lakens, "Calculating and reporting effect sizes to
    facilitate cumulative science", Frontiers in Psychology 4:863, 2013). None for fewer than
    three pairs, for which the correction leaves nothing, and for equal differences.
    """
    apart = np.asarray(values, np.float64) - np.asarray(baseline, np.float64)
    if len(apart) < 3:
        return None
    squares = float(((apart - apart.mean()) ** 2).sum())
    return _in_deviations(float(apart.mean()), squares, len(apart) - 1)


def _in_deviations(difference: float, squares: float, freedom: int) -> float | None:
    deviation = math.sqrt(squares / freedom)
    return difference / deviation * (1 - 3 / (4 * freedom - 1)) if deviation else None
