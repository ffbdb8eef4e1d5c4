"""Recipes: presets, what follows from the number of steps, and refusals."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.training.recipes import (
    CPU_SECONDS,
    FEW_TAGGED,
    OF_PRETRAIN_PRESETS,
    PAPER_PAIRS,
    PRETRAIN_PRESETS,
    WINDOWS_A_SECOND,
    FinetuneRecipe,
    Machine,
    PretrainRecipe,
    fitted,
    option,
)

TWO_CORES = Machine(2)
MACHINES = [Machine(1), TWO_CORES, Machine(16), Machine(8, gpus=1), Machine(8, gpus=4, replicas=4)]


def fit(count, machine=TWO_CORES, bands=96, **options):
    """The recipe of ``--preset auto`` for so many pairs, and its steps an epoch."""
    asked = PretrainRecipe(**options)
    found = fitted(asked, count, machine, frames=256, bands=bands)
    recipe = asked.resolve(demo=False, window_frames=256, fit=found)
    steps = count // recipe.batch
    return recipe.with_steps(steps, keep_warmup=asked.warmup_steps is not None), steps


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@pytest.mark.parametrize("pairs", [PAPER_PAIRS, PAPER_PAIRS + 1, 826_368])
def test_auto_is_the_papers_recipe_from_100_000_pairs_on(pairs, machine):
    paper = PretrainRecipe(preset="paper").resolve(demo=False, window_frames=256)
    assert fit(pairs, machine)[0] == paper.with_steps(pairs // 384)
    assert paper.keep == "last"


@settings(max_examples=300, deadline=None)
@given(st.integers(2, PAPER_PAIRS - 1), st.sampled_from(MACHINES[:4]))
def test_auto_fits_any_number_of_pairs(pairs, machine):
    recipe, steps = fit(pairs, machine)
    assert 2 <= recipe.batch <= pairs and recipe.batch <= 384
    assert steps >= min(10, max(1, pairs // 8))
    assert recipe.preset == "auto" and recipe.keep == "best"
    assert recipe.warmup_steps == recipe.epochs * steps // 10
    probes = recipe.epochs / recipe.probe_epochs
    assert probes <= 50 and (probes >= 12 or recipe.epochs < 25)
    assert recipe.probe_epochs == recipe.checkpoint_epochs
    windows = 2 * recipe.batch * steps * recipe.epochs
    if not machine.gpus:
        assert windows <= CPU_SECONDS * WINDOWS_A_SECOND * machine.cores or recipe.epochs == 1
        assert recipe.epochs * steps >= 400 or recipe.epochs == 1
    else:
        assert recipe.epochs * steps >= 400 and recipe.epochs >= 50


@pytest.mark.parametrize("machine", MACHINES[:4], ids=str)
def test_auto_never_shrinks_where_there_are_more_pairs(machine):
    found = [fit(pairs, machine)[0] for pairs in range(2, 5000)]
    for name in ("batch", "width"):
        values = [getattr(recipe, name) for recipe in found]
        assert values == sorted(values)


def test_auto_on_a_few_hundred_tracks():
    recipe, steps = fit(374)
    assert (recipe.batch, recipe.width, recipe.epochs, steps) == (32, 0.25, 50, 11)
    assert (recipe.learning_rate, recipe.warmup_steps, recipe.probe_epochs) == (2e-4, 55, 2)
    assert fit(20_000, Machine(8, gpus=1))[0].width == 1.0
    assert fit(20_000, Machine(4))[0].epochs == 2 * fit(20_000)[0].epochs


def test_auto_heeds_what_is_given_and_what_is_more_to_do():
    assert fit(20_000, width=1.0)[0].epochs == 1
    assert fit(20_000, backbone="resnet50")[0].epochs == 1
    alone, both = fit(20_000)[0], fit(20_000, pairs="playlist_co,artist_co")[0]
    assert both.epochs == alone.epochs // 2
    chosen = {"batch": 50, "epochs": 7, "warmup_steps": 3, "keep": "last", "probe_epochs": 5}
    recipe, _ = fit(374, **chosen)
    assert {name: getattr(recipe, name) for name in chosen} == chosen
    assert recipe.checkpoint_epochs == 1
    assert fit(374, Machine(8, gpus=3, replicas=3))[0].batch == 30
    assert fit(20, Machine(8, gpus=4, replicas=4))[0].batch == 8


def test_a_settled_recipe_leaves_nothing_open():
    settled = fit(374)[0]
    assert settled.open == [] and PretrainRecipe().open == list(OF_PRETRAIN_PRESETS)
    again = fitted(settled, 9_000, Machine(64), frames=256, bands=96)
    assert settled.resolve(demo=False, window_frames=256, fit=again) == settled
    resnet = PretrainRecipe(backbone="resnet50").open
    assert set(OF_PRETRAIN_PRESETS) - set(resnet) == {"width"}


def test_few_tagged_tracks_have_a_recipe_that_fits():
    def found(tracks, **options):
        recipe = FinetuneRecipe(**options)
        return dataclasses.asdict(recipe.resolve(demo=False, window_frames=256, tracks=tracks))

    few, many = found(FEW_TAGGED - 1), found(FEW_TAGGED)
    assert (few["preset"], few["batch"], few["width"]) == ("demo", 16, 0.25)
    assert (many["preset"], many["batch"], many["width"]) == ("paper", 64, 1.0)
    assert found(10, preset="paper")["batch"] == 64 and found(10, batch=4)["batch"] == 4


def test_the_papers_recipe_is_what_is_checked_before_pairs_are_known():
    recipe = PretrainRecipe(collection="x").resolve(demo=False, window_frames=256)
    assert recipe.with_steps(2152) == recipe
    wanted = {
        "preset": "paper", "batch": 384, "epochs": 50, "learning_rate": 1e-4,
        "warmup_steps": 5000, "temperature": 0.1, "width": 1.0, "frames": 256,
    }  # fmt: skip
    assert {name: getattr(recipe, name) for name in wanted} == wanted


@pytest.mark.parametrize("demo", [False, True])
def test_fast_is_one_small_epoch_of_any_collection(demo):
    recipe = PretrainRecipe(preset="fast").resolve(demo=demo, window_frames=256).with_steps(3)
    assert (recipe.preset, recipe.batch, recipe.width, recipe.epochs) == ("fast", 4, 0.05, 1)
    assert recipe.warmup_steps == 0
    tagger = FinetuneRecipe(preset="fast").resolve(demo=demo, window_frames=256)
    assert (tagger.batch, tagger.width, tagger.epochs, tagger.runs) == (4, 0.05, 1, 1)
    two = FinetuneRecipe(preset="fast", model=("a", "b")).resolve(demo=demo, window_frames=256)
    assert (two.width, two.runs) == (None, 1)
    given = FinetuneRecipe(preset="fast", runs=2, epochs=3, width=0.1)
    given = given.resolve(demo=demo, window_frames=256)
    assert (given.width, given.epochs, given.runs) == (0.1, 3, 2)


def test_what_is_given_wins_over_the_preset():
    given = PretrainRecipe(batch=24, epochs=150, learning_rate=2e-4, warmup_steps=100, width=0.25)
    recipe = given.resolve(demo=False, window_frames=256).with_steps(2)
    for field in ("batch", "epochs", "learning_rate", "warmup_steps", "width"):
        assert getattr(recipe, field) == getattr(given, field)
    assert PretrainRecipe(preset="paper").resolve(demo=True, window_frames=256).batch == 384
    assert PretrainRecipe().resolve(demo=True, window_frames=256).preset == "demo"


def test_a_short_run_warms_up_for_a_tenth():
    recipe = PretrainRecipe(epochs=10).resolve(demo=False, window_frames=96)
    assert recipe.with_steps(50).warmup_steps == 50
    assert recipe.with_steps(50, keep_warmup=True).warmup_steps == 5000


@pytest.mark.parametrize(
    "bad",
    [
        {"batch": 1}, {"epochs": 0}, {"learning_rate": 0.0}, {"temperature": -1.0},
        {"width": 0.0}, {"probe_share": 1.0},
        {"preset": "slow"}, {"initializer": "zeros"}, {"micro_batch": 40},
        {"keep": "first"}, {"seed": -1}, {"precision": "float16"}, {"hard_negatives": float("nan")},
    ],
    ids=str,
)  # fmt: skip
def test_refuses_by_option_and_value(bad):
    ((field, value),) = bad.items()
    with pytest.raises(RecipeError) as refused:
        PretrainRecipe(**bad).resolve(demo=False, window_frames=256)
    assert str(refused.value).startswith(f"{option(field)} {value}: ")


def test_a_learned_temperature_starts_above_where_it_stops():
    with pytest.raises(RecipeError, match=r"--temperature 0\.005: must be at least 0\.01"):
        PretrainRecipe(temperature=0.005, learnable_temperature=True).resolve(
            demo=False, window_frames=256
        )


def test_a_run_that_goes_on_keeps_its_preset():
    fit = dict(PRETRAIN_PRESETS["demo"], epochs=7)
    settled = PretrainRecipe().resolve(demo=False, window_frames=256, fit=fit)
    again = settled.resolve(demo=False, window_frames=256)
    assert settled.preset == "auto" and again == settled
