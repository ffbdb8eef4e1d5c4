"""Gradient caching beside batch normalisation, and its cost; its gradients are in test_joint."""

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.models.contrastive import ContrastiveModel
from playlist_pretrain.models.layers import projector
from playlist_pretrain.models.nt_xent import NTXent

PAIRS, FRAMES, BANDS = 64, 16, 64


def model_of(micro_batch):
    inputs = tf.keras.Input((FRAMES, BANDS))
    x = tf.keras.layers.Dense(8)(inputs)
    x = tf.keras.layers.BatchNormalization(momentum=0.9, synchronized=True, name="norm")(x)
    backbone = tf.keras.Model(inputs, tf.keras.layers.GlobalAveragePooling1D()(x))
    head = projector(8, hidden=16, output=8)
    model = ContrastiveModel(backbone, head, micro_batch=micro_batch)
    model.compile(tf.keras.optimizers.SGD(0.0), loss=NTXent(0.5))
    return model


@pytest.fixture
def batch(rng):
    return tuple(rng.normal(1.0, 0.5, (2, PAIRS, FRAMES, BANDS)).astype(np.float16))


@pytest.mark.slow
def test_moving_statistics_take_one_step_towards_the_mean_of_the_slices(batch):
    model = model_of(16)
    dense, norm = (model.backbone.layers[i] for i in (1, 2))
    seen = dense(np.concatenate(batch).astype(np.float32)).numpy().reshape(2, 4, 16, FRAMES, 8)
    before = norm.moving_variance.numpy()
    model.train_on_batch(*batch)
    np.testing.assert_allclose(norm.moving_mean, 0.1 * seen.mean((0, 1, 2, 3)), rtol=1e-4)
    of_slices = seen.transpose(1, 0, 2, 3, 4).reshape(4, -1, 8).var(1).mean(0)
    np.testing.assert_allclose(norm.moving_variance, 0.9 * before + 0.1 * of_slices, rtol=1e-4)


@pytest.mark.slow
def test_a_graph_is_as_small_for_many_slices_as_for_few(batch):
    sizes = []
    for micro_batch in (32, 2):
        model = model_of(micro_batch)
        step = tf.function(lambda x, y, model=model: model.train_step((x, y)))
        graph = step.get_concrete_function(*map(tf.constant, batch)).graph
        sizes.append(len(graph.as_graph_def().SerializeToString()))
    assert sizes[1] < 1.1 * sizes[0]


def test_batches_that_are_no_whole_number_of_slices_are_refused(batch):
    with pytest.raises(ValueError, match="batch of 64 pairs is no whole number of slices of 24"):
        model_of(24).train_on_batch(*batch)
    unknown = tf.data.Dataset.from_tensor_slices(batch).batch(24)
    with pytest.raises(ValueError, match="drop_remainder"):
        model_of(8).fit(unknown, verbose=0)
