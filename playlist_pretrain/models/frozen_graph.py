"""The part of a frozen TensorFlow graph that embeddings need, looked at before it is run.

A graph from elsewhere is a program: TensorFlow has ops that read and write files, call Python or
open connections. Only what the output needs is ever handed to TensorFlow, and only after each
node of it, and of the functions it calls, was found among :data:`OPS`.
"""

from __future__ import annotations

import graphlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from playlist_pretrain.errors import ModelError

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
