"""Wav files to waveforms by TensorFlow's core operations, which exist in a server too.

``tf.audio.decode_wav`` reads 16-bit PCM only, and tensorflow-io's operations do not exist in a
server. What comes out is what :func:`playlist_pretrain.audio.decode.decode` gives: Essentia's
``MonoLoader`` with ``resampleQuality`` 4, which is linear interpolation as libsamplerate has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from playlist_pretrain.audio.log_mel import in_parts
from playlist_pretrain.audio.sndfile import HIGHEST_RATE, LOWEST_RATE
from playlist_pretrain.audio.streams import (
    LONGEST_WHOLE,
    MISSING_SECONDS,
    MOST_CHUNKS,
    PACKED,
    unstated,
)

RESAMPLE_QUALITY = 4
"""The one of Essentia's qualities that is computed here: linear interpolation."""
LOUDEST = 2.0**31
"""Highest sample, in full scales: that of 32-bit integers that were not scaled. The power of much
higher ones does not fit float32."""
VALUES_AT_ONCE = 2**20
"""Samples of all channels that are decoded together; bounds memory for long files."""
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


def wav_waveform(contents: tf.Tensor, sample_rate: int, *where: Any) -> tf.Tensor:
    """Decode the bytes of a wav file to mono at ``sample_rate``; works in any graph.

    Parameters
    ----------
    contents : tf.Tensor string []
        A RIFF, RF64 or W64 file of 8, 16, 24 or 32 bit PCM, or of 32 or 64 bit floats, of any
        number of channels, whose mean is taken, and a rate from 1 to 768 kHz. Chunks may come in
        any order, as long as the format comes before the samples, which are in one of the first
        thousand. It lasts at most :data:`~playlist_pretrain.audio.streams.LONGEST_WHOLE` seconds.
        What it states of its length is held against the bytes that are there, as in
        :func:`playlist_pretrain.audio.streams.sample_bytes`.
    sample_rate : int
        Hz of the result.
    *where
        Ends every message, such as the number of the file.

    Returns
    -------
    tf.Tensor float32 [samples]
        Full scale ±1.

    Raises
    ------
    tf.errors.InvalidArgumentError
        For what is no wav file, one that is empty, cut off or too long, another encoding, an
        impossible rate, and samples that are not finite or beyond :data:`LOUDEST`; the message
        says which.
    """
    format_at, data_at, stated, left = _chunks(contents, where)
    code = _number(contents, format_at, 2)
    channels = _number(contents, format_at + 2, 2)
    rate = _number(contents, format_at + 4, 4)
    align = _number(contents, format_at + 12, 2)
    bits = -(-_number(contents, format_at + 14, 2) // 8) * 8  # 12 and 20 are the upper ones
    # The format proper is the beginning of an identifier that comes last.
    extended = (code == EXTENSIBLE) & (format_at + 26 <= data_at)
    code = tf.cond(extended, lambda: _number(contents, format_at + 24, 2), lambda: code)
    possible = (rate >= LOWEST_RATE) & (rate <= HIGHEST_RATE)
    frame = tf.maximum(channels * (bits // 8), 1)  # bytes
    spare = tf.cast(MISSING_SECONDS * tf.cast(rate, tf.float64), tf.int64) * frame
    whole = stated <= left + spare
    cut_off = "a wav file that is cut off: bytes stated, there"
    size = tf.minimum(stated, left)
    count = size // frame
    checks = [
        demand(whole, cut_off, stated, left, *where),
        demand(channels > 0, "a wav file without channels", *where),
        demand((bits != 24) | (align != 4 * channels), PACKED, *where),
        demand(possible, "a wav file of an impossible rate", rate, *where),
        demand(count > 0, "a wav file that holds no samples", *where),
        demand(
            count <= LONGEST_WHOLE * rate,
            f"a wav file of more than {LONGEST_WHOLE} seconds: samples, rate",
            count,
            rate,
            *where,
        ),
    ]
    with tf.control_dependencies(checks):
        channels, count = tf.identity(channels), tf.identity(count)

    def mono(first, stop):
        data = tf.strings.substr(contents, data_at + first * frame, (stop - first) * frame)
        samples = _samples(data, code, bits, where)
        mean = tf.reduce_mean(tf.reshape(samples, [-1, channels]), axis=1)
        audible = tf.reduce_all(tf.abs(mean) <= LOUDEST)  # NaN is not
        message = f"a wav file of NaN or infinite samples, or some beyond ±{LOUDEST:.0f}"
        with tf.control_dependencies([demand(audible, message, *where)]):
            return tf.identity(mean)

    at_once = tf.maximum(VALUES_AT_ONCE // channels, 1)
    return tf.cond(
        tf.equal(rate, sample_rate),
        lambda: in_parts(mono, count, at_once),
        lambda: resampled(mono, count, at_once, rate, sample_rate),
    )


def resampled(
    mono: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    count: tf.Tensor,
    at_once: tf.Tensor,
    rate: tf.Tensor,
    sample_rate: int,
) -> tf.Tensor:
    """Resample by linear interpolation, sample for sample as Essentia's quality 4.

    ``mono(first, stop)`` gives some of the ``count`` samples at ``rate`` Hz (int64 []), float32, at
    least one and about ``at_once``. Returns float32 [any] at ``sample_rate`` Hz.
    """
    # Essentia has the factor in 32 bits: over a minute that is some samples.
    factor = tf.cast(tf.constant(sample_rate, tf.float32) / tf.cast(rate, tf.float32), tf.float64)
    length = tf.cast(count, tf.float64)
    most = tf.cast(length * factor, tf.int64) + 3

    def part(first, stop):
        positions = tf.cast(tf.range(first, stop), tf.float64) / factor
        ends = tf.cast(tf.cast([first, stop - 1], tf.float64) / factor, tf.int64)
        start = tf.clip_by_value(ends[0] - 1, 0, count - 1)
        samples = mono(start, tf.where(stop < most, tf.minimum(ends[1] + 1, count), count))
        positions = positions[: tf.reduce_sum(tf.cast(positions < length, tf.int32))]
        # libsamplerate starts on the first sample twice, so all comes one sample late.
        before = tf.cast(positions, tf.int64)
        past = positions - tf.cast(before, tf.float64)
        left = tf.gather(samples, tf.maximum(before - 1, 0) - start)
        right = tf.gather(samples, tf.minimum(before, count - 1) - start)
        left, right = tf.cast(left, tf.float64), tf.cast(right, tf.float64)
        return tf.cast(left + (right - left) * past, tf.float32)

    fewer = tf.cast(tf.cast(at_once, tf.float64) * tf.minimum(factor, 1.0), tf.int64)
    return in_parts(part, most, tf.maximum(fewer, 1))


def demand(condition: tf.Tensor, message: str, *values: tf.Tensor) -> tf.Operation:
    """Raise tf.errors.InvalidArgumentError with ``message`` and ``values`` unless ``condition``."""
    return tf.debugging.Assert(condition, [message, *values])


def _number(contents: tf.Tensor, at: tf.Tensor, size: int) -> tf.Tensor:
    """Unsigned little-endian number of ``size`` bytes at ``at``, as int64."""
    raw = tf.io.decode_raw(tf.strings.substr(contents, at, size), tf.uint8)
    weights = tf.constant([256**k for k in range(size)], tf.int64)
    return tf.reduce_sum(tf.cast(raw, tf.int64) * weights)


def _chunks(
    contents: tf.Tensor, where: Sequence[Any]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Find the format and the samples: where each begins, and the bytes of samples.

    The last two are the bytes that are stated and that are there.
    """
    length = tf.cast(tf.strings.length(contents), tf.int64)
    head = tf.cond(length >= 12, lambda: tf.strings.substr(contents, 0, 12), lambda: " " * 12)
    kind = tf.strings.substr(head, 0, 4)
    is_w64 = tf.equal(kind, "riff")
    is_wav = tf.equal(tf.strings.substr(head, 8, 4), "WAVE")
    is_wav = (is_wav & (tf.equal(kind, "RIFF") | tf.equal(kind, "RF64"))) | is_w64
    with tf.control_dependencies([demand(is_wav, "not a wav file (RIFF, WAVE)", *where)]):
        length = tf.identity(length)
    nowhere, nothing = tf.constant(-1, tf.int64), tf.constant(0, tf.int64)
    first, head_size, even = tf.unstack(
        tf.where(is_w64, tf.constant([40, 24, 8], tf.int64), tf.constant([12, 8, 2], tf.int64))
    )

    def searching(at, format_at, data_at, size, long_size):
        return (at + head_size <= length) & (data_at < 0)

    def look(at, format_at, data_at, size, long_size):
        name = tf.strings.substr(contents, at, 4)
        body = at + head_size
        # W64 counts the head, and has 8 bytes for it.
        size = tf.cond(
            is_w64,
            lambda: tf.maximum(_number(contents, at + 16, 8) - 24, 0),
            lambda: _number(contents, at + 4, 4),
        )
        is_long = tf.equal(name, "ds64") & (body + 16 <= length)
        long_size = tf.cond(is_long, lambda: _number(contents, body + 8, 8), lambda: long_size)
        is_format = tf.equal(name, "fmt ") & (size >= 16) & (body + 16 <= length)
        format_at = tf.where(is_format, body, format_at)
        data_at = tf.where(tf.equal(name, "data") & (format_at >= 0), body, data_at)
        behind = body + tf.minimum(size, length)
        return behind + -behind % even, format_at, data_at, size, long_size

    start = first, nowhere, nowhere, nothing, nothing
    _, format_at, data_at, size, long_size = tf.while_loop(
        searching, look, start, maximum_iterations=MOST_CHUNKS
    )
    left = length - data_at
    size = tf.where(tf.equal(kind, "RF64") & tf.equal(size, 0xFFFFFFFF), long_size, size)
    # Of nothing, what lies behind are other chunks, if the whole has the length it states.
    whole = tf.equal(kind, "RIFF") & tf.equal(_number(head, 4, 4) + 8, length)
    unknown = tf.where(tf.equal(size, 0), ~whole, unstated(size) & (size > left))
    size = tf.where(unknown, left, size)
    checks = [
        demand(format_at >= 0, "a wav file without a whole format chunk", *where),
        demand(data_at >= 0, f"a wav file without samples in {MOST_CHUNKS} chunks", *where),
    ]
    with tf.control_dependencies(checks):
        return tuple(map(tf.identity, (format_at, data_at, size, left)))


def _samples(data: tf.Tensor, code: tf.Tensor, bits: tf.Tensor, where: Sequence[Any]) -> tf.Tensor:
    """Interleaved samples, float32 of full scale ±1."""

    def integers(kind, scale, offset=0.0, wide=tf.float32):
        whole = tf.cast(tf.io.decode_raw(data, kind), wide)
        return tf.cast((whole + offset) / scale, tf.float32)

    def signed24():
        raw = tf.cast(tf.reshape(tf.io.decode_raw(data, tf.uint8), [-1, 3]), tf.int32)
        whole = raw[:, 0] * 2**8 + raw[:, 1] * 2**16 + raw[:, 2] * 2**24  # overflows to the sign
        return tf.cast(tf.cast(whole, tf.float64) / 2.0**31, tf.float32)

    def other():
        message = "a wav file of an encoding other than PCM and floats: code, bits"
        with tf.control_dependencies([demand(tf.constant(False), message, code, bits, *where)]):
            return tf.zeros([0])

    kinds = [
        (PCM, 8, lambda: integers(tf.uint8, 128.0, -128.0)),
        (PCM, 16, lambda: integers(tf.int16, 2.0**15)),
        (PCM, 24, signed24),
        (PCM, 32, lambda: integers(tf.int32, 2.0**31, wide=tf.float64)),
        (FLOAT, 32, lambda: tf.io.decode_raw(data, tf.float32)),
        (FLOAT, 64, lambda: tf.cast(tf.io.decode_raw(data, tf.float64), tf.float32)),
    ]
    found = [tf.equal(code, of) & tf.equal(bits, size) for of, size, _ in kinds]
    which = tf.argmax(tf.cast([*found, tf.constant(True)], tf.int32), output_type=tf.int32)
    return tf.switch_case(which, [*(decode for *_, decode in kinds), other])
