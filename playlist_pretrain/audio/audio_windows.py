"""Windows of audio files in a ``tf.data`` pipeline, for notebooks and models of one's own.

>>> from playlist_pretrain.audio.front_end import front_end
>>> dataset = audio_windows(paths, front_end("paper"), 256, labels=labels, seed=0)
>>> model.fit(dataset.shuffle(1000).batch(32).prefetch(1), epochs=10)

Wav files are read by TensorFlow's core operations, flac, mp3 and ogg by libsndfile, in
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
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.audio.log_mel import fill_window, pad_to_frame
from playlist_pretrain.audio.sndfile import read_streams
from playlist_pretrain.audio.wav import (
    RESAMPLE_QUALITY,
    VALUES_AT_ONCE,
    demand,
    resampled,
    wav_waveform,
)
from playlist_pretrain.audio.windows import SHORT
from playlist_pretrain.errors import AudioError, FrontEndError, RecipeError, first_line


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
        No paths.
    RecipeError
        Another value that cannot be.
    """
    files = [os.fspath(path) for path in paths]
    _check(files, front_end, frames, labels, seed, short, skipped)
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
    length, message = tf.shape(mel)[0], f"too short: a window needs {frames} frames, it has"
    with tf.control_dependencies([demand(length >= frames, message, length)]):
        return tf.identity(mel)


def _reason(file: str, front_end: FrontEnd, frames: int, short: str) -> str:
    """Find out why a file has no windows: read it again, where an error can be caught."""
    try:
        _log_mel(tf.constant(os.fsencode(file)), front_end, frames, short)
    except tf.errors.OpError as error:
        _, _, demanded = str(error).partition("Summarized data: ")
        if demanded:  # bytes and numbers, one a line
            lines = [line.removeprefix("b'").removesuffix("'") for line in demanded.splitlines()]
            return " ".join(lines)
        return re.sub(r"\{\{function_node \S+\}\} | \[Op:\w+\].*", "", first_line(error))
    return "could not be read, but can be now"


def file_waveform(path: tf.Tensor, sample_rate: int) -> tf.Tensor:
    """Decode a file to mono at ``sample_rate``; works in any graph of this process.

    Parameters
    ----------
    path : tf.Tensor string []
        wav, flac, mp3, ogg (Vorbis, Opus), told apart by its content; any rate from 1 to 768 kHz
        and any number of channels, whose mean is taken. It lasts at most
        :data:`~playlist_pretrain.audio.streams.LONGEST_WHOLE` seconds.
    sample_rate : int
        Hz of the result; resampled as Essentia's ``Resample`` does with quality 4. Of a file that
        was joined of streams each is resampled from its own rate.

    Returns
    -------
    tf.Tensor float32 [samples]
        Full scale ±1.

    Raises
    ------
    tf.errors.OpError
        For a file that is missing, damaged, cut off, of another kind, or beyond the limits. Of an
        mp3 or ogg file that was cut off it gives what is there, since those state no length that
        can be trusted.
    """
    contents = tf.io.read_file(path)
    magic = tf.strings.substr(contents + "    ", 0, 4)

    def other():
        decoded = functools.partial(_decoded, sample_rate=sample_rate)
        kinds = tf.float32, tf.string
        waveform, reason = tf.numpy_function(decoded, [path], kinds, stateful=False)
        with tf.control_dependencies([demand(reason == "", reason)]):
            return tf.identity(waveform)

    is_wav = tf.reduce_any(tf.equal(magic, tf.constant(["RIFF", "RF64", "riff"])))
    waveform = tf.cond(is_wav, lambda: wav_waveform(contents, sample_rate), other)
    return tf.ensure_shape(waveform, [None])


def _decoded(path: bytes | np.ndarray, sample_rate: int) -> tuple[np.ndarray, bytes]:
    """Decode by libsndfile to mono float32 [samples]; with the reason if there are none.

    An error raised here would be logged by TensorFlow with its traceback.
    """
    parts = [np.zeros(0, np.float32)]
    try:
        for rate, mono in read_streams(os.fsdecode(np.asarray(path).item())):
            if not np.isfinite(mono).all():
                raise AudioError("a file of NaN or infinite samples")
            if mono.size:
                parts.append(mono if rate == sample_rate else _resampled(mono, rate, sample_rate))
        if len(parts) == 1:
            raise AudioError("a file that holds no samples")
    except AudioError as error:
        return parts[0], str(error).encode()
    return np.concatenate(parts), b""


def _resampled(waveform: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    with tf.device("CPU"):
        samples = tf.constant(waveform)
        count, at_once, rate = tf.constant([len(waveform), VALUES_AT_ONCE, rate], tf.int64)
        return resampled(
            lambda first, stop: samples[first:stop], count, at_once, rate, sample_rate
        ).numpy()
