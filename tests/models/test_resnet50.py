"""ResNet50: the paper's sizes, standardised input, seeded weights, batch statistics, export."""

import numpy as np
import pytest
import tensorflow as tf
from processes import end, start

from playlist_pretrain.models import describe
from playlist_pretrain.models.resnet50 import resnet50

FRAMES, BANDS = 32, 32


@pytest.fixture(scope="module")
def model():
    return resnet50(frames=FRAMES, bands=BANDS, seed=1)


@pytest.mark.slow
def test_is_the_papers():
    paper = resnet50(frames=256, bands=96)
    assert paper.get_layer("global_max").input_shape == (None, 8, 3, 2048)
    assert paper.output_shape == (None, 4096)
    # ResNet50 of keras.applications has 23,587,712 without its top, with a bias in each of its 53
    # convolutions (26,560), and three input channels in the first (2 × 7 × 7 × 64 more).
    assert paper.count_params() == 23_587_712 - 26_560 - 6_272
    line = describe(paper)
    assert line.startswith("resnet50: windows of 256 frames × 96 bands, embeddings of 4,096, 23,")
    stock = {type(layer).__module__.partition(".")[0] for layer in paper.layers}
    assert stock == {tf.keras.Model.__module__.partition(".")[0]}


@pytest.mark.slow
def test_the_maximum_comes_before_the_mean(model, rng):
    windows = rng.normal(size=(2, FRAMES, BANDS)).astype(np.float32)
    last = tf.keras.Model(model.input, model.get_layer("global_max").input)(windows).numpy()
    expected = np.concatenate([last.max((1, 2)), last.mean((1, 2))], axis=1)
    np.testing.assert_allclose(model(windows), expected, atol=1e-5)


@pytest.mark.slow
def test_weights_follow_the_seed_and_the_initializer(model):
    other = resnet50(frames=FRAMES, bands=BANDS, seed=2, initializer="glorot_uniform")
    first, glorot = (
        [w.numpy() for w in one.weights if "kernel" in w.name] for one in (model, other)
    )
    assert len(first) == 53
    assert all(not np.array_equal(a, b) for a, b in zip(first, glorot, strict=True))
    largest = max(range(53), key=lambda index: first[index].size)
    fan_in, fan_out = (np.prod(first[largest].shape[:2]) * size for size in (512, 512))
    assert first[largest].var() == pytest.approx(2 / fan_in, rel=0.02)
    assert glorot[largest].var() == pytest.approx(2 / (fan_in + fan_out), rel=0.02)


@pytest.mark.long
def test_replicas_share_the_statistics_of_the_batch():
    code = """
import numpy as np, tensorflow as tf
from playlist_pretrain.models.resnet50 import resnet50
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
windows = np.random.default_rng(0).normal(size=(8, 16, 16)).astype(np.float32)
windows[4:] += 2
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = resnet50(frames=16, bands=16)
halves = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(windows)[4 * context.replica_id_in_sync_group :][:4]
)
found = strategy.run(tf.function(lambda x: model(x, training=True)), (halves,))
found = np.concatenate([part.numpy() for part in strategy.experimental_local_results(found)])
alone = resnet50(frames=16, bands=16)
expected = alone(windows, training=True).numpy()
np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2 * expected.std())
"""
    end(start(["-c", code]))
