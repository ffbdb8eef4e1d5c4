"""Models as frozen graphs with plain names, which older versions of TensorFlow load too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from playlist_pretrain.files import atomic_write

if TYPE_CHECKING:
    import tensorflow as tf


def frozen_graph(
    inputs: tf.Tensor, outputs: Mapping[str, tf.Tensor], name: str
) -> tf.compat.v1.GraphDef:
    """The graph from an input to some tensors of a functional Keras model, its weights inside.

    Parameters
    ----------
    inputs : tf.Tensor
        Symbolic input of a model, float32 [batch, frames, bands]; any batch.
    outputs : mapping of str to tf.Tensor
        Symbolic tensors of the model.
    name : str
        Of the input's node.

    Returns
    -------
    GraphDef
        Nodes ``name`` and those of ``outputs`` are among its nodes.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from playlist_pretrain.models.frozen_graph import without_placeholders

    v1 = tf.compat.v1
    model = tf.keras.Model(inputs, list(outputs.values()))
    spec = tf.TensorSpec([None, *inputs.shape[1:]], tf.float32, name)
    function = tf.function(
        lambda windows: tf.nest.flatten(model(windows, training=False)),
        input_signature=[spec],
        autograph=False,
    )
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    definition = without_placeholders(frozen.graph.as_graph_def())
    for node in definition.node:
        node.device = ""
    with tf.Graph().as_default() as graph:
        windows = v1.placeholder(tf.float32, spec.shape, name)
        answers = tf.graph_util.import_graph_def(
            definition,
            {frozen.inputs[0].name: windows},
            [answer.name for answer in frozen.outputs],
            name="model",
        )
        for output, answer in zip(outputs, answers, strict=True):
            tf.identity(answer, output)
    return graph.as_graph_def()


def op_of(definition: tf.compat.v1.GraphDef, name: str) -> str:
    """Op that gives a node its values: the first one before it that does more than pass them on."""
    nodes = {node.name: node for node in definition.node}
    node = nodes[name]
    while node.op == "Identity":
        node = nodes[node.input[0].split(":")[0]]
    return node.op


def write_graph(definition: tf.compat.v1.GraphDef, path: Path) -> None:
    """Write a ``.pb``, whole or not at all."""
    with atomic_write(path) as stream:
        stream.write(definition.SerializeToString())


def write_frozen_saved_model(
    definition: tf.compat.v1.GraphDef, inputs: str, outputs: list[str], folder: Path
) -> None:
    """Write a graph as a SavedModel with the same nodes, tag ``serve`` and one signature.

    Parameters
    ----------
    definition : GraphDef
        From :func:`frozen_graph`.
    inputs : str
        Node of the input.
    outputs : list of str
        Nodes of the outputs.
    folder : Path
        Of the SavedModel; it must not exist.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        tf.graph_util.import_graph_def(definition, name="")
        signature = v1.saved_model.predict_signature_def(
            {inputs: graph.get_tensor_by_name(f"{inputs}:0")},
            {name: graph.get_tensor_by_name(f"{name}:0") for name in outputs},
        )
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.SERVING],
            {tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY: signature},
        )
        builder.save()
