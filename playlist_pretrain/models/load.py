"""What gives embeddings: a saved model, a model of Essentia's, and two that know nothing.

What a fine-tuning starts from: a saved model, new weights, the original VGGish, or a model that
Essentia publishes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.files import content_key
from playlist_pretrain.records.schema import SMALLEST_STD
from playlist_pretrain.training.recipes import AUDIOSET, ESSENTIA, SCRATCH

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.training.recipes import FinetuneRecipe

MEAN_OF_MEL = "mean-of-mel"
"""The mean of the standardised log-mel over the frames of a window: what any model has to beat."""


@dataclass(frozen=True)
class Embedder:
    """A model from windows to embeddings, ready to run.

    Attributes
    ----------
    label : str
        For tables.
    model : tf.keras.Model
        ``log-mel float32 [batch, frames, bands] → float32 [batch, dim]``.
    front_end : FrontEnd
        Makes its log-mels.
    key : str
        Changes when its weights do.
    """

    label: str
    model: tf.keras.Model
    front_end: FrontEnd
    key: str

    @property
    def frames(self) -> int:
        """Frames of a window."""
        return self.model.input_shape[1]

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.model.output_shape[-1]


@dataclass(frozen=True)
class Untrained:
    """What a model that is not trained is made from.

    Attributes
    ----------
    front_end : FrontEnd
        Of the mels it will get.
    mean, std : np.ndarray float32 [bands]
        Of each band of these mels.
    backbone : str
        Of ``scratch``: a name of :data:`~playlist_pretrain.models.BACKBONES`.
    width : float
        Of ``scratch``.
    frames : int
        Of a window.
    seed : int
        Of the weights.
    """

    front_end: FrontEnd
    mean: np.ndarray
    std: np.ndarray
    backbone: str = "vggish"
    width: float = 1.0
    frames: int = 256
    seed: int = 0


def load_embedder(name: str, untrained: Untrained | None = None) -> Embedder:
    """What ``--model name`` stands for where embeddings are asked of it.

    Parameters
    ----------
    name : str
        Folder of a SavedModel (of a tagger, the embedding before its head is taken), the ``.pb``
        of a model that Essentia publishes or ``export.py`` made, ``scratch`` or ``mean-of-mel``.
    untrained : Untrained, optional
        For the last two.

    Raises
    ------
    ModelError
        No such model, or it cannot be loaded.
    RecipeError
        For an unknown backbone, or a model without weights where there is nothing to make it from.
    """
    if name in (SCRATCH, MEAN_OF_MEL):
        if untrained is None:
            raise RecipeError(f"--model {name}: it is no trained model; here one is needed")
        return _scratch(untrained) if name == SCRATCH else _mean_of_mel(untrained)
    if name.endswith(ESSENTIA):
        from playlist_pretrain.models.frozen import read_package

        package = read_package(name)
        return Embedder(label_of(name, None), package.backbone(), package.front_end, package.key)
    return _saved(name)


def _saved(name: str) -> Embedder:
    import tensorflow as tf

    from playlist_pretrain.models.saved_model import SavedTagger, check_there, load_model
    from playlist_pretrain.models.tagger import embedding_of

    check_there(name, " or the .pb of a model for Essentia")
    saved = load_model(name)
    model = saved.model
    if isinstance(saved, SavedTagger):
        model = tf.keras.Model(model.inputs, embedding_of(model))
    return Embedder(label_of(name, None), model, saved.front_end, weights_key(model))


def _scratch(untrained: Untrained) -> Embedder:
    from playlist_pretrain.models import BACKBONES

    model = BACKBONES.get(untrained.backbone)(
        frames=untrained.frames,
        bands=untrained.front_end.bands,
        mean=untrained.mean,
        std=untrained.std,
        seed=untrained.seed,
        **({"width": untrained.width} if untrained.backbone == "vggish" else {}),
    )
    label = label_of(SCRATCH, untrained.backbone)
    return Embedder(label, model, untrained.front_end, weights_key(model))


def _mean_of_mel(untrained: Untrained) -> Embedder:
    import tensorflow as tf

    std = np.maximum(untrained.std, SMALLEST_STD)
    inputs = tf.keras.Input((untrained.frames, untrained.front_end.bands), name="melspectrogram")
    standard = tf.keras.layers.Normalization(axis=-1, mean=untrained.mean, variance=std**2)(inputs)
    model = tf.keras.Model(inputs, tf.keras.layers.GlobalAveragePooling1D()(standard))
    statistics = (np.asarray(a, np.float32).tobytes() for a in (untrained.mean, std))
    return Embedder(MEAN_OF_MEL, model, untrained.front_end, content_key(*statistics))


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
        return _scratch_of_starting_points(recipe, collection)
    if name == AUDIOSET:
        point = _audioset(recipe)
    else:
        point = (
            _essentia(name) if name.endswith(ESSENTIA) else _saved_of_starting_points(Path(name))
        )
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


def _scratch_of_starting_points(recipe: FinetuneRecipe, collection: Collection) -> StartingPoint:
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
    from playlist_pretrain.models.audioset import FRONT_END, audioset_vggish, load_audioset_weights
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
    from playlist_pretrain.models.frozen import read_package

    package = read_package(name)
    return StartingPoint(
        label_of(name, None),
        package.front_end,
        package.frames,
        package.key,
        lambda seed: package.backbone(),
    )


def _saved_of_starting_points(path: Path) -> StartingPoint:
    from playlist_pretrain.models.layers import under_policy
    from playlist_pretrain.models.saved_model import check_there, load_backbone

    check_there(path, ", the .pb of a model that Essentia publishes, scratch or audioset")
    saved = load_backbone(path)
    return StartingPoint(
        label_of(str(path), None),
        saved.front_end,
        saved.frames,
        weights_key(saved.model),
        lambda seed: under_policy(saved.model),
    )
