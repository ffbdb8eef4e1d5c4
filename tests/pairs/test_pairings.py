"""The pairings against the rules of the paper, written down slowly."""

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.pairs.pairings import (
    BLOCK,
    ArtistCoOccurrence,
    PlaylistCoOccurrence,
    PlaylistWord2Vec,
    SimClr,
    TopCoOccurrence,
)
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.playlists.top_table import TopTable, top_table
from playlist_pretrain.playlists.word2vec import TrackVectors

TRACKS = 12
LISTS = st.lists(st.lists(st.integers(0, TRACKS - 1), unique=True, max_size=TRACKS), max_size=8)
SEEDS, EPOCHS = st.integers(0, 2**63 - 1), st.integers(0, 1000)
STEADY = settings(max_examples=100, deadline=None, derandomize=True)


def groups_of(lists, tracks=TRACKS):
    return TrackGroups.from_lists("playlists", lists, tracks=tracks, collection_key="k")


def pairs_of(pairing, epoch):
    return [tuple(pair) for block in pairing.epoch(epoch) for pair in block.tolist()]


def check_chances(seen, expected):
    """Chi-square of counts against probabilities."""
    assert sum(expected.values()) == 1 and set(seen) <= set(expected)
    total, freedom = seen.total(), len(expected) - 1
    statistic = sum((seen[o] - total * p) ** 2 / (total * p) for o, p in expected.items())
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5


