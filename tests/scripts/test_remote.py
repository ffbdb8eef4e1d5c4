"""The commands on a collection behind a URL."""

import json

import pytest
from remote_server import upload

from playlist_pretrain.__main__ import main
from playlist_pretrain.playlists.groups import load_groups
from playlist_pretrain.records.collection import Collection

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
def run(tmp_path, monkeypatch, capsys):
    """Callable: run a command in a folder of its own; what it printed to both streams."""
    monkeypatch.chdir(tmp_path)
    rows = [f"g{i // 4},track/{(7 * i) % 24:04d}" for i in range(48)]
    (tmp_path / "playlists.csv").write_text("group_id,track_id\n" + "\n".join(rows) + "\n")

    def call(*words, code=0):
        assert main([str(word) for word in words]) == code
        return capsys.readouterr()

    return call


MATCH = ["match_playlists", "--playlists", "playlists.csv", "--collection"]


@pytest.mark.slow
def test_match_and_pretrain(url, run, tmp_path):
    done = run(*MATCH, url, "--tables", "tco", "--figures", "--probe-share", "0")
    assert f"{url}/groups-playlists.npz: written" in done.out
    assert done.out.rstrip().endswith(f"--collection {url} --groups playlists")
    collection = Collection.open(url)
    files = {path.name for path in collection.path.glob("*")}
    assert {"groups-playlists.npz", "groups-playlists.report.json"} <= files
    assert len(load_groups(collection, "playlists")) == 12
    figures = {path.name for path in (collection.path / "figures-playlists").glob("*")}
    assert {"lengths.png", "popularity.png"} <= figures
    assert "holds these groups already" in run(*MATCH, url).out
    done = run("pretrain", "--pairs", "playlist_tco", "--collection", url, *SMALL)
    assert ".npz: read" in done.out  # the table that is there already
    run("pretrain", "--pairs", "playlist_co", "--collection", url, *SMALL)
    run_folder = tmp_path / "runs" / "mine-playlist_co-vggish"
    recipe = json.loads((run_folder / "recipe.json").read_text())
    assert recipe["recipe"]["collection"] == url
    assert recipe["inputs"]["collection"] == collection.content_key
    assert (run_folder / "saved_model" / "saved_model.pb").exists()


@pytest.mark.long
def test_errors_in_one_line(url, run, s3, tmp_path):
    def error(*words):
        err = run(*words, code=1).err
        assert err.count("\n") == 1
        return err

    assert f"error: {url}/no: no such file, folder or bucket" in error(*MATCH, url + "/no")
    said = error("pretrain", "--collection", url, "--out", "s3://b/run")
    assert "--out s3://b/run: is written to a local folder" in said
    said = error("make_tfrecords", "--audio", tmp_path, "--out", "s3://b/c")
    assert "--out s3:/b/c: is written to a local folder; build there" in said
    assert not list(tmp_path.glob("s3*"))
    s3.fail["PUT"] = 10**6
    assert f"error: {url}/groups-playlists.npz: " in error(*MATCH, url)
    s3.close()
    assert f"error: {url}: " in error(*MATCH, url)
