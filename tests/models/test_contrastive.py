"""ContrastiveModel: a Keras model like any other, with NT-Xent between its two sides."""

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.models.contrastive import ContrastiveModel
from playlist_pretrain.models.nt_xent import NTXent, nt_xent
from playlist_pretrain.models.projector import projector
from playlist_pretrain.models.vggish import vggish


@pytest.fixture
def model():
    backbone = vggish(frames=16, bands=8, width=0.05)
    model = ContrastiveModel(backbone, projector(128, hidden=16, output=8))
    model.compile(optimizer=tf.keras.optimizers.SGD(0.01), loss=NTXent(0.5))
    return model


@pytest.fixture
def pairs(rng):
    x = rng.normal(size=(6, 16, 8)).astype(np.float16)
    return x, (x + rng.normal(scale=0.1, size=x.shape)).astype(np.float16)


def test_projector_is_the_papers():
    model = projector(128)
    assert [layer.units for layer in model.layers[1:]] == [128, 128]
    assert model.layers[1].activation is tf.keras.activations.relu
    assert model.layers[2].activation is tf.keras.activations.linear
    assert model.count_params() == 2 * (128 * 128 + 128)


def test_a_step_is_gradient_descent_on_nt_xent(model, pairs):
    x, y = (side.astype(np.float32) for side in pairs)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(nt_xent(model(x), model(y), 0.5))
    gradients = tape.gradient(loss, model.trainable_variables)
    expected = [v - 0.01 * g for v, g in zip(model.trainable_variables, gradients, strict=True)]
    found = model.train_on_batch(*pairs)
    norm = np.sqrt(sum(np.square(g).sum() for g in gradients))
    assert found == pytest.approx([float(loss), norm], abs=1e-5)
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value.numpy(), atol=1e-5)


def test_fit_lowers_the_loss(model, pairs):
    model.compile(tf.keras.optimizers.Adam(1e-3), loss=NTXent(0.5))
    dataset = tf.data.Dataset.from_tensors(pairs).repeat(30)
    before = model.evaluate(dataset.take(1), verbose=0)
    model.fit(dataset, epochs=2, verbose=0)
    assert model.evaluate(dataset.take(1), verbose=0) < 0.8 * before


def test_default_loss_is_the_papers(model):
    model.compile("adam")
    assert model.loss.temperature == 0.1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_remembers_the_first_bad_step(model, pairs, bad):
    x, y = pairs
    broken = x.copy()
    broken[2, 3, 4] = bad
    for side in (x, x, broken, x):
        model.train_on_batch(side, y)
    assert int(model.first_bad_step) == 2
