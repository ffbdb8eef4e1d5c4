"""Cells of plans: what there is to make, in which order, by whom, and what it comes to."""

import inspect
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from finished_cells import leave_all

from playlist_pretrain.errors import RunError
from playlist_pretrain.evaluation.scores import save_scores
from playlist_pretrain.experiments.cells import State, cells_of, rows_of, shard_cells
from playlist_pretrain.experiments.collect import Collected
from playlist_pretrain.experiments.plan import read_plan
from playlist_pretrain.training.recipes import FinetuneRecipe, PretrainRecipe

ROOT = Path(__file__).parent.parent.parent
PLANS = ("demo", "paper")


@pytest.fixture(params=PLANS)
def plan(request):
    return read_plan(ROOT / "experiments" / f"{request.param}.toml")


def test_every_cell_is_what_its_command_takes(plan):
    from playlist_pretrain.retrieval.similarity import similarity

    for cell in cells_of(plan):
        options = json.loads(json.dumps(cell.spec["options"]))
        if cell.kind == "pretrain":
            PretrainRecipe(**options).resolve(demo=False, window_frames=256)
        elif cell.kind == "tags":
            name = cell.spec["model"]
            model = name if name in ("scratch", "audioset") else "saved_model"
            model = "scratch" if name == "random" else model
            FinetuneRecipe(model=(model,), **options).resolve(demo=False, window_frames=256)
        elif cell.kind == "triplets":
            name = cell.spec["model"]
            model = {"random": "scratch"}.get(name, name) if isinstance(name, str) else "a/b"
            inspect.signature(similarity).bind(model, **options)


@pytest.mark.parametrize("of", [1, 3])
def test_shards_are_the_plan_and_do_nothing_twice(plan, of):
    cells = cells_of(plan)
    shards = [shard_cells(cells, number, of) for number in range(1, of + 1)]
    ids = {cell.id for shard in shards for cell in shard}
    assert ids == {cell.id for cell in cells} and len(ids) == len(cells)
    for shard in shards:
        before = set()
        for cell in shard:
            assert before.issuperset(cell.needs)
            before.add(cell.id)
    made = [cell.id for shard in shards for cell in shard if cell.kind != "world"]
    assert len(made) == len(set(made))
    heavy = [sum(cell.kind == "pretrain" for cell in shard) for shard in shards]
    assert max(heavy) - min(heavy) <= 1


def test_fine_tunings_of_several_pretrainings_have_seeds_of_their_own(write_plan):
    plan = read_plan(write_plan({"steps = 24": "steps = 24\nseeds = [5, 9]"}))
    seeds = [
        cell.spec["options"]["seed"] + run
        for cell in cells_of(plan)
        if cell.kind == "tags" and cell.row.start == "scratch"
        for run in range(plan.finetune.runs)
    ]
    assert seeds == [0, 1, 2, 3]


def test_a_damaged_note_of_a_cell_is_named(write_plan, results):
    plan = read_plan(write_plan())
    state, first = results(plan), cells_of(plan)[0]
    assert state.done(first)["seconds"] == 12
    (state.notes(first) / "done.json").write_text("{")
    with pytest.raises(RunError, match=r"done\.json: not a whole record"):
        state.done(first)


@pytest.fixture
def results(tmp_path):
    """Callable: leave results of the cells of a plan, better for playlist_co; the state."""
    return lambda plan, **options: leave_all(plan, State(tmp_path / "out"), **options)


def collected(plan, state):
    return Collected(plan, cells_of(plan), state)


def test_runs_are_the_unit_of_one_collection(write_plan, results):
    plan = read_plan(write_plan())
    found = collected(plan, results(plan))
    entry = found.tables.entries["vggish-playlist_co", "tags/own/roc_auc"]
    assert (found.unit, entry.summary.runs, entry.measured.units) == ("run", 2, ("run 1", "run 2"))
    assert entry.against.over == "tracks" and entry.against.count == 20
    low, high = entry.against.interval
    assert low < high
    base = found.tables.entries["vggish-artist_co", "tags/own/roc_auc"]
    assert entry.against.difference == pytest.approx(entry.summary.mean - base.summary.mean)
    assert base.against is None and base.test is None
    over = found.tables.entries["vggish-playlist_co", "triplets/own/accuracy"].against
    assert (over.over, over.count) == ("triplets", 40)
    assert ("vggish-scratch", "triplets/own/accuracy") not in found.tables.entries
    assert [row.counts["steps"] for row in found.counts] == [24, 24]


