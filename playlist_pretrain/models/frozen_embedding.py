"""A frozen graph as a layer of a Keras model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from playlist_pretrain.errors import ModelError, first_line
from playlist_pretrain.models.frozen_graph import FrozenGraph

TRIAL_WINDOWS = 3
"""Windows that a graph for any number of them is tried on."""


@dataclass(frozen=True)
class FrozenFunction:
    """A frozen graph that was seen to run.

    Attributes
    ----------
    call : callable
        A concrete function, input of ``shape`` → list of one tensor, the embeddings in float32,
        with ``units`` in the last of any number of axes, all others but the first being 1.
    shape : tuple of (int or None)
        ``[batch, frames, bands]``, or with one channel behind. A batch that is not None is the
        only one that the graph takes.
    units : int
        Length of an embedding.
    """

    call: Callable[[tf.Tensor], list[tf.Tensor]]
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

    def embed(windows):
        feeds = {graph.input: windows, **{name: tf.constant(False) for name in graph.switches}}
        return tf.graph_util.import_graph_def(graph.definition, feeds, [graph.output], name="")

    windows = shape[0] or TRIAL_WINDOWS
    try:
        call = tf.function(
            embed, input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False
        ).get_concrete_function()
        if graph.definition.library.function:
            # TensorFlow does not find functions of an imported graph from within a loop.
            call = convert_variables_to_constants_v2(call, aggressive_inlining=True)
        answer = call(tf.zeros([windows, *shape[1:]]))[0].numpy()
    except Exception as error:  # an attribute, a shape or a kernel: each fails in its own way
        raise ModelError(f"{path}: TensorFlow cannot run it: {first_line(error)}") from error
    if answer.ndim < 2 or answer.size != windows * answer.shape[-1] or len(answer) != windows:
        raise ModelError(
            f"{path}: its output {graph.output!r} has the shape {answer.shape} for {windows} "
            "windows; embeddings are one vector a window"
        )
    if answer.dtype != np.float32 or not np.isfinite(answer).all():
        raise ModelError(f"{path}: its output {graph.output!r} is not finite float32 for silence")
    return FrozenFunction(call, shape, answer.shape[-1])


class FrozenEmbedding(tf.keras.layers.Layer):
    """``windows float32 [batch, frames, bands] → embeddings float32 [batch, dim]``, no weights.

    The weights of the graph are constants in it, and no gradient goes through. Where the graph
    takes one batch only, windows are filled up with zeros to a whole number of batches, which go
    through it one after the other, as Essentia does it. A saved model has the graph inside and
    loads in a program that does not know this class.

    Parameters
    ----------
    function : FrozenFunction
        Several layers may share one.
    """

    def __init__(self, function: FrozenFunction, **kwargs):
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.function = function.call
        self.batch, *self.window = function.shape
        self.units = function.units

    def call(self, windows: tf.Tensor) -> tf.Tensor:
        """Embeddings of any number of windows."""
        if self.batch is None:
            embeddings = self.function(tf.reshape(windows, [-1, *self.window]))[0]
        else:
            missing = -tf.shape(windows)[0] % self.batch
            filled = tf.pad(windows, [[0, missing], [0, 0], [0, 0]])
            embeddings = tf.map_fn(
                lambda part: tf.reshape(self.function(part)[0], [self.batch, self.units]),
                tf.reshape(filled, [-1, self.batch, *self.window]),
                fn_output_signature=tf.TensorSpec([self.batch, self.units], tf.float32),
                parallel_iterations=1,
            )
        embeddings = tf.reshape(embeddings, [-1, self.units])[: tf.shape(windows)[0]]
        return tf.stop_gradient(embeddings)

    def get_config(self) -> dict[str, Any]:
        """What it is, for people; the graph itself is no part of it."""
        return {**super().get_config(), "batch": self.batch, "units": self.units}
