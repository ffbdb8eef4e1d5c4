"""Without audio, from mels to a trained model, as a user does it."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(home, script, *words):
    # As in a user's shell: whatever TensorFlow may print, the program has to keep quiet itself.
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, ROOT / "scripts" / script, *map(str, words)]
    return subprocess.run(
        command, cwd=home, capture_output=True, text=True, env=environment, check=False
    )


def succeed(home, script, *words):
    done = run(home, script, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def npy(seed, bands, frames):
    stream = io.BytesIO()
    values = np.random.default_rng(seed).normal(-40 - seed % 7, 15, (bands, frames))
    np.save(stream, values.astype(np.float32))
    return stream.getvalue()


SMALL = ("--batch", 4, "--epochs", 2, "--width", 0.05, "--frames", 64, "--warmup-steps", 2)


def check_model(home, name, bands):
    """The exported model reloads, takes mels and no waveforms."""
    import tensorflow as tf

    path = home / "runs" / name / "saved_model"
    model = tf.saved_model.load(str(path))
    assert list(model.signatures) == ["serving_default"]
    windows = tf.fill([2, 64, bands], -40.0)
    answer = model.signatures["serving_default"](melspectrogram=windows)["embeddings"].numpy()
    assert answer.shape == (2, 128) and np.isfinite(answer).all()
    keras = tf.keras.models.load_model(path, compile=False)
    np.testing.assert_allclose(keras(windows), answer, atol=1e-5)
    assert json.loads((home / "runs" / name / "summary.json").read_text())["steps"] >= 2


def test_help_is_quick_and_complete(processor_seconds):
    before = processor_seconds()
    answer = run(ROOT, "import_mels.py", "--help")
    assert answer.returncode == 0
    assert processor_seconds() - before < 1.0
    for option in ("mels", "out", "source", "description", "excerpt", "keep-going", "workers"):
        assert f"--{option} " in answer.stdout


@pytest.mark.slow
def test_melon_with_its_playlists(tmp_path):
    generator = np.random.default_rng(5)
    ids = [i * 977 for i in range(24)]
    for part in (0, 1):
        (tmp_path / "melon").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "melon" / f"arena_mel_{part}.tar", "w") as archive:
            for i in ids[part::2]:
                content = npy(i, 48, 1876)
                info = tarfile.TarInfo(f"{i // 1000}/{i}.npy")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    playlists = [
        {"id": k, "plylst_title": "", "tags": [], "like_cnt": 0, "updt_date": "",
         "songs": generator.choice(ids, 6, replace=False).tolist()}
        for k in range(20)
    ]  # fmt: skip
    (tmp_path / "melon" / "train.json").write_text(json.dumps(playlists))

    said = succeed(tmp_path, "import_mels.py", "--mels", "melon", "--out", "tfrecords/melon")
    assert "24 tracks, 0.20 hours" in said
    said = succeed(
        tmp_path, "match_playlists.py", "--playlists", "melon", "--collection", "tfrecords/melon"
    )
    assert "groups read" in said
    words = ("--pairs", "playlist_co", "--collection", "tfrecords/melon")
    said = succeed(tmp_path, "pretrain.py", *words, *SMALL)
    assert "take mels of front end 'melon', and no waveforms" in said
    assert "windows of 64 frames × 48 bands" in said and "features" in said
    check_model(tmp_path, "melon-playlist_co-vggish", 48)


@pytest.mark.slow
def test_jamendo_with_artists_of_a_table_and_with_views(tmp_path):
    ids = [100 + 37 * i for i in range(16)]
    rows = ["TRACK_ID\tARTIST_ID\tPATH"]
    for number, i in enumerate(ids):
        path = tmp_path / "mels" / f"{i % 100:02d}" / f"{i}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(npy(i, 96, 400))
        rows.append(f"track_{i:07d}\tartist_{number % 4}\t{i % 100:02d}/{i}")
    (tmp_path / "tracks.tsv").write_text("\n".join(rows) + "\n")

    said = succeed(tmp_path, "import_mels.py", "--mels", "mels", "--out", "tfrecords/jamendo")
    assert "16 tracks" in said and "front end 'jamendo-mels'" in said
    at = ("--collection", "tfrecords/jamendo")
    words = ("--playlists", "tracks.tsv", "--columns", "group=ARTIST_ID,track=PATH")
    succeed(tmp_path, "match_playlists.py", *words, "--name", "artists", *at)
    for pairs in ("artist_co", "simclr"):
        succeed(tmp_path, "pretrain.py", "--pairs", pairs, *at, *SMALL)
        check_model(tmp_path, f"jamendo-{pairs}-vggish", 96)
