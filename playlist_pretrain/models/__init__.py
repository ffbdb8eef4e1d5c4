"""Backbones, projector, loss and the contrastive model.

A backbone is a functional Keras model of stock layers,
``log-mel float32 [batch, frames, bands] → embedding float32 [batch, dim]``, so that a saved one
loads, and goes on training, in a program that knows nothing of this package.
"""

from __future__ import annotations

from collections.abc import Callable

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.registry import Registry

BACKBONES: Registry[Callable] = Registry("backbone", RecipeError)


def _vggish(**settings):
    from playlist_pretrain.models.vggish import vggish

    return vggish(**settings)


BACKBONES.register("vggish", _vggish)
