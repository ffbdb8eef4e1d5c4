"""Packages for TensorFlow Lite: run there, described, whole or not there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.audio.front_end import IMPORTED, PRESETS
from playlist_pretrain.errors import FrontEndError, ModelError
from playlist_pretrain.export import tflite
from playlist_pretrain.export import tflite as tflite_run
from playlist_pretrain.export.package import ModelInfo
from playlist_pretrain.export.tflite import export_tflite
from playlist_pretrain.models.layers import precision
from playlist_pretrain.models.resnet50 import resnet50
from playlist_pretrain.models.saved_model import SavedBackbone, SavedTagger
from playlist_pretrain.models.tagger import embedding_of, tagger
from playlist_pretrain.models.vggish import vggish

CLASSES = ("piano", "dark – slow", "drums")
ABOUT = ModelInfo(author="A. Person", release_date="2026-01-31", metrics={"roc_auc": 0.9})
FRAMES = 64


def saved(front_end=PRESETS["paper"], classes=(), net=None, frames=FRAMES):
    """A small model with weights of its own that is as good as loaded."""
    if net is None:
        mean, std = np.linspace(0.5, 2, front_end.bands), np.linspace(0.3, 1, front_end.bands)
        net = vggish(frames=frames, bands=front_end.bands, width=0.05, mean=mean, std=std, seed=1)
    if classes:
        return SavedTagger(tagger(net, len(classes)), front_end, frames, Path("m"), classes)
    return SavedBackbone(net, front_end, frames, Path("m"))


def expected(model, windows):
    """Outputs by name, from Keras."""
    if isinstance(model, SavedBackbone) and not isinstance(model, SavedTagger):
        return {"embeddings": model.model(windows).numpy()}
    embeddings = tf.keras.Model(model.model.inputs, embedding_of(model.model))
    return {
        "activations": model.model(windows).numpy(),
        "embeddings": embeddings(windows).numpy(),
    }


def check_answers(model, files, rng):
    """Through the tensors themselves, resized: another way than that of the package's code."""
    for batch in (3, 1, 64):
        interpreter = tf.lite.Interpreter(model_path=str(files.model))
        (given,) = interpreter.get_input_details()
        shape = (model.frames, model.front_end.bands)
        windows = rng.uniform(0, 5, (batch, *shape)).astype(np.float32)
        interpreter.resize_tensor_input(given["index"], windows.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], windows)
        interpreter.invoke()
        answers = {
            one["shape_signature"][-1]: interpreter.get_tensor(one["index"])
            for one in interpreter.get_output_details()
        }
        for name, array in expected(model, windows).items():
            there = answers[array.shape[1]]
            np.testing.assert_allclose(there, array, atol=1e-4 * array.std(), err_msg=name)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A tagger's, with the model it was made of."""
    model = saved(classes=CLASSES)
    return model, export_tflite(model, "net-1", tmp_path_factory.mktemp("out"), ABOUT)


def test_a_tagger_gives_there_what_it_gives_here(package, rng):
    model, files = package
    check_answers(model, files, rng)
    assert [(one.output, one.windows, one.passes) for one in files.compared] == [
        ("activations", 72, True),
        ("embeddings", 72, True),
    ]


@pytest.mark.parametrize("front_end", [PRESETS["vggish"], IMPORTED["melon"]], ids=lambda f: f.name)
def test_any_front_end_will_do(front_end, tmp_path, rng):
    model = saved(front_end)
    files = export_tflite(model, "net", tmp_path, ABOUT)
    check_answers(model, files, rng)
    description = json.loads(files.description.read_text())
    assert description["front_end"] == front_end.to_dict()


@pytest.mark.slow
@pytest.mark.parametrize("classes", [(), CLASSES], ids=["backbone", "tagger"])
def test_resnet50(classes, tmp_path, rng):
    model = saved(classes=classes, net=resnet50(frames=FRAMES, bands=96, seed=1))
    files = export_tflite(model, "net", tmp_path, ABOUT)
    check_answers(model, files, rng)


def test_a_model_in_16_bits_becomes_one_in_32(tmp_path, rng):
    with precision("mixed_bfloat16"):
        net = vggish(frames=FRAMES, bands=96, width=0.02)
    files = export_tflite(saved(net=net), "net", tmp_path, ABOUT)
    plain = vggish(frames=FRAMES, bands=96, width=0.02)
    plain.set_weights(net.get_weights())
    check_answers(saved(net=plain), files, rng)


def test_its_operations_are_those_that_everyone_has(package):
    _, files = package
    interpreter = tf.lite.Interpreter(model_path=str(files.model))
    operations = {one["op_name"] for one in interpreter._get_ops_details()}
    assert {"CONV_2D", "MAX_POOL_2D", "FULLY_CONNECTED"} <= operations
    assert not any(name.startswith("Flex") or name == "CUSTOM" for name in operations)
    signature = interpreter.get_signature_list()
    assert signature == {
        "serving_default": {
            "inputs": ["melspectrogram"],
            "outputs": ["activations", "embeddings"],
        }
    }


