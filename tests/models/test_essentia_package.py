"""Frozen graphs of Essentia: against what they were made of, against Essentia, and hostile ones."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from essentia_packages import (
    EFFNET,
    MUSICNN,
    UNITS,
    VGGISH,
    effnet_like,
    frozen_saved_model,
    musicnn_like,
)

from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.errors import FrontEndError, ModelError, RecipeError
from playlist_pretrain.export.saved_model import load_tagger, save_tagger
from playlist_pretrain.models.essentia_package import read_package
from playlist_pretrain.models.frozen_graph import OPS
from playlist_pretrain.models.layers import plain_float32, precision
from playlist_pretrain.models.starting_points import label_of, starting_point
from playlist_pretrain.models.tagger import TaggerTrainer, embedding_of, tagger
from playlist_pretrain.recipes import FinetuneRecipe

WINDOW = (24, 96)
KINDS = {
    "as published": (musicnn_like, {}),
    "with a channel": (musicnn_like, {"rank": 4}),
    "a switch of training": (musicnn_like, {"switch": True}),
    "its shape is in the JSON": (musicnn_like, {"rank": None}),
    "VGGish": (musicnn_like, {"window": (96, 64), "algorithm": VGGISH}),
    "functions and a fixed batch": (effnet_like, {"batch": 4, "window": WINDOW}),
}


def windows_of(rng, count, window=WINDOW):
    return rng.uniform(0, 4, (count, *window)).astype(np.float32)


@pytest.fixture
def package(tmp_path):
    return musicnn_like(tmp_path / "net.pb")


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_those_of_the_original(kind, tmp_path, rng):
    make, settings = KINDS[kind]
    package = make(tmp_path / "net.pb", **settings)
    read = read_package(package.path)
    window = settings.get("window", WINDOW)
    assert read.frames == window[0]
    assert read.front_end == front_end("vggish-essentia" if kind == "VGGish" else "musicnn")
    backbone = read.backbone()
    assert backbone.input_shape == (None, *window) and backbone.output_shape == (None, UNITS)
    assert not backbone.trainable_weights
    assert [weight.shape.num_elements() for weight in backbone.weights] in ([1152], [1200])
    windows = windows_of(rng, 9, window)
    expected = np.concatenate([package.original(windows[:4]), package.original(windows[4:8])])
    assert expected.std() > 0.01
    in_graph = tf.function(lambda x: backbone(x, training=True))
    np.testing.assert_allclose(backbone(windows)[:8], expected, atol=1e-6, rtol=0)
    np.testing.assert_allclose(in_graph(windows)[:8], expected, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_a_saved_model_that_was_frozen(tmp_path, rng):
    package = frozen_saved_model(tmp_path / "net.pb")
    graph = tf.compat.v1.GraphDef.FromString(package.path.read_bytes())
    assert "SaveV2" in {node.op for f in graph.library.function for node in f.node_def}
    windows = windows_of(rng, 9)
    expected = np.concatenate([package.original(windows[i : i + 4]) for i in (0, 4)])
    found = tf.function(read_package(package.path).backbone())(windows)
    assert found.shape == (9, UNITS)
    np.testing.assert_allclose(found[:8], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("make", [effnet_like, musicnn_like])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 130])
def test_a_fixed_batch_takes_any_number_of_windows(make, count, tmp_path, rng):
    package = make(tmp_path / "bs64.pb", batch=64, window=WINDOW)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):  # it does take 64 only
        package.original(np.zeros((63, *WINDOW), np.float32))
    windows = windows_of(rng, count)
    found = read_package(package.path).backbone()(windows)
    assert found.shape == (count, UNITS)
    if count:
        whole = np.concatenate([windows, windows_of(rng, -count % 64)])
        expected = np.concatenate([package.original(p) for p in np.split(whole, len(whole) // 64)])
        np.testing.assert_allclose(found, expected[:count], atol=1e-6, rtol=0)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_it_is_float32_whatever_the_policy(policy, package, rng):
    with precision(policy):
        model = tagger(read_package(package.path).backbone(), 2)
    assert plain_float32(model) is model
    windows = windows_of(rng, 3)
    found = tf.keras.Model(model.inputs, embedding_of(model))(windows)
    np.testing.assert_allclose(found, package.original(windows), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("algorithm", "window"), [(MUSICNN, (187, 96)), (EFFNET, (128, 96)), (VGGISH, (96, 64))]
)
def test_essentia_gives_the_same_for_a_waveform(algorithm, window, tmp_path, rng):
    standard = pytest.importorskip("essentia.standard")
    make = effnet_like if algorithm == EFFNET else musicnn_like
    package = make(tmp_path / "net.pb", window=window, algorithm=algorithm)
    settings = {"output": "model/dense/BiasAdd"}
    if algorithm == EFFNET:
        settings = {"output": "PartitionedCall:1", "input": "serving_default_melspectrogram"}
    time = np.arange(16000 * 9) / 16000
    wave = 0.3 * np.sin(2 * np.pi * (80 + 350 * time) * time) + rng.normal(0, 0.01, len(time))
    wave = wave.astype(np.float32)
    expected = getattr(standard, algorithm)(
        graphFilename=str(package.path), patchSize=window[0], patchHopSize=window[0],
        lastPatchMode="discard", **settings,
    )(wave)  # fmt: skip
    read = read_package(package.path)
    mel = read.front_end.log_mel(wave).numpy()
    count = len(mel) // read.frames
    found = read.backbone()(mel[: count * read.frames].reshape(count, *window))
    assert expected.shape == found.shape and count >= 3
    assert np.ptp(expected, axis=0).max() > 1e-2  # the windows differ
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("make", [musicnn_like, effnet_like])
def test_a_tagger_trains_its_head_and_is_saved(make, tmp_path, rng):
    package = make(tmp_path / "net.pb", window=WINDOW, batch=64)
    read = read_package(package.path)
    windows = windows_of(rng, 48) * rng.uniform(0, 2, (48, 1, 1)).astype(np.float32)
    embeddings = package.original(np.resize(windows, (64, *WINDOW)))[:48]
    targets = (embeddings[:, :2] > np.median(embeddings[:, :2], axis=0)).astype(np.float32)
    model = tagger(read.backbone(), 2)
    assert len(model.trainable_variables) == 4  # of two dense layers
    trainer = TaggerTrainer(model, l2=1e-5)
    trainer.compile(tf.keras.optimizers.Adam(0.02), tf.keras.losses.BinaryCrossentropy())
    losses = trainer.fit(windows, targets, batch_size=20, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    after = model.get_layer("frozen_graph").get_weights()
    np.testing.assert_array_equal(after, read_package(package.path).backbone().get_weights())
    found = tf.keras.Model(model.inputs, embedding_of(model))(windows)
    np.testing.assert_allclose(found, embeddings, atol=1e-6, rtol=0)

    save_tagger(model, ["one", "two"], read.front_end, tmp_path / "saved")
    package.path.unlink()
    loaded = load_tagger(tmp_path / "saved")
    assert loaded.classes == ("one", "two") and loaded.front_end == read.front_end
    assert loaded.frames == WINDOW[0] and len(loaded.model.trainable_variables) == 4
    expected = model(windows)
    np.testing.assert_allclose(loaded.model(windows), expected, atol=1e-6, rtol=0)
    signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
    answer = signatures["serving_default"](melspectrogram=tf.constant(windows))
    np.testing.assert_allclose(answer["activations"], expected, atol=1e-6, rtol=0)
    np.testing.assert_allclose(answer["embeddings"], embeddings, atol=1e-6, rtol=0)
    wave = rng.normal(0, 0.1, (2, 256 * 24 * 3)).astype(np.float32)
    mel = read.front_end.log_mel(wave)[:, : 3 * 24]
    cut = tf.reshape(mel, [6, *WINDOW])
    answer = signatures["waveform"](waveform=tf.constant(wave))
    mean = model(cut).numpy().reshape(2, 3, 2).mean(1)
    np.testing.assert_allclose(answer["activations"], mean, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_saved_tagger_needs_tensorflow_alone(package, tmp_path, rng):
    read = read_package(package.path)
    model = tagger(read.backbone(), 2)
    save_tagger(model, ["one", "two"], read.front_end, tmp_path / "saved")
    windows = windows_of(rng, 5)
    np.save(tmp_path / "windows.npy", windows)
    code = """
