"""The Beam pipeline on the local runner: the same table as counted here, ties included."""

import sys

import numpy as np
import pytest

from playlist_pretrain.cli.match_playlists import main
from playlist_pretrain.playlists.groups import TrackGroups, groups_path, load_groups, split_groups
from playlist_pretrain.playlists.top_table import load_table, table_path, top_table

pytest.importorskip("apache_beam")
beam = pytest.importorskip("playlist_pretrain.playlists.beam_table")
LOCAL = ["--runner=DirectRunner"]


def test_equal_to_the_table_counted_here(tmp_path, rng):
    lists = [rng.choice(40, n, replace=False) for n in rng.integers(1, 14, 60)]
    groups = TrackGroups.from_lists("playlists", [*lists, range(40)], tracks=45, collection_key="k")
    found = beam.beam_top_table(groups, str(tmp_path), top=10, max_group_length=20, options=LOCAL)
    expected = top_table(groups, top=10, max_group_length=20)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert found.left_out == expected.left_out == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def mine(make_collection, tmp_path, rng):
    collection = make_collection(tmp_path / "mine", [100] * 20, front_end="vggish")
    lists = [rng.choice(20, 5, replace=False) for _ in range(25)]
    groups = TrackGroups.from_lists(
        "playlists", lists, tracks=20, collection_key=collection.content_key
    )
    groups.save(groups_path(collection.path, "playlists"))
    return collection


def run(mine, *words):
    return main(["--collection", str(mine.path), "--tables", "tco", *words])


def test_the_command_leaves_what_the_trainer_looks_for(mine, capsys):
    assert run(mine, f"--beam={LOCAL[0]}") == 0
    out = capsys.readouterr().out
    assert "counted with Beam" in out and "--pairs playlist_co" in out
    split = split_groups(load_groups(mine, "playlists"), mine, frames=96)
    (path,) = mine.path.glob("tco-*")
    assert path == table_path(split.kept, mine.path)
    found, expected = load_table(path, 20), top_table(split.kept)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.counts, expected.counts)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--name", "nobody"], "no groups 'nobody'"),
        (["--max-group-length", "4"], "none has at most 4 tracks (--max-group-length)"),
        (["--beam=--runner=NoSuchRunner"], "--beam"),
        (["--temp", "nowhere://x"], "--temp nowhere://x: "),
    ],
)
def test_wrong_options_are_one_line(mine, capsys, options, word):
    assert run(mine, "--beam=", *options) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and word in error
    assert not list(mine.path.glob("tco-*"))


def test_a_pipeline_that_fails_is_one_line(mine, capsys, monkeypatch):
    def stop(*args, **settings):
        raise RuntimeError("no job server:\n  try again")

    monkeypatch.setattr(beam, "beam_top_table", stop)
    assert run(mine, "--beam=") == 1
    assert capsys.readouterr().err.endswith("error: --beam '': no job server: try again\n")


def test_without_beam_it_says_how_to_get_it(mine, capsys, monkeypatch):
    for module in (beam.__name__, "playlist_pretrain.records.beam_build"):
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert run(mine, "--beam=") == 1
    assert "pip install 'playlist_pretrain[beam]'" in capsys.readouterr().err
