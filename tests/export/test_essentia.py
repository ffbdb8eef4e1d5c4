"""Packages for Essentia: run there, described, whole or not there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.errors import ModelError
from playlist_pretrain.export import essentia as essentia_parity
from playlist_pretrain.export.essentia import export_essentia
from playlist_pretrain.export.essentia_check import Request, window_key
from playlist_pretrain.export.essentia_code import essentia_algorithm
from playlist_pretrain.export.package import (
    ModelInfo,
    check_description,
    cut,
    describe,
    frozen_graph,
    model_card,
    write_graph,
)
from playlist_pretrain.models.load import LoadedModel, load_model
from playlist_pretrain.models.resnet50 import resnet50
from playlist_pretrain.models.tagger import tagger
from playlist_pretrain.models.vggish import vggish

CLASSES = ("piano", "dark – slow", "drums")
ABOUT = ModelInfo(
    author="A. Person",
    release_date="2026-01-31",
    metrics={"roc_auc": 0.9},
    licence="CC BY 4.0",
    recipe={"batch": 32, "warmup_steps": None},
)


def saved(front_end="musicnn", classes=(), frames=None, net=None):
    """A small model with weights of its own that is as good as loaded."""
    settings = PRESETS[front_end]
    frames = frames or settings.window_frames
    if net is None:
        mean, std = np.linspace(0.5, 2, settings.bands), np.linspace(0.3, 1, settings.bands)
        net = vggish(frames=frames, bands=settings.bands, width=0.05, mean=mean, std=std, seed=1)
    if classes:
        net = tagger(net, len(classes))
    return LoadedModel("m", net, settings, "", classes, Path("m"))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A tagger's, with the model it was made of."""
    model = saved(classes=CLASSES)
    return model, export_essentia(model, "net-1", tmp_path_factory.mktemp("out"), ABOUT)


def run_in_essentia(folder, graph, saved_model, windows, outputs):
    """What Essentia answers to one batch, by parameter and output."""
    graphs = {"graphFilename": str(graph), "savedModel": str(saved_model)}
    request = Request(graphs, "melspectrogram", outputs, [len(windows)], "", [])
    found = essentia_parity.run_apart(request, windows, folder, "net")
    return {
        (kind, output): found[window_key(kind, len(windows), output)]
        for kind in graphs
        for output in outputs
    }


CASES = [
    pytest.param(front_end, classes, id=f"{front_end}-{'tagger' if classes else 'backbone'}")
    for front_end in ("paper", "musicnn", "vggish-essentia")
    for classes in ((), CLASSES)
]


