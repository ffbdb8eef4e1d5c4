"""The best epoch of a run by its probe: what becomes the model, resumes, and is said."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from processes import Stop, after_step, power_cut

from playlist_pretrain.cli import pretrain
from playlist_pretrain.errors import RecipeError, RunError
from playlist_pretrain.models.load import load_backbone
from playlist_pretrain.runs import Run
from playlist_pretrain.training import engine, recipes
from playlist_pretrain.training import pretrain as training
from playlist_pretrain.training.probe import ProbeResult

BEST_IN_THE_MIDDLE = (0.6, 0.9, 0.7, 0.8, 0.65)
BETTER_AND_BETTER = (0.5, 0.6, 0.7, 0.8, 0.9)


@pytest.fixture
def percentiles(monkeypatch):
    """Callable: lets the probes of all runs find these percentiles, epoch after epoch."""

    def find(values):
        now, end = [0], engine.Engine.on_epoch_end

        def on_epoch_end(self, epoch, logs=None):
            now[0] = epoch
            end(self, epoch, logs)

        monkeypatch.setattr(engine.Engine, "on_epoch_end", on_epoch_end)
        monkeypatch.setattr(ProbeResult, "percentile", property(lambda self: values[now[0]]))

    return find


def with_options(arguments, out=None, **options):
    arguments = [*arguments]
    if out is not None:
        arguments[arguments.index("--out") + 1] = str(out)
    for name, value in options.items():
        arguments += ["--" + name.replace("_", "-"), str(value)]
    return arguments


def run_of(arguments):
    return Run(arguments[arguments.index("--out") + 1])


def weights_of(run):
    return load_backbone(run.saved_model).model.get_weights()


def assert_equal(one, other):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.slow
def test_keep_names_the_epoch_that_becomes_the_model(
    probed_arguments, percentiles, tmp_path, capsys
):
    percentiles(BEST_IN_THE_MIDDLE)
    models = {}
    for keep in ("best", "last"):
        arguments = with_options(probed_arguments, tmp_path / keep, keep=keep)
        assert pretrain.main(arguments) == 0
        run = run_of(arguments)
        models[keep] = weights_of(run)
        step = {"best": 20, "last": 50}[keep]
        assert run.summary["kept"] == {"which": keep, "step": step}
        probed = run.summary["probe"]
        assert (probed["best"]["step"], probed["last"]["step"]) == (20, 50)
        rows = engine.read_history(run.history, training.COLUMNS)
        row = rows[step // 10 - 1]
        assert probed["top10"]["share"] == pytest.approx(float(row["probe_top10"]), abs=1e-9)
        assert probed[keep]["top10"] == probed["top10"]["share"]
        about = json.loads(
            (run.saved_model / "assets.extra" / "playlist_pretrain.json").read_text("utf-8")
        )
        assert about["about"]["step"] == step
        assert [p.name for p in run.checkpoints.glob("best-*")] == ["best-00002.npz"]
    assert any((a != b).any() for a, b in zip(models["best"], models["last"], strict=True))
    with np.load(run.checkpoints / "best-00002.npz") as kept:
        in_file = [kept[f"arr_{k}"] for k in range(len(models["best"]))]
    for one in models["best"]:
        assert any(one.shape == w.shape and (one == w).all() for w in in_file)
    # A finished run says that it has kept the other, and how to have this one.
    again = with_options(probed_arguments, tmp_path / "best", keep="last")
    capsys.readouterr()
    assert pretrain.main(again) == 0
    assert "is of the best epoch; with summary.json removed" in capsys.readouterr().out
    (tmp_path / "best" / "summary.json").unlink()
    assert pretrain.main(again) == 0
    assert_equal(weights_of(run_of(again)), models["last"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "stop_at", "options"),
    [
        (BEST_IN_THE_MIDDLE, 13, {"checkpoint_steps": 4}),  # before the best epoch ends
        (BEST_IN_THE_MIDDLE, 27, {"checkpoint_steps": 4}),  # after it
        (BEST_IN_THE_MIDDLE, 44, {"checkpoint_epochs": 3}),
        (BETTER_AND_BETTER, 48, {"checkpoint_epochs": 2}),  # the best of the checkpoint is older
    ],
)
def test_a_kill_and_the_same_command_give_the_same_best(
    probed_arguments, percentiles, assert_same, tmp_path, values, stop_at, options
):
    percentiles(values)
    arguments = with_options(probed_arguments, **options)
    with after_step(stop_at, power_cut), pytest.raises(Stop):
        pretrain.main(arguments)
    assert pretrain.main(arguments) == 0
    whole = with_options(probed_arguments, tmp_path / "whole", **options)
    assert pretrain.main(whole) == 0
    assert_same_best(run_of(arguments), run_of(whole), assert_same)


def assert_same_best(one, other, assert_same):
    assert_same(one, other)
    assert one.summary == other.summary
    files = [
        {path.name: path.read_bytes() for path in run.checkpoints.glob("best-*")}
        for run in (one, other)
    ]
    assert files[0] == files[1] and files[0]


@pytest.mark.slow
def test_a_kill_between_the_best_weights_and_the_checkpoint(
    probed_arguments, percentiles, assert_same, tmp_path, monkeypatch
):
    percentiles(BEST_IN_THE_MIDDLE)
    save = engine.Engine.save_checkpoint

    def cut(self):
        if self.done == 20:
            raise Stop
        save(self)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(engine.Engine, "save_checkpoint", cut)
        pretrain.main(probed_arguments)
    run = run_of(probed_arguments)
    assert (run.checkpoints / "best-00002.npz").exists()
    assert engine.checkpoint_steps(run.checkpoints) == [10]
    with after_step(33, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        assert pretrain.main(probed_arguments) == 0
    assert not run.finished
    assert pretrain.main(probed_arguments) == 0
    whole = with_options(probed_arguments, tmp_path / "whole")
    assert pretrain.main(whole) == 0
    assert_same_best(run, run_of(whole), assert_same)


@pytest.mark.slow
def test_damaged_best_weights_are_named_and_last_ones_need_them_not(
    probed_arguments, percentiles, capsys
):
    percentiles(BEST_IN_THE_MIDDLE)
    assert pretrain.main(probed_arguments) == 0
    run = run_of(probed_arguments)
    (run.path / "summary.json").unlink()
    (run.checkpoints / "best-00002.npz").write_bytes(b"PK")
    capsys.readouterr()
    assert pretrain.main(probed_arguments) == 1
    error = capsys.readouterr().err
    assert "best-00002.npz: not a whole file of the weights" in error and error.count("\n") == 1


def test_files_of_best_weights_that_are_needed_stay(tmp_path):
    model = tf.keras.Sequential([tf.keras.layers.Dense(2)])
    model.build((1, 2))
    best = engine.BestEpoch([model], tmp_path, tmp_path, "probe")
    rows = []
    assert best.row(rows) is None and not best.exhausted(rows)
    for epoch, value in enumerate(["", 0.5, 0.6, "", 0.6, 0.7], 1):
        rows.append({"epoch": epoch, "step": 10 * epoch, "probe": value})
        model.set_weights([np.full(w.shape, epoch) for w in model.get_weights()])
        best.keep(rows)
    assert best.row(rows)["epoch"] == 6 and best.row(rows[:5])["epoch"] == 3

    def there():
        return [int(path.stem[5:]) for path in sorted(tmp_path.glob("best-*"))]

    assert there() == [2, 3, 6]
    best.drop_others(rows, {20, 40})
    assert there() == [2, 3, 6]
    best.drop_others(rows, {45, 60})
    assert there() == [3, 6]
    best.drop_others(rows, {60, 15})
    assert there() == [6]
    model.set_weights([np.zeros(w.shape) for w in model.get_weights()])
    best.restore(rows)
    assert {float(w.max()) for w in model.get_weights()} == {6.0}
    with pytest.raises(RunError, match="best-00003"):
        best.restore(rows[:5])


def test_best_needs_a_probe(arguments, probed_world, capsys):
    assert pretrain.main([*arguments, "--keep", "best"]) == 1
    assert "--keep best: there is no retrieval probe to choose by" in capsys.readouterr().err
    with pytest.raises(RecipeError, match="--keep first: one of best, last"):
        training.pretrain(collection=probed_world, out=run_of(arguments).path, keep="first")


PROBED = {
    "percentile": 0.8,
    "best": {"step": 200, "percentile": 0.8, "top1": 0.176, "top10": 0.5},
    "last": {"step": 800, "percentile": 0.6, "top1": 0.059, "top10": 0.4},
}


@pytest.mark.parametrize(
    ("fell", "which", "step", "words"),
    [
        (True, "best", 200, "best after step 200 (percentile 0.800, top-1 0.176) and fell to 0.600 "
         "(0.059) at the end"),
        (True, "best", 200, "; the model of step 200 is kept"),
        (True, "last", 800, "the model of step 800 is kept, --keep best keeps the other"),
        (False, "best", 200, "the model of step 200 is kept, the best of the probe"),
    ],
)  # fmt: skip
def test_overfitting_is_said_with_its_step(fell, which, step, words):
    lines = training._of_keeping({**PROBED, "fell": fell}, {"which": which, "step": step})
    assert words in lines[1]
    assert len(training._of_keeping({**PROBED, "fell": False}, {"which": "last", "step": 9})) == 1


@pytest.mark.slow
def test_a_run_goes_on_with_what_auto_has_settled(probed_world, tmp_path, capsys, monkeypatch):
    """Other cores, another rule, and an epoch that the rule would have had anew."""
    words = ["--collection", str(probed_world), "--out", str(tmp_path / "run"), "--frames", "16",
             "--width", "0.05", "--probe-share", "0.25"]  # fmt: skip
    monkeypatch.setattr(recipes, "PASSES", 3)
    monkeypatch.setattr(recipes, "LEAST_STEPS", 22)
    with after_step(20, power_cut), pytest.raises(Stop):
        pretrain.main(words)
    told = capsys.readouterr().out
    assert "preset auto: 60 pairs an epoch, " in told
    assert "batch 8, width 0.05, 4 epochs of 7 steps, learning rate 0.0002, warm-up of 2" in told
    before = json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]
    assert (before["preset"], before["keep"], before["epochs"]) == ("auto", "best", 4)
    monkeypatch.setattr(recipes, "PASSES", 50)
    monkeypatch.setattr(recipes, "BATCHES", (16, 32))
    assert pretrain.main(words) == 0
    told = capsys.readouterr().out
    assert "going on after step" in told and "preset auto" not in told
    assert Run(tmp_path / "run").summary["steps"] == 28
    shutil.rmtree(tmp_path / "run" / "saved_model")
    assert pretrain.main([*words, "--preset", "demo"]) == 1
    assert "holds a run with another recipe (--batch: 8 there, 32 now" in capsys.readouterr().err


@pytest.mark.slow
def test_the_time_that_is_left_is_said_once(probed_arguments, capsys):
    assert pretrain.main([word for word in probed_arguments if word != "--quiet"]) == 0
    told = capsys.readouterr().out
    assert told.count("steps that are left will take about ") == 1
    assert "the 29 steps that are left will take about " in told and "windows/s" in told
    assert ", 20 pairs" in told and "wrong answers (chance 50 %)" in told
