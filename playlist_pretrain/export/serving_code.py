"""Files of a serving package that a user runs or hands to the server."""

from __future__ import annotations

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
