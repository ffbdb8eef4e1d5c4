"""Without audio, from mels to a trained model, by the commands."""

import json

import mel_files
import numpy as np
import pytest

from playlist_pretrain.__main__ import main

SMALL = ["--batch", 4, "--epochs", 1, "--width", 0.05, "--frames", 64, "--warmup-steps", 2]


@pytest.mark.slow
def test_melon_with_its_playlists(tmp_path, monkeypatch, capsys):
    import tensorflow as tf

    def succeed(*words):
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
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
    model = tf.saved_model.load("runs/melon-playlist_co-vggish/saved_model")
    assert list(model.signatures) == ["serving_default"]
    windows = tf.fill([2, 64, 48], -40.0)
    answer = model.signatures["serving_default"](melspectrogram=windows)["embeddings"].numpy()
    assert answer.shape == (2, 128) and np.isfinite(answer).all()
