"""A frozen graph as a layer of a Keras model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from playlist_pretrain.errors import ModelError, first_line
from playlist_pretrain.models.frozen_graph import FrozenGraph, without_placeholders

TRIAL_WINDOWS = 3
"""Windows that a graph for any number of them is tried on."""
SMALLEST_WEIGHT = 1024
"""Values from which on a constant is a weight of the layer; smaller ones stay in the graph."""


@dataclass(frozen=True)
class FrozenFunction:
    """A frozen graph that was seen to run.

    Attributes
    ----------
    call : callable
        A concrete function, input of ``shape``, ``*weights`` → the embeddings in float32, with
        ``units`` in the last of any number of axes, all others but the first being 1.
    weights : dict of str to array
        The large constants of the graph, by the names of their nodes.
    shape : tuple of (int or None)
        ``[batch, frames, bands]``, or with one channel behind. A batch that is not None is the
        only one that the graph takes.
    units : int
        Length of an embedding.
    """

    call: Callable[..., tf.Tensor]
    weights: dict[str, np.ndarray]
    shape: tuple[int | None, ...]
    units: int


def frozen_function(graph: FrozenGraph, shape: tuple[int | None, ...], path: Any) -> FrozenFunction:
    """Make a function of a graph and try it on windows of zeros.

    Parameters
    ----------
    graph : FrozenGraph
    shape : tuple of (int or None)
        Of its input, see :class:`FrozenFunction`.
    path : str or Path
        For messages.

    Raises
    ------
    ModelError
        If TensorFlow cannot run it, or it does not give one finite float32 vector a window.
    """
    windows = shape[0] or TRIAL_WINDOWS
    try:
        call, weights = _function(graph, tf.TensorSpec(shape, tf.float32))
        silence = tf.zeros([windows, *shape[1:]])
        answer = call(silence, *map(tf.constant, weights.values())).numpy()
    except Exception as error:  # an attribute, a shape or a kernel: each fails in its own way
        raise ModelError(f"{path}: TensorFlow cannot run it: {first_line(error)}") from error
    if answer.ndim < 2 or answer.size != windows * answer.shape[-1] or len(answer) != windows:
        raise ModelError(
            f"{path}: its output {graph.output!r} has the shape {answer.shape} for {windows} "
            "windows; embeddings are one vector a window"
        )
    if answer.dtype != np.float32 or not np.isfinite(answer).all():
        raise ModelError(f"{path}: its output {graph.output!r} is not finite float32 for silence")
    return FrozenFunction(call, weights, shape, answer.shape[-1])


def _function(graph: FrozenGraph, spec: tf.TensorSpec) -> tuple[Any, dict[str, np.ndarray]]:
    if graph.definition.library.function:
        graph = _inlined(graph, spec)
    # A saved model has its constants once for each function that calls them, its weights once.
    weights, rest = {}, []
    nodes = graph.definition.node
    waited_for = {name[1:] for node in nodes for name in node.input if name.startswith("^")}
    for node in nodes:
        if _is_weight(node) and node.name not in waited_for:
            weights[node.name] = tf.make_ndarray(node.attr["value"].tensor)
        else:
            rest.append(node)
    definition = tf.compat.v1.GraphDef(node=rest, versions=graph.definition.versions)
    graph = replace(graph, definition=definition)
    specs = [tf.TensorSpec(value.shape, value.dtype) for value in weights.values()]

    def embed(windows, *values):
        feeds = {f"{name}:0": value for name, value in zip(weights, values, strict=True)}
        return _imported(graph, windows, feeds)

    function = tf.function(embed, input_signature=[spec, *specs], autograph=False)
    return function.get_concrete_function(), weights


def _is_weight(node: Any) -> bool:
    if node.op != "Const":
        return False
    tensor = node.attr["value"].tensor
    return (
        tensor.dtype == tf.float32.as_datatype_enum
        and len(tensor.tensor_content) >= SMALLEST_WEIGHT * tf.float32.size
    )


def _inlined(graph: FrozenGraph, spec: tf.TensorSpec) -> FrozenGraph:
    """The same without functions: TensorFlow does not find those of an imported graph in loops."""
    function = tf.function(
        lambda windows: _imported(graph, windows, {}), input_signature=[spec], autograph=False
    )
    flat = convert_variables_to_constants_v2(
        function.get_concrete_function(), aggressive_inlining=True
    )
    names = flat.inputs[0].name, flat.outputs[0].name
    definition = without_placeholders(flat.graph.as_graph_def())
    return FrozenGraph(definition, *names, graph.shape, ())


def _imported(graph: FrozenGraph, windows: tf.Tensor, feeds: dict[str, tf.Tensor]) -> tf.Tensor:
    feeds = {
        **feeds,
        graph.input: windows,
        **{name: tf.constant(False) for name in graph.switches},
    }
    return tf.graph_util.import_graph_def(graph.definition, feeds, [graph.output], name="")[0]


class FrozenEmbedding(tf.keras.layers.Layer):
    """``windows float32 [batch, frames, bands] → embeddings float32 [batch, dim]`` of a graph.

    Its weights are not trained, and no gradient goes through. Where the graph takes one batch
    only, windows are filled up with zeros to a whole number of batches, which go through it one
    after the other, as Essentia does it. A saved model has the graph inside and loads in a program
    that does not know this class.

    Parameters
    ----------
    function : FrozenFunction
        Several layers may share one; each has its own copy of the weights.
    """

    def __init__(self, function: FrozenFunction, **kwargs: Any):
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.function = function.call
        self.batch, *self.window = function.shape
        self.units = function.units
        for name, value in function.weights.items():
            initializer = tf.constant_initializer(value)
            self.add_weight(name, value.shape, initializer=initializer, trainable=False)

    def call(self, windows: tf.Tensor) -> tf.Tensor:
        """Embeddings of any number of windows."""
        weights = [tf.convert_to_tensor(weight) for weight in self.weights]
        if self.batch is None:
            embeddings = self.function(tf.reshape(windows, [-1, *self.window]), *weights)
        else:
            missing = -tf.shape(windows)[0] % self.batch
            filled = tf.pad(windows, [[0, missing], [0, 0], [0, 0]])
            embeddings = tf.map_fn(
                lambda part: tf.reshape(self.function(part, *weights), [self.batch, self.units]),
                tf.reshape(filled, [-1, self.batch, *self.window]),
                fn_output_signature=tf.TensorSpec([self.batch, self.units], tf.float32),
                parallel_iterations=1,
            )
        embeddings = tf.reshape(embeddings, [-1, self.units])[: tf.shape(windows)[0]]
        return tf.stop_gradient(embeddings)

    def get_config(self) -> dict[str, Any]:
        """What it is, for people; the graph itself is no part of it."""
        return {**super().get_config(), "batch": self.batch, "units": self.units}
