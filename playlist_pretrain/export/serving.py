"""Folders that TensorFlow Serving serves, asked by the messages of its protocol.

They hold ``VERSION/``, the SavedModel with its warm-up requests (what a server answers before it
takes any others), a configuration of batching and clients for REST and gRPC. A process without
this package (:mod:`.serving_check`) loads the SavedModel as the server does.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.errors import ModelError
from playlist_pretrain.export import serving_check
from playlist_pretrain.export.package import (
    ACTIVATIONS,
    EMBEDDINGS,
    FILES_LIMIT,
    INPUT,
    WINDOWS_LIMIT,
    Job,
    Written,
    answers,
    compare,
    cut,
    describe,
    run_apart,
    waveform_means,
    write_synthetic,
)
from playlist_pretrain.models.saved_model import save_tagger

if TYPE_CHECKING:
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

WHERE = "when served"
WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"
REST, GRPC, BATCHING_FILE = "rest_client.py", "grpc_client.py", "batching.config"
IMAGE = "tensorflow/serving:2.15.1"
"""Server of the version of TensorFlow that the models are made with."""
MOST_AT_ONCE = 32
"""Rows of a batch that the server makes of several requests, and of one request at most."""
BATCHING = f"""\
# For --batching_parameters_file: requests that arrive together are answered together.
max_batch_size {{ value: {MOST_AT_ONCE} }}
batch_timeout_micros {{ value: 2000 }}
max_enqueued_batches {{ value: 100 }}
"""

_REST = """\
{imports}


def ask(path, server="localhost:8501"):
    {read}
    answers = []
    for first in range(0, len(rows), {most}):
        body = {{"signature_name": "{signature}", "instances": rows[first : first + {most}]}}
        url = f"http://{{server}}/v1/models/{name}:predict"
        try:
            with urllib.request.urlopen(url, json.dumps(body).encode()) as response:
                answers += json.load(response)["predictions"]
        except urllib.error.HTTPError as error:
            raise SystemExit(error.read().decode(errors="replace")) from None
    return answers


if __name__ == "__main__":
    print(ask(*sys.argv[1:]))
"""
_GRPC = """\
# pip install tensorflow-serving-api
import sys

import grpc
{imports}
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub


def ask(path, server="localhost:8500"):
    {read}
    request = PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "{name}", "{signature}"
    answers = []
    with grpc.insecure_channel(server) as channel:
        for first in range(0, len(rows), {most}):
            tensor = tf.make_tensor_proto(rows[first : first + {most}])
            request.inputs["{input}"].CopyFrom(tensor)
            answers.append(PredictionServiceStub(channel).Predict(request, timeout=60).outputs)
    return {{
        name: tf.concat([tf.make_ndarray(one[name]) for one in answers], 0).numpy()
        for name in answers[0]
    }}


if __name__ == "__main__":
    print(ask(*sys.argv[1:]))
