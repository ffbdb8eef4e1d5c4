"""The steps that a plan asks for, as whole epochs of a pairing whose epochs differ in size."""

import dataclasses
import types

import pytest

from playlist_pretrain.errors import RunError
from playlist_pretrain.experiments.cell_run import settled
from playlist_pretrain.experiments.cells import PRETRAIN, Cell
from playlist_pretrain.training import pretrain_data as inputs


@pytest.fixture
def asked(monkeypatch):
    """Epochs that a stream was planned for; of 100 and more, the shortest has two steps."""

    def plan(pairings, batch, epochs, **_):
        asked.append(epochs)
        return types.SimpleNamespace(steps_per_epoch=3 if epochs < 100 else 2)

    def settle(given, *, steps):
        recipe = given.resolve(demo=False, window_frames=256)
        if steps is not None:
            recipe = dataclasses.replace(recipe, epochs=given.epochs)
        recipe, stream = inputs.planned(given, recipe, [], steps)
        return recipe, types.SimpleNamespace(stream=stream)

    asked = []
    monkeypatch.setattr(inputs, "plan", plan)
    monkeypatch.setattr(inputs, "settle", settle)
    return asked


def cell(steps, **options):
    options = {
        "collection": "x",
        "pairs": "playlist_tco",
        "batch": 32,
        "preset": "paper",
        **options,
    }
    spec = {"verb": "pretrain", "options": options, "steps": steps}
    return Cell("pretrain/x", PRETRAIN, spec)


@pytest.mark.parametrize(
    ("steps", "epochs", "tried"),
    [(1197, 598, [1, 399, 598]), (270, 90, [1, 90]), (300, 150, [1, 100, 150]), (3, 1, [1])],
)
def test_epochs_make_the_steps_asked_for(asked, steps, epochs, tried):
    recipe, data = settled(cell(steps))
    assert (recipe.epochs, asked) == (epochs, tried)
    assert abs(recipe.epochs * data.stream.steps_per_epoch - steps) <= 1


def test_steps_that_no_epochs_have(asked):
    with pytest.raises(RunError, match="pretrain/x: 10 steps are no whole number of epochs of 3"):
        settled(cell(10))
