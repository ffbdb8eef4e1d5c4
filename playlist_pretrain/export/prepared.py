"""What every package is made of: a model in float32 whose outputs have names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from playlist_pretrain.errors import FrontEndError, ModelError
from playlist_pretrain.export.description import ACTIVATIONS, EMBEDDINGS
from playlist_pretrain.export.saved_model import SavedBackbone, SavedTagger
from playlist_pretrain.storage import refuse_remote

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import FrontEnd

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(name: str) -> None:
    """Refuse a name that could not be that of a file everywhere.

    Raises
    ------
    ModelError
    """
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"--name {name!r}: letters, digits and . _ - (the first a letter or digit), at most 100"
        )


def named_model(
    saved: SavedBackbone | SavedTagger, name: str, out: str | Path, front_end: FrontEnd
) -> tf.keras.Model:
    """The model of a package ``out/name``, ``[batch, frames, bands] →`` its outputs by their names.

    Parameters
    ----------
    saved : SavedBackbone or SavedTagger
    name, out : str, str or Path
        Are checked only.
    front_end : FrontEnd
        That makes its log-mels there.

    Raises
    ------
    ModelError
        A name that is refused, or a folder that is not on this machine.
    FrontEndError
        The model takes another number of bands than the front end makes.
    """
    import tensorflow as tf

    from playlist_pretrain.models.layers import plain_float32
    from playlist_pretrain.models.tagger import embedding_of

    check_name(name)
    refuse_remote(out, "export to a folder here, then copy it", ModelError)
    model = plain_float32(saved.model)
    bands = model.input_shape[-1]
    if bands != front_end.bands:
        raise FrontEndError(
            f"{saved.path}: takes {bands} bands, {front_end.name!r} makes {front_end.bands}"
        )
    outputs = {EMBEDDINGS: model.output}
    if isinstance(saved, SavedTagger):
        outputs = {ACTIVATIONS: model.output, EMBEDDINGS: embedding_of(model)}
    return tf.keras.Model(model.inputs, outputs)
