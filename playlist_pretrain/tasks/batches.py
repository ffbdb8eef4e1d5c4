"""Batches of windows with their targets, drawn from a split by a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.pairs.dataset import Share
from playlist_pretrain.records.windows import WindowReader, random_starts, window_dataset

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.tasks.task import SplitRows


WHOLE = Share()


@dataclass(frozen=True)
class TaggingStream:
    """The batches of a run; an epoch has each track of the split once, in an order of its own.

    A step depends on nothing but the split, the seed (of the orders and of the window positions)
    and its number. The last batch of an epoch is filled up with the tracks that it began with.
    """

    split: SplitRows
    batch: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold every track at least once."""
        return -(-len(self.split.rows) // self.batch)

    def batches(self, first: int, last: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield ``(epoch, position, tracks int64 [batch])`` of the steps ``first … last − 1``.

        ``tracks`` are positions in the split, ``position`` is that of the first one within its
        epoch.
        """
        order, of_epoch = None, -1
        for step in range(first, last):
            epoch, within = divmod(step, self.steps_per_epoch)
            if epoch != of_epoch:
                generator = np.random.default_rng([self.seed, epoch])
                order, of_epoch = generator.permutation(len(self.split.rows)), epoch
                order = np.resize(order, self.steps_per_epoch * self.batch)
            position = within * self.batch
            yield epoch, position, order[position : position + self.batch]


def tagging_dataset(
    reader: WindowReader,
    stream: TaggingStream,
    *,
    first: int,
    last: int,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Read one random window of each track of the steps ``first … last − 1``, and its tags.

    Elements are ``(windows float16 [batch, frames, bands], targets float32 [batch, classes])``, or
    the parts of such batches that a ``share`` has.
    """
    import tensorflow as tf

    size = stream.batch // share.parts

    def requests() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for epoch, position, tracks in share.of(stream.batches(first, last)):
            rows = stream.split.rows[tracks][:, np.newaxis]
            starts = random_starts(reader.last_start(rows), stream.seed, epoch, position)
            yield rows.T, starts.T

    def targets() -> Iterator[np.ndarray]:
        for _, _, tracks in share.of(stream.batches(first, last)):
            yield stream.split.targets[tracks].astype(np.float32)

    windows = window_dataset(reader, requests, batch=size)
    classes = stream.split.targets.shape[1]
    tagged = tf.data.Dataset.from_generator(
        targets, output_signature=tf.TensorSpec([size, classes], tf.float32)
    )
    return tf.data.Dataset.zip((windows, tagged))
