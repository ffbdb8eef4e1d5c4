"""Statistics of runs: by hand, by counting, and where there is nothing to compare."""

import math

import numpy as np
import pytest

from playlist_pretrain.errors import ScoresError
from playlist_pretrain.evaluation.statistics import compare_runs, summarise_runs

MODEL, BASELINE = [0.871, 0.874, 0.869], [0.861, 0.866, 0.86, 0.864]


def tail(t, freedom):
    """P(T > t) of Student's distribution, its density integrated by Simpson's rule."""
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    steps = 20_000
    x = np.linspace(0, t, steps + 1)
    weights = np.where(np.arange(steps + 1) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1
    density = scale * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    return 0.5 - (weights * density).sum() * t / steps / 3


def moments(values):
    mean = sum(values) / len(values)
    return mean, sum((value - mean) ** 2 for value in values) / (len(values) - 1), len(values)


def test_mean_and_sample_deviation():
    summary = summarise_runs(MODEL)
    mean, variance, runs = moments(MODEL)
    assert summary.mean == pytest.approx(mean) and summary.runs == runs
    assert summary.std == pytest.approx(math.sqrt(variance))
    assert summary.text() == "0.871 ± 0.003" and summary.text(4) == "0.8713 ± 0.0025"


def test_one_run_has_no_deviation():
    summary = summarise_runs([0.5])
    assert summary.std is None and summary.text(2) == "0.50"


@pytest.mark.parametrize("model", [MODEL, BASELINE[::-1], [0.84, 0.85]])
def test_student_by_hand(model):
    (m1, v1, n1), (m2, v2, n2) = moments(model), moments(BASELINE)
    pooled = ((n1 - 1) * v1 + (n2 - 1) * v2) / (n1 + n2 - 2)
    t = (m1 - m2) / math.sqrt(pooled * (1 / n1 + 1 / n2))
    found = compare_runs(model, BASELINE)
    assert found.statistic == pytest.approx(t, abs=1e-9)
    assert found.degrees_of_freedom == n1 + n2 - 2
    assert found.p_value == pytest.approx(tail(t, n1 + n2 - 2), abs=1e-9)
    assert found.equal_var and found.level == 0.005
    assert found.significant == (tail(t, n1 + n2 - 2) < 0.005)


def test_welch_by_hand():
    (m1, v1, n1), (m2, v2, n2) = moments(MODEL), moments(BASELINE)
    square = v1 / n1 + v2 / n2
    freedom = square**2 / ((v1 / n1) ** 2 / (n1 - 1) + (v2 / n2) ** 2 / (n2 - 1))
    t = (m1 - m2) / math.sqrt(square)
    found = compare_runs(MODEL, BASELINE, equal_var=False)
    assert found.statistic == pytest.approx(t)
    assert found.degrees_of_freedom == pytest.approx(freedom)
    assert found.p_value == pytest.approx(tail(t, freedom), abs=1e-9)
    assert not found.equal_var


def test_the_level_decides():
    p_value = compare_runs(MODEL, BASELINE).p_value
    assert 0.0005 < p_value < 0.005
    assert compare_runs(MODEL, BASELINE).significant
    assert not compare_runs(MODEL, BASELINE, level=0.0005).significant


def test_one_sided():
    better, worse = compare_runs(MODEL, BASELINE), compare_runs(BASELINE, MODEL)
    assert better.p_value + worse.p_value == pytest.approx(1)
    assert not worse.significant


def test_equal_models_are_told_apart_as_seldom_as_the_level_says(rng):
    runs = rng.normal(size=(2000, 2, 3))
    found = sum(compare_runs(*pair, level=0.05).significant for pair in runs)
    assert 70 <= found <= 130


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
