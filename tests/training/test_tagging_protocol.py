"""The protocol of arXiv 2304.12257, section 3.2: rates, penalty, windows of validation."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.errors import ScoresError
from playlist_pretrain.models.layers import precision
from playlist_pretrain.models.tagger import TaggerTrainer, embedding_of, tagger
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.records.windows import WindowReader
from playlist_pretrain.tasks.task import SplitRows
from playlist_pretrain.training.finetune import validate
from playlist_pretrain.training.schedules import triangular


@pytest.fixture
def model():
    return tagger(vggish(frames=16, bands=64, width=0.05, seed=3), 4, seed=5)


def test_the_rate_is_a_triangle():
    schedule = triangular(1e-5, 1e-4, steps_per_cycle=1000)
    for step, rate in ((0, 1e-5), (250, 5.5e-5), (500, 1e-4), (750, 5.5e-5), (1000, 1e-5),
                       (1500, 1e-4), (2000, 1e-5)):  # fmt: skip
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-4), step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "freeze"),
    [("float32", False), ("float32", True), ("mixed_float16", False),
     pytest.param("mixed_bfloat16", False, marks=pytest.mark.long)],
)  # fmt: skip
def test_the_penalty_is_l2_times_the_squares_of_the_trained_kernels(rng, policy, freeze):
    with precision(policy):
        model = tagger(vggish(frames=16, bands=64, width=0.05, seed=3), 4, seed=5)
        for layer in model.layers:
            layer.trainable = not freeze or layer.name in ("head_hidden", "activations")
        trainer = TaggerTrainer(model, l2=0.02)
        trainer.compile(tf.keras.optimizers.SGD(0.0), tf.keras.losses.BinaryCrossentropy(),
                        metrics=[tf.keras.metrics.BinaryCrossentropy(name="entropy")])  # fmt: skip
    assert ("LossScale" in type(trainer.optimizer).__name__) == (policy == "mixed_float16")
    x = rng.normal(size=(6, 16, 64)).astype(np.float16)
    y = (rng.random((6, 4)) < 0.5).astype(np.float32)
    found = {name: values[0] for name, values in trainer.fit(x, y, verbose=0).history.items()}
    kernels = [w for w in model.trainable_weights if w.name.endswith("/kernel:0")]
    assert len(kernels) == (2 if freeze else 11)
    squares = sum(float((kernel.numpy().astype(np.float64) ** 2).sum()) for kernel in kernels)
    assert found["loss"] - found["entropy"] == pytest.approx(0.02 * squares, rel=1e-4)


def test_windows_reach_the_standardisation_as_they_are():
    """In bfloat16 a log-mel near 10 has steps of 1/16, wide beside a quiet band's deviation."""
    seen = []
    with precision("mixed_bfloat16"):
        model = tagger(vggish(frames=16, bands=64, width=0.05, mean=[0.0] * 64, std=[1.0] * 64), 4)
        trainer = TaggerTrainer(model)
    layer = model.get_layer("standardise")
    call = layer.call
    layer.call = lambda inputs: seen.append(inputs) or call(inputs)
    trainer(tf.fill([1, 16, 64], tf.constant(10.03, tf.float16)), training=True)
    np.testing.assert_array_equal(seen[-1].numpy(), np.float32(np.float16(10.03)))


@pytest.mark.slow
def test_the_gradient_has_the_penalty(model, rng):
    """With SGD a step moves a kernel by rate · (gradient of the cross-entropy + 2 · l2 · w)."""
    x = rng.normal(size=(6, 16, 64)).astype(np.float32)
    y = (rng.random((6, 4)) < 0.5).astype(np.float32)
    start = model.get_weights()
    moved = []
    for l2 in (0.0, 0.3):
        model.set_weights(start)
        trainer = TaggerTrainer(model, l2=l2)
        trainer.compile(tf.keras.optimizers.SGD(0.1), tf.keras.losses.BinaryCrossentropy())
        trainer.train_on_batch(x, y)
        moved.append(model.get_weights())
    for variable, before, plain, penalised in zip(model.weights, start, *moved, strict=True):
        factor = 0.1 * 2 * 0.3 if variable.name.endswith("/kernel:0") else 0.0
        np.testing.assert_allclose(plain - penalised, factor * before, atol=1e-5)


def test_a_tagger_is_its_backbone_and_a_head(rng):
    backbone = vggish(frames=16, bands=64, width=0.05, seed=3)
    model = tagger(backbone, 4)
    x = rng.normal(size=(3, 16, 64)).astype(np.float32)
    z = backbone(x).numpy()
    hidden, out = (model.get_layer(name) for name in ("head_hidden", "activations"))
    h = np.maximum(z @ hidden.kernel.numpy() + hidden.bias.numpy(), 0)
    logits = h @ out.kernel.numpy() + out.bias.numpy()
    assert h.shape[1] == 128  # the projector's hidden layer
    np.testing.assert_allclose(model(x).numpy(), 1 / (1 + np.exp(-logits)), atol=1e-6)
    np.testing.assert_array_equal(tf.keras.Model(model.inputs, embedding_of(model))(x), z)


def test_validation_sees_the_central_thirty_seconds(model, make_collection, tmp_path, monkeypatch):
    asked, read = [], WindowReader.read

    def note(self, rows, starts):
        asked.extend(starts)
        return read(self, rows, starts)

    monkeypatch.setattr(WindowReader, "read", note)
    frames = front_end("vggish").frames(100 * 16000)  # one every 10 ms
    collection = make_collection(tmp_path / "c", [frames], front_end="vggish")
    collection.source_seconds = np.array([100.0])
    split = SplitRows(np.array([0]), np.ones((1, 4), bool), 1)
    with pytest.raises(ScoresError):  # of one track nothing can be measured
        validate(model, SimpleNamespace(collection=collection, task=SimpleNamespace(
            validation=split, classes=("a", "b", "c", "d"))))  # fmt: skip
    assert asked[0] == 3500 and asked[-1] + 16 <= 6500 and 6500 - asked[-1] < 34
    np.testing.assert_array_equal(np.diff(asked), 16)
