"""The part of a frozen TensorFlow graph that embeddings need, looked at before it is run.

A graph from elsewhere is a program: TensorFlow has ops that read and write files, call Python or
open connections. Only what the output needs is ever handed to TensorFlow, and only after each
node of it, and of the functions it calls, was found among :data:`OPS`.

A frozen graph as a layer of a Keras model.

Models that Essentia publishes: a frozen graph ``NAME.pb`` with ``NAME.json`` beside it.

The JSON is that of https://essentia.upf.edu/models/: it names the tensors of the graph and the
algorithm of Essentia that makes its mels, for which this package has a front end.
"""

from __future__ import annotations

import functools
import graphlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from playlist_pretrain.audio.front_end import PRESETS, FrontEnd
from playlist_pretrain.delimited import listed
from playlist_pretrain.errors import ModelError, first_line
from playlist_pretrain.files import content_key

_ARRAYS = """
    Const Identity IdentityN NoOp PlaceholderWithDefault Snapshot StopGradient PreventGradient
    EnsureShape Cast Shape ShapeN Size Rank Reshape Squeeze ExpandDims Transpose Concat ConcatV2
    Split SplitV Slice StridedSlice Pack Unpack Tile Fill ZerosLike OnesLike Range Gather GatherV2
    GatherNd ScatterNd Where InvertPermutation BroadcastTo BroadcastArgs Reverse ReverseV2 Pad PadV2
    MirrorPad OneHot
"""
_ELEMENTS = """
    Add AddV2 AddN BiasAdd BiasAddV1 Sub Mul MulNoNan Div RealDiv DivNoNan FloorDiv FloorMod
    Maximum Minimum Neg Abs Sign Square SquaredDifference Sqrt Rsqrt Reciprocal Inv Pow Exp Expm1
    Log Log1p Floor Ceil Round Rint Erf Sin Cos ClipByValue IsNan IsInf IsFinite Equal NotEqual Less
    LessEqual Greater GreaterEqual LogicalAnd LogicalOr LogicalNot Select SelectV2 Relu Relu6
    LeakyRelu Elu Selu Softplus Softsign Sigmoid Tanh Softmax LogSoftmax
"""
_LAYERS = """
    Sum Mean Max Min Prod All Any ArgMax ArgMin Cumsum TopKV2 MatMul BatchMatMul BatchMatMulV2
    Einsum Conv2D Conv2DBackpropInput Conv3D DepthwiseConv2dNative MaxPool MaxPoolV2 AvgPool
    MaxPool3D AvgPool3D FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 LRN SpaceToBatchND
    BatchToSpaceND SpaceToDepth DepthToSpace ResizeBilinear ResizeNearestNeighbor
"""
# Dropout and batch normalisation have the first ones, behind the switch of training. There are no
# loops among them, so that whatever is run comes to an end; functions are looked at node by node.
_FLOW = "RandomUniform Switch Merge StatelessIf If PartitionedCall StatefulPartitionedCall"
OPS = frozenset(f"{_ARRAYS} {_ELEMENTS} {_LAYERS} {_FLOW}".split())
"""What a graph may be made of: mathematics on arrays, without effect outside of them."""

_TENSOR = re.compile(r"[^:]+(:[0-9]+)?")


@dataclass(frozen=True)
class FrozenGraph:
    """The part of a frozen graph that leads from one input to one output.

    Attributes
    ----------
    definition : GraphDef
        Nodes and functions that the output needs, all of them of :data:`OPS`.
    input, output : str
        Names of tensors.
    shape : tuple of (int or None), or None
        Of the input, as far as the graph says it.
    switches : tuple of str
        Placeholders that say whether the model is being trained: it is not.
    """

    definition: tf.compat.v1.GraphDef
    input: str
    output: str
    shape: tuple[int | None, ...] | None
    switches: tuple[str, ...]


