"""The model's own side of a comparison: windows of a file, and what the model gives them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import FrontEnd

_AT_ONCE = 32


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


def answers(model: tf.keras.Model, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs [windows, size] of a model by their names."""
    parts = [
        model(windows[first : first + _AT_ONCE], training=False)
        for first in range(0, len(windows), _AT_ONCE)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def waveform_means(
    model: tf.keras.Model, front_end: FrontEnd, waveform: np.ndarray
) -> dict[str, np.ndarray]:
    """What the signature ``waveform`` answers, [1, size] for each output."""
    import tensorflow as tf

    from playlist_pretrain.export.signatures import waveform_mean

    def mean(output):
        single = tf.keras.Model(model.inputs, output)
        given = tf.constant(waveform[np.newaxis])
        # As a graph, the loop over windows does not go through Python.
        return tf.function(lambda: waveform_mean(single, front_end, given), autograph=False)()

    return {name: mean(output).numpy() for name, output in model.output.items()}
