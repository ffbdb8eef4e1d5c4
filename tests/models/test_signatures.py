"""Requests that a server must refuse with a reason, and go on answering the others as before."""

import functools
import io
import json
import struct

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from processes import end, start

from playlist_pretrain.audio.front_end import IMPORTED, front_end
from playlist_pretrain.models.saved_model import save_backbone
from playlist_pretrain.models.signatures import ROWS_AT_ONCE
from playlist_pretrain.models.vggish import vggish

pytestmark = pytest.mark.slow
FRAMES = 8
FRONT_END = front_end("paper")


def session(path):
    """Callable: (name, request) → answers, of a session fed by names, as a server does it."""
    from tensorflow.core.protobuf.config_pb2 import CallableOptions

    graph = tf.Graph()
    with graph.as_default():
        running = tf.compat.v1.Session(graph=graph)
        definitions = tf.compat.v1.saved_model.load(running, ["serve"], str(path)).signature_def

    @functools.cache
    def prepared(name):
        given = [tensor.name for tensor in definitions[name].inputs.values()]
        answers = [tensor.name for tensor in definitions[name].outputs.values()]
        # Session.run compares shapes in Python before it begins; servers have nothing of the kind.
        return running._make_callable_from_options(CallableOptions(feed=given, fetch=answers))

    def ask(name, request):
        return dict(zip(definitions[name].outputs, prepared(name)(request), strict=True))

    return ask


@pytest.fixture(scope="module")
def ask(saved):
    return session(saved / "tagger")


def wav(samples=4000, rate=16000, channels=1, subtype="PCM_16"):
    wave = np.random.default_rng(samples).uniform(-0.9, 0.9, (samples, channels))
    stream = io.BytesIO()
    soundfile.write(stream, wave, rate, subtype=subtype, format="WAV")
    return stream.getvalue()


def files(*contents):
    return np.array(contents, object)  # NumPy's own strings lose the zeros at their end


def stated(rate=16000, channels=1, size=8, code=1, bits=16, data=bytes(8)):
    """A wav file whose header states what it likes."""
    form = struct.pack("<HHIIHH", code, channels, rate, 0, 0, bits)
    return (
        b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16) + form
        + b"data" + struct.pack("<I", size) + data
    )  # fmt: skip


def with_value(shape, place, value):
    given = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    given[place] = value
    return given


