"""Statistics of runs: by hand, by counting, and where there is nothing to compare."""

import math

import numpy as np
import pytest
from scipy import stats

from playlist_pretrain.errors import ScoresError
from playlist_pretrain.evaluation.statistics import (
    compare_runs,
    hedges_g,
    hedges_g_paired,
    summarise_runs,
)

MODEL, BASELINE = [0.871, 0.874, 0.869], [0.861, 0.866, 0.86, 0.864]


def moments(values):
    mean = sum(values) / len(values)
    return mean, sum((value - mean) ** 2 for value in values) / (len(values) - 1), len(values)


def test_mean_and_sample_deviation():
    summary = summarise_runs(MODEL)
    mean, variance, runs = moments(MODEL)
    assert summary.mean == pytest.approx(mean) and summary.runs == runs
    assert summary.std == pytest.approx(math.sqrt(variance))
    assert summary.text() == "0.871 ± 0.003" and summary.text(4) == "0.8713 ± 0.0025"
    one = summarise_runs([0.5])
    assert one.std is None and one.text(2) == "0.50"


@pytest.mark.parametrize("model", [MODEL, [0.84, 0.85]])
def test_student_by_hand(model):
    (m1, v1, n1), (m2, v2, n2) = moments(model), moments(BASELINE)
    pooled = ((n1 - 1) * v1 + (n2 - 1) * v2) / (n1 + n2 - 2)
    t = (m1 - m2) / math.sqrt(pooled * (1 / n1 + 1 / n2))
    found = compare_runs(model, BASELINE)
    assert found.statistic == pytest.approx(t, abs=1e-9)
    assert found.degrees_of_freedom == n1 + n2 - 2
    assert found.p_value == pytest.approx(stats.t.sf(t, n1 + n2 - 2), abs=1e-9)
    assert found.equal_var and found.level == 0.005
    assert found.significant == (found.p_value < 0.005)
    assert not compare_runs(model, BASELINE, level=found.p_value / 2).significant
    other = compare_runs(BASELINE, model)
    assert other.p_value == pytest.approx(1 - found.p_value)


def test_welch_by_hand():
    (m1, v1, n1), (m2, v2, n2) = moments(MODEL), moments(BASELINE)
    square = v1 / n1 + v2 / n2
    freedom = square**2 / ((v1 / n1) ** 2 / (n1 - 1) + (v2 / n2) ** 2 / (n2 - 1))
    t = (m1 - m2) / math.sqrt(square)
    found = compare_runs(MODEL, BASELINE, equal_var=False)
    assert found.statistic == pytest.approx(t)
    assert found.degrees_of_freedom == pytest.approx(freedom)
    assert found.p_value == pytest.approx(stats.t.sf(t, freedom), abs=1e-9)
    assert not found.equal_var


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("equal_var", [True, False])
@pytest.mark.parametrize(
    ("model", "statistic", "p_value"), [(0.9, math.inf, 0), (0.7, -math.inf, 1), (0.8, 0, 0.5)]
)
def test_runs_that_do_not_scatter(model, statistic, p_value, equal_var):
    found = compare_runs([model] * 3, [0.8] * 3, equal_var=equal_var)
    assert (found.statistic, found.p_value) == (statistic, p_value)
    assert found.significant == (p_value == 0)


@pytest.mark.parametrize(
    ("values", "word"),
    [([], "at least one run"), ([0.5, math.nan], "nan.*finite"), ([[0.5]], "one number a run")],
)
def test_values_that_are_none_are_refused(values, word):
    with pytest.raises(ScoresError, match=word):
        summarise_runs(values)
    with pytest.raises(ScoresError, match=word):
        compare_runs(MODEL, values)


@pytest.mark.parametrize("pair", [([0.5], BASELINE), (MODEL, [0.5])])
def test_one_run_cannot_be_compared(pair):
    with pytest.raises(ScoresError, match="a t-test needs two of each"):
        compare_runs(*pair)


def test_effect_sizes_by_hand():
    # variances 1 and 4, two degrees of freedom each: pooled sqrt(2.5); J = 1 − 3 / 15
    assert hedges_g([4, 5, 6], [0, 2, 4]) == pytest.approx(3 / math.sqrt(2.5) * 0.8)
    # differences 1, 2, 3: mean 2, deviation 1; J = 1 − 3 / 7
    assert hedges_g_paired([1, 2, 3], [0, 0, 0]) == pytest.approx(2 * 4 / 7)
    one, other = np.array([0.5, 0.7, 0.65]), [0.4, 0.45, 0.5]
    for effect in (hedges_g, hedges_g_paired):
        assert effect(one, other) == pytest.approx(-effect(other, one))


@pytest.mark.parametrize(
    ("effect", "values", "baseline"),
    [
        (hedges_g, [0.5], [0.4, 0.3]),
        (hedges_g, [0.5, 0.5], [0.4, 0.4]),
        (hedges_g_paired, [0.5, 0.6], [0.4, 0.3]),
        (hedges_g_paired, [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]),
    ],
)
def test_effect_sizes_that_are_not_defined(effect, values, baseline):
    assert effect(values, baseline) is None
