"""Windows of many tracks through a model: batches of one size that cross the borders of tracks."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.audio.windows import mean_over_windows
from playlist_pretrain.messages import progress
from playlist_pretrain.records.schema import SMALLEST_STD
from playlist_pretrain.records.track_windows import TrackWindows, windows_of_collection
from playlist_pretrain.stack import with_constants

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.records.collection import Collection

BATCH = 64
AHEAD = 4
"""Batches that wait for the model, or are in it."""


def batch_function(
    model: tf.keras.Model,
    batch: int = BATCH,
    dtype: str = "float32",
    strategy: tf.distribute.Strategy | None = None,
) -> Callable[[np.ndarray], np.ndarray]:
    """Compile a model into ``windows [batch, frames, bands] → outputs float32 [batch, dim]``.

    The windows are of type ``dtype``. With a ``strategy``, in whose scope the model was made, its
    replicas share each batch, a multiple of their number.
    """
    import tensorflow as tf

    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    share = batch // replicas

    def answer(windows):
        windows = tf.ensure_shape(windows, [share, *model.input_shape[1:]])
        return tf.cast(model(tf.cast(windows, tf.float32), training=False), tf.float32)

    if replicas == 1:
        spec = tf.TensorSpec([share, *model.input_shape[1:]], tf.as_dtype(dtype))
        alone = tf.function(answer, input_signature=[spec], autograph=False)
        # Weights that cannot change are laid out for the processor once, not for every batch.
        constant = with_constants(alone.get_concrete_function())
        return lambda windows: constant(tf.constant(windows))[0].numpy()
    together = tf.function(lambda shares: strategy.run(answer, (shares,)), autograph=False)

    def shared_out(windows: np.ndarray) -> np.ndarray:
        def own(context):
            first = context.replica_id_in_sync_group * share
            return tf.constant(windows[first : first + share])

        answers = together(strategy.experimental_distribute_values_from_function(own))
        return np.concatenate([a.numpy() for a in strategy.experimental_local_results(answers)])

    return shared_out


def track_outputs(
    function: Callable[[np.ndarray], np.ndarray],
    tracks: Iterator[TrackWindows],
    *,
    batch: int = BATCH,
    flush_every: int | None = None,
) -> Generator[tuple[TrackWindows, np.ndarray], None, None]:
    """Yield each track with the outputs of a model for its windows, in their order.

    The ``function`` (see :func:`batch_function`) works in a thread of its own while more windows
    come. The last batch is filled up with its last window. A batch never crosses a multiple of
    ``flush_every`` tracks, so that the numbers after it depend on nothing before it. ``tracks`` is
    closed at the end if it is a generator. Outputs are float32 [windows, dim].
    """
    waiting: deque[TrackWindows] = deque()  # for outputs
    under_way: deque[tuple[Future, int]] = deque()
    there = np.empty((0, 0), np.float32)  # outputs for waiting[0] and those after it
    windows, filled = np.empty(0), 0
    model = ThreadPoolExecutor(1, thread_name_prefix="model")

    def finished(most: int) -> Iterator[tuple[TrackWindows, np.ndarray]]:
        """Tracks that have all outputs, once at most ``most`` batches are under way."""
        nonlocal there
        while under_way and (len(under_way) > most or under_way[0][0].done()):
            future, count = under_way.popleft()
            outputs = future.result()[:count]
            there = np.concatenate([there, outputs]) if len(there) else outputs
            while waiting and len(waiting[0].windows) <= len(there):
                track = waiting.popleft()
                yield track, there[: len(track.windows)]
                there = there[len(track.windows) :]
        while not under_way and not filled and waiting and not len(waiting[0].windows):
            yield waiting.popleft(), there[:0]

    def submit() -> None:
        nonlocal filled
        windows[filled:] = windows[filled - 1]
        under_way.append((model.submit(function, windows), filled))
        filled = 0

    with contextlib.ExitStack() as stack:
        stack.callback(model.shutdown, wait=True, cancel_futures=True)
        if isinstance(tracks, Generator):
            stack.enter_context(contextlib.closing(tracks))
        for number, track in enumerate(tracks, 1):
            waiting.append(track)
            taken = 0
            while taken < len(track.windows):
                if not filled:  # the model may still have the array before
                    windows = np.empty((batch, *track.windows.shape[1:]), track.windows.dtype)
                part = track.windows[taken : taken + batch - filled]
                windows[filled : filled + len(part)] = part
                taken, filled = taken + len(part), filled + len(part)
                if filled == batch:
                    submit()
                    yield from finished(AHEAD)
            if filled and flush_every and number % flush_every == 0:
                submit()
            yield from finished(AHEAD)
        if filled:
            submit()
        yield from finished(0)


def track_means(
    model: tf.keras.Model,
    collection: Collection,
    *,
    rows: np.ndarray | None = None,
    seconds: float | None = None,
    short: str = "repeat",
    desc: str = "",
) -> np.ndarray:
    """Compute the mean of a model's outputs over the windows of each track of a collection.

    The model is a backbone or a tagger; ``rows``, ``seconds`` and ``short`` are those of
    :func:`.windows_of_collection`, ``desc`` names the progress bar [none]. Returns float32
    [tracks, dim], NaN for a track without a window.
    """
    tracks = windows_of_collection(collection, model.input_shape[1], short, rows, seconds)
    found = track_outputs(lambda windows: model(windows, training=False).numpy(), tracks)
    if desc:
        total = len(collection) if rows is None else len(rows)
        found = progress(found, desc=desc, total=total, unit=" tracks")
    outputs, counts = [np.empty((0, model.output_shape[-1]), np.float32)], []
    for _, own in found:
        counts.append(len(own))
        outputs += [own] if len(own) else []
    return mean_over_windows(np.concatenate(outputs), np.array(counts, np.int64))


def mean_of_mel(collection: Collection) -> np.ndarray:
    """Compute the mean of the standardised log-mel over each track's frames [tracks, bands].

    Any embedding has to beat it.
    """
    std = np.maximum(collection.band_std, SMALLEST_STD)
    means = [collection.mel(row).mean(axis=0, dtype=np.float64) for row in range(len(collection))]
    return ((np.stack(means) - collection.band_mean) / std).astype(np.float32)
