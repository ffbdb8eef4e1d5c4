"""Packages as Essentia publishes them, of small nets with weights of their own."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
MUSICNN, EFFNET, VGGISH = (
    f"TensorflowPredict{name}" for name in ("MusiCNN", "EffnetDiscogs", "VGGish")
)
UNITS = 7
WINDOW = (24, 96)


@dataclass
class Package:
    """A package on disk, and the function that it was made of."""

    path: Path
    original: Callable[[np.ndarray], np.ndarray]

    @property
    def json_path(self) -> Path:
        return self.path.with_suffix(".json")

    def edit_json(self, change: Callable[[dict], None]) -> None:
        metadata = json.loads(self.json_path.read_text())
        change(metadata)
        self.json_path.write_text(json.dumps(metadata))

    def edit_graph(self, change: Callable) -> None:
        graph = v1.GraphDef.FromString(self.path.read_bytes())
        change(graph)
        self.path.write_bytes(graph.SerializeToString())


def write_json(path, algorithm, input_name, shape, outputs):
    """The fields of a published file; ``outputs`` is purpose → name."""
    metadata = {
        "name": path.stem,
        "type": "embedding extractor",
        "version": "1",
        "framework": "tensorflow",
        "classes": ["a", "b", "c"],
        "model_types": ["frozen_model"],
        "schema": {
            "inputs": [{"name": input_name, "type": "float", "shape": list(shape)}],
            "outputs": [
                {"name": name, "type": "float", "shape": [1, 1], "op": "", "output_purpose": why}
                for why, name in outputs.items()
            ],
        },
        "inference": {"sample_rate": 16000, "algorithm": algorithm},
    }
    path.with_suffix(".json").write_text(json.dumps(metadata))


def convolutional(windows, training, seed):
    """Two convolutions, batch normalisation, pooling, dense layers; as TensorFlow 1 names them."""
    rng = np.random.default_rng(seed)

    def variable(name, *shape):
        value = rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape).astype(np.float32)
        return v1.get_variable(name, initializer=value)

    x = tf.nn.conv2d(windows, variable("kernel_1", 3, 3, 1, 8), 2, "SAME")
    x = tf.nn.bias_add(x, variable("bias_1", 8))
    mean, scale = variable("mean", 8), tf.square(variable("scale", 8)) + 0.5
    x, *_ = v1.nn.fused_batch_norm(
        x, scale, mean, mean=mean, variance=scale, is_training=False, epsilon=1e-3
    )
    x = tf.nn.max_pool2d(tf.nn.relu(x), 2, 2, "SAME")
    x = tf.nn.relu(tf.nn.conv2d(x, variable("kernel_2", 3, 3, 8, 16), 1, "VALID"))
    x = tf.concat([tf.reduce_mean(x, [1, 2]), tf.reduce_max(x, [1, 2])], 1)
    if training is not None:  # dropout, as tf.layers.dropout had it
        kept, dropped = tf.raw_ops.Switch(data=x, pred=training)
        noise = tf.random.uniform(tf.shape(dropped))
        x = tf.raw_ops.Merge(inputs=[kept, dropped * tf.round(noise)]).output
    x = tf.matmul(x, variable("kernel_3", 32, UNITS))
    x = tf.nn.bias_add(x, variable("bias_3", UNITS), name="model/dense/BiasAdd")
    x = tf.matmul(x, variable("kernel_4", UNITS, 3))
    return tf.sigmoid(x, name="model/Sigmoid")


def musicnn_like(
    path, *, window=WINDOW, algorithm=MUSICNN, batch=None, rank=3, switch=False, seed=1
):
    """Variables frozen by TensorFlow 1, nodes named as in ``msd-musicnn-1.pb``."""
    graph = tf.Graph()
    with graph.as_default():
        shape = None if rank is None else [batch, *window, 1][:rank]
        given = v1.placeholder(tf.float32, shape, "model/Placeholder")
        training = v1.placeholder(tf.bool, [], "model/Placeholder_1") if switch else None
        convolutional(tf.reshape(given, [batch or -1, *window, 1]), training, seed)
        session = v1.Session(graph=graph)
        session.run(v1.global_variables_initializer())
    frozen = v1.graph_util.convert_variables_to_constants(
        session, graph.as_graph_def(), ["model/Sigmoid"]
    )
    path.write_bytes(frozen.SerializeToString())
    shape = window if batch is None else (batch, *window)
    outputs = {"predictions": "model/Sigmoid", "embeddings": "model/dense/BiasAdd"}
    write_json(path, algorithm, "model/Placeholder", shape, outputs)

    def original(windows):
        feeds = {given: windows[..., None] if rank == 4 else windows}
        return session.run("model/dense/BiasAdd:0", feeds | ({training: False} if switch else {}))

    return Package(path, original)


def effnet_like(path, *, batch=64, window=(128, 96), algorithm=EFFNET, seed=2):
    """Functions below ``PartitionedCall``, a fixed batch and what saves it, as in
    ``discogs-effnet-bs64-1.pb``."""
    rng = np.random.default_rng(seed)
    kernel, dense, head = (
        rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape).astype(np.float32)
        for shape in ((5, 5, 1, 48), (48, UNITS), (UNITS, 3))
    )
    spec = tf.TensorSpec([batch, *window], tf.float32)

    def net(windows):
        x = tf.reshape(windows, [batch, *window, 1])
        x = tf.nn.conv2d(x, kernel, 3, "SAME")
        x = tf.reduce_mean(x * tf.sigmoid(x), [1, 2])
        embeddings = tf.matmul(x, dense)
        return tf.sigmoid(tf.matmul(embeddings, head)), tf.identity(embeddings)

    inner = tf.function(net, input_signature=[spec], autograph=False)
    outer = tf.function(
        lambda windows: inner(windows), input_signature=[spec], autograph=False
    ).get_concrete_function()
    graph = tf.Graph()
    with graph.as_default():
        outer(v1.placeholder(tf.float32, spec.shape, "serving_default_melspectrogram"))
        name = v1.placeholder(tf.string, [], "saver_filename")
        tf.raw_ops.SaveV2(
            prefix=name, tensor_names=["x"], shape_and_slices=[""], tensors=[tf.zeros([])]
        )
    path.write_bytes(graph.as_graph_def().SerializeToString())
    outputs = {"predictions": "PartitionedCall:0", "embeddings": "PartitionedCall:1"}
    shape = (batch, *window)
    write_json(path, algorithm, "serving_default_melspectrogram", shape, outputs)
    return Package(path, lambda windows: net(tf.constant(windows))[1].numpy())


def windows_of(rng, count, window=WINDOW):
    return rng.uniform(0, 4, (count, *window)).astype(np.float32)


def node_of(graph, name):
    return next(node for node in graph.node if node.name == name)


def edit(name, change):
    """For ``edit_graph``: change one node."""
    return lambda graph: change(node_of(graph, name))


def add(op, name, inputs=(), needed_by="model/dense/BiasAdd", **attributes):
    """For ``edit_graph``: a node that another one waits for."""

    def change(graph):
        graph.node.add(op=op, name=name, input=inputs)
        for key, value in attributes.items():
            graph.node[-1].attr[key].CopyFrom(value)
        node_of(graph, needed_by).input.append(f"^{name}")

    return change


def type_of(kind):
    return v1.AttrValue(type=kind.as_datatype_enum)


def purposes(**names):
    """For ``edit_json``: old purposes of outputs to new ones, none for the others."""

    def change(metadata):
        for output in metadata["schema"]["outputs"]:
            output["output_purpose"] = names.get(output["output_purpose"], "")

    return change


def put(value, *keys):
    """For ``edit_json``: another value."""

    def change(metadata):
        for key in keys[:-1]:
            metadata = metadata[key]
        metadata[keys[-1]] = value

    return change
