"""Exports that must fail, with the reason, and leave nothing."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from playlist_pretrain.audio.front_end import IMPORTED, PRESETS
from playlist_pretrain.errors import AudioError, FrontEndError, ModelError
from playlist_pretrain.export import essentia
from playlist_pretrain.export import essentia as essentia_parity
from playlist_pretrain.export.essentia import export_essentia
from playlist_pretrain.export.essentia_check import Request
from playlist_pretrain.export.essentia_code import essentia_algorithm
from playlist_pretrain.export.package import Compared, ModelInfo, Parity, check_description, compare
from playlist_pretrain.models.load import LoadedModel, load_model
from playlist_pretrain.models.saved_model import save_backbone
from playlist_pretrain.models.vggish import vggish

FRAMES = 64
ROOT = Path(__file__).parent.parent.parent


def saved(net=None, front_end="musicnn"):
    net = net or vggish(frames=FRAMES, bands=96, width=0.02)
    return LoadedModel("m", net, PRESETS[front_end], "", path=Path("m"))


def with_layer(function):
    """A model with one operation of its own before the last layer."""
    inputs = tf.keras.layers.Input((FRAMES, 96), name="melspectrogram")
    x = tf.keras.layers.GlobalAveragePooling1D()(inputs)
    x = tf.keras.layers.Lambda(function)(x)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(4)(x))


@pytest.fixture
def no_check(monkeypatch):
    """The check finds nothing wrong, in no time: what is tested comes before or after it."""
    parity = Parity("0", "none", ())
    monkeypatch.setattr(essentia, "check_in_essentia", lambda *_, **__: parity)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/x",
        "a b",
        " a",
        "a\n",
        "-a",
        ".a",
        "ä",
        "a" * 101,
        "a\0",
        "~",
    ],
)
def test_a_name_that_is_no_name_of_a_file_is_refused(name, tmp_path, no_check):
    with pytest.raises(ModelError, match="--name"):
        export_essentia(saved(), name, tmp_path / "out", ModelInfo())
    assert os.listdir(tmp_path) == []


def test_what_is_there_is_replaced_only_when_asked(tmp_path, no_check):
    export_essentia(saved(), "net", tmp_path, ModelInfo())
    (tmp_path / "net" / "mine.txt").write_text("mine")
    before = (tmp_path / "net" / "net.json").read_bytes()
    with pytest.raises(ModelError, match=r"net: is there already; --overwrite"):
        export_essentia(saved(), "net", tmp_path, ModelInfo(author="B"))
    assert (tmp_path / "net" / "net.json").read_bytes() == before
    assert (tmp_path / "net" / "mine.txt").read_text() == "mine"
    export_essentia(saved(), "net", tmp_path, ModelInfo(author="B"), overwrite=True)
    assert json.loads((tmp_path / "net" / "net.json").read_text())["author"] == "B"
    assert os.listdir(tmp_path) == ["net"]
    assert not (tmp_path / "net" / "mine.txt").exists()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling"])
def test_what_is_no_package_is_never_replaced(kind, overwrite, tmp_path, no_check):
    place = tmp_path / "net"
    if kind == "file":
        place.write_text("mine")
    elif kind == "folder":
        place.mkdir()
        (place / "song.mp3").write_text("mine")
    elif kind == "link":
        export_essentia(saved(), "net", tmp_path / "other", ModelInfo())
        place.symlink_to(tmp_path / "other" / "net")
    else:
        place.symlink_to(tmp_path / "nothing")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelError, match="net: is there already and is no package"):
        export_essentia(saved(), "net", tmp_path, ModelInfo(), overwrite=overwrite)
    assert sorted(tmp_path.rglob("*")) == before


def test_more_weights_than_a_graph_holds(tmp_path, monkeypatch, no_check):
    monkeypatch.setattr(essentia, "LARGEST_GRAPH", 1000)
    with pytest.raises(ModelError, match=r"m: weights of .* GB; a frozen graph holds 2 GB"):
        export_essentia(saved(), "net", tmp_path / "out", ModelInfo())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_leaves_what_was_there(overwrite, tmp_path, monkeypatch, no_check):
    out = tmp_path / "a" / "b"
    if overwrite:
        export_essentia(saved(), "net", out, ModelInfo())
    before = sorted(path.name for path in tmp_path.rglob("*"))

    def fails(*_, **__):
        raise ModelError("it fails")

    monkeypatch.setattr(essentia, "check_in_essentia", fails)
    with pytest.raises(ModelError, match="it fails"):
        export_essentia(saved(), "net", out, ModelInfo(), overwrite=overwrite)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_two_exports_of_one_name_do_not_meet(tmp_path, monkeypatch, no_check):
    def meanwhile(*_, **__):
        with pytest.raises(ModelError, match="by another process"):
            export_essentia(saved(), "net", tmp_path, ModelInfo())
        return Parity("0", "none", ())

    monkeypatch.setattr(essentia, "check_in_essentia", meanwhile)
    export_essentia(saved(), "net", tmp_path, ModelInfo())
    assert os.listdir(tmp_path) == ["net"]


@pytest.mark.parametrize("moment", range(1, 4))
def test_killed_while_it_is_put_in_place(moment, tmp_path, monkeypatch, no_check):
    """A death between any two renames: the next export finds the old package or the new one."""
    export_essentia(saved(), "net", tmp_path, ModelInfo(author="old"))
    code = """
