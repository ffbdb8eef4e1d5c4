"""The nearest tracks by two tables, and figures."""

import numpy as np
import pytest

from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.playlists.show import draw_groups, nearest_by_cosine, nearest_by_count
from playlist_pretrain.playlists.top_table import top_table
from playlist_pretrain.playlists.word2vec import TrackVectors


def test_nearest_by_cosine_is_that_of_numpy(rng):
    vectors = TrackVectors(
        np.array([2, 3, 7, 9, 11], np.int32), rng.normal(size=(5, 4)).astype(np.float32), 0
    )
    unit = vectors.vectors / np.linalg.norm(vectors.vectors, axis=1, keepdims=True)
    cosine = unit @ unit[2]
    expected = [(int(vectors.rows[i]), f"{cosine[i]:.3f}") for i in np.argsort(-cosine)[1:]]
    assert nearest_by_cosine(vectors, 7) == expected
    assert nearest_by_cosine(vectors, 8) == nearest_by_cosine(vectors, 12) == []


@pytest.mark.slow
@pytest.mark.parametrize("lists", [[[0, 1]], [range(5)] * 30])
def test_figures_of_tiny_groups(tmp_path, lists):
    groups = TrackGroups.from_lists("x", lists, tracks=6, collection_key="k")
    drawn = draw_groups(groups, top_table(groups), tmp_path, groups)
    assert len(drawn) == 4 and all(path.stat().st_size > 1000 for path in drawn)


def test_nearest_by_count(rng):
    groups = TrackGroups.from_lists("x", [[0, 1], [0, 1], [0, 2]], tracks=4, collection_key="k")
    table = top_table(groups)
    assert nearest_by_count(table, 0) == [(1, "2"), (2, "1")]
    assert nearest_by_count(table, 3) == []
