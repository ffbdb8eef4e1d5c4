"""How near a package in Essentia is to the model it was made of: measured, on windows and files."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.errors import AudioError, ModelError
from playlist_pretrain.export.essentia_check import (
    ANSWERS,
    Request,
    file_key,
    window_key,
)
from playlist_pretrain.export.essentia_metadata import ACTIVATIONS, EMBEDDINGS

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import FrontEnd

BATCHES = (1, 7, 64)
CLIP_SECONDS = 2
WINDOWS_LIMIT, FILES_LIMIT = 1e-4, 1e-3
"""Largest differences of embeddings that pass, in their standard deviations."""
ACTIVATIONS_LIMIT = 1e-3
"""Of activations, on windows and on files. They are 0 to 1, and where the head turns small
differences of large sums into probabilities, they are no nearer than that."""
SECONDS = 20
"""Of the file that is made where none is given, at least."""
SMALLEST_STD = 1e-6
"""Of embeddings; where all are equal, any difference would be infinitely large."""
_AT_ONCE = 32


@dataclass(frozen=True)
class Compared:
    """One output in Essentia beside the same of the model.

    Attributes
    ----------
    what : str
        What was given.
    output : str
        Node.
    windows, expected : int
        Windows of the answer in Essentia, and of the model's.
    difference : float
        The largest over the windows that both have, in standard deviations of the embeddings; of
        activations, which are 0 to 1, as it is.
    limit : float
    """

    what: str
    output: str
    windows: int
    expected: int
    difference: float
    limit: float

    @property
    def passes(self) -> bool:
        """Whether it is as near as it has to be; NaN is not."""
        return self.windows == self.expected and self.difference <= self.limit

    def __str__(self) -> str:
        unit = "" if self.output == ACTIVATIONS else " of their standard deviation"
        count = f"{self.windows} window" + "s" * (self.windows != 1)
        if self.windows != self.expected:
            count += f" in Essentia and {self.expected} here"
        return (
            f"{self.what}: {self.output} of {count}, largest difference "
            f"{self.difference:.1e}{unit} (at most {self.limit:.0e})"
        )


@dataclass(frozen=True)
class Parity:
    """What :func:`check_in_essentia` found.

    Attributes
    ----------
    essentia : str
        Version.
    algorithm : str
        That ran the model on files.
    compared : tuple of Compared
    front_end_distance : float or None
        How far the front end that the model was trained with is from the one that Essentia has:
        the largest difference of embeddings of the whole file, in their standard deviations.
    """

    essentia: str
    algorithm: str
    compared: tuple[Compared, ...]
    front_end_distance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)

    @property
    def lines(self) -> list[str]:
        """For people."""
        lines = [f"run in Essentia {self.essentia}, files by {self.algorithm}:"]
        lines += [f"  {one}" for one in self.compared]
        if self.front_end_distance is not None:
            lines.append(
                "  the front end it was trained with moves embeddings of the same windows by up to "
                f"{self.front_end_distance:.2g} of their standard deviation"
            )
        return lines


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
    here = {
        "windows": _answers(model, windows),
        "file": _answers(model, whole),
        "clip": _answers(model, cut(front_end, clip, frames, repeat=True)),
    }
    means = _means(model, front_end, waveform)
    label = Path(audio).name
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
            pair = np.concatenate(there), np.concatenate(mine)
            compared.append(compare(text, output, *pair, WINDOWS_LIMIT))
        for number, (what, text) in enumerate(texts.items()):
            there = found[file_key(number, output)]
            compared.append(compare(text, output, there, here[what][output], FILES_LIMIT))
        mean = found[file_key(0, output)].mean(0, keepdims=True)
        scale = here["file"][output]
        text = f"{label}, the mean of its windows"
        compared.append(compare(text, output, mean, means[output], FILES_LIMIT, scale))
    distance = None
    if trained_with is not None:
        other = _answers(model, cut(trained_with, waveform, frames))[EMBEDDINGS]
        distance = compare("", EMBEDDINGS, here["file"][EMBEDDINGS], other, 0).difference
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
    done = subprocess.run(
        [sys.executable, "-m", "playlist_pretrain.export.essentia_check", str(folder)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        reason = said[-1] if said else "it says nothing"
        if done.returncode < 0:
            reason = f"it ended with {signal.Signals(-done.returncode).name}; {reason}"
        raise ModelError(f"{name}: Essentia cannot run it: {reason}")
    with np.load(folder / ANSWERS, allow_pickle=False) as archive:
        return dict(archive)


def compare(
    what: str,
    output: str,
    there: np.ndarray,
    here: np.ndarray,
    limit: float,
    spread: np.ndarray | None = None,
) -> Compared:
    """Compare answers [windows, size]; the standard deviation is that of ``spread``, or of ours."""
    common = min(len(there), len(here))
    difference = float(np.abs(there[:common] - here[:common]).max()) if common else math.inf
    if output == ACTIVATIONS:
        limit = ACTIVATIONS_LIMIT
    else:
        difference /= max(float((here if spread is None else spread).std()), SMALLEST_STD)
    return Compared(what, output, len(there), len(here), difference, limit)


def cut(
    front_end: FrontEnd, waveform: np.ndarray, frames: int, *, repeat: bool = False
) -> np.ndarray:
    """Windows [any, frames, bands] of a waveform's log-mel, one after the other.

    The frames after the last whole one are left out, or repeated until they fill a window.
    """
    mel = front_end.log_mel(waveform).numpy()
    rest = len(mel) % frames
    if repeat and rest:
        filled = np.resize(mel[-rest:], (frames - rest, front_end.bands))
        mel = np.concatenate([mel, filled])
    return mel[: len(mel) // frames * frames].reshape(-1, frames, front_end.bands)


def write_synthetic(path: Path, seconds: float) -> None:
    """Write two channels of chords and noise at 44.1 kHz: something to try a model on."""
    import soundfile

    rng = np.random.default_rng(0)
    rate, note = 44100, 22050
    time = np.arange(note) / rate
    notes = []
    for _ in range(int(seconds * rate / note) + 1):
        pitches = rng.uniform(80, 3000, (5, 1))
        tones = np.sin(2 * np.pi * pitches * time) * np.exp(-rng.uniform(0, 8, (5, 1)) * time)
        notes.append(tones.sum(0) * rng.uniform(0.01, 0.15))
    sound = np.concatenate(notes)[: int(seconds * rate), np.newaxis] * [1, 0.6]
    sound = sound + rng.normal(scale=0.005, size=sound.shape)
    soundfile.write(path, np.clip(sound, -1, 1), rate, subtype="PCM_16")


def _answers(model: tf.keras.Model, windows: np.ndarray) -> dict[str, np.ndarray]:
    parts = [
        model(windows[first : first + _AT_ONCE], training=False)
        for first in range(0, len(windows), _AT_ONCE)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _means(
    model: tf.keras.Model, front_end: FrontEnd, waveform: np.ndarray
) -> dict[str, np.ndarray]:
    """What the signature ``waveform`` answers, [1, size] for each output."""
    import tensorflow as tf

    from playlist_pretrain.export.saved_model import waveform_mean

    def mean(output):
        single = tf.keras.Model(model.inputs, output)
        given = tf.constant(waveform[np.newaxis])
        # As a graph, the loop over windows does not go through Python.
        return tf.function(lambda: waveform_mean(single, front_end, given), autograph=False)()

    return {name: mean(output).numpy() for name, output in model.output.items()}
