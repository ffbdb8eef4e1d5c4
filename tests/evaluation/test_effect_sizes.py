"""Effect sizes by hand."""

import math

import pytest

from playlist_pretrain.evaluation.statistics import hedges_g, hedges_g_paired


def test_independent_runs():
    # variances 1 and 4, two degrees of freedom each: pooled sqrt(2.5); J = 1 − 3 / 15
    assert hedges_g([4, 5, 6], [0, 2, 4]) == pytest.approx(3 / math.sqrt(2.5) * 0.8)


def test_pairs():
    # differences 1, 2, 3: mean 2, deviation 1; J = 1 − 3 / 7
    assert hedges_g_paired([1, 2, 3], [0, 0, 0]) == pytest.approx(2 * 4 / 7)


def test_the_other_way_round_is_the_opposite():
    one, other = [0.5, 0.7, 0.65], [0.4, 0.45, 0.5]
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
def test_where_it_is_not_defined(effect, values, baseline):
    assert effect(values, baseline) is None
