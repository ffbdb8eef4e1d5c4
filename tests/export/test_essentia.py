"""Packages for Essentia: run there, described, whole or not there."""

import dataclasses
import json
import os
import re
import sys

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from environments import named, run_alone
from small_models import CLASSES, FRAMES, loaded
from tensorflow.core.protobuf import saved_model_pb2

from playlist_pretrain.audio.front_end import IMPORTED, PRESETS
from playlist_pretrain.errors import AudioError, FrontEndError, ModelError
from playlist_pretrain.export import essentia
from playlist_pretrain.export.essentia import algorithm_of, frozen_graph, predict_code
from playlist_pretrain.export.package import check_description, cut
from playlist_pretrain.export.targets import export
from playlist_pretrain.models.load import load_model
from playlist_pretrain.models.resnet50 import resnet50


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A tagger's, with the model it was made of."""
    model = loaded(classes=CLASSES, frames=256)
    return model, export(model, "essentia", "net-1", out=tmp_path_factory.mktemp("out"))


CASES = [
    pytest.param("musicnn", (), id="musicnn-backbone"),
    pytest.param("vggish-essentia", CLASSES, id="vggish-essentia-tagger"),
    pytest.param("paper", CLASSES, id="paper-tagger", marks=pytest.mark.long),
]


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "classes"), CASES)
def test_a_package_gives_in_essentia_what_the_model_gives(preset, classes, tmp_path, rng, only):
    model, settings = loaded(preset, classes), PRESETS[preset]
    made = export(model, "essentia", "net", out=tmp_path / "out")
    outputs = ["activations", "embeddings"] if classes else ["embeddings"]
    assert len(made.compared) == 12 * len(outputs) and all(one.passes for one in made.compared)
    counts = [one.windows for one in made.compared[:5]]
    whole, clip = settings.frames(20 * 16000) // FRAMES, -(-settings.frames(2 * 16000) // FRAMES)
    assert counts == [72, 72, whole, clip, 1]
    description = json.loads((made.folder / "net.json").read_text())
    assert description["inference"]["algorithm"] == algorithm_of(settings)[0]
    check_description(description, "it")
    windows = rng.uniform(0, 5, (7, FRAMES, settings.bands)).astype(np.float32)
    saved_model = made.folder / "saved_model"
    graphs = {"graphFilename": made.folder / "net.pb", "savedModel": saved_model}
    found = essentia.run_in_essentia(graphs, outputs, "", [], windows, tmp_path, "net")
    frozen = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    here = frozen(melspectrogram=tf.constant(windows))
    for kind in graphs:
        last = found[f"{kind} 7 {outputs[0]}"]
        np.testing.assert_allclose(last, model.model(windows), atol=1e-4 * np.std(last))
        for output in outputs:
            np.testing.assert_allclose(
                found[f"{kind} 7 {output}"], here[output], rtol=1e-4, atol=1e-4
            )
    read = load_model(made.folder)  # and this package reads it as a published one
    assert read.frames == FRAMES and read.front_end == settings
    expected = model.embedder().model(windows)
    np.testing.assert_allclose(read.model(windows), expected, rtol=1e-4, atol=1e-4)
    # Its code, and that which the card shows, as scripts in an environment of what they name.
    card = (made.folder / "README.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", card, re.M | re.S)
    assert card.count("```") == 2 and named(code) == ["essentia-tensorflow"]
    (made.folder / "shown.py").write_text(code)
    song = tmp_path / "a song.flac"
    soundfile.write(song, rng.uniform(-0.3, 0.3, (5 * 22050, 2)), 22050)
    count = settings.frames(5 * 16000) // FRAMES
    for name in ("predict.py", "shown.py"):
        said = run_alone(only(*named(code)), made.folder / name, song)
        for output, size in zip(reversed(outputs), (128, len(classes)), strict=False):
            assert f"{output}\n({count}, {size})\n" in said


@pytest.mark.long
def test_resnet50(tmp_path):
    model = loaded("paper", CLASSES, resnet50(frames=FRAMES, bands=96, seed=1))
    made = export(model, "essentia", "net", out=tmp_path)
    assert all(one.passes for one in made.compared)
    embeddings = made.description["schema"]["outputs"][-1]
    assert embeddings["shape"] == [1, 4096] and embeddings["op"] == "ConcatV2"


