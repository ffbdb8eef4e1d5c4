"""Every registered pairing keeps its contract, and each clause of it finds who does not."""

import itertools

import numpy as np
import pytest

from playlist_pretrain.pairs import PAIRINGS, Material
from playlist_pretrain.pairs.co_occurrence import PlaylistCoOccurrence, SimClr
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.testing import ContractError, check_pairing
from playlist_pretrain.testing.pairings import TRACKS, example_material


@pytest.mark.parametrize("name", list(PAIRINGS))
def test_registered_pairings(name):
    check_pairing(PAIRINGS.get(name))
    assert PAIRINGS.get(name)(example_material(), 0).name == name


def blocks_of(change):
    """Pairs that were changed, block by block."""

    def epoch(self, epoch):
        return map(change, PlaylistCoOccurrence.epoch(self, epoch))

    return {"epoch": epoch}


def one_buffer(self, epoch):
    self.buffer = getattr(self, "buffer", np.empty((TRACKS, 2), np.int32))
    for block in PlaylistCoOccurrence.epoch(self, epoch):
        self.buffer[: len(block)] = block
        yield self.buffer[: len(block)]


def shuffled_by(generator):
    def epoch(self, epoch):
        (pairs,) = PlaylistCoOccurrence.epoch(self, 0)
        yield pairs[generator(self, epoch).permutation(len(pairs))]

    return {"epoch": epoch, "count": lambda self, epoch: PlaylistCoOccurrence.count(self, 0)}


def of_all_calls(self, epoch):
    """Each call goes on where the last one stopped."""
    self.calls = getattr(self, "calls", itertools.count())
    return PlaylistCoOccurrence.epoch(self, next(self.calls))


TABLE = np.ones((TRACKS, 4), np.float32)
BROKEN = {
    "name": ({"name": "a,b"}, "name: text without blanks or commas"),
    "y": ({"y": "track"}, "y: one of window, views, vector"),
    "table for windows": ({"table": TABLE}, "table: there where y is 'vector'"),
    "no table": ({"y": "vector"}, "table: there where y is 'vector'"),
    "nothing": ({"epoch": lambda self, epoch: iter(())}, "epoch: yields pairs"),
    "int64": (blocks_of(lambda block: block.astype(np.int64)), "are int32 arrays, not int64"),
    "outside": (blocks_of(lambda block: block + np.int32(TRACKS)), "epoch: rows from 0 to 119"),
    "excluded tracks": (
        blocks_of(lambda block: TRACKS - 1 - block), "epoch: only tracks that may be trained on",
    ),
    "with itself": (blocks_of(lambda block: block[:, [0, 0]]), "anchor and positive are two"),
    "views of two": ({"y": "views"}, "anchor and positive are one track"),
    "count": ({"count": lambda self, epoch: 7}, r"count\(0\): \d+ pairs were made, not 7"),
    "one buffer": ({"epoch": one_buffer}, "not touched afterwards"),
    "expected": ({"expected_pairs": 1.0}, "expected_pairs: a float near"),
    "goes on": ({"epoch": of_all_calls}, "count|equal seeds give equal pairs"),
    "no seed": (shuffled_by(lambda self, epoch: np.random.default_rng()), "equal seeds"),
    "global generator": (
        shuffled_by(lambda self, epoch: np.random.seed(self.seed + epoch) or np.random),
        "global generator is left alone",
    ),
    "epoch ignored": (
        shuffled_by(lambda self, epoch: np.random.default_rng(self.seed)), "another epoch gives",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_pairings(case):
    changes, clause = BROKEN[case]
    broken = type("Broken", (PlaylistCoOccurrence,), changes)
    with pytest.raises(ContractError, match=clause):
        check_pairing(lambda material, seed: broken(material.groups, seed))


def test_a_seed_that_nothing_reads():
    with pytest.raises(ContractError, match="another seed gives other pairs"):
        check_pairing(lambda material, seed: SimClr(np.flatnonzero(material.usable), 0))


def test_a_count_that_is_known_only_after_the_pairs():
    class Broken(SimClr):
        def __init__(self, rows, seed):
            super().__init__(rows, seed)
            self.counts = {}

        def epoch(self, epoch):
            blocks = list(super().epoch(epoch))
            self.counts[epoch] = sum(map(len, blocks))
            return iter(blocks)

        def count(self, epoch):
            return self.counts.get(epoch, 0)

    with pytest.raises(ContractError, match="count: the same from several threads"):
        check_pairing(lambda material, seed: Broken(np.flatnonzero(material.usable), seed))


def test_material_of_ones_own():
    rows = np.arange(400).reshape(100, 4)
    groups = TrackGroups.from_lists("albums", list(rows), tracks=400, collection_key="k")
    check_pairing(PAIRINGS.get("artist_co"), Material.of(groups))
