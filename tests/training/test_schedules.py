"""Warm-up and cosine at the points that the paper's recipe fixes, in the optimizer of a run too."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.pairs.dataset import plan
from playlist_pretrain.training.pretrain import build_model
from playlist_pretrain.training.pretrain_data import Data
from playlist_pretrain.training.recipes import PretrainRecipe
from playlist_pretrain.training.schedules import warmup_cosine

PAPER = [(0, 0.0), (2500, 5e-5), (5000, 1e-4), (56300, 5e-5), (107600, 0.0)]
PAPERS_PAIRS = 826_368


@pytest.fixture(scope="module")
def papers_optimizer(make_collection, tmp_path_factory):
    """The optimizer that ``pretrain`` compiles for the paper's recipe and number of pairs."""
    collection = make_collection(tmp_path_factory.mktemp("paper"), [300])
    pairing = SimpleNamespace(name="playlist_co", y="window", count=lambda epoch: PAPERS_PAIRS)
    recipe = PretrainRecipe(collection="x").resolve(demo=False, window_frames=256)
    stream = plan([pairing], recipe.batch, recipe.epochs)
    assert stream.steps_per_epoch == 2152
    assert recipe.with_steps(stream.steps_per_epoch) == recipe
    assert (recipe.preset, recipe.epochs * stream.steps_per_epoch) == ("paper", 107600)
    return build_model(recipe, Data(collection, None, stream, None, {}, 0.0, None)).optimizer


@pytest.fixture(scope="module")
def weights(papers_optimizer):
    """What that optimizer trains here, in place of a whole model."""
    weights = tf.Variable([0.0, 0.0, 0.0])
    papers_optimizer.build([weights])
    return weights


@pytest.mark.slow
@pytest.mark.parametrize(("step", "rate"), PAPER)
def test_the_optimizer_of_the_papers_run_goes_at_this_rate(papers_optimizer, weights, step, rate):
    for variable in (*papers_optimizer.variables, weights):
        variable.assign(tf.zeros_like(variable))
    papers_optimizer.iterations.assign(step)
    gradient = np.array([1e-3, -2.0, 30.0])
    papers_optimizer.apply_gradients([(tf.constant(gradient, tf.float32), weights)])
    assert float(papers_optimizer.learning_rate.numpy()) == pytest.approx(rate, abs=1e-10)
    # Adam (Kingma and Ba 2015, algorithm 1) from moments of zero, with its bias corrections.
    first = 0.1 * gradient / (1 - 0.9 ** (step + 1))
    second = 0.001 * gradient**2 / (1 - 0.999 ** (step + 1))
    wanted = -rate * first / (np.sqrt(second) + 1e-7)
    np.testing.assert_allclose(weights.numpy(), wanted, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (10, 10), (3, 100), (50, 51)])
def test_rises_then_falls(warmup, total):
    rates = np.array([float(warmup_cosine(1.0, warmup, total)(t)) for t in range(total + 1)])
    assert rates.argmax() == warmup and rates.max() == pytest.approx(1.0)
    assert (np.diff(rates[: warmup + 1]) > 0).all()
    assert (np.diff(rates[warmup:]) <= 0).all()
