"""Loading of any model: SavedModels, models for Essentia, exported packages, baselines."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.errors import ModelError, RecipeError, first_line
from playlist_pretrain.files import content_key, load_json, whole
from playlist_pretrain.messages import command
from playlist_pretrain.models import AUDIOSET, ESSENTIA, MEAN_OF_MEL, SCRATCH, backbone
from playlist_pretrain.models.saved_model import METADATA, MODEL_FORMAT
from playlist_pretrain.records.schema import SMALLEST_STD
from playlist_pretrain.runs import unfinished

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.records.collection import Collection


@dataclass(frozen=True)
class LoadedModel:
    """A model with what is needed to run it.

    The ``label`` is for tables and folders. The ``model`` is ``log-mel float32 [batch, frames,
    bands] → float32 [batch, n]``: embeddings, or the activations of a tagger, whose ``classes`` are
    in their order (a backbone has none); ``front_end`` makes its log-mels. The ``key`` changes with
    the weights that embeddings depend on, and is empty for weights yet to be drawn. ``path`` is the
    SavedModel or ``.pb`` it was read from, ``about`` what was saved with it (recipe, collection and
    so on). Where the weights are random, :meth:`build` makes backbones from ``untrained``.
    """

    label: str
    model: tf.keras.Model
    front_end: FrontEnd
    key: str
    classes: tuple[str, ...] = ()
    path: Path | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    untrained: Untrained | None = None

    @property
    def frames(self) -> int:
        """Frames of a window."""
        return self.model.input_shape[1] if self.untrained is None else self.untrained.frames

    @property
    def window_seconds(self) -> float:
        """Seconds of audio in a window."""
        return self.frames * self.front_end.hop_length / self.front_end.sample_rate

    @property
    def dim(self) -> int:
        """Values a window: length of an embedding, or number of classes."""
        return self.model.output_shape[-1]

    def embedder(self) -> LoadedModel:
        """Return the backbone of a tagger; a backbone as it is."""
        if not self.classes:
            return self
        import tensorflow as tf

        from playlist_pretrain.models.tagger import embedding_of

        model = tf.keras.Model(self.model.inputs, embedding_of(self.model))
        return dataclasses.replace(self, model=model, classes=())

    def build(self, seed: int = 0) -> tf.keras.Model:
        """Copy the backbone to train it further, under the policy and strategy in force.

        ``seed`` is that of new weights where the model is untrained.
        """
        if self.untrained is not None:
            return self.untrained.build(seed)
        from playlist_pretrain.models.layers import under_policy

        return under_policy(self.embedder().model)


@dataclass(frozen=True)
class Untrained:
    """Settings of a model without trained weights.

    ``mean`` and ``std`` (float32 [bands]) are those of the mels it will get, None for input that
    is not standardised; ``frames`` those of a window; the others are for ``scratch``, see
    :func:`~playlist_pretrain.models.backbone`.
    """

    front_end: FrontEnd
    mean: np.ndarray | None
    std: np.ndarray | None
    backbone: str = "vggish"
    width: float | None = None
    initializer: str = "he_normal"
    frames: int = 256
    seed: int = 0

    def build(self, seed: int) -> tf.keras.Model:
        """Build the backbone with the weights of a seed."""
        return backbone(
            self.backbone, frames=self.frames, bands=self.front_end.bands, mean=self.mean,
            std=self.std, initializer=self.initializer, seed=seed, width=self.width,
        )  # fmt: skip


def load_model(
    name: str | Path,
    untrained: Untrained | None = None,
    *,
    weights: str | Path | None = None,
    trust: bool = False,
) -> LoadedModel:
    """Load a model of any kind, after its layers and operations were looked at.

    Parameters
    ----------
    name : str or Path
        Folder of a SavedModel of a run; ``.pb`` of a model that Essentia publishes; folder of an
        exported package; ``audioset``, ``scratch`` or ``mean-of-mel``.
    untrained : Untrained, optional
        Settings of the last two.
    weights : str or Path, optional
        Checkpoint of the original VGGish, for ``audioset``.
    trust : bool
        Load it whatever it does: code in it runs as you. See :mod:`~playlist_pretrain.models.trust`
        for what is refused otherwise.

    Raises
    ------
    ModelError
        No such model, or it is damaged or refused: names the file, and the layer or operation.
    RecipeError
        Unknown backbone, or an untrained model where a trained one is needed, or
        ``audioset`` without ``weights``.
    """
    name = str(name)
    if name in (SCRATCH, MEAN_OF_MEL):
        if untrained is None:
            raise RecipeError(f"--model {name}: it is no trained model; here one is needed")
        if name == MEAN_OF_MEL:
            return _mean_of_mel(untrained)
        model, label = untrained.build(untrained.seed), label_of(SCRATCH, untrained.backbone)
        front_end, key = untrained.front_end, weights_key(model)
        return LoadedModel(label, model, front_end, key, untrained=untrained)
    if name == AUDIOSET:
        from playlist_pretrain.models import audioset

        if weights is None:
            raise RecipeError(f"--model {name}: the checkpoint of its weights is needed")
        model = audioset.audioset_vggish()
        audioset.load_audioset_weights(model, weights)
        return LoadedModel(label_of(name), model, audioset.FRONT_END, weights_key(model))
    path = _content_of_package(Path(name))
    if path.name.endswith(ESSENTIA):
        from playlist_pretrain.models.frozen import read_essentia

        model, front_end, key = read_essentia(path, trust=trust)
        return LoadedModel(label_of(name), model, front_end, key, path=path)
    return dataclasses.replace(_saved(path, trust), label=label_of(name))


def load_embedder(
    name: str | Path, untrained: Untrained | None = None, *, trust: bool = False
) -> LoadedModel:
    """Load a model without the head of a tagger."""
    return load_model(name, untrained, trust=trust).embedder()


def load_backbone(
    path: str | Path, *, weights: str | Path | None = None, trust: bool = False
) -> LoadedModel:
    """Load a backbone; raise ModelError for a tagger."""
    loaded = load_model(path, weights=weights, trust=trust)
    if loaded.classes:
        raise ModelError(f"{path}: a tagger, not a backbone: it was fine-tuned already")
    return loaded


def load_tagger(path: str | Path, *, trust: bool = False) -> LoadedModel:
    """Load a tagger; raise ModelError for a backbone."""
    loaded = load_model(path, trust=trust)
    if not loaded.classes:
        raise ModelError(f"{path}: no tagger: it has no classes; {command('finetune')} makes one")
    return loaded


def starting_point(
    name: str, recipe: Any, collection: Collection, *, trust: bool = False
) -> LoadedModel:
    """Load the model that a fine-tuning starts from; its ``build`` makes one for each run.

    Raises FrontEndError for a collection of another front end, and otherwise as :func:`load_model`.
    """
    if name == SCRATCH:
        statistics = collection.band_mean, collection.band_std
        untrained = Untrained(
            collection.front_end, *(statistics if recipe.input_norm == "band" else (None, None)),
            recipe.backbone, recipe.width, recipe.initializer, recipe.frames,
        )  # fmt: skip
        label = label_of(SCRATCH, recipe.backbone)
        return LoadedModel(label, None, collection.front_end, "", untrained=untrained)
    point = load_backbone(name, weights=recipe.weights, trust=trust)
    if not (recipe.freeze or point.model.trainable_weights):  # the folder of a package
        raise RecipeError(f"--model {name}: its graph is frozen: give --freeze")
    point.front_end.check_same(
        collection.front_end, f"the model {name}", f"collection {collection.name}"
    )
    return point


def label_of(name: str, backbone: str | None = None) -> str:
    """Label of a model given as ``--model name``, before it is loaded."""
    if name in (SCRATCH, AUDIOSET):
        return f"{name}-{backbone or 'vggish'}"
    path = Path(name)
    if name.endswith(ESSENTIA):
        return path.stem
    return path.resolve().parent.name if path.name == "saved_model" else path.resolve().name


def weights_key(model: tf.keras.Model) -> str:
    """Hash the weights of a model."""
    return content_key(*(weights.tobytes() for weights in model.get_weights()))


def _mean_of_mel(untrained: Untrained) -> LoadedModel:
    import tensorflow as tf

    std = np.maximum(untrained.std, SMALLEST_STD)
    inputs = tf.keras.Input((untrained.frames, untrained.front_end.bands), name="melspectrogram")
    standard = tf.keras.layers.Normalization(axis=-1, mean=untrained.mean, variance=std**2)(inputs)
    model = tf.keras.Model(inputs, tf.keras.layers.GlobalAveragePooling1D()(standard))
    statistics = (np.asarray(a, np.float32).tobytes() for a in (untrained.mean, std))
    return LoadedModel(MEAN_OF_MEL, model, untrained.front_end, content_key(*statistics))


def _content_of_package(path: Path) -> Path:
    """Path of the model in the folder of an exported package; other paths as they are.

    It is the ``.pb`` with its JSON beside it, or the highest version of a folder to serve.
    """
    if (path / "saved_model.pb").is_file():
        return path
    graphs = [one for one in path.glob(f"*{ESSENTIA}") if one.with_suffix(".json").is_file()]
    versions = [one.parent for one in path.glob("*/saved_model.pb") if one.parent.name.isdecimal()]
    if len(graphs) == 1:
        return graphs[0]
    return max(versions, key=lambda folder: int(folder.name)) if versions else path


def _saved(path: Path, trust: bool) -> LoadedModel:
    """Load a SavedModel that this package wrote; where it is not trusted, after a look at it."""
    if not (path / "saved_model.pb").is_file():
        if path.is_file():
            raise ModelError(
                f"--model {path}: a file, which is not opened; a model is the folder saved_model "
                "of a run (save_backbone makes one of a Keras model), the .pb of a model for "
                "Essentia or an exported package"
            )
        if reason := unfinished(path):
            raise ModelError(f"{path}: no SavedModel yet: {reason}")
        if not path.exists():
            raise ModelError(
                f"--model {path}: no such folder; it is the saved_model of a run, the .pb of a "
                "model for Essentia or an exported package"
            )
        raise ModelError(f"{path}: no SavedModel (runs/NAME/saved_model of a finished run is one)")
    description = path / METADATA
    if not description.is_file():
        raise ModelError(f"{path}: a SavedModel, but not of this package (no {METADATA})")
    with whole(description, "description of a model", ModelError):
        metadata = load_json(description)
        if (found := metadata["format"]) != MODEL_FORMAT:
            raise ModelError(f"model format {found}, this version reads {MODEL_FORMAT}")
        front_end: Any = FrontEnd.from_dict(metadata["front_end"])
        classes = metadata.get("classes", [])
        if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
            raise ValueError("its classes are no list of names")
    import tensorflow as tf

    from playlist_pretrain.models.trust import checked_copy

    with contextlib.nullcontext(path) if trust else checked_copy(path) as folder:
        try:
            model = tf.keras.models.load_model(folder, compile=False)
            names, window = len(set(classes)), model.input_shape[1:]
            _, outputs = model.output_shape
            about = metadata.get("about")
            about = about if isinstance(about, dict) else {}
            loaded = LoadedModel("", model, front_end, "", tuple(classes), path, about)
            key = weights_key(loaded.embedder().model)
        except Exception as error:
            reason = first_line(error).replace(str(folder), str(path))
            raise ModelError(f"{path}: cannot be loaded: {reason}") from error
    sound = len(window) == 2 and all(isinstance(side, int) for side in (*window, outputs))
    if not sound or window[1] != front_end.bands:
        raise ModelError(
            f"{path}: damaged: it takes {list(window)} and gives {outputs}; its front end makes "
            f"windows of frames and {front_end.bands} bands, which have one vector each"
        )
    if "classes" in metadata and not names == len(classes) == outputs:
        raise ModelError(
            f"{description}: damaged: {names} different names of classes for {outputs} outputs"
        )
    return dataclasses.replace(loaded, key=key)