@pytest.mark.slow
def test_files_of_many_kinds_are_decoded_as_by_us(package):
    """Seven kinds are compared with :func:`.decode` whenever a package is made."""
    _, made = package
    seconds, many = 2.0, 2.5 * 256 * 256 / 16000
    kinds = {
        "FLAC PCM_16, 2 channels, 48,000 Hz": many, "OGG VORBIS, 1 channel, 22,050 Hz": seconds,
        "OGG OPUS, 2 channels, 48,000 Hz": many, "MP3 MPEG_LAYER_III, 2 channels, 44,100 Hz": 2.0,
        "WAV PCM_24, 6 channels, 96,000 Hz": many, "AIFF PCM_16, 6 channels, 16,000 Hz": seconds,
        "WAV ULAW, 1 channel, 8,000 Hz": many,
    }  # fmt: skip
    compared = {one.what: one for one in made.compared if one.output == "embeddings"}
    for kind, lasts in kinds.items():
        one = compared[f"{kind}, {lasts:.1f} s"]
        # A window has 256 frames, of 4.1 s: what is shorter is repeated.
        assert one.passes and one.windows == one.expected == (1 if lasts == 2 else 2)
    card = (made.folder / "README.md").read_text("utf-8")
    assert "OGG OPUS, 2 channels" in card.replace("\\", "") and "exit code 1" in card


REFUSED = {
    "opus.opus": "Essentia cannot decode it (Unsupported codec!): pip install soundfile, or ffmpeg",
    "six.wav": "Audio file has more than 2 channels.): pip install soundfile, or ffmpeg",
    "text.mp3": "Essentia cannot decode it (End of file): pip install soundfile, or ffmpeg",
    "nan.wav": "holds NaN or infinite samples",
    "missing.wav": "No such file or directory",
    ".": "Is a directory",
}


@pytest.mark.slow
def test_what_the_code_alone_does_not_read_is_one_line(package, tmp_path, rng, only):
    """In an environment without soundfile."""
    _, made = package
    noise = rng.uniform(-0.3, 0.3, (2 * 48000, 6))
    soundfile.write(tmp_path / "opus.opus", noise[:, :2], 48000, format="OGG", subtype="OPUS")
    soundfile.write(tmp_path / "six.wav", noise, 48000)
    soundfile.write(tmp_path / "nan.wav", np.full(40000, np.nan), 16000, subtype="FLOAT")
    (tmp_path / "text.mp3").write_text("no audio\n" * 99)
    python = only(*named(made.code))
    for name, reason in REFUSED.items():
        said = run_alone(python, made.folder / "predict.py", tmp_path / name, code=1)
        assert said.startswith(f"{tmp_path / name}: ") and said.count("\n") == 1
        assert reason in said


@pytest.mark.slow
def test_what_nobody_reads_is_one_line(package, tmp_path):
    """With soundfile."""
    _, made = package
    texts = {"text.mp3": b"no audio\n" * 99, "text.wav": b"no audio\n" * 99, "empty.wav": b""}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
        said = run_alone(sys.executable, made.folder / "predict.py", tmp_path / name, code=1)
        assert re.fullmatch(rf".*/{name}: no audio that Essentia or libsndfile .*\n", said)


@pytest.mark.slow
def test_what_is_written(package):
    _, made = package
    folder = made.folder
    files = {"README.md", "net-1-parity.json", "net-1.json", "net-1.pb", "predict.py"}
    assert set(os.listdir(folder)) == {*files, "saved_model"}
    assert os.listdir(folder.parent) == ["net-1"]
    parity = json.loads((folder / "net-1-parity.json").read_text())
    assert parity["algorithm"] == "TensorflowPredictMusiCNN" and len(parity["compared"]) == 24
    assert parity["compared"][0] == dataclasses.asdict(made.compared[0])
    card = (folder / "README.md").read_text("utf-8")
    assert f"```python\n{made.code}```" in card and card.count("largest difference") == 24
    assert (folder / "predict.py").read_text() == made.code
    description = json.loads((folder / "net-1.json").read_text())
    assert description["name"] == "net-1" and description["classes"] == list(CLASSES)
    assert description["framework_version"] == tf.__version__
    algorithm = "TensorflowPredictMusiCNN"
    assert description["inference"] == {"sample_rate": 16000, "algorithm": algorithm}
    (given,), outputs = description["schema"]["inputs"], description["schema"]["outputs"]
    assert given == {"name": "melspectrogram", "type": "float", "shape": [256, 96]}
    assert [(one["name"], one["shape"], one["op"], one["output_purpose"]) for one in outputs] == [
        ("activations", [1, 3], "Sigmoid", "predictions"),
        ("embeddings", [1, 128], "BiasAdd", "embeddings"),
    ]
    graph = tf.compat.v1.GraphDef.FromString((folder / "net-1.pb").read_bytes())
    nodes = [node.name for node in graph.node]
    assert {given["name"], *(one["name"] for one in outputs)} <= set(nodes)
    content = (folder / "saved_model" / "saved_model.pb").read_bytes()
    (graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    assert graph.meta_info_def.tags == ["serve"]
    assert [node.name for node in graph.graph_def.node] == nodes


@pytest.mark.slow
def test_a_periodic_window_fails_the_check_and_its_distance_is_said(tmp_path):
    model = loaded("vggish", frames=96)
    with pytest.raises(ModelError, match="not the same in Essentia") as caught:
        export(model, "essentia", "net", out=tmp_path / "out")
    message = str(caught.value)
    assert "synthetic.wav, 20.0 s: embeddings of 20 windows, largest difference" in message
    assert "random windows" not in message  # the graph itself is right
    assert "--front-end vggish-essentia" in message
    assert os.listdir(tmp_path) == []
    settings = {"out": tmp_path / "out", "front_end": "vggish-essentia"}
    made = export(model, "essentia", "net", **settings)
    assert "moves embeddings of the same windows" in made.report[-1]
    parity = json.loads((made.folder / "net-parity.json").read_text())
    assert parity["front_end_distance"] > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "musicnn", "vggish-essentia"])
