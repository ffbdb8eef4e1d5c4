"""Folders for TensorFlow Serving: what they hold is answered as a server answers it."""

import base64
import contextlib
import itertools
import json
import os
import re
import shlex
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from environments import named, run_alone
from small_models import CLASSES, loaded
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc as service

from playlist_pretrain.audio.front_end import PRESETS, FrontEnd, ImportedFrontEnd
from playlist_pretrain.errors import ModelError
from playlist_pretrain.export import serving
from playlist_pretrain.export.targets import export
from playlist_pretrain.models.saved_model import save_backbone
from playlist_pretrain.models.vggish import vggish

pytestmark = pytest.mark.slow
ABOUT = {"author": "A. Person", "version": "3", "licence": "CC0"}
MELS = ImportedFrontEnd(
    name="somebody", sample_rate=12000, frame_length=512, hop_length=256, bands=48,
    window_frames=64, spectrum="power", log_base="10", log_factor=10.0, log_scale=1.0,
    log_offset=0.0, silence=-100.0, framing="centred", made_by="",
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The package of a tagger."""
    out = tmp_path_factory.mktemp("served")
    return export(loaded(classes=CLASSES), "serving", "mood", out=out, **ABOUT)


@pytest.fixture(scope="module")
def wav(tmp_path_factory):
    """Path of three seconds of stereo."""
    path = tmp_path_factory.mktemp("wav") / "a b.wav"
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, (3 * 22050, 2))
    soundfile.write(path, sound, 22050, subtype="PCM_24")
    return path


def model_of(files):
    """Folder of the SavedModel."""
    return files.folder / files.description["version"]


@pytest.fixture(scope="module")
def signatures(files):
    """Signatures of the package, loaded in this process."""
    return tf.saved_model.load(str(model_of(files))).signatures


@pytest.fixture
def answers(signatures, wav):
    """Outputs of the signature for wav files."""
    return signatures["wav_bytes"](wav_bytes=tf.constant([wav.read_bytes()]))


def test_what_is_there(files, signatures):
    assert set(os.listdir(files.folder)) == {
        "3", "README.md", "batching.config", "grpc_client.py", "mood-parity.json", "mood.json",
        "rest_client.py",
    }  # fmt: skip
    assert os.listdir(files.folder.parent) == ["mood"]
    # Seven answers: two batches, a waveform and a wav file, of two outputs each.
    assert len(files.compared) == 8 and all(one.passes for one in files.compared)
    description = json.loads((files.folder / "mood.json").read_text())
    assert FrontEnd.from_dict(description["front_end"]) == PRESETS["musicnn"]
    assert description["signatures"] == sorted({*signatures} - {"__saved_model_init_op"})
    assert description["classes"] == list(CLASSES) and description["version"] == "3"
    card = (files.folder / "README.md").read_text("utf-8")
    assert serving.docker_line("mood") in card and "| licence | CC0 |" in card
    assert card.count("largest difference") == 8


def test_a_server_reads_the_warm_up(files):
    path = model_of(files) / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(raw.numpy())
        for raw in tf.data.TFRecordDataset(str(path))
    ]
    requests = [log.predict_log.request for log in logs]
    assert [request.model_spec.signature_name for request in requests] == [
        "serving_default", "serving_default", "waveform", "wav_bytes",
    ]  # fmt: skip
    assert {request.model_spec.name for request in requests} == {"mood"}
    shapes = [
        tuple(size.size for size in request.inputs["melspectrogram"].tensor_shape.dim)
        for request in requests[:2]
    ]
    assert shapes == [(1, 64, 96), (serving.MOST_AT_ONCE, 64, 96)]


def asked(only, file, sent, port, **expected):
    """What a client prints in an environment of what it names."""
    return run_alone(only(*named(file.read_text())), file, sent, f"localhost:{port}", **expected)


@contextlib.contextmanager
def grpc_server(answer):
    """Port of a service of the protocol; ``answer`` takes signature, name of its input and rows."""

    class Service(service.PredictionServiceServicer):
        def Predict(self, request, context):
            ((key, tensor),) = request.inputs.items()
            response = predict_pb2.PredictResponse(model_spec=request.model_spec)
            found = answer(request.model_spec.signature_name, key, tf.make_ndarray(tensor))
            for name, value in found.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return response

    import grpc

    server = grpc.server(futures.ThreadPoolExecutor(1))
    service.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None)


@contextlib.contextmanager
def rest_server(answer, model):
    """Port of a server that reads bodies as the REST API of TensorFlow Serving is documented."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == f"/v1/models/{model}:predict"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key, rows = "melspectrogram", body["instances"]
            if isinstance(rows[0], dict):
                key = "wav_bytes"
                rows = [base64.b64decode(row[key]["b64"]) for row in rows]
            try:
                found = answer(body["signature_name"], key, rows)
            except ValueError as error:
                self.send_response(400)
                said = {"error": str(error)}
            else:
                self.send_response(200)
                said = [
                    {name: value[row].tolist() for name, value in found.items()}
                    for row in range(len(rows))
                ]
                if len(found) == 1:  # has no name
                    said = [value for one in said for value in one.values()]
                said = {"predictions": said}
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("localhost", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("name", ["grpc_client.py", "rest_client.py", "README.md"])
def test_a_client_and_the_code_of_the_card(name, files, signatures, wav, answers, only, tmp_path):
    """Against small servers that run the SavedModel."""

    def answer(signature, key, rows):
        found = signatures[signature](**{key: tf.constant(rows)})
        return {name: tensor.numpy() for name, tensor in found.items()}

    file, shown = files.folder / name, (files.folder / "README.md").read_text("utf-8")
    if name == "README.md":
        (code,) = re.findall(r"^```python\n(.*?)^```$", shown, re.M | re.S)
        assert shown.count("```") == 2
        file = tmp_path / "shown.py"
        file.write_text(code)
    grpc = name == "grpc_client.py"
    with grpc_server(answer) if grpc else rest_server(answer, "mood") as port:
        found = eval(asked(only, file, wav, port), {"array": np.array, "float32": np.float32})
    for output in ("activations", "embeddings"):
        there = found[output] if grpc else [found[0][output]]
        np.testing.assert_allclose(there, answers[output], atol=1e-5)


def test_the_line_for_docker_names_what_is_there(files):
    """It cannot be run here: its ports are those that the clients ask, its places those there."""
    words = shlex.split(serving.docker_line("mood"))
    assert words[:2] == ["docker", "run"] and serving.IMAGE in words
    before = words[: words.index(serving.IMAGE)]
    given = [pair for pair in itertools.pairwise(before) if pair[0][0] == "-"]
    assert ("-e", "MODEL_NAME=mood") in given
    for name, port in (("rest_client.py", "8501"), ("grpc_client.py", "8500")):
        assert f'server="localhost:{port}"' in (files.folder / name).read_text()
        assert ("-p", f"{port}:{port}") in given
    here, _, there = dict(given)["-v"].partition(":")
    assert files.folder.parent / here.removeprefix("$PWD/") == files.folder
    option, _, place = words[-1].partition("=")
    assert option == "--batching_parameters_file"
    assert (files.folder / Path(place).relative_to(there)).is_file()


def test_what_the_clients_send_to_a_model_of_imported_mels(tmp_path, rng, only):
    files = export(loaded(MELS), "serving", "net", out=tmp_path / "out")
    assert {one.what.split(",")[0] for one in files.compared} == {"serving_default"}
    windows = rng.uniform(-50, 0, (serving.MOST_AT_ONCE + 2, 64, 48)).astype(np.float32)
    np.save(tmp_path / "windows.npy", windows)
    sent = []

    def answer(*request):
        sent.append(request)
        return {"embeddings": np.asarray(request[-1])[:, 0]}

    def refuse(*request):
        raise ValueError("the reason")

    rest, grpc = files.folder / "rest_client.py", files.folder / "grpc_client.py"
    assert named(rest.read_text()) == ["numpy"]
    with rest_server(answer, "net") as port:
        found = eval(asked(only, rest, tmp_path / "windows.npy", port))
    np.testing.assert_allclose(found, windows[:, 0], rtol=1e-6)
    with grpc_server(answer) as port:
        asked(only, grpc, tmp_path / "windows.npy", port)
    assert [len(rows) for *_, rows in sent] == [serving.MOST_AT_ONCE, 2] * 2
    assert {request[:2] for request in sent} == {("serving_default", "melspectrogram")}
    for *_, rows in sent[::2]:
        np.testing.assert_allclose(rows, windows[: serving.MOST_AT_ONCE], rtol=1e-6)
    with rest_server(refuse, "net") as port:
        assert "the reason" in asked(only, rest, tmp_path / "windows.npy", port, code=1)


def damaged(job, folder):
    SAVE(job, folder)
    for part in (folder / "variables").glob("*.data*"):
        part.write_bytes(part.read_bytes()[:1000])


def another(_, folder):
    net = vggish(frames=64, bands=96, width=0.05, seed=2)
    save_backbone(net, PRESETS["musicnn"], folder)


SAVE = serving.save


@pytest.mark.long
@pytest.mark.parametrize(
    ("save", "message"),
    [
        (damaged, "net: cannot be served: .*less bytes than requested"),
        (another, "same when served.*: serving_default, random windows, batch of 1: embeddings"),
    ],
)
def test_a_model_that_is_not_served_as_it_is_is_not_exported(save, message, tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "save", save)
    with pytest.raises(ModelError, match=message):
        export(loaded(), "serving", "net", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
