"""Parts of models: standardised input, seeded weights, precision, the projector."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.models.frozen import FrozenEmbedding
from playlist_pretrain.records.schema import SMALLEST_STD

INITIALIZERS = {
    "he_normal": tf.keras.initializers.HeNormal,
    "glorot_uniform": tf.keras.initializers.GlorotUniform,
}


def input_standardisation(
    inputs: tf.Tensor, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tf.Tensor:
    """Standardise ``inputs [batch, frames, bands]`` per band; no statistics, no change.

    A stock ``Normalization`` layer with constants: it travels in the saved model, has no
    weights, and loads without this package.
    """
    if mean is None or std is None:
        return inputs
    mean = np.asarray(mean, np.float64)
    std = np.maximum(np.asarray(std, np.float64), SMALLEST_STD)
    return tf.keras.layers.Normalization(
        axis=-1,
        mean=mean.tolist(),
        variance=(std**2).tolist(),
        dtype="float32",  # whatever the policy: a quiet band may have a small deviation
        name="standardise",
    )(inputs)


def mel_input(
    frames: int, bands: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Make the input of a backbone; returns it standardised, with one channel, too.

    Raises RecipeError if the window has no frame or no band.
    """
    if frames < 1 or bands < 1:
        raise RecipeError(f"window {frames} × {bands}: needs at least one frame and one band")
    inputs = tf.keras.layers.Input((frames, bands), name="melspectrogram")
    x = input_standardisation(inputs, mean, std)  # (batch, frames, bands)
    return inputs, tf.keras.layers.Reshape((frames, bands, 1), name="add_channel")(x)


def initializers(name: str, seed: int) -> Iterator[tf.keras.initializers.Initializer]:
    """Yield an initializer for each layer, with seeds derived from ``seed``."""
    for child in np.random.SeedSequence(seed).spawn(1000):
        yield INITIALIZERS[name](seed=int(child.generate_state(1)[0] >> 1))


def at_least_float32(tensor: tf.Tensor) -> tf.Tensor:
    """Cast 16-bit floats to float32; float64 stays."""
    return tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)


def plain_float32(model: tf.keras.Model) -> tf.keras.Model:
    """Convert a functional model to float32 throughout, without synchronised layers, for saving.

    One that is plain already is returned as it is.
    """

    def is_plain(layer: tf.keras.layers.Layer) -> bool:
        return layer.compute_dtype == "float32" and not getattr(layer, "synchronized", False)

    if all(map(is_plain, model.layers)):
        return model

    def plain(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
        # A layer's configuration does not say whether it is synchronised.
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    return _copy(model, plain)


def under_policy(model: tf.keras.Model) -> tf.keras.Model:
    """Copy a float32 model as if it had been made under the policy and strategy in force."""
    policy = tf.keras.mixed_precision.global_policy().name
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1

    def converted(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
        if isinstance(layer, FrozenEmbedding):  # its graph is not in its configuration
            return FrozenEmbedding(layer.frozen, name=layer.name)
        config = layer.get_config()
        if not isinstance(layer, (tf.keras.layers.InputLayer, tf.keras.layers.Normalization)):
            config["dtype"] = policy
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            config["synchronized"] = several  # as resnet50 has it
        return type(layer).from_config(config)

    return _copy(model, converted)


def _copy(model: tf.keras.Model, clone: Callable) -> tf.keras.Model:
    copy = tf.keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Set the Keras policy of layers, models and optimizers made within the block."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def projector(
    units: int,
    *,
    hidden: int = 128,
    output: int = 128,
    initializer: str = "he_normal",
    seed: int = 0,
    name: str = "projector",
) -> tf.keras.Model:
    """Build the projector: a hidden layer with ReLU, a linear output (arXiv 2304.12257, 3.1).

    The model is ``float32 [batch, units] → float32 [batch, output]``, whatever the policy: at first
    all projections are nearly equal, and what tells them apart is lost in 16 bits. ``hidden`` and
    ``output`` have 128 units each in the paper. ``initializer``, "he_normal" or "glorot_uniform",
    is that of both kernels.
    """
    layers = tf.keras.layers
    kernel = initializers(initializer, seed)
    inputs = layers.Input((units,), name="embedding")
    sizes = {"hidden": (hidden, "relu"), "projection": (output, None)}
    x = inputs
    for layer, (size, activation) in sizes.items():
        settings = {"kernel_initializer": next(kernel), "dtype": "float32", "name": layer}
        x = layers.Dense(size, activation=activation, **settings)(x)
    return tf.keras.Model(inputs, x, name=name)
