"""Frozen graphs from elsewhere as Keras models, checked before they run.

Only the nodes that the output needs are handed to TensorFlow, and only after each of them, and of
the functions they call, was found among the :data:`~playlist_pretrain.models.trust.OPS`.

Essentia's models (https://essentia.upf.edu/models/) are a graph ``NAME.pb`` with ``NAME.json``
beside it, which names the graph's tensors and the algorithm of Essentia that makes its mels.
"""

from __future__ import annotations

import functools
import graphlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from playlist_pretrain.audio.front_end import PRESETS, FrontEnd
from playlist_pretrain.delimited import listed
from playlist_pretrain.errors import ModelError, first_line
from playlist_pretrain.files import content_key, parse_json, whole
from playlist_pretrain.models.trust import calls_of, check_ops
from playlist_pretrain.stack import with_constants

TRIAL_WINDOWS = 3
"""Windows that a graph of any batch size is tried on."""
SMALLEST_WEIGHT = 1024
"""Values from which on a constant is a weight of the layer; smaller ones stay in the graph."""


@dataclass(frozen=True)
class FrozenGraph:
    """Part of a frozen graph that leads from one input tensor to one output tensor."""

    definition: tf.compat.v1.GraphDef
    """Nodes and functions that the output needs, without placeholders."""
    input: str
    output: str
    shape: tuple[int | None, ...] | None
    """Of the input, as far as the graph states it."""
    switches: tuple[str, ...] = ()
    """Placeholders that switch training on; they are fed False."""


def read_graph(
    content: bytes, input_name: str, output_name: str, path: Any, *, trust: bool = False
) -> FrozenGraph:
    """Extract the part of a GraphDef (a ``.pb`` file) between an input and an output, and check it.

    Names are of nodes, or of their tensors (``node:0``); ``path`` is for messages. Raises
    ModelError for a damaged graph, one without such an input and output, or, unless you ``trust``
    it, an op that is not among :data:`~playlist_pretrain.models.trust.OPS`.
    """
    try:
        graph = tf.compat.v1.GraphDef.FromString(content)
    except Exception as error:  # DecodeError, of whichever protobuf is installed
        raise ModelError(f"{path}: not a frozen graph (GraphDef), or damaged: {error}") from error
    if not graph.node:
        raise ModelError(f"{path}: not a frozen graph (GraphDef): it has no nodes")
    nodes = {node.name: node for node in graph.node}
    if len(nodes) < len(graph.node):
        raise ModelError(f"{path}: damaged: several of its nodes have the same name")
    for what, name in (("input", input_name), ("output", output_name)):
        if name.split(":")[0] not in nodes or not re.fullmatch(r"[^:]+(:[0-9]+)?", name):
            raise ModelError(f"{path}: no node {name!r}, which its JSON names as {what}")
    input_node = input_name.split(":")[0]
    needed = _needed(nodes, output_name.split(":")[0], path)
    if input_node not in needed:
        raise ModelError(f"{path}: its output {output_name!r} does not depend on {input_name!r}")
    inputs = {name: node for name, node in needed.items() if node.op == "Placeholder"}
    body = [node for node in needed.values() if node.op != "Placeholder"]
    if not trust:
        check_ops(body, path)
    functions = {function.signature.name: function for function in graph.library.function}
    called = _called(body, functions, path)
    for name in [] if trust else called:
        check_ops(functions[name].node_def, path, f" of function {name!r}")
    shape = _check_inputs(inputs, input_node, path)
    definition = tf.compat.v1.GraphDef(node=needed.values(), versions=graph.versions)
    definition.library.function.extend(functions[name] for name in called)
    _clean(definition)
    taken = {tensor for node in body for tensor in node.input}
    switches = (name for name in inputs if name != input_node)
    return FrozenGraph(
        without_placeholders(definition),
        f"{input_node}:0",
        output_name if ":" in output_name else f"{output_name}:0",
        shape,
        tuple(f"{name}:0" for name in switches if {name, f"{name}:0"} & taken),
    )


