"""Windows of many tracks as batches of one size, which go through a model one after the other.

Batches cross the borders of tracks, and every one of them has the same shape: the model is traced
once. Successive tracks make parts of some thousand windows, and a batch never crosses the border
of a part, so that the numbers of a part depend on nothing that was done before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.records.buffers import BufferPool
from playlist_pretrain.records.report import Note

if TYPE_CHECKING:
    import tensorflow as tf

PART_WINDOWS = 4096
"""A part ends with the track that brings it there."""
AHEAD = 4
"""Batches that wait for the model, or are in it."""


@dataclass(frozen=True)
class Batch:
    """Windows that go through a model together.

    Attributes
    ----------
    windows : ndarray [shape=(batch, frames, bands)]
        Log-mels; only as many as there are ``tracks`` count, the others fill it up.
    tracks : ndarray [shape=(n,), int64]
        Position of each window's track in its source; never decreases.
    starts : ndarray [shape=(n,), float64]
        Seconds in the audio file at which each window begins.
    """

    windows: np.ndarray
    tracks: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.tracks)


@dataclass(frozen=True)
class PartEnd:
    """The batches since the last one are a part.

    Attributes
    ----------
    stop : int
        Position of the track that comes next.
    seconds : float
        Of audio in the part.
    notes : list of Note
        Tracks of the part that have no windows, and why.
    """

    stop: int
    seconds: float
    notes: list[Note] = field(default_factory=list)


def too_short(track_id: str, source: str, frames: int, wanted: int) -> Note:
    """A note on a track that has no window."""
    return Note(track_id, source, "skipped", f"{frames} frames, a window needs {wanted}")


class BatchFiller:
    """Makes batches out of the windows of one track after the other.

    Parameters
    ----------
    batch, frames, bands : int
    """

    def __init__(self, batch: int, frames: int, bands: int):
        self._shape = (batch, frames, bands)
        self._pool = BufferPool(AHEAD + 2)
        self._begin()

    def _begin(self) -> None:
        self._windows = self._pool.take(self._shape, np.dtype(np.float32))
        self._tracks = np.empty(self._shape[0], np.int64)
        self._starts = np.empty(self._shape[0])
        self._filled = 0

    def add(self, track: int, windows: np.ndarray, starts: np.ndarray) -> Iterator[Batch]:
        """Take the windows [n, frames, bands] of a track; yields the batches that they fill."""
        taken = 0
        while taken < len(windows):
            first = self._filled
            stop = min(first + len(windows) - taken, self._shape[0])
            part = slice(taken, taken + stop - first)
            self._windows[first:stop] = windows[part]
            self._tracks[first:stop] = track
            self._starts[first:stop] = starts[part]
            taken, self._filled = part.stop, stop
            if stop == self._shape[0]:
                yield from self.flush()

    def flush(self) -> Iterator[Batch]:
        """Yield what has been taken and is in no batch yet."""
        filled = self._filled
        if filled:
            self._windows[filled:] = self._windows[filled - 1]
            yield Batch(self._windows, self._tracks[:filled], self._starts[:filled])
            self._begin()


def embedding_function(
    model: tf.keras.Model, strategy: tf.distribute.Strategy | None, batch: int, dtype: str
) -> Callable[[np.ndarray], np.ndarray]:
    """``windows [batch, frames, bands] → embeddings float32 [batch, dim]``, traced once.

    Parameters
    ----------
    model : tf.keras.Model
        Made in the scope of ``strategy``.
    strategy : tf.distribute.Strategy, optional
        Its replicas share each batch.
    batch : int
        A multiple of their number.
    dtype : str
        Of the windows.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    share = batch // replicas

    def embed(windows):
        windows = tf.ensure_shape(windows, [share, *model.input_shape[1:]])
        return tf.cast(model(tf.cast(windows, tf.float32), training=False), tf.float32)

    if replicas == 1:
        spec = tf.TensorSpec([share, *model.input_shape[1:]], tf.as_dtype(dtype))
        alone = tf.function(embed, input_signature=[spec], autograph=False)
        # Weights that cannot change are laid out for the processor once, not for every batch.
        frozen = convert_variables_to_constants_v2(alone.get_concrete_function())
        return lambda windows: frozen(tf.constant(windows))[0].numpy()
    together = tf.function(lambda shares: strategy.run(embed, (shares,)), autograph=False)

    def shared_out(windows: np.ndarray) -> np.ndarray:
        def own(context):
            first = context.replica_id_in_sync_group * share
            return tf.constant(windows[first : first + share])

        answers = together(strategy.experimental_distribute_values_from_function(own))
        return np.concatenate([a.numpy() for a in strategy.experimental_local_results(answers)])

    return shared_out


def through_model(
    embed: Callable[[np.ndarray], np.ndarray], items: Iterable[Batch | PartEnd]
) -> Generator[tuple[Batch, np.ndarray] | tuple[PartEnd, None], None, None]:
    """Each batch with its embeddings [n, dim], in their order; ends of parts pass through.

    The model works in a thread of its own while the next batches are made, :data:`AHEAD` of them
    at most.
    """
    ahead: deque[tuple[Any, Future | None]] = deque()
    model = ThreadPoolExecutor(1, thread_name_prefix="model")

    def first() -> tuple:
        item, future = ahead.popleft()
        return item, None if future is None else future.result()[: len(item)]

    try:
        for item in items:
            ahead.append(
                (item, model.submit(embed, item.windows) if isinstance(item, Batch) else None)
            )
            while ahead and (len(ahead) > AHEAD or ahead[0][1] is None or ahead[0][1].done()):
                yield first()
        while ahead:
            yield first()
    finally:
        model.shutdown(wait=True, cancel_futures=True)
