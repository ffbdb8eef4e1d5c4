"""Results of the installed Essentia, and audio files of known content."""

import functools
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest


@functools.cache
def algorithms(kind: str):
    """Essentia's ``standard`` or ``streaming`` algorithms, silent."""
    import importlib

    import essentia

    essentia.log.infoActive = essentia.log.warningActive = False
    return importlib.import_module(f"essentia.{kind}")


def log_mel(front_end, waveform: np.ndarray, silent_frames: str = "keep") -> np.ndarray:
    """Mel of a whole waveform, from the network inside the ``TensorflowPredict…`` algorithms.

    Their frame cutter has no parameters but the two lengths; it adds noise at −100 dB to silent
    frames, which ``silent_frames="keep"`` switches off.
    """
    import essentia

    streaming = algorithms("streaming")
    model = "VGGish" if front_end.spectrum == "magnitude" else "MusiCNN"
    source = streaming.VectorInput(waveform)
    cutter = streaming.FrameCutter(
        frameSize=front_end.frame_length, hopSize=front_end.hop_length, silentFrames=silent_frames
    )
    mel = getattr(streaming, f"TensorflowInput{model}")()
    pool = essentia.Pool()
    source.data >> cutter.signal
    cutter.frame >> mel.frame
    mel.bands >> (pool, "mel")
    essentia.run(source)
    return pool["mel"]


@pytest.fixture(scope="session")
def essentia_reference():
    """The functions of this module that ask Essentia."""
    return SimpleNamespace(algorithms=algorithms, log_mel=log_mel)


@pytest.fixture(scope="session")
def ffmpeg():
    """Callable: arguments → runs ffmpeg, which has to succeed."""
    import imageio_ffmpeg

    binary = imageio_ffmpeg.get_ffmpeg_exe()

    def run(*arguments):
        subprocess.run([binary, "-v", "error", "-y", *map(str, arguments)], check=True)

    return run
