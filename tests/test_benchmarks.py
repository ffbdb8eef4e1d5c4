"""Every benchmark runs and prints its table; its figures are nobody's business here."""

import ast
import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from playlist_pretrain.models import BACKBONES
from playlist_pretrain.models.load import load_model
from playlist_pretrain.pairs import Material
from playlist_pretrain.playlists.groups import TrackGroups, groups_path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
TINY_STEP = ["--width", "0.05", "--batch", "4", "--steps", "2", "--rounds", "2"]
SMALL = {
    "front_end": ["--seconds", "4", "--rounds", "2"],
    "index": ["--tracks", "70", "--small", "10", "--windows", "20", "--rounds", "1"],
    "windows": ["--tracks", "16", "--batch", "8", "--batches", "3", "--rounds", "1"],
    "pairs": ["--shares", "0.002"],
    "playlists": ["--slices", "2", "--playlists", "20", "--many", "10", "--rounds", "1"],
    "records": ["--files", "4", "--many", "6", "--rounds", "1", "--workers", "1"],
    "essentia_package": [
        "--width", "0.05", "--only", "^vggish .* musicnn", "--steps", "1", "--windows", "4",
        "--rounds", "1",
    ],
    "search": ["--tracks", "400", "--dim", "8", "--queries", "20", "--rounds", "1"],
    "embed": ["--width", "0.05", "--few", "2", "--many", "4", "--rounds", "1", "--workers", "1"],
    "remote": ["--tracks", "8", "--batch", "4", "--batches", "3", "--rounds", "1"],
    "micro_batch": [*TINY_STEP, "--micro-batch", "2"],
    "train_step": [
        "--backbones", "vggish", "--width", "0.05", "--batch", "4", "--batches", "8",
        "--largest-whole", "4", "--micro-batch", "2", "--rounds", "1", "--matrix", "64",
    ],
}  # fmt: skip


def test_all_are_known_here():
    found = {path.stem for path in BENCHMARKS.glob("[!_]*.py")}
    others = {"artist_retrieval", "demo_proof", "order_causes", "pair_styles", "triplets"}
    assert found == {*SMALL, *others}