import os, sys
from pathlib import Path
from playlist_pretrain.export.package import staged
done = 0
def counted(*paths):
    global done
    done += 1
    if done == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    return replace(*paths)
replace = os.replace
with staged(Path(sys.argv[1]), "net", overwrite=True) as (package, _):
    (package / "net.json").write_text('{"author": "new"}')
    os.replace = counted
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(moment)], env=env, check=False
    )
    assert done.returncode == (-signal.SIGKILL if moment < 3 else 0)
    if moment == 3:  # there are two renames
        assert os.listdir(tmp_path) == ["net"]
        return
    with pytest.raises(ModelError, match="is there already"):
        export_essentia(saved(), "net", tmp_path, ModelInfo())
    assert json.loads((tmp_path / "net" / "net.json").read_text())["author"] == "old"
    assert os.listdir(tmp_path) == ["net"]


@pytest.mark.slow
def test_kills_leave_all_or_nothing(tmp_path, rng):
    save_backbone(vggish(frames=FRAMES, bands=96, width=0.02), PRESETS["musicnn"], tmp_path / "m")
    command = [sys.executable, str(ROOT / "scripts" / "export.py"), "--name", "net", "--quiet"]
    command += ["--model", str(tmp_path / "m"), "--out", str(tmp_path / "out")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = tmp_path / "out" / "essentia"
    staging, final = out / ".net.tmp", out / "net"
    stages = set()
    for _ in range(6):
        started = time.time_ns()
        process = subprocess.Popen(command, env=env)
        while process.poll() is None and not (
            staging.exists() and staging.stat().st_mtime_ns > started
        ):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1.2))
        process.kill()
        process.wait()
        stages.add(tuple(sorted(path.suffix for path in staging.rglob("*.*"))))
        if final.exists():
            files = {"net.pb", "net.json", "net-parity.json", "predict.py", "README.md"}
            assert set(os.listdir(final)) == {*files, "saved_model"}
            break
    assert len(stages) > 1
    subprocess.run([*command, "--overwrite"], env=env, check=True)
    assert os.listdir(out) == ["net"]


@pytest.mark.slow
def test_an_op_that_essentia_does_not_know(tmp_path):
    net = with_layer(lambda x: tf.concat([tf.math.approx_max_k(x, 8)[0], x], -1))
    with pytest.raises(ModelError, match=r"net: Essentia cannot run it: .*ApproxTopK"):
        export_essentia(saved(net), "net", tmp_path / "out", ModelInfo())
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_saved_model_that_is_not_frozen(tmp_path, rng):
    save_backbone(vggish(frames=8, bands=96, width=0.02), PRESETS["musicnn"], tmp_path / "m")
    windows = rng.uniform(size=(1, 8, 96)).astype(np.float32)
    graphs = {"savedModel": str(tmp_path / "m")}
    request = Request(
        graphs, "serving_default_melspectrogram", ["StatefulPartitionedCall"], [1], "", []
    )
    with pytest.raises(ModelError, match=r"m: Essentia cannot run it: .*DisableCopyOnRead"):
        essentia_parity.run_apart(request, windows, tmp_path, "m")


@pytest.mark.slow
def test_a_process_that_crashes(tmp_path):
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    request = Request({}, "melspectrogram", [], [], code, [])
    with pytest.raises(ModelError, match="net: Essentia cannot run it: it ended with SIGSEGV"):
        essentia_parity.run_apart(request, np.zeros((1, 8, 96), np.float32), tmp_path, "net")


@pytest.mark.slow
def test_a_model_that_is_not_the_same_there(tmp_path, monkeypatch):
    """The model's own log-mels are a little louder than those that Essentia makes."""
    told = essentia_parity.cut
    monkeypatch.setattr(essentia_parity, "cut", lambda *a, **k: told(*a, **k) + 0.01)
    with pytest.raises(ModelError, match=r"not the same in Essentia .*, so nothing was exported"):
        export_essentia(saved(), "net", tmp_path / "out", ModelInfo())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("windows", "difference", "passes"),
    [(5, 1e-4, True), (5, 1.1e-4, False), (4, 0.0, False), (5, float("nan"), False)],
)
def test_what_passes(windows, difference, passes):
    assert Compared("it", "embeddings", windows, 5, difference, 1e-4).passes is passes


