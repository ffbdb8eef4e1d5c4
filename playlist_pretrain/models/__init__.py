"""Backbones, projector, losses and the contrastive model; saving and loading of models.

A backbone is a functional Keras model of stock layers,
``log-mel float32 [batch, frames, bands] → embedding float32 [batch, dim]``, so that a saved one
loads, and goes on training, in a program without this package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.registry import Registry
from playlist_pretrain.stack import check_keras

check_keras()  # before a module of this room makes classes of it

if TYPE_CHECKING:
    import tensorflow as tf

SCRATCH, AUDIOSET, MEAN_OF_MEL = "scratch", "audioset", "mean-of-mel"
"""Models that are no file: new weights, the original VGGish, and the mean of the standardised
log-mel over the frames of a window (the baseline of similarity)."""
ESSENTIA = ".pb"
"""Suffix of a frozen graph for Essentia."""
SMALLEST_LEARNED_TEMPERATURE = 0.01
"""Lower bound of a learned temperature (logits are scaled by at most 100, as in CLIP)."""

BACKBONES: Registry[Callable] = Registry("backbone", RecipeError)


def _vggish(**settings):
    from playlist_pretrain.models.vggish import vggish

    return vggish(**settings)


def _resnet50(**settings):
    from playlist_pretrain.models.resnet50 import resnet50

    return resnet50(**settings)


BACKBONES.register("vggish", _vggish)
BACKBONES.register("resnet50", _resnet50)


def backbone(
    name: str,
    *,
    frames: int,
    bands: int,
    mean: Any = None,
    std: Any = None,
    initializer: str = "he_normal",
    seed: int = 0,
    width: float | None = None,
) -> tf.keras.Model:
    """Build a backbone with new weights.

    Parameters
    ----------
    name : str
        One of :data:`BACKBONES`.
    frames, bands : int
        Size of the window.
    mean, std : array_like [shape=(bands,)], optional
        Statistics by which the model standardises its input per band, such as ``band_mean`` and
        ``band_std`` of a collection; without them the input is taken as it is.
    initializer : {"he_normal", "glorot_uniform"}
    seed : int
        Of the initial weights.
    width : float, optional
        Scale of the channels of VGGish, 1.0 in the paper.

    Returns
    -------
    tf.keras.Model
        ``float32 [batch, frames, bands] → float32 [batch, dim]``.

    Raises
    ------
    RecipeError
        Unknown name, or a size that is not positive.
    """
    return BACKBONES.get(name)(
        frames=frames,
        bands=bands,
        mean=mean,
        std=std,
        initializer=initializer,
        seed=seed,
        **({} if width is None else {"width": width}),
    )


def describe(backbone: tf.keras.Model) -> str:
    """Summarise a backbone in one line: window, features, embedding, number of weights."""
    frames, bands = backbone.input_shape[1:]
    dense = next((layer for layer in backbone.layers if hasattr(layer, "units")), None)
    features = f"{dense.input_shape[-1]:,} features, " if dense else ""
    return (
        f"{backbone.name}: windows of {frames} frames × {bands} bands, {features}embeddings of "
        f"{backbone.output_shape[-1]:,}, {backbone.count_params():,} weights"
    )