GOOD = {
    "serving_default": with_value((3, FRAMES, 96), (0, 0, 0), 0.5),
    "waveform": with_value((2, 6000), (0, 0), 0.5),
    "wav_bytes": files(wav(), wav(9000, 44100, 2)),
}
MELS, WAVES = (3, FRAMES, 96), (2, 6000)
FLOATS = {"code": 3, "bits": 32}
MALFORMED = {
    "serving_default": {
        "nan": (with_value(MELS, (1, 2, 3), np.nan), r"melspectrogram: NaN or inf.* in row.*1"),
        "inf": (with_value(MELS, (2, 2, 3), np.inf), r"melspectrogram: NaN or inf.* in row.*2"),
        "a single window": (np.zeros(MELS[1:], np.float32), r"\[8,96\] is not compatible"),
        "other bands": (np.zeros((3, FRAMES, 48), np.float32), r"\[3,8,48\] is not compatible"),
    },
    "waveform": {
        "nan": (with_value(WAVES, (1, 50), np.nan), r"waveform: NaN or infinite .*in row.*1"),
        "inf": (with_value(WAVES, (0, 50), np.inf), r"waveform: NaN or infinite .*in row.*0"),
        "power beyond 32 bits": (with_value(WAVES, (1, 0), 1e30), "some beyond ±2147483648"),
        "one track without an axis": (np.zeros(6000, np.float32), "is not compatible"),
        "channels": (np.zeros((1, 2, 6000), np.float32), r"expected shape \[\?,\?\]"),
        "rows of nothing": (np.zeros((10**10, 0), np.float32), "rows without samples"),
    },
    "wav_bytes": {
        "nothing": (files(b""), "not a wav file"),
        "no samples": (files(stated(size=0, data=b"")), "holds no samples"),
        "a head alone": (files(stated()[:36]), "without samples"),
        "truncated": (files(wav()[: len(wav()) // 3]), "cut off"),
        "one of three": (files(wav(), b"bad", wav()), r"not a wav file.*in file.*1"),
        "the last is nan": (files(wav(), stated(**FLOATS, data=struct.pack("<2f", 0, np.nan))),
                            r"NaN or infinite samples.*in file.*1"),
        "a gigabyte": (files(stated(size=2**30)), "cut off"),
        "65535 channels": (files(stated(channels=65535)), "holds no samples"),
        "1 Hz": (files(stated(rate=1)), "impossible rate.*1"),
        "adpcm": (files(stated(code=2, bits=4)), "an encoding other than"),
        "no list": (np.array(wav(), object), "is not compatible"),
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def answered(ask):
    """What the good requests are answered with before any bad one."""
    return {name: ask(name, request) for name, request in GOOD.items()}


@pytest.mark.parametrize("name", MALFORMED)
def test_refused_and_the_next_request_is_answered_as_before(ask, answered, name):
    for request, words in MALFORMED[name].values():
        with pytest.raises(tf.errors.InvalidArgumentError, match=words):
            ask(name, request)
    again = ask(name, GOOD[name])
    assert set(again) == set(answered[name]) >= {"embeddings"}
    for key, answer in again.items():
        assert np.isfinite(answer).all() and len(answer) == len(GOOD[name])
        np.testing.assert_array_equal(answer, answered[name][key])


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("serving_default", np.zeros((0, FRAMES, 96), np.float32)),
        ("waveform", np.zeros((0, 6000), np.float32)),
        ("waveform", np.zeros((0, 0), np.float32)),
        ("wav_bytes", files()),
    ],
)
def test_empty_requests_have_empty_answers(ask, answered, name, request_):
    for key, answer in ask(name, request_).items():
        assert answer.shape == (0, answered[name][key].shape[1])


def test_rows_without_samples_are_silence(ask):
    nothing = ask("waveform", np.zeros((2, 0), np.float32))
    one = ask("waveform", np.zeros((2, 1), np.float32))
    for key, answer in nothing.items():
        np.testing.assert_array_equal(answer, one[key])
    for samples in (FRONT_END.frame_length - 1, FRONT_END.frame_length, 5000):
        for answer in ask("waveform", np.zeros((2, samples), np.float32)).values():
            assert len(answer) == 2 and np.isfinite(answer).all()


def test_more_rows_than_are_answered_together(ask, backbone):
    rows = 2 * ROWS_AT_ONCE + 3
    windows = np.random.default_rng(5).normal(size=(rows, FRAMES, 96)).astype(np.float32)
    found = ask("serving_default", windows)["embeddings"]
    np.testing.assert_allclose(found, backbone(windows), atol=1e-5)
    waves = np.random.default_rng(6).normal(scale=0.1, size=(rows, 400)).astype(np.float32)
    found = ask("waveform", waves)["embeddings"]
    some = [0, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, rows - 1]
    np.testing.assert_allclose(found[some], ask("waveform", waves[some])["embeddings"], atol=1e-4)


def test_imported_mels_are_checked_too(tmp_path):
    save_backbone(vggish(frames=8, bands=48, width=0.05), IMPORTED["melon"], tmp_path / "m")
    assert list(tf.saved_model.load(str(tmp_path / "m")).signatures) == ["serving_default"]
    ask = session(tmp_path / "m")
    good = np.full((2, 8, 48), -40, np.float32)
    before = ask("serving_default", good)["embeddings"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="melspectrogram: NaN or infinite"):
        ask("serving_default", np.full((1, 8, 48), np.nan, np.float32))
    np.testing.assert_array_equal(ask("serving_default", good)["embeddings"], before)


LONG = """
import json, resource, sys
import tensorflow as tf
ask = tf.saved_model.load(sys.argv[1]).signatures["wav_bytes"]
short, long = (tf.constant([open(path, "rb").read()]) for path in sys.argv[2:])
before = ask(wav_bytes=short)["embeddings"].numpy()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
answer = ask(wav_bytes=long)["embeddings"].numpy()
added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
assert (ask(wav_bytes=short)["embeddings"].numpy() == before).all()
print(json.dumps({"added": added * 1024, "answer": answer[0].tolist()}))
"""


@pytest.mark.long
def test_ten_minutes_of_stereo_in_bounded_memory(saved, tmp_path):
    """It adds less than three times the file to the peak; 2.1 times were measured."""
    minute = np.random.default_rng(2).integers(-20000, 20000, (44100 * 60, 2)).astype(np.int16)
    soundfile.write(tmp_path / "long.wav", np.tile(minute, (10, 1)), 44100, subtype="PCM_16")
    soundfile.write(tmp_path / "short.wav", minute[:44100], 44100, subtype="PCM_16")
    paths = saved / "backbone" / "saved_model", tmp_path / "short.wav", tmp_path / "long.wav"
    ((said, _),) = end(start(["-c", LONG, *paths]))
    found = json.loads(said.splitlines()[-1])
    assert found["added"] < 3 * (tmp_path / "long.wav").stat().st_size
    assert len(found["answer"]) == 128 and np.isfinite(found["answer"]).all()
