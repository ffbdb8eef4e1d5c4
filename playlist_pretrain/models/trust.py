"""Checks of the operations and layers of a model from elsewhere, before any of it is loaded.

A model is a program: TensorFlow has ops that read and write files, call Python or open connections,
and Keras has layers that are Python code or read a file when they are made. So a model is read as
data first, and refused unless each of its ops is among :data:`OPS` or :data:`SAVED_OPS` and each of
its layers is one of Keras or keras-cv that only computes.
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import json
import math
import re
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from playlist_pretrain.errors import ModelError
from playlist_pretrain.files import atomic_write, read_whole, whole

# There are no loops among them, so that whatever is run comes to an end; functions are looked at
# node by node. Dropout and batch normalisation have the last ones, behind the switch of training.
_MATHEMATICS = """
    Const Identity IdentityN NoOp PlaceholderWithDefault Snapshot StopGradient PreventGradient
    EnsureShape Cast Shape ShapeN Size Rank Reshape Squeeze ExpandDims Transpose Concat ConcatV2
    Split SplitV Slice StridedSlice Pack Unpack Tile Fill ZerosLike OnesLike Range Gather GatherV2
    GatherNd ScatterNd Where InvertPermutation BroadcastTo BroadcastArgs Reverse ReverseV2 Pad PadV2
    MirrorPad OneHot
    Add AddV2 AddN BiasAdd BiasAddV1 Sub Mul MulNoNan Div RealDiv DivNoNan FloorDiv FloorMod
    Maximum Minimum Neg Abs Sign Square SquaredDifference Sqrt Rsqrt Reciprocal Inv Pow Exp Expm1
    Log Log1p Floor Ceil Round Rint Erf Sin Cos ClipByValue IsNan IsInf IsFinite Equal NotEqual Less
    LessEqual Greater GreaterEqual LogicalAnd LogicalOr LogicalNot Select SelectV2 Relu Relu6
    LeakyRelu Elu Selu Softplus Softsign Sigmoid Tanh Softmax LogSoftmax
    Sum Mean Max Min Prod All Any ArgMax ArgMin Cumsum TopKV2 MatMul BatchMatMul BatchMatMulV2
    Einsum Conv2D Conv2DBackpropInput Conv3D DepthwiseConv2dNative MaxPool MaxPoolV2 AvgPool
    MaxPool3D AvgPool3D FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 LRN SpaceToBatchND
    BatchToSpaceND SpaceToDepth DepthToSpace ResizeBilinear ResizeNearestNeighbor
    PartitionedCall StatefulPartitionedCall RandomUniform Switch Merge StatelessIf If
"""
OPS = frozenset(_MATHEMATICS.split())
"""Ops that any graph may have: mathematics on arrays, without effect outside of them."""
_SAVED = """
    While StatelessWhile Case StatelessCase TensorListReserve TensorListFromTensor
    TensorListGetItem TensorListSetItem TensorListStack TensorListGather TensorListConcatV2
    TensorListLength TensorListResize TensorListPushBack TensorListPopBack EmptyTensorList
    Placeholder VarHandleOp ReadVariableOp AssignVariableOp AssignAddVariableOp AssignSubVariableOp
    Assert
    DecodeRaw StringLength Substr RFFT Real Imag
    ConcatOffset Erfc L2Loss ReverseSequence StridedSliceGrad CudnnRNN CudnnRNNBackprop CudnnRNNV3
    CudnnRNNBackpropV3 RandomStandardNormal TruncatedNormal RandomUniformInt
    StatelessRandomGetKeyCounter StatelessRandomUniformV2 StatelessRandomNormalV2
"""
SAVED_OPS = OPS | frozenset(_SAVED.split())
"""Ops that a SavedModel may have: loops, weights and the decoding of wav files besides."""
_SAVING = """
    SaveV2 RestoreV2 MergeV2Checkpoints ShardedFilename StringJoin StaticRegexFullMatch
    DisableCopyOnRead
"""
SAVING_OPS = SAVED_OPS | frozenset(_SAVING.split())
"""Ops of the two functions that read and write the weights, which are not loaded."""

_WITH_CODE_OR_FILES = {
    "Lambda", "DenseFeatures", "TFSMLayer", "IntegerLookup", "StringLookup", "TextVectorization",
}  # fmt: skip
_PARTS = {
    "Functional", "Sequential", "ConvLSTMCell", "Policy", "TensorShape", "TypeSpec", "__tuple__",
    "__ellipsis__",
    "FrozenEmbedding",  # of frozen.py; it is loaded by its functions, which are looked at
}  # fmt: skip
_GRAPH, _LAYERS_FILE = "saved_model.pb", "keras_metadata.pb"
_FUNCTION = re.compile(
    r"(__operators__|math|nn|linalg|signal)\.[a-z]\w*|image\.resize|concat|reshape|expand_dims|"
    r"squeeze|transpose|cast|stack|unstack|split|tile|pad|reverse|gather|where|zeros_like|ones_like|"
    r"identity|stop_gradient|shape|clip_by_value|einsum|tensordot|norm|slice|strided_slice|repeat|"
    r"range|broadcast_to|one_hot|rank|size"
)
_REGISTERED = re.compile(r"[\w.]+>\w+")
# What else keras-cv registers fetches weights and data sets, reads files, or draws pictures.
_KERAS_CV = """
    DropBlock2D DropPath FeaturePyramid FusedMBConvBlock HierarchicalTransformerEncoder MBConvBlock
    OverlappingPatchingAndEmbedding PatchingAndEmbedding Rescaling Resizing
    SegFormerMultiheadAttention SpatialPyramidPooling SqueezeAndExcite2D StochasticDepth
    TransformerEncoder
