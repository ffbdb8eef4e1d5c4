"""Pairings in which every track is its own positive."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.pairs.co_occurrence import PlaylistWord2Vec, SimClr
from playlist_pretrain.playlists.word2vec import TrackVectors


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.sets(st.integers(0, 500)), st.integers(0, 2**63 - 1), st.integers(0, 1000))
def test_every_row_once_with_itself(rows, seed, epoch):
    pairing = SimClr(np.array(sorted(rows), np.int64), seed)
    blocks = list(pairing.epoch(epoch))
    pairs = np.concatenate([np.empty((0, 2), np.int32), *blocks])
    assert np.array_equal(pairs[:, 0], pairs[:, 1])
    assert np.array_equal(np.sort(pairs[:, 0]), sorted(rows))
    assert len(pairs) == pairing.count(epoch) == pairing.expected_pairs


def test_tracks_without_a_vector_take_no_part(rng):
    vectors = rng.normal(size=(3, 4)).astype(np.float32)
    pairing = PlaylistWord2Vec(TrackVectors(np.array([1, 4, 5], np.int32), vectors, 0), 7, 0)
    pairs = np.concatenate(list(pairing.epoch(0)))
    assert sorted(pairs[:, 1].tolist()) == [1, 4, 5]
    np.testing.assert_array_equal(pairing.table[[1, 4, 5]], vectors)
    assert pairing.table.shape == (7, 4) and not pairing.table[[0, 2, 3, 6]].any()


def test_orders_of_known_seeds():
    """These may never change: runs are resumed with them, on other machines too."""
    pairing = SimClr(np.arange(5), 0)
    found = [np.concatenate(list(pairing.epoch(e)))[:, 0].tolist() for e in range(3)]
    assert found == [[1, 3, 2, 0, 4], [0, 3, 4, 2, 1], [3, 2, 4, 1, 0]]
    vectors = TrackVectors(np.arange(5, dtype=np.int32), np.ones((5, 2), np.float32), 0)
    other = PlaylistWord2Vec(vectors, 5, 0)
    assert [np.concatenate(list(other.epoch(e)))[:, 0].tolist() for e in range(3)] != found