def without_placeholders(definition: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Remove the placeholders, which are to be fed, and control inputs from them."""
    gone = {f"^{node.name}" for node in definition.node if node.op == "Placeholder"}
    rest = tf.compat.v1.GraphDef(
        node=[node for node in definition.node if node.op != "Placeholder"],
        versions=definition.versions,
        library=definition.library,
    )
    for node in rest.node:
        node.input[:] = [name for name in node.input if name not in gone]
    return rest


def _needed(nodes: Mapping[str, Any], output: str, path: Any) -> dict[str, Any]:
    """Collect the nodes that the output depends on."""
    needed, waiting = {output: nodes[output]}, [output]
    while waiting:
        name = waiting.pop()
        for tensor in nodes[name].input:
            source = tensor.removeprefix("^").split(":")[0]
            if source not in nodes:
                raise ModelError(
                    f"{path}: damaged: node {name!r} takes {source!r}, which it has not"
                )
            if source not in needed:
                needed[source] = nodes[source]
                waiting.append(source)
    return needed


def _called(nodes: Iterable[Any], functions: Mapping[str, Any], path: Any) -> list[str]:
    """Collect the functions that nodes call, directly or not, callees first."""
    calls: dict[str, set[str]] = {}
    waiting = list(calls_of(nodes))
    while waiting:
        name = waiting.pop()
        if name not in functions:
            raise ModelError(f"{path}: damaged: it calls the function {name!r}, which it has not")
        if name not in calls:
            calls[name] = set(calls_of(functions[name].node_def))
            waiting += calls[name]
    try:
        return list(graphlib.TopologicalSorter(calls).static_order())
    except graphlib.CycleError as error:
        raise ModelError(f"{path}: its function {error.args[1][0]!r} calls itself") from None


def _check_inputs(inputs: Mapping[str, Any], name: str, path: Any) -> tuple[int | None, ...] | None:
    """Return the shape of the input; a bool placeholder beside it is a switch of training."""
    kinds = {other: node.attr["dtype"].type for other, node in inputs.items()}
    if kinds.pop(name, None) != tf.float32.as_datatype_enum:
        raise ModelError(f"{path}: its input {name!r} is no placeholder for float32")
    for other, kind in kinds.items():
        if kind != tf.bool.as_datatype_enum:
            raise ModelError(f"{path}: it needs another input beside {name!r}: {other!r}")
    # No dimensions mean that the shape is unknown, as the first versions of TensorFlow wrote it.
    sides = inputs[name].attr["shape"].shape.dim
    return tuple(side.size if side.size > 0 else None for side in sides) or None


def _clean(definition: tf.compat.v1.GraphDef) -> None:
    """Remove devices, compiler hints and settings of calls."""
    functions = definition.library.function
    nodes = [*definition.node, *(node for function in functions for node in function.node_def)]
    for node in nodes:
        node.device = ""
        for name in {"config", "config_proto", "executor_type"} & set(node.attr):
            node.attr[name].s = b""
    for owner in (*nodes, *functions):
        for name in [name for name in owner.attr if name.startswith("_")]:
            del owner.attr[name]


@dataclass(frozen=True)
class FrozenFunction:
    """A frozen graph as a function that was seen to run."""

    call: Callable[..., tf.Tensor]
    """Concrete function: input of ``shape``, ``*weights`` → embeddings float32, with ``units`` in
    the last of any number of axes, all others but the first being 1."""
    weights: dict[str, np.ndarray]
    """Large constants of the graph, by the names of their nodes."""
    shape: tuple[int | None, ...]
    """``[batch, frames, bands]``, or with one channel behind. A batch that is not None is the only
    one that the graph takes."""
    units: int
    """Length of an embedding."""


def frozen_function(graph: FrozenGraph, shape: tuple[int | None, ...], path: Any) -> FrozenFunction:
    """Make a function of a graph whose input has a ``shape``, and try it on windows of zeros.

    Raises ModelError if TensorFlow cannot run it, or it does not give one finite float32 vector a
    window.
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
        # Inlined: TensorFlow does not find the functions of an imported graph inside loops.
        function = tf.function(
            lambda windows: _imported(graph, windows, {}), input_signature=[spec], autograph=False
        )
        flat = with_constants(function.get_concrete_function(), aggressive_inlining=True)
        definition = without_placeholders(flat.graph.as_graph_def())
        names = flat.inputs[0].name, flat.outputs[0].name
        graph = FrozenGraph(definition, *names, graph.shape)
    # A saved model has its constants once for each function that calls them, its weights once.
    weights, rest = {}, []
    nodes = graph.definition.node
    waited_for = {name[1:] for node in nodes for name in node.input if name.startswith("^")}
    for node in nodes:
        tensor = node.attr["value"].tensor if node.op == "Const" else None
        if (
            tensor is not None
            and node.name not in waited_for
            and tensor.dtype == tf.float32.as_datatype_enum
            and len(tensor.tensor_content) >= SMALLEST_WEIGHT * tf.float32.size
        ):
            weights[node.name] = tf.make_ndarray(tensor)
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


def _imported(graph: FrozenGraph, windows: tf.Tensor, feeds: dict[str, tf.Tensor]) -> tf.Tensor:
    switches = {name: tf.constant(False) for name in graph.switches}
    feeds = {**feeds, graph.input: windows, **switches}
    return tf.graph_util.import_graph_def(graph.definition, feeds, [graph.output], name="")[0]


class FrozenEmbedding(tf.keras.layers.Layer):
    """``windows float32 [batch, frames, bands] → embeddings float32 [batch, dim]`` of a graph.

    Its weights are not trained, and no gradient goes through. Where the graph takes one batch
    size only, windows are padded with zeros to a whole number of batches, which go through it one
    after the other, as in Essentia. A saved model has the graph inside and loads in a program
    without this class. Several layers may share a function; each has its own copy of the weights.
    """

    def __init__(self, function: FrozenFunction, **kwargs: Any):
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.frozen = function
        for name, value in function.weights.items():
            initializer = tf.constant_initializer(value)
            self.add_weight(name, value.shape, initializer=initializer, trainable=False)

    def call(self, windows: tf.Tensor) -> tf.Tensor:
        """Embed any number of windows."""
        weights = [tf.convert_to_tensor(weight) for weight in self.weights]
        (batch, *window), units = self.frozen.shape, self.frozen.units
        if batch is None:
            embeddings = self.frozen.call(tf.reshape(windows, [-1, *window]), *weights)
        else:
            missing = -tf.shape(windows)[0] % batch
            filled = tf.pad(windows, [[0, missing], [0, 0], [0, 0]])
            embeddings = tf.map_fn(
                lambda part: tf.reshape(self.frozen.call(part, *weights), [batch, units]),
                tf.reshape(filled, [-1, batch, *window]),
                fn_output_signature=tf.TensorSpec([batch, units], tf.float32),
                parallel_iterations=1,
            )
        embeddings = tf.reshape(embeddings, [-1, units])[: tf.shape(windows)[0]]
        return tf.stop_gradient(embeddings)

    def get_config(self) -> dict[str, Any]:
        """Return a description; the graph itself is no part of it."""
        return {**super().get_config(), "batch": self.frozen.shape[0], "units": self.frozen.units}


ALGORITHMS = {
    "TensorflowPredictMusiCNN": "musicnn",
    "TensorflowPredictEffnetDiscogs": "musicnn",
    "TensorflowPredictVGGish": "vggish-essentia",
}
"""Algorithm of Essentia to the preset that makes the same log-mels."""


def read_essentia(path: Path, *, trust: bool = False) -> tuple[tf.keras.Model, FrontEnd, str]:
    """Read the ``.pb`` of a model that Essentia publishes, or that ``export`` made for Essentia.

    Returns the model, without weights to train and float32 whatever the policy; the front end of
    its log-mels; and a hash of the graph and the names of its input and output. Raises ModelError
    where one of the two files is missing, damaged or refused, or they disagree.
    """
    content = _content(path, "no such file")
    json_path = path.with_suffix(".json")
    folder = "; a SavedModel is given by its folder" if path.name == "saved_model.pb" else ""
    text = _content(json_path, f"{path} needs this file beside it{folder}")
    with whole(json_path, "description of a model", ModelError):
        metadata = parse_json(text)
        own = "front_end" in metadata  # in packages of this program
        front_end: Any = FrontEnd.from_dict(metadata["front_end"]) if own else None
    field = functools.partial(_field, json_path, metadata)
    algorithm = field(str, "inference", "algorithm")
    if front_end is None:
        if algorithm not in ALGORITHMS:
            raise ModelError(
                f"{json_path}: made for {algorithm!r}, of which there is no front end here; there "
                f"are those of {listed(list(ALGORITHMS))}"
            )
        front_end = PRESETS[ALGORITHMS[algorithm]]
    rate = field((int, float), "inference", "sample_rate")
    if rate != front_end.sample_rate:
        raise ModelError(
            f"{json_path}: sample_rate {rate!r}; {algorithm} takes {front_end.sample_rate}"
        )
    names = field(str, "schema", "inputs", 0, "name"), _embeddings(json_path, field)
    graph = read_graph(content, *names, path, trust=trust)
    shape = _shape(path, graph, field(list, "schema", "inputs", 0, "shape"))
    if shape[2] != front_end.bands:
        raise ModelError(
            f"{path}: takes {shape[2]} bands, the mels of {algorithm} have {front_end.bands}"
        )
    function = frozen_function(graph, shape, path)
    inputs = tf.keras.layers.Input(shape[1:3], name="melspectrogram")
    embedding = FrozenEmbedding(function, name="frozen_graph")(inputs)
    model = tf.keras.Model(inputs, embedding, name="essentia")
    return model, front_end, content_key(content, *(name.encode() for name in names))


def _content(path: Path, missing: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: missing: {missing}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def _field(path: Path, metadata: Any, kind: type | tuple[type, ...], *keys: str | int) -> Any:
    """Return the value of the JSON at ``keys``, if of the right kind."""
    value = metadata
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            value = None
    if not isinstance(value, kind) or isinstance(value, bool):
        name = ".".join(map(str, keys))
        raise ModelError(f"{path}: {name} is missing or not what the models of Essentia have there")
    return value


def _embeddings(path: Path, field: Any) -> str:
    """Return the name of the one output whose purpose is embeddings."""
    count = len(field(list, "schema", "outputs"))
    outputs = [
        (field(str, "schema", "outputs", i, "name"), field(dict, "schema", "outputs", i))
        for i in range(count)
    ]
    found = [name for name, output in outputs if output.get("output_purpose") == "embeddings"]
    if len(found) != 1:
        there_are = ", ".join(
            f"{name!r} ({output.get('output_purpose')})" for name, output in outputs
        )
        raise ModelError(
            f"{path}: {len(found) or 'no'} outputs of purpose embeddings, one is needed; its "
            f"outputs are: {there_are or 'none'}"
        )
    return found[0]


def _shape(path: Path, graph: FrozenGraph, described: list) -> tuple[int | None, ...]:
    """Return the shape of the graph's input; sides that the graph leaves open come from the JSON.

    The JSON has ``[frames, bands]``, perhaps after the only batch size the graph takes.
    """
    sides = [side if isinstance(side, int) and side > 0 else None for side in described]
    if len(sides) == 2:
        sides = [None, *sides]
    if graph.shape is None:
        shape = sides
    else:
        shape = [*graph.shape]
        # The graph's word on its batch is the last one.
        for axis, side in enumerate(sides[:3]):
            if 0 < axis < len(shape) and shape[axis] is None:
                shape[axis] = side
            elif 0 < axis < len(shape) and side not in (None, shape[axis]):
                raise ModelError(
                    f"{path}: takes {list(graph.shape)}, but its JSON says {described}"
                )
    window = shape[1:3]
    if len(shape) not in (3, 4) or None in window or shape[3:] not in ([], [1]):
        raise ModelError(
            f"{path}: takes {shape}, which is not windows of frames and bands "
            f"([batch, frames, bands], perhaps with one channel); its JSON says {described}"
        )
    return tuple(shape)
