"""From a pairing to batches of windows: one seeded stream of steps.

Several pairings in one run: a batch of each in every step.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.messages import progress
from playlist_pretrain.records.windows import WindowReader, random_starts, window_dataset

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.pairs import Pairing
    from playlist_pretrain.pairs.false_negatives import FalseNegatives


@dataclass(frozen=True)
class Share:
    """Which pairs of every step are read here, and in how many parts.

    A batch is cut into equal parts in the order of its pairs, one for each replica of a strategy.
    A worker reads those of its own replicas, so no pair is read twice and none is left out.

    Attributes
    ----------
    parts : int
        Of a batch: replicas of the strategy.
    first, last : int
        Parts ``first … last − 1`` are read here.
    """

    parts: int = 1
    first: int = 0
    last: int = 1

    def of(
        self, batches: Iterable[tuple[int, int, np.ndarray]]
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield each part read here as :meth:`PairStream.batches` yields batches."""
        for epoch, position, rows in batches:
            size = len(rows) // self.parts
            for begin in range(self.first * size, self.last * size, size):
                yield epoch, position + begin, rows[begin : begin + size]


@dataclass(frozen=True)
class PairStream:
    """The batches of a whole run: step t is batch ``t % steps_per_epoch`` of epoch t // that.

    What a step holds depends on nothing but the pairing, its seed and the step, so a run goes on
    at any step as if it had never stopped. Incomplete batches are dropped, and every epoch has
    the same number of steps, that of the epoch with the fewest whole batches.

    Parameters
    ----------
    pairing : Pairing
        Makes the pairs of an epoch.
    batch : int
        Pairs a step.
    steps_per_epoch : int
        Whole batches an epoch, see :meth:`plan`.
    """

    pairing: Pairing
    batch: int
    steps_per_epoch: int

    @classmethod
    def plan(
        cls,
        pairing: Pairing,
        batch: int,
        epochs: int,
        *,
        smaller: tuple[str, int] | None = None,
        quiet: bool = True,
    ) -> PairStream:
        """Count the pairs of every epoch of a run and settle the steps an epoch.

        Raises
        ------
        RecipeError
            If an epoch has fewer pairs than a batch; names the largest batch that fits, and
            ``smaller``, a preset and its batch, if that fits.
        """
        # An epoch of the Million Playlist Dataset takes seconds to pair; kernels drop the
        # interpreter lock, so epochs are counted side by side.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            counts = threads.map(pairing.count, range(epochs))
            counts = progress(
                counts, quiet=quiet, total=epochs, desc="counting pairs", unit="epoch"
            )
            fewest = min(counts)
        if fewest < batch:
            fits = smaller is not None and smaller[1] <= fewest
            preset = f"; for a small collection there is --preset {smaller[0]}" if fits else ""
            missing = "tracks must share a group" if pairing.y == "window" else "tracks are needed"
            raise RecipeError(
                f"--batch {batch}: an epoch of {pairing.name} has only {fewest} "
                + (
                    f"pairs; the largest batch that fits is --batch {fewest}{preset}"
                    if fewest > 1
                    else f"pair{'s' if not fewest else ''}; no batch fits, more {missing}"
                )
            )
        return cls(pairing, batch, fewest // batch)

    def batches(self, first: int, last: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield ``(epoch, position, rows int32 [batch, 2])`` of the steps ``first … last − 1``.

        ``position`` is the index of the batch's first pair within its epoch.
        """
        for epoch in range(first // self.steps_per_epoch, -(-last // self.steps_per_epoch)):
            offset = epoch * self.steps_per_epoch
            begin = max(first - offset, 0) * self.batch
            end = min(last - offset, self.steps_per_epoch) * self.batch
            for position, rows in self._slices(epoch, begin, end):
                yield epoch, position, rows

    @property
    def streams(self) -> tuple[PairStream, ...]:
        """This one alone, as a :class:`JointStream` has several."""
        return (self,)

    def rows_of(self, step: int) -> np.ndarray:
        """Rows of the pairs of one step, int32 [batch, 2]."""
        return next(self.batches(step, step + 1))[2]

    def _slices(self, epoch: int, begin: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
        position = 0  # of the first pair in `pending` within the epoch
        pending = np.empty((0, 2), np.int32)
        for block in self.pairing.epoch(epoch):
            pending = np.concatenate([pending, block]) if len(pending) else block
            skip = min(max(begin - position, 0), len(pending))
            pending, position = pending[skip:], position + skip
            while position < end and position >= begin and len(pending) >= self.batch:
                yield position, pending[: self.batch]
                pending, position = pending[self.batch :], position + self.batch
            if position >= end:
                return


def pair_dataset(
    reader: WindowReader,
    stream: PairStream,
    *,
    seed: int,
    first: int,
    last: int,
    share: Share = Share(),
    false_negatives: FalseNegatives | None = None,
) -> tf.data.Dataset:
    """Batches of windows of the steps ``first … last − 1`` of a stream.

    Parameters
    ----------
    reader : WindowReader
        Reads the windows.
    stream : PairStream
        Says which tracks.
    seed : int
        Seed of the window positions; a position depends on ``(seed, epoch, index of the pair)``.
    first, last : int
        Steps.
    share : Share
        Parts of each batch that are read; an element is a part.
    false_negatives : FalseNegatives, optional
        Finds them; every element then ends with its ``left_out``, bool [2·pairs, 2·pairs], which
        is that of the whole batch however small a part the element is: each replica has the
        projections of all.

    Returns
    -------
    tf.data.Dataset
        In the order of the stream, by what the pairing's ``y`` is: ``window`` gives ``(x, y)``,
        float16 [batch, frames, bands] each; ``views`` gives x alone; ``vector`` gives x and the
        rows of the positives, int32 [batch].
    """
    import tensorflow as tf

    kind = stream.pairing.y
    parts = 2 if kind == "window" else 1
    batch = stream.batch // share.parts

    def batches() -> Iterator[tuple[int, int, np.ndarray]]:
        return share.of(stream.batches(first, last))

    def requests() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for epoch, position, pairs in batches():
            rows = pairs[:, :parts]
            starts = random_starts(reader.last_start(rows), seed, epoch, position)
            yield rows.T, starts.T

    windows = window_dataset(reader, requests, batch=batch, parts=parts)
    datasets = [windows]
    if kind == "vector":
        datasets.append(
            tf.data.Dataset.from_generator(
                lambda: (pairs[:, 1] for _, _, pairs in batches()),
                output_signature=tf.TensorSpec([batch], tf.int32),
            )
        )
    if false_negatives is not None:
        size = 2 * stream.batch

        def masks() -> Iterator[np.ndarray]:
            for _, _, pairs in stream.batches(first, last):
                left_out = false_negatives.left_out(pairs)
                for _ in range(share.first, share.last):
                    yield left_out

        datasets.append(
            tf.data.Dataset.from_generator(
                masks, output_signature=tf.TensorSpec([size, size], tf.bool)
            ).prefetch(2)
        )
    if len(datasets) == 1:
        return windows
    together = tf.data.Dataset.zip(tuple(datasets))
    if kind == "window":
        together = together.map(lambda sides, left_out: (*sides, left_out))
    return together


WHOLE = Share()


@dataclass(frozen=True)
class JointStream:
    """Streams side by side; each goes on as it would alone, but for the length of its epochs.

    Attributes
    ----------
    streams : tuple of PairStream
        All of one batch, and of the steps an epoch of the pairing with the fewest: a longer one
        uses its first pairs of every epoch, which are others in every epoch.
    """

    streams: tuple[PairStream, ...]

    @property
    def batch(self) -> int:
        """Pairs of each pairing a step."""
        return self.streams[0].batch

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return self.streams[0].steps_per_epoch

    def rows_of(self, step: int) -> np.ndarray:
        """Rows of the pairs of one step, pairing after pairing, int32 [pairings · batch, 2]."""
        return np.concatenate([stream.rows_of(step) for stream in self.streams])


def plan(
    pairings: Sequence[Pairing],
    batch: int,
    epochs: int,
    *,
    smaller: tuple[str, int] | None = None,
    quiet: bool = True,
) -> PairStream | JointStream:
    """As :meth:`PairStream.plan`, for the shortest epoch of all pairings."""
    streams = [
        PairStream.plan(pairing, batch, epochs, smaller=smaller, quiet=quiet)
        for pairing in pairings
    ]
    if len(streams) == 1:
        return streams[0]
    fewest = min(stream.steps_per_epoch for stream in streams)
    return JointStream(
        tuple(dataclasses.replace(stream, steps_per_epoch=fewest) for stream in streams)
    )


def step_dataset(
    reader: WindowReader,
    stream: PairStream | JointStream,
    *,
    seed: int,
    first: int,
    last: int,
    share: Share = WHOLE,
    false_negatives: Sequence[FalseNegatives] | None = None,
) -> tf.data.Dataset:
    """What :func:`~playlist_pretrain.pairs.dataset.pair_dataset` gives for every pairing.

    Parameters
    ----------
    reader, first, last, share
        As there.
    stream : PairStream or JointStream
    seed : int
        Window positions of the k-th pairing are drawn with ``seed + k``.
    false_negatives : sequence of FalseNegatives, optional
        One for each pairing.

    Returns
    -------
    tf.data.Dataset
        Elements are tuples with one element of each pairing; of a single one, its elements alone.
    """
    import tensorflow as tf

    finders = false_negatives or [None] * len(stream.streams)
    datasets = tuple(
        pair_dataset(
            reader,
            part,
            seed=seed + k,
            first=first,
            last=last,
            share=share,
            false_negatives=finder,
        )
        for k, (part, finder) in enumerate(zip(stream.streams, finders, strict=True))
    )
    return tf.data.Dataset.zip(datasets) if len(datasets) > 1 else datasets[0]