def test_what_they_import_is_there():
    """Some take too long to be run here, and imports inside functions are no one else's."""
    for path in BENCHMARKS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("playlist_pretrain"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    there = hasattr(module, alias.name)
                    if not there and hasattr(module, "__path__"):
                        there = importlib.util.find_spec(f"{node.module}.{alias.name}")
                    assert there, f"{path.name}: {alias.name} of {node.module}"


@pytest.mark.long
@pytest.mark.parametrize("name", list(SMALL))
def test_prints_a_table(name, shared_data):
    if name in ("records", "embed"):
        shared_data("pop909")  # skips where the recordings are not
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *SMALL[name]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert sum(line.startswith("|") for line in done.stdout.splitlines()) >= 4


@pytest.fixture
def steps(monkeypatch):
    """The module that benchmarks of training steps share."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("_steps")


def test_jobs_are_timed_in_turn_and_the_first_round_is_not_counted(steps):
    order = []

    def clock(round_):
        order.append(("own", round_))
        return 10.0 + round_

    def job(round_):
        order.append(("other", round_))

    seconds = steps.in_turn({"own": clock, "other": job}, 3)
    assert [name for name, _ in order] == [*["own", "other", "other", "own"] * 2]
    assert [round_ for _, round_ in order] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert seconds["own"] == [11.0, 12.0, 13.0]
    assert len(seconds["other"]) == 3 and max(seconds["other"]) < 1
    assert steps.ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == 3.0


@pytest.mark.long
@pytest.mark.parametrize("name", ["vggish", "resnet50"])
def test_operations_of_a_pass_are_those_that_tensorflow_counts(steps, name):
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    backbone = BACKBONES.get(name)(frames=64, bands=48)
    function = tf.function(lambda windows: backbone(windows))
    frozen = convert_to_constants.convert_variables_to_constants_v2(
        function.get_concrete_function(tf.TensorSpec([1, 64, 48]))
    )
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder.float_operation()
    counted = profiler.profile(frozen.graph, options={**options, "output": "none"})
    assert steps.forward_operations(backbone) == pytest.approx(counted.total_float_ops, rel=0.01)


@pytest.mark.long
def test_few_steps_change_every_weight(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    trained = importlib.import_module("_trained")
    trained.train("vggish tagger musicnn", 0.05, 1, tmp_path / "model")
    saved = load_model(tmp_path / "model")
    assert saved.front_end.name == "musicnn" and len(saved.classes) == trained.CLASSES
    windows = trained.made_up_windows(saved.front_end, 3, tmp_path)
    assert windows.shape == (3, saved.frames, 96)
    biases = [weight for weight in saved.model.get_weights() if weight.ndim == 1]
    assert len(biases) == 11 and all(bias.any() for bias in biases)
    with pytest.raises(AssertionError, match="as before training"):
        trained.train("vggish backbone paper", 0.05, 0, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_invented_playlists_have_the_averages_of_the_paper(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    # By its own name: compiled code is kept under it, and the benchmarks look for it there.
    importlib.import_module("_playlists").make_groups(0.005, tmp_path)
    playlists, artists = (
        TrackGroups.load(tmp_path / f"groups-{name}.npz") for name in ("playlists", "artists")
    )
    assert len(playlists) == 4996 and playlists.tracks == 8895
    assert playlists.covered.all() and artists.covered.all()
    assert playlists.lengths.mean() == pytest.approx(52.2, rel=0.01)
    assert len(playlists.rows) / playlists.tracks == pytest.approx(29.3, rel=0.01)
    assert artists.lengths.mean() == pytest.approx(7.2, rel=0.03)
    assert len(artists.rows) / artists.tracks == pytest.approx(1.28, rel=0.03)


def test_shuffled_pairs_keep_the_anchors_and_lose_the_groups(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    shuffled = runpy.run_path(str(BENCHMARKS / "demo_proof.py"))["ShuffledPairs"]
    lists = [range(first, first + 10) for first in range(0, 200, 10)]
    groups = TrackGroups.from_lists("playlists", lists, tracks=200, collection_key="k")
    pairing = shuffled(Material.of(groups), 3)
    pairs = np.concatenate(list(pairing.epoch(0)))
    assert len(pairs) == pairing.count(0) == 100
    assert len(np.unique(pairs)) == 200
    assert np.mean(pairs[:, 0] // 10 == pairs[:, 1] // 10) < 0.2
    again, other = (
        np.concatenate(list(shuffled(Material.of(groups), 3).epoch(epoch))) for epoch in (0, 1)
    )
    assert np.array_equal(pairs, again) and not np.array_equal(pairs, other)


@pytest.mark.long
def test_styles_and_artists_of_pairs_are_counted(make_collection, monkeypatch, tmp_path, capsys):
    collection = make_collection(tmp_path / "worlds" / "1" / "demo", [257] * 256)
    artists = np.arange(256).reshape(64, 4)
    # Playlists have all songs of two artists; those of every other playlist are of two styles.
    styles = np.arange(64) // 2 % 32
    styles[2::4] += 32
    for name, groups in {"artists": artists, "playlists": artists.reshape(32, 8)}.items():
        TrackGroups.from_lists(
            name, groups.tolist(), tracks=256, collection_key=collection.content_key
        ).save(groups_path(collection.path, name))
    lines = (
        f"{id},a{row // 4},s{styles[row // 4]}\n" for row, id in enumerate(collection.track_ids)
    )
    (collection.path / "tracks.csv").write_text("track_id,artist,style\n" + "".join(lines))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", ["", "--worlds", str(tmp_path / "worlds"), "--epochs", "4"])
    runpy.run_path(str(BENCHMARKS / "pair_styles.py"), run_name="__main__")
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "|" in line]
    found = {row[1].strip(): [cell.strip() for cell in row[2:6]] for row in rows}
    assert found["artist_co"][:2] == ["1.000", "1.000"]
    of_style, of_artist = map(float, found["playlist_co"][:2])
    # Of the seven others of a playlist, three are of the same artist.
    assert of_artist == pytest.approx(3 / 7, abs=0.08)
    assert of_style == pytest.approx((1 + 3 / 7) / 2, abs=0.08)


@pytest.fixture
def causes(monkeypatch):
    """What is in the benchmark of causes."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("order_causes")


def test_playlists_are_cut_by_style_and_artists_joined_across(causes, make_collection, tmp_path):
    collection = make_collection(tmp_path / "demo", [20] * 16)
    tables = {
        "artists": [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9], [10, 11, 12, 13, 14, 15]],
        "playlists": [[0, 1, 4, 9, 10], [15, 0, 12], [3, 6]],
    }
    for name, groups in tables.items():
        made = TrackGroups.from_lists(
            name, groups, tracks=16, collection_key=collection.content_key
        )
        made.save(groups_path(collection.path, name))
    styles = ["a"] * 3 + ["b"] * 3 + ["a"] * 4 + ["b"] * 6
    lines = (f"{id},{style}\n" for id, style in zip(collection.track_ids, styles, strict=True))
    (collection.path / "tracks.csv").write_text("track_id,style\n" + "".join(lines))
    causes.make_groups(collection.path)
    cut, joined = (
        TrackGroups.load(groups_path(collection.path, name))
        for name in ("one-style-playlists", "two-style-artists")
    )
    assert [cut.group(i).tolist() for i in range(len(cut))] == [[0, 1, 9], [4, 10], [15, 12]]
    assert [sorted(joined.group(i)) for i in range(len(joined))] == [
        [0, 1, 2, 3, 4, 5], list(range(6, 16)),
    ]  # fmt: skip


def test_a_cause_changes_one_thing_of_the_plan(causes):
    from playlist_pretrain.experiments.cells import cells_of
    from playlist_pretrain.experiments.plan import read_plan

    plan = read_plan(BENCHMARKS.parent / "experiments" / "demo.toml")
    there = {cell.id: cell.spec for cell in cells_of(plan)}
    for name, variant in causes.VARIANTS.items():
        changed = causes.changed(plan, variant, plan.worlds.seeds)
        cells = [cell for cell in cells_of(changed) if cell.kind == "pretrain"]
        assert len(cells) == 5 * len(variant.pairings)
        for cell in cells:
            before = there[cell.id]
            assert cell.spec["steps"] == (variant.steps or before["steps"])
            differ = {
                key for key, value in cell.spec["options"].items()
                if value != before["options"].get(key)
            }  # fmt: skip
            expected = {"warmup_steps"} if variant.steps else set(variant.settings)
            assert differ == expected, name
    first = causes.changed(plan, causes.VARIANTS["steps-399"], (1,))
    assert first.pretrain.settings["warmup_steps"] == 120
