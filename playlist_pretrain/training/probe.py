"""Retrieval probe: is the partner of a held-out track found among the other held-out tracks?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.playlists.groups import HeldOut
from playlist_pretrain.records.windows import WindowReader
from playlist_pretrain.seeds import random_order, random_stream

if TYPE_CHECKING:
    import tensorflow as tf

WINDOWS = 3
"""Windows of a track, whose projections are averaged."""
PERMUTATIONS = 9_999
WINDOWS_AT_ONCE = 64
CLEARLY_WORSE = 3.5
"""Standard errors by which the end of a run has to fall below its best to be worth a word. The best
of many probes is a lucky one: of 25 that differ by nothing but chance, it exceeds the last by two
standard errors of their difference in one run of four, by 3.5 in one of a hundred."""


@dataclass(frozen=True)
class ProbePairs:
    """Windows of the held-out tracks, the same at every probe and for every recipe.

    Tracks 2i and 2i + 1 of ``rows`` (int32 [tracks]) are a pair; ``starts`` (int32 [tracks, 3]) are
    first frames of their windows, spread evenly over each. ``wrong`` (bool [tracks, tracks]) tells
    which other tracks are wrong answers to each, since they share no group with it, and
    ``anchors`` (int [anchors]) which tracks are asked for: both of a pair, of the pairs that have
    wrong answers enough.
    """

    rows: np.ndarray
    starts: np.ndarray
    wrong: np.ndarray
    anchors: np.ndarray

    @classmethod
    def of(cls, held_out: HeldOut, reader: WindowReader) -> ProbePairs | None:
        """Choose the windows; None where nothing is held out."""
        if not len(held_out):
            return None
        rows = held_out.pairs.ravel()
        places = (np.arange(WINDOWS) + 0.5) / WINDOWS
        starts = np.rint(reader.last_start(rows[:, None]) * places).astype(np.int32)
        anchors = np.flatnonzero(np.repeat(held_out.askable, 2))
        return cls(rows, starts, held_out.wrong, anchors)

    @property
    def pairs(self) -> int:
        """Number of pairs, each of which is asked both ways."""
        return len(self.anchors) // 2

    @property
    def candidates(self) -> np.ndarray:
        """Number of answers to each anchor, the right one among them [shape=(anchors,), int]."""
        return 1 + self.wrong[self.anchors].sum(axis=1)


@dataclass(frozen=True)
class ProbeResult:
    """Ranks of the held-out tracks, and the mean cosine between embeddings of different tracks.

    ``ranks`` (float64 [anchors, tracks]) tell how many of an anchor's ``candidates`` are more
    similar to it than a track is, where a tie counts half. A ``mean_cosine`` near 1 is a collapse.
    """

    pairs: ProbePairs
    ranks: np.ndarray
    mean_cosine: float

    @property
    def found(self) -> np.ndarray:
        """Rank of each anchor's partner, 0 for the most similar [shape=(anchors,), float64]."""
        return self.ranks[np.arange(len(self.ranks)), self.pairs.anchors ^ 1]

    @property
    def percentiles(self) -> np.ndarray:
        """Share of each anchor's wrong answers that are less similar to it than its partner is."""
        return 1 - self.found / (self.pairs.candidates - 1)

    @property
    def percentile(self) -> float:
        """Mean of :attr:`percentiles`: 1 at best, 0.5 for a model that knows nothing.

        This is the area under the ROC curve of right against wrong answers, and one minus the
        expected percentile rank of Hu, Koren and Volinsky (ICDM 2008, section 4). Every answer
        moves it, whereas top-1 and the reciprocal rank rest on the few that come first; where most
        do not, it is the steadiest of these figures, and so it chooses the epoch.
        """
        return float(np.mean(self.percentiles))

    def top(self, k: int) -> float:
        """Share of the anchors whose partner is among the ``k`` most similar candidates."""
        return float(np.mean(self.found < k))

    def chance(self, k: int) -> float:
        """Expected :meth:`top` of a model that knows nothing."""
        return float(np.mean(np.minimum(1.0, k / self.pairs.candidates)))

    def p_value(self, k: int, seed: int = 0) -> float:
        """One-sided permutation test of :meth:`top`: the tracks paired anew at random.

        The two answers of a pair are not independent of each other, nor are those of tracks that
        are near to everything; pairs dealt out anew among the same tracks respect both, and a
        binomial test would not.
        """
        stream = random_stream("probe", seed)
        anchors = self.pairs.anchors
        hits = (self.ranks < k)[:, anchors]
        observed = np.count_nonzero(self.found < k)
        as_good = 0
        for _ in range(PERMUTATIONS):
            one, other = random_order(stream, len(anchors)).reshape(2, -1)
            total = np.count_nonzero(hits[one, other]) + np.count_nonzero(hits[other, one])
            as_good += total >= observed
        return (as_good + 1) / (PERMUTATIONS + 1)

    def falls_below(self, best: ProbeResult) -> bool:
        """Test if the percentile is :data:`CLEARLY_WORSE` standard errors below that of ``best``.

        Those of the mean difference, of which each pair gives one.
        """
        loss = (best.percentiles - self.percentiles).reshape(-1, 2).mean(axis=1)
        error = float(np.std(loss, ddof=1)) / math.sqrt(len(loss))
        return float(np.mean(loss)) > CLEARLY_WORSE * error


def probe(
    backbone: tf.keras.Model, projector: tf.keras.Model, reader: WindowReader, pairs: ProbePairs
) -> ProbeResult:
    """Rank the candidates of every anchor by the cosine of their projections.

    Similarity is that of the projections, since that is what NT-Xent trains, of a track the mean
    over its windows; the collapse is looked for in embeddings of single windows, since those are
    kept.
    """
    embeddings, z = [], []
    rows, starts = np.repeat(pairs.rows, WINDOWS), pairs.starts.ravel()
    for first in range(0, len(rows), WINDOWS_AT_ONCE):
        part = slice(first, first + WINDOWS_AT_ONCE)
        embedded = backbone(reader.read(rows[part], starts[part]), training=False)
        embeddings.append(embedded.numpy().astype(np.float32))
        z.append(_unit(projector(embedded, training=False).numpy()))
    of_tracks = _unit(np.concatenate(z).reshape(len(pairs.rows), WINDOWS, -1).mean(axis=1))
    similarity = of_tracks[pairs.anchors] @ of_tracks.T
    candidates = pairs.wrong[pairs.anchors]
    candidates[np.arange(len(candidates)), pairs.anchors ^ 1] = True
    ranks = np.stack(
        [_ranks(row, row[among]) for row, among in zip(similarity, candidates, strict=True)]
    )
    middle = np.concatenate(embeddings)[WINDOWS // 2 :: WINDOWS]
    return ProbeResult(pairs, ranks, mean_cosine(middle))


def _ranks(similarity: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Ranks of values among those of the candidates, 0 above the largest, ties half; float64."""
    ordered = np.sort(candidates)
    larger = len(ordered) - np.searchsorted(ordered, similarity, side="right")
    not_smaller = len(ordered) - np.searchsorted(ordered, similarity, side="left")
    return (larger + not_smaller - (larger < not_smaller)) / 2


def mean_cosine(embeddings: np.ndarray) -> float:
    """Mean cosine over all pairs of different rows of ``embeddings [n, dim]``."""
    unit = _unit(embeddings)
    n = len(unit)
    return float((np.square(unit.sum(axis=0)).sum() - n) / (n * (n - 1)))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
