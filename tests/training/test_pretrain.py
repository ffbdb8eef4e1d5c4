"""A whole run on a small collection: what it leaves behind, and what it refuses."""

import contextlib
import csv
import json
import os
import shutil

import numpy as np
import pytest
from processes import Stop, power_cut

from playlist_pretrain.cli import pretrain
from playlist_pretrain.messages import command
from playlist_pretrain.models.load import load_backbone
from playlist_pretrain.models.nt_xent import chance_loss
from playlist_pretrain.runs import Run
from playlist_pretrain.training import pretrain as training


@contextlib.contextmanager
def stopped_in(name, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(training, name, lambda *args: power_cut())
        yield


def run_of(arguments):
    return Run(arguments[arguments.index("--out") + 1])


def changed(arguments, **options):
    """The arguments with other values."""
    arguments = list(arguments)
    for name, value in options.items():
        name = "--" + name.replace("_", "-")
        if name in arguments:
            arguments[arguments.index(name) + 1] = value
        else:
            arguments += [name, value]
    return arguments


def refusal(arguments, capsys):
    """The one line with which a command refuses."""
    capsys.readouterr()
    assert pretrain.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("pretrain.py: error: ")
    return error


def test_a_run_leaves_what_the_formats_say(finished_once):
    run, told = Run(finished_once[0]), finished_once[1]
    recipe = json.loads((run.path / "recipe.json").read_text())["recipe"]
    assert recipe["preset"] == "auto" and recipe["batch"] == 6 and recipe["frames"] == 16
    assert json.loads((run.path / "environment.json").read_text())["packages"]["tensorflow"]
    with open(run.history, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [float(row["temperature"]) for row in rows] == pytest.approx([0.1] * 3)
    for row in rows:
        for name, value in row.items():
            assert value == "" if name.startswith("probe_") else np.isfinite(float(value))
    assert float(rows[-1]["learning_rate"]) < float(rows[0]["learning_rate"])
    assert list(run.tensorboard.glob("events.*"))
    assert (run.figures / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(run.checkpoints.glob("*.index"))) == 2
    summary = run.summary
    assert summary["export_difference"] < 1e-4
    assert summary["chance_loss"] == pytest.approx(chance_loss(6))
    assert summary["probe"] is None and recipe["keep"] == "last"
    assert summary["kept"] == {"which": "last", "step": summary["steps"]}
    loaded = load_backbone(run.saved_model)
    assert loaded.front_end.name == "vggish" and loaded.frames == 16
    for words in (
        "2 tracks are shorter than a window",
        "no retrieval probe",
        "preset auto: ",
        " pairs an epoch, ",
        "batch 6, width 0.05, 3 epochs of",
    ):
        assert words in told
    assert told.splitlines()[-1] == "next: " + command(
        "embed", "--model", str(run.saved_model), "--collection", recipe["collection"],
        "--out", "run.parquet",
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_of_a_few_steps_at_chance_is_what_was_to_be_expected(finished, arguments, capsys):
    summary = {**finished.summary, "loss": finished.summary["chance_loss"]}
    for steps, expected in ((9, True), (100, False)):
        finished.finish({**summary, "steps": steps})
        assert pretrain.main([a for a in arguments if a != "--quiet"]) == 0
        told = capsys.readouterr().out
        assert ("at chance, as expected: 9 steps" in told) == expected
        assert ("WARNING: the loss is still at chance" in told) != expected


@pytest.mark.slow
def test_what_does_not_decide_the_result_may_change(finished, arguments, small_world, capsys):
    before = finished.history.read_bytes()
    assert pretrain.main([a for a in arguments if a != "--quiet"]) == 0
    assert "is finished" in capsys.readouterr().out
    assert finished.history.read_bytes() == before
    assert pretrain.main(changed(arguments, checkpoint_steps="7", probe_epochs="2")) == 0
    assert "--seed: 0 there, 1 now" in refusal(changed(arguments, seed="1"), capsys)
    elsewhere = small_world.parent / "." / small_world.name
    assert pretrain.main(changed(arguments, collection=f"{elsewhere}/")) == 0


@pytest.mark.slow
def test_what_comes_after_training_is_made_again(finished, arguments):
    run = finished
    before, weights = run.summary, load_backbone(run.saved_model).model.get_weights()
    history = run.history.read_bytes()
    (run.path / "summary.json").unlink()
    for lost in ("saved_model", "figures"):
        shutil.rmtree(run.path / lost)
    assert pretrain.main(arguments) == 0
    assert run.summary == before and run.history.read_bytes() == history
    assert (run.figures / "curves.png").exists()
    for left, right in zip(
        weights, load_backbone(run.saved_model).model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(left, right)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("history.csv", "epoch,speed\n1,2\n", "history.csv: not a whole history"),
        ("history.csv", f"{','.join(training.COLUMNS)}\n1,3,0.5", "history.csv: not a whole"),
        (
            "history.csv",
            ",".join(training.COLUMNS) + "\n1,3" + ",x" * 17,
            "history.csv: not a whole",
        ),
        (  # a loss, a gradient and no number of skipped steps
            "history.csv",
            ",".join(training.COLUMNS) + "\n1,3,0.5,0.1,inf" + ",1" * 14,
            "history.csv: not a whole history (cannot convert float infinity to integer)",
        ),
        (
            "history.csv",
            ",".join(training.COLUMNS) + "\n1,3,,0.1,0" + ",1" * 14,
            "history.csv: not a whole history (could not convert string to float",
        ),
        ("recipe.json", '{"mine": 1}', "recipe.json: not a whole recipe of a run"),
        ("summary.json", "{", "summary.json: not a whole summary"),
    ],
)
def test_damaged_run_files_are_named(finished, arguments, capsys, name, content, word):
    run = finished
    (run.path / "summary.json").unlink()
    (run.path / name).write_text(content)
    assert word in refusal(arguments, capsys)


def test_unknown_excluded_ids_are_counted_and_none_known_is_refused(
    arguments, tmp_path, capsys, monkeypatch
):
    ids = tmp_path / "exclude.txt"
    ids.write_text("track/0001\nelsewhere/1\n")
    loud = [a for a in changed(arguments, exclude=str(ids)) if a != "--quiet"]
    with stopped_in("build_model", monkeypatch):
        pretrain.main(loud)
    assert "1 of 2 ids are not in small, the first is 'elsewhere/1'" in capsys.readouterr().out
    ids.write_text("elsewhere/1\n")
    assert "none of its 1 track ids" in refusal(
        changed(arguments, exclude=str(ids), out=str(tmp_path / "other")), capsys
    )


@pytest.mark.slow
def test_ten_steps_are_profiled_and_no_input_norm_leaves_the_input_alone(arguments, capsys):
    arguments = changed(arguments, epochs="8", input_norm="none")
    assert pretrain.main([*(a for a in arguments if a != "--quiet"), "--profile"]) == 0
    run = run_of(arguments)
    assert f"tensorboard --logdir {run.tensorboard}" in capsys.readouterr().out
    assert len(list(run.tensorboard.glob("**/plugins/profile/*/*.xplane.pb"))) == 1
    assert "profile" not in (run.path / "recipe.json").read_text()
    names = [layer.name for layer in load_backbone(run.saved_model).model.layers]
    assert "standardise" not in names


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"collection": "nowhere"}, "nowhere"),
        ({"groups": "friends"}, "friends"),
        ({"pairs": "playlist_xy"}, "playlist_co"),
        ({"batch": "500"}, "the largest batch that fits is --batch"),
        ({"backbone": "resnet50"}, "--width 0.05: only --backbone vggish"),
        ({"seed": "x"}, "--seed"),
        ({"pairs": "playlist_co,playlist_co"}, "once only"),
        ({"pairs": "playlist_co,"}, "there are: "),
        ({"pairs": "playlist_co,artist_co", "groups": "mine"}, "--groups mine: several"),
        ({"pairs": "playlist_co,artist_co", "pair_weights": "1,x"}, "--pair-weights 1,x: "),
        ({"pair_weights": "1"}, "--pair-weights 1: several pairings"),
        ({"w2v_size": "64"}, "--w2v-size 64: only --pairs playlist_w2v"),
        ({"max_group_length": "9"}, "playlist_w2v and playlist_tco"),
        ({"pairs": "playlist_tco", "max_group_length": "1"}, "--max-group-length 1"),
        ({"pairs": "playlist_w2v", "max_group_length": "20000"}, "10,000"),
        ({"pairs": "playlist_w2v", "max_group_length": "2"}, "none has at most 2 tracks"),
    ],
    ids=str,
)
def test_refuses_in_one_line(arguments, capsys, options, word):
    assert word in refusal(changed(arguments, **options), capsys)
    assert not run_of(arguments).history.exists()