def read_graph(content: bytes, input_name: str, output_name: str, path: Any) -> FrozenGraph:
    """Take what leads from an input to an output out of a GraphDef, and look at it.

    Parameters
    ----------
    content : bytes
        Of a ``.pb`` file, a serialised GraphDef.
    input_name, output_name : str
        Nodes, or their tensors (``node:0``).
    path : str or Path
        For messages.

    Raises
    ------
    ModelError
        It is no GraphDef or a damaged one; a node is missing; the input takes no windows, or
        there is another one; the output does not depend on it; or it takes an op that is none of
        :data:`OPS`, which is named with its node.
    """
    try:
        graph = tf.compat.v1.GraphDef.FromString(content)
    except Exception as error:  # DecodeError, of whichever protobuf there is
        raise ModelError(f"{path}: not a frozen graph (GraphDef), or damaged: {error}") from error
    if not graph.node:
        raise ModelError(f"{path}: not a frozen graph (GraphDef): it has no nodes")
    nodes = {node.name: node for node in graph.node}
    if len(nodes) < len(graph.node):
        raise ModelError(f"{path}: damaged: several of its nodes have the same name")
    for what, name in (("input", input_name), ("output", output_name)):
        if name.split(":")[0] not in nodes or not _TENSOR.fullmatch(name):
            raise ModelError(f"{path}: no node {name!r}, which its JSON names as {what}")
    input_node, output_node = _node_of(input_name), _node_of(output_name)
    needed = _needed(nodes, output_node, path)
    if input_node not in needed:
        raise ModelError(f"{path}: its output {output_name!r} does not depend on {input_name!r}")
    functions = {function.signature.name: function for function in graph.library.function}
    inputs = [node for node in needed.values() if node.op == "Placeholder"]
    body = [node for node in needed.values() if node.op != "Placeholder"]
    _check_ops(body, path)
    called = _called(body, functions, path)
    for name in called:
        _check_ops(functions[name].node_def, path, f" of function {name!r}")
    shape = _check_inputs(inputs, input_node, path)
    definition = tf.compat.v1.GraphDef(node=needed.values(), versions=graph.versions)
    definition.library.function.extend(functions[name] for name in called)
    _clean(definition)
    definition = without_placeholders(definition)
    taken = {tensor for node in body for tensor in node.input}
    switches = (node.name for node in inputs if node.name != input_node)
    switches = tuple(f"{name}:0" for name in switches if {name, f"{name}:0"} & taken)
    return FrozenGraph(definition, f"{input_node}:0", _tensor(output_name), shape, switches)


