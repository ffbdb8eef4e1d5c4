"""Run folders: taken, gone on with, refused, started over."""

import dataclasses
import json
import os

import pytest

from playlist_pretrain.errors import RunError
from playlist_pretrain.runs import Run, whole_folder
from playlist_pretrain.training.recipes import PretrainRecipe

RECIPE = PretrainRecipe(collection="c", batch=8)
FACTS = {"collection": "key", "exclude": None}


def recipe_of(run):
    return json.loads((run.path / "recipe.json").read_text())["recipe"]


def test_claim_and_go_on(tmp_path):
    run = Run(tmp_path / "runs" / "a")
    assert run.claim(RECIPE, FACTS) is False
    assert run.claim(RECIPE, FACTS) is True
    assert not run.finished
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["packages"]["tensorflow"] and environment["devices"]
    assert recipe_of(run) == dataclasses.asdict(RECIPE)
    run.finish({"loss": 1.0})
    assert not run.finished  # without its model
    run.saved_model.mkdir()
    (run.saved_model / "saved_model.pb").write_bytes(b"")
    assert run.finished and run.summary == {"loss": 1.0}


def test_another_recipe_is_refused_with_the_fields(tmp_path):
    run = Run(tmp_path)
    run.claim(RECIPE, FACTS)
    with pytest.raises(RunError, match="--batch: 8 there, 9 now; --seed: 0 there, 1 now"):
        run.claim(dataclasses.replace(RECIPE, batch=9, seed=1), FACTS)
    with pytest.raises(RunError, match="collection: key there, other now"):
        run.claim(RECIPE, {**FACTS, "collection": "other"})


def test_a_recipe_of_another_version_is_refused(tmp_path):
    run = Run(tmp_path)
    run.claim(RECIPE, FACTS)
    content = json.loads((run.path / "recipe.json").read_text())
    del content["recipe"]["micro_batch"]
    (run.path / "recipe.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match="by another version; fields that differ: micro_batch; "):
        run.claim(RECIPE, FACTS)
    assert run.claim(RECIPE, FACTS, overwrite=True) is False


def test_overwrite_starts_over_and_keeps_what_is_not_ours(tmp_path):
    run = Run(tmp_path)
    run.claim(RECIPE, FACTS)
    run.checkpoints.mkdir()
    (run.checkpoints / "step-1.index").write_text("x")
    (run.path / "notes.txt").write_text("mine")
    run.finish({})
    other = dataclasses.replace(RECIPE, batch=9)
    assert run.claim(other, FACTS, overwrite=True) is False
    assert not run.finished and not run.checkpoints.exists()
    assert (run.path / "notes.txt").read_text() == "mine"
    assert recipe_of(run) == dataclasses.asdict(other)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_folder_is_refused(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match="not a run folder"):
        Run(tmp_path).claim(RECIPE, FACTS, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").exists()
    with pytest.raises(RunError, match="is a file"):
        Run(tmp_path / "thesis.tex").claim(RECIPE, FACTS, overwrite=overwrite)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"recipe": 3}'])
def test_a_damaged_recipe_is_refused(tmp_path, content):
    (tmp_path / "recipe.json").write_text(content)
    for overwrite in (False, True):
        with pytest.raises(RunError, match=r"recipe\.json: not a whole recipe of a run"):
            Run(tmp_path).claim(RECIPE, FACTS, overwrite=overwrite)
    assert (tmp_path / "recipe.json").read_text() == content


def test_what_a_kill_left_does_not_lock_the_folder(tmp_path):
    (tmp_path / ".lock").write_text("")
    (tmp_path / ".recipe.json.123.tmp").write_text("{")
    assert Run(tmp_path).claim(RECIPE, FACTS) is False
    (tmp_path / ".saved_model.tmp").mkdir()
    assert Run(tmp_path).claim(RECIPE, FACTS, overwrite=True) is False
    assert not list(tmp_path.glob(".*.tmp"))


def test_what_does_not_decide_the_weights_may_change(tmp_path):
    run = Run(tmp_path)
    run.claim(RECIPE, FACTS)
    other = dataclasses.replace(RECIPE, collection="./c", checkpoint_steps=7, probe_epochs=3)
    assert run.claim(other, FACTS) is True


@pytest.mark.parametrize("content", ["", "[]", "3", "[" * 99_999, '{"loss": NaN}', '{"runs": []}'])
def test_a_summary_that_is_none_is_one_message(tmp_path, content):
    from playlist_pretrain.training.finetune import TaggingRuns

    (tmp_path / "summary.json").write_text(content)
    runs = TaggingRuns(tmp_path)
    for use in (lambda: runs.best, lambda: repr(runs)):
        with pytest.raises(RunError, match=r"summary\.json: not a whole summary \(") as caught:
            use()
        assert str(caught.value).count("summary.json") == 1
        assert str(caught.value).endswith("; remove it to have it made anew")


def test_copies_of_checkpoints_and_odd_histories_are_no_faults(tmp_path):
    from playlist_pretrain.training.engine import checkpoint_steps, read_history

    for name in (
        "step-10.index", "step-5.index", "step-5 (copy).index", "step-.index", "step-x.index",
        "step-7.data-00000-of-00001", "step-٣.index", "step-6.index.bak",
    ):  # fmt: skip
        (tmp_path / name).write_text("")
    assert checkpoint_steps(tmp_path) == [5, 10]
    path, columns = tmp_path / "history.csv", ("epoch", "step", "probe")
    path.write_text("epoch,step,probe\n1,10,0.5\n2,20,\n")
    assert [row["step"] for row in read_history(path, columns)] == ["10", "20"]
    for row in ("1.5,10,0", ",10,0", "1,-1,0", f"1,{'9' * 5000},0", "1,10,x", "1,10", "1,10,0,0"):
        path.write_text(f"epoch,step,probe\n{row}\n")
        with pytest.raises(RunError, match=r"history\.csv: not a whole history"):
            read_history(path, columns)


def test_errors_of_writing_name_files_in_the_folder_that_is_meant(tmp_path):
    outer = tmp_path / "outer"
    with (
        pytest.raises(OSError, match="full") as caught,
        whole_folder(outer) as first,
        whole_folder(first / "inner") as second,
    ):
        second.mkdir(parents=True)
        raise OSError(28, "full", str(second / "a.json"))
    assert caught.value.filename == str(outer / "inner" / "a.json")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    path, replace = tmp_path / "model", os.replace
    path.mkdir()
    (path / "old").touch()

    def full(source, target):
        if source.name == ".model.tmp":
            raise OSError(28, "full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="full"), whole_folder(path) as folder:
        folder.mkdir()
    assert [one.name for one in tmp_path.rglob("*")] == ["model", "old"]
