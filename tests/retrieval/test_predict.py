"""Tags of audio files: the numbers of the signature, files that read back, what may go wrong."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.errors import AudioError, ModelError
from playlist_pretrain.models.load import load_tagger
from playlist_pretrain.models.saved_model import METADATA, save_tagger
from playlist_pretrain.models.tagger import tagger as tagger_of
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.records.report import read_report
from playlist_pretrain.retrieval.predict import predict_folder

pytestmark = pytest.mark.slow
CLASSES = ("rock, pop", 'say "hi"', "two\nlines", "carriage\rreturn", "日本\u2028", "")
SECONDS = {"a/long": 2.1, "a/short": 0.1, "b, c": 0.7, 'd"\ne\r': 0.3, "é": 1.0}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("tagger") / "saved_model"
    settings = front_end("paper")
    backbone = vggish(frames=16, bands=settings.bands, width=0.05, seed=4)
    save_tagger(tagger_of(backbone, len(CLASSES), seed=5), CLASSES, settings, path)
    return path


@pytest.fixture(scope="module")
def tagger(saved):
    return load_tagger(saved)


@pytest.fixture
def audio(noise_folder):
    return noise_folder(SECONDS)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def table_of(predicted):
    with open(predicted.table, encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream, strict=True)
    assert header == ["track_id", *predicted_classes(predicted)]
    return {row[0]: np.array(row[1:], np.float32) for row in rows}


def predicted_classes(predicted):
    first = json.loads(predicted.lines.read_text("utf-8").splitlines()[0])
    return sorted(first["tags"], key=CLASSES.index)


def lines_of(predicted):
    return [json.loads(line) for line in predicted.lines.read_text("utf-8").splitlines()]


def test_scores_are_those_of_the_signature(tagger, saved, audio, out, in_process):
    loud = np.stack([np.sin(np.arange(44100) / 9), np.zeros(44100)], 1)
    soundfile.write(audio / "stereo.flac", loud, 44100)
    predicted = predict_folder(tagger, audio, out)
    assert (predicted.files, predicted.failed, predicted.report) == (6, 0, None)
    signature = tf.saved_model.load(str(saved)).signatures["waveform"]
    table = table_of(predicted)
    assert list(table) == sorted([*SECONDS, "stereo"])
    for line in lines_of(predicted):
        waveform = decode(audio / line["path"], excerpt=None).waveform
        expected = signature(waveform=tf.constant(waveform[None]))["activations"].numpy()[0]
        found = table[line["track_id"]]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(found, np.float32([line["tags"][n] for n in CLASSES]))
    assert len(np.unique(np.stack(list(table.values())), axis=0)) == 6


def test_formats_read_back_whatever_the_names(tagger, audio, out, in_process):
    predicted = predict_folder(tagger, str(audio), str(out))
    assert [predicted.table.name, predicted.lines.name] == sorted(os.listdir(out))
    assert predicted_classes(predicted) == list(CLASSES)
    assert list(table_of(predicted)) == sorted(SECONDS)
    lines = lines_of(predicted)
    assert [line["track_id"] for line in lines] == sorted(SECONDS)
    for line in lines:
        assert list(line) == ["track_id", "path", "seconds", "tags"]
        assert line["path"] == f"{line['track_id']}.wav"
        assert line["seconds"] == pytest.approx(SECONDS[line["track_id"]], abs=1e-4)
        scores = list(line["tags"].values())
        assert scores == sorted(scores, reverse=True) and 0 <= min(scores) <= max(scores) <= 1


def test_broken_files_are_reported_and_the_others_tagged(tagger, audio, out, in_process):
    (audio / "a/empty.mp3").touch()
    (audio / "text\n.ogg").write_text("no music here\n" * 1000)
    shutil.copy(audio / "é.wav", audio / os.fsdecode(b"caf\xe9.wav"))
    predicted = predict_folder(tagger, audio, out)
    assert (predicted.files, predicted.failed) == (len(SECONDS), 3)
    assert list(table_of(predicted)) == sorted(SECONDS)
    notes = {note.source: note for note in read_report(predicted.report)}
    assert sorted(notes) == ["a/empty.mp3", "caf\\udce9.wav", "text\n.ogg"]
    assert (notes["a/empty.mp3"].track_id, notes["a/empty.mp3"].reason) == ("a/empty", "is empty")
    assert notes["text\n.ogg"].reason.startswith("cannot be decoded as audio")
    assert "not valid Unicode" in notes["caf\\udce9.wav"].reason
    for name in ("a/empty.mp3", "text\n.ogg", os.fsdecode(b"caf\xe9.wav")):
        (audio / name).unlink()
    assert predict_folder(tagger, audio, out).report is None
    assert not predicted.report.exists()


def test_all_broken_is_an_error(tagger, audio, out, in_process, tmp_path):
    before = predict_folder(tagger, audio, out)
    kept = before.table.read_bytes(), before.lines.read_bytes()
    broken = tmp_path / "broken"
    broken.mkdir()
    for number in range(5):
        (broken / f"{number}.mp3").touch()
    with pytest.raises(AudioError) as refused:
        predict_folder(tagger, broken, out)
    report = out / "predict_report.tsv"
    assert str(refused.value).splitlines() == [
        f"none of 5 audio files could be tagged (see {report}):",
        *(f"  {number}.mp3: is empty" for number in range(3)),
        "  … and 2 more",
    ]
    assert len(read_report(report)) == 5
    assert (before.table.read_bytes(), before.lines.read_bytes()) == kept
    with pytest.raises(AudioError, match=r"none of 1 audio files[^\n]*\n  0\.mp3: is empty$"):
        predict_folder(tagger, broken / "0.mp3", out / "new")
    assert os.listdir(out / "new") == ["predict_report.tsv"]


@pytest.mark.parametrize("classes", [CLASSES[:-1], CLASSES[:-1] + CLASSES[:1]])
def test_classes_that_do_not_fit_the_model_are_refused(saved, classes, tmp_path):
    shutil.copytree(saved, tmp_path / "m")
    metadata = json.loads((tmp_path / "m" / METADATA).read_text("utf-8"))
    (tmp_path / "m" / METADATA).write_text(json.dumps({**metadata, "classes": classes}))
    with pytest.raises(ModelError, match="5 different names of classes for 6 outputs"):
        load_tagger(str(tmp_path / "m"))


def test_worker_processes_give_the_same_bytes(tagger, audio, out, request):
    (audio / "broken.mp3").write_bytes(b"no music" * 1000)
    predicted = predict_folder(tagger, audio, out / "workers", workers=2)
    assert (predicted.files, predicted.failed) == (len(SECONDS), 1)
    request.getfixturevalue("in_process")
    here = predict_folder(tagger, audio, out / "here")
    assert sorted(os.listdir(out / "workers")) == sorted(os.listdir(out / "here"))
    for name in os.listdir(here.table.parent):
        assert (out / "workers" / name).read_bytes() == (out / "here" / name).read_bytes()
