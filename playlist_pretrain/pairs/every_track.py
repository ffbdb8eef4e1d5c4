"""Pairings in which every track is its own positive: ``simclr`` and ``playlist_w2v``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from playlist_pretrain.pairs.co_occurrence import BLOCK
from playlist_pretrain.playlists.streams import random_order, random_stream
from playlist_pretrain.playlists.word2vec import TrackVectors


class EveryTrack:
    """Pairs (i, i) of all given rows, each once an epoch, in random order.

    Parameters
    ----------
    rows : ndarray [shape=(n,), int]
        Rows of a collection, each once.
    seed : int
    """

    name: str

    def __init__(self, rows: np.ndarray, seed: int):
        self.rows = np.asarray(rows, np.int32)
        self.seed = seed

    def epoch(self, epoch: int) -> Iterator[np.ndarray]:
        """Yield the pairs of ``epoch`` as arrays [shape=(k, 2), int32], k ≤ 65,536."""
        stream = random_stream(self.name, self.seed, epoch)
        rows = self.rows[random_order(stream, len(self.rows))]
        for start in range(0, len(rows), BLOCK):
            yield np.repeat(rows[start : start + BLOCK, None], 2, axis=1)

    def count(self, epoch: int) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def expected_pairs(self) -> float:
        """Number of rows."""
        return float(len(self.rows))


class SimClr(EveryTrack):
    """Pairing ``simclr`` of arXiv 2304.12257: x and y are two views of one window of a track."""

    name = "simclr"
    y: Literal["views"] = "views"


class PlaylistWord2Vec(EveryTrack):
    """Pairing ``playlist_w2v`` of arXiv 2304.12257: y is the Word2Vec vector of the track.

    Parameters
    ----------
    vectors : TrackVectors
        Tracks without a vector take no part.
    tracks : int
        Tracks of the collection.
    seed : int
    """

    name = "playlist_w2v"
    y: Literal["vector"] = "vector"

    def __init__(self, vectors: TrackVectors, tracks: int, seed: int):
        super().__init__(vectors.rows, seed)
        self.table = vectors.table(tracks)
