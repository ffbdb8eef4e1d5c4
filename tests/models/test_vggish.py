"""VGGish: the paper's sizes, any window, input statistics, seeded weights, errors."""

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.models.vggish import vggish


def test_paper_and_original_have_the_same_size():
    with tf.Graph().as_default():  # where nobody draws the weights
        paper = vggish(frames=256, bands=96)
        original = vggish(frames=96, bands=64)
    assert paper.get_layer("flatten").output_shape == (None, 8 * 3 * 512)
    assert original.get_layer("flatten").output_shape == (None, 6 * 4 * 512)
    assert paper.count_params() == original.count_params() == 72_141_184


@pytest.mark.parametrize(
    ("frames", "bands", "features"),
    [
        (256, 96, 12_288), (96, 64, 12_288), (256, 128, 16_384), (187, 96, 9216), (1, 1, 512),
    ],
)  # fmt: skip
def test_the_first_pooling_keeps_the_features_near_the_originals(frames, bands, features):
    model = vggish(frames=frames, bands=bands, width=1 / 64)  # 8 of 512 channels
    assert model.get_layer("flatten").output_shape == (None, features // 64)


@pytest.mark.parametrize(("initializer", "variance"), [("he_normal", 2), ("glorot_uniform", 1)])
def test_initializers(initializer, variance):
    model = vggish(frames=256, bands=96, width=0.25, initializer=initializer)
    first, kernel = (model.get_layer(name).kernel.numpy() for name in ("fc1_1", "fc1_2"))
    assert kernel.var() * kernel.shape[0] == pytest.approx(variance, rel=0.05)  # as many in as out
    apart = np.corrcoef(first.ravel()[: kernel.size], kernel.ravel())[0, 1]
    assert abs(apart) < 0.1  # each layer draws its own


@pytest.mark.parametrize("bad", [{"width": 0}, {"width": -1}, {"frames": 0}, {"bands": 0}])
def test_refuses(bad):
    with pytest.raises(RecipeError, match=str(next(iter(bad.values())))):
        vggish(**{"frames": 16, "bands": 8, **bad})