def playlist_outcomes(playlists):
    """Exact probability of every set of pairs, by going through all orders and all matchings."""
    chances = Counter()

    def visit(rest, used, pairs, chance):
        if not rest:
            chances[frozenset(pairs)] += chance
            return
        free = [row for row in rest[0] if row not in used]
        orders = list(itertools.permutations(free))
        for order in orders:
            new = [frozenset(order[2 * i : 2 * i + 2]) for i in range(len(order) // 2)]
            visit(rest[1:], used.union(*new), [*pairs, *new], chance / len(orders))

    orders = list(itertools.permutations(playlists))
    for order in orders:
        visit(order, frozenset(), [], Fraction(1, len(orders)))
    return chances


@STEADY
@given(LISTS, SEEDS, EPOCHS)
def test_rules_of_playlists_hold(playlists, seed, epoch):
    pairing = PlaylistCoOccurrence(groups_of(playlists), seed)
    pairs = pairs_of(pairing, epoch)
    used = [row for pair in pairs for row in pair]
    assert len(used) == len(set(used)), "a track twice in an epoch"
    sets = [set(playlist) for playlist in playlists]
    assert all(any(set(pair) <= group for group in sets) for pair in pairs)
    assert all(len(group - set(used)) < 2 for group in sets), "two unpaired tracks in a group"
    assert pairing.count(epoch) == len(pairs)


@pytest.mark.parametrize(
    "playlists", [[[0, 1, 2, 3]], [[0, 1, 2], [1, 2, 3], [0, 3]], [[0, 1, 2, 3, 4], [0, 5]]]
)
def test_every_outcome_of_playlists_has_its_exact_probability(playlists):
    pairing = PlaylistCoOccurrence(groups_of(playlists), 7)
    seen = Counter(frozenset(map(frozenset, pairs_of(pairing, e))) for e in range(6000))
    check_chances(seen, playlist_outcomes(playlists))


def test_pairs_of_a_group_are_spread_over_the_epoch():
    playlists = [range(20 * i, 20 * i + 20) for i in range(100)]
    pairs = pairs_of(PlaylistCoOccurrence(groups_of(playlists, 2000), 0), 0)
    assert len(pairs) == 1000
    neighbours = sum(a[0] // 20 == b[0] // 20 for a, b in itertools.pairwise(pairs))
    assert neighbours < 40  # 9 are expected, 900 if they came group by group


def test_blocks():
    tracks = 2 * BLOCK + 10
    pairing = PlaylistCoOccurrence(groups_of([range(tracks)], tracks), 0)
    blocks = list(pairing.epoch(0))
    assert [block.shape for block in blocks] == [(BLOCK, 2), (5, 2)]
    assert all(block.dtype == np.int32 for block in blocks)
    assert np.array_equal(np.sort(np.concatenate(blocks), axis=None), np.arange(tracks))


@STEADY
@given(LISTS, SEEDS, EPOCHS)
def test_every_artist_has_its_pairs(artists, seed, epoch):
    """⌊n/2⌋ of n tracks, which may repeat; artists without common tracks tell whose a pair is."""
    apart = [[TRACKS * i + track for track in artist] for i, artist in enumerate(artists)]
    pairing = ArtistCoOccurrence(groups_of(apart, TRACKS * max(len(artists), 1)), seed)
    pairs = pairs_of(pairing, epoch)
    assert all(x // TRACKS == y // TRACKS and x != y for x, y in pairs)
    counts = Counter(x // TRACKS for x, _ in pairs)
    assert all(counts[i] == len(artist) // 2 for i, artist in enumerate(artists))
    assert len(pairs) == pairing.count(epoch) == pairing.expected_pairs


def test_partners_and_anchors_of_an_artist_are_uniform():
    pairing = ArtistCoOccurrence(groups_of([range(5)]), 3)
    seen = Counter(pair for epoch in range(6000) for pair in pairs_of(pairing, epoch))
    check_chances(seen, dict.fromkeys(itertools.permutations(range(5), 2), Fraction(1, 20)))


@STEADY
@given(LISTS, st.integers(1, 10), SEEDS, EPOCHS)
def test_a_top_partner_is_among_the_top_and_was_free(playlists, top, seed, epoch):
    table = top_table(groups_of(playlists), top=top)
    pairing = TopCoOccurrence(table, seed)
    pairs, used = pairs_of(pairing, epoch), set()
    for anchor, positive in pairs:
        assert positive in table.rows[anchor]
        assert anchor != positive and not {anchor, positive} & used
        used |= {anchor, positive}
    # Whoever is left when all were visited has no neighbour that is left too, unless that one
    # was taken later than the visit: then it is not left.
    for track in set(range(TRACKS)) - used:
        assert not set(table.rows[track].tolist()) - used - {-1}
    assert pairing.count(epoch) == len(pairs)
    assert pairs == pairs_of(TopCoOccurrence(table, seed), epoch)


def top_outcomes(table):
    """Exact probability of every set of (anchor, positive)."""
    tracks = [t for t in range(len(table.rows)) if table.rows[t, 0] >= 0]
    chances = Counter()

    def visit(rest, free, pairs, chance):
        if not rest:
            chances[frozenset(pairs)] += chance
            return
        anchor, *rest = rest
        near = [other for other in table.rows[anchor].tolist() if other in free]
        if anchor not in free or not near:
            visit(rest, free, pairs, chance)
            return
        for other in near:
            visit(rest, free - {anchor, other}, [*pairs, (anchor, other)], chance / len(near))

    orders = list(itertools.permutations(tracks))
    for order in orders:
        visit(list(order), frozenset(tracks), [], Fraction(1, len(orders)))
    return chances


def test_every_outcome_of_a_top_table_has_its_exact_probability():
    table = top_table(groups_of([[0, 1, 2], [1, 2, 3], [3, 4], [0, 4], [3, 4]], 5), top=2)
    pairing = TopCoOccurrence(table, 3)
    seen = Counter(frozenset(pairs_of(pairing, epoch)) for epoch in range(8_000))
    check_chances(seen, top_outcomes(table))


@STEADY
@given(st.sets(st.integers(0, 500)), SEEDS, EPOCHS)
def test_every_row_once_with_itself(rows, seed, epoch):
    pairing = SimClr(np.array(sorted(rows), np.int64), seed)
    pairs = pairs_of(pairing, epoch)
    assert sorted(pairs) == [(row, row) for row in sorted(rows)]
    assert len(pairs) == pairing.count(epoch) == pairing.expected_pairs


def test_tracks_without_a_vector_take_no_part(rng):
    vectors = rng.normal(size=(3, 4)).astype(np.float32)
    pairing = PlaylistWord2Vec(TrackVectors(np.array([1, 4, 5], np.int32), vectors, 0), 7, 0)
    assert sorted(pairs_of(pairing, 0)) == [(1, 1), (4, 4), (5, 5)]
    np.testing.assert_array_equal(pairing.table[[1, 4, 5]], vectors)
    assert pairing.table.shape == (7, 4) and not pairing.table[[0, 2, 3, 6]].any()


def test_pairs_of_known_seeds():
    """These may never change: runs are resumed with them, on other machines too."""

    def first(pairing):
        return [pairs_of(pairing, epoch) for epoch in range(4)]

    groups = groups_of([[0, 1, 2], [2, 3], [0, 1, 4, 5]])
    assert first(PlaylistCoOccurrence(groups, 0)) == [
        [(2, 3), (4, 5), (1, 0)],
        [(0, 4), (3, 2), (1, 5)],
        [(0, 4), (1, 2)],
        [(0, 1), (3, 2), (5, 4)],
    ]
    assert first(ArtistCoOccurrence(groups, 0))[:3] == [
        [(1, 4), (0, 1), (3, 2), (0, 5)],
        [(4, 0), (3, 2), (5, 1), (2, 0)],
        [(0, 1), (2, 0), (5, 4), (2, 3)],
    ]
    rows = np.array([[1, 2], [0, 2], [0, 1], [4, -1], [3, 5], [4, -1]], np.int32)
    assert first(TopCoOccurrence(TopTable(rows, (rows >= 0).astype(np.int32), 0), 0)) == [
        [(5, 4), (2, 0)],
        [(0, 1), (5, 4)],
        [(1, 0), (4, 5)],
        [(4, 5), (2, 0)],
    ]
    orders = [[row for row, _ in pairs] for pairs in first(SimClr(np.arange(5), 0))[:3]]
    assert orders == [[1, 3, 2, 0, 4], [0, 3, 4, 2, 1], [3, 2, 4, 1, 0]]
    vectors = TrackVectors(np.arange(5, dtype=np.int32), np.ones((5, 2), np.float32), 0)
    others = [[row for row, _ in pairs] for pairs in first(PlaylistWord2Vec(vectors, 5, 0))[:3]]
    assert others != orders
