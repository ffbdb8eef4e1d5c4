"""How near a package in Essentia is to the model it was made of: measured, on windows and files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.errors import AudioError, ModelError, printable
from playlist_pretrain.export.description import EMBEDDINGS
from playlist_pretrain.export.essentia_check import (
    ANSWERS,
    Request,
    file_key,
    window_key,
)
from playlist_pretrain.export.parity import (
    FILES_LIMIT,
    WINDOWS_LIMIT,
    Parity,
    compare,
    why_it_ended,
)
from playlist_pretrain.export.reference import (
    answers,
    cut,
    waveform_means,
    write_synthetic,
)

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
