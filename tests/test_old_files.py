"""Files that version 0.1.0 made open and give the numbers that they gave then.

``tests/golden/version-0.1.0.tar.xz``: eight short tracks (two of them as audio too) and eight
playlists of four; a VGGish of width 0.04 and a tagger made from it; embeddings of the collection,
one a track and one a window.
"""

import json
import tarfile

import numpy as np
import pytest

import playlist_pretrain as pp
from playlist_pretrain.__main__ import main
from playlist_pretrain.evaluation.scores import load_scores
from playlist_pretrain.playlists.groups import load_groups
from playlist_pretrain.retrieval.embedding_table import read_embeddings


@pytest.fixture(scope="module")
def old(golden, tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(golden / "version-0.1.0.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def collection(old):
    return pp.Collection.open(old / "tfrecords" / "old")


def test_the_collection_has_its_tracks_and_mels(collection):
    assert list(collection.track_ids) == [f"{track:02d}" for track in range(8)]
    document = json.loads((collection.path / "collection.json").read_text("utf-8"))
    mels = np.concatenate([collection.mel(row) for row in range(8)]).astype(np.float64)
    assert mels.shape == (document["frames"], 96)
    assert np.allclose(mels.mean(axis=0), document["band_mean"], atol=1e-6)


def test_the_command_finds_the_collection_sound(collection, capsys):
    assert main(["check_collection", "--collection", str(collection.path), "--verify"]) == 0


def test_the_groups_are_those_of_the_collection(collection):
    groups = load_groups(collection, "playlists")
    assert len(groups) == 8 and len(groups.rows) == 32


@pytest.mark.slow
def test_the_model_gives_its_old_embeddings(old, collection):
    model = pp.load(old / "runs" / "old" / "saved_model")
    before = read_embeddings(old / "old.parquet")
    now = model.embed(collection)
    assert list(now.ids) == list(before.track_ids)
    assert np.abs(np.asarray(now) - before.vectors).max() < 1e-5
    assert np.array_equal(before.vectors, np.load(old / "old.npy"))
    windows = read_embeddings(old / "windows.parquet")
    assert np.allclose(model.embed(collection, per="window"), windows.vectors, atol=2e-3)
    files = model.embed([old / "audio" / "00.wav", old / "audio" / "07.wav"])
    assert np.abs(np.asarray(files) - before.vectors[[0, 7]]).max() < 2e-3  # mels in float16


@pytest.mark.slow
def test_the_tagger_gives_its_old_scores(old, collection):
    tagger = pp.load(old / "runs" / "tagger" / "saved_model")
    before = load_scores(old / "runs" / "tagger" / "scores.npz")
    now = tagger.tag(collection)
    assert tuple(now.classes) == before.classes == tagger.classes
    rows = [list(now.ids).index(track) for track in before.track_ids]
    assert len(rows) == 2 and np.abs(now.scores[rows] - before.scores).max() < 1e-5


def test_a_run_is_not_gone_on_with(old, collection, capsys):
    out = old / "runs" / "old"
    arguments = ["--collection", str(collection.path), "--preset", "fast", "--width", "0.04"]
    command = ["pretrain", *arguments, "--batch", "2", "--out", str(out)]
    assert main(command) == 0
    assert "is finished" in capsys.readouterr().out
    (out / "summary.json").unlink()  # as it was before the run ended
    code, error = main(command), capsys.readouterr().err
    assert code == 1 and str(out) in error and "0.1.0" in error and error.count("\n") == 1
