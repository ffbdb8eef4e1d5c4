"""ContrastiveModel: a Keras model like any other, with NT-Xent between its two sides."""

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.models.contrastive import ContrastiveModel, vector_tower
from playlist_pretrain.models.layers import precision, projector
from playlist_pretrain.models.nt_xent import NTXent, nt_xent
from playlist_pretrain.models.vggish import vggish


def made_in(policy="float32", parts=None, rate=0.01, **options):
    with precision(policy):
        backbone = vggish(frames=16, bands=8, width=0.05)
        head = projector(128, hidden=16, output=8)
        model = ContrastiveModel(backbone, head, **(parts or {}))
        model.compile(tf.keras.optimizers.SGD(rate), loss=NTXent(0.5), **options)
    return model


@pytest.fixture
def pairs(rng):
    x = rng.normal(size=(6, 16, 8)).astype(np.float16)
    return x, (x + rng.normal(scale=0.1, size=x.shape)).astype(np.float16)


def test_projector_is_the_papers():
    model = projector(128)
    assert [layer.units for layer in model.layers[1:]] == [128, 128]
    assert model.layers[1].activation is tf.keras.activations.relu
    assert model.layers[2].activation is tf.keras.activations.linear
    assert model.count_params() == 2 * (128 * 128 + 128)


def test_a_step_is_gradient_descent_on_nt_xent(pairs):
    model = made_in()
    x, y = (side.astype(np.float32) for side in pairs)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(nt_xent(model(x), model(y), 0.5))
    gradients = tape.gradient(loss, model.trainable_variables)
    expected = [v - 0.01 * g for v, g in zip(model.trainable_variables, gradients, strict=True)]
    found = model.train_on_batch(*pairs)
    norm = np.sqrt(sum(np.square(g).sum() for g in gradients))
    assert found[:2] == pytest.approx([float(loss), norm], abs=1e-5)
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value.numpy(), atol=1e-5)


def test_default_loss_is_the_papers():
    model = made_in()
    model.compile("adam")
    assert model.loss.temperature == 0.1


def test_remembers_the_first_bad_step(pairs):
    model, (x, y) = made_in(), pairs
    broken = x.copy()
    broken[2, 3, 4] = np.inf
    for side in (x, x, broken, x):
        model.train_on_batch(side, y)
    assert int(model.first_bad_step) == 2


@pytest.mark.slow
def test_views_are_made_of_the_whole_batch_and_of_the_step(rng):
    seen = []

    def views(windows, step):
        seen.append(int(step))
        return windows, windows[::-1]

    model = made_in(parts={"views": views}, rate=0.0, run_eagerly=True)
    windows = rng.normal(size=(6, 16, 8)).astype(np.float32)
    z = model(windows)
    expected = float(tf.reduce_mean(nt_xent(z, z[::-1], 0.5)))
    for _ in range(2):
        assert model.train_on_batch(windows)[0] == pytest.approx(expected, abs=1e-5)
    dataset = tf.data.Dataset.from_tensors(windows)
    assert model.evaluate(dataset, verbose=0) == pytest.approx(expected, abs=1e-5)
    assert seen == [0, 1, 2]


@pytest.mark.slow
def test_vectors_have_a_frozen_table_and_a_projector_of_their_own(rng):
    table = rng.normal(size=(20, 12)).astype(np.float32)
    own = projector(12, hidden=16, output=8, name="y_projector", seed=3)
    model = made_in(parts={"y_tower": vector_tower(table, own)})
    model.compile(tf.keras.optimizers.Adam(1e-2), loss=NTXent(0.5))
    windows = rng.normal(size=(6, 16, 8)).astype(np.float16)
    rows = np.array([3, 1, 19, 0, 7, 7], np.int32)
    expected = float(tf.reduce_mean(nt_xent(model(windows), own(table[rows]), 0.5)))
    before = [weight.copy() for weight in own.get_weights()]
    assert model.train_on_batch(windows, rows)[0] == pytest.approx(expected, abs=1e-5)
    for _ in range(5):
        model.train_on_batch(windows, rows)
    embedding = model.y_tower.get_layer("vectors")
    np.testing.assert_array_equal(embedding.get_weights()[0], table)
    assert all(np.any(a != b) for a, b in zip(before, own.get_weights(), strict=True))
    trained = {id(variable) for variable in model.trainable_variables}
    assert id(embedding.embeddings) not in trained
    assert {id(variable) for variable in own.trainable_variables} <= trained


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "micro_batch"),
    [("mixed_float16", 2), pytest.param("mixed_bfloat16", None, marks=pytest.mark.long)],
)
def test_mixed_precision_is_a_rounding_of_float32(policy, micro_batch, pairs):
    model, exact = made_in(policy), made_in("float32")
    model.micro_batch = micro_batch
    assert tf.keras.mixed_precision.global_policy().name == "float32"
    assert {v.dtype for v in model.trainable_variables} == {tf.float32}
    assert model.backbone.get_layer("conv1").compute_dtype == policy.removeprefix("mixed_")
    wanted = exact.train_on_batch(*pairs)
    found = model.train_on_batch(*pairs)
    assert found[0] == pytest.approx(wanted[0], rel=0.01)
    assert found[1] == pytest.approx(wanted[1], rel=0.1)
    assert found[2:-4] == ([0.0] if policy == "mixed_float16" else [])
    for a, b in zip(model.trainable_variables, exact.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=0.1, atol=2e-3)


