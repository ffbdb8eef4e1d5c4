"""Saving of backbones and taggers as SavedModels with their front end and signatures."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.errors import first_line
from playlist_pretrain.files import write_json
from playlist_pretrain.runs import whole_folder
from playlist_pretrain.stack import check_keras

if TYPE_CHECKING:
    import tensorflow as tf

MODEL_FORMAT = 1
METADATA = Path("assets.extra") / "playlist_pretrain.json"


def save_backbone(
    backbone: tf.keras.Model,
    front_end: FrontEnd,
    path: str | Path,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a backbone as a Keras SavedModel, in float32 whatever its precision.

    It has the signatures of :func:`~playlist_pretrain.models.signatures.signatures_of` for the
    ``front_end`` that it was trained with. The folder ``path`` appears whole or not at all, and
    replaces an existing one; ``about`` is saved with it (recipe, collection, …).
    """
    save_tagger(backbone, None, front_end, path, about)


def save_tagger(
    model: tf.keras.Model,
    classes: Sequence[str] | None,
    front_end: FrontEnd,
    path: str | Path,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a tagger, or without ``classes`` a backbone, see :func:`save_backbone`.

    A tagger's signatures answer with ``activations`` beside the ``embeddings``; the signature
    ``class_names`` takes nothing and gives the names of the classes, a string [classes], in the
    order of the outputs.
    """
    from playlist_pretrain.models.layers import plain_float32
    from playlist_pretrain.models.signatures import class_names, signatures_of
    from playlist_pretrain.models.tagger import outputs_of

    check_keras(model)
    model = plain_float32(model)
    outputs = outputs_of(model, tagger=classes is not None)
    signatures = signatures_of(model.inputs, outputs, front_end)
    metadata = {
        "format": MODEL_FORMAT,
        "front_end": front_end.to_dict(),
        "frames": model.input_shape[1],
        "embedding": outputs["embeddings"].shape[-1],
        "about": dict(about or {}),
    }
    if classes is not None:
        signatures["class_names"] = class_names(classes)
        metadata["classes"] = list(classes)
    # Without a warning about metrics, which a saved model has none of.
    with whole_folder(Path(path)) as folder, tensorflow_warnings_off(), file_errors():
        model.save(folder, save_format="tf", signatures=signatures)
        write_json(folder / METADATA, metadata)


@contextlib.contextmanager
def file_errors() -> Iterator[None]:
    """Turn TensorFlow's errors of writing a file (a full disk) into the OSError that it is."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        path, _, reason = re.sub(_AROUND, "", first_line(error)).rpartition("; ")
        number = next((n for n in errno.errorcode if path and os.strerror(n) == reason), None)
        if number is None:
            raise
        raise OSError(number, reason, re.sub(_TEMPORARY, "", path)) from error


_AROUND = r"^\{\{[^{}]*\}\} | \[Op:\w+\]$"
"""Names of the operation that TensorFlow puts before and after the text of an error."""
_TEMPORARY = r"(_temp/part-[^/]*|\.(TMP|tmp)\w+|\.tempstate\d+)$"
"""End of the name of a file that TensorFlow renames when it is whole."""


@contextlib.contextmanager
def tensorflow_warnings_off() -> Iterator[None]:
    """Hide TensorFlow's warnings within the block."""
    import tensorflow as tf

    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)
