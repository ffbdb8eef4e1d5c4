"""From pairings to batches of windows: one seeded stream of steps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.messages import progress
from playlist_pretrain.pairs import Pairing
from playlist_pretrain.pairs.false_negatives import FalseNegatives
from playlist_pretrain.records.collection import Collection, opened
from playlist_pretrain.records.windows import WindowReader, random_starts, window_dataset

if TYPE_CHECKING:
    import tensorflow as tf

Batch = tuple[int, int, np.ndarray]
"""Epoch, position of the first pair in the epoch, and rows int32 [pairs, 2]."""


@dataclass(frozen=True)
class Share:
    """The parts of every batch that a worker reads.

    A batch is cut into equal parts in the order of its pairs, one for each replica of a strategy.
    A worker reads those of its own replicas, ``first … last − 1`` of ``parts``, so no pair is read
    twice and none is left out.
    """

    parts: int = 1
    first: int = 0
    last: int = 1

    def of(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield each part read here as :meth:`PairStream.batches` yields batches."""
        for epoch, position, rows in batches:
            size = len(rows) // self.parts
            for begin in range(self.first * size, self.last * size, size):
                yield epoch, position + begin, rows[begin : begin + size]


@dataclass(frozen=True)
class PairStream:
    """The batches of a whole run: step t is batch ``t % steps_per_epoch`` of its epoch.

    The pairs of a step depend on nothing but the pairing, its seed and the step, so a run goes on
    at any step as if it had never stopped. Incomplete batches are dropped, and every epoch has
    the same number of steps, that of the epoch and pairing with the fewest whole batches; longer
    ones use their first pairs, which are others in every epoch.

    Each of ``pairings`` gives ``batch`` pairs to every step; see :func:`plan`.
    """

    pairings: tuple[Pairing, ...]
    batch: int
    steps_per_epoch: int

    def batches(self, first: int, last: int, which: int = 0) -> Iterator[Batch]:
        """Yield ``(epoch, position, rows int32 [batch, 2])`` of the steps ``first … last − 1``.

        ``position`` is the index of the batch's first pair within its epoch, ``which`` the number
        of the pairing.
        """
        for epoch in range(first // self.steps_per_epoch, -(-last // self.steps_per_epoch)):
            offset = epoch * self.steps_per_epoch
            position = 0  # of the first pair in `pending` within the epoch
            begin = max(first - offset, 0) * self.batch
            end = min(last - offset, self.steps_per_epoch) * self.batch
            pending = np.empty((0, 2), np.int32)
            for block in self.pairings[which].epoch(epoch):
                pending = np.concatenate([pending, block]) if len(pending) else block
                skip = min(max(begin - position, 0), len(pending))
                pending, position = pending[skip:], position + skip
                while begin <= position < end and len(pending) >= self.batch:
                    yield epoch, position, pending[: self.batch]
                    pending, position = pending[self.batch :], position + self.batch
                if position >= end:
                    break

    def rows_of(self, step: int) -> np.ndarray:
        """Rows of the pairs of one step, pairing after pairing, int32 [pairings · batch, 2]."""
        every = range(len(self.pairings))
        return np.concatenate([next(self.batches(step, step + 1, k))[2] for k in every])


def plan(
    pairings: Sequence[Pairing], batch: int, epochs: int, *, smaller: bool = False
) -> PairStream:
    """Count the pairs of every epoch of a run and settle the steps an epoch.

    Raises
    ------
    RecipeError
        If an epoch has fewer pairs than a batch; names the largest batch that fits and, where a
        preset has set it (``smaller``), the preset that fits.
    """
    steps = []
    for pairing in pairings:
        # An epoch of the Million Playlist Dataset takes seconds to pair; kernels drop the
        # interpreter lock, so epochs are counted side by side.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            counts = threads.map(pairing.count, range(epochs))
            fewest = min(progress(counts, total=epochs, desc="counting pairs", unit="epoch"))
        if fewest < batch:
            problem = f"--batch {batch}: an epoch of {pairing.name} has only {fewest} pairs"
            if fewest > 1:
                preset = "; for a small collection there is --preset auto" if smaller else ""
                raise RecipeError(
                    f"{problem}; the largest batch that fits is --batch {fewest}{preset}"
                )
            problem = problem if not fewest else problem.removesuffix("s")
            missing = "tracks must share a group" if pairing.y == "window" else "tracks are needed"
            raise RecipeError(f"{problem}; no batch fits, more {missing}")
        steps.append(fewest // batch)
    return PairStream(tuple(pairings), batch, min(steps))


def pair_dataset(
    collection: str | Path | Collection,
    pairing: Pairing,
    *,
    batch: int,
    epochs: int = 1,
    seed: int = 0,
    frames: int | None = None,
) -> tf.data.Dataset:
    """Batches of pairs of windows for ``ContrastiveModel.fit``: all steps of some epochs.

    >>> from playlist_pretrain.pairs import pairing
    >>> pairs = pair_dataset(collection, pairing("playlist_co", collection), batch=64, epochs=10)
    >>> model.fit(pairs)

    ``pairing`` is one of the same collection (:func:`playlist_pretrain.pairs.pairing`), ``batch``
    the pairs a step. The ``epochs`` come one after the other, each with other pairs and other
    windows. ``seed`` is that of the window positions; a window has ``frames`` frames, by default
    those of the collection's front end. Elements are ``(x, y)``, float16 [batch, frames, bands];
    for another kind of pairing see :func:`step_dataset`. The cardinality is known.

    Raises
    ------
    RecipeError
        If an epoch has fewer pairs than a batch.
    """
    import tensorflow as tf

    collection = opened(collection)
    reader = WindowReader(collection, frames or collection.front_end.window_frames, short="skip")
    stream = plan([pairing], batch, epochs)
    last = epochs * stream.steps_per_epoch
    dataset = step_dataset(reader, stream, seed=seed, first=0, last=last)
    counted = dataset.apply(tf.data.experimental.assert_cardinality(last))
    counted.windows = dataset  # a window dataset ends when nothing refers to it
    return counted


def step_dataset(
    reader: WindowReader,
    stream: PairStream,
    *,
    seed: int,
    first: int,
    last: int,
    share: Share = Share(),
    false_negatives: Sequence[FalseNegatives] | None = None,
) -> tf.data.Dataset:
    """Batches of windows of the steps ``first … last − 1`` of a stream.

    A window's position depends on ``(seed + k, epoch, index of the pair)`` for the k-th pairing.
    An element is one of the parts of a batch that ``share`` names. Its content depends on the
    pairing's ``y``: ``window`` gives ``(x, y)``, float16 [batch, frames, bands] each; ``views``
    gives x alone; ``vector`` gives x and the rows of the positives, int32 [batch]. Of several
    pairings, elements are tuples with one of each.

    With ``false_negatives``, one for each pairing, every element ends with its ``left_out``, bool
    [2·pairs, 2·pairs], which is that of the whole batch however small a part the element is: each
    replica has the projections of all.
    """
    import tensorflow as tf

    batch = stream.batch // share.parts

    def of_pairing(which: int) -> tf.data.Dataset:
        kind = stream.pairings[which].y
        parts = 2 if kind == "window" else 1

        def requests() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for epoch, position, pairs in share.of(stream.batches(first, last, which)):
                rows = pairs[:, :parts]
                starts = random_starts(reader.last_start(rows), seed + which, epoch, position)
                yield rows.T, starts.T

        def positives() -> Iterator[np.ndarray]:
            return (pairs[:, 1] for *_, pairs in share.of(stream.batches(first, last, which)))

        def masks() -> Iterator[np.ndarray]:
            for _, _, pairs in stream.batches(first, last, which):
                left_out = false_negatives[which].left_out(pairs)
                for _ in range(share.first, share.last):
                    yield left_out

        windows = window_dataset(reader, requests, batch=batch, parts=parts)
        datasets = [windows]
        if kind == "vector":
            rows = tf.TensorSpec([batch], tf.int32)
            datasets.append(tf.data.Dataset.from_generator(positives, output_signature=rows))
        if false_negatives is not None:
            mask = tf.TensorSpec([2 * stream.batch, 2 * stream.batch], tf.bool)
            datasets.append(
                tf.data.Dataset.from_generator(masks, output_signature=mask).prefetch(2)
            )
        if len(datasets) == 1:
            return windows
        together = tf.data.Dataset.zip(tuple(datasets))
        if kind == "window":
            together = together.map(lambda sides, left_out: (*sides, left_out))
        return together

    datasets = tuple(map(of_pairing, range(len(stream.pairings))))
    return tf.data.Dataset.zip(datasets) if len(datasets) > 1 else datasets[0]
