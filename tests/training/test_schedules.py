"""Warm-up and cosine at the points that the paper's recipe fixes."""

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.training.schedules import warmup_cosine

PAPER = [(0, 0.0), (2500, 5e-5), (5000, 1e-4), (56300, 5e-5), (107600, 0.0)]


@pytest.mark.parametrize(("step", "rate"), PAPER)
def test_points_of_the_papers_playlist_run(step, rate):
    found = float(warmup_cosine(1e-4, 5000, 107600)(step))
    assert found == pytest.approx(rate, abs=1e-10)


def test_a_cosine_over_all_steps_would_miss_them():
    late = tf.keras.optimizers.schedules.CosineDecay(1e-4, 107600)
    assert abs(float(late(56300)) - 5e-5) > 3e-6


@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (10, 10), (3, 100), (50, 51)])
def test_rises_then_falls(warmup, total):
    rates = np.array([float(warmup_cosine(1.0, warmup, total)(t)) for t in range(total + 1)])
    assert rates.argmax() == warmup and rates.max() == pytest.approx(1.0)
    assert (np.diff(rates[: warmup + 1]) > 0).all()
    assert (np.diff(rates[warmup:]) <= 0).all()
