"""Without audio, from mels to a trained model, by the commands."""

import json

import mel_files
import numpy as np
import pytest

from playlist_pretrain.__main__ import main

SMALL = ["--batch", 4, "--epochs", 1, "--width", 0.05, "--frames", 64, "--warmup-steps", 2]


@pytest.fixture
def succeed(tmp_path, monkeypatch, capsys):
    """Callable: run a command in a folder of its own; what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    return call


def check_model(name, bands):
    """The saved model takes mels and no waveforms."""
    import tensorflow as tf

    model = tf.saved_model.load(f"runs/{name}/saved_model")
    assert list(model.signatures) == ["serving_default"]
    windows = tf.fill([2, 64, bands], -40.0)
    answer = model.signatures["serving_default"](melspectrogram=windows)["embeddings"].numpy()
    assert answer.shape == (2, 128) and np.isfinite(answer).all()


@pytest.mark.slow
def test_melon_with_its_playlists(succeed, tmp_path):
    ids = [i * 977 for i in range(24)]
    mel_files.melon(tmp_path / "melon", ids)
    generator = np.random.default_rng(5)
    playlists = [
        {"id": k, "plylst_title": "", "tags": [], "like_cnt": 0, "updt_date": "",
         "songs": generator.choice(ids, 6, replace=False).tolist()}
        for k in range(20)
    ]  # fmt: skip
    (tmp_path / "melon" / "train.json").write_text(json.dumps(playlists))
    at = ["--collection", "tfrecords/melon"]
    said = succeed("import_mels", "--mels", "melon", "--out", "tfrecords/melon")
    assert "24 tracks, 0.20 hours" in said
    assert "groups read" in succeed("match_playlists", "--playlists", "melon", *at)
    said = succeed("pretrain", "--pairs", "playlist_co", *at, *SMALL)
    assert "take mels of front end 'melon', and no waveforms" in said
    check_model("melon-playlist_co-vggish", 48)


@pytest.mark.long
def test_jamendo_with_artists_of_a_table_and_with_views(succeed, tmp_path):
    ids = [100 + 37 * i for i in range(16)]
    mel_files.jamendo(tmp_path / "mels", ids, frames=400)
    rows = [f"t{i}\tartist_{n % 4}\t{i % 100:02d}/{i}" for n, i in enumerate(ids)]
    (tmp_path / "tracks.tsv").write_text("\n".join(["TRACK_ID\tARTIST_ID\tPATH", *rows]) + "\n")
    said = succeed("import_mels", "--mels", "mels", "--out", "tfrecords/jamendo")
    assert "16 tracks" in said and "front end 'jamendo-mels'" in said
    at = ["--collection", "tfrecords/jamendo"]
    words = ["--playlists", "tracks.tsv", "--columns", "group=ARTIST_ID,track=PATH"]
    succeed("match_playlists", *words, "--name", "artists", *at)
    for pairs in ("artist_co", "simclr"):
        succeed("pretrain", "--pairs", pairs, *at, *SMALL)
        check_model(f"jamendo-{pairs}-vggish", 96)
