"""A setting that nothing reads is worse than none: the user believes in it."""

import contextlib
import dataclasses
import shutil
import sys
from pathlib import Path

import pytest

from playlist_pretrain.cli import finetune, pretrain
from playlist_pretrain.errors import RecipeError, TableError, TaskError
from playlist_pretrain.pairs import PAIRINGS
from playlist_pretrain.tasks import read_task
from playlist_pretrain.training.recipes import FinetuneRecipe, PretrainRecipe
from playlist_pretrain.training.strategy import make_strategy

PACKAGE = str(Path(pretrain.__file__).parents[1])
BOOKKEEPING = {
    "_check", "_check_pairings", "check", "resolve", "_reads", "recipe", "check_choices",
    "check_at_least", "check_above_zero", "what_decides", "of_command", "open", "with_saved",
}  # fmt: skip
"""Functions that look at a setting to refuse or to copy it: that is no use of it."""


def user_of(frame):
    """Function of the package that asked, past comprehensions; None for anybody else."""
    while frame.f_code.co_name.startswith("<"):
        frame = frame.f_back
    name = frame.f_code.co_name
    return name if frame.f_code.co_filename.startswith(PACKAGE) else None


@pytest.fixture
def seen(monkeypatch):
    """Names of the fields of recipes that a function of the package has used."""
    names = set()

    def watched(self, name):
        if user_of(sys._getframe(1)) not in {None, *BOOKKEEPING}:
            names.add(name)
        return object.__getattribute__(self, name)

    for recipe in (PretrainRecipe, FinetuneRecipe):
        monkeypatch.setattr(recipe, "__getattribute__", watched)
    return names


def unread(recipe_type, seen):
    return sorted({field.name for field in dataclasses.fields(recipe_type)} - seen)


@pytest.mark.long
def test_every_field_of_a_recipe_is_used_by_some_run(
    probed_arguments, probed_world, tmp_path, seen
):
    # Without the tables that other tests may have made of it: then nothing would read how.
    world = shutil.copytree(
        probed_world, tmp_path / "world", ignore=shutil.ignore_patterns("w2v-*", "tco-*")
    )
    arguments = probed_arguments
    arguments[arguments.index("--collection") + 1] = str(world)
    for pairs in PAIRINGS:
        out = ["--out", str(tmp_path / pairs), "--epochs", "1"]
        assert pretrain.main([*arguments, "--pairs", pairs, *out]) == 0
    # TensorFlow has started with one device, so two replicas are refused, after a look.
    with contextlib.suppress(RecipeError):
        make_strategy("mirrored", 2)
    assert unread(PretrainRecipe, seen) == []


@pytest.mark.long
def test_every_field_of_a_fine_tuning_is_used_by_some_run(tagging_arguments, seen, capsys):
    assert finetune.main([*tagging_arguments, "--runs", "1", "--epochs", "1"]) == 0
    assert finetune.main([*tagging_arguments[:4], "--model", "audioset", "--weights", "none"]) == 1
    assert "none" in capsys.readouterr().err
    for task in ("jamendo-genre", "mtat"):
        with contextlib.suppress(TaskError, TableError):
            read_task(FinetuneRecipe(task=task, splits="nowhere"))
    with contextlib.suppress(RecipeError):
        make_strategy("mirrored", 2)
    assert unread(FinetuneRecipe, seen) == []
