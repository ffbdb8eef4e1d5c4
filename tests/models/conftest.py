"""Small models: one as Essentia publishes them, and saved ones of the package itself."""

import numpy as np
import pytest
from essentia_packages import musicnn_like


@pytest.fixture
def package(tmp_path):
    """Nodes named as in ``msd-musicnn-1.pb``."""
    return musicnn_like(tmp_path / "net.pb")


@pytest.fixture(scope="session")
def backbone():
    """A VGGish for windows of 8 frames of front end ``paper``, which standardises them."""
    from playlist_pretrain.models.vggish import vggish

    mean, std = np.linspace(0.5, 2, 96), np.linspace(0.3, 1, 96)
    return vggish(frames=8, bands=96, width=0.05, mean=mean, std=std, seed=3)


@pytest.fixture(scope="session")
def saved(backbone, tmp_path_factory):
    """Folder of it, ``backbone``, and of a tagger made of it, ``tagger``; to be read only."""
    from playlist_pretrain.audio.front_end import PRESETS
    from playlist_pretrain.models.saved_model import save_backbone, save_tagger
    from playlist_pretrain.models.tagger import tagger

    path, front_end = tmp_path_factory.mktemp("saved"), PRESETS["paper"]
    save_backbone(backbone, front_end, path / "backbone" / "saved_model")
    save_tagger(tagger(backbone, 2, seed=1), ["loud", "quiet"], front_end, path / "tagger")
    return path
