"""The commands on a collection behind a URL, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from remote_server import upload

from playlist_pretrain.playlists.groups import load_groups
from playlist_pretrain.records.collection import Collection

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SMALL = [
    "--frames", "16", "--width", "0.05", "--batch", "4", "--epochs", "1", "--probe-share", "0",
]  # fmt: skip


@pytest.fixture
def url(make_collection, s3, tmp_path):
    folder = tmp_path / "mine"
    make_collection(folder, [96 + i for i in range(24)], front_end="vggish")
    url = f"s3://scripts-remote/{tmp_path.name}/mine"
    upload(folder, url)
    return url


@pytest.fixture
def playlists(tmp_path):
    file = tmp_path / "playlists.csv"
    rows = [f"g{i // 4},track/{(7 * i) % 24:04d}" for i in range(48)]
    file.write_text("group_id,track_id\n" + "\n".join(rows) + "\n")
    return file


def run(script, *words, cwd, code=0):
    done = subprocess.run(
        [sys.executable, SCRIPTS / f"{script}.py", *map(str, words)],
        cwd=cwd, capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.slow
def test_match_and_pretrain(url, playlists, tmp_path):
    words = ["--playlists", playlists, "--collection", url, "--tables", "tco", "--figures"]
    done = run("match_playlists", *words, "--probe-share", "0", cwd=tmp_path)
    assert done.stderr == "" and f"{url}/groups-playlists.npz: written" in done.stdout
    assert done.stdout.rstrip().endswith(f"--collection {url} --groups playlists")
    collection = Collection.open(url)
    files = {path.name for path in collection.path.glob("*")}
    assert {"groups-playlists.npz", "groups-playlists.report.json"} <= files
    assert len(load_groups(collection, "playlists")) == 12
    assert {"lengths.png", "popularity.png"} <= {
        path.name for path in (collection.path / "figures-playlists").glob("*")
    }
    done = run("match_playlists", *words[:4], cwd=tmp_path)
    assert "holds these groups already" in done.stdout
    words = ["--collection", url, *SMALL]
    done = run("pretrain", "--pairs", "playlist_tco", *words, cwd=tmp_path)
    assert done.stderr == "" and ".npz: read" in done.stdout  # the table that is there already
    done = run("pretrain", "--pairs", "playlist_co", *words, cwd=tmp_path)
    run_folder = tmp_path / "runs" / "mine-playlist_co-vggish"
    recipe = json.loads((run_folder / "recipe.json").read_text())
    assert recipe["recipe"]["collection"] == url
    assert recipe["inputs"]["collection"] == collection.content_key
    assert (run_folder / "saved_model" / "saved_model.pb").exists()


@pytest.mark.slow
def test_errors_in_one_line(url, playlists, s3, tmp_path):
    words = ["match_playlists", "--playlists", playlists, "--collection"]
    done = run(*words, url + "/no", cwd=tmp_path, code=1)
    assert done.stderr.startswith(f"match_playlists.py: error: {url}/no: no such file, folder or")
    assert done.stderr.count("\n") == 1
    done = run("pretrain", "--collection", url, "--out", "s3://b/run", cwd=tmp_path, code=1)
    assert "--out s3://b/run: is written to a local folder" in done.stderr
    assert done.stderr.count("\n") == 1
    done = run("make_tfrecords", "--audio", tmp_path, "--out", "s3://b/c", cwd=tmp_path, code=1)
    assert "--out s3:/b/c: is written to a local folder; build there" in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.glob("s3*"))
    s3.fail["PUT"] = 10**6
    done = run(*words, url, cwd=tmp_path, code=1)
    assert f"error: {url}/groups-playlists.npz: " in done.stderr and done.stderr.count("\n") == 1
    s3.close()
    done = run(*words, url, cwd=tmp_path, code=1)
    assert f"{url}: Could not connect to the endpoint" in done.stderr
    assert done.stderr.count("\n") == 1
