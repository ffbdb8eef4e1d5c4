"""Audio files to mono waveforms inside a graph: wav by core operations, others by tensorflow-io."""

from __future__ import annotations

import functools

import tensorflow as tf

from playlist_pretrain.audio.decode import LONGEST_WHOLE
from playlist_pretrain.audio.wav import (
    HIGHEST_RATE,
    LOWEST_RATE,
    VALUES_AT_ONCE,
    demand,
    resampled,
    wav_waveform,
)
from playlist_pretrain.errors import AudioError
from playlist_pretrain.tfio import tensorflow_io

MOST_VALUES = 2**30
"""Samples of all channels that a file may state, since memory is taken for them before they are
there."""
_FLAC_BITS = 20  # of a flac file, whose last bit and next four are the bits of a sample, less 1
_INTEGERS = ((tf.uint8, 2.0**-7, -1.0), (tf.int16, 2.0**-15, 0.0), (tf.int32, 2.0**-31, 0.0))
"""Of flac files of up to 8, 16 and more bits: type, factor and offset that make full scale ±1."""


def file_waveform(path: tf.Tensor, sample_rate: int) -> tf.Tensor:
    """Decode a file to mono at ``sample_rate``; works in any graph of this process.

    Parameters
    ----------
    path : tf.Tensor string []
        wav, flac (8, 16 or 24 bit), mp3 or ogg (Vorbis), told apart by its content; any rate
        from 1 to 768 kHz and any number of channels, whose mean is taken. It lasts at most
        :data:`~playlist_pretrain.audio.decode.LONGEST_WHOLE` seconds.
    sample_rate : int
        Hz of the result; resampled as Essentia's ``Resample`` does with quality 4.

    Returns
    -------
    tf.Tensor float32 [samples]
        Full scale ±1.

    Raises
    ------
    tf.errors.OpError
        For a file that is missing, damaged, cut off, of another kind, or beyond the limits. Of an
        ogg file that was cut off it gives what is there, since that states no length.
    AudioError
        tensorflow-io cannot be used.
    """
    contents = tf.io.read_file(path)
    magic = tf.strings.substr(contents + "    ", 0, 4)
    head = tf.io.decode_raw(tf.strings.substr(contents + "\0" * 32, 0, 32), tf.uint8)
    head = tf.cast(head, tf.int32)
    bits = head[_FLAC_BITS] % 2 * 16 + head[_FLAC_BITS + 1] // 16 + 1
    flac = tf.where(bits <= 8, 1, tf.where(bits <= 16, 2, 3))
    kind = tf.where(magic == "RIFF", 0, tf.where(magic == "fLaC", flac, 4))

    def other():
        kinds = (*_INTEGERS, (tf.float32, 1.0, 0.0))
        decoders = [functools.partial(_mono, path, *how) for how in kinds]
        samples, rate = tf.switch_case(kind - 1, decoders)
        count, at_once = tf.size(samples, tf.int64), tf.constant(VALUES_AT_ONCE, tf.int64)
        return tf.cond(
            tf.equal(rate, sample_rate),
            lambda: samples,
            lambda: resampled(
                lambda first, stop: samples[first:stop], count, at_once, rate, sample_rate
            ),
        )

    waveform = tf.cond(kind == 0, lambda: wav_waveform(contents, sample_rate), other)
    return tf.ensure_shape(waveform, [None])


def _mono(
    path: tf.Tensor, dtype: tf.DType, factor: float, offset: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """What tensorflow-io decodes to ``dtype``: samples float32 [any], and their rate, int64 []."""
    audio = tensorflow_io("audio", AudioError).audio.AudioIOTensor(path, dtype=dtype)
    shape, rate = tf.cast(audio.shape, tf.int64), tf.cast(audio.rate, tf.int64)
    count, channels = shape[0], shape[1]
    possible = (rate >= LOWEST_RATE) & (rate <= HIGHEST_RATE)
    long = f"a file of more than {LONGEST_WHOLE} seconds, or of {MOST_VALUES} samples: it states"
    checks = [
        demand(possible, "a file of an impossible rate", rate),
        demand((count > 0) & (channels > 0), "a file that holds no samples"),
        demand((count <= LONGEST_WHOLE * rate) & (count <= MOST_VALUES // channels), long, count),
    ]
    with tf.control_dependencies(checks):
        samples = audio.to_tensor()
    # The length that was stated is not that of what is there, where a file was cut off.
    whole = demand(
        tf.shape(samples, tf.int64)[0] >= count, "a file that is cut off: samples stated", count
    )

    with tf.control_dependencies([whole]):
        mean = tf.reduce_mean(tf.cast(samples, tf.float32) * factor + offset, axis=1)
    finite = tf.reduce_all(tf.math.is_finite(mean))
    with tf.control_dependencies([demand(finite, "a file of NaN or infinite samples")]):
        return tf.ensure_shape(mean, [None]), rate
