"""Windows of audio files in a ``tf.data`` pipeline, for notebooks and models of one's own.

>>> dataset = audio_windows(paths, front_end("paper"), 256, labels=labels, seed=0)
>>> model.fit(dataset.shuffle(1000).batch(32).prefetch(1), epochs=10)

Wav files are read by TensorFlow's core operations, flac, mp3 and ogg (Vorbis) by tensorflow-io, in
TensorFlow's own threads. All are resampled by the linear interpolation of Essentia's
``resampleQuality`` 4, so that a wav or flac file has the log-mel that
:class:`~playlist_pretrain.audio.decode.AudioLoader` gives it, and the others the same to what
separates two decoders of one format. The command ``embed.py`` and collections take AudioLoader:
that reads more formats, and keeps a decoder that crashes out of the process.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from playlist_pretrain.audio.decode import LONGEST_WHOLE
from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.audio.log_mel import fill_window, pad_to_frame
from playlist_pretrain.audio.wav import (
    HIGHEST_RATE,
    LOWEST_RATE,
    RESAMPLE_QUALITY,
    VALUES_AT_ONCE,
    demand,
    resampled,
    wav_waveform,
)
from playlist_pretrain.audio.windows import SHORT
from playlist_pretrain.errors import AudioError, FrontEndError, RecipeError, first_line
from playlist_pretrain.storage import tensorflow_io

MOST_VALUES = 2**30
"""Samples of all channels that a file may state, since memory is taken for them before they are
read."""
_FLAC_BITS = 20  # of a flac file, whose last bit and next four are the bits of a sample, less 1
_INTEGERS = ((tf.uint8, 2.0**-7, -1.0), (tf.int16, 2.0**-15, 0.0), (tf.int32, 2.0**-31, 0.0))
"""Of flac files of up to 8, 16 and more bits: type, factor and offset that make full scale ±1."""


def audio_windows(
    paths: Sequence[str | Path],
    front_end: FrontEnd,
    frames: int,
    *,
    labels: Any = None,
    seed: int | None = None,
    short: str = "repeat",
    skipped: list[tuple[str, str]] | None = None,
    parallel_calls: int | None = None,
) -> tf.data.Dataset:
    """Windows of audio files, decoded inside the pipeline.

    Parameters
    ----------
    paths : sequence of str or Path
        See :func:`file_waveform`.
    front_end : FrontEnd
        Makes the log-mels.
    frames : int
        Of a window.
    labels : array_like [shape=(len(paths), ...)], optional
        What goes with the windows of each file.
    seed : int, optional
        One random window of each file: it depends on the seed, on how often the dataset was
        iterated over before, and on the file's place in ``paths``. Without a seed, all windows
        that do not overlap.
    short : {"repeat", "pad", "skip"}
        A file with fewer frames than a window is repeated from its start, followed by the front
        end's silence, or left out, which takes ``skipped``.
    skipped : list, optional
        Receives (path, reason) of each file that is left out, anew in every iteration. Without
        it the first file that cannot be read ends the iteration with an error that names it.
    parallel_calls : int, optional
        Files that are decoded at the same time [as many as there are cores].

    Returns
    -------
    tf.data.Dataset
        Of windows float32 [frames, bands], or of (window, label), in the order of ``paths``; not
        batched, not shuffled.

    Raises
    ------
    FrontEndError
        The front end was imported, or resamples with another quality than 4.
    AudioError
        No paths, or tensorflow-io cannot be used.
    RecipeError
        Another value that cannot be.
    """
    files = [os.fspath(path) for path in paths]
    _check(files, front_end, frames, labels, seed, short, skipped)
    tensorflow_io("audio", AudioError)
    names = tf.constant([*map(os.fsencode, files), b""])
    epochs = itertools.count()
    plain = tf.autograph.experimental.do_not_convert  # the control flow is TensorFlow's own

    def places() -> Iterator[tuple[int, int]]:
        epoch = next(epochs)
        if skipped is not None:
            skipped.clear()
        # One more than there are: what is left out at the end shows as well.
        yield from ((place, epoch) for place in range(len(files) + 1))

    @plain
    def windows_at(place, epoch):
        def of_file():
            mel = _log_mel(names[place], front_end, frames, short)
            if seed is None:
                return mel[: tf.shape(mel)[0] // frames * frames]
            draw = tf.stack([tf.constant(seed, tf.int64), epoch * len(files) + place])
            last = tf.shape(mel, tf.int64)[0] - frames
            start = tf.random.stateless_uniform([], draw, 0, last + 1, tf.int64, alg="philox")
            return mel[start : start + frames]

        nothing = tf.zeros([0, front_end.bands])
        mel = tf.cond(place < len(files), of_file, lambda: nothing)
        return place, tf.reshape(mel, [-1, frames, front_end.bands])

    def note(first, stop):
        for place in range(first, stop):
            reason = _reason(files[place], front_end, frames, short)
            if skipped is None:
                raise AudioError(f"{files[place]}: {reason}")
            skipped.append((files[place], reason))
        return np.int64(stop)

    @plain
    def look(expected, element):
        place, windows = element
        noted = tf.cond(
            place > expected,
            lambda: tf.ensure_shape(tf.numpy_function(note, [expected, place], tf.int64), []),
            lambda: expected,
        )
        with tf.control_dependencies([noted]):
            return tf.identity(place) + 1, (place, windows)

    place = tf.TensorSpec([], tf.int64)
    calls = parallel_calls or len(os.sched_getaffinity(0))
    dataset = tf.data.Dataset.from_generator(places, output_signature=(place, place))
    dataset = dataset.map(windows_at, num_parallel_calls=calls, deterministic=True)
    # A graph cannot catch an error: what fails goes missing, and the next one shows that it did.
    dataset = dataset.ignore_errors(log_warning=False).scan(tf.constant(0, tf.int64), look)
    if labels is None:
        return dataset.map(plain(lambda place, windows: windows)).unbatch()
    table = tf.convert_to_tensor(labels)

    @plain
    def labelled(place, windows):
        own = table[tf.minimum(place, len(files) - 1)]
        return windows, tf.repeat(own[tf.newaxis], tf.shape(windows)[0], axis=0)

    return dataset.map(labelled).unbatch()


def _check(
    files: Sequence[str],
    front_end: FrontEnd,
    frames: int,
    labels: Any,
    seed: int | None,
    short: str,
    skipped: list | None,
) -> None:
    if not files:
        raise AudioError("no audio files: the list of paths is empty")
    if not front_end.takes_waveforms:
        front_end.log_mel(None)  # says why
    if front_end.resample_quality != RESAMPLE_QUALITY:
        raise FrontEndError(
            f"front end {front_end.name!r} resamples with quality {front_end.resample_quality}; "
            f"inside a pipeline there is {RESAMPLE_QUALITY}"
        )
    if frames < 1:
        raise RecipeError(f"a window of {frames} frames: it needs at least one")
    if seed is not None and not 0 <= seed < 2**63:
        raise RecipeError(f"seed {seed}: it must lie in 0 … 2⁶³ − 1")
    if short not in SHORT:
        raise RecipeError(f"short files: {short!r} is none of {', '.join(SHORT)}")
    if short == "skip" and skipped is None:
        raise RecipeError("short files: 'skip' takes a list as skipped, which says what was")
    if labels is not None and len(labels) != len(files):
        raise RecipeError(f"{len(labels)} labels for {len(files)} files")


def _log_mel(path: tf.Tensor, front_end: FrontEnd, frames: int, short: str) -> tf.Tensor:
    """Log-mel of a whole file, at least a window long: float32 [any, bands]."""
    waveform = file_waveform(path, front_end.sample_rate)
    mel = front_end.log_mel(pad_to_frame(front_end, waveform))
    if short != "skip":
        return fill_window(mel, frames, short, front_end.silence)
    length = tf.shape(mel)[0]
    enough = tf.debugging.Assert(
        length >= frames, [f"too short: a window needs {frames} frames, it has", length]
    )
    with tf.control_dependencies([enough]):
        return tf.identity(mel)


def _reason(file: str, front_end: FrontEnd, frames: int, short: str) -> str:
    """Find out why a file has no windows: read it again, where an error can be caught."""
    try:
        _log_mel(tf.constant(os.fsencode(file)), front_end, frames, short)
    except tf.errors.OpError as error:
        return first_line(error)
    return "could not be read, but can be now"


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
    flac = tf.where(bits <= 8, 0, tf.where(bits <= 16, 1, 2))
    kind = tf.where(magic == "fLaC", flac, tf.where(magic == "OggS", 3, 4))

    def other():
        samples, rate = _mono(path, contents, kind)
        count, at_once = tf.size(samples, tf.int64), tf.constant(VALUES_AT_ONCE, tf.int64)
        return tf.cond(
            tf.equal(rate, sample_rate),
            lambda: samples,
            lambda: resampled(
                lambda first, stop: samples[first:stop], count, at_once, rate, sample_rate
            ),
        )

    waveform = tf.cond(magic == "RIFF", lambda: wav_waveform(contents, sample_rate), other)
    return tf.ensure_shape(waveform, [None])


@functools.cache
def _headers() -> tf.CriticalSection:
    """Lock around the one operation of tensorflow-io that knows the rate of a file.

    It keeps the file it opened in its node of the graph, so that another file, opened there at the
    same time, would answer in its place.
    """
    with tf.init_scope():
        return tf.CriticalSection(name="audio_headers")


def _mono(path: tf.Tensor, contents: tf.Tensor, kind: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode by tensorflow-io: samples float32 [any], and their rate, int64 [].

    ``kind`` (int32 []) is the place in the list of decoders.
    """
    audio = tensorflow_io("audio", AudioError).audio

    def stated():
        file = audio.AudioIOTensor(path, dtype=tf.float32)
        return tf.cast(file.shape, tf.int64), tf.cast(file.rate, tf.int64)

    def floats(decode, *integers):
        """Decode to float32, ±1: of integers by their type, factor and offset."""
        if not integers:
            return tf.ensure_shape(decode(contents), [None, None])
        dtype, factor, offset = integers
        return tf.cast(decode(contents, dtype=dtype), tf.float32) * factor + offset

    decoders = [functools.partial(floats, audio.decode_flac, *how) for how in _INTEGERS]
    decoders += [functools.partial(floats, one) for one in (audio.decode_vorbis, audio.decode_mp3)]
    shape, rate = _headers().execute(stated)
    count, channels = shape[0], shape[1]
    possible = (rate >= LOWEST_RATE) & (rate <= HIGHEST_RATE)
    long = f"a file of more than {LONGEST_WHOLE} seconds, or of {MOST_VALUES} samples: it states"
    checks = [
        demand(possible, "a file of an impossible rate", rate),
        demand((count > 0) & (channels > 0), "a file that holds no samples"),
        demand((count <= LONGEST_WHOLE * rate) & (count <= MOST_VALUES // channels), long, count),
    ]
    with tf.control_dependencies(checks):
        samples = tf.switch_case(tf.identity(kind), decoders)
    # The length that was stated is not that of what is there, where a file was cut off.
    whole = demand(
        tf.shape(samples, tf.int64)[0] >= count, "a file that is cut off: samples stated", count
    )
    with tf.control_dependencies([whole]):
        mean = tf.reduce_mean(samples, axis=1)
    finite = tf.reduce_all(tf.math.is_finite(mean))
    with tf.control_dependencies([demand(finite, "a file of NaN or infinite samples")]):
        return tf.ensure_shape(mean, [None]), rate
