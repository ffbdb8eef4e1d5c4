"""ResNet50 on log-mels: keras-cv's network from scratch, with synchronised batch normalisation."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence

import tensorflow as tf

from playlist_pretrain.models.layers import initializers, mel_input

STACKS = {
    "stackwise_filters": [64, 128, 256, 512],
    "stackwise_blocks": [3, 4, 6, 3],
    "stackwise_strides": [1, 2, 2, 2],
}
EMBEDDING_UNITS = 4096


def resnet50(
    *,
    frames: int,
    bands: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    initializer: str = "he_normal",
    seed: int = 0,
) -> tf.keras.Model:
    """Build ResNet50 (He et al. 2015) as arXiv 2304.12257, section 3.1, uses it.

    The last feature map, 8 × 3 × 2,048 for the paper's windows, is reduced by its global maximum
    and its global mean, one behind the other. Under a strategy of several replicas batch
    normalisation is synchronised: they see the statistics of the whole batch, as one would.

    The model is ``float32 [batch, frames, bands] → float32 [batch, 4096]``, of stock layers;
    windows may have any size, since strides are padded. The other parameters are those of
    :func:`~playlist_pretrain.models.backbone`.
    """
    layers = tf.keras.layers
    kernel = initializers(initializer, seed)
    # Synchronised layers take three times as long a step: only where there is something to
    # synchronise.
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1

    def ours(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, layers.Conv2D):
            config["kernel_initializer"] = next(kernel)
        if isinstance(layer, layers.BatchNormalization):
            config["synchronized"] = several
        return type(layer)(**config)

    inputs, x = mel_input(frames, bands, mean, std)
    network = _keras_cv_backbone()(
        include_rescaling=False, input_shape=(frames, bands, 1), **STACKS
    )
    copies = {id(network.input): x}
    for layer in network.layers[1:]:  # in the order of the graph; the first is the input
        given = tf.nest.map_structure(lambda tensor: copies[id(tensor)], layer.input)
        copies[id(layer.output)] = ours(layer)(given)
    x = copies[id(network.output)]  # (batch, 8, 3, 2048) for 256 × 96
    pooled = [
        layers.GlobalMaxPool2D(name="global_max")(x),
        layers.GlobalAveragePooling2D(name="global_mean")(x),
    ]
    embedding = layers.Concatenate(name="embedding")(pooled)
    return tf.keras.Model(inputs, embedding, name="resnet50")


def _keras_cv_backbone():
    """Import the class of keras-cv, which prints, warns and takes seconds."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        from keras_cv.models import ResNetBackbone
    return ResNetBackbone
