"""The protocol of arXiv 2304.12257, section 3.2: rates, penalty, windows of validation and test."""

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.models.layers import precision
from playlist_pretrain.models.tagger import TaggerTrainer, embedding_of, tagger
from playlist_pretrain.models.track_outputs import track_means
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.records.windows import WindowReader
from playlist_pretrain.training.finetune import VALIDATION_SECONDS
from playlist_pretrain.training.schedules import triangular


@pytest.fixture
def model():
    return tagger(vggish(frames=16, bands=64, width=0.05, seed=3), 4, seed=5)


def test_the_rate_is_a_triangle():
    schedule = triangular(1e-5, 1e-4, steps_per_cycle=1000)
    for step, rate in ((0, 1e-5), (250, 5.5e-5), (500, 1e-4), (750, 5.5e-5), (1000, 1e-5),
                       (1500, 1e-4), (2000, 1e-5)):  # fmt: skip
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-4), step


@pytest.mark.parametrize("freeze", [False, True])
def test_the_penalty_is_l2_times_the_squares_of_the_trained_kernels(model, rng, freeze):
    if freeze:
        for layer in model.layers:
            layer.trainable = layer.name in ("head_hidden", "activations")
    trainer = TaggerTrainer(model, l2=0.02)
    trainer.compile(
        tf.keras.optimizers.SGD(0.0),
        tf.keras.losses.BinaryCrossentropy(),
        metrics=[tf.keras.metrics.BinaryCrossentropy(name="cross_entropy")],
    )
    x = rng.normal(size=(6, 16, 64)).astype(np.float32)
    y = (rng.random((6, 4)) < 0.5).astype(np.float32)
    found = trainer.fit(x, y, batch_size=6, verbose=0).history
    kernels = [w for w in model.trainable_weights if w.name.endswith("/kernel:0")]
    assert len(kernels) == (2 if freeze else 11)
    squares = sum(float((kernel.numpy().astype(np.float64) ** 2).sum()) for kernel in kernels)
    probability = model.predict(x, verbose=0).astype(np.float64)
    entropy = -np.mean(y * np.log(probability) + (1 - y) * np.log(1 - probability))
    assert found["cross_entropy"][0] == pytest.approx(entropy, rel=1e-4)
    assert found["loss"][0] == pytest.approx(entropy + 0.02 * squares, rel=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_the_penalty_is_worked_out_in_float32(policy):
    with precision(policy):
        model = tagger(vggish(frames=16, bands=64, width=0.05, seed=3), 4, seed=5)
        trainer = TaggerTrainer(model, l2=0.02)
        trainer.compile(tf.keras.optimizers.SGD(0.0), tf.keras.losses.BinaryCrossentropy(),
                        metrics=[tf.keras.metrics.BinaryCrossentropy(name="entropy")])  # fmt: skip
    assert ("LossScale" in type(trainer.optimizer).__name__) == (policy == "mixed_float16")
    x, y = np.zeros((6, 16, 64), np.float16), np.zeros((6, 4), np.float32)
    found = {name: values[0] for name, values in trainer.fit(x, y, verbose=0).history.items()}
    squares = sum(float((k.numpy().astype(np.float64) ** 2).sum()) for k in trainer.kernels)
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


@pytest.fixture
def asked(monkeypatch):
    """Windows (row, start) that readers were asked for."""
    asked, read = [], WindowReader.read

    def note(self, rows, starts):
        asked.extend(zip(rows.tolist(), starts.tolist(), strict=True))
        return read(self, rows, starts)

    monkeypatch.setattr(WindowReader, "read", note)
    return asked


def test_the_test_sees_all_windows_and_means_them(model, make_collection, tmp_path, asked):
    frames = [2 * 16, 10 * 16 + 5, 400 * 16 + 15]
    collection = make_collection(tmp_path / "c", frames, front_end="vggish")
    rows = np.array([2, 0, 1])
    scores = track_means(model, collection, rows=rows)
    assert sorted(asked) == [
        (row, 16 * window) for row, count in enumerate((2, 10, 400)) for window in range(count)
    ]
    for row, found in zip(rows, scores, strict=True):
        mel = collection.mel(int(row))
        windows = mel[: len(mel) // 16 * 16].reshape(-1, 16, 64)
        np.testing.assert_allclose(found, model(windows).numpy().mean(axis=0), atol=1e-5)


def test_validation_sees_the_central_thirty_seconds(model, tmp_path, asked):
    from playlist_pretrain.audio.front_end import front_end
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.schema import shard_name
    from playlist_pretrain.records.writer import ShardWriter, write_collection

    settings = front_end("vggish")  # a frame every 10 ms
    seconds = 100
    frames = settings.frames(seconds * settings.sample_rate)
    with ShardWriter(tmp_path / shard_name(0), settings.bands) as writer:
        mel = np.zeros((frames, settings.bands), np.float32)
        writer.add("a", mel, start_seconds=0.0, source_seconds=float(seconds))
    write_collection(tmp_path, settings, [writer.part], source={"made": "for a test"})
    track_means(model, Collection.open(tmp_path), rows=np.array([0]), seconds=VALIDATION_SECONDS)
    starts = np.array([start for _, start in asked])
    assert starts[0] == 3500 and starts[-1] + 16 <= 6500 and 6500 - starts[-1] < 34
    np.testing.assert_array_equal(np.diff(starts), 16)
