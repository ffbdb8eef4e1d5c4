"""Gradient caching: the gradient of the whole batch, whatever the slices."""

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.models.contrastive import ContrastiveModel, vector_tower
from playlist_pretrain.models.layers import projector
from playlist_pretrain.models.nt_xent import NTXent
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.models.views import MixedViews

PAIRS, FRAMES, BANDS = 64, 16, 64


def vggish_tower():
    return vggish(frames=FRAMES, bands=BANDS, width=0.05)


def normalised_tower():
    inputs = tf.keras.Input((FRAMES, BANDS))
    x = tf.keras.layers.Dense(8)(inputs)
    x = tf.keras.layers.BatchNormalization(momentum=0.9, synchronized=True, name="norm")(x)
    return tf.keras.Model(inputs, tf.keras.layers.GlobalAveragePooling1D()(x))


def model_of(sides, micro_batch, tower=vggish_tower, loss=None):
    """Model that keeps its weights, so that a step can be looked at twice."""
    backbone = tower()
    others = {
        "window": {},
        "views": {"views": MixedViews(front_end("vggish"), seed=3)},
        "vector": {
            "y_tower": vector_tower(
                np.random.default_rng(1).normal(size=(20, 12)).astype(np.float32),
                projector(12, hidden=16, output=8, name="y_projector", seed=2),
            )
        },
    }
    model = ContrastiveModel(
        backbone,
        projector(backbone.output_shape[-1], hidden=16, output=8),
        micro_batch=micro_batch,
        **others[sides],
    )
    model.compile(tf.keras.optimizers.SGD(0.0), loss=loss or NTXent(0.5))
    return model


def batch_of(sides, rng):
    x, y = rng.normal(1.0, 0.5, (2, PAIRS, FRAMES, BANDS)).astype(np.float16)
    return {"window": (x, y), "views": (x,), "vector": (x, np.arange(PAIRS, dtype=np.int32) % 20)}[
        sides
    ]


@pytest.mark.slow
@pytest.mark.parametrize("sides", ["window", "views", "vector"])
def test_slices_of_every_objective_have_the_gradient_of_the_whole_batch(sides, rng):
    batch = tuple(map(tf.constant, batch_of(sides, rng)))
    left_out = tf.constant(rng.random((2 * PAIRS, 2 * PAIRS)) < 0.3)
    found = []
    for micro_batch in (None, 16):
        loss = NTXent(0.5, hard_negatives=1.0, learnable=True)
        model = model_of(sides, micro_batch, loss=loss)
        parts = model._batch((*batch, left_out))
        logs = tf.function(model.train_step)((*batch, left_out))
        found.append((logs["loss"], *model._gradients(*parts)[:2]))
        wanted = tf.reduce_mean(loss.call(*model._projections(*parts[:2]), left_out))
        assert float(logs["loss"]) == pytest.approx(float(wanted), rel=1e-3)
        assert any(v is model.log_temperature for v in model.trainable_variables)
        seen = tf.function(model.test_step)((*batch, left_out))
    (whole_loss, _, whole), (sliced_loss, _, sliced) = found
    assert float(sliced_loss) == pytest.approx(float(whole_loss), rel=1e-6)
    assert np.isfinite(seen["loss"])
    for one, other in zip(whole, sliced, strict=True):
        assert np.linalg.norm(other - one) <= 1e-4 * np.linalg.norm(one)


def test_moving_statistics_take_one_step_towards_the_mean_of_the_slices(rng):
    x, y = batch_of("window", rng)
    model = model_of("window", 16, normalised_tower)
    dense, norm = (model.backbone.layers[i] for i in (1, 2))
    seen = dense(np.concatenate([x, y]).astype(np.float32)).numpy().reshape(2, 4, 16, FRAMES, 8)
    before = norm.moving_variance.numpy()
    model.train_on_batch(x, y)
    np.testing.assert_allclose(norm.moving_mean, 0.1 * seen.mean((0, 1, 2, 3)), rtol=1e-4)
    of_slices = seen.transpose(1, 0, 2, 3, 4).reshape(4, -1, 8).var(1).mean(0)
    np.testing.assert_allclose(norm.moving_variance, 0.9 * before + 0.1 * of_slices, rtol=1e-4)


@pytest.mark.slow
def test_a_graph_is_as_small_for_many_slices_as_for_few(rng):
    sizes = []
    for micro_batch in (32, 2):
        model = model_of("window", micro_batch)
        step = tf.function(lambda x, y, model=model: model.train_step((x, y)))
        graph = step.get_concrete_function(*map(tf.constant, batch_of("window", rng))).graph
        sizes.append(len(graph.as_graph_def().SerializeToString()))
    assert sizes[1] < 1.1 * sizes[0]


def test_batches_that_are_no_whole_number_of_slices_are_refused(rng):
    with pytest.raises(ValueError, match="batch of 64 pairs is no whole number of slices of 24"):
        model_of("window", 24, normalised_tower).train_on_batch(*batch_of("window", rng))
    unknown = tf.data.Dataset.from_tensor_slices(batch_of("window", rng)).batch(24)
    with pytest.raises(ValueError, match="drop_remainder"):
        model_of("window", 8, normalised_tower).fit(unknown, verbose=0)
