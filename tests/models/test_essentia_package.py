"""Models that Essentia publishes: against their originals and Essentia, tuned, saved."""

import shutil

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from essentia_packages import (
    EFFNET,
    MUSICNN,
    UNITS,
    VGGISH,
    WINDOW,
    edit,
    effnet_like,
    musicnn_like,
    purposes,
    windows_of,
)

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.audio.windows import cut_windows
from playlist_pretrain.errors import FrontEndError, RecipeError
from playlist_pretrain.export.essentia import run_in_essentia
from playlist_pretrain.models.layers import plain_float32, precision
from playlist_pretrain.models.load import label_of, load_model, load_tagger, starting_point
from playlist_pretrain.models.saved_model import save_tagger
from playlist_pretrain.models.tagger import TaggerTrainer, embedding_of, tagger
from playlist_pretrain.training.recipes import FinetuneRecipe

KINDS = {
    "as published": (musicnn_like, {}),
    "with a channel": (musicnn_like, {"rank": 4}),
    "a switch of training": (musicnn_like, {"switch": True}),
    "its shape is in the JSON": (musicnn_like, {"rank": None}),
    "VGGish": (musicnn_like, {"window": (96, 64), "algorithm": VGGISH}),
    "functions and a fixed batch": (effnet_like, {"batch": 4, "window": WINDOW}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_those_of_the_original(kind, tmp_path, rng):
    make, settings = KINDS[kind]
    package = make(tmp_path / "net.pb", **settings)
    read = load_model(package.path)
    window = settings.get("window", WINDOW)
    assert read.frames == window[0]
    assert read.front_end == front_end("vggish-essentia" if kind == "VGGish" else "musicnn")
    backbone = read.model
    assert backbone.input_shape == (None, *window) and backbone.output_shape == (None, UNITS)
    assert not backbone.trainable_weights
    assert [weight.shape.num_elements() for weight in backbone.weights] in ([1152], [1200])
    windows = windows_of(rng, 9, window)
    expected = np.concatenate([package.original(windows[:4]), package.original(windows[4:8])])
    assert expected.std() > 0.01
    in_graph = tf.function(lambda x: backbone(x, training=True))
    np.testing.assert_allclose(backbone(windows)[:8], expected, atol=1e-6, rtol=0)
    np.testing.assert_allclose(in_graph(windows)[:8], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("count", [0, 1, 130])
def test_a_fixed_batch_takes_any_number_of_windows(count, tmp_path, rng):
    package = effnet_like(tmp_path / "bs64.pb", batch=64, window=WINDOW)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):  # it does take 64 only
        package.original(np.zeros((63, *WINDOW), np.float32))
    windows = windows_of(rng, count)
    found = load_model(package.path).model(windows)
    assert found.shape == (count, UNITS)
    if count:
        whole = np.concatenate([windows, windows_of(rng, -count % 64)])
        expected = np.concatenate([package.original(p) for p in np.split(whole, len(whole) // 64)])
        np.testing.assert_allclose(found, expected[:count], atol=1e-6, rtol=0)


def test_it_is_float32_whatever_the_policy(package, rng):
    with precision("mixed_float16"):
        model = tagger(load_model(package.path).model, 2)
    assert plain_float32(model) is model
    windows = windows_of(rng, 3)
    found = tf.keras.Model(model.inputs, embedding_of(model))(windows)
    np.testing.assert_allclose(found, package.original(windows), atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "window"), [(MUSICNN, (187, 96)), (EFFNET, (128, 96)), (VGGISH, (96, 64))]
)
def test_essentia_gives_the_same_for_a_waveform(algorithm, window, tmp_path, rng):
    make = effnet_like if algorithm == EFFNET else musicnn_like
    package = make(tmp_path / "net.pb", window=window, algorithm=algorithm)
    input_, output = "model/Placeholder", "model/dense/BiasAdd"
    if algorithm == EFFNET:
        input_, output = "serving_default_melspectrogram", "PartitionedCall:1"
    time = np.arange(16000 * 9) / 16000
    wave = 0.3 * np.sin(2 * np.pi * (80 + 350 * time) * time) + rng.normal(0, 0.01, len(time))
    wave = wave.astype(np.float32)
    soundfile.write(tmp_path / "it.wav", wave, 16000, subtype="FLOAT")
    code = f"""
from essentia.standard import MonoLoader, {algorithm}
def predict(graph, audio, output, last):
    model = {algorithm}(
        graphFilename=graph, input="{input_}", output=output, lastPatchMode=last,
        patchSize={window[0]}, patchHopSize={window[0]},
    )
    return model(MonoLoader(filename=audio, sampleRate=16000)())
"""
    graphs, files = {"graphFilename": package.path}, [(tmp_path / "it.wav", "discard")]
    nothing = np.zeros((0, *window), np.float32)
    there = run_in_essentia(graphs, [output], code, files, nothing, tmp_path, "net", input_=input_)
    expected = there[f"file 0 {output}"]
    read = load_model(package.path)
    mel = read.front_end.log_mel(wave).numpy()
    found = read.model(cut_windows(mel, read.frames))
    assert expected.shape == found.shape and len(found) >= 3
    assert np.ptp(expected, axis=0).max() > 1e-2  # the windows differ
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=0)


@pytest.mark.slow
def test_a_tagger_trains_its_head_and_is_saved(tmp_path, rng):
    package = effnet_like(tmp_path / "net.pb", window=WINDOW, batch=64)
    read = load_model(package.path)
    windows = windows_of(rng, 48) * rng.uniform(0, 2, (48, 1, 1)).astype(np.float32)
    embeddings = package.original(np.resize(windows, (64, *WINDOW)))[:48]
    targets = (embeddings[:, :2] > np.median(embeddings[:, :2], axis=0)).astype(np.float32)
    model = tagger(read.model, 2)
    assert len(model.trainable_variables) == 4  # of two dense layers
    trainer = TaggerTrainer(model, l2=1e-5)
    trainer.compile(tf.keras.optimizers.Adam(0.02), tf.keras.losses.BinaryCrossentropy())
    losses = trainer.fit(windows, targets, batch_size=20, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    after = model.get_layer("frozen_graph").get_weights()
    np.testing.assert_array_equal(after, load_model(package.path).model.get_weights())
    found = tf.keras.Model(model.inputs, embedding_of(model))(windows)
    np.testing.assert_allclose(found, embeddings, atol=1e-6, rtol=0)

    save_tagger(model, ["one", "two"], read.front_end, tmp_path / "saved")
    package.path.unlink()
    loaded = load_tagger(tmp_path / "saved")
    assert loaded.classes == ("one", "two") and loaded.front_end == read.front_end
    assert loaded.frames == WINDOW[0] and len(loaded.model.trainable_variables) == 4
    expected = model(windows)
    np.testing.assert_allclose(loaded.model(windows), expected, atol=1e-6, rtol=0)
    signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
    answer = signatures["serving_default"](melspectrogram=tf.constant(windows))
    np.testing.assert_allclose(answer["activations"], expected, atol=1e-6, rtol=0)
    np.testing.assert_allclose(answer["embeddings"], embeddings, atol=1e-6, rtol=0)


def recipe_of(*models, **settings):
    return FinetuneRecipe(model=models, **settings).resolve(demo=False, window_frames=256)


def test_a_fine_tuning_starts_from_it(package, make_collection, tmp_path, rng):
    name = str(package.path)
    collection = make_collection(tmp_path / "mels", [80, 40], front_end="musicnn")
    point = starting_point(name, recipe_of(name, freeze=True), collection)
    assert point.label == label_of(name, None) == "net"
    assert point.frames == WINDOW[0] and point.front_end == front_end("musicnn")
    one, two = point.build(0), point.build(1)
    windows = windows_of(rng, 2)
    assert one is not two
    np.testing.assert_array_equal(one(windows), two(windows))

    for ending in (".pb", ".json"):
        shutil.copy(package.path.with_suffix(ending), tmp_path / f"copy{ending}")
    other = musicnn_like(tmp_path / "other.pb", seed=5)
    assert load_model(tmp_path / "copy.pb").key == point.key != load_model(other.path).key
    package.edit_json(purposes(predictions="embeddings"))
    assert load_model(package.path).key != point.key


def test_what_a_recipe_may_not_ask_for(package, make_collection, tmp_path):
    name = str(package.path)
    with pytest.raises(RecipeError, match=r"net\.pb: its graph is frozen: give --freeze"):
        recipe_of(name)
    with pytest.raises(RecipeError, match="--frames 24: only --model scratch reads it"):
        recipe_of(name, freeze=True, frames=24)
    paper = make_collection(tmp_path / "paper", [80])
    with pytest.raises(FrontEndError, match="hop_length 256 against 188"):
        starting_point(name, recipe_of(name, freeze=True), paper)


@pytest.mark.parametrize("name", ["kernel_2", "model/Placeholder_1"])
def test_a_node_may_wait_for_what_becomes_an_argument(name, tmp_path, rng):
    package = musicnn_like(tmp_path / "net.pb", switch=True)
    windows = windows_of(rng, 3)
    package.edit_graph(edit("bias_1", lambda node: node.input.append(f"^{name}")))
    found = load_model(package.path).model(windows)
    np.testing.assert_allclose(found, package.original(windows), atol=1e-6, rtol=0)