def without_placeholders(definition: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """A graph whose placeholders are to be fed: without them, and with nothing that awaits them."""
    gone = {f"^{node.name}" for node in definition.node if node.op == "Placeholder"}
    body = [node for node in definition.node if node.op != "Placeholder"]
    rest = tf.compat.v1.GraphDef(
        node=body, versions=definition.versions, library=definition.library
    )
    for node in rest.node:
        node.input[:] = [name for name in node.input if name not in gone]
    return rest


def _node_of(tensor: str) -> str:
    """Name of the node of ``node``, ``node:1`` or ``^node``."""
    return tensor.removeprefix("^").split(":")[0]


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _needed(nodes: Mapping[str, Any], output: str, path: Any) -> dict[str, Any]:
    """Nodes that the output takes, and what these take, and so on."""
    needed, waiting = {output: nodes[output]}, [output]
    while waiting:
        name = waiting.pop()
        for tensor in nodes[name].input:
            source = _node_of(tensor)
            if source not in nodes:
                raise ModelError(
                    f"{path}: damaged: node {name!r} takes {source!r}, which it has not"
                )
            if source not in needed:
                needed[source] = nodes[source]
                waiting.append(source)
    return needed


def _called(nodes: Iterable[Any], functions: Mapping[str, Any], path: Any) -> list[str]:
    """Functions that nodes call, and those that these call, and so on."""
    calls: dict[str, set[str]] = {}
    waiting = list(_calls_of(nodes))
    while waiting:
        name = waiting.pop()
        if name not in functions:
            raise ModelError(f"{path}: damaged: it calls the function {name!r}, which it has not")
        if name not in calls:
            calls[name] = set(_calls_of(functions[name].node_def))
            waiting += calls[name]
    try:
        return list(graphlib.TopologicalSorter(calls).static_order())
    except graphlib.CycleError as error:
        raise ModelError(f"{path}: its function {error.args[1][0]!r} calls itself") from None


def _calls_of(nodes: Iterable[Any]) -> Iterator[str]:
    for node in nodes:
        for value in node.attr.values():
            yield from _functions_in(value)


def _functions_in(value: Any) -> Iterator[str]:
    """Functions that an attribute names, or the attributes that it gives to one of these."""
    for function in [value.func] if value.HasField("func") else value.list.func:
        yield function.name
        for inner in function.attr.values():
            yield from _functions_in(inner)


def _check_ops(nodes: Iterable[Any], path: Any, where: str = "") -> None:
    for node in nodes:
        if node.op not in OPS:
            raise ModelError(
                f"{path}: node {node.name!r}{where} is of the op {node.op!r}: refused, it is none "
                "of the mathematics on arrays that embeddings are made of"
            )


def _check_inputs(inputs: Iterable[Any], name: str, path: Any) -> tuple[int | None, ...] | None:
    """Shape of the one input; a placeholder of a bool beside it is a switch of training."""
    by_name = {node.name: node for node in inputs}
    node = by_name.pop(name, None)
    if node is None or node.attr["dtype"].type != tf.float32.as_datatype_enum:
        raise ModelError(f"{path}: its input {name!r} is no placeholder for float32")
    for other in by_name.values():
        if other.attr["dtype"].type != tf.bool.as_datatype_enum:
            raise ModelError(f"{path}: it needs another input beside {name!r}: {other.name!r}")
    shape = node.attr["shape"].shape
    if not shape.dim:  # unknown; the first versions of TensorFlow had no other word for it
        return None
    return tuple(side.size if side.size > 0 else None for side in shape.dim)


def _clean(definition: tf.compat.v1.GraphDef) -> None:
    """Take off what says how and where to run: devices, hints to compilers, settings of calls."""
    for node in definition.node:
        _clean_node(node)
    for function in definition.library.function:
        _drop_hidden(function.attr)
        for node in function.node_def:
            _clean_node(node)


def _clean_node(node: Any) -> None:
    node.device = ""
    _drop_hidden(node.attr)
    for name in ("config", "config_proto", "executor_type"):
        if name in node.attr:
            node.attr[name].s = b""


def _drop_hidden(attributes: Any) -> None:
    for name in [name for name in attributes if name.startswith("_")]:
        del attributes[name]


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


FRONT_ENDS = {
    "TensorflowPredictMusiCNN": "musicnn",
    "TensorflowPredictEffnetDiscogs": "musicnn",
    "TensorflowPredictVGGish": "vggish-essentia",
}
"""Algorithm of Essentia to the preset that makes the same log-mels."""


@dataclass(frozen=True)
class EssentiaPackage:
    """A published model that gives embeddings.

    Attributes
    ----------
    front_end : FrontEnd
        Makes its log-mels.
    key : str
        Changes with the graph, and with the tensors that are used of it.
    function : FrozenFunction
        The graph from log-mels to embeddings.
    """

    front_end: FrontEnd
    key: str
    function: FrozenFunction

    @property
    def frames(self) -> int:
        """Frames of a window."""
        return self.function.shape[1]

    def backbone(self) -> tf.keras.Model:
        """A new ``melspectrogram float32 [batch, frames, bands] → embedding float32 [batch, dim]``.

        It has no weights to train and is float32 whatever the policy.
        """
        inputs = tf.keras.layers.Input(self.function.shape[1:3], name="melspectrogram")
        embedding = FrozenEmbedding(self.function, name="frozen_graph")(inputs)
        return tf.keras.Model(inputs, embedding, name="essentia")


def read_package(path: str | Path) -> EssentiaPackage:
    """Read a published model.

    Parameters
    ----------
    path : str or Path
        Of the ``.pb``; its JSON has the same name but for the ending.

    Raises
    ------
    ModelError
        Names the file: one of the two is missing or damaged; the JSON names no output as
        embeddings, or an algorithm that no front end stands for; the two disagree; or the graph
        is refused, see :func:`~playlist_pretrain.models.frozen.read_graph` and
        :func:`~playlist_pretrain.models.frozen.frozen_function`.
    """
    path = Path(path)
    content = _content(path, "no such file")
    json_path = path.with_suffix(".json")
    folder = "; a SavedModel is given by its folder" if path.name == "saved_model.pb" else ""
    try:
        metadata = json.loads(_content(json_path, f"{path} needs this file beside it{folder}"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{json_path}: not JSON, or damaged: {error}") from error
    field = functools.partial(_field, json_path, metadata)
    algorithm = field(str, "inference", "algorithm")
    if algorithm not in FRONT_ENDS:
        raise ModelError(
            f"{json_path}: made for {algorithm!r}, of which there is no front end here; there are "
            f"those of {listed(list(FRONT_ENDS))}"
        )
    front_end = PRESETS[FRONT_ENDS[algorithm]]
    rate = field((int, float), "inference", "sample_rate")
    if rate != front_end.sample_rate:
        raise ModelError(
            f"{json_path}: sample_rate {rate!r}; {algorithm} takes {front_end.sample_rate}"
        )
    names = field(str, "schema", "inputs", 0, "name"), _embeddings(json_path, field)
    graph = read_graph(content, *names, path)
    shape = _shape(path, graph, field(list, "schema", "inputs", 0, "shape"))
    if shape[2] != front_end.bands:
        raise ModelError(
            f"{path}: takes {shape[2]} bands, the mels of {algorithm} have {front_end.bands}"
        )
    key = content_key(content, *(name.encode() for name in names))
    return EssentiaPackage(front_end, key, frozen_function(graph, shape, path))


def _content(path: Path, missing: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: missing: {missing}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def _field(path: Path, metadata: Any, kind: type | tuple[type, ...], *keys: str | int) -> Any:
    """What the JSON has at ``keys``."""
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
    """Name of the one output whose purpose is embeddings."""
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
    """Shape of the graph's input: what the graph leaves open, the JSON says.

    The JSON has ``[frames, bands]``, or the only batch the graph takes before them.
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
