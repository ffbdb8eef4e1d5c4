"""The fine-tuning command from tags to a table."""

import contextlib
import csv
import io
import os
import shlex
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from processes import ROOT, Stop, after_step, end, power_cut, start

from playlist_pretrain.cli import finetune
from playlist_pretrain.evaluation.scores import load_scores
from playlist_pretrain.evaluation.tagging import tagging_metrics
from playlist_pretrain.models.load import load_tagger
from playlist_pretrain.models.saved_model import save_backbone
from playlist_pretrain.models.vggish import vggish
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.training import engine
from playlist_pretrain.training.engine import read_history
from playlist_pretrain.training.finetune import COLUMNS, TaggingRuns


def out_of(arguments):
    return TaggingRuns(arguments[arguments.index("--out") + 1])


def with_option(arguments, name, *values):
    """The arguments with another value of an option, or with one more option."""
    if name not in arguments:
        return [*arguments, name, *values]
    place = arguments.index(name)
    return [*arguments[: place + 1], *values, *arguments[place + 2 :]]


def without(arguments, *names):
    """The arguments without some options and their values."""
    places = [arguments.index(name) for name in names]
    return [a for k, a in enumerate(arguments) if k not in places and k - 1 not in places]


@pytest.fixture
def backbone(tagged_world, tmp_path):
    """The saved model of a backbone for the world's collection."""
    collection = Collection.open(tagged_world)
    model = vggish(frames=16, bands=64, width=0.05, mean=collection.band_mean,
                   std=collection.band_std, seed=8)  # fmt: skip
    save_backbone(model, collection.front_end, tmp_path / "run" / "saved_model")
    return tmp_path / "run" / "saved_model"


@pytest.fixture(scope="module")
def finished(tagging_command_line, tmp_path_factory):
    """A finished fine-tuning of twelve epochs, and what it said; not to be changed."""
    arguments = tagging_command_line(tmp_path_factory.mktemp("finished") / "tagger")
    arguments = with_option([a for a in arguments if a != "--quiet"], "--epochs", "12")
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert finetune.main(arguments) == 0
    return out_of(arguments), arguments, told.getvalue()


@pytest.mark.slow
def test_leaves_what_the_guide_says(finished, capsys):
    run, _, text = finished
    assert run.finished and run.summary["roc_auc"]["mean"] > 0.7  # it learns what can be heard
    for name in ("results.csv", "results.md", "per_tag.csv", "figures/per_tag.png",
                 "figures/curves.png", "recipe.json", "environment.json"):  # fmt: skip
        assert (run.path / name).stat().st_size, name
    with open(run.path / "results.csv", newline="") as stream:
        assert [row["run"] for row in csv.DictReader(stream)] == ["1", "2"]
    assert text.count("| scratch-vggish |") == 2
    assert "mean ± std" in text and "rare" in text  # it is left out, and named
    next_one = shlex.split(text.splitlines()[-1])
    assert next_one[:3] == ["next:", "python", "scripts/finetune.py"]
    assert next_one[-2:] == ["--predict", "DIR"]
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    assert finetune.main(next_one[3:-2]) == 0
    assert f"{run.path} is finished" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
    for part in (run.part(1), run.part(2)):
        assert part.finished and not part.checkpoints.exists()
        assert len(read_history(part.history, COLUMNS)) == 12
    first, second = (load_tagger(run.part(k).saved_model) for k in (1, 2))
    assert first.classes == second.classes == ("high", "low", "middle", "rare")
    weights = [tagger.model.get_weights()[-1] for tagger in (first, second)]
    assert not np.array_equal(*weights)  # seeds of their own
    means = []
    for number, told in enumerate(run.summary["runs"], 1):  # the saved scores give them again
        _, targets, scores, classes = load_scores(run.part(number).path / "scores.npz")
        result = tagging_metrics(targets, scores, classes)
        assert told["average_precision"] == result.macro_average_precision
        assert told["roc_auc"] == result.macro_roc_auc
        means.append(result.macro_average_precision)
    told = run.summary["average_precision"]
    assert told["mean"] == pytest.approx(np.mean(means), rel=1e-12)
    assert told["std"] == pytest.approx(np.std(means, ddof=1), rel=1e-12)


