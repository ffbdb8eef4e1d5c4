"""Maps of foreign ids: joined, counted, and refused where they contradict themselves."""

import numpy as np
import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists import match as module
from playlist_pretrain.playlists.match import IdMap, match_groups

IDS = ["a", "b", "c", "ü/d"]


@pytest.fixture(scope="module")
def mine(make_collection, tmp_path_factory):
    return make_collection(tmp_path_factory.mktemp("c") / "mine", [10] * 4, ids=IDS)


def write(tmp_path, *rows, header="foreign_id,track_id"):
    path = tmp_path / "map.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize("at_once", [1, 2, 65_536])
def test_rows(mine, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(module, "LOOK_UP", at_once)
    path = write(tmp_path, "s:1,a", "s:2,ü/d", "s:3,zz", "s:4,a", "s:1,a")
    id_map = IdMap.read(path, mine)
    assert (len(id_map), id_map.known) == (4, 3)
    found = id_map.rows(["s:4", "s:2", "s:3", "a", "s:1"])
    assert found.dtype == np.int32
    assert found.tolist() == [mine.row("a"), mine.row("ü/d"), -1, -2, mine.row("a")]


def test_counts_say_which_half_of_the_way_is_missing(mine, tmp_path):
    id_map = IdMap.read(write(tmp_path, "s:1,a", "s:2,b", "s:3,zz", "s:4,b"), mine)
    entries = [("x", ["s:1", "s:2", "s:3", "s:4", "s:9", "s:9"]), ("y", ["s:1", "a"])]
    groups, coverage = match_groups(entries, mine, "x", id_map)
    assert groups.group(0).tolist() == [mine.row("a"), mine.row("b")]
    assert (coverage.entries_unmapped, coverage.entries_unknown) == (3, 1)
    assert (coverage.entries_repeated, coverage.entries_in_dropped_groups) == (1, 1)
    assert coverage.entries_read == 8 == 2 + 3 + 1 + 1 + 1
    assert coverage.wanted[0] == ("s:9", 2)
    text = coverage.text()
    assert "dropped, id not in the map" in text and "dropped, its track not here" in text


def test_an_id_of_two_tracks_is_refused(mine, tmp_path):
    path = write(tmp_path, "s:1,a", "s:2,b", "s:1,c")
    with pytest.raises(
        TableError, match=r"map\.csv: line 4: 's:1' stands for 'c' here, and for 'a'"
    ):
        IdMap.read(path, mine)
