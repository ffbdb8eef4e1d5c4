"""TensorFlow Lite: a model becomes a file, and the file is run by the code that a user is given.

Models as packages for TensorFlow Lite: converted, and run there before they appear.

Only operations that every TensorFlow Lite has: none of a user's own, none of TensorFlow's (Flex).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import ModelError, first_line
from playlist_pretrain.export.essentia import BATCHES
from playlist_pretrain.export.package import (
    INPUT,
    WINDOWS_LIMIT,
    Compared,
    ModelInfo,
    answers,
    common_fields,
    compare,
    model_card,
    named_model,
    staged,
)
from playlist_pretrain.files import atomic_write, write_json
from playlist_pretrain.models.saved_model import SavedBackbone, SavedTagger

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


CODE, CARD = "predict.py", "README.md"
LARGEST_MODEL = 2**31 - 2**24
"""Bytes of weights: the format ends at 2 GiB, and there is more in a file than weights."""


@dataclass(frozen=True)
class TfliteFiles:
    """A package on disk.

    Attributes
    ----------
    folder : Path
        What holds the rest.
    model, description, script, card : Path
        ``NAME.tflite``, ``NAME.json``, ``predict.py`` and ``README.md``.
    compared : tuple of Compared
        How near it is to the model, also in ``NAME-parity.json``.
    lines : tuple of str
        The same, for people.
    code : str
        Python that uses it, what is in ``script``: ``predict(model, windows)`` gives arrays
        [windows, size] by output.
    """

    folder: Path
    model: Path
    description: Path
    script: Path
    card: Path
    compared: tuple[Compared, ...]
    lines: tuple[str, ...]
    code: str


def export_tflite(
    saved: SavedBackbone | SavedTagger,
    name: str,
    out: str | Path,
    about: ModelInfo,
    *,
    overwrite: bool = False,
) -> TfliteFiles:
    """Write the package ``out/name`` and run it in TensorFlow Lite, whole or not at all.

    The model takes log-mels, ``melspectrogram`` float32 [batch, frames, bands] of any batch, and
    answers with ``embeddings`` and, where it is a tagger, ``activations``. The constants of its
    front end, which is not part of it, are in the description.

    Parameters
    ----------
    saved : SavedBackbone or SavedTagger
    name : str
        Of the package.
    out : str or Path
        Folder of packages, created when missing.
    about : ModelInfo
        What its description says beside what the model says.
    overwrite : bool
        Replace a package that is there.

    Raises
    ------
    ModelError
        A name that is refused, or taken; more than 2 GB of weights; an operation that TensorFlow
        Lite has not; or it differs there by more than 1e-4 of the standard deviation of the
        embeddings, or by 1e-3 in an activation.
    FrontEndError
        The model takes another number of bands than its front end makes.
    """
    front_end = saved.front_end
    model = named_model(saved, name, out, front_end)
    out, (frames, bands), outputs = Path(out), model.input_shape[1:], model.output
    if (size := 4 * model.count_params()) > LARGEST_MODEL:
        raise ModelError(
            f"{saved.path}: weights of {size / 1e9:.1f} GB; a .tflite file holds 2 GB at most"
        )
    file = f"{name}.tflite"
    code = usage((frames, bands), file, list(outputs))
    with staged(out, name, overwrite=overwrite) as (package, _):
        with atomic_write(package / file) as stream:
            stream.write(convert(model, saved.path))
        compared = check(model, package / file, code, front_end.silence)
        if far := [str(one) for one in compared if not one.passes]:
            raise ModelError(
                f"{name}: not the same in TensorFlow Lite, so nothing was exported: "
                f"{'; '.join(far)}"
            )
        takes = f"Takes {frames} frames of {bands} bands of the front end {front_end.name!r}."
        shapes = {node: (_layer(tensor), tensor.shape[-1]) for node, tensor in outputs.items()}
        description = {
            **common_fields(
                name,
                (frames, bands),
                takes,
                shapes,
                getattr(saved, "classes", ()),
                about,
                framework="tensorflow-lite",
                model_types=("tflite",),
            ),
            "front_end": front_end.to_dict(),
        }
        write_json(package / f"{name}.json", description)
        report: dict[str, Any] = {"tensorflow": metadata.version("tensorflow")}
        report["compared"] = [asdict(one) for one in compared]
        write_json(package / f"{name}-parity.json", report)
        lines = [f"run in TensorFlow Lite, of TensorFlow {report['tensorflow']}:"]
        lines += [f"  {one}" for one in compared]
        with atomic_write(package / CODE, "w") as stream:
            stream.write(code)
        with atomic_write(package / CARD) as stream:
            card = model_card(description, about, code, lines)
            stream.write(card.encode("utf-8", "backslashreplace"))
    folder = out / name
    return TfliteFiles(
        folder=folder,
        model=folder / file,
        description=folder / f"{name}.json",
        script=folder / CODE,
        card=folder / CARD,
        compared=compared,
        lines=tuple(lines),
        code=code,
    )


def _layer(tensor: Any) -> str:
    """Kind of the layer that gives a symbolic tensor its values."""
    return type(tensor.node.layer).__name__
