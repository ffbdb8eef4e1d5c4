"""The table of co-occurrences against a dense A·Aᵀ, and its file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.errors import GroupsError
from playlist_pretrain.playlists import top_table as module
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.playlists.top_table import (
    cached_top_table,
    load_table,
    table_path,
    top_table,
)

TRACKS = 14
PLAYLISTS = st.lists(
    st.lists(st.integers(0, TRACKS - 1), unique=True, max_size=TRACKS), max_size=12
)


def groups_of(playlists, tracks=TRACKS, name="playlists"):
    return TrackGroups.from_lists(name, playlists, tracks=tracks, collection_key="k")


def dense(playlists, tracks):
    """A·Aᵀ with nothing on its diagonal."""
    member = np.zeros((tracks, len(playlists)), int)
    for number, playlist in enumerate(playlists):
        member[list(playlist), number] = 1
    together = member @ member.T
    np.fill_diagonal(together, 0)
    return together


def expected_top(together, top):
    rows = np.full((len(together), top), -1, np.int32)
    counts = np.zeros((len(together), top), np.int32)
    for track, line in enumerate(together):
        order = sorted(np.flatnonzero(line), key=lambda other: (-line[other], other))[:top]
        rows[track, : len(order)] = order
        counts[track, : len(order)] = line[order]
    return rows, counts


@settings(max_examples=100, deadline=None, derandomize=True)
@given(PLAYLISTS, st.integers(1, 12), st.integers(1, 3))
def test_table_is_that_of_the_dense_matrix_ties_included(playlists, top, threads):
    table = top_table(groups_of(playlists), top=top, threads=threads)
    rows, counts = expected_top(dense(playlists, TRACKS), top)
    np.testing.assert_array_equal(table.rows, rows)
    np.testing.assert_array_equal(table.counts, counts)
    assert table.left_out == 0


def test_long_groups_are_left_out_and_counted(tmp_path, caplog):
    caplog.set_level("INFO")
    groups = groups_of([range(5), [0, 1], range(6)])
    table = cached_top_table(groups, tmp_path, max_group_length=4)
    assert table.left_out == 2
    assert table.counts.sum() == 2
    assert "2 groups of more than 4 tracks" in caplog.messages[-1]
    again = cached_top_table(groups, tmp_path, max_group_length=4)
    assert again.left_out == 2
    assert "read" in caplog.messages[2] and "2 groups" in caplog.messages[3]


def test_kept_under_a_key_of_content_and_settings(tmp_path, monkeypatch):
    groups = groups_of([[0, 1, 2], [2, 3]])
    first = cached_top_table(groups, tmp_path)
    monkeypatch.setattr(module, "top_table", None)  # whatever is read now is not made
    again = cached_top_table(groups, tmp_path)
    np.testing.assert_array_equal(first.rows, again.rows)
    np.testing.assert_array_equal(first.counts, again.counts)
    others = [
        table_path(groups, tmp_path, top=9),
        table_path(groups, tmp_path, max_group_length=999),
        table_path(groups_of([[0, 1, 2], [3, 2]]), tmp_path),
    ]
    assert len({table_path(groups, tmp_path), *others}) == 4


def test_a_damaged_file_is_made_again(tmp_path, rng, caplog):
    caplog.set_level("INFO")
    groups = groups_of([rng.permutation(TRACKS)[:5] for _ in range(20)])
    table = cached_top_table(groups, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    damaged = [whole[:size] for size in [*range(0, len(whole), 397), len(whole) - 1]]
    for array in (table.rows, table.counts):  # a bit in the middle of what is stored
        place = whole.index(array.tobytes()) + array.nbytes // 2
        damaged.append(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        again = cached_top_table(groups, tmp_path)
        np.testing.assert_array_equal(again.rows, table.rows)
        assert "made again" in caplog.messages[-2] and "\n" not in caplog.messages[-2]
        assert path.read_bytes() == whole


@pytest.mark.parametrize("rows", [[[5]], [[-2]], [[-1]], [[0, 1]], [[0.0]]])
def test_a_file_that_lies_is_refused(tmp_path, rows):
    rows = np.array(rows) if isinstance(rows[0][0], float) else np.array(rows, np.int32)
    header = np.frombuffer(b'{"format": 1, "left_out": 0}', np.uint8)
    counts = np.ones_like(rows)
    np.savez(tmp_path / "t.npz", header=header, rows=rows, counts=counts)
    with pytest.raises(GroupsError, match=r"t\.npz: not a whole table"):
        load_table(tmp_path / "t.npz", 1, 1)
