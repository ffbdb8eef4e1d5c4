"""Results of the installed Essentia, from a process of its own."""

import importlib

import numpy as np

from playlist_pretrain.processes import OwnProcess


def mono_loader(path, **settings) -> np.ndarray:
    """Waveform of a file."""
    return _answer((_mono_loader, (str(path), settings)))


def log_mel(front_end, waveform: np.ndarray, silent_frames: str = "keep") -> np.ndarray:
    """Mel of a whole waveform, from the network inside the ``TensorflowPredict…`` algorithms.

    Their frame cutter has no parameters but the two lengths; it adds noise at −100 dB to silent
    frames, which ``silent_frames="keep"`` switches off.
    """
    return _answer((_log_mel, (front_end, waveform, silent_frames)))


def _do(task, announce):
    function, arguments = task
    return function(*arguments)


_answer = OwnProcess(_do)


def _algorithms(kind: str):
    """Essentia's ``standard`` or ``streaming`` algorithms, silent."""
    import essentia

    essentia.log.infoActive = essentia.log.warningActive = False
    return importlib.import_module(f"essentia.{kind}")


def _mono_loader(path, settings):
    return _algorithms("standard").MonoLoader(filename=path, **settings)()


def _log_mel(front_end, waveform, silent_frames):
    import essentia

    streaming = _algorithms("streaming")
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
