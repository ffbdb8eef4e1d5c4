"""The command as a user runs it."""

import os

import numpy as np
import pytest

from playlist_pretrain.cli import check_collection as check
from playlist_pretrain.playlists.groups import TrackGroups, groups_path
from playlist_pretrain.records.collection import Collection


@pytest.fixture
def folder(tmp_path, rng, make_collection):
    """Five tracks: one silent, two equal, three of them shorter than a window."""
    mel = rng.uniform(1, 6, (300, 96))
    mels = [mel, np.zeros((300, 96)), mel[:10], mel[:20], mel[:10]]
    ids = ["a", "quiet", "short", "b", "again"]
    return make_collection(tmp_path / "my music", mels, ids=ids).path


def run(capsys, *words):
    code = check.main(list(map(str, words)))
    out, err = capsys.readouterr()
    return code, out, err


def test_what_is_in_it(folder, capsys):
    code, out, err = run(capsys, "--collection", folder)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "5 tracks, 0.00 hours of audio" in lines[0]
    assert "front end 'paper': 96 bands, windows of 256 frames; 2 shards, 0.1 MB" in lines[1]
    assert lines[2].startswith("seconds a track: 0.12 to 3.52, median 0.23")
    assert lines[3].startswith("values: 0.000 to 6.000, mean ") and "silence is 0.000" in lines[3]
    assert "silent: 1 track ('quiet')" in lines
    assert "shorter than a window: 3 tracks ('short', 'b', 'again')" in lines
    assert "with the mel of another track: 1 ('short' = 'again')" in lines
    assert lines[-1] == (
        f"next: python scripts/check_collection.py --collection '{folder}' --verify"
    )
    assert (folder / "figures" / "collection.png").read_bytes().startswith(b"\x89PNG")
    again = run(capsys, "--collection", folder, "--verify", "--quiet")
    assert again == (0, "", "")


def test_damage_is_listed_and_repaired_and_old_groups_are_named(folder, capsys):
    collection = Collection.open(folder)
    groups = TrackGroups.from_lists(
        "artists", [[0, 1], [2, 3]], tracks=5, collection_key=collection.content_key
    )
    groups.save(groups_path(folder, "artists"))
    with open(folder / "mel-00000.tfrecord", "r+b") as stream:
        stream.seek(collection.offset[1] + 50)
        stream.write(b"\1")
    for words in ([], ["--verify"]):
        code, out, err = run(capsys, "--collection", folder, *words)
        assert (code, out) == (1, "")
        assert "row 1, track 'quiet': the checksum of its data is wrong" in err
        assert "it makes damaged shards anew" in err
        assert f"check_collection.py --collection '{folder}' --repair" in err
    code, out, err = run(capsys, "--collection", folder, "--repair")
    assert (code, err) == (0, "")
    assert f"1 damaged shard moved to {folder}/damaged with 4 tracks, listed in tracks.tsv" in out
    assert "repaired, 1 track; key" in out
    assert "groups 'artists' are of the old content" in out
    assert f"--playlists FILE --name artists --collection '{folder}' --overwrite" in out
    assert run(capsys, "--collection", folder, "--verify", "--quiet") == (0, "", "")
    code, out, _ = run(capsys, "--collection", folder, "--repair")
    assert code == 0 and "nothing is wrong, nothing was changed" in out


@pytest.mark.parametrize("words, message", [
    (["--collection", "nowhere"], "nowhere: no such folder"),
    (["--collection", "nowhere", "--repair"], "nowhere: no such folder"),
    (["--collection", "s3://bucket/x"], "copy it here first"),
])  # fmt: skip
def test_mistakes_are_one_message(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert (code, out) == (1, "") and message in err and err.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_without_a_collection_it_is_the_demo_and_a_damaged_one_is_not_built_on(
    folder, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tfrecords").mkdir()
    folder.rename(tmp_path / "tfrecords" / "demo")
    (tmp_path / "tfrecords" / "demo" / "index-0.npz").unlink()
    assert run(capsys, "--verify")[0] == 1
    code, out, err = run(capsys, "--repair")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "next: python scripts/check_collection.py --verify"
    assert run(capsys, "--verify", "--quiet") == (0, "", "")