def test_a_loss_that_is_not_finite_stops_and_names_the_tracks(arguments, capsys):
    error = refusal(changed(arguments, learning_rate="1e30", warmup_steps="0"), capsys)
    assert "not finite" in error and "track/00" in error and "--learning-rate" in error
    assert not run_of(arguments).finished
    assert not run_of(arguments).saved_model.exists()


@pytest.mark.slow
def test_a_damaged_shard_stops_with_its_name(arguments, small_world, tmp_path, capsys, monkeypatch):
    copy = shutil.copytree(small_world, tmp_path / "copy")
    shard = sorted(copy.glob("mel-*"))[3]
    build = training.build_model

    def cut(recipe, data):  # after the collection was opened
        os.truncate(shard, 100)
        return build(recipe, data)

    monkeypatch.setattr(training, "build_model", cut)
    assert shard.name in refusal(changed(arguments, collection=str(copy)), capsys)


def test_two_trainings_in_one_folder_are_refused(arguments, capsys):
    from playlist_pretrain.files import folder_lock

    with folder_lock(run_of(arguments).path, "busy"):
        assert "by another process" in refusal(arguments, capsys)


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        ({"mean_cosine": 0.9999, "loss": 3.0, "chance_loss": 4.14}, ["collapsed"]),
        ({"mean_cosine": 0.9, "loss": 4.13, "chance_loss": 4.14}, ["still at chance"]),
        ({"mean_cosine": 1.0, "loss": 4.13, "chance_loss": 4.14, "steps": 99}, ["collapsed"]),
    ],
)
def test_warnings(summary, words):
    found = training.warnings_of({"steps": 100, **summary})
    assert len(found) == len(words)
    for text, word in zip(found, words, strict=True):
        assert word in text


