"""The pairing against the rules of the paper, written down slowly."""

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.pairs.co_occurrence import BLOCK, PlaylistCoOccurrence
from playlist_pretrain.playlists.groups import TrackGroups

TRACKS = 12
PLAYLISTS = st.lists(st.lists(st.integers(0, TRACKS - 1), unique=True, max_size=TRACKS), max_size=8)
SEEDS = st.integers(0, 2**63 - 1)


def groups_of(playlists, tracks=TRACKS):
    indptr = np.cumsum([0, *map(len, playlists)])
    rows = np.array([row for playlist in playlists for row in playlist], np.int32)
    ids = [f"p{i}" for i in range(len(playlists))]
    return TrackGroups("playlists", indptr, rows, tracks, "key", ids)


def pairs_of(pairing, epoch):
    return [tuple(pair) for block in pairing.epoch(epoch) for pair in block.tolist()]


def outcomes(playlists):
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


@settings(max_examples=100, deadline=None, derandomize=True)
@given(PLAYLISTS, SEEDS, st.integers(0, 1000))
def test_rules_hold_on_any_playlists(playlists, seed, epoch):
    pairing = PlaylistCoOccurrence(groups_of(playlists), seed)
    pairs = pairs_of(pairing, epoch)
    used = [row for pair in pairs for row in pair]
    assert len(used) == len(set(used)), "a track twice in an epoch"
    sets = [set(playlist) for playlist in playlists]
    assert all(any(set(pair) <= group for group in sets) for pair in pairs)
    assert all(len(group - set(used)) < 2 for group in sets), "two unpaired tracks in a group"
    assert pairing.count(epoch) == len(pairs)


@pytest.mark.parametrize(
    "playlists",
    [
        [[0, 1, 2, 3]],
        [[0, 1, 2], [1, 2, 3], [0, 3]],
        [[0, 1, 2, 3, 4], [0, 5]],
    ],
)
def test_every_outcome_has_its_exact_probability(playlists):
    expected = outcomes(playlists)
    assert sum(expected.values()) == 1
    pairing = PlaylistCoOccurrence(groups_of(playlists), 7)
    epochs = 6000
    seen = Counter(frozenset(map(frozenset, pairs_of(pairing, e))) for e in range(epochs))
    assert set(seen) <= set(expected)
    statistic = sum((seen[o] - epochs * p) ** 2 / (epochs * p) for o, p in expected.items())
    freedom = len(expected) - 1
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5, f"chi-square of {freedom}"


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


def test_pairs_of_known_seeds():
    """These may never change: runs are resumed with them, on other machines too."""
    pairing = PlaylistCoOccurrence(groups_of([[0, 1, 2], [2, 3], [0, 1, 4, 5]]), 0)
    assert [pairs_of(pairing, epoch) for epoch in range(4)] == [
        [(2, 3), (4, 5), (1, 0)],
        [(0, 4), (3, 2), (1, 5)],
        [(0, 4), (1, 2)],
        [(0, 1), (3, 2), (5, 4)],
    ]
