"""The Python code that uses a package in Essentia: what is printed is what the check runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from playlist_pretrain.audio.front_end import PRESETS, FrontEnd
from playlist_pretrain.errors import FrontEndError
from playlist_pretrain.export.package import EMBEDDINGS, INPUT

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import ImportedFrontEnd

_ALGORITHMS = {
    "musicnn": ("TensorflowPredictMusiCNN", "TensorflowInputMusiCNN"),
    "vggish-essentia": ("TensorflowPredictVGGish", "TensorflowInputVGGish"),
}
"""Preset to Essentia's algorithm for whole files, and for the log-mel of one frame."""
_NEAR = {"taper", "framing", "mel_precision", "hop_length", "resample_quality"}
"""Constants in which an algorithm is near a front end all the same; the check measures how near."""

_WHOLE = """\
from essentia.standard import MonoLoader, {name}


def predict(graph, audio, output="{embeddings}", last="discard"):
    load = MonoLoader(filename=audio, sampleRate={sample_rate}, resampleQuality={resample_quality})
    model = {name}(
        graphFilename=graph,
        input="{input}",
        output=output,
        patchSize={frames},
        patchHopSize={frames},
        lastPatchMode=last,
    )
    return model(load())  # [windows, …]
"""
_MAIN = """\


if __name__ == "__main__":
    import sys
    from pathlib import Path

    for output in {outputs}:
        found = predict(str(Path(__file__).with_name("{graph}")), sys.argv[1], output)
        print(output, found.shape, found, sep="\\n")
"""
_BY_FRAME = """\
import numpy as np
from essentia import Pool
from essentia.standard import FrameGenerator, MonoLoader, {mel}, {name}


def predict(graph, audio, output="{embeddings}", last="discard"):
    load = MonoLoader(filename=audio, sampleRate={sample_rate}, resampleQuality={resample_quality})
    log_mel = {mel}()
    frames = FrameGenerator(load(), frameSize={frame_length}, hopSize={hop_length})
    mel = np.array([log_mel(frame) for frame in frames])
    if last == "repeat" and len(mel) % {frames}:
        rest = mel[len(mel) // {frames} * {frames} :]
        mel = np.concatenate([mel, np.resize(rest, ({frames} - len(rest), {bands}))])
    windows = mel[: len(mel) // {frames} * {frames}].reshape(-1, 1, {frames}, {bands})
    model = {name}(graphFilename=graph, inputs=["{input}"], outputs=[output])
    answers = []
    for first in range(0, len(windows), 64):
        pool = Pool()
        pool.set("{input}", windows[first : first + 64])
        answers += [answer.ravel() for answer in model(pool)[output]]
    return np.array(answers)  # [windows, …]
"""


@dataclass(frozen=True)
class EssentiaAlgorithm:
    """What makes the log-mels of a front end in Essentia, or nearly.

    Attributes
    ----------
    name : str
        Algorithm that runs the model.
    mel : str
        Algorithm of the log-mel of one frame; ``name`` uses it inside where it takes waveforms.
    sample_rate, frame_length, hop_length, bands, resample_quality : int
    """

    name: str
    mel: str
    sample_rate: int
    frame_length: int
    hop_length: int
    bands: int
    resample_quality: int

    def code(self, frames: int, graph: str, outputs: Sequence[str]) -> str:
        """Python that defines ``predict(graph, audio, output, last)`` for windows of ``frames``.

        ``last`` says what becomes of the frames after the last whole window, ``"discard"`` or
        ``"repeat"``; the answer is an array [windows, size of the output]. As a script it prints
        the outputs that ``graph``, a file beside it, has for a file of audio.
        """
        template = _BY_FRAME if self.name == "TensorflowPredict" else _WHOLE
        return (template + _MAIN).format(
            **dataclasses.asdict(self),
            frames=frames,
            input=INPUT,
            embeddings=EMBEDDINGS,
            graph=graph,
            outputs=json.dumps(list(outputs)),
        )


def essentia_algorithm(front_end: FrontEnd | ImportedFrontEnd) -> EssentiaAlgorithm:
    """The algorithm of Essentia that is nearest to a front end.

    Raises
    ------
    FrontEndError
        If none is near: the mels were imported, or made with other constants.
    """
    for preset, (name, mel) in _ALGORITHMS.items():
        if not front_end.takes_waveforms:
            break
        if _other(front_end, PRESETS[preset]):  # type: ignore[arg-type]
            continue
        if front_end.hop_length != PRESETS[preset].hop_length:
            name = "TensorflowPredict"
        return EssentiaAlgorithm(
            name=name,
            mel=mel,
            sample_rate=front_end.sample_rate,
            frame_length=front_end.frame_length,
            hop_length=front_end.hop_length,
            bands=front_end.bands,
            resample_quality=front_end.resample_quality,  # type: ignore[union-attr]
        )
    raise FrontEndError(
        f"front end {front_end.name!r}: no algorithm of Essentia makes its log-mels; there are "
        f"those of {', '.join(mel for _, mel in _ALGORITHMS.values())}"
    )


def _other(front_end: FrontEnd, preset: FrontEnd) -> set[str]:
    """Constants in which two front ends differ, but for those of :data:`_NEAR`."""
    mine, theirs = front_end.to_dict(), preset.to_dict()
    different = {name for name, value in mine.items() if value != theirs[name]}
    return different - _NEAR - set(FrontEnd._not_compared)
