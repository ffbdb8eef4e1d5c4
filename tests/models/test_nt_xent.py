"""NT-Xent against a loop written from the formula, and by its properties."""

import math

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.models.nt_xent import NTXent, chance_loss, nt_xent


def loop(z_x, z_y, temperature):
    """Chen et al. 2020, equation 1, in float64: z_2k and z_2k+1 are partners."""
    pairs = len(z_x)
    z = [np.asarray(v, np.float64) for pair in zip(z_x, z_y, strict=True) for v in pair]

    def similarity(i, j):
        return z[i] @ z[j] / (math.sqrt(z[i] @ z[i]) * math.sqrt(z[j] @ z[j]))

    def term(i, j):
        others = [math.exp(similarity(i, k) / temperature) for k in range(2 * pairs) if k != i]
        return -math.log(math.exp(similarity(i, j) / temperature) / sum(others))

    return [(term(2 * k, 2 * k + 1) + term(2 * k + 1, 2 * k)) / 2 for k in range(pairs)]


@pytest.mark.parametrize("pairs", [1, 2, 7, 33])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_equals_the_formula(rng, pairs, temperature):
    z_x, z_y = rng.normal(size=(2, pairs, 16)).astype(np.float32)
    found = nt_xent(tf.constant(z_x), tf.constant(z_y), temperature).numpy()
    np.testing.assert_allclose(found, loop(z_x, z_y, temperature), atol=1e-5)


def test_order_of_the_pairs_does_not_matter(rng):
    z_x, z_y = rng.normal(size=(2, 12, 8)).astype(np.float32)
    order = rng.permutation(12)
    before = nt_xent(z_x, z_y).numpy()
    np.testing.assert_allclose(nt_xent(z_x[order], z_y[order]).numpy(), before[order], atol=1e-5)
    np.testing.assert_allclose(nt_xent(z_y, z_x).numpy(), before, atol=1e-5)


@pytest.mark.parametrize("pairs", [2, 8, 64])
def test_closed_form_of_matched_orthogonal_pairs(pairs):
    z = np.eye(pairs, dtype=np.float32)
    expected = math.log(1 + (2 * pairs - 2) * math.exp(-1 / 0.1))
    np.testing.assert_allclose(nt_xent(z, z, 0.1).numpy(), expected, atol=1e-5)


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


def test_scale_does_not_matter_and_gradient_is_orthogonal(rng):
    z_x, z_y = rng.normal(size=(2, 9, 8)).astype(np.float32)
    np.testing.assert_allclose(nt_xent(7 * z_x, z_y).numpy(), nt_xent(z_x, z_y).numpy(), rtol=1e-4)
    z_x = tf.constant(z_x)
    with tf.GradientTape() as tape:
        tape.watch(z_x)
        loss = tf.reduce_mean(nt_xent(z_x, z_y))
    along = tf.reduce_sum(tape.gradient(loss, z_x) * z_x, axis=1)
    np.testing.assert_allclose(along.numpy(), 0, atol=1e-5)


def test_keras_loss_round_trip(rng):
    z_x, z_y = rng.normal(size=(2, 5, 8)).astype(np.float32)
    loss = NTXent.from_config(NTXent(0.3).get_config())
    np.testing.assert_allclose(loss(z_x, z_y), np.mean(loop(z_x, z_y, 0.3)), atol=1e-5)


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
