"""What gives embeddings: a saved model, a model of Essentia's, and two that know nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.files import content_key
from playlist_pretrain.models.starting_points import label_of, weights_key
from playlist_pretrain.recipes.finetuning import ESSENTIA, SCRATCH
from playlist_pretrain.records.schema import SMALLEST_STD

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import FrontEnd

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
        from playlist_pretrain.models.essentia_package import read_package

        package = read_package(name)
        return Embedder(label_of(name, None), package.backbone(), package.front_end, package.key)
    return _saved(name)


def _saved(name: str) -> Embedder:
    import tensorflow as tf

    from playlist_pretrain.export.saved_model import SavedTagger, check_there, load_model
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
