"""The log-mel as a TensorFlow graph, and what graphs do with log-mels."""

from __future__ import annotations

import atexit
import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from playlist_pretrain.audio.constants import Constants
from playlist_pretrain.audio.filters import front_end_filters, front_end_taper

# About 1 MB of frames: what one step works on stays in the processor's cache, and an hour of
# audio needs little memory beyond its waveform and its mel.
CHUNK_FRAMES = 512
# Below it a magnitude counts as constant, so that the gradient at silence is 0 and not 0/0.
_SMALLEST_POWER = 1e-30
# Beyond it float32 overflows when the logarithm is undone; no sound is as loud.
_LARGEST_EXPONENT = 40.0


@functools.lru_cache(maxsize=32)
def compiled(front_end: Constants) -> tf.types.experimental.GenericFunction:
    """:func:`graph_log_mel` as a graph of its own, traced once per rank, for eager callers."""
    return tf.function(functools.partial(graph_log_mel, front_end), reduce_retracing=True)


# Functions that outlive TensorFlow's modules print errors while the interpreter shuts down.
atexit.register(compiled.cache_clear)


def graph_log_mel(front_end: Constants, waveform: tf.Tensor) -> tf.Tensor:
    """Graph of the log-mel: float32 [..., samples] → float32 [..., frames, bands]."""
    hop = front_end.hop_length
    leading, samples = tf.shape(waveform)[:-1], tf.shape(waveform)[-1]
    if front_end.framing == "centred":
        before = front_end.frame_length // 2
        frames = tf.where(samples > 0, 1 - (-samples) // hop, 0)
    else:
        before = 0
        frames = tf.maximum(0, 1 + (samples - front_end.frame_length) // hop)
    # Rows are laid end to end, each as whole hops, so that one loop serves any batch; the few
    # frames that straddle two rows are computed too and cut off at the end.
    overlap = -(-front_end.frame_length // hop)
    hops = tf.maximum(frames, 1) + overlap - 1
    rows = tf.reshape(waveform, [tf.reduce_prod(leading), samples])
    rows = rows[:, : hops * hop - before]
    rows = tf.pad(rows, [[0, 0], [before, hops * hop - before - tf.shape(rows)[1]]])
    steps = tf.reshape(rows, [tf.shape(rows)[0] * hops, hop])
    count = tf.shape(steps, tf.int64)[0]
    steps = tf.pad(steps, [[0, overlap - 1], [0, 0]])
    mel = in_parts(
        lambda first, stop: _mel_of_steps(front_end, steps[first : stop + overlap - 1]),
        count,
        CHUNK_FRAMES,
        [None, front_end.bands],
    )
    mel = tf.reshape(mel, [tf.shape(rows)[0], hops, front_end.bands])[:, :frames]
    mel = tf.reshape(mel, tf.concat([leading, [frames, front_end.bands]], 0))
    if waveform.shape.rank is not None:
        known = waveform.shape[-1]
        length = None if known is None else front_end.frames(known)
        mel.set_shape(waveform.shape[:-1].concatenate([length, front_end.bands]))
    return mel


def _mel_of_steps(front_end: Constants, steps: tf.Tensor) -> tf.Tensor:
    """Log-mel of the frames that start at each of the hop-long ``steps``, but the last ones."""
    hop, length = front_end.hop_length, front_end.frame_length
    overlap = -(-length // hop)
    count = tf.shape(steps)[0] - (overlap - 1)
    parts = [steps[i : i + count, : min(hop, length - i * hop)] for i in range(overlap)]
    frames = tf.concat(parts, axis=1)  # (count, frame_length)
    spectrum = tf.signal.rfft(frames * front_end_taper(front_end), [front_end.fft_length])
    power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
    if front_end.spectrum == "magnitude":
        power = tf.sqrt(tf.maximum(power, _SMALLEST_POWER))
    mel = tf.matmul(power, front_end_filters(front_end))  # (count, bands)
    return _logarithm(front_end, mel)


def _logarithm(front_end: Constants, mel: tf.Tensor) -> tf.Tensor:
    inside = np.float32(front_end.log_offset) + np.float32(front_end.log_scale) * mel
    return tf.math.log(inside) * np.float32(front_end.log_unit)


def in_parts(
    part: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    count: tf.Tensor,
    at_once: tf.Tensor | int,
    shape: Sequence[int | None] = (None,),
) -> tf.Tensor:
    """Concatenate the results of consecutive stretches, one computed after the other.

    This bounds the memory that long inputs take. ``part(first, stop)`` computes ``at_once`` or
    fewer of the ``count`` items (int64 [], which may be 0): float32 of ``shape``, as the result.
    """
    at_once = tf.cast(at_once, tf.int64)
    size = tf.cast(-(-count // at_once), tf.int32)
    pieces = tf.TensorArray(tf.float32, size=size, element_shape=shape, infer_shape=False)

    def add(index, first, pieces):
        stop = tf.minimum(first + at_once, count)
        return index + 1, stop, pieces.write(index, part(first, stop))

    *_, pieces = tf.while_loop(
        lambda _, first, __: first < count,
        add,
        (0, tf.constant(0, tf.int64), pieces),
        parallel_iterations=1,
    )
    return pieces.concat()


def pad_to_frame(front_end: Constants, waveform: tf.Tensor) -> tf.Tensor:
    """Follow a waveform [..., samples] by silence until it has a frame, if it is too short."""
    shortest = 1 if front_end.framing == "centred" else front_end.frame_length
    missing = tf.maximum(shortest - tf.shape(waveform)[-1], 0)
    return tf.pad(waveform, [*[[0, 0]] * (len(waveform.shape) - 1), [0, missing]])


def fill_window(
    mel: tf.Tensor, frames: int, short: str = "repeat", silence: float = 0.0
) -> tf.Tensor:
    """Lengthen log-mels that are shorter than a window, as :func:`.windows.cut_windows` does.

    ``mel`` [..., at least 1, bands] is repeated from its start until it has ``frames``, or followed
    by ``silence`` if ``short`` is ``"pad"``.
    """
    leading, length = len(mel.shape) - 2, tf.shape(mel)[-2]
    if short == "repeat":
        return tf.tile(mel, [*[1] * leading, tf.maximum(1, -(-frames // length)), 1])
    missing = tf.maximum(frames - length, 0)
    paddings = [*[[0, 0]] * leading, [0, missing], [0, 0]]
    return tf.pad(mel, paddings, constant_values=silence)


def to_power(front_end: Constants, mel: tf.Tensor) -> tf.Tensor:
    """Linear power under a log-mel, float32 of any shape; exact up to rounding.

    Where the filters add up magnitudes, power is the square of their sum.
    """
    exponent = tf.minimum(mel * np.float32(1.0 / front_end.log_unit), _LARGEST_EXPONENT)
    linear = tf.maximum(tf.exp(exponent) - np.float32(front_end.log_offset), 0.0)
    linear = linear / np.float32(front_end.log_scale)
    return tf.square(linear) if front_end.spectrum == "magnitude" else linear


def from_power(front_end: Constants, power: tf.Tensor) -> tf.Tensor:
    """Log-mel of linear power, the inverse of :func:`to_power` from silence on."""
    linear = tf.sqrt(power) if front_end.spectrum == "magnitude" else power
    # Where the offset is 0, the logarithm of 0 is −∞, which silence replaces.
    return tf.maximum(_logarithm(front_end, linear), front_end.silence)
