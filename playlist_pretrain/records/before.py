"""What a collection holds before tracks are appended to it, or nothing for a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.records.collection import read_document
from playlist_pretrain.records.listing import generation

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection


@dataclass(frozen=True)
class Before:
    """See the module.

    Attributes
    ----------
    collection : Collection or None
    generation : int
        Of the index that is written next.
    track_ids : sequence of str
    shards : list of dict
        File entries of its shards.
    sums : ndarray [shape=(2, bands), float64]
        Sums of the stored values and of their squares over all frames.
    """

    collection: Collection | None
    generation: int
    track_ids: Sequence[str]
    shards: list[dict]
    sums: np.ndarray

    @classmethod
    def of(cls, collection: Collection | None, bands: int) -> Before:
        """Read it from an open collection; None stands for a collection that is to be made."""
        if collection is None:
            return cls(None, 0, (), [], np.zeros((2, bands)))
        document = read_document(collection.path)
        with np.load(collection.path / document["index"]["file"], allow_pickle=False) as archive:
            if "band_sum" in archive.files:
                sums = np.stack([archive["band_sum"], archive["band_square_sum"]])
            else:  # written by another program: as exact as the statistics are
                mean, std = (np.array(document[name]) for name in ("band_mean", "band_std"))
                sums = document["frames"] * np.stack([mean, np.square(std) + np.square(mean)])
        number = generation(document) + 1
        return cls(collection, number, collection.track_ids, document["shards"], sums)

    def column(self, name: str, *more: np.ndarray) -> np.ndarray:
        """Column ``name`` of the index with ``more`` entries after those that are there."""
        there = [] if self.collection is None else [getattr(self.collection, name)]
        return np.concatenate([*there, *more])
