"""Audio files as windows of a ``tf.data`` pipeline, for notebooks and models of one's own.

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

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.audio.graph_decode import file_waveform
from playlist_pretrain.audio.wav import RESAMPLE_QUALITY
from playlist_pretrain.errors import AudioError, FrontEndError, RecipeError, first_line
from playlist_pretrain.tfio import tensorflow_io

SHORT = ("repeat", "pad", "skip")


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
        See :func:`~playlist_pretrain.audio.graph_decode.file_waveform`.
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
    # As in the signature waveform: silence follows samples that are too few for one frame.
    shortest = 1 if front_end.framing == "centred" else front_end.frame_length
    missing = tf.maximum(shortest - tf.shape(waveform)[0], 0)
    mel = front_end.log_mel(tf.pad(waveform, [[0, missing]]))
    length = tf.shape(mel)[0]
    if short == "skip":
        enough = tf.debugging.Assert(
            length >= frames, [f"too short: a window needs {frames} frames, it has", length]
        )
        with tf.control_dependencies([enough]):
            return tf.identity(mel)
    if short == "repeat":
        return tf.tile(mel, [tf.maximum(1, -(-frames // length)), 1])
    missing = tf.maximum(frames - length, 0)
    return tf.pad(mel, [[0, missing], [0, 0]], constant_values=front_end.silence)


def _reason(file: str, front_end: FrontEnd, frames: int, short: str) -> str:
    """Why a file has no windows: it is tried again, where an error can be caught."""
    try:
        _log_mel(tf.constant(os.fsencode(file)), front_end, frames, short)
    except tf.errors.OpError as error:
        return first_line(error)
    return "could not be read, but can be now"
