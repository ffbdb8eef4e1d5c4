"""The original VGGish with its AudioSet weights.

The weights are those of ``vggish_model.ckpt`` (Hershey et al. 2017, tensorflow/models,
research/audioset/vggish), which users bring. Its graph is
:func:`~playlist_pretrain.models.vggish.vggish` for windows of 96 × 64, kernels and features in the
same order, with no activation on the embedding (a release of 2017 had a ReLU there).
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from playlist_pretrain.audio.front_end import PRESETS
from playlist_pretrain.delimited import listed
from playlist_pretrain.errors import ModelError, first_line
from playlist_pretrain.models.trust import check_checkpoint
from playlist_pretrain.models.vggish import vggish

FRONT_END = PRESETS["vggish"]
"""Makes the log-mels that these weights know."""
SCOPES = {
    "conv1": "vggish/conv1",
    "conv2": "vggish/conv2",
    "conv3_1": "vggish/conv3/conv3_1",
    "conv3_2": "vggish/conv3/conv3_2",
    "conv4_1": "vggish/conv4/conv4_1",
    "conv4_2": "vggish/conv4/conv4_2",
    "fc1_1": "vggish/fc1/fc1_1",
    "fc1_2": "vggish/fc1/fc1_2",
    "fc2": "vggish/fc2",
}
"""Layer of :func:`vggish` to the scope of its ``weights`` and ``biases`` in the checkpoint."""
_V2_FILE = re.compile(r"\.(index|data-\d{5}-of-\d{5})$")


def audioset_vggish() -> tf.keras.Model:
    """Build the original VGGish, ``float32 [batch, 96, 64] → float32 [batch, 128]``.

    :func:`load_audioset_weights` fills it. It takes the log-mels of :data:`FRONT_END` as they
    are: the weights were trained without statistics of the input.
    """
    return vggish(frames=FRONT_END.window_frames, bands=FRONT_END.bands)


def load_audioset_weights(model: tf.keras.Model, path: str | Path) -> None:
    """Load the weights of a checkpoint of the original VGGish into ``model``.

    The checkpoint has format V1 (one file) or V2 (its prefix, or its ``.index`` or ``.data-…``
    file). Every variable is checked before the first one is assigned; those of no layer
    (``global_step``, the slots of an optimizer) are ignored. Raises ModelError, with the file and
    the variable, for a checkpoint that is missing, damaged or of another model, and for a model
    that takes other windows.
    """
    window = (FRONT_END.window_frames, FRONT_END.bands)
    if model.input_shape[1:] != window:
        raise ModelError(
            f"{path}: weights for windows of {window[0]} × {window[1]}, the model takes "
            f"{model.input_shape[1]} × {model.input_shape[2]}"
        )
    weights = {
        f"{scope}/{kind}": weight
        for layer, scope in SCOPES.items()
        for kind, weight in zip(("weights", "biases"), model.get_layer(layer).weights, strict=True)
    }
    with _opened(Path(path)) as checkpoint:
        _check(checkpoint, weights, path)
        values = {name: checkpoint.get_tensor(name) for name in weights}
    for name, value in values.items():
        if bad := value.size - np.count_nonzero(np.isfinite(value)):
            raise ModelError(
                f"{path}: variable {name!r}: {bad:,} of {value.size:,} values are not finite"
            )
    for name, weight in weights.items():
        weight.assign(values[name])


def _check(
    checkpoint: tf.train.CheckpointReader, weights: dict[str, tf.Variable], path: str | Path
) -> None:
    """Check names, shapes and types before anything large is read."""
    shapes = checkpoint.get_variable_to_shape_map()
    types = checkpoint.get_variable_to_dtype_map()
    if missing := [name for name in weights if name not in shapes]:
        raise ModelError(
            f"{path}: no variable {listed(missing)}, so it is not the original VGGish; "
            f"its variables are: {listed(sorted(shapes)) or 'none'}"
        )
    for name, weight in weights.items():
        if tuple(shapes[name]) != tuple(weight.shape):
            raise ModelError(
                f"{path}: variable {name!r} has the shape {tuple(shapes[name])}, VGGish needs "
                f"{tuple(weight.shape)}"
            )
        if types[name] != tf.float32:
            raise ModelError(
                f"{path}: variable {name!r} is {types[name].name}, VGGish needs float32"
            )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tf.train.CheckpointReader]:
    """Open a checkpoint of either format; raise ModelError where that fails."""
    prefix = path.with_name(_V2_FILE.sub("", path.name))
    try:
        parts = [
            name
            for name in os.listdir(prefix.parent)
            if name.startswith(prefix.name) and _V2_FILE.fullmatch(name, len(prefix.name))
        ]
        if prefix.name + ".index" not in parts:  # format V1
            prefix, parts = path, [path.name]
            if not stat.S_ISREG(path.stat().st_mode):
                raise ModelError(f"{path}: not a file, nor the prefix of one that ends in .index")
    except FileNotFoundError:
        raise ModelError(
            f"{path}: no such checkpoint; it is a file, or the prefix of one that ends in .index"
        ) from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    with tempfile.TemporaryDirectory() as folder:
        # TensorFlow takes a path for a pattern: brackets and stars in it would find nothing.
        plain = Path(folder) / "checkpoint"
        for name in parts:
            link = plain.with_name(plain.name + name[len(prefix.name) :])
            link.symlink_to((prefix.parent / name).absolute())
        try:
            check_checkpoint(plain)
            yield tf.train.load_checkpoint(str(plain))
        except ModelError:
            raise
        except Exception as error:  # a damaged table fails in a dozen ways
            reason = first_line(error).replace(str(plain), str(prefix))
            raise ModelError(f"{path}: not a checkpoint, or damaged: {reason}") from error