"""
_KERAS_CV_LAYERS = {f"keras_cv>{name}" for name in _KERAS_CV.split()}
_MODULE = re.compile(
    r"builtins|(keras|tf_keras|keras_cv)(\.\w+)*|playlist_pretrain\.models\.frozen"
)
TRUST = "if you made it or know who did, --trust-model (trust=True) loads it all the same"


@contextlib.contextmanager
def checked_copy(path: Path) -> Iterator[Path]:
    """Read a SavedModel of Keras as data, and give a folder with the parts of it to load.

    Raises ModelError for an op or a layer that it may not have. Nothing is run, restored or
    imported that its files name. What the folder has was looked at, whatever becomes of the files
    meanwhile: the layers and the functions that they call, beside the weights, which are data.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    keras = tf.keras.Model.__module__.split(".")[0]  # keras, or tf_keras
    metadata = importlib.import_module(f"{keras}.protobuf.saved_metadata_pb2").SavedMetadata
    with whole(path, "SavedModel of Keras", ModelError):
        saved = SavedModel.FromString(read_whole(path / _GRAPH))
        # Without this file Keras would take what an older version wrote into the other one.
        layers = read_whole(path / _LAYERS_FILE)
        _check_layers(metadata.FromString(layers), path)
        check_checkpoint(path / "variables" / "variables")
        for graph in saved.meta_graphs:
            _check_graph(graph, path)
        if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].object_graph_def.nodes:
            raise ValueError("not one graph with its objects")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in ((_GRAPH, saved.SerializeToString()), (_LAYERS_FILE, layers)):
            with atomic_write(folder / file, sync=False) as stream:
                stream.write(content)
        (folder / "variables").mkdir()
        for part in (path / "variables").glob("variables.*"):
            if part.is_file():  # opening a pipe would wait for ever
                (folder / "variables" / part.name).symlink_to(part.absolute())
        yield folder


def check_ops(
    nodes: Iterable[Any], path: Any, where: str = "", allowed: frozenset[str] = OPS
) -> None:
    """Raise ModelError for a node whose op is not ``allowed``, or a constant of two types."""
    for node in nodes:
        if node.op == "Const" and node.attr["dtype"].type != node.attr["value"].tensor.dtype:
            raise ModelError(  # where a number is wanted TensorFlow would end the process
                f"{path}: node {node.name!r}{where}: a constant of another type than its value"
            )
        if node.op not in allowed:
            raise ModelError(
                f"{path}: node {node.name!r}{where} is of the op {node.op!r}: refused, it is none "
                f"of the mathematics on arrays that embeddings are made of; {TRUST}"
            )


_TABLE = 0xDB4775248B80FB57
"""Last 8 bytes of a table as checkpoints have for an index, a LevelDB table without filters."""


def check_checkpoint(prefix: Path) -> None:
    """Raise ValueError, or an error of protobuf, for an index that TensorFlow dies of.

    It ends the process where an entry cannot be parsed, and takes memory for any shape that one
    states. What is not there, or is no such table, is left to TensorFlow.
    """
    from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto, BundleHeaderProto

    index = prefix.with_name(f"{prefix.name}.index")
    data = read_whole(index) if index.is_file() else b""
    if len(data) < 48 or struct.unpack("<Q", data[-8:])[0] != _TABLE:
        return
    parts = f"{glob.escape(prefix.name)}.data-*-of-*"
    largest = max((path.stat().st_size for path in prefix.parent.glob(parts)), default=0)
    try:
        _, _, *handle, _ = _numbers(data[-48:-8], 4)
        blocks = [_numbers(value, 2)[:2] for _, value in _table_block(data, *handle)]
        if sum(size for _, size in blocks) > len(data):
            raise ValueError(f"{index}: blocks that are larger than the file")
        entries = [entry for block in blocks for entry in _table_block(data, *block)]
    except (IndexError, struct.error):
        raise ValueError(f"{index}: no whole table") from None
    for key, value in entries:
        name = key.decode("utf-8", "replace")
        if not key:
            BundleHeaderProto.FromString(value)
            continue
        entry = BundleEntryProto.FromString(value)
        kind, sides = tf.as_dtype(entry.dtype), [side.size for side in entry.shape.dim]
        sound = not entry.slices and not entry.shape.unknown_rank and min(sides, default=0) >= 0
        values = math.prod(sides)
        taken = max(values, entry.size) if kind == tf.string else values * kind.size
        if not sound or not 0 <= entry.offset <= largest - taken:
            raise ValueError(f"{index}: {name!r} is of {kind.name} {sides}, which is not there")


