"""Backbones as SavedModels: they carry their front end and answer to waveforms where it can."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.errors import FrontEndError, ModelError, first_line
from playlist_pretrain.files import write_json

if TYPE_CHECKING:
    import tensorflow as tf

MODEL_FORMAT = 1
METADATA = Path("assets.extra") / "playlist_pretrain.json"
WINDOWS_AT_ONCE = 32
"""Windows of one waveform that go through the backbone together; bounds memory for long tracks."""


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
    """Write a Keras SavedModel with the signatures ``serving_default`` and ``waveform``.

    Where the front end was imported, nobody knows how to make its mels, and ``waveform`` is left
    out. The folder appears whole or not at all.

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
    import tensorflow as tf

    from playlist_pretrain.models.layers import plain_float32

    backbone = plain_float32(backbone)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # a warning about metrics, which a backbone has none of
    try:
        backbone.save(temporary, save_format="tf", signatures=_signatures(backbone, front_end))
    finally:
        logger.setLevel(level)
    metadata = {
        "format": MODEL_FORMAT,
        "front_end": front_end.to_dict(),
        "frames": backbone.input_shape[1],
        "embedding": backbone.output_shape[-1],
        "about": dict(about or {}),
    }
    write_json(temporary / METADATA, metadata)
    replaced = path.with_name(f".{path.name}.replaced.tmp")
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():
        os.replace(path, replaced)
    os.replace(temporary, path)
    shutil.rmtree(replaced, ignore_errors=True)


def load_backbone(path: str | Path) -> SavedBackbone:
    """Load what :func:`save_backbone` wrote.

    Raises
    ------
    ModelError
        If there is no SavedModel, it was not written by this package, or it is damaged.
    """
    import tensorflow as tf

    path = Path(path)
    if not (path / "saved_model.pb").is_file():
        raise ModelError(f"{path}: no SavedModel (runs/NAME/saved_model of a finished run is one)")
    try:
        metadata = json.loads((path / METADATA).read_text(encoding="utf-8"))
        if metadata["format"] != MODEL_FORMAT:
            raise ModelError(
                f"{path}: model format {metadata['format']}, this version reads {MODEL_FORMAT}"
            )
        front_end = FrontEnd.from_dict(metadata["front_end"])
        frames = int(metadata["frames"])
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
    return SavedBackbone(model, front_end, frames, path)


def _signatures(backbone: tf.keras.Model, front_end: FrontEnd) -> dict[str, Any]:
    import tensorflow as tf

    frames, bands = backbone.input_shape[1:]

    @tf.function(
        input_signature=[tf.TensorSpec([None, frames, bands], tf.float32, "melspectrogram")]
    )
    def serving_default(melspectrogram):
        return {"embeddings": backbone(melspectrogram, training=False)}

    if not front_end.takes_waveforms:
        return {"serving_default": serving_default}
    # Fewer samples give no frame at all; silence behind them gives one.
    shortest = next(n for n in range(1, front_end.frame_length + 1) if front_end.frames(n))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "waveform")])
    def waveform(waveform):
        missing = tf.maximum(shortest - tf.shape(waveform)[1], 0)
        waveform = tf.pad(waveform, [[0, 0], [0, missing]])
        mel = front_end.log_mel(waveform)  # (batch, at least 1, bands)
        return {"embeddings": mean_embedding(backbone, mel, frames)}

    return {"serving_default": serving_default, "waveform": waveform}


def mean_embedding(backbone: tf.keras.Model, mel: tf.Tensor, frames: int) -> tf.Tensor:
    """Mean of the embeddings of a track's non-overlapping windows.

    A track shorter than a window is repeated until it fills one; frames after the last whole
    window are left out.

    Parameters
    ----------
    backbone : tf.keras.Model
        ``[batch, frames, bands] → [batch, dim]``.
    mel : tf.Tensor float32 [batch, any, bands]
        Log-mels of whole tracks, of one length, at least one frame.
    frames : int
        Frames of a window.

    Returns
    -------
    tf.Tensor float32 [batch, dim]
    """
    import tensorflow as tf

    batch, length, bands = tf.unstack(tf.shape(mel))
    mel = tf.tile(mel, [1, tf.maximum(1, -(-frames // length)), 1])
    windows = tf.maximum(1, length // frames)
    static = (None, backbone.output_shape[-1])

    def add_slice(first, total):
        last = tf.minimum(first + WINDOWS_AT_ONCE, windows)
        slice_ = mel[:, first * frames : last * frames]
        slice_ = tf.reshape(slice_, [batch * (last - first), frames, bands])
        slice_ = tf.ensure_shape(slice_, [None, frames, backbone.input_shape[-1]])
        embeddings = tf.cast(backbone(slice_, training=False), tf.float32)
        embeddings = tf.reshape(embeddings, [batch, last - first, static[1]])
        return last, tf.ensure_shape(total + tf.reduce_sum(embeddings, axis=1), static)

    total = tf.ensure_shape(tf.zeros([batch, static[1]]), static)
    _, total = tf.while_loop(
        lambda first, _: first < windows,
        add_slice,
        (tf.constant(0), total),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape(static)),
        parallel_iterations=1,
    )
    return total / tf.cast(windows, tf.float32)