def test_the_code_cuts_files_of_any_length_as_we_do(preset, tmp_path, rng):
    """A model that gives back what it takes."""
    settings, frames = PRESETS[preset], 5
    inputs = tf.keras.layers.Input((frames, settings.bands), name="melspectrogram")
    outputs = {"embeddings": tf.keras.layers.Flatten()(inputs)}
    graph = tmp_path / "net.pb"
    graph.write_bytes(frozen_graph(inputs, outputs, "melspectrogram").SerializeToString())
    code = predict_code(settings, frames, graph.name, list(outputs))
    hop = settings.hop_length
    waves, files = [], []
    for samples in (1, hop - 1, hop, hop + 1, 4 * hop, 4 * hop + 1, 5 * hop, 40 * hop + 77):
        wave = rng.uniform(-0.5, 0.5, samples).astype(np.float32)
        soundfile.write(tmp_path / f"{samples}.wav", wave, 16000, subtype="FLOAT")
        for last in ("discard", "repeat"):
            waves.append(wave)
            files.append((tmp_path / f"{samples}.wav", last))
    windows = np.zeros((0, frames, settings.bands), np.float32)
    graphs = {"graphFilename": graph}
    found = essentia.run_in_essentia(graphs, ["embeddings"], code, files, windows, tmp_path, "net")
    for number, (wave, (path, last)) in enumerate(zip(waves, files, strict=True)):
        here = cut(settings, wave, frames, repeat=last == "repeat")
        there = found[f"file {number} embeddings"]
        assert len(there) == len(here), (path, last)
        np.testing.assert_allclose(there, here.reshape(len(here), -1), atol=1e-3)


@pytest.mark.slow
def test_an_op_that_essentia_does_not_know(tmp_path):
    inputs = tf.keras.layers.Input((FRAMES, 96), name="melspectrogram")
    x = tf.keras.layers.GlobalAveragePooling1D()(inputs)
    x = tf.keras.layers.Lambda(lambda x: tf.concat([tf.math.approx_max_k(x, 8)[0], x], -1))(x)
    net = tf.keras.Model(inputs, tf.keras.layers.Dense(4)(x))
    with pytest.raises(ModelError, match=r"net: Essentia cannot run it: .*ApproxTopK"):
        export(loaded(net=net), "essentia", "net", out=tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_front_ends_without_an_algorithm():
    musicnn = PRESETS["musicnn"]
    changes = ({"bands": 64}, {"log_scale": 1.0}, {"frame_length": 400}, {"f_min": 20.0})
    others = [dataclasses.replace(musicnn, **change) for change in changes]
    for one in (*IMPORTED.values(), *others):
        with pytest.raises(FrontEndError, match=f"'{one.name}': no algorithm of Essentia"):
            algorithm_of(one)


def test_audio_that_cannot_be_used(tmp_path):
    short = tmp_path / "short.wav"
    soundfile.write(short, np.zeros(8000), 16000)
    (tmp_path / "no.wav").write_bytes(b"no audio")
    for audio, message in (
        (short, "short.wav: 0.5 s, shorter than a window of 64 frames"),
        (tmp_path / "no.wav", "no.wav: cannot be decoded"),
        (tmp_path / "missing.wav", "missing.wav: cannot be opened"),
    ):
        with pytest.raises(AudioError, match=message):
            export(loaded(), "essentia", "net", out=tmp_path / "out", audio=audio)
    assert not (tmp_path / "out").exists()


def test_more_weights_than_a_graph_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(essentia, "LARGEST_GRAPH", 1000)
    with pytest.raises(ModelError, match=r"m: weights of .* GB; a frozen graph holds 2 GB"):
        export(loaded(), "essentia", "net", out=tmp_path / "out")
    assert os.listdir(tmp_path) == []