def test_differences_are_in_standard_deviations(rng):
    here = rng.normal(size=(10, 8)) * 3
    there = here.copy()
    there[4, 2] += 0.5
    found = compare("it", "embeddings", there, here, 1)
    assert found.difference == pytest.approx(0.5 / here.std())
    assert compare("it", "activations", there, here, 1).difference == (pytest.approx(0.5))
    fewer = compare("it", "embeddings", there[:3], here, 1)
    assert (fewer.windows, fewer.expected, fewer.difference) == (3, 10, 0)
    assert not compare("it", "embeddings", there[:0], here, 1).passes
    there[0, 0] = np.nan
    assert not compare("it", "embeddings", there, here, 1).passes


@pytest.mark.parametrize("name", list(IMPORTED))
def test_imported_mels_have_no_algorithm(name):
    with pytest.raises(FrontEndError, match=f"'{name}': no algorithm of Essentia"):
        essentia_algorithm(IMPORTED[name])


@pytest.mark.parametrize(
    "change", [{"bands": 64}, {"log_scale": 1.0}, {"frame_length": 400}, {"f_min": 20.0}]
)
def test_other_constants_have_no_algorithm(change):
    with pytest.raises(FrontEndError, match="no algorithm of Essentia"):
        essentia_algorithm(dataclasses.replace(PRESETS["musicnn"], **change))


@pytest.mark.parametrize(
    ("preset", "change", "name"),
    [
        ("musicnn", {}, "TensorflowPredictMusiCNN"),
        ("musicnn", {"resample_quality": 0}, "TensorflowPredictMusiCNN"),
        ("paper", {}, "TensorflowPredict"),
        ("vggish-essentia", {}, "TensorflowPredictVGGish"),
        ("vggish-essentia", {"hop_length": 80}, "TensorflowPredict"),
        ("vggish", {}, "TensorflowPredictVGGish"),
    ],
)
def test_the_algorithm_of_a_front_end(preset, change, name):
    front_end = dataclasses.replace(PRESETS[preset], **change)
    found = essentia_algorithm(front_end)
    assert found.name == name
    code = found.code(77, "net.pb", ["embeddings"])
    compile(code, "code", "exec")
    assert f"resampleQuality={front_end.resample_quality}" in code and "77" in code


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
            export_essentia(saved(), "net", tmp_path / "out", ModelInfo(), audio=audio)
    assert not (tmp_path / "out").exists()


def test_a_url_is_refused():
    with pytest.raises(ModelError, match=r"s3://bucket/x: .*export to a folder here"):
        export_essentia(saved(), "net", "s3://bucket/x", ModelInfo())


@pytest.fixture
def description(tmp_path, no_check):
    files = export_essentia(saved(), "net", tmp_path, ModelInfo())
    return json.loads(files.description.read_text())


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["release_date"], "yesterday", "release_date: 'yesterday' is not a 'date'"),
        (["version"], "", "version: "),
        (["version"], 1, "version: 1 is not of type 'string'"),
        (["mine"], 1, "the whole: Additional properties"),
        (["dataset", "size"], 3, "dataset.size: 3 is not"),
        (["schema", "inputs"], [], "schema.inputs: "),
        (["schema", "outputs", 0, "output_purpose"], "fun", "schema.outputs.0.output_purpose"),
        (["schema", "inputs", 0, "shape"], [None, 96], "schema.inputs.0.shape.0: None"),
        (["inference"], {"sample_rate": 16000}, "inference: 'algorithm' is a required"),
        (["classes"], ["a", "a"], "classes: .* non-unique"),
    ],
)
def test_a_description_that_is_not_one(description, keys, value, message):
    check_description(description, "it")
    part = description
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    with pytest.raises(ModelError, match=f"it: description: {message}"):
        check_description(description, "it")


def test_every_field_is_needed(description):
    for field in description:
        less = {name: value for name, value in description.items() if name != field}
        with pytest.raises(ModelError, match=f"'{field}' is a required property"):
            check_description(less, "it")


def test_a_date_that_is_none_is_refused_before_anything_is_there(tmp_path, no_check):
    with pytest.raises(ModelError, match="release_date"):
        export_essentia(saved(), "net", tmp_path / "out", ModelInfo(release_date="31.1.2026"))
    assert os.listdir(tmp_path) == []


def test_whichever_it_is_is_loaded(tmp_path):
    save_backbone(vggish(frames=8, bands=96, width=0.02), PRESETS["musicnn"], tmp_path / "m")
    assert load_model(tmp_path / "m").classes == ()
