"""The command as a user runs it: mostly in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from playlist_pretrain.cli import match_playlists as make

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "match_playlists.py"


@pytest.fixture(scope="module")
def mine(make_collection, tmp_path_factory):
    ids = [f"spotify:track:{i}" for i in range(6)]
    return make_collection(tmp_path_factory.mktemp("c") / "my music", [10] * 6, ids=ids).path


def run(*words):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, words)], capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def slices(tmp_path):
    folder = tmp_path / "mpd"
    folder.mkdir()
    for pid in (0, 1000):
        tracks = [{"track_uri": f"spotify:track:{i}"} for i in (0, 1, 5, 9)]
        content = {"info": {}, "playlists": [{"pid": pid, "tracks": tracks}]}
        (folder / f"mpd.slice.{pid}-{pid + 999}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.slow
def test_from_slices_to_groups(mine, slices):
    done = run("--playlists", slices, "--collection", mine)
    assert (done.returncode, done.stderr) == (0, "")
    assert "groups read" in done.stdout and "'spotify:track:9'" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "next: python scripts/pretrain.py --pairs playlist_co "
        f"--collection '{mine}' --groups playlists"
    )
    report = json.loads((mine / "groups-playlists.report.json").read_text())
    assert (report["groups_kept"], report["entries_matched"], report["format"]) == (2, 6, "mpd")
    before = (mine / "groups-playlists.npz").read_bytes()
    again = run("--playlists", slices, "--collection", mine, "--quiet")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    (mine / "groups-playlists.npz").unlink()
    run("--playlists", slices, "--collection", mine)
    assert (mine / "groups-playlists.npz").read_bytes() == before


def test_from_a_table_of_artists(mine, tmp_path):
    table = tmp_path / "tracks.tsv"
    rows = [f"artist {i % 2}\tspotify:track:{i}\n" for i in range(6)]
    table.write_text("artist\tid\n" + "".join(rows))
    words = ["--columns", "group=artist,track=id", "--name", "artists", "--collection", mine]
    done = run("--playlists", table, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip().endswith("--groups artists")
    assert (mine / "groups-artists.npz").exists()


BAD = {
    "columns": (b"artist,id\nx,y\n", "its columns are: 'artist', 'id'"),
    "empty": (b"", "the file is empty"),
    "header only": (b"group_id,track_id\n", "a header and no rows"),
    "ragged": (b"group_id,track_id\na,b\nc\n", "line 3: 1 cells"),
    "encoding": (b"group_id,track_id\na,\xe9\n", "line 2: not UTF-8"),
    "zero": (b"group_id,track_id\na,\0\n", "line 2: holds a zero byte"),
    "long": (b"group_id,track_id\na," + b"x" * 150_000 + b"\n", "line 2: field larger"),
    "unknown": (b"group_id,track_id\na,b\na,c\n", "look like 'b', 'c', the collection's like 'spo"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_one_line_and_exit_code_1(mine, tmp_path, capsys, case):
    content, message = BAD[case]
    (tmp_path / "bad.csv").write_bytes(content)
    words = ["--playlists", tmp_path / "bad.csv", "--collection", mine, "--name", "bad"]
    assert make.main(list(map(str, words))) == 1
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("match_playlists.py: error: ")
    assert error.count("\n") == 1 and error.endswith("\n")
    assert message in error
    assert not list(mine.glob("groups-bad*"))


def test_traceback_only_with_debug(mine, tmp_path):
    done = run("--playlists", tmp_path / "no.csv", "--collection", mine, "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "no such file" in done.stderr


def test_help_in_under_a_second(processor_seconds):
    before = processor_seconds()
    done = run("--help")
    assert processor_seconds() - before < 1
    assert done.returncode == 0
    for option in ("--playlists", "--collection", "--name", "--format", "--columns", "--overwrite"):
        assert option in done.stdout
