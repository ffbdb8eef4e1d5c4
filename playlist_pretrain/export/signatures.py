"""What a saved model answers to log-mels, waveforms and wav files: its signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.export.wav import RESAMPLE_QUALITY, wav_waveform

WINDOWS_AT_ONCE = 32
"""Windows of one waveform that go through the backbone together; bounds memory for long tracks."""


def class_names(classes: Sequence[str]) -> Any:
    """Signature that takes nothing and gives ``class_names``, a string [classes]."""

    @tf.function(input_signature=[])
    def class_names():
        return {"class_names": tf.constant(classes, tf.string)}

    return class_names


def signatures_of(
    inputs: Sequence[tf.Tensor], outputs: Mapping[str, tf.Tensor], front_end: FrontEnd
) -> dict[str, Any]:
    """Signatures that answer with some tensors of a functional model."""
    model = tf.keras.Model(inputs, list(outputs.values()))
    # All answers side by side, so that the means of a track are worked out once.
    flat = model.outputs[0] if len(outputs) == 1 else tf.concat(model.outputs, -1)
    wide = tf.keras.Model(inputs, flat)
    sizes = [tensor.shape[-1] for tensor in outputs.values()]
    frames, bands = wide.input_shape[1:]

    def named(answers):  # (batch, sum of sizes)
        return dict(zip(outputs, tf.split(answers, sizes, axis=-1), strict=True))

    @tf.function(
        input_signature=[tf.TensorSpec([None, frames, bands], tf.float32, "melspectrogram")]
    )
    def serving_default(melspectrogram):
        return named(wide(melspectrogram, training=False))

    if not front_end.takes_waveforms:
        return {"serving_default": serving_default}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "waveform")])
    def waveform(waveform):
        return named(waveform_mean(wide, front_end, waveform))

    signatures = {"serving_default": serving_default, "waveform": waveform}
    if front_end.resample_quality != RESAMPLE_QUALITY:  # the others are beyond core operations
        return signatures

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "wav_bytes")])
    def wav_bytes(wav_bytes):
        def of_file(contents):
            samples = wav_waveform(contents, front_end.sample_rate)
            return waveform_mean(wide, front_end, samples[tf.newaxis])[0]

        answer = tf.TensorSpec([sum(sizes)], tf.float32)
        # Files differ in length, and one at a time bounds the memory of a request.
        return named(
            tf.map_fn(of_file, wav_bytes, parallel_iterations=1, fn_output_signature=answer)
        )

    return {**signatures, "wav_bytes": wav_bytes}


def waveform_mean(model: tf.keras.Model, front_end: FrontEnd, waveform: tf.Tensor) -> tf.Tensor:
    """:func:`track_mean` of waveforms, for a graph: what the signature ``waveform`` answers with.

    Silence follows samples that are too few for one frame.

    Parameters
    ----------
    model : tf.keras.Model
        ``[batch, frames, bands] → [batch, dim]``.
    front_end : FrontEnd
        One that takes waveforms.
    waveform : tf.Tensor float32 [batch, samples]
        Whole tracks of one length, which may be 0.

    Returns
    -------
    tf.Tensor float32 [batch, dim]
    """
    shortest = next(n for n in range(1, front_end.frame_length + 1) if front_end.frames(n))
    missing = tf.maximum(shortest - tf.shape(waveform)[1], 0)
    waveform = tf.pad(waveform, [[0, 0], [0, missing]])
    mel = front_end.log_mel(waveform)  # (batch, at least 1, bands)
    return track_mean(model, mel, model.input_shape[1])


def track_mean(model: tf.keras.Model, mel: tf.Tensor, frames: int) -> tf.Tensor:
    """Mean of what a model gives for a track's non-overlapping windows.

    A track shorter than a window is repeated until it fills one; frames after the last whole
    window are left out.

    Parameters
    ----------
    model : tf.keras.Model
        ``[batch, frames, bands] → [batch, dim]``.
    mel : tf.Tensor float32 [batch, any, bands]
        Log-mels of whole tracks, of one length, at least one frame.
    frames : int
        Frames of a window.

    Returns
    -------
    tf.Tensor float32 [batch, dim]
    """
    batch, length, bands = tf.unstack(tf.shape(mel))
    mel = tf.tile(mel, [1, tf.maximum(1, -(-frames // length)), 1])
    windows = tf.maximum(1, length // frames)
    static = (None, model.output_shape[-1])

    def add_slice(first, total):
        last = tf.minimum(first + WINDOWS_AT_ONCE, windows)
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
