"""Backbones, projector, loss and the contrastive model.

A backbone is a functional Keras model of stock layers,
``log-mel float32 [batch, frames, bands] → embedding float32 [batch, dim]``, so that a saved one
loads, and goes on training, in a program that knows nothing of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.registry import Registry

if TYPE_CHECKING:
    import tensorflow as tf

BACKBONES: Registry[Callable] = Registry("backbone", RecipeError)


def _vggish(**settings):
    from playlist_pretrain.models.vggish import vggish

    return vggish(**settings)


def _resnet50(**settings):
    from playlist_pretrain.models.resnet50 import resnet50

    return resnet50(**settings)


BACKBONES.register("vggish", _vggish)
BACKBONES.register("resnet50", _resnet50)


def describe(backbone: tf.keras.Model) -> str:
    """One line for people: window, features before the first dense layer, embedding, weights."""
    frames, bands = backbone.input_shape[1:]
    dense = next((layer for layer in backbone.layers if hasattr(layer, "units")), None)
    features = f"{dense.input_shape[-1]:,} features, " if dense else ""
    return (
        f"{backbone.name}: windows of {frames} frames × {bands} bands, {features}embeddings of "
        f"{backbone.output_shape[-1]:,}, {backbone.count_params():,} weights"
    )
