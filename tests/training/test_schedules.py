"""Warm-up and cosine at the points that the paper's recipe fixes, in the optimizer of a run too."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.pairs.dataset import plan
from playlist_pretrain.stack import tensorflow_addons
from playlist_pretrain.training.pretrain import build_model
from playlist_pretrain.training.pretrain_data import Data
from playlist_pretrain.training.recipes import PretrainRecipe
from playlist_pretrain.training.schedules import Triangular, triangular, warmup_cosine

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


# float32 rates of tensorflow-addons 0.23, as the integers of their bits, at these steps.
STEPS = [0, 1, 2, 7, 18, 19, 20, 36, 37, 38, 55, 56, 100, 12345, 999999, 2**24 + 5]
ADDONS = {
    (1e-5, 1e-3, 37): [
        925353388, 948253323, 955608176, 969515883, 981410114, 981410114, 980490759, 948253323,
        925353388, 948253323, 981410112, 981410112, 974974625, 976813253, 925353388, 977617773,
    ],
    (1e-4, 3e-3, 1): [
        953267991, 994352038, 953267991, 994352038, 953267991, 994352038, 953267991, 953267991,
        994352038, 953267991, 994352038, 953267991, 953267991, 994352038, 994352038, 953267991,
    ],
}  # fmt: skip


def bits(schedule, step):
    return int(schedule(step).numpy().view(np.uint32))


@pytest.mark.parametrize("cycle", ADDONS)
def test_the_triangle_is_that_of_tensorflow_addons_to_the_last_bit(cycle):
    low, high, steps = cycle
    ours = Triangular(low, high, max(steps, 2) / 2)
    for schedule in (ours, triangular(*cycle)):
        assert [bits(schedule, step) for step in STEPS] == ADDONS[cycle]


@pytest.mark.skipif(tensorflow_addons() is None, reason="tensorflow-addons fits another TensorFlow")
def test_the_triangle_is_that_of_tensorflow_addons_at_every_step():
    rng = np.random.default_rng(3)
    for low, high, steps in [(1e-5, 1e-4, 1000), (3e-4, 0.1, 77.5), (0.0, 1.0, 2)]:
        theirs, ours = triangular(low, high, steps), Triangular(low, high, steps / 2)
        assert type(theirs).__module__.startswith("tensorflow_addons")
        for step in [*range(100), *rng.integers(0, 10**7, 100)]:
            assert bits(ours, tf.constant(step, tf.int64)) == bits(theirs, step), step


def test_the_triangle_is_saved_with_an_optimizer():
    adam = tf.keras.optimizers.Adam(Triangular(1e-5, 1e-3, 18.5))
    saved = tf.keras.optimizers.serialize(adam)["config"]["learning_rate"]
    again = tf.keras.optimizers.schedules.deserialize(saved)
    assert [bits(again, step) for step in STEPS] == ADDONS[1e-5, 1e-3, 37]
