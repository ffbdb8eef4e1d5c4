"""Backbones and taggers as SavedModels: they carry their front end and answer to waveforms where
it can."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.errors import FrontEndError, ModelError, first_line
from playlist_pretrain.files import write_json
from playlist_pretrain.messages import command
from playlist_pretrain.runs import unfinished

if TYPE_CHECKING:
    import tensorflow as tf

MODEL_FORMAT = 1
METADATA = Path("assets.extra") / "playlist_pretrain.json"


@dataclass(frozen=True)
class SavedBackbone:
    """A backbone that was loaded, with what it needs to know.

    Attributes
    ----------
    model : tf.keras.Model
        ``log-mel float32 [batch, frames, bands] → embedding [batch, dim]``, trainable.
    front_end : FrontEnd
        Makes its log-mels.
    frames : int
        Frames of a window.
    path : Path
        Where it came from.
    """

    model: tf.keras.Model
    front_end: FrontEnd
    frames: int
    path: Path


def save_backbone(
    backbone: tf.keras.Model,
    front_end: FrontEnd,
    path: str | Path,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a Keras SavedModel: signatures ``serving_default``, ``waveform`` and ``wav_bytes``.

    Where the front end was imported, nobody knows how to make its mels, and the last two are left
    out; ``wav_bytes`` is too where files are resampled in another way than Essentia's default. The
    folder appears whole or not at all.

    Parameters
    ----------
    backbone : tf.keras.Model
        ``[batch, frames, bands] → [batch, dim]``; saved in float32 whatever its precision.
    front_end : FrontEnd
        Of the collection it was trained on.
    path : str or Path
        Folder of the SavedModel; one that is there is replaced.
    about : mapping, optional
        What is written with it, for people (recipe, collection, …).
    """
    _save(backbone, ["embeddings"], front_end, path, {}, about)


