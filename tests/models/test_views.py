"""Views of one window: the mix against NumPy in linear power, and what may never happen."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.audio.front_end import IMPORTED, PRESETS, front_end
from playlist_pretrain.models.views import MixedViews

DECADES = {"melon": 10, "jamendo-mels": 20}
"""Decibels of imported mels for ten times the power."""
FRONT_ENDS = {**PRESETS, **{name: IMPORTED[name] for name in DECADES}}


def log_mels(name, rng, shape=(5, 4, 3)):
    """Log-mels from silence to loud, as a front end of that name makes them."""
    return rng.uniform(FRONT_ENDS[name].silence, 6, shape).astype(np.float32)


def power_of(name, mel):
    """Linear power in double precision, from the definition of each front end."""
    mel = mel.astype(np.float64)
    if name.startswith("vggish"):
        return (np.exp(mel) - 0.01) ** 2
    return 10 ** (mel / DECADES[name]) if name in DECADES else (10**mel - 1) / 10_000


def log_of(name, power):
    if name.startswith("vggish"):
        return np.log(np.sqrt(power) + 0.01)
    if name in DECADES:
        return np.maximum(DECADES[name] * np.log10(power), FRONT_ENDS[name].silence)
    return np.log10(1 + 10_000 * power)


@pytest.mark.parametrize("name", list(FRONT_ENDS))
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**63 - 1), step=st.integers(0, 10**6), batch=st.integers(2, 9))
def test_views_are_the_mix_of_numpy_in_linear_power(name, seed, step, batch):
    mel = log_mels(name, np.random.default_rng(batch), (batch, 4, 3))
    views = MixedViews(FRONT_ENDS[name], seed)
    for side, view in enumerate(views(tf.constant(mel), tf.constant(step, tf.int64))):
        gains, others = (part.numpy() for part in views.draws(step, side, batch))
        assert np.all((gains > 0) & (gains < 1)) and not np.any(others == np.arange(batch))
        power = power_of(name, mel)
        gains = gains.astype(np.float64)[:, None, None]
        expected = log_of(name, gains * power + (1 - gains) * power[others])
        np.testing.assert_allclose(view.numpy(), expected, atol=5e-3 if name in DECADES else 2e-4)


def test_half_precision_windows_are_mixed_in_single_precision(rng):
    mel = log_mels("paper", rng).astype(np.float16)
    views = MixedViews(front_end("paper"))
    for half, single in zip(views(mel, 3), views(mel.astype(np.float32), 3), strict=True):
        assert half.dtype == tf.float32
        np.testing.assert_array_equal(half.numpy(), single.numpy())


def test_a_window_is_never_mixed_with_itself_and_with_all_others_alike():
    batch, steps = 5, 2000
    views = MixedViews(front_end("paper"), 1)

    @tf.function
    def drawn(side):
        return tf.map_fn(lambda step: views.draws(step, side, batch)[1], tf.range(steps))

    others = np.concatenate([drawn(side).numpy() for side in (0, 1)])
    counts = np.stack([np.bincount(others[:, i], minlength=batch) for i in range(batch)])
    assert np.all(np.diag(counts) == 0)
    expected = 2 * steps / (batch - 1)
    off = counts[~np.eye(batch, dtype=bool)]
    assert np.square(off - expected).sum() / expected < 20 + 4 * 40**0.5


@pytest.mark.parametrize("side", [0, 1])
def test_gains_have_the_moments_of_the_papers_beta_distribution(side):
    gains = MixedViews(front_end("paper")).draws(0, side, 200_000)[0].numpy()
    mean, variance = 5 / 7, (5 / 7) * (2 / 7) / 8  # of Beta(5, 2)
    assert gains.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / len(gains)))
    assert gains.var() == pytest.approx(variance, rel=0.02)


def test_draws_are_anew_for_side_step_and_seed_and_the_same_when_asked_again():
    settings = front_end("paper")
    for part in (0, 1):  # gains, others
        asked = [
            tuple(MixedViews(settings, seed).draws(step, side, 32)[part].numpy())
            for seed in (0, 1)
            for step in (0, 1, 2)
            for side in (0, 1)
        ]
        assert len(set(asked)) == len(asked)
        tf.random.set_seed(8)
        assert tuple(MixedViews(settings, 1).draws(2, 1, 32)[part].numpy()) == asked[-1]
