"""Folders for TensorFlow Serving: what they hold is answered as a server answers it."""

import base64
import io
import json
import os
import shlex
import threading
import urllib.error
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from processes import end, start
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
    words = shlex.split(serving.docker_line("mood"))
    assert words[:2] == ["docker", "run"] and "MODEL_NAME=mood" in words
    assert "$PWD/mood:/models/mood" in words
    assert Path(words[-1].partition("=")[2]).name in os.listdir(files.folder)


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


def run_client(files, name, wav, port):
    return end(start([files.folder / name, wav, f"localhost:{port}"]))[0][0]


def test_the_grpc_client(files, signatures, wav, answers):
    """Against a service of the same protocol that runs the SavedModel."""

    class Service(service.PredictionServiceServicer):
        def Predict(self, request, context):
            given = {
                key: tf.constant(tf.make_ndarray(tensor)) for key, tensor in request.inputs.items()
            }
            found = signatures[request.model_spec.signature_name](**given)
            response = predict_pb2.PredictResponse(model_spec=request.model_spec)
            for key, tensor in found.items():
                response.outputs[key].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
            return response

    import grpc

    server = grpc.server(futures.ThreadPoolExecutor(1))
    service.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        said = run_client(files, "grpc_client.py", wav, port)
    finally:
        server.stop(None)
    found = eval(said, {"array": np.array, "float32": np.float32})
    for output in ("activations", "embeddings"):
        np.testing.assert_allclose(found[output], answers[output], atol=1e-5)


def test_the_rest_client(files, signatures, wav, answers):
    """Against a server that reads bodies as the REST API of TensorFlow Serving is documented."""
    paths = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            paths.append(self.path)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            (row,) = body["instances"]
            contents = base64.b64decode(row["wav_bytes"]["b64"])
            found = signatures[body["signature_name"]](wav_bytes=tf.constant([contents]))
            row = {key: tensor.numpy()[0].tolist() for key, tensor in found.items()}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"predictions": [row]}).encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("localhost", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said = run_client(files, "rest_client.py", wav, server.server_port)
        server.shutdown()
    assert paths == ["/v1/models/mood:predict"]
    (found,) = eval(said)
    for output in ("activations", "embeddings"):
        np.testing.assert_allclose(found[output], answers[output][0], atol=1e-5)


def test_what_the_clients_send_to_a_model_of_imported_mels(tmp_path, rng, monkeypatch):
    files = export(loaded(MELS), "serving", "net", out=tmp_path / "out")
    assert {one.what.split(",")[0] for one in files.compared} == {"serving_default"}
    windows = rng.uniform(-50, 0, (serving.MOST_AT_ONCE + 2, 64, 48))
    np.save(tmp_path / "windows.npy", windows)
    sent = []

    def post(url, body):
        sent.append((url, json.loads(body)))
        if "wrong" in url:
            raise urllib.error.HTTPError(url, 400, "Bad Request", {}, io.BytesIO(b"the reason"))
        return io.BytesIO(json.dumps({"predictions": sent[-1][1]["instances"]}).encode())

    monkeypatch.setattr("urllib.request.urlopen", post)
    names = {"__name__": "client"}
    exec((files.folder / "rest_client.py").read_text(), names)
    np.testing.assert_allclose(
        names["ask"](str(tmp_path / "windows.npy"), "host:1"), windows, rtol=1e-6
    )
    assert [len(body["instances"]) for _, body in sent] == [serving.MOST_AT_ONCE, 2]
    assert {url for url, _ in sent} == {"http://host:1/v1/models/net:predict"}
    assert {body["signature_name"] for _, body in sent} == {"serving_default"}
    with pytest.raises(SystemExit, match="the reason"):
        names["ask"](str(tmp_path / "windows.npy"), "wrong")


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
