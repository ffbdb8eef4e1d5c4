"""Artist Co-Occurrence: ⌊n/2⌋ random pairs of every artist, repetitions of a track allowed."""

from collections import Counter
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.pairs.co_occurrence import ArtistCoOccurrence
from playlist_pretrain.playlists.groups import TrackGroups

TRACKS = 12
ARTISTS = st.lists(st.lists(st.integers(0, TRACKS - 1), unique=True, max_size=9), max_size=8)


def groups_of(artists, tracks=TRACKS):
    return TrackGroups.from_lists("artists", artists, tracks=tracks, collection_key="k")


def pairs_of(pairing, epoch):
    return [tuple(pair) for block in pairing.epoch(epoch) for pair in block.tolist()]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(ARTISTS, st.integers(0, 2**63 - 1), st.integers(0, 1000))
def test_an_epoch_has_those_pairs_of_every_artist(artists, seed, epoch):
    """Artists without common tracks tell which artist a pair is of."""
    apart = [[TRACKS * i + track for track in artist] for i, artist in enumerate(artists)]
    pairing = ArtistCoOccurrence(groups_of(apart, TRACKS * max(len(artists), 1)), seed)
    pairs = pairs_of(pairing, epoch)
    assert all(x // TRACKS == y // TRACKS and x != y for x, y in pairs)
    counts = Counter(x // TRACKS for x, _ in pairs)
    assert all(counts[i] == len(artist) // 2 for i, artist in enumerate(artists))
    assert len(pairs) == pairing.count(epoch) == pairing.expected_pairs


def test_partners_and_anchors_are_uniform():
    tracks, epochs = 5, 6000
    pairing = ArtistCoOccurrence(groups_of([range(tracks)]), 3)
    seen = Counter(pair for epoch in range(epochs) for pair in pairs_of(pairing, epoch))
    cells = list(permutations(range(tracks), 2))
    each = 2 * epochs / len(cells)
    assert set(seen) == set(cells)
    statistic = sum((seen[cell] - each) ** 2 / each for cell in cells)
    freedom = len(cells) - 1
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5


def test_pairs_of_known_seeds():
    """These may never change: runs are resumed with them, on other machines too."""
    pairing = ArtistCoOccurrence(groups_of([[0, 1, 2], [2, 3], [0, 1, 4, 5]], 6), 0)
    assert [pairs_of(pairing, epoch) for epoch in range(3)] == [
        [(1, 4), (0, 1), (3, 2), (0, 5)],
        [(4, 0), (3, 2), (5, 1), (2, 0)],
        [(0, 1), (2, 0), (5, 4), (2, 3)],
    ]
