"""Several processes that want the same tables of one collection at the same time."""

import subprocess
import sys

import numpy as np
import pytest

from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.playlists.top_table import cached_top_table
from playlist_pretrain.playlists.word2vec import Word2VecSettings, cached_vectors

CODE = """
import pathlib, sys, time
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.playlists.top_table import cached_top_table
from playlist_pretrain.playlists.word2vec import cached_vectors
from playlist_pretrain.playlists.word2vec import Word2VecSettings

folder, start = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
groups = TrackGroups.load(folder / "groups-playlists.npz")
ids = [f"track {row}" for row in range(groups.tracks)]
import gensim, numba
print("ready", flush=True)
while not start.exists():
    time.sleep(0.001)
for size in range(1, 5):
    cached_top_table(groups, folder, max_group_length=100 + size)
    cached_vectors(groups, ids, folder, Word2VecSettings(size=size, epochs=1, workers=2))
"""


@pytest.mark.long
def test_all_leave_whole_tables_and_nothing_else(tmp_path, rng, caplog):
    lists = [rng.choice(60, 8, replace=False) for _ in range(200)]
    groups = TrackGroups.from_lists("playlists", lists, tracks=60, collection_key="k")
    folder = tmp_path / "collection"
    groups.save(folder / "groups-playlists.npz")
    command = [sys.executable, "-c", CODE, str(folder), str(tmp_path / "start")]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "start").touch()
    for process in processes:
        assert process.wait() == 0, process.stderr.read()
        process.stdout.close()
        process.stderr.close()
    assert {path.suffix for path in folder.iterdir()} == {".npz", ".bin", ".json"}
    assert len(list(folder.iterdir())) == 1 + 4 + 2 * 4
    ids = [f"track {row}" for row in range(60)]
    caplog.set_level("INFO")
    for size in range(1, 5):
        table = cached_top_table(groups, folder, max_group_length=100 + size)
        settings = Word2VecSettings(size=size, epochs=1, workers=2)
        vectors = cached_vectors(groups, ids, folder, settings)
        assert table.counts.sum() and np.isfinite(vectors.vectors).all()
    # Vectors of several threads differ from process to process; such a pair of files may be the
    # vectors of one and what is said of another, which is seen, and made again.
    assert all("read" in text for text in caplog.messages if "tco-" in text)
