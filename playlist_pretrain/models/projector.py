"""The projector H: what is between the embedding and the loss, and is dropped after training."""

from __future__ import annotations

import tensorflow as tf

from playlist_pretrain.models.layers import initializers


def projector(
    units: int,
    *,
    hidden: int = 128,
    output: int = 128,
    initializer: str = "he_normal",
    seed: int = 0,
    name: str = "projector",
) -> tf.keras.Model:
    """Build one hidden layer with ReLU and a linear output (arXiv 2304.12257, section 3.1).

    Parameters
    ----------
    units : int
        Size of the embedding that comes in.
    hidden, output : int
        Units of the hidden layer and of the projection, 128 each in the paper.
    initializer : {"he_normal", "glorot_uniform"}
        Of both kernels.
    seed : int
        Seed of the initial weights.
    name : str
        Name of the model.

    Returns
    -------
    tf.keras.Model
        ``float32 [batch, units] → float32 [batch, output]``, whatever the policy: at first all
        projections are nearly equal, and what tells them apart is lost in 16 bits.
    """
    layers = tf.keras.layers
    kernel = initializers(initializer, seed)
    inputs = layers.Input((units,), name="embedding")
    x = layers.Dense(
        hidden,
        activation="relu",
        kernel_initializer=next(kernel),
        dtype="float32",
        name="hidden",
    )(inputs)
    outputs = layers.Dense(
        output, kernel_initializer=next(kernel), dtype="float32", name="projection"
    )(x)
    return tf.keras.Model(inputs, outputs, name=name)
