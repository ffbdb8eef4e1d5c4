"""The original VGGish: checkpoints of both formats, against NumPy, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from playlist_pretrain.errors import ModelError
from playlist_pretrain.models.audioset import load_audioset_weights
from playlist_pretrain.models.load import load_model
from playlist_pretrain.models.vggish import vggish

ORIGINAL = {  # as the file of 2017 names them, and their shapes
    "vggish/conv1": (3, 3, 1, 64),
    "vggish/conv2": (3, 3, 64, 128),
    "vggish/conv3/conv3_1": (3, 3, 128, 256),
    "vggish/conv3/conv3_2": (3, 3, 256, 256),
    "vggish/conv4/conv4_1": (3, 3, 256, 512),
    "vggish/conv4/conv4_2": (3, 3, 512, 512),
    "vggish/fc1/fc1_1": (12288, 4096),
    "vggish/fc1/fc1_2": (4096, 4096),
    "vggish/fc2": (4096, 128),
}
SMALL = {  # the same at WIDTH
    name: tuple(size if size in (1, 3) else size // 16 for size in shape)
    for name, shape in ORIGINAL.items()
} | {"vggish/fc2": (256, 128)}
WIDTH = 1 / 16
POOLED_AFTER = ("vggish/conv1", "vggish/conv2", "vggish/conv3/conv3_2", "vggish/conv4/conv4_2")
FORMATS = {"V1": tf.compat.v1.train.SaverDef.V1, "V2": tf.compat.v1.train.SaverDef.V2}


def random_weights(rng, shapes):
    """He-scaled kernels and biases that count, in float32."""
    values = {}
    for name, shape in shapes.items():
        std = np.float32(np.sqrt(2 / np.prod(shape[:-1])))
        values[f"{name}/weights"] = rng.standard_normal(shape, np.float32) * std
        values[f"{name}/biases"] = rng.standard_normal(shape[-1], np.float32) / 10
    return values


def write_checkpoint(path, values, kind):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        variables = {
            name: v1.get_variable(name, np.shape(value), tf.as_dtype(np.asarray(value).dtype))
            for name, value in values.items()
        }
        for name, variable in variables.items():
            variable.load(value=values[name], session=session)
        saver = v1.train.Saver(list(variables.values()), write_version=FORMATS[kind])
        saver.save(session, str(path), write_meta_graph=False, write_state=False)


def embeddings(windows, values):
    """The original graph in NumPy, float64."""
    x = windows.astype(np.float64)[..., None]
    for name in ORIGINAL:
        kernel, bias = values[f"{name}/weights"], values[f"{name}/biases"]
        if kernel.ndim == 4:
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
            x = np.tensordot(views, kernel.astype(np.float64), ((4, 5, 3), (0, 1, 2)))
        else:
            x = x.reshape(len(x), -1)
            x = np.concatenate(  # some columns at a time: the largest kernel takes 400 MB
                [x @ part.astype(np.float64) for part in np.array_split(kernel, 8, axis=1)], axis=1
            )
        x += bias
        if name != "vggish/fc2":
            x = np.maximum(x, 0)
        if name in POOLED_AFTER:
            batch, frames, bands, channels = x.shape
            x = x.reshape(batch, frames // 2, 2, bands // 2, 2, channels).max(axis=(2, 4))
    return x


@pytest.fixture
def values(rng):
    return random_weights(rng, SMALL)


@pytest.fixture
def extra():
    """What a checkpoint of training holds besides."""
    return {"global_step": np.int64(7), "vggish/fc2/weights/Adam": np.zeros(3, np.float32)}


@pytest.fixture(scope="module")
def model():
    return vggish(frames=96, bands=64, width=WIDTH)


@pytest.fixture(scope="module")
def patches(golden):
    """Log-mels of the original features, float32 [10, 96, 64]."""
    with np.load(golden / "vggish_mel.npz", allow_pickle=False) as archive:
        return archive["chirp_log_mel"]


@pytest.mark.slow
def test_the_original_size(extra, patches, rng, tmp_path):
    values = random_weights(rng, ORIGINAL)
    assert sum(value.size for value in values.values()) == 72_141_184
    write_checkpoint(tmp_path / "vggish_model.ckpt", {**values, **extra}, "V1")
    loaded = load_model("audioset", weights=tmp_path / "vggish_model.ckpt")
    assert loaded.front_end.name == "vggish" and loaded.frames == 96
    expected = embeddings(patches[:2], values)
    assert expected.std() > 0.1 and expected.min() < -0.1  # no ReLU
    np.testing.assert_allclose(loaded.model(patches[:2]), expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("kind", "given"), [("V1", ""), ("V2", ""), ("V2", ".index"), ("V2", ".data-00000-of-00001")]
)
def test_both_formats_by_any_of_their_names(kind, given, model, values, extra, patches, tmp_path):
    folder = tmp_path / "weights [2017] *"
    folder.mkdir()
    write_checkpoint(folder / "v.ckpt", {**values, **extra}, kind)
    write_checkpoint(folder / "v.ckpt-2", {**values, **extra, "other": np.float32(0)}, "V2")
    load_audioset_weights(model, f"{folder / 'v.ckpt'}{given}")
    expected = embeddings(patches, values)
    assert expected.std() > 0.1
    np.testing.assert_allclose(model(patches), expected, atol=2e-4, rtol=0)


def changed(name, change):
    return lambda values: {**values, name: change(values[name])}


def with_nan(value):
    value = value.copy()
    value.flat[[1, 5]] = np.nan
    return value


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (
            lambda values: {k: v for k, v in values.items() if k != "vggish/conv3/conv3_2/biases"},
            "no variable 'vggish/conv3/conv3_2/biases'",
        ),
        (lambda values: {"kernel": np.zeros(2, np.float32)}, "its variables are: 'kernel'"),
        (
            changed("vggish/fc2/weights", np.transpose),
            r"'vggish/fc2/weights' has the shape \(128, 256\), VGGish needs \(256, 128\)",
        ),
        (
            changed("vggish/conv2/biases", np.float64),
            "'vggish/conv2/biases' is float64, VGGish needs float32",
        ),
        (
            changed("vggish/conv4/conv4_1/weights", with_nan),
            "'vggish/conv4/conv4_1/weights': 2 of 4,608 values are not finite",
        ),
    ],
)
def test_variables_that_do_not_fit_are_refused(change, word, model, values, tmp_path):
    path = tmp_path / "v.ckpt"
    write_checkpoint(path, change(values), "V2")
    before = model.get_weights()
    with pytest.raises(ModelError, match=word) as refused:
        load_audioset_weights(model, path)
    assert str(refused.value).startswith(f"{path}: ") and "\n" not in str(refused.value)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def text(path):
    path.write_text("some text\n" * 99)


DATA = "v.ckpt.data-00000-of-00001"


@pytest.mark.parametrize(
    ("kind", "file", "spoil", "word"),
    [
        ("V1", "v.ckpt", text, "not a checkpoint"),
        ("V1", "v.ckpt", cut, "not a checkpoint, or damaged"),
        ("V1", "v.ckpt", flip, "not a checkpoint, or damaged"),
        ("V1", "v.ckpt", Path.unlink, "no such checkpoint"),
        ("V2", "v.ckpt.index", Path.unlink, "no such checkpoint"),
        ("V2", "v.ckpt.index", text, "not a checkpoint"),
        ("V2", DATA, Path.unlink, "not a checkpoint, or damaged"),
        ("V2", DATA, cut, "not a checkpoint, or damaged"),
        ("V2", DATA, flip, "not a checkpoint, or damaged"),
    ],
)
def test_damaged_files_are_refused_by_name(kind, file, spoil, word, model, values, tmp_path):
    path = tmp_path / "v.ckpt"
    write_checkpoint(path, values, kind)
    spoil(tmp_path / file)
    with pytest.raises(ModelError, match=word) as refused:
        load_audioset_weights(model, path)
    said = str(refused.value)
    assert said.startswith(f"{path}: ") and "\n" not in said
    assert "/checkpoint" not in said.removeprefix(f"{path}: ")  # a name the user never gave


def test_other_models_and_what_is_no_file_are_refused(model, values, tmp_path):
    with pytest.raises(ModelError, match="not a file"):
        load_audioset_weights(model, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=r"file/v\.ckpt: cannot be read: Not a directory"):
        load_audioset_weights(model, tmp_path / "file" / "v.ckpt")
    write_checkpoint(tmp_path / "v.ckpt", values, "V2")
    paper = vggish(frames=256, bands=96, width=WIDTH)  # with kernels of the same shapes
    with pytest.raises(ModelError, match="windows of 96 × 64, the model takes 256 × 96"):
        load_audioset_weights(paper, tmp_path / "v.ckpt")
