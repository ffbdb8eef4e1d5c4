"""Objectives beyond the paper: whole runs, and runs that go on."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.cli import pretrain
from playlist_pretrain.models.nt_xent import chance_loss
from playlist_pretrain.pairs.dataset import step_dataset
from playlist_pretrain.playlists.groups import TrackGroups, groups_path
from playlist_pretrain.runs import Run
from playlist_pretrain.training.engine import read_history
from playlist_pretrain.training.pretrain import COLUMNS
from playlist_pretrain.training.pretrain_data import settle
from playlist_pretrain.training.recipes import PretrainRecipe

ALL = ["--learnable-temperature", "--hard-negatives", "0.5", "--mask-false-negatives"]


@pytest.mark.long
def test_resumes_to_the_same_weights_history_and_model(arguments, resumed, run_whole, assert_same):
    pairs = "simclr,artist_co,playlist_w2v"
    options = ["--pairs", pairs, "--pair-weights", "1,2,1", "--micro-batch", "3", *ALL]
    arguments = [*arguments, *options]
    assert_same(resumed(arguments, stop_at=5), run_whole(arguments))


@pytest.mark.slow
def test_a_mask_is_spoken_of_and_lowers_chance_and_a_learned_temperature_moves(arguments, capsys):
    options = ["--mask-false-negatives", "--learnable-temperature", "--temperature", "0.2"]
    assert pretrain.main([*(a for a in arguments if a != "--quiet"), *options]) == 0
    told = capsys.readouterr().out
    share = float(re.search(r"([\d.]+)% of the negatives of the first batch", told).group(1))
    assert 0 < share < 100
    run = Run(arguments[arguments.index("--out") + 1])
    assert run.summary["chance_loss"] < chance_loss(6)
    assert run.summary["loss"] < 1.5 * run.summary["chance_loss"]
    found = [float(row["temperature"]) for row in read_history(run.history, COLUMNS)]
    assert len(set(found)) > 1 and found[0] == pytest.approx(0.2, rel=0.05)


def test_pairings_together_have_their_own_groups_and_the_shortest_epoch(small_world, caplog):
    names = ("playlist_w2v", "artist_co", "playlist_co", "simclr")
    caplog.set_level("INFO")
    settings = {"collection": str(small_world), "frames": 16, "width": 0.05, "batch": 6,
                "epochs": 2, "mask_false_negatives": True}  # fmt: skip
    recipe, data = settle(PretrainRecipe(pairs=" , ".join(names), **settings))
    assert recipe.pairs == ",".join(names) and recipe.groups == "playlists,artists"
    alone = [settle(PretrainRecipe(pairs=name, **settings))[1] for name in names]
    fewest = min(one.stream.steps_per_epoch for one in alone)
    assert data.stream.steps_per_epoch == data.facts["steps_per_epoch"] == fewest
    assert max(one.stream.steps_per_epoch for one in alone) > fewest
    parts = np.split(data.stream.rows_of(fewest), len(names))
    for rows, one in zip(parts, alone, strict=True):
        np.testing.assert_array_equal(rows, one.stream.rows_of(one.stream.steps_per_epoch))
    assert data.chance == pytest.approx(np.mean([one.chance for one in alone]), rel=0.2)
    assert data.facts["groups"] == {
        "playlists": alone[0].facts["groups"], "artists": alone[1].facts["groups"]
    }  # fmt: skip
    assert data.facts["vectors"] == alone[0].facts["vectors"]
    (element,) = step_dataset(data.reader, data.stream, seed=3, first=1, last=2)
    for k, pairing in enumerate(data.stream.pairings):
        part = dataclasses.replace(data.stream, pairings=(pairing,))
        (wanted,) = step_dataset(data.reader, part, seed=3 + k, first=1, last=2)
        tf.nest.map_structure(np.testing.assert_array_equal, element[k], wanted)


def test_pairings_together_hold_out_what_one_of_playlists_does(probed_world):
    settings = {"collection": str(probed_world), "frames": 16, "width": 0.05, "batch": 6,
                "epochs": 1, "probe_share": 0.25}  # fmt: skip
    together, alone = (
        settle(PretrainRecipe(pairs=pairs, **settings))[1].probe_pairs
        for pairs in ("artist_co,playlist_co", "playlist_co")
    )
    assert alone.pairs == 20
    np.testing.assert_array_equal(together.rows, alone.rows)


def test_one_group_alone_is_told(make_collection, tmp_path, caplog):
    collection = make_collection(tmp_path / "c", [40] * 20, front_end="vggish")
    everything = TrackGroups.from_lists(
        "artists", [range(20)], tracks=20, collection_key=collection.content_key
    )
    everything.save(groups_path(collection.path, "artists"))
    settle(PretrainRecipe(pairs="artist_co", collection=str(collection.path), frames=16))
    (said,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert "negatives are all of one group, '0': nothing tells them apart" in said
