"""Triplets: against a loop, ties, intervals, comparisons."""

import numpy as np
import pytest

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.evaluation.triplets import (
    agreement_bins,
    paired_difference,
    triplet_accuracy,
)


def test_equals_a_loop(rng):
    vectors = rng.normal(size=(30, 5)) + 2  # all in one direction
    triplets = np.stack([rng.permutation(25)[:3] for _ in range(50)])

    def distance(i, j, centre):
        a, b = vectors[i] - centre, vectors[j] - centre
        return 1 - a @ b / np.sqrt(a @ a) / np.sqrt(b @ b)

    centre = np.mean([vectors[i] for i in np.unique(triplets)], axis=0)
    gaps, centred = (
        [distance(a, n, c) - distance(a, p, c) for a, p, n in triplets] for c in (0, centre)
    )
    result = triplet_accuracy(vectors, triplets)
    assert result.accuracy == pytest.approx(np.mean([gap > 0 for gap in gaps]))
    np.testing.assert_allclose(result.margins, gaps, atol=1e-12)
    assert result.difference == pytest.approx(np.mean(gaps))
    assert result.centred_difference == pytest.approx(np.mean(centred))
    assert result.interval[0] < result.accuracy < result.interval[1]


def test_ties_count_half_and_scale_does_not_matter():
    same = triplet_accuracy(np.ones((3, 4)), np.array([[0, 1, 2]] * 5))
    assert (same.accuracy, same.ties) == (0.5, 5)
    vectors = np.array([[1.0, 0], [2, 0.1], [0, 3]])
    assert triplet_accuracy(vectors, np.array([[0, 1, 2]])).accuracy == 1.0
    assert triplet_accuracy(vectors, np.array([[0, 2, 1]])).accuracy == 0.0


def test_interval_is_that_of_a_binomial():
    vectors = np.array([[1.0, 0], [1, 0.1], [0, 1]])
    triplets = np.array([[0, 1, 2]] * 320 + [[0, 2, 1]] * 80)
    low, high = triplet_accuracy(vectors, triplets).interval
    half = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.005)


def test_only_embeddings_that_are_named_count(rng):
    vectors = rng.normal(size=(5, 3))
    triplets = np.array([[0, 1, 2]])
    before = triplet_accuracy(vectors, triplets)
    vectors[4] = np.nan
    assert triplet_accuracy(vectors, triplets).centred_difference == before.centred_difference
    vectors[1, 2] = np.inf
    with pytest.raises(EmbeddingsError, match="row 1: NaN or infinite"):
        triplet_accuracy(vectors, triplets)
    with pytest.raises(EmbeddingsError, match="no triplets"):
        triplet_accuracy(vectors, triplets[:0])


def test_two_models_on_the_same_triplets():
    from scipy.stats import binom

    near, far, even = [1.0, 0.1], [0.0, 1.0], [1.0, 1.0]
    vectors = np.array([[1.0, 0.0], near, far, even, even])
    right, wrong, tie = [0, 1, 2], [0, 2, 1], [0, 3, 4]
    first = triplet_accuracy(vectors, np.array([right] * 10 + [wrong] * 3 + [tie] + [right] * 86))
    second = triplet_accuracy(vectors, np.array([wrong] * 10 + [right] * 3 + [right] * 87))
    found = paired_difference(first, second)
    assert (found.first, found.second) == (10, 3)  # a tie beside a right one is no side's
    assert found.difference == pytest.approx((10 - 3 - 0.5) / 100)
    assert found.interval[0] < found.difference < found.interval[1]
    assert found.p_value == pytest.approx(2 * binom.cdf(3, 13, 0.5))
    turned = paired_difference(second, first)
    assert (turned.difference, turned.p_value) == (-found.difference, found.p_value)
    same = paired_difference(first, first)
    assert (same.difference, same.first, same.p_value) == (0, 0, 1)
    with pytest.raises(EmbeddingsError, match="100 triplets and 1"):
        paired_difference(first, triplet_accuracy(vectors, np.array([right])))


def test_bins_of_agreement_hold_their_lower_edge():
    agreement = np.array([0.5, 3 / 5, 2 / 3, 7 / 10, 4 / 5, 1.0, 0.9, 0.2, 0.55])
    bins = agreement_bins(agreement)
    assert [(name, np.flatnonzero(inside).tolist()) for name, inside in bins] == [
        ("0 to below 0.5", [7]),
        ("0.5 to below 0.6", [0, 8]),
        ("0.6 to below 0.7", [1, 2]),
        ("0.7 to below 0.8", [3]),
        ("0.8 to below 0.9", [4]),
        ("0.9 to 1", [5, 6]),
    ]
    assert [name for name, _ in agreement_bins(agreement[5:6])] == ["0.9 to 1"]
