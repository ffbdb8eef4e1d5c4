"""Signatures of saved models: answers to log-mels, waveforms and wav files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.audio.log_mel import fill_window, in_parts, pad_to_frame
from playlist_pretrain.audio.wav import LOUDEST, RESAMPLE_QUALITY, wav_waveform

WINDOWS_AT_ONCE = 32
"""Windows of tracks that go through the backbone together; bounds memory for long ones."""
ROWS_AT_ONCE = 128
"""Rows of a request that are answered together; bounds memory for requests of many."""
HIGHEST_LOG_MEL = 10_000.0
"""No logarithm of a float, in decibels neither, is further from 0: 20 log10 of 5e-324 is −6466."""


def class_names(classes: Sequence[str]) -> Any:
    """Make the signature that takes nothing and gives ``class_names``, a string [classes]."""

    @tf.function(input_signature=[])
    def class_names():
        return {"class_names": tf.constant(classes, tf.string)}

    return class_names


def signatures_of(
    inputs: Sequence[tf.Tensor], outputs: Mapping[str, tf.Tensor], front_end: FrontEnd
) -> dict[str, Any]:
    """Make the signatures that answer with some tensors of a functional model.

    A request that is malformed is refused as a whole with ``tf.errors.InvalidArgumentError``,
    whose message says why; one that is empty has an empty answer.

    ``inputs`` are the model's, log-mels [batch, frames, bands] of the front end; ``outputs`` are
    answered, float32 [batch, any], by its name. The signatures are ``serving_default``, and
    ``waveform`` and ``wav_bytes`` where the front end allows them.
    """
    model = tf.keras.Model(inputs, list(outputs.values()))
    # All answers side by side, so that the means of a track are worked out once.
    flat = model.outputs[0] if len(outputs) == 1 else tf.concat(model.outputs, -1)
    wide = tf.keras.Model(inputs, flat)
    sizes = [tensor.shape[-1] for tensor in outputs.values()]
    frames, bands = wide.input_shape[1:]

    def named(answers):  # (batch, sum of sizes)
        return dict(zip(outputs, tf.split(answers, sizes, axis=-1), strict=True))

    def by_rows(answer, given):
        # Inside a backbone rows are many times their size; and of no rows at all some convolutions
        # of TensorFlow give a wrong shape, so that the next layer fails.
        return in_parts(
            lambda first, stop: answer(given[first:stop]),
            tf.shape(given, tf.int64)[0],
            ROWS_AT_ONCE,
            (None, sum(sizes)),
        )

    mel_spec = tf.TensorSpec([None, frames, bands], tf.float32, "melspectrogram")

    @tf.function(input_signature=[mel_spec])
    def serving_default(melspectrogram):
        mel = _checked(melspectrogram, mel_spec, HIGHEST_LOG_MEL)
        return named(by_rows(lambda rows: wide(rows, training=False), mel))

    if not front_end.takes_waveforms:
        return {"serving_default": serving_default}
    waveform_spec = tf.TensorSpec([None, None], tf.float32, "waveform")

    @tf.function(input_signature=[waveform_spec])
    def waveform(waveform):
        rows, length = tf.unstack(tf.shape(tf.ensure_shape(waveform, [None, None]), tf.int64))
        # Rows of nothing are a request of a few bytes, however many it states.
        some = (length > 0) | (rows <= ROWS_AT_ONCE)
        message = f"waveform: more than {ROWS_AT_ONCE} rows without samples"
        with tf.control_dependencies([tf.debugging.Assert(some, [message, rows])]):
            samples = _checked(waveform, waveform_spec, LOUDEST)
        return named(by_rows(lambda rows: waveform_mean(wide, front_end, rows), samples))

    signatures = {"serving_default": serving_default, "waveform": waveform}
    if front_end.resample_quality != RESAMPLE_QUALITY:  # the others are beyond core operations
        return signatures

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "wav_bytes")])
    def wav_bytes(wav_bytes):
        files = tf.ensure_shape(wav_bytes, [None])

        def of_file(numbered):
            number, contents = numbered
            samples = wav_waveform(
                contents, front_end.sample_rate, "in file (the first is 0)", number
            )
            return waveform_mean(wide, front_end, samples[tf.newaxis])[0]

        answer = tf.TensorSpec([sum(sizes)], tf.float32)
        # Files differ in length, and one at a time bounds the memory of a request.
        numbered = tf.range(tf.size(files)), files
        return named(
            tf.map_fn(of_file, numbered, parallel_iterations=1, fn_output_signature=answer)
        )

    return {**signatures, "wav_bytes": wav_bytes}


def _checked(given: tf.Tensor, spec: tf.TensorSpec, highest: float) -> tf.Tensor:
    """Refuse input that is not of the signature's shape or not finite.

    Neither a server nor a signature that is called compares shapes. And NaN must not go in: the
    activation functions of a backbone make 0 of it, and its embedding looks like any other.
    """
    given = tf.ensure_shape(given, spec.shape)
    axes = list(range(1, spec.shape.rank))
    sound = tf.reduce_all(tf.abs(given) <= highest, axes)  # (batch,), False for NaN too
    limit = f"or some beyond ±{highest:.0f}, in row (the first is 0)"
    message = f"{spec.name}: NaN or infinite values, {limit}"
    first = tf.reshape(tf.where(~sound)[:1], [-1])
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(sound), [message, first])]):
        return tf.identity(given)


def waveform_mean(model: tf.keras.Model, front_end: FrontEnd, waveform: tf.Tensor) -> tf.Tensor:
    """Compute :func:`track_mean` of waveforms [batch, samples], whole tracks of one length.

    Those too short for one frame, or empty, are padded with silence.
    """
    mel = front_end.log_mel(pad_to_frame(front_end, waveform))  # (batch, at least 1, bands)
    return track_mean(model, mel, model.input_shape[1])


def track_mean(model: tf.keras.Model, mel: tf.Tensor, frames: int) -> tf.Tensor:
    """Average the outputs of a model over the non-overlapping windows of tracks.

    The graph's twin of :func:`.windows.cut_windows` (a short track is repeated) and
    :func:`.windows.mean_over_windows`.

    ``mel`` (float32 [batch, at least 1, bands]) are log-mels of whole tracks of one length,
    ``frames`` those of a window. Returns float32 [batch, dim].
    """
    batch, length, bands = tf.unstack(tf.shape(mel))
    mel = fill_window(mel, frames)
    windows = tf.maximum(1, length // frames)
    at_once = tf.maximum(1, WINDOWS_AT_ONCE // tf.maximum(batch, 1))  # of each track
    static = (None, model.output_shape[-1])

    def add_slice(first, total):
        last = tf.minimum(first + at_once, windows)
        slice_ = mel[:, first * frames : last * frames]
        slice_ = tf.reshape(slice_, [batch * (last - first), frames, bands])
        slice_ = tf.ensure_shape(slice_, [None, frames, model.input_shape[-1]])
        answers = tf.cast(model(slice_, training=False), tf.float32)
        answers = tf.reshape(answers, [batch, last - first, static[1]])
        return last, tf.ensure_shape(total + tf.reduce_sum(answers, axis=1), static)

    total = tf.ensure_shape(tf.zeros([batch, static[1]]), static)
    _, total = tf.while_loop(
        lambda first, _: first < windows,
        add_slice,
        (tf.constant(0), total),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape(static)),
        parallel_iterations=1,
    )
    return total / tf.cast(windows, tf.float32)
