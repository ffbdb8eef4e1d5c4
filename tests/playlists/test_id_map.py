"""Maps of foreign ids: joined, counted, and refused where they contradict themselves."""

import numpy as np
import pytest

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists import match as module
from playlist_pretrain.playlists.match import IdMap

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


def test_an_id_of_two_tracks_is_refused(mine, tmp_path):
    path = write(tmp_path, "s:1,a", "s:2,b", "s:1,c")
    with pytest.raises(
        TableError, match=r"map\.csv: line 4: 's:1' stands for 'c' here, and for 'a'"
    ):
        IdMap.read(path, mine)