@pytest.mark.slow
def test_resumes_to_the_same_weights_history_and_model(
    arguments, resumed, finished_once, assert_same
):
    assert_same(resumed(arguments, 4), Run(finished_once[0]))


@pytest.mark.long
def test_resnet50_resumes_too(arguments, resumed, run_whole, assert_same, monkeypatch):
    few = {"stackwise_filters": [8, 8], "stackwise_blocks": [1, 1], "stackwise_strides": [1, 2]}
    monkeypatch.setattr("playlist_pretrain.models.resnet50.STACKS", few)
    position = arguments.index("--width")
    arguments = changed(arguments[:position] + arguments[position + 2 :], backbone="resnet50")
    arguments = changed(arguments, epochs="2")
    # the statistics of batches among the weights
    assert_same(resumed(arguments, 4), run_whole(arguments))
    recipe = json.loads((run_of(arguments).path / "recipe.json").read_text())["recipe"]
    assert recipe["width"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pairs", "precision"),
    [
        ("simclr", "mixed_float16"),
        pytest.param("playlist_w2v", "mixed_bfloat16", marks=pytest.mark.long),
    ],
)
def test_mixed_precision_ends_in_a_float32_model(arguments, pairs, precision):
    arguments = changed(arguments, pairs=pairs, precision=precision, micro_batch="2")
    assert pretrain.main([*arguments, "--xla"]) == 0
    run = run_of(arguments)
    recipe = json.loads((run.path / "recipe.json").read_text())["recipe"]
    assert (recipe["precision"], recipe["micro_batch"], recipe["xla"]) == (precision, 2, True)
    assert pretrain.main(arguments) == 0  # --xla does not decide the weights
    model = load_backbone(run.saved_model).model
    assert {layer.dtype_policy.name for layer in model.layers[1:]} == {"float32"}
    assert model(np.ones((2, 16, 64), np.float32)).dtype == "float32"
    assert int(run.summary["skipped_steps"]) < run.summary["steps"]


@pytest.mark.slow
def test_goes_on_from_the_checkpoint_before_a_damaged_one(arguments, capsys, monkeypatch):
    with stopped_in("conclude", monkeypatch):
        pretrain.main(arguments)
    run = run_of(arguments)
    (run.checkpoints / "checkpoint").write_text("garbage")
    (run.checkpoints / "step-4_temp").mkdir()
    for path in run.checkpoints.glob("step-9.data*"):
        path.write_bytes(path.read_bytes()[:100])
    assert pretrain.main(arguments) == 0
    assert "step-9 cannot be read" in capsys.readouterr().out
    assert run.finished and not (run.checkpoints / "step-4_temp").exists()
    for path in run.checkpoints.glob("*.data*"):
        path.write_bytes(b"")
    (run.path / "summary.json").unlink()
    assert "--overwrite starts over" in refusal(arguments, capsys)
