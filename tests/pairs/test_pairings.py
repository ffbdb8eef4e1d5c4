"""What holds for every pairing of the registry, beside its contract."""

import numpy as np
import pytest

from playlist_pretrain.errors import GroupsError
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


def test_without_groups_only_simclr_works(name):
    material = Material(None, np.ones(9, bool))
    if name == "simclr":
        assert PAIRINGS.get(name)(material, 0).count(0) == 9
    else:
        with pytest.raises(GroupsError, match=name):
            PAIRINGS.get(name)(material, 0)


def test_settings_reach_the_tables(groups, tmp_path, caplog):
    caplog.set_level("INFO")
    chosen = TableSettings(max_group_length=10, w2v_size=7)
    ids = [f"t{row}" for row in range(TRACKS)]
    material = Material(groups, np.ones(TRACKS, bool), chosen, tmp_path, ids)
    assert PAIRINGS.get("playlist_w2v")(material, 0).table.shape == (TRACKS, 7)
    assert PAIRINGS.get("playlist_tco")(material, 0).top_table.left_out > 0
    told = caplog.messages
    long = int((groups.lengths > 10).sum())
    assert sum(f"{long} groups of more than 10 tracks" in text for text in told) == 2
    covered = groups.select(groups.lengths <= 10).covered.sum()
    assert f"{TRACKS - covered} tracks are in no group of at most 10 and take no part" in told
    PAIRINGS.get("playlist_w2v")(Material.of(groups), 0)
    without = TRACKS - groups.covered.sum()
    assert caplog.messages[-1] == f"{without} tracks are in no group and take no part"
    assert {path.name[:4] for path in tmp_path.iterdir()} == {"tco-", "w2v-"}