@pytest.mark.slow
def test_pretrainings_are_the_unit_where_they_are_repeated(write_plan, results):
    plan = read_plan(write_plan({"steps = 24": "steps = 24\nseeds = [0, 1, 2]"}))
    found = collected(plan, results(plan))
    entry = found.tables.entries["vggish-playlist_co", "tags/own/roc_auc"]
    assert (found.unit, entry.summary.runs) == ("pre-training", 3)
    runs = [json.loads((found.state.folder(c) / "summary.json").read_text())["runs"]
            for c in found.of("tags", "own", rows_of(plan)[-1])]  # fmt: skip
    assert entry.measured.values == pytest.approx(
        [np.mean([run["roc_auc"] for run in one]) for one in runs]
    )


@pytest.mark.slow
def test_worlds_are_the_unit_where_there_are_several(
    write_plan, results, tiny_collection, tmp_path
):
    path = write_plan()
    text = "".join(line for line in path.read_text().splitlines(True) if "collection =" not in line)
    worlds = tmp_path / "worlds"
    path.write_text(text + f'[worlds]\nseeds = [1, 2, 3]\nsettings_from = 0\nfolder = "{worlds}"\n')
    plan = read_plan(path)
    for world in (1, 2, 3):
        for part in ("demo", "demo-eval"):
            shutil.copytree(tiny_collection, worlds / str(world) / part)
    state = results(plan)
    found = collected(plan, state)
    entry = found.tables.entries["vggish-playlist_co", "tags/own/roc_auc"]
    assert entry.measured.units == ("world 1", "world 2", "world 3")
    assert (found.unit, entry.against.over, entry.against.count) == ("world", "worlds", 3)
    found.write()
    page = (state.out / "tables.md").read_text()
    assert "the unit of all statistics is a world" in page and "## Not done" not in page
    (worlds / "2" / "demo" / "collection.json").unlink()
    assert collected(plan, state).not_done == [{"cell": "world/2", "why": "not done yet"}]


def test_what_is_lacking_is_said_and_left_out(write_plan, results):
    plan = read_plan(write_plan())
    lost = "pretrain/seed-0/vggish-playlist_co"
    needs = [cell.id for cell in cells_of(plan) if lost in cell.needs]
    state = results(plan, without=(lost, *needs))
    state.fail(next(cell for cell in cells_of(plan) if cell.id == lost), "no | disk")
    found = collected(plan, state)
    assert [one["why"] for one in found.not_done] == ["no | disk", *[f"needs {lost}"] * 2]
    assert ("vggish-playlist_co", "tags/own/roc_auc") not in found.tables.entries
    found.write()
    assert f"- {lost}: no | disk" in (state.out / "tables.md").read_text()
    written = json.loads((state.out / "tables.json").read_text())
    assert len(written["not_done"]) == 3 and written["format"] == 1


def test_models_tested_on_other_tracks_have_no_interval(write_plan, results, caplog):
    plan = read_plan(write_plan())
    state = results(plan)
    cell = next(c for c in cells_of(plan) if c.id == "tags/own/seed-0/vggish-playlist_co")
    targets = np.arange(20)[:, np.newaxis] % 2 == np.arange(2)
    for run in (1, 2):
        file, ids = state.folder(cell) / f"run-{run}" / "scores.npz", [f"x{k}" for k in range(20)]
        save_scores(file, ids, targets, targets * 0.5, ("a", "b"))
    found = collected(plan, state)
    assert found.tables.entries["vggish-playlist_co", "tags/own/roc_auc"].against is None
    assert "were tested on different tracks: no interval" in caplog.text


def test_results_that_cannot_be_read(write_plan, results):
    plan = read_plan(write_plan())
    state = results(plan)
    cell = next(c for c in cells_of(plan) if c.kind == "triplets")
    (state.folder(cell) / "results.json").write_text("{}")
    with pytest.raises(RunError, match=r"results\.json: not a whole record"):
        _ = collected(plan, state).tables
