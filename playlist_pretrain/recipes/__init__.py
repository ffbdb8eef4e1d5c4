"""The settings of a run: typed, frozen, saved with it, every one of them used."""

from playlist_pretrain.recipes.finetuning import FinetuneRecipe
from playlist_pretrain.recipes.pretraining import (
    DEFAULT_GROUPS,
    SMALLEST_LEARNED_TEMPERATURE,
    PretrainRecipe,
)
from playlist_pretrain.recipes.recipe import option

__all__ = [
    "DEFAULT_GROUPS",
    "SMALLEST_LEARNED_TEMPERATURE",
    "FinetuneRecipe",
    "PretrainRecipe",
    "option",
]
