"""Whether a served model says what the model says: asked by the messages of TensorFlow Serving."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.errors import ModelError
from playlist_pretrain.export import serving_check
from playlist_pretrain.export.description import ACTIVATIONS, EMBEDDINGS, INPUT
from playlist_pretrain.export.parity import (
    FILES_LIMIT,
    WINDOWS_LIMIT,
    Compared,
    compare,
    why_it_ended,
)
from playlist_pretrain.export.reference import (
    answers,
    cut,
    waveform_means,
    write_synthetic,
)
from playlist_pretrain.export.serving_code import MOST_AT_ONCE

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    from playlist_pretrain.audio.front_end import FrontEnd

Tensors = Mapping[str, Any]
_WINDOWS_OF_FILE = 3
"""Length of the file that is made up, for which embeddings have a spread."""


def predict_request(name: str, signature: str, inputs: Tensors) -> PredictRequest:
    """Message that asks a server for what a signature answers to some arrays."""
    import tensorflow as tf
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def write_requests(path: Path, requests: Iterable[PredictRequest]) -> None:
    """Write messages as a server reads its warm-up: TFRecords of ``PredictionLog``."""
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            log = PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


def asked(
    saved_model: Path, requests: Iterable[PredictRequest], scratch: Path, name: str
) -> list[dict[str, np.ndarray]]:
    """What the SavedModel answers in a process of its own, which has none of this package.

    Raises
    ------
    ModelError
        It cannot be loaded or run, and why.
    """
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    questions, found = scratch / "requests", scratch / "responses"
    write_requests(questions, requests)
    command = [sys.executable, "-P", serving_check.__file__, saved_model, questions, found]
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise ModelError(f"{name}: cannot be served: {why_it_ended(done)}")
    logs = (PredictionLog.FromString(raw.numpy()) for raw in tf.data.TFRecordDataset(str(found)))
    return [
        {key: tf.make_ndarray(tensor) for key, tensor in log.predict_log.response.outputs.items()}
        for log in logs
    ]


def check_served(
    saved_model: Path,
    name: str,
    model: tf.keras.Model,
    front_end: FrontEnd,
    signatures: Iterable[str],
    classes: Sequence[str],
    scratch: Path,
) -> tuple[list[PredictRequest], tuple[Compared, ...]]:
    """Ask a SavedModel for all that it answers, and compare that with the model.

    Parameters
    ----------
    saved_model : Path
    name : str
        That it is served by.
    model : tf.keras.Model
        ``[batch, frames, bands] →`` the outputs by their names.
    front_end : FrontEnd
        Makes its log-mels.
    signatures : iterable of str
        That it has, of those that take log-mels, waveforms and wav files.
    classes : sequence of str
        Of a tagger, which the signature ``class_names`` gives.
    scratch : Path
        Folder to work in.

    Returns
    -------
    requests : list of PredictRequest
        One a signature, and one of a full batch of windows: they also warm a server up.
    compared : tuple of Compared

    Raises
    ------
    ModelError
        It cannot be served, and why.
    """
    import tensorflow as tf

    frames, bands = model.input_shape[1:]
    random = np.random.default_rng(0).uniform(0, 5, (MOST_AT_ONCE, frames, bands))
    windows = (random + front_end.silence).astype(np.float32)
    with tf.device("/CPU:0"):  # which is where the other process answers
        here = answers(model, windows)
    cases: list[tuple[str, str, Tensors, Tensors, float]] = [
        (f"random windows, batch of {count}", "serving_default", {INPUT: windows[:count]},
         {key: value[:count] for key, value in here.items()}, WINDOWS_LIMIT)
        for count in (1, MOST_AT_ONCE)
    ]  # fmt: skip
    spread = here
    if "waveform" in signatures:
        path = scratch / "synthetic.wav"
        seconds = _WINDOWS_OF_FILE * (frames + 1) * front_end.hop_length / front_end.sample_rate
        write_synthetic(path, seconds)
        rate, quality = front_end.sample_rate, front_end.resample_quality
        waveform = decode(path, rate, None, quality).waveform
        with tf.device("/CPU:0"):
            means = waveform_means(model, front_end, waveform)
            spread = answers(model, cut(front_end, waveform, frames))
        text = f"{seconds:.1f} s of sound"
        for signature, value in (
            ("waveform", waveform[np.newaxis]),
            ("wav_bytes", [path.read_bytes()]),
        ):
            if signature in signatures:
                cases.append((text, signature, {signature: value}, means, FILES_LIMIT))
    requests = [predict_request(name, signature, inputs) for _, signature, inputs, *_ in cases]
    names = [predict_request(name, "class_names", {})] if classes else []
    found = asked(saved_model, [*requests, *names], scratch, name)
    if classes:
        said = [word.decode() for word in found.pop()["class_names"]]
        if said != list(classes):
            raise ModelError(f"{name}: not the same when served: class_names {said}")
    compared = []
    for (what, signature, _, expected, limit), there in zip(cases, found, strict=True):
        for output in (ACTIVATIONS, EMBEDDINGS):
            if output in expected:
                of = None if limit == WINDOWS_LIMIT and len(there[output]) > 1 else spread[output]
                pair = there[output], expected[output]
                compared.append(compare(f"{signature}, {what}", output, *pair, limit, of))
    return requests, tuple(compared)
