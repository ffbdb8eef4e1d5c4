"""How near a package in Essentia is to the model it was made of: measured, on windows and files.

Models as packages that Essentia runs: written, and run there before they appear.

A SavedModel of this TensorFlow does not load in Essentia, whose own TensorFlow is older and drops
the session that holds the variables. A frozen graph does, whether as a ``.pb`` or inside a
SavedModel; both have the same nodes here, so that one description fits both.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.audio.front_end import PRESETS, FrontEnd
from playlist_pretrain.errors import AudioError, ModelError, printable
from playlist_pretrain.export.essentia_check import ANSWERS, Request, file_key, window_key
from playlist_pretrain.export.essentia_code import essentia_algorithm
from playlist_pretrain.export.package import (
    EMBEDDINGS,
    FILES_LIMIT,
    INPUT,
    WINDOWS_LIMIT,
    ModelInfo,
    Parity,
    answers,
    compare,
    cut,
    describe,
    model_card,
    named_model,
    staged,
    waveform_means,
    why_it_ended,
    write_synthetic,
)
from playlist_pretrain.files import atomic_write, write_json
from playlist_pretrain.models.load import LoadedModel

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import FrontEnd

BATCHES = (1, 7, 64)
CLIP_SECONDS = 2
SECONDS = 20
"""Of the file that is made where none is given, at least."""


def check_in_essentia(
    graphs: Mapping[str, Path],
    description: Mapping[str, Any],
    code: str,
    model: tf.keras.Model,
    front_end: FrontEnd,
    scratch: Path,
    *,
    audio: str | Path | None = None,
    trained_with: FrontEnd | None = None,
) -> Parity:
    """Run a package in the installed Essentia, and compare it with the model.

    Random windows go through it in batches of 1, 7 and 64. A whole file, and two seconds of it
    whose last window is filled up, go through what a user is told to run, and are compared window
    by window with the same file decoded and cut here; the mean over the whole file also with what
    the signature ``waveform`` answers.

    Parameters
    ----------
    graphs : mapping of str to Path
        ``graphFilename`` and ``savedModel``.
    description : mapping
        What the JSON of the package says: names of nodes, frames and bands of a window, rate.
    code : str
        See :meth:`~playlist_pretrain.export.essentia_code.EssentiaAlgorithm.code`.
    model : tf.keras.Model
        ``[batch, frames, bands] →`` the outputs by their names.
    front_end : FrontEnd
        Makes the log-mels here.
    scratch : Path
        Folder to work in.
    audio : str or Path, optional
        File to try; one is made when none is given.
    trained_with : FrontEnd, optional
        Another one, whose distance from ``front_end`` is wanted.

    Raises
    ------
    AudioError
        ``audio`` cannot be read or is shorter than a window.
    ModelError
        Essentia cannot run the package, and why.
    """
    import soundfile
    import tensorflow as tf

    inputs = description["schema"]["inputs"][0]
    frames, bands = inputs["shape"]
    rate = front_end.sample_rate
    if audio is None:
        audio = scratch / "synthetic.wav"
        write_synthetic(audio, max(SECONDS, 3 * frames * front_end.hop_length / rate))
    waveform = decode(audio, rate, None, front_end.resample_quality).waveform
    whole = cut(front_end, waveform, frames)
    if not len(whole):
        raise AudioError(
            f"{audio}: {waveform.size / rate:.1f} s, shorter than a window of {frames} frames; the "
            "check needs a longer file"
        )
    start = max(0, waveform.size - CLIP_SECONDS * rate) // 2
    clip = waveform[start : start + CLIP_SECONDS * rate]
    soundfile.write(scratch / "clip.wav", clip, rate, subtype="FLOAT")
    random = np.random.default_rng(0).uniform(0, 5, (max(BATCHES), frames, bands))
    windows = (random + front_end.silence).astype(np.float32)
    request = Request(
        graphs={parameter: str(path.absolute()) for parameter, path in graphs.items()},
        input=inputs["name"],
        outputs=[output["name"] for output in description["schema"]["outputs"]],
        batches=list(BATCHES),
        code=code,
        files=[
            (str(Path(audio).absolute()), "discard"),
            (str((scratch / "clip.wav").absolute()), "repeat"),
        ],
    )
    found = run_apart(request, windows, scratch, description["name"])
    # Essentia has no GPU either, and some multiply in fewer than the 24 bits of a float32.
    with tf.device("/CPU:0"):
        here = {
            "windows": answers(model, windows),
            "file": answers(model, whole),
            "clip": answers(model, cut(front_end, clip, frames, repeat=True)),
        }
        means = waveform_means(model, front_end, waveform)
        distance = None
        if trained_with is not None and len(other := cut(trained_with, waveform, frames)):
            pair = here["file"][EMBEDDINGS], answers(model, other)[EMBEDDINGS]
            distance = compare("", EMBEDDINGS, *pair, 0).difference
    label = printable(Path(audio).name)
    texts = {
        "file": f"{label}, {waveform.size / rate:.1f} s",
        "clip": f"{clip.size / rate:.1f} s of it, the last window filled up",
    }
    compared = []
    for output in request.outputs:
        for parameter, path in graphs.items():
            there = [found[window_key(parameter, batch, output)] for batch in BATCHES]
            mine = [here["windows"][output][:batch] for batch in BATCHES]
            text = f"{path.name}, random windows in batches of {', '.join(map(str, BATCHES))}"
            theirs, ours = np.concatenate(there), np.concatenate(mine)
            compared.append(compare(text, output, theirs, ours, WINDOWS_LIMIT))
        for number, (what, text) in enumerate(texts.items()):
            there = found[file_key(number, output)]
            compared.append(compare(text, output, there, here[what][output], FILES_LIMIT))
        if len(there := found[file_key(0, output)]):
            mean, spread = there.mean(0, keepdims=True), here["file"][output]
            text = f"{label}, the mean of its windows"
            compared.append(compare(text, output, mean, means[output], FILES_LIMIT, spread))
    return Parity(
        metadata.version("essentia-tensorflow"),
        description["inference"]["algorithm"],
        tuple(compared),
        distance,
    )


def run_apart(
    request: Request, windows: np.ndarray, folder: Path, name: str
) -> dict[str, np.ndarray]:
    """Have a process of its own answer a request.

    Raises
    ------
    ModelError
        Essentia refuses, or crashes.
    """
    request.write(folder, windows)
    # Neither a module in the working folder nor another version of this package takes its place.
    path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "playlist_pretrain.export.essentia_check", str(folder)],
        env={
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "-1",
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
        },
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise ModelError(f"{name}: Essentia cannot run it: {why_it_ended(done)}")
    with np.load(folder / ANSWERS, allow_pickle=False) as archive:
        return dict(archive)


SAVED_MODEL, CODE, CARD = "saved_model", "predict.py", "README.md"
LARGEST_GRAPH = 2**31 - 2**24
"""Bytes of weights: the format of graphs ends at 2 GiB, and there is more in one than weights."""


@dataclass(frozen=True)
class EssentiaFiles:
    """A package on disk.

    Attributes
    ----------
    folder : Path
        What holds the rest.
    graph, saved_model, description, script, card : Path
        ``NAME.pb``, ``saved_model/``, ``NAME.json``, ``predict.py`` and ``README.md``.
    parity : Parity
        How near it is to the model, also in ``NAME-parity.json``.
    code : str
        Python that uses it, what is in ``script``; see
        :meth:`~playlist_pretrain.export.essentia_code.EssentiaAlgorithm.code`.
    """

    folder: Path
    graph: Path
    saved_model: Path
    description: Path
    script: Path
    card: Path
    parity: Parity
    code: str


def export_essentia(
    saved: LoadedModel,
    name: str,
    out: str | Path,
    about: ModelInfo,
    *,
    audio: str | Path | None = None,
    front_end: FrontEnd | None = None,
    overwrite: bool = False,
) -> EssentiaFiles:
    """Write the package ``out/name`` and run it in the installed Essentia, whole or not at all.

    Parameters
    ----------
    saved : LoadedModel
    name : str
        Of the package.
    out : str or Path
        Folder of packages, created when missing.
    about : ModelInfo
        What its description says beside what the model says.
    audio : str or Path, optional
        File to check it on; one is made when none is given.
    front_end : FrontEnd, optional
        Takes the place of the model's own, for weights that were trained on other log-mels than
        those that Essentia makes; how far the two are from each other is measured.
    overwrite : bool
        Replace a package that is there.

    Raises
    ------
    ModelError
        A name that is refused, or taken; more than 2 GB of weights; Essentia cannot run the
        package; or it differs there by more than 1e-4 (windows) or 1e-3 (files) of the standard
        deviation of the embeddings, or by 1e-3 in an activation.
    FrontEndError
        No algorithm of Essentia makes the model's log-mels.
    AudioError
        ``audio`` cannot be used.
    """
    from playlist_pretrain.export.package import (
        frozen_graph,
        op_of,
        write_frozen_saved_model,
        write_graph,
    )

    used = front_end or saved.front_end
    algorithm = essentia_algorithm(used)
    model = named_model(saved, name, out, used)
    out, (frames, bands), outputs = Path(out), model.input_shape[1:], model.output
    if (size := 4 * model.count_params()) > LARGEST_GRAPH:
        raise ModelError(
            f"{saved.path}: weights of {size / 1e9:.1f} GB; a frozen graph holds 2 GB at most"
        )
    with staged(out, name, overwrite=overwrite) as (package, scratch), _quiet():
        definition = frozen_graph(model.inputs[0], outputs, INPUT)
        shapes = {node: (op_of(definition, node), outputs[node].shape[-1]) for node in outputs}
        classes = getattr(saved, "classes", ())
        description = describe(name, (frames, bands), algorithm, shapes, classes, about)
        graphs = {"graphFilename": package / f"{name}.pb", "savedModel": package / SAVED_MODEL}
        write_graph(definition, graphs["graphFilename"])
        write_frozen_saved_model(definition, INPUT, list(outputs), graphs["savedModel"])
        write_json(package / f"{name}.json", description)
        code = algorithm.code(frames, f"{name}.pb", list(outputs))
        parity = check_in_essentia(
            graphs,
            description,
            code,
            model,
            used,
            scratch,
            audio=audio,
            trained_with=saved.front_end if front_end else None,
        )
        _refuse(parity, name, used)
        with atomic_write(package / CODE, "w") as stream:
            stream.write(code)
        with atomic_write(package / CARD) as stream:
            card = model_card(description, about, code, parity.lines)
            stream.write(card.encode("utf-8", "backslashreplace"))
        write_json(package / f"{name}-parity.json", parity.to_dict())
    folder = out / name
    return EssentiaFiles(
        folder=folder,
        graph=folder / f"{name}.pb",
        saved_model=folder / SAVED_MODEL,
        description=folder / f"{name}.json",
        script=folder / CODE,
        card=folder / CARD,
        parity=parity,
        code=code,
    )


def _refuse(parity: Parity, name: str, used: FrontEnd) -> None:
    far = [str(one) for one in parity.compared if not one.passes]
    if not far:
        return
    advice = ""
    if used.taper == PRESETS["vggish"].taper:
        advice = (
            f"; the front end {used.name!r} is not that of Essentia: --front-end vggish-essentia "
            "exports the model for the latter, and measures the distance"
        )
    raise ModelError(
        f"{name}: not the same in Essentia {parity.essentia} ({parity.algorithm}), so nothing was "
        f"exported: {'; '.join(far)}{advice}"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of TensorFlow's that the API of its first version is old: Essentia needs it."""
    import tensorflow as tf

    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)
