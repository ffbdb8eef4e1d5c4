"""Several pairings in one run: a batch of each in every step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.pairs.dataset import PairStream, Share, pair_dataset
from playlist_pretrain.records.windows import WindowReader

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.pairs import Pairing
    from playlist_pretrain.pairs.false_negatives import FalseNegatives

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
