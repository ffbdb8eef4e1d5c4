"""Top Co-Occurrence against the rules of the paper."""

from collections import Counter
from fractions import Fraction
from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.pairs.co_occurrence import TopCoOccurrence
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.playlists.top_table import TopTable, top_table

TRACKS = 16
PLAYLISTS = st.lists(st.lists(st.integers(0, TRACKS - 1), unique=True, max_size=TRACKS), max_size=8)


def table_of(playlists, tracks=TRACKS, top=10):
    groups = TrackGroups.from_lists("playlists", playlists, tracks=tracks, collection_key="k")
    return top_table(groups, top=top)


def pairs_of(pairing, epoch):
    return [tuple(pair) for block in pairing.epoch(epoch) for pair in block.tolist()]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(PLAYLISTS, st.integers(1, 10), st.integers(0, 2**63 - 1), st.integers(0, 1000))
def test_the_partner_is_among_the_top_and_was_free(playlists, top, seed, epoch):
    table = table_of(playlists, top=top)
    pairing = TopCoOccurrence(table, seed)
    pairs = pairs_of(pairing, epoch)
    used = set()
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


def outcomes(table):
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

    orders = list(permutations(tracks))
    for order in orders:
        visit(list(order), frozenset(tracks), [], Fraction(1, len(orders)))
    return chances


def test_every_outcome_has_its_exact_probability():
    table = table_of([[0, 1, 2], [1, 2, 3], [3, 4], [0, 4], [3, 4]], tracks=5, top=2)
    expected = outcomes(table)
    assert sum(expected.values()) == 1
    pairing, epochs = TopCoOccurrence(table, 3), 8_000
    seen = Counter(frozenset(pairs_of(pairing, epoch)) for epoch in range(epochs))
    assert set(seen) <= set(expected)
    statistic = sum((seen[o] - epochs * p) ** 2 / (epochs * p) for o, p in expected.items())
    freedom = len(expected) - 1
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5


def test_pairs_of_known_seeds():
    """These may never change: runs are resumed with them, on other machines too."""
    rows = np.array([[1, 2], [0, 2], [0, 1], [4, -1], [3, 5], [4, -1]], np.int32)
    pairing = TopCoOccurrence(TopTable(rows, (rows >= 0).astype(np.int32), 0), 0)
    assert [pairs_of(pairing, epoch) for epoch in range(4)] == [
        [(5, 4), (2, 0)],
        [(0, 1), (5, 4)],
        [(1, 0), (4, 5)],
        [(4, 5), (2, 0)],
    ]
