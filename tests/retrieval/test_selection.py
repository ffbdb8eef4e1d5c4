"""Rules on what is found: caps, folding, away from tracks, song paths, against loops."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.evaluation.neighbours import ExactSearch, centre, unit_vectors
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.retrieval import selection as module
from playlist_pretrain.retrieval.selection import SAME, Likeness, away_from, choose, song_path

NOTHING = np.empty(0, np.int64)
few = settings(deadline=None, max_examples=60)


@st.composite
def spaces(draw, least=4, most=14, dim=3):
    """Vectors in whole numbers, some of them twice, so that distances tie."""
    tracks = draw(st.integers(least, most))
    values = st.integers(-4, 4)
    vectors = draw(arrays(np.float64, (tracks, dim), elements=values))
    vectors[~vectors.any(axis=1), 0] = 1
    return vectors


def groups_of(lists, tracks, name):
    return TrackGroups.from_lists(name, lists, tracks=tracks, collection_key="")


def ranked_by_loop(vectors, query, left_out=()):
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (
        ExactSearch(vectors)
        .of_vectors(query[np.newaxis], len(units) - len(set(left_out)), left_out)[0][0]
        .tolist()
    )


@few
@given(st.data())
def test_caps_are_kept_and_what_is_taken_is_the_nearest_that_keeps_them(data):
    vectors = data.draw(spaces())
    tracks = len(vectors)
    lists = [
        data.draw(st.lists(st.sets(st.integers(0, tracks - 1)), min_size=1, max_size=5))
        for _ in range(2)
    ]
    caps = [(groups_of(one, tracks, "g"), data.draw(st.integers(1, 3))) for one in lists]
    k = data.draw(st.integers(1, tracks - 1))
    query, left_out = vectors[0], np.array([0])
    found = choose(ExactSearch(vectors), query, k, left_out, caps=caps)
    taken = []
    for row in ranked_by_loop(vectors, query, [0]):
        fits = all(
            sum(other in one for other in taken) < cap
            for groups, (_, cap) in zip(lists, caps, strict=True)
            for one in groups
            if row in one
        )
        if fits and len(taken) < k:
            taken.append(row)
    assert found.rows.tolist() == taken
    assert (np.diff(found.similarities) <= 1e-12).all()
    for groups, (_, cap) in zip(lists, caps, strict=True):
        assert all(len(one & set(taken)) <= cap for one in groups)


def test_all_are_looked_at_before_fewer_are_given(rng, monkeypatch):
    monkeypatch.setattr(module, "_FIRST_LOOK", 1)
    vectors = np.concatenate([np.ones((200, 3)) + 0.01 * rng.normal(size=(200, 3)), -np.eye(3)])
    one_artist = [(groups_of([range(200)], 203, "artists"), 2)]
    found = choose(ExactSearch(vectors), np.ones(3), 5, NOTHING, caps=one_artist)
    assert found.rows[2:].tolist() == [200, 201, 202] and found.capped == 198
    assert len(choose(ExactSearch(vectors), np.ones(3), 9, NOTHING, caps=one_artist).rows) == 5
    with pytest.raises(EmbeddingsError, match="k must be between 1 and 203"):
        choose(ExactSearch(vectors), np.ones(3), 204, NOTHING, caps=one_artist)


@few
@given(st.data())
def test_folding_leaves_no_two_that_are_the_same_and_changes_nothing_twice(data):
    vectors = np.repeat(data.draw(spaces(6, 8, dim=4)), data.draw(st.integers(1, 3)), axis=0)
    noise = np.random.default_rng(0).normal(size=vectors.shape)
    vectors = vectors + 0.01 * noise
    left_out = np.array([0])
    k = data.draw(st.integers(1, len(vectors) - 1))
    found = choose(ExactSearch(vectors), vectors[0], k, left_out, fold=True)
    likeness, rows = Likeness(vectors), [0, *found.rows.tolist()]
    for place, row in enumerate(rows):
        others = rows[:place] + rows[place + 1 :]
        assert not len(others) or likeness(row, others).max() < SAME
    for row, kept in found.folded:
        assert kept in rows and likeness(row, [kept])[0] >= SAME and row not in rows
    if len(found.rows) < k:  # every other one is the same as one of these
        assert len(rows) + len(found.folded) == len(vectors)
    # What was folded taken away, nothing more is.
    gone = [row for row, _ in found.folded]
    again = choose(
        ExactSearch(vectors), vectors[0], len(found.rows), np.array([0, *gone]), fold=True,
        asked=left_out,
    )  # fmt: skip
    assert again.rows.tolist() == found.rows.tolist() and again.folded == []


def test_a_copy_is_folded_and_named_whatever_all_tracks_share(rng):
    vectors = rng.normal(size=(40, 16)) + 30
    vectors[7] = vectors[3]
    vectors[9] = vectors[0] + 1e-3
    units = unit_vectors(vectors)
    assert units[1] @ units[2] > 0.99  # all are alike as they are
    search = ExactSearch(vectors)
    plain = choose(search, vectors[0], 39, np.array([0]))
    assert sorted(plain.rows.tolist()) == list(range(1, 40)) and plain.folded == []
    found = choose(search, vectors[0], 37, np.array([0]), fold=True)
    assert found.folded == [(9, 0), (7, 3)]
    assert [row for row in plain.rows if row not in (7, 9)] == found.rows.tolist()


@few
@given(st.data())
def test_less_of_what_is_unwanted(data):
    vectors = data.draw(spaces(5)) + np.array([3, 0, 0])
    vectors[~vectors.any(axis=1), 1] = 1
    query, unwanted = vectors[0], centre(vectors[1:2])
    left_out = np.array([0, 1])
    if np.allclose(*unit_vectors(np.stack([query, unwanted]))):
        with pytest.raises(EmbeddingsError, match="--less names what is asked for"):
            away_from(query, unwanted)
        return
    turned = away_from(query, unwanted)
    q, u, t = unit_vectors(np.stack([query, unwanted, turned]))
    np.testing.assert_allclose(turned, q - 0.5 * u)
    assert t @ u < q @ u or q @ u < -1 + 1e-12  # nothing is farther away
    k = data.draw(st.integers(1, len(vectors) - 2))
    units, search = unit_vectors(vectors), ExactSearch(vectors)
    before, after = (choose(search, one, k, left_out).rows for one in (query, turned))
    assert (units[after] @ u).mean() <= (units[before] @ u).mean() + 1e-9


def distances_of(vectors):
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.maximum(1 - units @ units.T, 0)


def all_paths(tracks, first, last, most):
    others = [row for row in range(tracks) if row not in (first, last)]
    for between in range(most):
        for rows in itertools.permutations(others, between):
            yield [first, *rows, last]


def steps_of(distances, path):
    return [distances[a, b] for a, b in itertools.pairwise(path)]


@settings(deadline=None, max_examples=80)
@given(spaces(3, 7), st.integers(1, 6))
def test_a_path_has_the_smallest_largest_step_there_is(vectors, steps):
    distances, last = distances_of(vectors), len(vectors) - 1
    path = song_path(vectors, 0, last, steps).tolist()
    assert path[0] == 0 and path[-1] == last and len(set(path)) == len(path) <= steps + 1
    largest = max(steps_of(distances, path))
    every = list(all_paths(len(vectors), 0, last, steps))
    best = min(max(steps_of(distances, one)) for one in every)
    assert largest == pytest.approx(best, abs=1e-8)
    fitting = [one for one in every if max(steps_of(distances, one)) <= best + 1e-9]
    least = min(sum(steps_of(distances, one)) for one in fitting)
    short = [one for one in fitting if sum(steps_of(distances, one)) <= least + 1e-9]
    if min(map(len, short)) == steps + 1:  # nothing is put in between
        assert sum(steps_of(distances, path)) == pytest.approx(least, abs=1e-8)
    if len(path) <= steps:  # no track fits anywhere
        for row in set(range(len(vectors))) - set(path):
            for a, b in itertools.pairwise(path):
                assert max(distances[a, row], distances[row, b]) > best


def test_a_path_goes_along_what_lies_between(monkeypatch):
    """Tracks on an arc: as many steps as asked for, and even ones."""
    angles = np.linspace(0, 2, 101)
    arc = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    vectors = np.concatenate([arc, [[0, 0, 1], [0.1, 0.1, 1]]])
    for block in (1, 1 << 24):
        monkeypatch.setattr(module, "BLOCK_VALUES", block)
        assert song_path(vectors, 0, 100, 20).tolist() == list(range(0, 101, 5))
        assert song_path(vectors, 100, 0, 4).tolist() == [100, 75, 50, 25, 0]
    assert song_path(vectors, 0, 100, 1).tolist() == [0, 100]
    assert song_path(vectors, 0, 100, 300).tolist() == list(range(101))


def test_copies_fill_a_path_where_nothing_lies_between():
    vectors = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1], [-1, 0.0]])
    path = song_path(vectors, 0, 2, 3).tolist()
    assert sorted(path) == [0, 1, 2, 3] and (path[0], path[-1]) == (0, 2)


def test_paths_that_are_refused(rng, monkeypatch):
    vectors = rng.normal(size=(9, 3))
    with pytest.raises(EmbeddingsError, match="from a track to itself"):
        song_path(vectors, 4, 4, 3)
    monkeypatch.setattr(module, "LARGEST_PATH", 8)
    with pytest.raises(EmbeddingsError, match="9 tracks; a path is looked for among 8 at most"):
        song_path(vectors, 0, 4, 3)


@pytest.mark.slow
def test_a_path_among_ten_thousand_tracks_takes_seconds(rng):
    cluster = rng.normal(size=(200, 64))
    vectors = cluster[rng.integers(200, size=10_000)] + 0.7 * rng.normal(size=(10_000, 64))
    began = time.monotonic()
    path = song_path(vectors, 0, 1, 20)
    assert len(path) == len(set(path.tolist())) == 21
    assert time.monotonic() - began < 240  # a machine may be busy
