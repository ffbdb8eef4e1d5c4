"""Every registered backbone keeps its contract, and each clause of it finds who does not."""

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.models import BACKBONES
from playlist_pretrain.models.layers import initializers, input_standardisation
from playlist_pretrain.testing import ContractError, check_backbone

layers = tf.keras.layers


@pytest.mark.long
def test_resnet50():
    check_backbone(BACKBONES.get("resnet50"), frames=32)


@pytest.mark.slow
def test_vggish():
    check_backbone(BACKBONES.get("vggish"), width=0.05)


def test_every_backbone_is_tested_above():
    assert set(BACKBONES) == {"resnet50", "vggish"}


def small(
    *, frames, bands, mean=None, std=None, initializer="he_normal", seed=0, into=layers.Flatten
):
    kernel = initializers(initializer, seed)
    inputs = layers.Input((frames, bands))
    x = input_standardisation(inputs, mean, std)
    x = layers.Conv1D(4, 9, 9, activation="relu", kernel_initializer=next(kernel))(x)
    x = layers.Dense(8, kernel_initializer=next(kernel))(into()(x))
    return tf.keras.Model(inputs, x)


@pytest.mark.slow
def test_a_backbone_of_ones_own():
    check_backbone(small)
    check_backbone(small, frames=48, bands=5)


class OwnLayer(layers.Layer):
    def call(self, x):
        return tf.reduce_mean(x, axis=1)


class OwnModel(tf.keras.Model):
    def __init__(self, **settings):
        super().__init__()
        self.inner = small(**settings)

    def call(self, x):
        return self.inner(x)


def on_top(layer):
    """The backbone with a layer on its output."""

    def make(**settings):
        model = small(**settings)
        return tf.keras.Model(model.inputs, layer(model.output))

    return make


def two_outputs(**settings):
    model = small(**settings)
    return tf.keras.Model(model.inputs, [model.output, model.output])


def frozen(**settings):
    model = small(**settings)
    model.trainable = False
    return model


def unused_weight(**settings):
    model = small(**settings)
    outside = layers.Dense(8, kernel_initializer=initializers_of(settings))(model.output)
    return tf.keras.Model(model.inputs, model.output + tf.stop_gradient(outside))


def initializers_of(settings):
    return next(initializers(settings["initializer"], settings["seed"] + 1))


def divides(*, mean=None, std=None, **settings):
    """Standardises with any deviation, be it 0."""
    inner = small(**settings)
    inputs = layers.Input(inner.input_shape[1:])
    x = inputs
    if mean is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            scale, offset = 1 / np.asarray(std), -np.asarray(mean) / np.asarray(std)
        x = layers.Rescaling(scale, offset)(x)
    return tf.keras.Model(inputs, inner(x))


BROKEN = {
    "no seed": (lambda *, frames, bands, mean, std: None, "made by frames, bands, mean"),
    "statistics needed": (
        lambda *, mean, **settings: small(mean=[float(m) for m in mean], **settings),
        "with or without statistics; raised TypeError",
    ),
    "subclassed": (OwnModel, "a functional Keras model, not OwnModel"),
    "other window": (
        lambda *, frames, **settings: small(frames=2 * frames, **settings),
        r"one input \[batch, 64, 32\], not \[\[None, 128, 32\]\]",
    ),
    "map": (on_top(layers.Reshape((2, 4))), r"one output \[batch, dim\], not \[\[None, 2, 4\]\]"),
    "two outputs": (two_outputs, r"one output \[batch, dim\]"),
    "own layer": (lambda **s: small(into=OwnLayer, **s), "stock layers.*is OwnLayer"),
    "lambda": (on_top(layers.Lambda(lambda x: 2 * x)), "stock layers.*is Lambda"),
    "nothing to train": (frozen, "there is something to train"),
    "seed drawn": (
        lambda *, seed, **s: small(seed=int(np.random.default_rng().integers(2**31)), **s),
        "seed: the same one gives the same",
    ),
    "seed not read": (lambda *, seed, **s: small(**s), "seed: another one"),
    "initializer not read": (lambda *, initializer, **s: small(**s), "initializer: glorot"),
    "16 bits": (on_top(layers.Activation("linear", dtype="float16")), "float32 embeddings"),
    "not finite": (on_top(layers.Rescaling(float("inf"))), "finite embeddings"),
    "statistics not read": (
        lambda *, mean, std, **s: small(**s), "mean and std: the input is standardised",
    ),
    "silent band": (divides, "a band never changes"),
    "no gradient": (unused_weight, "every trained weight has a gradient"),
}  # fmt: skip


SLOW = {"16 bits", "not finite", "statistics not read", "silent band", "no gradient"}


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in BROKEN]
)
def test_broken_backbones(case):
    make, clause = BROKEN[case]
    with pytest.raises(ContractError, match=clause):
        check_backbone(make)