@pytest.mark.slow
@pytest.mark.parametrize(("front_end", "classes"), CASES)
def test_a_package_gives_in_essentia_what_the_model_gives(front_end, classes, tmp_path, rng):
    model = saved(front_end, classes)
    files = export_essentia(model, "net", tmp_path / "out", ABOUT)
    parity = files.parity
    outputs = ["activations", "embeddings"] if classes else ["embeddings"]
    assert len(parity.compared) == 5 * len(outputs) and all(one.passes for one in parity.compared)
    expected = "TensorflowPredict" + {"musicnn": "MusiCNN", "paper": ""}.get(front_end, "VGGish")
    assert parity.algorithm == expected
    counts = [one.windows for one in parity.compared[:5]]
    whole = PRESETS[front_end].frames(20 * 16000) // model.frames
    clip = -(-PRESETS[front_end].frames(2 * 16000) // model.frames)
    assert counts == [72, 72, whole, clip, 1]
    description = json.loads(files.description.read_text())
    check_description(description, "it")
    windows = rng.uniform(0, 5, (5, model.frames, PRESETS[front_end].bands)).astype(np.float32)
    named = [output["name"] for output in description["schema"]["outputs"]]
    found = run_in_essentia(tmp_path, files.graph, files.saved_model, windows, named)
    loaded = tf.saved_model.load(str(files.saved_model)).signatures["serving_default"]
    here = loaded(melspectrogram=tf.constant(windows))
    for kind in ("graphFilename", "savedModel"):
        last = found[kind, outputs[0]]
        np.testing.assert_allclose(last, model.model(windows), atol=1e-4 * np.std(last))
        for output in outputs:
            np.testing.assert_allclose(found[kind, output], here[output], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("front_end", "classes"), [("paper", CLASSES), ("musicnn", ())])
def test_resnet50(front_end, classes, tmp_path):
    net = resnet50(frames=64, bands=96, seed=1)
    files = export_essentia(saved(front_end, classes, 64, net), "net", tmp_path, ABOUT)
    assert all(one.passes for one in files.parity.compared)
    embeddings = json.loads(files.description.read_text())["schema"]["outputs"][-1]
    assert embeddings["shape"] == [1, 4096] and embeddings["op"] == "ConcatV2"


@pytest.mark.slow
def test_what_a_description_says(package):
    _, files = package
    description = json.loads(files.description.read_text())
    assert description["name"] == "net-1" and description["classes"] == list(CLASSES)
    assert description["author"] == "A. Person" and description["release_date"] == "2026-01-31"
    assert description["dataset"]["metrics"] == {"roc_auc": 0.9}
    assert description["framework_version"] == tf.__version__
    assert description["inference"] == {
        "sample_rate": 16000,
        "algorithm": "TensorflowPredictMusiCNN",
    }
    (given,), outputs = description["schema"]["inputs"], description["schema"]["outputs"]
    assert given == {"name": "melspectrogram", "type": "float", "shape": [256, 96]}
    assert [(one["name"], one["shape"], one["op"], one["output_purpose"]) for one in outputs] == [
        ("activations", [1, 3], "Sigmoid", "predictions"),
        ("embeddings", [1, 128], "BiasAdd", "embeddings"),
    ]
    nodes = {node.name for node in graph_of(files.graph).node}
    assert {given["name"], *(one["name"] for one in outputs)} <= nodes


def graph_of(path):
    return tf.compat.v1.GraphDef.FromString(path.read_bytes())


def test_both_graphs_have_the_same_nodes(package):
    _, files = package
    content = (files.saved_model / "saved_model.pb").read_bytes()
    (graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    assert graph.meta_info_def.tags == ["serve"]
    assert [node.name for node in graph.graph_def.node] == [
        node.name for node in graph_of(files.graph).node
    ]


def test_this_package_reads_it_as_a_published_one(package, rng):
    model, files = package
    read = load_model(files.folder)
    assert read.frames == 256 and read.front_end == PRESETS["musicnn"]
    windows = rng.uniform(0, 5, (3, 256, 96)).astype(np.float32)
    hidden = model.model.get_layer("head_hidden").input
    expected = tf.keras.Model(model.model.inputs, hidden)(windows)
    np.testing.assert_allclose(read.model(windows), expected, rtol=1e-4, atol=1e-4)


def test_what_is_written(package):
    _, files = package
    names = {"README.md", "net-1-parity.json", "net-1.json", "net-1.pb", "predict.py"}
    assert set(os.listdir(files.folder)) == {*names, "saved_model"}
    assert os.listdir(files.folder.parent) == ["net-1"]
    written = json.loads((files.folder / "net-1-parity.json").read_text())
    assert written == json.loads(json.dumps(files.parity.to_dict()))


def test_its_card(package):
    _, files = package
    card = files.card.read_text("utf-8")
    assert card.startswith("# net-1\n") and f"```python\n{files.code}```" in card
    assert "| author | A. Person |" in card and "| licence | CC BY 4.0 |" in card
    assert "| activations | any × 3 | of each class, from 0 to 1 | Sigmoid |" in card
    assert "Classes: piano, dark – slow, drums" in card
    assert "| roc\\_auc | 0.9000 |" in card and "| batch | 32 |" in card
    assert "warmup" not in card  # a setting that has no value
    assert card.count("largest difference") == 10


def test_a_card_of_hostile_text():
    about = ModelInfo(author="a|b\n# c", description="<b>*x*\n\n- y", licence="`|`")
    outputs = {"embeddings": ("BiasAdd", 4)}
    algorithm = essentia_algorithm(PRESETS["paper"])
    description = describe("net", (64, 96), algorithm, outputs, ["a_b", "[c](d)"], about)
    lines = model_card(description, about, "code\n", ["head", "  line"]).splitlines()
    assert "| author | a\\|b \\# c |" in lines
    assert "| licence | \\`\\|\\` |" in lines
    assert lines[2].startswith("\\<b\\>\\*x\\* - y Takes 64 frames")
    assert "Classes: a\\_b, \\[c\\](d)" in lines


@pytest.mark.slow
@pytest.mark.parametrize("front_end", ["paper", "musicnn"])
def test_the_code_is_a_script_too(front_end, tmp_path, rng):
    files = export_essentia(saved(front_end, CLASSES, 64), "net", tmp_path / "out", ABOUT)
    assert files.script.read_text() == files.code
    soundfile.write(tmp_path / "a b.wav", rng.uniform(-0.3, 0.3, (80000, 2)), 32000)
    done = subprocess.run(
        [sys.executable, str(files.script), str(tmp_path / "a b.wav")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    count = PRESETS[front_end].frames(40000) // 64
    assert f"activations\n({count}, 3)" in done.stdout
    assert f"embeddings\n({count}, 128)" in done.stdout


@pytest.mark.slow
def test_a_periodic_window_fails_the_check_and_its_distance_is_said(tmp_path):
    model = saved("vggish")
    with pytest.raises(ModelError, match="not the same in Essentia") as caught:
        export_essentia(model, "net", tmp_path / "out", ABOUT)
    message = str(caught.value)
    assert "synthetic.wav, 20.0 s: embeddings of 20 windows, largest difference" in message
    assert "random windows" not in message  # the graph itself is right
    assert "--front-end vggish-essentia" in message
    assert os.listdir(tmp_path) == []
    files = export_essentia(
        model, "net", tmp_path / "out", ABOUT, front_end=PRESETS["vggish-essentia"]
    )
    assert files.parity.front_end_distance > 1e-3
    assert "moves embeddings of the same windows" in files.parity.lines[-1]


@pytest.mark.slow
@pytest.mark.parametrize("last", ["discard", "repeat"])
@pytest.mark.parametrize("front_end", ["paper", "musicnn", "vggish-essentia"])
def test_the_code_cuts_files_of_any_length_as_we_do(front_end, last, tmp_path, rng):
    """A model that gives back what it takes."""
    settings, frames = PRESETS[front_end], 5
    inputs = tf.keras.layers.Input((frames, settings.bands), name="melspectrogram")
    outputs = {"embeddings": tf.keras.layers.Flatten()(inputs)}
    graph, audio = tmp_path / "net.pb", tmp_path / "it.wav"
    write_graph(frozen_graph(inputs, outputs, "melspectrogram"), graph)
    names = {}
    exec(essentia_algorithm(settings).code(frames, graph.name, list(outputs)), names)
    hop = settings.hop_length
    for samples in (1, hop - 1, hop, hop + 1, 4 * hop, 4 * hop + 1, 5 * hop, 40 * hop + 77):
        wave = rng.uniform(-0.5, 0.5, samples).astype(np.float32)
        soundfile.write(audio, wave, 16000, subtype="FLOAT")
        here = cut(settings, wave, frames, repeat=last == "repeat")
        there = names["predict"](str(graph), str(audio), last=last)
        assert len(there) == len(here), samples
        if len(here):
            np.testing.assert_allclose(there, here.reshape(len(here), -1), atol=1e-3)
