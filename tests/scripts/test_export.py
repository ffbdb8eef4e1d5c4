"""The command as a user runs it."""

import json
import os
import shlex

import pytest
import soundfile
from processes import end, start

from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.cli import export as make
from playlist_pretrain.models.saved_model import save_tagger
from playlist_pretrain.models.tagger import tagger
from playlist_pretrain.models.vggish import vggish


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """What a run of finetune.py leaves, as far as it counts here."""
    folder = tmp_path_factory.mktemp("my runs") / "run-1"
    net = tagger(vggish(frames=64, bands=96, width=0.05), 2)
    about = {"collection": "mine", "citation": "Somebody (2020)", "recipe": {"batch": 16}}
    save_tagger(net, ["calm", "loud"], PRESETS["musicnn"], folder / "saved_model", about)
    summary = {"roc_auc": 0.875, "average_precision": None, "model": "scratch"}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def run(capsys, *words):
    code = make.main(list(map(str, words)))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.slow
def test_a_tagger_with_its_card(run_folder, capsys, tmp_path, rng):
    audio = tmp_path / "my song.flac"
    soundfile.write(audio, rng.uniform(-0.3, 0.3, (5 * 22050, 2)), 22050)
    model = run_folder / "saved_model"
    words = ["--model", model, "--name", "mood-1", "--out", tmp_path / "my out"]
    code, out, err = run(
        capsys, *words, "--audio", audio, "--author", "A. Person", "--email", "a@example.org",
        "--link", "https://example.org", "--model-version", "3", "--release-date", "2026-02-03",
        "--description", "Moods of piano music.", "--dataset-size", "12 songs",
        "--licence", "CC0", "--citation", "\udcff",
    )  # fmt: skip
    assert (code, err) == (0, "")
    folder = tmp_path / "my out" / "essentia" / "mood-1"
    card = json.loads((folder / "mood-1.json").read_text())
    told = [card[name] for name in ("author", "email", "link", "version", "release_date")]
    assert told == ["A. Person", "a@example.org", "https://example.org", "3", "2026-02-03"]
    assert card["description"].startswith("Moods of piano music. Takes 64 frames of 96 bands")
    assert card["citation"] == "\udcff" and card["classes"] == ["calm", "loud"]
    assert card["dataset"] == {
        "name": "mine",
        "citation": "Somebody (2020)",
        "size": "12 songs",
        "metrics": {"roc_auc": 0.875},
    }
    text = (folder / "README.md").read_text("utf-8")
    assert "| licence | CC0 |" in text and "| batch | 16 |" in text
    assert "my song.flac, 5.0 s: activations of 4 windows, largest difference" in out
    assert (folder / "predict.py").read_text() in out
    last = out.splitlines()[-1]
    assert last == f"next: python '{folder / 'predict.py'}' FILE"
    command = shlex.split(
        last.removeprefix("next: python ").replace("FILE", shlex.quote(str(audio)))
    )
    ((said, _),) = end(start(command))
    assert "activations\n(4, 2)" in said


@pytest.mark.parametrize(("words", "message"), [
    (["--model", "nowhere", "--name", "x"], "--model nowhere: no such folder"),
    (["--model", "nowhere", "--name", "../x"], "--name '../x': letters, digits"),
    (["--model", "nowhere", "--name", "x", "--target", "lite"], "--target lite: there is serving"),
    (["--model", "nowhere", "--name", "x", "--target", "serving,serving"], "'serving' twice"),
    (["--model", "nowhere", "--name", "x", "--target", "serving", "--audio", "a"],
     "--audio is for --target essentia, not for serving"),
    (["--model", "nowhere"], "--name"),
])  # fmt: skip
def test_mistakes_are_one_message(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert (code, out) == (1, "") and message in err and err.count("\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(("words", "message"), [
    (["--out", "s3://bucket/x"], "s3://bucket/x"),
    (["--front-end", "vggish-essentia"], "was trained with 'musicnn'"),
    (["--front-end", "paper"], "--front-end paper: only vggish-essentia"),
    (["--release-date", "today"], "--release-date 'today': not YYYY-MM-DD"),
    (["--target", "serving", "--model-version", "1.0"], "--model-version '1.0': a server has"),
])  # fmt: skip
def test_what_the_model_shows_to_be_a_mistake(
    run_folder, words, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    model = ["--model", run_folder / "saved_model", "--name", "x"]
    code, out, err = run(capsys, *model, *words)
    assert (code, out) == (1, "") and message in err and err.count("\n") == 1
    assert os.listdir(tmp_path) == []
