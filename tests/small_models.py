"""Small models as good as loaded, for the tests of packages."""

from pathlib import Path

import numpy as np

from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.models.load import LoadedModel
from playlist_pretrain.models.tagger import tagger
from playlist_pretrain.models.vggish import vggish

CLASSES = ("piano", "dark – slow", "drums")
FRAMES = 64


def loaded(front_end="musicnn", classes=(), net=None, frames=FRAMES):
    """A model with weights of its own for a front end, which may be the name of a preset."""
    settings = PRESETS.get(front_end, front_end)
    if net is None:
        mean, std = np.linspace(0.5, 2, settings.bands), np.linspace(0.3, 1, settings.bands)
        net = vggish(frames=frames, bands=settings.bands, width=0.05, mean=mean, std=std, seed=1)
    if classes:
        net = tagger(net, len(classes))
    return LoadedModel("m", net, settings, "", classes, Path("m"))
