"""SavedModels: reloaded anywhere, trainable, with waveform in and embeddings out."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from processes import end, start

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.audio.windows import cut_windows, mean_over_windows
from playlist_pretrain.errors import ModelError
from playlist_pretrain.models.load import load_backbone
from playlist_pretrain.models.saved_model import METADATA, file_errors
from playlist_pretrain.models.signatures import track_mean

FRAMES = 8
FRONT_END = front_end("paper")


@pytest.fixture
def saved(saved):
    return saved / "backbone" / "saved_model"


def test_round_trip(backbone, saved, rng):
    loaded = load_backbone(saved)
    assert loaded.front_end == FRONT_END and loaded.frames == FRAMES
    windows = rng.normal(size=(5, FRAMES, 96)).astype(np.float32)
    np.testing.assert_array_equal(loaded.model(windows), backbone(windows))
    assert len(loaded.model.trainable_variables) == len(backbone.trainable_variables)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rate, channels", [pytest.param(16000, 1, marks=pytest.mark.long), (44100, 2)]
)
def test_wav_bytes_are_the_file_as_it_is_decoded(saved, rng, tmp_path, rate, channels):
    contents, waves = [], []
    for number, seconds in enumerate((0.1, 4)):
        path = tmp_path / f"{number}.wav"
        wave = rng.uniform(-0.5, 0.5, (int(rate * seconds), channels))
        soundfile.write(path, wave, rate, subtype="PCM_24")
        contents.append(path.read_bytes())
        waves.append(decode(path, 16000, None).waveform)
    signatures = tf.saved_model.load(str(saved)).signatures
    found = signatures["wav_bytes"](wav_bytes=tf.constant(contents))["embeddings"].numpy()
    for answer, wave in zip(found, waves, strict=True):
        expected = signatures["waveform"](waveform=tf.constant(wave[np.newaxis]))["embeddings"][0]
        np.testing.assert_allclose(answer, expected, atol=1e-3 * np.std(expected))
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a wav file"):
        signatures["wav_bytes"](wav_bytes=tf.constant([contents[0], b"something else"]))


@pytest.mark.slow
def test_signatures_in_a_process_that_knows_only_tensorflow(backbone, saved, rng, tmp_path):
    windows = rng.normal(size=(3, FRAMES, 96)).astype(np.float32)
    wave = rng.normal(scale=0.1, size=(2, 3 * FRAMES * 188 + 500)).astype(np.float32)
    np.savez(tmp_path / "in.npz", windows=windows, wave=wave)
    code = """
import sys, numpy as np, tensorflow as tf
given = np.load(sys.argv[2])
model = tf.saved_model.load(sys.argv[1])
keras = tf.keras.models.load_model(sys.argv[1], compile=False)
keras.trainable = True
with tf.GradientTape() as tape:
    loss = tf.reduce_sum(keras(given["windows"]))
assert all(g is not None for g in tape.gradient(loss, keras.trainable_variables))
assert not [name for name in sys.modules if name.startswith("playlist_pretrain")]
signatures = model.signatures
np.savez(
    sys.argv[3],
    keras=keras(given["windows"]),
    windows=signatures["serving_default"](melspectrogram=tf.constant(given["windows"]))["embeddings"],
    wave=signatures["waveform"](waveform=tf.constant(given["wave"]))["embeddings"],
)
"""
    end(start(["-c", code, saved, tmp_path / "in.npz", tmp_path / "out.npz"]))
    out = np.load(tmp_path / "out.npz")
    np.testing.assert_allclose(out["windows"], backbone(windows), atol=1e-5)
    np.testing.assert_allclose(out["keras"], backbone(windows), atol=1e-5)
    mels = FRONT_END.log_mel(tf.constant(wave)).numpy()
    expected = [backbone(cut_windows(mel, FRAMES)).numpy().mean(axis=0) for mel in mels]
    np.testing.assert_allclose(out["wave"], expected, atol=1e-4)


@pytest.mark.parametrize("length", [1, 10, FRAMES - 1, FRAMES, FRAMES + 1, 70 * FRAMES + 9])
def test_track_mean_is_the_twin_of_the_windows_in_numpy(backbone, rng, length):
    mels = rng.normal(size=(2, length, 96)).astype(np.float32)
    found = track_mean(backbone, tf.constant(mels), FRAMES).numpy()
    windows = [cut_windows(mel, FRAMES) for mel in mels]
    counts = np.array([len(of_track) for of_track in windows])
    expected = mean_over_windows(backbone(np.concatenate(windows)).numpy(), counts)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def with_metadata(**change):
    def spoil(path):
        about = json.loads((path / METADATA).read_text())
        (path / METADATA).write_text(json.dumps({**about, **change}))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda path: (path / "saved_model.pb").unlink(), "no SavedModel"),
        (lambda path: (path / METADATA).unlink(), "not of this package"),
        (lambda path: (path / METADATA).write_text("{"), "not a whole description"),
        (lambda path: (path / METADATA).write_text('{"format": 9}'), "model format 9, this versi"),
        (
            lambda path: (path / "saved_model.pb").write_bytes(b"\x00garbage"),
            "not a whole SavedModel",
        ),
        (lambda path: (path / "variables/variables.index").write_bytes(b""), "cannot be loaded"),
        (
            with_metadata(front_end=front_end("vggish").to_dict()),
            r"damaged: it takes \[8, 96\] and gives 128; .* and 64 bands",
        ),
        (with_metadata(classes=[f"c{i}" for i in range(128)]), "cannot be loaded: No such layer"),
    ],
)
def test_damaged_models_are_refused_by_name(saved, tmp_path, spoil, word):
    path = shutil.copytree(saved, tmp_path / "model")
    spoil(path)
    with pytest.raises(ModelError, match=word) as refused:
        load_backbone(path)
    assert str(path) in str(refused.value)


def _records():
    with tf.io.TFRecordWriter("/dev/full") as writer:
        writer.write(b"x")


@pytest.mark.parametrize(
    "write",
    [
        lambda: tf.io.write_file("/dev/full", b"x" * 9_000),
        lambda: tf.io.gfile.GFile("/dev/full", "wb").write(b"x" * 9_000),
        _records,
    ],
)
def test_what_tensorflow_says_of_a_full_disk_is_an_oserror_with_the_file(write):
    with pytest.raises(OSError, match="No space left on device") as caught, file_errors():
        write()
    assert (caught.value.errno, caught.value.filename) == (28, "/dev/full")


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("{{node a}} r/step-4_temp/part-0-of-1.data-0-of-1.tempstate12; {} [Op:B]", "r/step-4"),
        ("m/keras_metadata.pb.TMP5d57; {}", "m/keras_metadata.pb"),
        ("m/saved_model.pb.tmp0e11; {}", "m/saved_model.pb"),
        ("a; b; {}", "a; b"),
    ],
)
def test_files_that_tensorflow_would_have_renamed_are_named_as_they_would_be(said, named):
    with pytest.raises(OSError, match="too large") as caught, file_errors():
        raise tf.errors.UnknownError(None, None, said.replace("{}", "File too large"))
    assert caught.value.filename == named


@pytest.mark.parametrize("said", ["File too large", "OOM when allocating; all is lost", "a; b"])
def test_other_errors_of_tensorflow_stay_what_they_are(said):
    with pytest.raises(tf.errors.ResourceExhaustedError), file_errors():
        raise tf.errors.ResourceExhaustedError(None, None, said)
