"""Packages that are refused: no graph, no JSON, damaged ones, and graphs that do harm."""

import numpy as np
import pytest
import tensorflow as tf
from essentia_packages import (
    UNITS,
    WINDOW,
    add,
    edit,
    effnet_like,
    musicnn_like,
    node_of,
    purposes,
    put,
    type_of,
)

from playlist_pretrain.errors import ModelError
from playlist_pretrain.models.load import load_model
from playlist_pretrain.models.trust import OPS


def refused(path, named=None, end=": "):
    with pytest.raises(ModelError) as error:
        load_model(path)
    text = str(error.value)
    assert text.startswith(f"{named or path}{end}") and "\n" not in text
    return text


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (lambda content: b"", "it has no nodes"),
        (lambda content: b"some text\n" * 99, "not a frozen graph"),
        (lambda content: content[: len(content) // 2], "not a frozen graph"),
        (lambda content: content + content, "several of its nodes have the same name"),
    ],
)
def test_damaged_graphs_are_refused(content, word, package):
    package.path.write_bytes(content(package.path.read_bytes()))
    assert word in refused(package.path)


def remove(name):
    return lambda graph: graph.node.remove(node_of(graph, name))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (remove("MatMul"), "node 'model/dense/BiasAdd' takes 'MatMul', which it has not"),
        (remove("model/dense/BiasAdd"), "no node 'model/dense/BiasAdd', which its JSON names as"),
        (edit("Conv2D", lambda node: node.attr["strides"].list.i.pop()), "cannot run it"),
        (edit("Relu", lambda node: node.input.append("^model/dense/BiasAdd")), "cannot run it"),
        (edit("kernel_1", lambda node: cut(node.attr["value"].tensor)), "cannot run it"),
        (
            edit("bias_3", lambda n: n.attr["value"].CopyFrom(value_of(np.full(UNITS, np.nan)))),
            "is not finite float32 for silence",
        ),
        (edit("Relu", lambda node: setattr(node, "op", "VarHandleOp")), "of the op 'VarHandleOp'"),
        (  # TensorFlow ends the process where it looks such a number up
            lambda graph: add("Const", "odd", dtype=type_of(tf.int32), value=value_of(np.zeros(1)))(
                graph
            ),
            "node 'odd': a constant of another type than its value",
        ),
        (add("WriteFile", "quiet"), "node 'quiet' is of the op 'WriteFile': refused"),
        (
            add("Placeholder", "other", dtype=type_of(tf.float32)),
            "it needs another input beside 'model/Placeholder': 'other'",
        ),
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
    ],
)
def test_spoilt_graphs_are_refused_by_node(change, word, package):
    package.edit_graph(change)
    assert word in refused(package.path)


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

    before = load_model(package.path).model
    package.edit_graph(change)
    text = refused(package.path)
    assert "'WriteFile'" in text and ("of function" in text) == (hidden == "a function")
    with pytest.raises(ModelError):
        load_model(package.path)
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


INPUT, OUTPUT = ("schema", "inputs", 0), ("schema", "outputs", 1)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (purposes(predictions="predictions"), "no outputs of purpose embeddings, one is needed; its"
         " outputs are: 'model/Sigmoid' (predictions), 'model/dense/BiasAdd' ()"),
        (purposes(predictions="embeddings", embeddings="embeddings"), "2 outputs of purpose"),
        (put([], "schema", "outputs"), "its outputs are: none"),
        (put({}, "schema"), "schema.inputs.0.name is missing"),
        (put("24 x 96", *INPUT, "shape"), "schema.inputs.0.shape is missing or not"),
        (put("TensorflowPredictMAEST", "inference", "algorithm"), "'TensorflowPredictMAEST'"),
        (put(44100, "inference", "sample_rate"), "sample_rate 44100"),
        (put("model/dense/BiasAdd:4", *OUTPUT, "name"), "net.pb: TensorFlow cannot run it"),
        (put("kernel_1", *OUTPUT, "name"), "'kernel_1' does not depend on 'model/Placeholder'"),
        (put("Relu", *OUTPUT, "name"), "embeddings are one vector a window"),
        (put([25, 96], *INPUT, "shape"), "takes [None, 24, 96], but its JSON says [25, 96]"),
        (put("TensorflowPredictVGGish", "inference", "algorithm"), "takes 96 bands, the mels of"),
    ],
)  # fmt: skip
def test_a_json_that_lacks_something_or_is_of_another_graph(change, word, package):
    package.edit_json(change)
    assert word in refused(package.path, package.path.with_suffix(""), end=".")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\xff", b"[" * 100_000, b"[]"])
def test_damaged_json_is_refused(content, package):
    package.json_path.write_bytes(content)
    refused(package.path, package.json_path)


@pytest.mark.parametrize("shape", [[24], [], [None, 96]])
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