"""
_READ_WAV = 'with open(path, "rb") as file:\n        '
_READ_WINDOWS = "rows = np.load(path).astype(np.float32)"
_STANDARD = "import json\nimport sys\nimport urllib.error\nimport urllib.request"
_SENT = {
    ("rest", "wav_bytes"): (
        f"import base64\n{_STANDARD}",
        f"{_READ_WAV}wav = base64.b64encode(file.read()).decode()\n    "
        'rows = [{"wav_bytes": {"b64": wav}}]',
    ),
    ("rest", "serving_default"): (
        f"# pip install numpy\n{_STANDARD}\n\nimport numpy as np",
        f"{_READ_WINDOWS}.tolist()",
    ),
    ("grpc", "wav_bytes"): ("import tensorflow as tf", f"{_READ_WAV}rows = [file.read()]"),
    ("grpc", "serving_default"): ("import numpy as np\nimport tensorflow as tf", _READ_WINDOWS),
}
"""Imports and reading of a file, by protocol and signature."""


def client(protocol: str, name: str, signature: str) -> str:
    """Write Python that asks a server for the answer of the model ``name`` to a file.

    What it needs beside Python's own modules it names by the command that installs it. With
    ``wav_bytes`` the server is sent a wav file, with ``serving_default`` log-mels [windows, frames,
    bands] of an ``.npy`` file.
    """
    imports, read = _SENT[protocol, signature]
    return (_REST if protocol == "rest" else _GRPC).format(
        imports=imports,
        read=read,
        name=name,
        signature=signature,
        most=MOST_AT_ONCE,
        input="wav_bytes" if signature == "wav_bytes" else INPUT,
    )


def docker_line(name: str) -> str:
    """Return the shell command, in the folder of packages, that serves one on 8500 and 8501."""
    return (
        f'docker run --rm -p 8500:8500 -p 8501:8501 -v "$PWD/{name}:/models/{name}" '
        f"-e MODEL_NAME={name} {IMAGE} --enable_batching=true "
        f"--batching_parameters_file=/models/{name}/batching.config"
    )


def check(job: Job) -> None:
    """Raise if the version of the model is none of a server."""
    if not re.fullmatch(r"[1-9][0-9]{0,17}", job.about.version):
        raise ModelError(
            f"--model-version {job.about.version!r}: a server has whole numbers, 1 or more, and "
            "serves the largest"
        )


def write(job: Job, folder: Path, scratch: Path) -> Written:
    """Write the SavedModel, and ask it for everything that it answers.

    Windows alone and in a full batch, a waveform and a wav file go through its signatures, and
    the answers are compared with the model's; the same requests warm a server up. Raises
    ModelError for a model that cannot be served, or has other classes then.
    """
    import tensorflow as tf

    name, front_end, model, classes = job.name, job.front_end, job.model, job.loaded.classes
    saved_model, frames = folder / job.about.version, job.loaded.frames
    save(job, saved_model)
    signatures = _signatures(saved_model)
    windows = job.random_windows(MOST_AT_ONCE)
    here = spread = answers(model, windows)
    cases: list[tuple[str, str, Any, Mapping[str, np.ndarray], float]] = [
        (
            f"serving_default, random windows, batch of {count}",
            "serving_default",
            {INPUT: windows[:count]},
            {key: value[:count] for key, value in here.items()},
            WINDOWS_LIMIT,
        )
        for count in (1, MOST_AT_ONCE)
    ]
    if "waveform" in signatures:
        path = scratch / "synthetic.wav"
        # Three windows, for which embeddings have a spread.
        seconds = 3 * (frames + 1) * front_end.hop_length / front_end.sample_rate
        write_synthetic(path, seconds)
        quality = front_end.resample_quality
        waveform = decode(path, front_end.sample_rate, None, quality).waveform
        means = waveform_means(model, front_end, waveform)
        spread = answers(model, cut(front_end, waveform, frames))
        given = {"waveform": waveform[np.newaxis], "wav_bytes": [path.read_bytes()]}
        cases += [
            (f"{one}, {seconds:.1f} s of sound", one, {one: value}, means, FILES_LIMIT)
            for one, value in given.items()
            if one in signatures
        ]
    requests = [predict_request(name, signature, inputs) for _, signature, inputs, *_ in cases]
    names = [predict_request(name, "class_names", {})] if classes else []
    found = ask(saved_model, [*requests, *names], scratch, name)
    if classes:
        said = [word.decode() for word in found.pop()["class_names"]]
        if said != list(classes):
            raise ModelError(f"{name}: not the same when served: class_names {said}")
    write_requests(saved_model / WARM_UP, requests)
    compared = []
    for (text, _, _, expected, limit), there in zip(cases, found, strict=True):
        for output in (ACTIVATIONS, EMBEDDINGS):
            if output in expected:
                of = None if limit == WINDOWS_LIMIT and len(there[output]) > 1 else spread[output]
                pair = there[output], expected[output]
                compared.append(compare(text, output, *pair, limit, of))
    sent = "wav_bytes" if "wav_bytes" in signatures else "serving_default"
    texts = {
        REST: client("rest", name, sent),
        GRPC: client("grpc", name, sent),
        BATCHING_FILE: BATCHING,
    }
    return Written(
        describe(
            job,
            f"Takes {frames} frames of {front_end.bands} bands of the front end "
            f"{front_end.name!r}.",
            {},
            model_types=["SavedModel"],
            signatures=sorted(signatures),
        ),
        compared,
        f"asked in TensorFlow {tf.__version__} by the messages of TensorFlow Serving:",
        texts,
        f"# {docker_line(name)}\n{texts[REST]}",
    )


def summary(folder: Path, job: Job, code: str) -> list[str]:
    """Tell the files of a package and the next commands."""
    files = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_file()))
    return [
        f"{folder}: the SavedModel with its warm-up requests in {job.about.version}/, and {files}",
        f"next: cd {shlex.quote(str(folder.parent))} && {docker_line(job.name)}",
        f"then: python {shlex.quote(str(folder / REST))} FILE (or {GRPC})",
    ]


def save(job: Job, folder: Path) -> None:
    """Save the model anew: signatures of this version, whatever version trained it."""
    loaded = job.loaded
    save_tagger(loaded.model, loaded.classes or None, job.front_end, folder, loaded.about)


def predict_request(name: str, signature: str, inputs: Mapping[str, Any]) -> PredictRequest:
    """Make the message that asks a server for the answer of a signature to some arrays."""
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


def ask(
    saved_model: Path, requests: Iterable[PredictRequest], scratch: Path, name: str
) -> list[dict[str, np.ndarray]]:
    """Have the SavedModel answer requests in a process of its own, without this package.

    Raises ModelError, with the reason, where it cannot be loaded or run.
    """
    import tensorflow as tf
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    questions, found = scratch / "requests", scratch / "responses"
    write_requests(questions, requests)
    failure = f"{name}: cannot be served"
    run_apart(serving_check.__file__, saved_model, questions, found, failure=failure)
    logs = (PredictionLog.FromString(raw.numpy()) for raw in tf.data.TFRecordDataset(str(found)))
    return [
        {key: tf.make_ndarray(tensor) for key, tensor in log.predict_log.response.outputs.items()}
        for log in logs
    ]


def _signatures(folder: Path) -> set[str]:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    (graph,) = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    return set(graph.signature_def) - {"__saved_model_init_op"}  # asked by nobody