@pytest.mark.slow
def test_the_best_epoch_is_tested_not_the_last(tagging_arguments, monkeypatch):
    """The learning rate rises so far that the run is ruined after its first epochs, and stops."""
    arguments = with_option(tagging_arguments, "--high-learning-rate", "3")
    arguments = with_option(with_option(arguments, "--epochs", "30"), "--cycle-epochs", "16")
    arguments = [*arguments, "--patience", "3"]
    seen, keep = {}, engine.BestEpoch.keep

    def record(self, rows):
        keep(self, rows)
        (model,) = self.models
        seen[len(rows)] = model.get_weights()

    monkeypatch.setattr(engine.BestEpoch, "keep", record)
    assert finetune.main(with_option(arguments, "--runs", "1")) == 0
    part = out_of(arguments).part(1)
    rows = read_history(part.history, COLUMNS)
    best = part.summary["best_epoch"]
    found = [float(row["validation_average_precision"]) for row in rows]
    assert best == 1 + int(np.argmax(found)) and best + 3 == len(rows)
    saved = load_tagger(part.saved_model).model.get_weights()
    for left, right in zip(saved, seen[best], strict=True):
        np.testing.assert_array_equal(left, right)
    assert any(not np.array_equal(a, b) for a, b in zip(saved, seen[len(rows)], strict=True))


@pytest.mark.slow
def test_freeze_trains_the_head_alone(tagging_arguments, backbone):
    arguments = with_option(without(tagging_arguments, "--frames", "--width"), "--runs", "1")
    arguments = [*arguments, "--model", str(backbone), "--freeze", "--head", "linear"]
    assert finetune.main(arguments) == 0
    before = tf.keras.models.load_model(backbone, compile=False).get_weights()
    after = load_tagger(out_of(arguments).part(1).saved_model).model.get_weights()
    for left, right in zip(before, after, strict=False):
        np.testing.assert_array_equal(left, right)
    assert len(after) == len(before) + 2


@pytest.mark.long
def test_mixed_precision_ends_in_float32_taggers(tagging_arguments):
    arguments = with_option(tagging_arguments, "--runs", "1")
    arguments = [*with_option(arguments, "--batch", "4"), "--precision", "mixed_float16"]
    with after_step(8, power_cut), pytest.raises(Stop):
        finetune.main(arguments)
    assert finetune.main(arguments) == 0
    part = out_of(arguments).part(1)
    model = load_tagger(part.saved_model).model
    assert {layer.dtype_policy.name for layer in model.layers[1:]} == {"float32"}
    float32 = with_option(arguments, "--precision", "float32")
    float32 = with_option(float32, "--out", str(part.path.parent.parent / "float32"))
    assert finetune.main(float32) == 0
    losses = [float(read_history(run.part(1).history, COLUMNS)[0]["loss"])
              for run in (out_of(arguments), out_of(float32))]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


@pytest.mark.long
def test_several_backbones_have_one_run_each(tagging_arguments, backbone, tmp_path):
    other = tmp_path / "other" / "saved_model"
    collection = Collection.open(tagging_arguments[1])
    save_backbone(vggish(frames=16, bands=64, width=0.05, seed=9), collection.front_end, other)
    arguments = without(tagging_arguments, "--frames", "--width", "--runs")
    arguments = [*with_option(arguments, "--epochs", "1"), "--model", str(backbone), str(other)]
    assert finetune.main(arguments) == 0
    assert [run["model"] for run in out_of(arguments).summary["runs"]] == ["run", "other"]


def table(run):
    return (run.path / "results.csv").read_text()


def copy_of(finished, tmp_path):
    """A copy of the finished runs that are not yet summed up, and its command line."""
    run = TaggingRuns(shutil.copytree(finished[0].path, tmp_path / "tagger"))
    (run.path / "summary.json").unlink()
    return run, with_option(finished[1], "--out", str(run.path))


@pytest.mark.slow
def test_goes_on_at_the_run_and_epoch_where_it_was(finished, tmp_path):
    run, arguments = copy_of(finished, tmp_path)
    shutil.rmtree(run.part(2).path)
    with after_step(20, power_cut, "run-2"), pytest.raises(Stop):
        finetune.main(arguments)
    assert not run.part(2).finished and not run.finished
    first = (run.part(1).path / "scores.npz").stat().st_mtime_ns
    assert finetune.main(arguments) == 0
    assert (run.part(1).path / "scores.npz").stat().st_mtime_ns == first
    assert table(run) == table(finished[0])
    scores = [load_scores(r.part(2).path / "scores.npz").scores for r in (run, finished[0])]
    np.testing.assert_array_equal(*scores)