def _numbers(data: bytes, count: int, at: int = 0) -> list[int]:
    """The ``count`` numbers at ``at``, in bytes that hold 7 bits each, and the place behind."""
    found = []
    for _ in range(count):
        value = shift = 0
        while data[at] & 128:
            value, shift, at = value | (data[at] & 127) << shift, shift + 7, at + 1
        found.append(value | data[at] << shift)
        at += 1
    return [*found, at]


def _table_block(data: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block of a table."""
    block, key, at = data[start : start + size], b"", 0
    if data[start + size]:
        raise ValueError("a compressed index")
    end = len(block) - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    while at < end:
        shared, own, length, at = _numbers(block, 3, at)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length


def calls_of(nodes: Iterable[Any]) -> Iterator[str]:
    """Yield the functions that attributes of nodes name, and those given to these in turn."""
    waiting = [value for node in nodes for value in node.attr.values()]
    while waiting:
        value = waiting.pop()
        for function in [value.func] if value.HasField("func") else value.list.func:
            yield function.name
            waiting += function.attr.values()


def _check_graph(meta: Any, path: Path) -> None:
    """Look at a graph, and take from it what no load needs: above all what saves weights."""
    objects, graph, saver = meta.object_graph_def, meta.graph_def, meta.saver_def
    for one in objects.nodes:
        if one.registered_name not in ("", "tf.TrackableConstant"):
            raise ModelError(
                f"{path}: has an object of {one.registered_name!r}: refused, it is no part of a "
                f"model of Keras; {TRUST}"
            )
    functions = {function.signature.name: function for function in graph.library.function}
    names = {saver.save_tensor_name.split(":")[0], saver.restore_op_name}
    saving = set(calls_of(node for node in graph.node if node.name in names))
    rest = [node for name in functions.keys() - saving for node in functions[name].node_def]
    saving -= {*calls_of(rest), *objects.concrete_functions}
    check_ops(graph.node, path, allowed=SAVED_OPS)
    for name, function in functions.items():
        allowed = SAVING_OPS if name in saving else SAVED_OPS
        check_ops(function.node_def, path, f" of function {name!r}", allowed)
    for field in ("saver_def", "collection_def", "signature_def", "asset_file_def"):
        meta.ClearField(field)
    constants = [node for node in graph.node if node.op == "Const"]
    del graph.node[:], graph.library.function[:]
    graph.node.extend(constants)
    graph.library.function.extend(functions[name] for name in functions if name not in saving)


def _check_layers(metadata: Any, path: Path) -> None:
    rooms = (tf.keras.layers, tf.keras.initializers, tf.keras.regularizers, tf.keras.constraints)
    kinds = {name for room in rooms for name in dir(room) if isinstance(getattr(room, name), type)}
    kinds = (kinds | _PARTS) - _WITH_CODE_OR_FILES
    for node in metadata.nodes:
        content = json.loads(node.metadata)
        for unread in ("model_config", "training_config"):  # by Keras, without the training
            content.pop(unread, None)
        waiting: list[Any] = [(content, None)]
        while waiting:
            value, layer = waiting.pop()
            if isinstance(value, dict):
                layer = value.get("name") or layer
                _check_class(value, layer, kinds, path)
                waiting += [(one, layer) for one in value.values()]
            elif isinstance(value, list):
                waiting += [(one, layer) for one in value]
            elif (
                isinstance(value, str)
                and _REGISTERED.fullmatch(value)
                and value not in _KERAS_CV_LAYERS
            ):
                raise ModelError(
                    f"{path}: layer {layer!r} has {value!r}, which is no layer of keras-cv that "
                    f"only computes: refused; {TRUST}"
                )


def _check_class(value: dict[str, Any], layer: Any, kinds: set[str], path: Path) -> None:
    """Refuse an object of Keras's JSON that is of no class that only computes."""
    if "class_name" not in value:
        return
    name, module, config = (value.get(key) for key in ("class_name", "module", "config"))
    if isinstance(config, dict):
        layer = config.get("name") or layer
    if module is not None and not _MODULE.fullmatch(str(module)):
        raise ModelError(f"{path}: layer {layer!r} is of the module {module!r}: refused; {TRUST}")
    if name in ("TFOpLambda", "SlicingOpLambda"):  # of TensorFlow's functions, such as x + 1
        function = config.get("function") if isinstance(config, dict) else None
        if not _FUNCTION.fullmatch(str(function)):
            raise ModelError(
                f"{path}: layer {layer!r} calls TensorFlow's function {function!r}: refused, it is "
                f"none of the mathematics on arrays; {TRUST}"
            )
    elif name not in kinds and name not in _KERAS_CV_LAYERS:
        raise ModelError(
            f"{path}: layer {layer!r} is of the class {name!r}: refused, it is no layer of Keras "
            f"or keras-cv that only computes; {TRUST}"
        )
