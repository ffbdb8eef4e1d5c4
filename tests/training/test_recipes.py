"""Recipes: presets, what follows from the number of steps, and refusals."""

import pytest

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.training.recipes import FinetuneRecipe, PretrainRecipe, option


def test_the_papers_recipe_is_the_default_of_any_collection():
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
        {"seed": -1}, {"precision": "float16"}, {"hard_negatives": float("nan")},
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
