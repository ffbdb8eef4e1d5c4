"""Files of a serving package that a user runs or hands to the server.

Whether a served model says what the model says: asked by the messages of TensorFlow Serving.

Models as folders that TensorFlow Serving serves: written, and asked before they appear.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
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
    Compared,
    ModelInfo,
    answers,
    common_fields,
    compare,
    cut,
    model_card,
    named_model,
    staged,
    waveform_means,
    why_it_ended,
    write_synthetic,
)
from playlist_pretrain.files import atomic_write, write_json
from playlist_pretrain.models.load import LoadedModel
from playlist_pretrain.models.saved_model import save_backbone, save_tagger

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.export.package import Compared

IMAGE = "tensorflow/serving:2.15.1"
"""Of the server: the version of TensorFlow that the models are made with."""
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
_STANDARD = "import json\nimport sys\nimport urllib.error\nimport urllib.request"
_READ_WAV = 'with open(path, "rb") as file:\n        '
_READ_WINDOWS = "rows = np.load(path).astype(np.float32)"
_SENT = {
    "wav_bytes": {
        "rest": {
            "imports": f"import base64\n{_STANDARD}",
            "read": f"{_READ_WAV}wav = base64.b64encode(file.read()).decode()\n    "
            'rows = [{"wav_bytes": {"b64": wav}}]',
        },
        "grpc": {
            "imports": "import tensorflow as tf",
            "read": f"{_READ_WAV}rows = [file.read()]",
            "input": "wav_bytes",
        },
    },
    "serving_default": {
        "rest": {
            "imports": f"{_STANDARD}\n\nimport numpy as np",
            "read": f"{_READ_WINDOWS}.tolist()",
        },
        "grpc": {
            "imports": "import numpy as np\nimport tensorflow as tf",
            "read": _READ_WINDOWS,
            "input": "melspectrogram",
        },
    },
}


def rest_client(name: str, signature: str) -> str:
    """Python that needs no TensorFlow and asks a server for the answer to a file.

    Parameters
    ----------
    name : str
        Of the model.
    signature : {"wav_bytes", "serving_default"}
        What the server is sent: a wav file, or log-mels [windows, frames, bands] of an ``.npy``
        file.
    """
    return _REST.format(
        name=name, signature=signature, most=MOST_AT_ONCE, **_SENT[signature]["rest"]
    )


def grpc_client(name: str, signature: str) -> str:
    """Python that does the same with ``tensorflow-serving-api``; see :func:`rest_client`."""
    return _GRPC.format(
        name=name, signature=signature, most=MOST_AT_ONCE, **_SENT[signature]["grpc"]
    )


def docker_line(name: str) -> str:
    """Shell command, in the folder of packages, that serves one on the ports 8500 and 8501."""
    return (
        f'docker run --rm -p 8500:8500 -p 8501:8501 -v "$PWD/{name}:/models/{name}" '
        f"-e MODEL_NAME={name} {IMAGE} --enable_batching=true "
        f"--batching_parameters_file=/models/{name}/batching.config"
    )


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


WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"
REST, GRPC, BATCHING_FILE, CARD = "rest_client.py", "grpc_client.py", "batching.config", "README.md"
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class ServingFiles:
    """A package on disk.

    Attributes
    ----------
    folder : Path
        What holds the rest, named as the model is served.
    saved_model : Path
        The folder of its version: a number.
    compared : tuple of Compared
        How near its answers are to the model's, also in ``NAME-parity.json``.
    command : str
        That serves it, in the folder of packages.
    """

    folder: Path
    saved_model: Path
    compared: tuple[Compared, ...]
    command: str

    @property
    def lines(self) -> list[str]:
        """The check, for people."""
        return _lines(self.compared)


def export_serving(
    saved: LoadedModel,
    name: str,
    out: str | Path,
    about: ModelInfo,
    *,
    overwrite: bool = False,
) -> ServingFiles:
    """Write the folder ``out/name`` that TensorFlow Serving serves, whole or not at all.

    It holds ``VERSION/``, the SavedModel with its warm-up requests (what a server answers before
    it takes any others), a configuration of batching, clients for REST and gRPC, a description, a
    card and the report of the check. Before it appears, a process without this package loads the
    SavedModel as the server does and answers the protocol's messages for every signature.

    Parameters
    ----------
    saved : LoadedModel
    name : str
        Of the model.
    out : str or Path
        Folder of packages, created when missing.
    about : ModelInfo
        Its ``version`` is that of the model on the server.
    overwrite : bool
        Replace a package that is there, with all versions in it.

    Raises
    ------
    ModelError
        A name that is refused, or taken; a version that is no whole number; other classes than
        the model's, or answers that differ by more than 1e-4 (windows) or 1e-3 (files) of the
        standard deviation of the embeddings, or by 1e-3 in an activation.
    FrontEndError
        The model takes another number of bands than its front end makes.
    """
    if not _VERSION.fullmatch(about.version):
        raise ModelError(
            f"--model-version {about.version!r}: a server has whole numbers, 1 or more, and serves "
            "the largest"
        )
    front_end = saved.front_end
    model = named_model(saved, name, out, front_end)
    out, (frames, bands), outputs = Path(out), model.input_shape[1:], model.output
    with staged(out, name, overwrite=overwrite) as (package, scratch):
        folder = package / about.version
        _save(saved, folder)
        signatures = _signatures(folder)
        requests, compared = check_served(
            folder,
            name,
            model,
            front_end,
            signatures,
            getattr(saved, "classes", ()),
            scratch,
        )
        if far := [str(one) for one in compared if not one.passes]:
            raise ModelError(
                f"{name}: not the same when served, so nothing was exported: {'; '.join(far)}"
            )
        write_requests(folder / WARM_UP, requests)
        description = {
            **common_fields(
                name,
                (frames, bands),
                f"Takes {frames} frames of {bands} bands of the front end {front_end.name!r}.",
                {node: ("", tensor.shape[-1]) for node, tensor in outputs.items()},
                getattr(saved, "classes", ()),
                about,
                model_types=("SavedModel",),
            ),
            "signatures": sorted(signatures),
            "front_end": front_end.to_dict(),
        }
        write_json(package / f"{name}.json", description)
        write_json(package / f"{name}-parity.json", {"compared": [asdict(one) for one in compared]})
        sent = "wav_bytes" if "wav_bytes" in signatures else "serving_default"
        texts = {
            REST: rest_client(name, sent),
            GRPC: grpc_client(name, sent),
            BATCHING_FILE: BATCHING,
        }
        for file, text in texts.items():
            with atomic_write(package / file, "w") as stream:
                stream.write(text)
        with atomic_write(package / CARD) as stream:
            code = f"# {docker_line(name)}\n{texts[REST]}"
            card = model_card(description, about, code, _lines(compared))
            stream.write(card.encode("utf-8", "backslashreplace"))
    return ServingFiles(out / name, out / name / about.version, compared, docker_line(name))


def _save(saved: LoadedModel, folder: Path) -> None:
    """Anew, not a copy: signatures of this version, whatever version trained the model."""
    known = saved.about
    if saved.classes:
        save_tagger(saved.model, saved.classes, saved.front_end, folder, known)
    else:
        save_backbone(saved.model, saved.front_end, folder, known)


def _signatures(folder: Path) -> set[str]:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    (graph,) = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    return set(graph.signature_def) - {"__saved_model_init_op"}  # asked by nobody


def _lines(compared: tuple[Compared, ...]) -> list[str]:
    from importlib.metadata import version

    head = f"asked in TensorFlow {version('tensorflow')} by the messages of TensorFlow Serving:"
    return [head, *(f"  {one}" for one in compared)]
