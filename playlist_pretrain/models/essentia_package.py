"""Models that Essentia publishes: a frozen graph ``NAME.pb`` with ``NAME.json`` beside it.

The JSON is that of https://essentia.upf.edu/models/: it names the tensors of the graph and the
algorithm of Essentia that makes its mels, for which this package has a front end.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from playlist_pretrain.audio.front_end import PRESETS, FrontEnd
from playlist_pretrain.errors import ModelError
from playlist_pretrain.files import content_key
from playlist_pretrain.models.frozen_embedding import (
    FrozenEmbedding,
    FrozenFunction,
    frozen_function,
)
from playlist_pretrain.models.frozen_graph import FrozenGraph, read_graph
from playlist_pretrain.tables import listed

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
        is refused, see :func:`~playlist_pretrain.models.frozen_graph.read_graph` and
        :func:`~playlist_pretrain.models.frozen_embedding.frozen_function`.
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
