"""Nearest tracks against loops, and what they say of groups and hubs."""

import numpy as np
import pytest

from playlist_pretrain.errors import EmbeddingsError, TrackError
from playlist_pretrain.evaluation import neighbours as module
from playlist_pretrain.evaluation.bootstrap import grouped_mean_intervals
from playlist_pretrain.evaluation.neighbours import (
    ExactSearch,
    Mates,
    Neighbours,
    centre,
    hubness,
    mates_among,
    nearest,
    occurrences,
    pair_similarities,
    percentiles,
    retrieval,
)
from playlist_pretrain.playlists.groups import TrackGroups


def groups_of(lists, tracks, name="artists"):
    return TrackGroups.from_lists(name, lists, tracks=tracks, collection_key="")


def by_loop(vectors, k):
    """Rows of the nearest, in whole numbers of a similarity's last digits."""
    rows = []
    for i, query in enumerate(vectors):
        similar = [
            (-float(other @ query / np.sqrt(other @ other) / np.sqrt(query @ query)), j)
            for j, other in enumerate(vectors)
            if j != i
        ]
        rows.append([j for _, j in sorted(similar)[:k]])
    return np.array(rows)


@pytest.mark.parametrize("block", [1, 7 * 40, 1 << 24])
def test_equals_a_loop(block, rng, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_VALUES", block)
    vectors = rng.normal(size=(40, 6))
    found = nearest(vectors, k=5)
    np.testing.assert_array_equal(found.rows, by_loop(vectors, 5))
    assert (np.diff(found.similarities, axis=1) <= 0).all()
    a, b = vectors[3], vectors[found.rows[3, 2]]
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert found.similarities[3, 2] == pytest.approx(cosine, rel=1e-12)


class Named(np.ndarray):
    """Vectors with ids, as embeddings have them."""


def test_queries_are_rows_ids_or_vectors_and_a_notebook_shows_the_answer(rng):
    vectors = rng.normal(size=(8, 4)).view(Named)
    vectors.ids = [f"track {row}" for row in range(8)]
    by_row, by_id = nearest(vectors, 3, k=2), nearest(vectors, "track 3", k=2)
    np.testing.assert_array_equal(by_id.rows, by_row.rows)
    np.testing.assert_array_equal(nearest(vectors, vectors[3], k=3).rows[0, 1:], by_row.rows[0])
    lines = repr(by_id).splitlines()
    assert lines[:2] == ["2 nearest of 8 tracks, queries: 1", "track 3:"]
    assert lines[2] == f"  {by_id.similarities[0, 0]:7.4f}  track {by_id.rows[0, 0]}"
    assert "vector 0:" in repr(nearest(np.asarray(vectors), [[1.0, 2, 3, 4]], k=1))
    assert repr(nearest(vectors, k=1)).endswith("…")
    with pytest.raises(TrackError, match="no track 'x' among the 8"):
        nearest(vectors, ["track 1", "x"])
    for k, queries in ((0, None), (2, [8]), (2, [-1, 3])):
        with pytest.raises(EmbeddingsError, match="of 8 tracks"):
            nearest(vectors, queries, k)


@pytest.mark.parametrize("block", [3 * 50, 1 << 24])
def test_of_equal_ones_the_lower_row_comes_first(block, rng, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_VALUES", block)
    vectors = np.repeat(rng.normal(size=(5, 64)), 10, axis=0)
    found = nearest(vectors, k=9)
    for query, rows in enumerate(found.rows):
        first = query // 10 * 10
        assert rows.tolist() == [row for row in range(first, first + 10) if row != query]


@pytest.mark.parametrize("block", [1, 1 << 24])
def test_of_vectors_equals_a_loop(block, rng, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_VALUES", block)
    vectors, queries = rng.normal(size=(40, 6)), rng.normal(size=(7, 6)) * 1e-9
    rows, similarities = ExactSearch(vectors).of_vectors(queries, 5, [3, 17, 3])
    for query, found, values in zip(queries, rows, similarities, strict=True):
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
        expected = {row: vectors[row] @ query / lengths[row] for row in set(range(40)) - {3, 17}}
        order = sorted(expected, key=expected.get, reverse=True)[:5]
        assert found.tolist() == order
        np.testing.assert_allclose(values, [expected[row] for row in order], rtol=1e-9)


def test_the_centre_is_between_directions_whatever_their_lengths():
    vectors = np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    middle = centre(vectors[:2] * [[7], [0.1]])
    np.testing.assert_allclose(middle, [0.5, 0.5, 0])
    rows, similarities = ExactSearch(vectors).of_vectors(middle[np.newaxis], 2, [0, 1])
    assert rows.tolist() == [[2, 3]]
    np.testing.assert_allclose(similarities, [[1, 0]], atol=1e-12)
    with pytest.raises(EmbeddingsError, match="2 embeddings cancel each other out"):
        centre(np.array([[1.0, 2], [-2, -4]]))


@pytest.mark.parametrize(("vectors", "k", "left_out", "message"), [
    (np.ones((1, 3)), 2, [], "a query has 3 values, the embeddings 4"),
    (np.zeros((1, 4)), 2, [], "all zeros"),
    (np.full((1, 4), np.nan), 2, [], "NaN"),
    (np.ones((1, 4)), 10, [], "k must be between 1 and 9: 10 nearest of 9 tracks"),
    (np.ones((1, 4)), 8, [1, 5], "1 and 7: 8 nearest of 9 tracks, without the 2"),
    (np.ones((1, 4)), 2, [9], "rows 9 to 9 of 9 tracks"),
])  # fmt: skip
def test_of_vectors_refuses(vectors, k, left_out, message, rng):
    with pytest.raises(EmbeddingsError, match=message):
        ExactSearch(rng.normal(size=(9, 4))).of_vectors(vectors, k, left_out)


@pytest.mark.parametrize(("change", "message"), [
    (lambda v: v[0], r"float64 \(4,\), not numbers"),
    (lambda v: v.astype(str), "not numbers"),
    (lambda v: v[:1], "there is no other track"),
    (lambda v: v[:3], "k must be between 1 and 2: 3 nearest of 3 tracks"),
    (lambda v: np.where(np.arange(9)[:, None] == 4, 0, v), "row 4: all zeros"),
    (lambda v: np.where(v == v[5, 1], np.nan, v), "row 5: NaN or infinite"),
    (lambda v: np.where(v == v[8, 0], -np.inf, v), "row 8: NaN or infinite"),
])  # fmt: skip
def test_refuses(change, message, rng):
    with pytest.raises(EmbeddingsError, match=message):
        nearest(change(rng.normal(size=(9, 4))), k=3)


def test_mates_are_who_share_a_group(rng):
    lists = [[0, 1, 2], [2, 3], [5], [1, 2, 7], []]
    found = nearest(rng.normal(size=(9, 3)), k=8)
    mates = mates_among(found, groups_of(lists, 9))
    expected = {i: {j for one in lists if i in one for j in one} - {i} for i in range(9)}
    assert mates.there.tolist() == [len(expected[i]) for i in range(9)]
    for i, rows in enumerate(found.rows):
        assert mates.found[i].tolist() == [j in expected[i] for j in rows]
    assert mates.share == pytest.approx(sum(map(len, expected.values())) / 72)
    with pytest.raises(EmbeddingsError, match="'artists' are of 10 tracks, the embeddings of 9"):
        mates_among(found, groups_of(lists, 10))


def test_recall_and_precisions_equal_a_loop(rng):
    found = rng.random((60, 12)) < 0.3
    there = found.sum(1) + rng.integers(0, 6, 60)
    result = retrieval(Mates(found, there, [np.array([i // 3]) for i in range(60)]), (1, 5, 12))
    assert result.queries + result.left_out == 60
    for k in (1, 5, 12):
        recalls, precisions, of_r = [], [], []
        for hits, relevant in zip(found.tolist(), there.tolist(), strict=True):
            if not relevant:
                continue
            recalls.append(sum(hits[:k]) / min(k, relevant))
            at = [sum(hits[: i + 1]) / (i + 1) for i in range(k) if hits[i]]
            precisions.append(sum(at) / min(k, relevant))
            of_r.append(sum(hits[: min(relevant, 12)]) / min(relevant, 12))
        assert result.recall[k] == pytest.approx(np.mean(recalls))
        assert result.average_precision[k] == pytest.approx(np.mean(precisions))
        assert result.r_precision == pytest.approx(np.mean(of_r))
        for name, value in (("map", result.average_precision), ("recall", result.recall)):
            low, high = result.intervals[f"{name}@{k}"]
            assert low < value[k] < high
    assert result.cut == (there > 12).sum() and result.intervals["r_precision"] is not None


def test_what_is_found_wholly_is_1_whatever_k():
    """15 of an artist each: ten places cannot hold 14 mates, which is no fault of the space."""
    vectors = np.repeat(np.eye(4), 15, axis=0)
    artists = groups_of([range(15 * i, 15 * i + 15) for i in range(4)], 60)
    result = retrieval(mates_among(nearest(vectors, k=20), artists), (1, 10, 20))
    assert set(result.recall.values()) == {1} and result.r_precision == 1 and not result.cut
    assert retrieval(mates_among(nearest(vectors, k=10), artists), (1, 10)).cut == 60


def interval_of(values, groups, **settings):
    ((low, high),) = grouped_mean_intervals(values[:, np.newaxis], groups, **settings)
    return low, high


@pytest.mark.slow
def test_intervals_of_groups_hold_the_mean_as_often_as_they_say(rng):
    """Tracks of an artist are found or not together: intervals over tracks hold it too seldom."""
    artist = np.repeat(np.arange(30), 10)
    groups, alone = [np.array([a]) for a in artist], [np.array([i]) for i in range(300)]
    held = np.zeros(2)
    for trial in range(200):
        values = rng.normal(size=30)[artist] + rng.normal(size=300)  # of mean 0
        for i, one in enumerate((groups, alone)):
            low, high = interval_of(values, one, resamples=300, seed=trial)
            held[i] += low < 0 < high
    assert 0.88 <= held[0] / 200 <= 0.99 and held[1] / 200 < 0.7


def test_intervals_of_overlapping_groups_are_not_narrower_than_of_tracks(rng):
    values = rng.normal(size=400)
    many = [rng.choice(80, 20, replace=False) for _ in range(400)]
    low, high = interval_of(values, many)
    expected = 2 * 1.96 * values.std() / 20
    assert 0.9 * expected < high - low < 1.4 * expected
    # A track with all its groups would have a twentieth of the variance.
    weights = np.zeros((400, 80))
    for row, groups in enumerate(many):
        weights[row, groups] = 1 / 20
    drawn = rng.multinomial(80, np.full(80, 1 / 80), 500) @ weights.T
    means = drawn @ values / drawn.sum(axis=1)
    assert np.subtract(*np.percentile(means, [97.5, 2.5])) < 0.4 * expected
    assert interval_of(values, many, seed=1) != (low, high) == interval_of(values, many)
    assert grouped_mean_intervals(values[:2, np.newaxis], [np.array([3])] * 2) is None


def test_tracks_without_mates_are_counted_not_measured(rng):
    found = nearest(rng.normal(size=(6, 3)), k=2)
    result = retrieval(mates_among(found, groups_of([[0, 1], [4]], 6)), (1, 2))
    assert (result.queries, result.left_out) == (2, 4)
    assert set(result.intervals.values()) == {None}  # of one group
    with pytest.raises(EmbeddingsError, match="no track shares a group"):
        retrieval(mates_among(found, groups_of([[4]], 6)), (1,))
    for ks in ([], [0], [3]):
        with pytest.raises(EmbeddingsError, match="between 1 and the 2 neighbours"):
            retrieval(mates_among(found, groups_of([[0, 1]], 6)), ks)


def test_percentiles_are_the_share_of_pairs_that_are_less_alike(rng, monkeypatch):
    vectors = rng.normal(size=(30, 5)) + 1
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [units[i] @ units[j] for i in range(30) for j in range(i)]
    asked = rng.uniform(-1, 1, 40)
    expected = [100 * np.mean([pair < one for pair in pairs]) for one in asked]
    np.testing.assert_allclose(percentiles(asked, pair_similarities(vectors)), expected)
    assert percentiles(np.array([-1.01, 1.01]), pair_similarities(vectors)).tolist() == [0, 100]
    monkeypatch.setattr(module, "PAIRS", 434)
    drawn = pair_similarities(vectors)
    assert len(drawn) == 434 and np.array_equal(drawn, pair_similarities(vectors))
    assert not np.array_equal(drawn, pair_similarities(vectors, seed=1))
    assert drawn.max() < 1 - 1e-9  # of two different tracks
    np.testing.assert_allclose(percentiles(asked, drawn), expected, atol=8)


def test_hubs(rng):
    from scipy.stats import skew

    rows = rng.integers(0, 30, (30, 4))
    found = Neighbours(np.arange(30), rows, np.zeros(rows.shape), 30)
    assert occurrences(found).sum() == 120 and occurrences(found)[3] == (rows == 3).sum()
    assert hubness(found) == pytest.approx(skew(np.bincount(rows.ravel(), minlength=30)))
    ring = np.stack([np.roll(np.arange(30), 1), np.roll(np.arange(30), -1)], 1)
    assert hubness(Neighbours(np.arange(30), ring, np.zeros(ring.shape), 30)) == 0