@pytest.mark.long
def test_sigterm_after_the_last_step_changes_nothing(finished, tmp_path):
    run, arguments = copy_of(finished, tmp_path)
    shutil.rmtree(run.part(2).path)
    with after_step(36, lambda: os.kill(os.getpid(), signal.SIGTERM)):
        assert finetune.main(arguments) == 0
    assert not run.finished and (run.part(2).checkpoints / "step-36.index").exists()
    assert finetune.main(arguments) == 0
    assert table(run) == table(finished[0])


@pytest.mark.long
def test_replicas_do_what_one_process_does(tagging_arguments, tmp_path):
    arguments = with_option(tagging_arguments, "--runs", "1")
    split = [*with_option(arguments, "--out", str(tmp_path / "split")), "--strategy", "mirrored"]
    assert finetune.main(arguments) == 0
    end(start([ROOT / "scripts" / "finetune.py", *split, "--replicas", "2"]))
    tables = [read_history(out_of(one).part(1).history, COLUMNS) for one in (arguments, split)]
    for column in ("loss", "cross_entropy"):
        one, other = (float(table[0][column]) for table in tables)
        assert other == pytest.approx(one, rel=1e-4)
    assert out_of(split).finished


@pytest.mark.slow
def test_a_kill_before_the_summing_up(finished, tmp_path):
    """After the summary of the last run, before its checkpoints are gone."""
    run, arguments = copy_of(finished, tmp_path)
    run.part(2).checkpoints.mkdir()
    (run.path / "results.csv").unlink()
    assert finetune.main(arguments) == 0
    assert not run.part(2).checkpoints.exists() and table(run) == table(finished[0])


REFUSED = {
    "unknown task": (["--task", "jazz"], "unknown task 'jazz'"),
    "no such model": (["--model", "nowhere"], "nowhere: no such folder"),
    "audioset without weights": (["--model", "audioset"], "needs --weights"),
    "rates the wrong way": (["--low-learning-rate", "1"], "above --high-learning-rate"),
    "twice": (["--model", "scratch", "scratch"], "named twice"),
    "nothing to tag": (["--predict", "nowhere"], "nowhere"),
    "official files for an own table": (["--splits", "x"], "--splits x is not for task tags"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_refuses_in_one_line_and_leaves_nothing(case, tagging_arguments, capsys):
    options, words = REFUSED[case]
    arguments = tagging_arguments
    if "--model" in options and "scratch" not in options:
        arguments = without(arguments, "--frames", "--width")
    assert finetune.main(with_option(arguments, options[0], *options[1:])) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not out_of(arguments).path.exists()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_refuses_a_split_where_nothing_can_be_measured(
    split, tagging_arguments, tagged_world, tmp_path, capsys
):
    lines = [line.split("\t") for line in (tagged_world / "tags.tsv").read_text().splitlines()]
    table = ["\t".join([*row[:2], "low|high" if row[1] == split else row[2]]) for row in lines]
    (tmp_path / "tags.tsv").write_text("\n".join(table) + "\n")
    assert finetune.main([*tagging_arguments, "--tags", str(tmp_path / "tags.tsv")]) == 1
    error = capsys.readouterr().err
    assert f", {split}: none of 4 classes has tracks with it and tracks without it" in error
    assert error.count("\n") == 1 and not out_of(tagging_arguments).path.exists()


@pytest.mark.slow
def test_refuses_to_write_over_the_model_it_starts_from(tagging_arguments, backbone, capsys):
    (backbone.parent / "recipe.json").write_text('{"recipe": {}, "inputs": {}}')
    arguments = without(tagging_arguments, "--frames", "--width")
    arguments = with_option(arguments, "--out", str(backbone.parent))
    assert finetune.main([*arguments, "--model", str(backbone), "--overwrite"]) == 1
    error = capsys.readouterr().err
    assert f"--model {backbone} is in it" in error and error.count("\n") == 1
    assert (backbone / "saved_model.pb").exists()


@pytest.mark.slow
def test_damaged_scores_say_how_to_go_on(finished, tmp_path, capsys):
    run, arguments = copy_of(finished, tmp_path)
    scores = run.part(1).path / "scores.npz"
    scores.write_bytes(scores.read_bytes()[:100])
    assert finetune.main(arguments) == 1
    error = capsys.readouterr().err
    assert "scores.npz" in error and "summary.json" in error and error.count("\n") == 1
    (run.part(1).path / "summary.json").unlink()
    assert finetune.main(arguments) == 0
    assert table(run) == table(finished[0])
