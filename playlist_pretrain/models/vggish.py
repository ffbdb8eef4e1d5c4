"""VGGish for windows of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.models.layers import initializers, mel_input

CONVOLUTIONS = (  # name, channels; a pooling follows each block
    (("conv1", 64),),
    (("conv2", 128),),
    (("conv3_1", 256), ("conv3_2", 256)),
    (("conv4_1", 512), ("conv4_2", 512)),
)
FEATURES = 12_288
"""Behind the poolings of the paper and of the original, at width 1."""
HIDDEN_UNITS = 4096
EMBEDDING_UNITS = 128


def vggish(
    *,
    frames: int,
    bands: int,
    width: float = 1.0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    initializer: str = "he_normal",
    seed: int = 0,
) -> tf.keras.Model:
    """Build VGGish (Hershey et al. 2017) in the variant of arXiv 2304.12257, section 3.1.

    Convolutions 3×3 with ReLU and no batch normalisation, four poolings, two hidden dense layers
    and a linear embedding. The paper's windows of 256 × 96 are pooled 4×4 first, which leaves
    8 × 3 × 512 = 12,288 features, as many as the original has for 96 × 64 with 2×2. For other
    windows the first pooling is 4×4 or 2×2, whichever leaves a number of features that is nearer to
    12,288 (by ratio): 4×4 for 256 × 48 (8,192 features) and 256 × 128 (16,384), 2×2 for 96 × 96
    (18,432). The other poolings are 2×2; all are padded, so that no frame or band is dropped.

    Parameters
    ----------
    frames, bands : int
        Size of the window; any size, since poolings are padded.
    width : float
        Scales the channels of every convolution and the two hidden dense layers; 1.0 is the
        paper's. The embedding keeps its 128 values.
    mean, std, initializer, seed
        See :func:`~playlist_pretrain.models.backbone`; biases start at zero.

    Returns
    -------
    tf.keras.Model
        ``melspectrogram float32 [batch, frames, bands] → embedding float32 [batch, 128]``.
    """
    if not width > 0:
        raise RecipeError(f"width {width}: must be above 0 (1.0 is the paper's VGGish)")
    layers = tf.keras.layers
    kernel = initializers(initializer, seed)

    def scaled(units: int) -> int:
        return max(1, round(units * width))

    inputs, x = mel_input(frames, bands, mean, std)
    for block, convolutions in enumerate(CONVOLUTIONS, 1):
        for name, channels in convolutions:
            x = layers.Conv2D(
                scaled(channels),
                3,
                padding="same",
                activation="relu",
                kernel_initializer=next(kernel),
                name=name,
            )(x)
        pooling = 2 if block > 1 else first_pooling_of(frames, bands)
        x = layers.MaxPool2D(pooling, padding="same", name=f"pool{block}")(x)
    x = layers.Flatten(name="flatten")(x)  # (batch, 12288) for 256 × 96 at width 1
    for name in ("fc1_1", "fc1_2"):
        x = layers.Dense(
            scaled(HIDDEN_UNITS), activation="relu", kernel_initializer=next(kernel), name=name
        )(x)
    embedding = layers.Dense(EMBEDDING_UNITS, kernel_initializer=next(kernel), name="fc2")(x)
    return tf.keras.Model(inputs, embedding, name="vggish")


def first_pooling_of(frames: int, bands: int) -> int:
    """Choose the side of the first pooling, 2 or 4, by the number of features of the original."""

    def distance(pooling: int) -> float:
        after = [-(-side // (pooling * 8)) for side in (frames, bands)]
        return abs(math.log(after[0] * after[1] * CONVOLUTIONS[-1][-1][1] / FEATURES))

    return min((4, 2), key=distance)
