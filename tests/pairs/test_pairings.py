"""What holds for every pairing of the registry."""

import numpy as np
import pytest

from playlist_pretrain.errors import GroupsError, RecipeError
from playlist_pretrain.pairs import PAIRINGS, Material
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.playlists.settings import TableSettings

TRACKS = 120


@pytest.fixture(params=list(PAIRINGS))
def name(request):
    return request.param


@pytest.fixture
def groups(rng):
    """80 groups with a long tail; the last tracks are in none."""
    weights = 1 / np.arange(1, TRACKS - 9)
    lists = [
        rng.choice(TRACKS - 10, 2 + length, replace=False, p=weights / weights.sum())
        for length in np.minimum(rng.geometric(0.1, 80), 50)
    ]
    return TrackGroups.from_lists("playlists", lists, tracks=TRACKS, collection_key="k")


def pairs_of(pairing, epoch):
    return np.concatenate(list(pairing.epoch(epoch)))


def test_contract(name, groups):
    pairing = PAIRINGS.get(name)(Material.of(groups), 11)
    assert pairing.name == name
    assert pairing.y in ("window", "views", "vector")
    assert (pairing.y == "vector") == hasattr(pairing, "table")
    counts = []
    for epoch in (1, 0, 1, 2):
        blocks = list(pairing.epoch(epoch))
        pairs = np.concatenate(blocks)
        assert pairs.dtype == np.int32 and pairs.shape[1] == 2 and min(map(len, blocks)) >= 1
        assert pairs.min() >= 0 and pairs.max() < TRACKS
        assert len(pairs) == pairing.count(epoch)
        assert (pairing.y == "window") == bool(np.all(pairs[:, 0] != pairs[:, 1]))
        counts.append(len(pairs))
    assert min(counts) * 0.8 <= pairing.expected_pairs <= max(counts) * 1.2


def test_equal_seeds_agree_in_any_order_and_epochs_and_seeds_differ(name, groups):
    one, other = (PAIRINGS.get(name)(Material.of(groups), 11) for _ in range(2))
    for epoch in (3, 0, 1):
        pairs_of(other, epoch)
    for epoch in (0, 1):
        np.testing.assert_array_equal(pairs_of(one, epoch), pairs_of(other, epoch))
    different = PAIRINGS.get(name)(Material.of(groups), 12)
    assert not np.array_equal(pairs_of(one, 0)[:20], pairs_of(one, 1)[:20])
    assert not np.array_equal(pairs_of(one, 0)[:20], pairs_of(different, 0)[:20])


def test_what_is_given_out_is_not_touched_afterwards(name, groups):
    pairing = PAIRINGS.get(name)(Material.of(groups), 0)
    blocks = list(pairing.epoch(0))
    copies = [block.copy() for block in blocks]
    list(pairing.epoch(1))
    for block, copy in zip(blocks, copies, strict=True):
        np.testing.assert_array_equal(block, copy)


def test_pairs_are_of_one_group(name, groups):
    together = np.zeros((TRACKS, TRACKS), bool)
    for i in range(len(groups)):
        together[np.ix_(groups.group(i), groups.group(i))] = True
    pairing = PAIRINGS.get(name)(Material.of(groups), 0)
    for epoch in range(3):
        x, y = pairs_of(pairing, epoch).T
        assert pairing.y == "views" or together[x, y].all()


def test_without_groups_only_simclr_works(name):
    material = Material(None, np.ones(9, bool))
    if name == "simclr":
        assert PAIRINGS.get(name)(material, 0).count(0) == 9
    else:
        with pytest.raises(GroupsError, match=name):
            PAIRINGS.get(name)(material, 0)


def test_settings_reach_the_tables(groups, tmp_path):
    told = []
    settings = TableSettings(max_group_length=10, w2v_size=7)
    ids = [f"t{row}" for row in range(TRACKS)]
    material = Material(groups, np.ones(TRACKS, bool), settings, tmp_path, ids, told.append)
    assert PAIRINGS.get("playlist_w2v")(material, 0).table.shape == (TRACKS, 7)
    assert PAIRINGS.get("playlist_tco")(material, 0).top_table.left_out > 0
    long = int((groups.lengths > 10).sum())
    assert sum(f"{long} groups of more than 10 tracks" in text for text in told) == 2
    assert any("are in no group and take no part" in text for text in told)
    assert {path.name[:4] for path in tmp_path.iterdir()} == {"tco-", "w2v-"}


def test_unknown_pairing_lists_those_there_are():
    with pytest.raises(RecipeError, match=r"'tracks'.*playlist_co"):
        PAIRINGS.get("tracks")