def test_what_is_written(package):
    _, files = package
    names = {"README.md", "net-1-parity.json", "net-1.json", "net-1.tflite", "predict.py"}
    assert set(os.listdir(files.folder)) == names
    assert os.listdir(files.folder.parent) == ["net-1"]
    description = json.loads(files.description.read_text())
    assert description["framework"] == "tensorflow-lite"
    assert description["model_types"] == ["tflite"] and description["classes"] == list(CLASSES)
    assert description["schema"]["inputs"] == [
        {"name": "melspectrogram", "type": "float", "shape": [FRAMES, 96]}
    ]
    assert [(one["name"], one["shape"], one["op"]) for one in description["schema"]["outputs"]] == [
        ("activations", [1, 3], "Dense"),
        ("embeddings", [1, 128], "Dense"),
    ]
    parity = json.loads((files.folder / "net-1-parity.json").read_text())
    assert [one["difference"] for one in parity["compared"]] == [
        one.difference for one in files.compared
    ]
    card = files.card.read_text("utf-8")
    assert card.startswith("# net-1\n") and f"```python\n{files.code}```" in card
    assert "Classes: piano, dark – slow, drums" in card and "| roc\\_auc | 0.9000 |" in card
    assert card.count("largest difference") == 2


@pytest.mark.slow
def test_the_code_is_a_script_too(package, tmp_path, rng):
    model, files = package
    windows = rng.uniform(0, 5, (130, FRAMES, 96))  # float64, and more than go through at once
    np.save(tmp_path / "windows.npy", windows)
    done = subprocess.run(
        [sys.executable, str(files.script), str(tmp_path / "windows.npy")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "activations\n(130, 3)" in done.stdout and "embeddings\n(130, 128)" in done.stdout
    names = {}
    exec(files.code, names)
    found = names["predict"](str(files.model), windows)
    for name, array in expected(model, windows.astype(np.float32)).items():
        np.testing.assert_allclose(found[name], array, atol=1e-4 * array.std())


def test_it_says_nothing_of_its_own(tmp_path, capfd):
    export_tflite(saved(), "net", tmp_path, ABOUT)
    assert capfd.readouterr() == ("", "")


def test_an_operation_that_it_lacks(tmp_path):
    inputs = tf.keras.layers.Input((FRAMES, 96), name="melspectrogram")
    x = tf.keras.layers.GlobalAveragePooling1D()(inputs)
    x = tf.keras.layers.Lambda(tf.math.lgamma)(x)
    net = tf.keras.Model(inputs, tf.keras.layers.Dense(4)(x))
    with pytest.raises(ModelError, match=r"^m: TensorFlow Lite has not all of its operations"):
        export_tflite(saved(net=net), "net", tmp_path / "out", ABOUT)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_file_that_is_another_model_is_refused(tmp_path, monkeypatch):
    other = vggish(frames=FRAMES, bands=96, width=0.05, seed=2)
    named = tf.keras.Model(other.inputs, {"embeddings": other.output})
    content = tflite_run.convert(named, Path("other"))
    monkeypatch.setattr(tflite, "convert", lambda *_: content)
    with pytest.raises(ModelError, match="not the same in TensorFlow Lite") as caught:
        export_tflite(saved(), "net", tmp_path / "out", ABOUT)
    assert "net.tflite, random windows in batches of 1, 7, 64: embeddings" in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x1c\0\0\0TFL3" + bytes(100)])
def test_a_file_that_does_not_load_is_refused(content, tmp_path, monkeypatch):
    monkeypatch.setattr(tflite, "convert", lambda *_: content)
    with pytest.raises(ModelError, match=r"net\.tflite: TensorFlow Lite cannot run it"):
        export_tflite(saved(), "net", tmp_path / "out", ABOUT)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value, tmp_path):
    model = saved()
    model.model.get_layer("fc2").bias.assign(np.full(128, value))
    with pytest.raises(ModelError, match="not the same in TensorFlow Lite"):
        export_tflite(model, "net", tmp_path / "out", ABOUT)


@pytest.mark.slow
def test_what_is_there_is_replaced_only_when_asked(tmp_path):
    export_tflite(saved(), "net", tmp_path, ABOUT)
    with pytest.raises(ModelError, match=r"net: is there already; --overwrite"):
        export_tflite(saved(), "net", tmp_path, ModelInfo(author="B"))
    export_tflite(saved(), "net", tmp_path, ModelInfo(author="B"), overwrite=True)
    assert json.loads((tmp_path / "net" / "net.json").read_text())["author"] == "B"
    assert os.listdir(tmp_path) == ["net"]


def test_names_bands_and_sizes_that_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="--name"):
        export_tflite(saved(), "a/b", tmp_path, ABOUT)
    with pytest.raises(ModelError, match="export to a folder here"):
        export_tflite(saved(), "net", "s3://bucket/x", ABOUT)
    net = vggish(frames=FRAMES, bands=64, width=0.02)
    with pytest.raises(FrontEndError, match="m: takes 64 bands, 'paper' makes 96"):
        export_tflite(saved(net=net), "net", tmp_path, ABOUT)
    monkeypatch.setattr(tflite, "LARGEST_MODEL", 1000)
    with pytest.raises(ModelError, match=r"m: weights of .* GB; a \.tflite file holds 2 GB"):
        export_tflite(saved(), "net", tmp_path, ABOUT)
    assert os.listdir(tmp_path) == []
