"""What a fine-tuning starts from: a saved model, new weights, the original VGGish, or a model that
Essentia publishes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from playlist_pretrain.files import content_key
from playlist_pretrain.recipes.finetuning import AUDIOSET, ESSENTIA, SCRATCH

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.recipes import FinetuneRecipe
    from playlist_pretrain.records.collection import Collection


@dataclass(frozen=True)
class StartingPoint:
    """A backbone before fine-tuning.

    Attributes
    ----------
    label : str
        For tables and folders.
    front_end : FrontEnd
        Makes what the backbone takes.
    frames : int
        Frames of its windows.
    key : str
        Changes when its weights do; empty for new weights, which the seed of a run decides.
    build : callable
        ``seed → backbone [batch, frames, bands] → [batch, dim]``, a new one at every call, under
        the policy and the strategy that are in force.
    """

    label: str
    front_end: FrontEnd
    frames: int
    key: str
    build: Callable[[int], tf.keras.Model]


def starting_point(name: str, recipe: FinetuneRecipe, collection: Collection) -> StartingPoint:
    """What ``--model name`` stands for.

    Raises
    ------
    ModelError
        If the saved model, or the package of Essentia, cannot be loaded.
    FrontEndError
        If the collection was made by another front end than the backbone takes.
    RecipeError
        For an unknown backbone.
    """
    if name == SCRATCH:
        return _scratch(recipe, collection)
    if name == AUDIOSET:
        point = _audioset(recipe)
    else:
        point = _essentia(name) if name.endswith(ESSENTIA) else _saved(Path(name))
    point.front_end.check_same(
        collection.front_end, f"the model {name}", f"collection {collection.name}"
    )
    return point


def label_of(name: str, backbone: str | None) -> str:
    """Label of ``--model name``, before anything is loaded."""
    if name in (SCRATCH, AUDIOSET):
        return f"{name}-{backbone or 'vggish'}"
    path = Path(name)
    if name.endswith(ESSENTIA):
        return path.stem
    return path.resolve().parent.name if path.name == "saved_model" else path.resolve().name


def _scratch(recipe: FinetuneRecipe, collection: Collection) -> StartingPoint:
    from playlist_pretrain.models import BACKBONES

    make = BACKBONES.get(recipe.backbone)
    standardise = recipe.input_norm == "band"

    def build(seed: int) -> tf.keras.Model:
        return make(
            frames=recipe.frames,
            bands=collection.front_end.bands,
            mean=collection.band_mean if standardise else None,
            std=collection.band_std if standardise else None,
            initializer=recipe.initializer,
            seed=seed,
            **({} if recipe.width is None else {"width": recipe.width}),
        )

    label = label_of(SCRATCH, recipe.backbone)
    return StartingPoint(label, collection.front_end, recipe.frames, "", build)


def _audioset(recipe: FinetuneRecipe) -> StartingPoint:
    from playlist_pretrain.models.audioset import (
        FRONT_END,
        audioset_vggish,
        load_audioset_weights,
    )
    from playlist_pretrain.models.layers import under_policy

    model = audioset_vggish()
    load_audioset_weights(model, recipe.weights)
    return StartingPoint(
        label_of(AUDIOSET, None),
        FRONT_END,
        model.input_shape[1],
        weights_key(model),
        lambda seed: under_policy(model),
    )


def weights_key(model: tf.keras.Model) -> str:
    """Changes when the weights of a model do."""
    return content_key(*(weights.tobytes() for weights in model.get_weights()))


def _essentia(name: str) -> StartingPoint:
    from playlist_pretrain.models.essentia_package import read_package

    package = read_package(name)
    return StartingPoint(
        label_of(name, None),
        package.front_end,
        package.frames,
        package.key,
        lambda seed: package.backbone(),
    )


def _saved(path: Path) -> StartingPoint:
    from playlist_pretrain.export.saved_model import check_there, load_backbone
    from playlist_pretrain.models.layers import under_policy

    check_there(path, ", the .pb of a model that Essentia publishes, scratch or audioset")
    saved = load_backbone(path)
    return StartingPoint(
        label_of(str(path), None),
        saved.front_end,
        saved.frames,
        weights_key(saved.model),
        lambda seed: under_policy(saved.model),
    )
