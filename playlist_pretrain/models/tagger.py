"""Tagger: a backbone with a head of one sigmoid a class."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from playlist_pretrain.models.layers import initializers
from playlist_pretrain.stack import check_keras

HIDDEN_UNITS = 128
"""As in the projector, whose place the head takes (arXiv 2304.12257, section 3.2)."""
EMBEDDINGS, ACTIVATIONS = "embeddings", "activations"


def tagger(
    backbone: tf.keras.Model,
    classes: int,
    *,
    head: str = "mlp",
    initializer: str = "he_normal",
    seed: int = 0,
) -> tf.keras.Model:
    """Put a head on a backbone, whose layers it shares.

    The tagger is ``[batch, frames, bands] → activations float32 [batch, classes]`` from 0 to 1,
    whatever the policy. The ``head`` is "mlp", with a hidden layer of 128 units and ReLU as the
    paper has it, or "linear"; ``initializer`` and ``seed`` are those of its kernels.
    """
    check_keras(backbone)
    layers = tf.keras.layers
    kernel = initializers(initializer, seed)
    x = backbone.output  # (batch, dim)
    sizes = {"activations": (classes, "sigmoid")}
    if head == "mlp":
        sizes = {"head_hidden": (HIDDEN_UNITS, "relu")} | sizes
    for name, (units, activation) in sizes.items():
        settings = {"kernel_initializer": next(kernel), "dtype": "float32", "name": name}
        x = layers.Dense(units, activation=activation, **settings)(x)
    return tf.keras.Model(backbone.inputs, x, name="tagger")


def embedding_of(tagger: tf.keras.Model) -> tf.Tensor:
    """Return the symbolic embedding of a :func:`tagger`: the input of its head."""
    names = [layer.name for layer in tagger.layers]
    return tagger.get_layer("head_hidden" if "head_hidden" in names else "activations").input


def outputs_of(model: tf.keras.Model, *, tagger: bool) -> dict[str, tf.Tensor]:
    """Name the symbolic outputs of a backbone or a tagger as saved models and packages do."""
    if not tagger:
        return {EMBEDDINGS: model.output}
    return {ACTIVATIONS: model.output, EMBEDDINGS: embedding_of(model)}


class TaggerTrainer(tf.keras.Model):
    """A tagger with an L2 penalty on its kernels, for training.

    Compile and fit it as any Keras model, on ``(windows, targets)``; the loss of
    arXiv 2304.12257 is ``tf.keras.losses.BinaryCrossentropy()``. ``l2`` is the weight of Σw² over
    the trained kernels (not half of it; no biases, no normalisation).
    """

    def __init__(self, tagger: tf.keras.Model, l2: float = 0.0, **kwargs: Any):
        # The layers cast what they take; windows in bfloat16 would be coarse before they are
        # standardised.
        super().__init__(autocast=False, **kwargs)
        self.tagger = tagger
        self.l2 = l2
        if l2:
            # As a callable Keras reads the kernels in float32 whatever the policy, and gives each
            # of several replicas its part of it.
            self.add_loss(lambda: l2 * tf.add_n([tf.reduce_sum(k**2) for k in self.kernels]))

    @property
    def kernels(self) -> list[tf.Variable]:
        """Trained kernels, which the penalty is of."""
        found = [getattr(layer, "kernel", None) for layer in self.tagger.layers]
        trained = {variable.ref() for variable in self.trainable_variables}
        return [k for k in found if isinstance(k, tf.Variable) and k.ref() in trained]

    @property
    def parts(self) -> dict[str, Any]:
        """Parts in a checkpoint, beside the optimizer and the metrics."""
        return {"tagger": self.tagger}

    def call(self, inputs, training=None):
        """Activations ``[batch, classes]`` of windows ``[batch, frames, bands]``."""
        return self.tagger(inputs, training=training)
