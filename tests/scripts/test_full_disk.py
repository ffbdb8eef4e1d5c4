"""A disk that is full is one message with the name of the file, of whatever command."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from playlist_pretrain.files import __file__ as package_file

LIMITED = """
import importlib, resource, sys
verb, limit, *words = sys.argv[1:]
sys.argv = ["x"]
main = importlib.import_module("playlist_pretrain.cli." + verb).main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
raise SystemExit(main(words))
"""


@pytest.fixture
def folder(make_collection, saved_models, tmp_path):
    """A collection, a model, audio and playlists."""
    make_collection(tmp_path / "col", [300] * 8)
    (tmp_path / "models").symlink_to(saved_models)
    (tmp_path / "music").mkdir()
    for number in range(2):
        noise = np.random.default_rng(number).normal(size=32_000) * 0.1
        soundfile.write(tmp_path / "music" / f"{number}.wav", noise, 16_000)
    rows = "".join(f"g{i % 3},track/{i:04d}\n" for i in range(8))
    (tmp_path / "p.csv").write_text(f"group_id,track_id\n{rows}")
    return tmp_path


MODEL = "models/mine/saved_model"
COMMANDS = {
    "make_tfrecords --audio music --out new": (20_000, "mel-00000.tfrecord"),
    "make_tfrecords --audio music --out newer": (60, ".jsonl"),
    "match_playlists --playlists p.csv --collection col": (500, "groups-playlists.npz"),
    f"embed --model {MODEL} --collection col --out e.parquet": (700, "part-00000.npz"),
    f"export --model {MODEL} --target serving --name a": (20_000, "exports/serving/a"),
    f"export --model {MODEL} --target essentia --name a": (20_000, "synthetic.wav"),
}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_one_message_with_the_file(command, folder):
    limit, name = COMMANDS[command]
    verb, *words = command.split()
    root = os.path.dirname(os.path.dirname(package_file))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, verb, str(limit), *words],
        capture_output=True, text=True, cwd=folder, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr
    assert ".py: error: " in lines[-1] and name in lines[-1], lines[-1]
    assert "File too large" in lines[-1] and ".tmp: " not in lines[-1]
