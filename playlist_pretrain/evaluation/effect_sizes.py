"""How large a difference between two models is, in standard deviations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def hedges_g(values: Sequence[float], baseline: Sequence[float]) -> float | None:
    """Difference of the means of independent runs, in their pooled standard deviation.

    Corrected for small samples with J = 1 − 3 / (4 · degrees of freedom − 1): Hedges, "Distribution
    theory for Glass's estimator of effect size and related estimators", Journal of Educational
    Statistics 6(2), 1981.

    Returns
    -------
    float or None
        None where it is not defined: fewer than two runs of each, or no scatter at all.
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
    """Mean difference of pairs, in the standard deviation of the differences.

    Cohen's d_z with the same correction (Lakens, "Calculating and reporting effect sizes to
    facilitate cumulative science", Frontiers in Psychology 4:863, 2013).

    Returns
    -------
    float or None
        None for fewer than three pairs, for which the correction leaves nothing, and for
        differences that are all equal.
    """
    apart = np.asarray(values, np.float64) - np.asarray(baseline, np.float64)
    if len(apart) < 3:
        return None
    squares = float(((apart - apart.mean()) ** 2).sum())
    return _in_deviations(float(apart.mean()), squares, len(apart) - 1)


def _in_deviations(difference: float, squares: float, freedom: int) -> float | None:
    deviation = math.sqrt(squares / freedom)
    if not deviation:
        return None
    return difference / deviation * (1 - 3 / (4 * freedom - 1))
