"""Similarities of a batch against a loop, and at the two ends of their range."""

import math

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.models.nt_xent import NAMES, similarity_metrics


def oracle(z_x, z_y):
    """The same, pair by pair."""
    z = [row / np.linalg.norm(row) for row in np.concatenate([z_x, z_y]).astype("f8")]
    n, both = len(z_x), range(2 * len(z_x))
    positive = [z[i] @ z[n + i] for i in range(n)]
    negative = [z[i] @ z[j] for i in both for j in both if i % n != j % n]
    alignment = [np.sum((z[i] - z[n + i]) ** 2) for i in range(n)]
    potential = [math.exp(-2 * np.sum((z[i] - z[j]) ** 2)) for i in both for j in range(i)]
    means = [np.mean(values) for values in (positive, negative, alignment, potential)]
    return dict(zip(NAMES, [*means[:3], math.log(means[3])], strict=True))


def found(z_x, z_y):
    return {name: float(value) for name, value in similarity_metrics(z_x, z_y).items()}


@pytest.mark.parametrize(("pairs", "dim", "shift"), [(2, 3, 0.0), (7, 5, 0.0), (16, 8, 3.0)])
def test_equals_a_loop(rng, pairs, dim, shift):
    z_x, z_y = rng.normal(shift, 1.0, (2, pairs, dim)) * rng.uniform(0.1, 9, (2, pairs, 1))
    z_y[: pairs // 2] = z_x[: pairs // 2] + 0.1
    assert found(z_x, z_y) == pytest.approx(oracle(z_x, z_y), abs=1e-5)


def test_a_collapse_is_at_the_top_and_opposites_at_the_bottom():
    same, one = np.ones((4, 3), np.float32), np.array([[1.0, 0.0]], np.float32)
    expected = [(1.0, 1.0, 0.0, 0.0), (-1.0, 0.0, 4.0, -8.0)]  # one pair has no negatives
    for pair, values in zip([(same, same), (one, -one)], expected, strict=True):
        assert found(*pair) == pytest.approx(dict(zip(NAMES, values, strict=True)), abs=1e-5)


def test_nothing_is_learned_from_them(rng):
    z = tf.Variable(rng.normal(size=(4, 3)))
    with tf.GradientTape() as tape:
        values = similarity_metrics(z, z[::-1])
    assert tape.gradient(list(values.values()), z) is None