def save_tagger(
    tagger: tf.keras.Model,
    classes: Sequence[str],
    front_end: FrontEnd,
    path: str | Path,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a tagger as :func:`save_backbone` does a backbone.

    Its signatures answer with ``activations`` beside the ``embeddings``; the signature
    ``class_names`` takes nothing and gives the names of the classes, a string [classes].

    Parameters
    ----------
    tagger : tf.keras.Model
        See :func:`~playlist_pretrain.models.tagger.tagger`.
    classes : sequence of str
        In the order of its outputs.
    front_end, path, about
        As there.
    """
    _save(tagger, ["activations", "embeddings"], front_end, path, {"classes": list(classes)}, about)


def _save(
    model: tf.keras.Model,
    outputs: Sequence[str],
    front_end: FrontEnd,
    path: str | Path,
    more: Mapping[str, Any],
    about: Mapping[str, Any] | None,
) -> None:
    import tensorflow as tf

    from playlist_pretrain.models.layers import plain_float32
    from playlist_pretrain.models.signatures import class_names, signatures_of
    from playlist_pretrain.models.tagger import embedding_of

    model = plain_float32(model)
    answers = [model.output] if len(outputs) == 1 else [model.output, embedding_of(model)]
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    signatures = signatures_of(model.inputs, dict(zip(outputs, answers, strict=True)), front_end)
    if "classes" in more:
        signatures["class_names"] = class_names(more["classes"])
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # a warning about metrics, which a saved model has none of
    try:
        model.save(temporary, save_format="tf", signatures=signatures)
    finally:
        logger.setLevel(level)
    metadata = {
        "format": MODEL_FORMAT,
        "front_end": front_end.to_dict(),
        "frames": model.input_shape[1],
        "embedding": answers[-1].shape[-1],
        **more,
        "about": dict(about or {}),
    }
    write_json(temporary / METADATA, metadata)
    replaced = path.with_name(f".{path.name}.replaced.tmp")
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():
        os.replace(path, replaced)
    os.replace(temporary, path)
    shutil.rmtree(replaced, ignore_errors=True)


@dataclass(frozen=True)
class SavedTagger(SavedBackbone):
    """A tagger that was loaded: its ``model`` gives activations [batch, classes] from 0 to 1.

    Attributes
    ----------
    classes : tuple of str
        In the order of the activations.
    """

    classes: tuple[str, ...]


def check_there(path: str | Path, others: str | None = None) -> None:
    """Refuse a path that is no SavedModel.

    Parameters
    ----------
    path : str or Path
    others : str, optional
        What else ``--model`` may be there.

    Raises
    ------
    ModelError
        Says so where it is that of a run that is not finished.
    """
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        return
    if reason := unfinished(path):
        raise ModelError(f"{path}: no SavedModel yet: {reason}")
    if others and not path.exists():
        raise ModelError(f"--model {path}: no such folder; it is the saved_model of a run{others}")
    raise ModelError(f"{path}: no SavedModel (runs/NAME/saved_model of a finished run is one)")


def load_backbone(path: str | Path) -> SavedBackbone:
    """Load what :func:`save_backbone` wrote.

    Raises
    ------
    ModelError
        If there is no SavedModel, it was not written by this package, it is damaged, or a tagger.
    """
    metadata, *rest = _load(path)
    if "classes" in metadata:
        raise ModelError(f"{path}: a tagger, not a backbone: it was fine-tuned already")
    return SavedBackbone(*rest)


def load_tagger(path: str | Path) -> SavedTagger:
    """Load what :func:`save_tagger` wrote.

    Raises
    ------
    ModelError
        If there is no SavedModel, it was not written by this package, it is damaged, or no tagger.
    """
    metadata, *rest = _load(path)
    if "classes" not in metadata:
        raise ModelError(f"{path}: no tagger: it has no classes; {command('finetune')} makes one")
    return _tagger(path, metadata, rest)


def load_model(path: str | Path) -> SavedBackbone | SavedTagger:
    """Load whichever of the two it is.

    Raises
    ------
    ModelError
        As :func:`load_backbone` and :func:`load_tagger` do.
    """
    metadata, *rest = _load(path)
    return _tagger(path, metadata, rest) if "classes" in metadata else SavedBackbone(*rest)


def about_model(path: str | Path) -> dict[str, Any]:
    """What was written with a model for people; of one that :func:`load_model` has loaded."""
    about = json.loads((Path(path) / METADATA).read_text(encoding="utf-8")).get("about")
    return about if isinstance(about, dict) else {}


def _tagger(path: str | Path, metadata: Mapping[str, Any], rest: Sequence[Any]) -> SavedTagger:
    tagger = SavedTagger(*rest, tuple(metadata["classes"]))  # type: ignore[call-arg]
    names, outputs = len(set(tagger.classes)), tagger.model.output_shape[-1]
    if not names == len(tagger.classes) == outputs:
        raise ModelError(
            f"{Path(path) / METADATA}: damaged: {names} different names of classes for "
            f"{outputs} outputs"
        )
    return tagger


def _load(path: str | Path) -> tuple[dict, tf.keras.Model, FrontEnd, int, Path]:
    import tensorflow as tf

    path = Path(path)
    check_there(path)
    try:
        metadata = json.loads((path / METADATA).read_text(encoding="utf-8"))
        if metadata["format"] != MODEL_FORMAT:
            raise ModelError(
                f"{path}: model format {metadata['format']}, this version reads {MODEL_FORMAT}"
            )
        front_end = FrontEnd.from_dict(metadata["front_end"])
        frames = int(metadata["frames"])
        classes = metadata.get("classes", [])
        if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
            raise ValueError("its classes are no list of names")
    except FileNotFoundError as error:
        raise ModelError(
            f"{path}: a SavedModel, but not of this package (no {METADATA})"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, FrontEndError) as error:
        raise ModelError(f"{path / METADATA}: damaged: {error}") from error
    try:
        model = tf.keras.models.load_model(path, compile=False)
    except Exception as error:
        raise ModelError(f"{path}: cannot be loaded: {first_line(error)}") from error
    return metadata, model, front_end, frames, path  # type: ignore[return-value]
