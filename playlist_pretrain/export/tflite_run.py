"""TensorFlow Lite: a model becomes a file, and the file is run by the code that a user is given."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import ModelError, first_line
from playlist_pretrain.export.description import INPUT
from playlist_pretrain.export.essentia_parity import BATCHES
from playlist_pretrain.export.parity import WINDOWS_LIMIT, Compared, compare
from playlist_pretrain.export.reference import answers

if TYPE_CHECKING:
    import tensorflow as tf

_CODE = """\
import numpy as np

try:
    from tensorflow import lite
except ImportError:
    import tflite_runtime.interpreter as lite


def predict(model, windows):
    run = lite.Interpreter(model_path=model).get_signature_runner("serving_default")
    windows = np.asarray(windows, np.float32)
    if windows.shape[1:] != ({frames}, {bands}) or not len(windows):
        raise SystemExit(f"windows of shape {{windows.shape}}, not [1 or more, {frames}, {bands}]")
    starts = range(0, len(windows), 64)
    answers = [run({input}=windows[first : first + 64]) for first in starts]
    return {{name: np.concatenate([one[name] for one in answers]) for name in answers[0]}}


if __name__ == "__main__":
    import sys
    from pathlib import Path

    found = predict(str(Path(__file__).with_name("{model}")), np.load(sys.argv[1]))
    for name in {outputs}:
        print(name, found[name].shape, found[name], sep="\\n")
"""


def usage(window: tuple[int, int], model: str, outputs: Sequence[str]) -> str:
    """Python that defines ``predict(model, windows)`` for windows of ``window``, frames and bands.

    The answer has an array [windows, size] for each output. As a script it prints those that
    ``model``, a file beside it, has for a ``.npy`` of windows.
    """
    frames, bands = window
    return _CODE.format(
        frames=frames, bands=bands, input=INPUT, model=model, outputs=json.dumps(list(outputs))
    )


def convert(model: tf.keras.Model, path: Path) -> bytes:
    """What a ``.tflite`` file holds of a model.

    Parameters
    ----------
    model : tf.keras.Model
        ``[batch, frames, bands] →`` the outputs by their names, which its signature has too.
    path : Path
        Of the model, for the message.

    Raises
    ------
    ModelError
        TensorFlow Lite lacks an operation.
    """
    import tensorflow as tf

    spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, INPUT)
    function = tf.function(
        # Its argument names the input of the signature.
        lambda melspectrogram: model(melspectrogram, training=False),
        input_signature=[spec],
        autograph=False,
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], model
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.allow_custom_ops = False
    try:
        with _silent():
            return converter.convert()
    except Exception as error:  # the converter has an error of its own, and others pass through it
        raise ModelError(
            f"{path}: TensorFlow Lite has not all of its operations: {first_line(error)}"
        ) from error


def check(model: tf.keras.Model, path: Path, code: str, silence: float) -> tuple[Compared, ...]:
    """Run a file on random windows in batches of 1, 7 and 64, and compare it with the model.

    Parameters
    ----------
    model : tf.keras.Model
        That of :func:`convert`.
    path : Path
        The ``.tflite`` file.
    code : str
        From :func:`usage`.
    silence : float
        Smallest value of a log-mel.

    Raises
    ------
    ModelError
        TensorFlow Lite refuses the file.
    """
    import tensorflow as tf

    random = np.random.default_rng(0).uniform(0, 5, (max(BATCHES), *model.input_shape[1:]))
    windows = (random + silence).astype(np.float32)
    names: dict[str, Any] = {}
    exec(compile(code, "the package's code", "exec"), names)
    try:
        with _silent():
            found = [names["predict"](str(path), windows[:batch]) for batch in BATCHES]
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{path.name}: TensorFlow Lite cannot run it: {first_line(error)}"
        ) from error
    with tf.device("/CPU:0"):
        here = answers(model, windows)
    text = f"{path.name}, random windows in batches of {', '.join(map(str, BATCHES))}"
    return tuple(
        compare(
            text,
            output,
            np.concatenate([answer[output] for answer in found]),
            np.concatenate([here[output][:batch] for batch in BATCHES]),
            WINDOWS_LIMIT,
        )
        for output in here
    )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing on standard error, where the libraries below Python write as they like."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
