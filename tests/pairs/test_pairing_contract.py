"""Every registered pairing keeps its contract, and each clause of it finds who does not."""

import dataclasses

import numpy as np
import pytest

from playlist_pretrain.errors import GroupsError
from playlist_pretrain.pairs import PAIRINGS, Material
from playlist_pretrain.pairs.pairings import PlaylistCoOccurrence, SimClr
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.playlists.settings import TableSettings
from playlist_pretrain.testing import ContractError, check_pairing
from playlist_pretrain.testing.pairings import TRACKS, example_material


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n == "playlist_w2v" else n for n in PAIRINGS],
)
def test_registered_pairings(name):
    check_pairing(PAIRINGS.get(name))
    assert PAIRINGS.get(name)(example_material(), 0).name == name
    alone = Material(None, np.ones(9, bool))
    if name == "simclr":
        assert PAIRINGS.get(name)(alone, 0).count(0) == 9
    else:
        with pytest.raises(GroupsError, match=name):
            PAIRINGS.get(name)(alone, 0)


def blocks_of(change):
    """Pairs that were changed, block by block."""

    def epoch(self, epoch):
        return map(change, PlaylistCoOccurrence.epoch(self, epoch))

    return {"epoch": epoch}


def shuffled_by(generator):
    def epoch(self, epoch):
        (pairs,) = PlaylistCoOccurrence.epoch(self, 0)
        yield pairs[generator(self, epoch).permutation(len(pairs))]

    return {"epoch": epoch, "count": lambda self, epoch: PlaylistCoOccurrence.count(self, 0)}


TABLE = np.ones((TRACKS, 4), np.float32)
BROKEN = {
    "name": ({"name": "a,b"}, "name: text without blanks or commas"),
    "no table": ({"y": "vector"}, "table: there where y is 'vector'"),
    "nothing": ({"epoch": lambda self, epoch: iter(())}, "epoch: yields pairs"),
    "outside": (blocks_of(lambda block: block + np.int32(TRACKS)), "epoch: rows from 0 to 119"),
    "excluded tracks": (
        blocks_of(lambda block: TRACKS - 1 - block), "epoch: only tracks that may be trained on",
    ),
    "with itself": (blocks_of(lambda block: block[:, [0, 0]]), "anchor and positive are two"),
    "views of two": ({"y": "views"}, "anchor and positive are one track"),
    "count": ({"count": lambda self, epoch: 7}, r"count\(0\): \d+ pairs were made, not 7"),
    "no seed": (shuffled_by(lambda self, epoch: np.random.default_rng()), "equal seeds"),
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


def test_material_of_ones_own():
    rows = np.arange(400).reshape(100, 4)
    groups = TrackGroups.from_lists("albums", list(rows), tracks=400, collection_key="k")
    check_pairing(PAIRINGS.get("artist_co"), Material.of(groups))


def test_settings_reach_the_tables(tmp_path, caplog):
    caplog.set_level("INFO")
    chosen = TableSettings(max_group_length=10, w2v_size=7)
    material = dataclasses.replace(example_material(), settings=chosen, folder=tmp_path)
    groups = material.groups
    assert PAIRINGS.get("playlist_w2v")(material, 0).table.shape == (TRACKS, 7)
    assert PAIRINGS.get("playlist_tco")(material, 0).top_table.left_out > 0
    told = caplog.messages
    long = int((groups.lengths > 10).sum())
    assert sum(f"{long} groups of more than 10 tracks" in text for text in told) == 2
    without = material.usable.sum() - groups.select(groups.lengths <= 10).covered.sum()
    assert f"{without} tracks are in no group of at most 10 and take no part" in told
    PAIRINGS.get("playlist_w2v")(Material.of(groups), 0)
    without = TRACKS - groups.covered.sum()
    assert caplog.messages[-1] == f"{without} tracks are in no group and take no part"
    assert {path.name[:4] for path in tmp_path.iterdir()} == {"tco-", "w2v-"}
