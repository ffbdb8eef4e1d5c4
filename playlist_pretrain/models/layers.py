"""What every backbone starts with: standardised input and seeded initial weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

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
        axis=-1, mean=mean.tolist(), variance=(std**2).tolist(), name="standardise"
    )(inputs)


def initializers(name: str, seed: int) -> Iterator[tf.keras.initializers.Initializer]:
    """Yield one initializer a layer, each with a seed of its own, reproducible from ``seed``."""
    for child in np.random.SeedSequence(seed).spawn(1000):
        yield INITIALIZERS[name](seed=int(child.generate_state(1)[0] >> 1))