@pytest.mark.slow
def test_an_overflow_is_skipped_and_no_bad_step(pairs):
    model = made_in("mixed_float16")
    before = model.backbone.get_weights()
    model.train_on_batch(*pairs)
    model.optimizer._loss_scale._current_loss_scale.assign(2.0**40)
    moved = model.backbone.get_weights()
    assert any(np.any(a != b) for a, b in zip(before, moved, strict=True))
    _, norm, skipped, *_ = model.train_on_batch(*pairs, reset_metrics=False)
    assert skipped == 1.0 and np.isfinite(norm) and int(model.first_bad_step) == -1
    for a, b in zip(moved, model.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(model.optimizer.iterations) == 2


@pytest.mark.slow
def test_what_no_scale_mends_is_a_bad_step(pairs):
    model, (x, y) = made_in("mixed_float16"), pairs
    model.train_on_batch(x, y)
    x[2, 3, 4] = np.nan
    assert model.train_on_batch(x, y)[2] == 0.0
    assert int(model.first_bad_step) == 1


@pytest.mark.slow
def test_a_scale_that_cannot_be_halved_is_a_bad_step(pairs):
    model = made_in("mixed_float16")
    for weight in model.backbone.get_layer("conv1").weights:
        weight.assign(weight * 0 + 1e30)  # ReLU of NaN is 0 here: the loss stays finite
    model.optimizer._loss_scale._current_loss_scale.assign(2.0)
    for _ in range(4):
        model.train_on_batch(*pairs)
    assert 0 <= int(model.first_bad_step) <= 2


@pytest.mark.slow
def test_a_learned_temperature_stops_at_a_hundredth(pairs):
    model = made_in("float32")
    model.compile(tf.keras.optimizers.SGD(1e6), loss=NTXent(0.5, learnable=True))
    for _ in range(3):
        model.backbone.trainable = model.projector.trainable = False
        model.train_on_batch(pairs[0], pairs[0])  # a perfect match asks for ever lower ones
    assert float(model.loss.temperature) == pytest.approx(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "micro_batch"),
    [("float32", None), pytest.param("mixed_float16", 2, marks=pytest.mark.long)],
)
def test_xla_gives_the_same_step(policy, micro_batch, pairs):
    models = [made_in(policy, jit_compile=jit) for jit in (False, True)]
    results = []
    for model in models:
        model.micro_batch = micro_batch
        results.append(model.train_on_batch(*pairs))
    assert results[1] == pytest.approx(results[0], rel=0.05 if "16" in policy else 1e-4)


def test_views_and_a_tower_of_vectors_exclude_each_other():
    with pytest.raises(ValueError, match="give one"):
        made_in(parts={"views": lambda w, s: (w, w), "y_tower": projector(128)})


def in_slices(micro_batch):
    """A model with batch normalisation."""
    inputs = tf.keras.Input((16, 64))
    x = tf.keras.layers.Dense(8)(inputs)
    x = tf.keras.layers.BatchNormalization(momentum=0.9, synchronized=True, name="norm")(x)
    backbone = tf.keras.Model(inputs, tf.keras.layers.GlobalAveragePooling1D()(x))
    head = projector(8, hidden=16, output=8)
    model = ContrastiveModel(backbone, head, micro_batch=micro_batch)
    model.compile(tf.keras.optimizers.SGD(0.0), loss=NTXent(0.5))
    return model


@pytest.fixture
def batch(rng):
    return tuple(rng.normal(1.0, 0.5, (2, 64, 16, 64)).astype(np.float16))


@pytest.mark.slow
def test_moving_statistics_take_one_step_towards_the_mean_of_the_slices(batch):
    model = in_slices(16)
    dense, norm = (model.backbone.layers[i] for i in (1, 2))
    seen = dense(np.concatenate(batch).astype(np.float32)).numpy().reshape(2, 4, 16, 16, 8)
    before = norm.moving_variance.numpy()
    model.train_on_batch(*batch)
    np.testing.assert_allclose(norm.moving_mean, 0.1 * seen.mean((0, 1, 2, 3)), rtol=1e-4)
    of_slices = seen.transpose(1, 0, 2, 3, 4).reshape(4, -1, 8).var(1).mean(0)
    np.testing.assert_allclose(norm.moving_variance, 0.9 * before + 0.1 * of_slices, rtol=1e-4)


@pytest.mark.slow
def test_a_graph_is_as_small_for_many_slices_as_for_few(batch):
    sizes = []
    for micro_batch in (32, 2):
        model = in_slices(micro_batch)
        step = tf.function(lambda x, y, model=model: model.train_step((x, y)))
        graph = step.get_concrete_function(*map(tf.constant, batch)).graph
        sizes.append(len(graph.as_graph_def().SerializeToString()))
    assert sizes[1] < 1.1 * sizes[0]


def test_batches_that_are_no_whole_number_of_slices_are_refused(batch):
    with pytest.raises(ValueError, match="batch of 64 pairs is no whole number of slices of 24"):
        in_slices(24).train_on_batch(*batch)
    unknown = tf.data.Dataset.from_tensor_slices(batch).batch(24)
    with pytest.raises(ValueError, match="drop_remainder"):
        in_slices(8).fit(unknown, verbose=0)
