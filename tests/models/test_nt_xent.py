"""NT-Xent and the similarities of a batch against loops, and by their properties."""

import math

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.models.nt_xent import (
    NAMES,
    NTXent,
    chance_loss,
    nt_xent,
    similarity_metrics,
)


def loop(z_x, z_y, temperature, beta=0.0, left_out=None):
    """Chen et al. 2020, equation 1, in float64: z_2k and z_2k+1 are partners.

    Negatives have the weights of Robinson et al. 2021; ``left_out`` has x before y.
    """
    pairs = len(z_x)
    z = [np.asarray(v, np.float64) for pair in zip(z_x, z_y, strict=True) for v in pair]

    def logit(i, j):
        return z[i] @ z[j] / (math.sqrt(z[i] @ z[i]) * math.sqrt(z[j] @ z[j])) / temperature

    def place(i):
        return i // 2 + pairs * (i % 2)

    def term(i, j):
        positive = math.exp(logit(i, j))
        negatives = [
            logit(i, k)
            for k in range(2 * pairs)
            if k not in (i, j) and (left_out is None or not left_out[place(i), place(k)])
        ]
        weights = [math.exp(beta * s) for s in negatives]
        mean = sum(weights) / len(weights) if weights else 1
        others = sum(w / mean * math.exp(s) for w, s in zip(weights, negatives, strict=True))
        return -math.log(positive / (positive + others))

    return [(term(2 * k, 2 * k + 1) + term(2 * k + 1, 2 * k)) / 2 for k in range(pairs)]


@pytest.mark.parametrize("pairs", [2, 32, 384])
def test_equal_projections_are_at_chance(pairs):
    z = np.ones((pairs, 4), np.float32)
    np.testing.assert_allclose(nt_xent(z, z).numpy(), chance_loss(pairs), rtol=1e-5)


def test_float16_is_finite_and_close(rng):
    z_x, z_y = (100 * rng.normal(size=(2, 64, 128))).astype(np.float16)
    found = nt_xent(tf.constant(z_x), tf.constant(z_y), 0.01)
    assert found.dtype == tf.float32
    assert np.isfinite(found.numpy()).all()
    np.testing.assert_allclose(
        found.numpy(), nt_xent(z_x.astype("f4"), z_y.astype("f4"), 0.01).numpy(), atol=1e-5
    )


def test_a_learnable_temperature_starts_where_it_is_told_and_has_the_gradient_of_the_formula(rng):
    z_x, z_y = rng.normal(size=(2, 7, 16)).astype(np.float32)
    loss = NTXent.from_config(NTXent(0.3, learnable=True).get_config())
    assert float(loss.temperature) == pytest.approx(0.3)
    with tf.GradientTape() as tape:
        found = loss(z_x, z_y)
    np.testing.assert_allclose(found, np.mean(loop(z_x, z_y, 0.3)), atol=1e-5)

    def at(log_temperature):
        return np.mean(loop(z_x, z_y, math.exp(log_temperature)))

    slope = (at(math.log(0.3) + 1e-4) - at(math.log(0.3) - 1e-4)) / 2e-4
    assert float(tape.gradient(found, loss.log_temperature)) == pytest.approx(slope, rel=1e-4)


def left_out_of(rng, pairs):
    """A mask that is not symmetric; it leaves the first projection nothing but its partner."""
    left_out = rng.random((2 * pairs, 2 * pairs)) < 0.3
    left_out[0] = True
    return left_out


@pytest.mark.parametrize("pairs", [1, 2, 33])
@pytest.mark.parametrize("temperature", [0.1, 2.0])
@pytest.mark.parametrize(("beta", "masked"), [(0.0, False), (2.0, False), (0.0, True), (1.0, True)])
def test_equals_the_formula_and_has_its_gradient(rng, pairs, temperature, beta, masked):
    z_x, z_y = rng.normal(size=(2, pairs, 16)).astype(np.float32)
    left_out = left_out_of(rng, pairs) if masked else None
    loss = NTXent.from_config(NTXent(temperature, hard_negatives=beta).get_config())
    variables = [tf.Variable(z_x), tf.Variable(z_y)]
    with tf.GradientTape() as tape:
        found = loss.call(*variables, left_out)
    wanted = loop(z_x, z_y, temperature, beta, left_out)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    for side, gradient in enumerate(tape.gradient(found, variables)):
        assert np.isfinite(gradient).all()
        direction = rng.normal(size=z_x.shape)
        sums = []
        for step in (1e-5, -1e-5):
            moved = [z.astype(np.float64) for z in (z_x, z_y)]
            moved[side] = moved[side] + step * direction
            sums.append(sum(loop(*moved, temperature, beta, left_out)))
        slope = (sums[0] - sums[1]) / 2e-5
        assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-3, abs=1e-4)


def similarities_by_loop(z_x, z_y):
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
def test_similarities_equal_a_loop(rng, pairs, dim, shift):
    z_x, z_y = rng.normal(shift, 1.0, (2, pairs, dim)) * rng.uniform(0.1, 9, (2, pairs, 1))
    z_y[: pairs // 2] = z_x[: pairs // 2] + 0.1
    assert found(z_x, z_y) == pytest.approx(similarities_by_loop(z_x, z_y), abs=1e-5)


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
