"""The TensorFlow graph behind :meth:`playlist_pretrain.audio.front_end.FrontEnd.log_mel`."""

from __future__ import annotations

import atexit
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.audio.filters import front_end_filters, front_end_taper

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import FrontEnd

# About 1 MB of frames: what one step works on stays in the processor's cache, and an hour of
# audio needs little memory beyond its waveform and its mel.
CHUNK_FRAMES = 512
# Below it a magnitude counts as constant, so that the gradient at silence is 0 and not 0/0.
_SMALLEST_POWER = 1e-30


@functools.lru_cache(maxsize=32)
def compiled(front_end: FrontEnd) -> tf.types.experimental.GenericFunction:
    """:func:`log_mel` as a graph of its own, traced once per rank, for eager callers."""
    import tensorflow as tf

    return tf.function(functools.partial(log_mel, front_end), reduce_retracing=True)


# Functions that outlive TensorFlow's modules print errors while the interpreter shuts down.
atexit.register(compiled.cache_clear)


def log_mel(front_end: FrontEnd, waveform: tf.Tensor) -> tf.Tensor:
    """Graph of the log-mel: float32 [..., samples] → float32 [..., frames, bands]."""
    import tensorflow as tf

    hop = front_end.hop_length
    leading = tf.shape(waveform)[:-1]
    samples = tf.shape(waveform)[-1]
    frames = _frames(front_end, samples)
    before = front_end.frame_length // 2 if front_end.framing == "centred" else 0
    # Rows are laid end to end, each as whole hops, so that one loop serves any batch; the few
    # frames that straddle two rows are computed too and cut off at the end.
    overlap = -(-front_end.frame_length // hop)
    hops = tf.maximum(frames, 1) + overlap - 1
    rows = tf.reshape(waveform, [tf.reduce_prod(leading), samples])
    rows = rows[:, : hops * hop - before]
    rows = tf.pad(rows, [[0, 0], [before, hops * hop - before - tf.shape(rows)[1]]])
    steps = tf.reshape(rows, [tf.shape(rows)[0] * hops, hop])
    steps = tf.pad(steps, [[0, overlap - 1], [0, 0]])

    mel = _in_chunks(functools.partial(_mel_of_steps, front_end), steps, overlap, front_end.bands)
    mel = tf.reshape(mel, [tf.shape(rows)[0], hops, front_end.bands])[:, :frames]
    mel = tf.reshape(mel, tf.concat([leading, [frames, front_end.bands]], 0))
    if waveform.shape.rank is None:
        return mel
    known = waveform.shape[-1]
    mel.set_shape(
        waveform.shape[:-1].concatenate(
            [None if known is None else front_end.frames(known), front_end.bands]
        )
    )
    return mel


def _frames(front_end: FrontEnd, samples: tf.Tensor) -> tf.Tensor:
    """:meth:`FrontEnd.frames` of a number that the graph does not know yet."""
    import tensorflow as tf

    if front_end.framing == "centred":
        return tf.where(samples > 0, 1 - (-samples) // front_end.hop_length, 0)
    return tf.maximum(0, 1 + (samples - front_end.frame_length) // front_end.hop_length)


def _in_chunks(
    mel_of_steps: Callable[[tf.Tensor], tf.Tensor], steps: tf.Tensor, overlap: int, bands: int
) -> tf.Tensor:
    """Apply ``mel_of_steps`` to stretches of ``steps`` [n + overlap − 1, hop] → [n, bands]."""
    import tensorflow as tf

    count = tf.shape(steps)[0] - (overlap - 1)
    pieces = tf.TensorArray(
        tf.float32,
        size=-(-count // CHUNK_FRAMES),
        element_shape=[None, bands],
        infer_shape=False,
    )

    def piece(index, pieces):
        start = index * CHUNK_FRAMES
        stop = tf.minimum(start + CHUNK_FRAMES, count) + overlap - 1
        return index + 1, pieces.write(index, mel_of_steps(steps[start:stop]))

    _, pieces = tf.while_loop(
        lambda index, _: index * CHUNK_FRAMES < count,
        piece,
        (0, pieces),
        parallel_iterations=1,
    )
    return pieces.concat()


def _mel_of_steps(front_end: FrontEnd, steps: tf.Tensor) -> tf.Tensor:
    """Log-mel of the frames that start at each of the hop-long ``steps``, but the last ones."""
    import tensorflow as tf

    hop, length = front_end.hop_length, front_end.frame_length
    overlap = -(-length // hop)
    count = tf.shape(steps)[0] - (overlap - 1)
    parts = [steps[i : i + count, : min(hop, length - i * hop)] for i in range(overlap)]
    frames = tf.concat(parts, axis=1)  # (count, frame_length)
    spectrum = tf.signal.rfft(frames * front_end_taper(front_end), [front_end.fft_length])
    power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
    if front_end.spectrum == "magnitude":
        power = tf.sqrt(tf.maximum(power, _SMALLEST_POWER))
    return _logarithm(front_end, tf.matmul(power, front_end_filters(front_end)))  # (count, bands)


def _logarithm(front_end: FrontEnd, mel: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    unit = 1.0 if front_end.log_base == "e" else 1.0 / math.log(10.0)
    offset, scale = np.float32(front_end.log_offset), np.float32(front_end.log_scale)
    return tf.math.log(offset + scale * mel) * np.float32(unit)


def to_power(front_end: FrontEnd, mel: tf.Tensor) -> tf.Tensor:
    """Linear power under a log-mel, float32 of any shape; exact up to rounding.

    Where the filters add up magnitudes, power is the square of their sum.
    """
    import tensorflow as tf

    if not front_end.takes_waveforms:
        return front_end.to_power(mel)  # type: ignore[attr-defined]
    unit = 1.0 if front_end.log_base == "e" else math.log(10.0)
    linear = tf.exp(mel * np.float32(unit)) - np.float32(front_end.log_offset)
    linear = tf.maximum(linear, 0.0) / np.float32(front_end.log_scale)
    return tf.square(linear) if front_end.spectrum == "magnitude" else linear


def from_power(front_end: FrontEnd, power: tf.Tensor) -> tf.Tensor:
    """Log-mel of linear power, the inverse of :func:`to_power`."""
    import tensorflow as tf

    if not front_end.takes_waveforms:
        return front_end.from_power(power)  # type: ignore[attr-defined]
    return _logarithm(front_end, tf.sqrt(power) if front_end.spectrum == "magnitude" else power)
