"""Every pairing from groups to a trained model, on a small collection."""

import logging
import shutil

import numpy as np
import pytest

from playlist_pretrain.cli import match_playlists as make
from playlist_pretrain.cli import pretrain
from playlist_pretrain.errors import GroupsError
from playlist_pretrain.models.views import MixedViews
from playlist_pretrain.pairs import PAIRINGS
from playlist_pretrain.pairs.dataset import step_dataset
from playlist_pretrain.playlists.groups import TrackGroups, groups_path, load_groups, split_groups
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.training import pretrain as training
from playlist_pretrain.training.pretrain_data import settle
from playlist_pretrain.training.recipes import DEFAULT_GROUPS, PretrainRecipe


@pytest.fixture
def world(small_world, tmp_path):
    """A copy of the small world that a test may change."""
    return shutil.copytree(small_world, tmp_path / "world")


def recipe(world, pairs, **options):
    settings = {"collection": str(world), "pairs": pairs, "frames": 16, "width": 0.05,
                "batch": 6, "epochs": 2, "warmup_steps": 2, **options}  # fmt: skip
    return PretrainRecipe(**settings)


@pytest.mark.parametrize("pairs", list(PAIRINGS))
def test_held_out_and_short_tracks_take_no_part(pairs, world, tmp_path, caplog):
    excluded = tmp_path / "excluded.txt"
    excluded.write_text("track/0003\ntrack/0004\n")
    caplog.set_level("INFO")
    settled, data = settle(recipe(world, pairs, exclude=str(excluded)))
    assert settled.groups == DEFAULT_GROUPS.get(pairs, "playlists")
    rows = np.concatenate([data.stream.rows_of(step) for step in range(settled.epochs)])
    assert not np.isin(rows, [3, 4, 58, 59]).any()
    assert "2 tracks are excluded" in caplog.text
    assert data.probe_pairs is None and "no retrieval probe: it needs 20 pairs" in caplog.text


@pytest.mark.parametrize("pairs", ["playlist_co", "playlist_tco", "playlist_w2v", "simclr",
                                   "artist_co,playlist_co"])  # fmt: skip
def test_no_pairing_trains_on_what_is_held_out(pairs, probed_world, caplog):
    caplog.set_level("INFO")
    _, data = settle(recipe(probed_world, pairs, probe_share=0.25))
    held_out = data.probe_pairs.rows
    assert len(held_out) == 40 and data.probe_pairs.pairs == 20
    assert (held_out.reshape(-1, 2) // 4 == held_out[::2, None] // 4).all()  # two of an album
    for one in data.stream.pairings:
        trained = np.concatenate([*one.epoch(0), *one.epoch(1)])
        assert not np.isin(trained, held_out).any() and len(np.unique(trained)) > 60
    assert "20 pairs of tracks are held out of training" in caplog.text


def test_tables_know_nothing_of_held_out_tracks(probed_world):
    """Tracks that are kept for the probe may not teach through a table either."""
    collection = Collection.open(probed_world)
    split = split_groups(
        load_groups(collection, "playlists"), collection, frames=16, probe_share=0.25
    )
    assert len(split.held_out) == 20
    _, data = settle(recipe(probed_world, "playlist_tco", probe_share=0.25))
    table = data.stream.pairings[0].top_table
    assert (table.rows[split.held_out.pairs] < 0).all()
    assert not np.isin(split.held_out.pairs, table.rows).any()


def test_tables_are_made_once_for_all_seeds(world, tmp_path):
    for pairs, pattern in (("playlist_tco", "tco-*"), ("playlist_w2v", "w2v-*.bin")):
        for seed in (0, 1):
            settle(recipe(world, pairs, seed=seed))
        assert len(list(world.glob(pattern))) == 1
        excluded = tmp_path / "excluded.txt"
        excluded.write_text("track/0003\n")
        settle(recipe(world, pairs, exclude=str(excluded)))
        assert len(list(world.glob(pattern))) == 2


def test_the_views_of_a_run_are_mixes_with_its_seed(world):
    settled, data = settle(recipe(world, "simclr", seed=3))
    model = training.build_model(settled, data)
    windows = next(iter(step_dataset(data.reader, data.stream, seed=3, first=0, last=1)))
    views = model.views(windows, 0)
    expected = MixedViews(data.collection.front_end, 3)(windows, 0)
    for view, same in zip(views, expected, strict=True):
        np.testing.assert_array_equal(view, same)
        assert np.abs(view - windows.numpy()).max() > 0.1
    assert model.y_tower is None


def test_tables_made_ahead_are_those_that_training_looks_for(
    make_collection, tmp_path, rng, caplog
):
    collection = make_collection(tmp_path / "c", [100] * 28 + [5] * 2, front_end="vggish")
    world, key = collection.path, collection.content_key
    lists = [rng.choice(30, n, replace=False) for n in rng.integers(3, 9, 40)]
    groups = TrackGroups.from_lists("playlists", lists, tracks=30, collection_key=key)
    groups.save(groups_path(world, "playlists"))
    excluded = tmp_path / "excluded.txt"
    excluded.write_text("track/0003\n")
    shared = {"max_group_length": 6, "probe_share": 0.2, "exclude": str(excluded)}
    words = ["--max-group-length", "6", "--w2v-size", "8", "--probe-share", "0.2"]
    words += ["--exclude", str(excluded), "--collection", str(world), "--tables", "tco,w2v"]
    assert make.main([*words, "--quiet"]) == 0
    before = {path: path.read_bytes() for path in world.iterdir()}
    for pairs, options in (("playlist_tco", {}), ("playlist_w2v", {"w2v_size": 8})):
        caplog.clear()
        logging.getLogger("playlist_pretrain").propagate = True  # main has taken it
        caplog.set_level("INFO", "playlist_pretrain")
        settle(recipe(world, pairs, frames=None, batch=2, **shared, **options))
        assert ": read" in caplog.text and "are left out of" in caplog.text
    assert {path: path.read_bytes() for path in world.iterdir()} == before


def test_simclr_does_not_need_the_groups_that_are_there(make_collection, tmp_path):
    collection = make_collection(tmp_path / "c", [40] * 8 + [5] * 4, front_end="vggish")
    short = TrackGroups.from_lists(
        "playlists", [[8, 9], [9, 10, 0]], tracks=12, collection_key=collection.content_key
    )
    short.save(groups_path(collection.path, "playlists"))
    _, data = settle(recipe(collection.path, "simclr"))
    assert sorted(np.concatenate(list(data.stream.pairings[0].epoch(0)))[:, 0]) == list(range(8))
    assert data.probe_pairs is None
    for pairs in ("playlist_co", "playlist_tco", "playlist_w2v"):
        with pytest.raises(GroupsError, match="no group of 'playlists' has two tracks"):
            settle(recipe(collection.path, pairs))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pairs", "artist_co"], ["no groups 'artists'", "--name artists"]),
        (["--pairs", "simclr", "--mask-false-negatives"],
         ["--mask-false-negatives", "no groups 'playlists'"]),
    ],
)  # fmt: skip
def test_groups_that_are_missing_are_named_with_the_command(
    world, arguments, capsys, options, words
):
    for file in world.glob("groups-*"):
        file.unlink()
    arguments[arguments.index("--collection") + 1] = str(world)
    assert pretrain.main([*arguments, *options]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words)