import sys, numpy as np, tensorflow as tf
model = tf.keras.models.load_model(sys.argv[1], compile=False)
assert not [name for name in sys.modules if name.startswith("playlist_pretrain")]
np.save(sys.argv[3], model(np.load(sys.argv[2])))
"""
    paths = [tmp_path / name for name in ("saved", "windows.npy", "out.npy")]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(np.load(paths[2]), model(windows), atol=1e-6, rtol=0)


def recipe_of(*models, **settings):
    return FinetuneRecipe(model=models, **settings).resolve(demo=False, window_frames=256)


def test_a_fine_tuning_starts_from_it(package, make_collection, tmp_path, rng):
    name = str(package.path)
    collection = make_collection(tmp_path / "mels", [80, 40], front_end="musicnn")
    point = starting_point(name, recipe_of(name, freeze=True), collection)
    assert point.label == label_of(name, None) == "net"
    assert point.frames == WINDOW[0] and point.front_end == front_end("musicnn")
    one, two = point.build(0), point.build(1)
    windows = windows_of(rng, 2)
    assert one is not two
    np.testing.assert_array_equal(one(windows), two(windows))

    for ending in (".pb", ".json"):
        shutil.copy(package.path.with_suffix(ending), tmp_path / f"copy{ending}")
    other = musicnn_like(tmp_path / "other.pb", seed=5)
    assert read_package(tmp_path / "copy.pb").key == point.key != read_package(other.path).key
    package.edit_json(purposes(predictions="embeddings"))
    assert read_package(package.path).key != point.key


def test_what_a_recipe_may_not_ask_for(package, make_collection, tmp_path):
    name = str(package.path)
    with pytest.raises(RecipeError, match=r"net\.pb: its graph is frozen: give --freeze"):
        recipe_of(name)
    with pytest.raises(RecipeError, match="--frames 24: only --model scratch reads it"):
        recipe_of(name, freeze=True, frames=24)
    paper = make_collection(tmp_path / "paper", [80])
    with pytest.raises(FrontEndError, match="hop_length 256 against 188"):
        starting_point(name, recipe_of(name, freeze=True), paper)


# What is refused.


def refused(path, named=None):
    with pytest.raises(ModelError) as error:
        read_package(path)
    text = str(error.value)
    assert text.startswith(f"{named or path}: ") and "\n" not in text
    return text


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (lambda content: b"", "it has no nodes"),
        (lambda content: b"some text\n" * 99, "not a frozen graph"),
        (lambda content: b"\x00" * 400, "not a frozen graph"),
        (lambda content: content[: len(content) // 2], "not a frozen graph"),
        (lambda content: content[:-1], "not a frozen graph"),
        (lambda content: content + content, "several of its nodes have the same name"),
    ],
)
def test_damaged_graphs_are_refused(content, word, package):
    package.path.write_bytes(content(package.path.read_bytes()))
    assert word in refused(package.path)


def test_every_cut_between_nodes_is_refused(package):
    graph = tf.compat.v1.GraphDef.FromString(package.path.read_bytes())
    nodes = list(graph.node)
    last = [node.name for node in nodes].index("model/dense/BiasAdd")
    for count in range(last + 1):
        package.path.write_bytes(tf.compat.v1.GraphDef(node=nodes[:count]).SerializeToString())
        assert "no node" in (text := refused(package.path)) or "has no nodes" in text


def node_of(graph, name):
    return next(node for node in graph.node if node.name == name)


def remove(name):
    return lambda graph: graph.node.remove(node_of(graph, name))


def edit(name, change):
    return lambda graph: change(node_of(graph, name))


def add(op, name, inputs=(), needed_by="model/dense/BiasAdd", **attributes):
    def change(graph):
        graph.node.add(op=op, name=name, input=inputs)
        for key, value in attributes.items():
            graph.node[-1].attr[key].CopyFrom(value)
        node_of(graph, needed_by).input.append(f"^{name}")

    return change


TYPE = {"dtype": tf.compat.v1.AttrValue(type=tf.float32.as_datatype_enum)}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (remove("MatMul"), "node 'model/dense/BiasAdd' takes 'MatMul', which it has not"),
        (remove("model/dense/BiasAdd"), "no node 'model/dense/BiasAdd', which its JSON names as"),
        (remove("model/Placeholder"), "no node 'model/Placeholder', which its JSON names as input"),
        (edit("Relu", lambda node: node.input.append("nowhere:3")), "'Relu' takes 'nowhere'"),
        (edit("Relu", lambda node: node.input.append("kernel_1")), "cannot run it"),
        (edit("Conv2D", lambda node: node.attr["strides"].list.i.pop()), "cannot run it"),
        (edit("MatMul", lambda node: node.input.reverse()), "cannot run it"),
        (edit("Relu", lambda node: node.input.append("^model/dense/BiasAdd")), "cannot run it"),
        (edit("kernel_1", lambda node: cut(node.attr["value"].tensor)), "cannot run it"),
        (
            edit("bias_3", lambda n: n.attr["value"].CopyFrom(value_of(np.full(UNITS, np.nan)))),
            "is not finite float32 for silence",
        ),
        (edit("Relu", lambda node: setattr(node, "op", "NoSuchOp")), "of the op 'NoSuchOp'"),
        (edit("Relu", lambda node: setattr(node, "op", "VarHandleOp")), "of the op 'VarHandleOp'"),
        (add("WriteFile", "quiet"), "node 'quiet' is of the op 'WriteFile': refused"),
        (add("PyFunc", "quiet"), "node 'quiet' is of the op 'PyFunc': refused"),
        (add("Placeholder", "other", **TYPE), "it needs another input beside 'model/Placeholder'"),
        (
            edit(
                "model/Placeholder", lambda n: n.attr["shape"].shape.dim[1].__setattr__("size", 7)
            ),
            "takes [None, 7, 96], but its JSON says [24, 96]",
        ),
        (
            edit("model/Placeholder", lambda n: n.attr["dtype"].CopyFrom(type_of(tf.int32))),
            "its input 'model/Placeholder' is no placeholder for float32",
        ),
        (lambda graph: setattr(graph.versions, "min_consumer", 10**6), "cannot run it"),
    ],
)
def test_spoilt_graphs_are_refused_by_node(change, word, package):
    package.edit_graph(change)
    assert word in refused(package.path)


@pytest.mark.parametrize("name", ["kernel_2", "model/Placeholder", "model/Placeholder_1"])
def test_a_node_may_wait_for_what_becomes_an_argument(name, tmp_path, rng):
    package = musicnn_like(tmp_path / "net.pb", switch=True)
    windows = windows_of(rng, 3)
    package.edit_graph(edit("bias_1", lambda node: node.input.append(f"^{name}")))
    found = read_package(package.path).backbone()(windows)
    np.testing.assert_allclose(found, package.original(windows), atol=1e-6, rtol=0)


def test_a_switch_that_nothing_takes(package, rng):
    package.edit_graph(add("Placeholder", "training", dtype=type_of(tf.bool)))
    found = read_package(package.path).backbone()(windows := windows_of(rng, 3))
    np.testing.assert_allclose(found, package.original(windows), atol=1e-6, rtol=0)


@pytest.mark.parametrize("empty", [True, False])
def test_a_graph_that_does_not_know_its_shape(empty, tmp_path, rng):
    package = musicnn_like(tmp_path / "net.pb", rank=None)
    expected = package.original(windows := windows_of(rng, 3))

    def change(node):
        del node.attr["shape"]
        if empty:
            node.attr["shape"].shape.SetInParent()

    package.edit_graph(edit("model/Placeholder", change))
    found = read_package(package.path).backbone()(windows)
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("make", [musicnn_like, effnet_like])
def test_flipped_bytes_are_refused_or_harmless(make, tmp_path, rng):
    package = make(tmp_path / "net.pb", batch=4, window=WINDOW)
    content = package.path.read_bytes()
    text = np.flatnonzero([32 <= byte < 127 for byte in content])  # names, rather than weights
    refusals = 0
    for _ in range(40):
        spoilt = bytearray(content)
        for place in rng.choice(text, 3):
            spoilt[place] = rng.integers(256)
        package.path.write_bytes(spoilt)
        try:
            backbone = read_package(package.path).backbone()
        except ModelError as error:
            assert str(error).startswith(f"{package.path}: ") and "\n" not in str(error)
            refusals += 1
        else:
            assert backbone(windows_of(rng, 5)).shape[0] == 5
    assert refusals > 5


def type_of(kind):
    return tf.compat.v1.AttrValue(type=kind.as_datatype_enum)


def cut(tensor):
    tensor.tensor_content = tensor.tensor_content[:-4]


def value_of(values):
    return tf.compat.v1.AttrValue(tensor=tf.make_tensor_proto(values.astype(np.float32)))


@pytest.mark.parametrize("hidden", ["a control input", "a function"])
def test_an_op_that_writes_a_file_is_never_run(hidden, tmp_path):
    package = effnet_like(tmp_path / "net.pb", batch=3, window=WINDOW)
    target = tmp_path / "written"

    @tf.function(input_signature=[], autograph=False)
    def write():
        tf.io.write_file(str(target), "x")

    with tf.Graph().as_default() as graph:
        if hidden == "a function":
            write.get_concrete_function()()
        else:
            tf.io.write_file(str(target), "x")
    written = graph.as_graph_def()

    def change(definition):
        definition.node.extend(written.node)
        definition.library.function.extend(written.library.function)
        node_of(definition, "PartitionedCall").input.append(f"^{written.node[-1].name}")

    before = read_package(package.path).backbone()
    package.edit_graph(change)
    text = refused(package.path)
    assert "'WriteFile'" in text and ("of function" in text) == (hidden == "a function")
    with pytest.raises(ModelError):
        read_package(package.path)
    before(np.zeros((2, *WINDOW), np.float32))
    assert not target.exists()


def test_functions_that_are_missing_or_call_themselves(tmp_path):
    package = effnet_like(tmp_path / "net.pb", batch=3, window=WINDOW)
    content = package.path.read_bytes()

    def call_itself(graph):
        for function in graph.library.function:
            for node in function.node_def:
                if node.op == "PartitionedCall":
                    node.attr["f"].func.name = function.signature.name

    package.edit_graph(call_itself)
    assert "calls itself" in refused(package.path)
    package.path.write_bytes(content)
    package.edit_graph(lambda graph: graph.library.ClearField("function"))
    assert "which it has not" in refused(package.path)


def purposes(**names):
    def change(metadata):
        for output in metadata["schema"]["outputs"]:
            output["output_purpose"] = names.get(output["output_purpose"], "")

    return change


def put(value, *keys):
    def change(metadata):
        for key in keys[:-1]:
            metadata = metadata[key]
        metadata[keys[-1]] = value

    return change


INPUT, OUTPUT = ("schema", "inputs", 0), ("schema", "outputs", 1)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (purposes(predictions="predictions"), "no outputs of purpose embeddings, one is needed; its"
         " outputs are: 'model/Sigmoid' (predictions), 'model/dense/BiasAdd' ()"),
        (purposes(predictions="embeddings", embeddings="embeddings"), "2 outputs of purpose"),
        (put({}, "schema", "outputs"), "schema.outputs is missing"),
        (put([], "schema", "outputs"), "its outputs are: none"),
        (put({}, "schema"), "schema.inputs.0.name is missing"),
        (put("x", "schema"), "schema."),
        (put([], "schema", "inputs"), "schema.inputs.0.name is missing"),
        (put(5, *INPUT, "name"), "schema.inputs.0.name is missing or not"),
        (put("24 x 96", *INPUT, "shape"), "schema.inputs.0.shape is missing or not"),
        (put(None, *OUTPUT, "name"), "schema.outputs.1.name is missing or not"),
        (put("TensorflowPredictMAEST", "inference", "algorithm"), "'TensorflowPredictMAEST'"),
        (put(["x"], "inference", "algorithm"), "inference.algorithm is missing or not"),
        (put(44100, "inference", "sample_rate"), "sample_rate 44100"),
        (put("16000", "inference", "sample_rate"), "inference.sample_rate is missing or not"),
    ],
)  # fmt: skip
def test_a_json_that_does_not_say_what_is_needed(change, word, package):
    package.edit_json(change)
    assert word in refused(package.path, package.json_path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (
            put("model/other", *INPUT, "name"),
            "no node 'model/other', which its JSON names as input",
        ),
        (put("model/dense/BiasAdd:x", *OUTPUT, "name"), "no node 'model/dense/BiasAdd:x'"),
        (put("model/dense/BiasAdd:4", *OUTPUT, "name"), "cannot run it"),
        (put("kernel_1", *INPUT, "name"), "its input 'kernel_1' is no placeholder"),
        (put("kernel_1", *OUTPUT, "name"), "'kernel_1' does not depend on 'model/Placeholder'"),
        (put("Relu", *OUTPUT, "name"), "embeddings are one vector a window"),
        (put([25, 96], *INPUT, "shape"), "takes [None, 24, 96], but its JSON says [25, 96]"),
        (put("TensorflowPredictVGGish", "inference", "algorithm"), "takes 96 bands, the mels of"),
    ],
)
def test_a_json_of_another_graph(change, word, package):
    package.edit_json(change)
    assert word in refused(package.path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\xff", b"[" * 100_000, b"[]", b"null", b'"text"']
)
def test_damaged_json_is_refused(content, package):
    package.json_path.write_bytes(content)
    refused(package.path, package.json_path)


@pytest.mark.parametrize("shape", [[24], [], [2, 24, 96, 3], [None, 96], [0, 96], ["?", 96]])
def test_a_shape_that_is_no_window(shape, tmp_path):
    package = musicnn_like(tmp_path / "net.pb", rank=None)
    package.edit_json(put(shape, *INPUT, "shape"))
    assert "which is not windows of frames and bands" in refused(package.path)


def test_files_that_are_missing(package, tmp_path):
    json_path = package.json_path
    json_path.unlink()
    assert f"{package.path} needs this file beside it" in refused(package.path, json_path)
    package.path.rename(tmp_path / "saved_model.pb")
    text = refused(tmp_path / "saved_model.pb", tmp_path / "saved_model.json")
    assert "a SavedModel is given by its folder" in text
    assert "no such file" in refused(package.path)
    (tmp_path / "folder.pb").mkdir()
    assert "cannot be read: Is a directory" in refused(tmp_path / "folder.pb")


def test_the_ops_are_ops_and_without_effect():
    from tensorflow.python.framework import op_def_registry

    definitions = {name: op_def_registry.get(name) for name in OPS}
    assert [name for name, found in definitions.items() if found is None] == []
    stateful = {name for name, found in definitions.items() if found.is_stateful}
    assert stateful == {"RandomUniform", "If", "StatefulPartitionedCall"}
    for name, found in definitions.items():
        kinds = {argument.type for argument in (*found.input_arg, *found.output_arg)}
        assert tf.resource.as_datatype_enum not in kinds, name
