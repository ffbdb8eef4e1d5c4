"""Retrieval probe: is the positive of a held-out pair found among the tracks of a batch?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.pairs import Pairing
from playlist_pretrain.records.windows import WindowReader, random_starts

if TYPE_CHECKING:
    import tensorflow as tf

PROBE_BATCHES = 8
PERMUTATIONS = 9_999
WINDOWS_AT_ONCE = 64


@dataclass(frozen=True)
class ProbeBatch:
    """Rows and window starts of anchors [pairs] and candidates [batch], int32.

    The first candidates are the anchors' positives, in order; the others are tracks that are in
    no held-out group.
    """

    anchors: np.ndarray
    anchor_starts: np.ndarray
    candidates: np.ndarray
    candidate_starts: np.ndarray


@dataclass(frozen=True)
class ProbePairs:
    """At most eight batches of pairs of held-out groups, with fixed windows."""

    batches: tuple[ProbeBatch, ...]

    @classmethod
    def draw(
        cls, pairing: Pairing, others: np.ndarray, reader: WindowReader, batch: int, seed: int
    ) -> ProbePairs | None:
        """Draw the pairs of one epoch of a pairing over held-out groups; None without any.

        One epoch, so that no track comes twice, which the p-value counts on. The candidates of
        the last batch are filled up with ``others``, rows that are in no held-out group: among
        tracks of one single group, no positive could stand out.
        """
        pairs = np.concatenate([np.empty((0, 2), np.int32), *pairing.epoch(0)])
        batches = []
        for first in range(0, min(len(pairs), PROBE_BATCHES * batch), batch):
            anchors, positives = pairs[first : first + batch].T
            missing = min(batch - len(anchors), len(others))
            fill = np.random.default_rng(seed).choice(others, missing, replace=False)
            candidates = np.concatenate([positives, fill]).astype(np.int32)
            if len(candidates) < 2:
                continue
            starts = [
                random_starts(reader.last_start(rows[:, None]), seed, side, first)[:, 0]
                for side, rows in enumerate((anchors, candidates))
            ]
            batches.append(ProbeBatch(anchors, starts[0], candidates, starts[1]))
        return cls(tuple(batches)) if batches else None

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return sum(len(batch.anchors) for batch in self.batches)

    @property
    def batch(self) -> int:
        """Candidates of the first batch; the last one may have fewer."""
        return len(self.batches[0].candidates)


@dataclass(frozen=True)
class ProbeResult:
    """Ranks of the candidates, and the mean cosine between embeddings of different tracks.

    ``ranks`` has an array float64 [pairs, batch] for each batch: for anchor i and candidate j, how
    many candidates are more similar to i than j is, where a tie counts half. The positive of
    anchor i is candidate i. A ``mean_cosine`` near 1 is a collapse.
    """

    ranks: tuple[np.ndarray, ...]
    mean_cosine: float

    def top(self, k: int) -> float:
        """Share of the anchors whose positive is among the ``k`` most similar candidates."""
        return float(np.mean(np.concatenate([np.diagonal(ranks) < k for ranks in self.ranks])))

    def chance(self, k: int) -> float:
        """Expected :meth:`top` of a model that knows nothing."""
        shares = [np.full(len(ranks), min(1.0, k / ranks.shape[1])) for ranks in self.ranks]
        return float(np.mean(np.concatenate(shares)))

    def p_value(self, k: int, seed: int = 0) -> float:
        """One-sided permutation test of :meth:`top`: candidates dealt out anew in each batch.

        Anchors of one batch share their candidates and are not independent of each other,
        which a permutation within the batch respects and a binomial test would not.
        """
        generator = np.random.default_rng(seed)
        hits = [ranks < k for ranks in self.ranks]
        observed = sum(np.diagonal(batch).sum() for batch in hits)
        as_good = 0
        for _ in range(PERMUTATIONS):
            dealt = (generator.permutation(batch.shape[1])[: len(batch)] for batch in hits)
            total = sum(
                batch[np.arange(len(batch)), columns].sum()
                for batch, columns in zip(hits, dealt, strict=True)
            )
            as_good += total >= observed
        return (as_good + 1) / (PERMUTATIONS + 1)


def probe(
    backbone: tf.keras.Model, projector: tf.keras.Model, reader: WindowReader, pairs: ProbePairs
) -> ProbeResult:
    """Rank the candidates of every batch by the cosine of their projections.

    Similarity is that of the projections, since that is what NT-Xent trains; the collapse is
    looked for in the embeddings, since those are kept.
    """
    ranks, cosines = [], []
    for batch in pairs.batches:
        x = _embed(backbone, reader.read(batch.anchors, batch.anchor_starts))
        y = _embed(backbone, reader.read(batch.candidates, batch.candidate_starts))
        z_x, z_y = (_unit(projector(side, training=False).numpy()) for side in (x, y))
        ranks.append(np.stack([_ranks(similarity) for similarity in z_x @ z_y.T]))
        cosines.append(mean_cosine(y))
    return ProbeResult(tuple(ranks), float(np.mean(cosines)))


def _embed(backbone: tf.keras.Model, windows: np.ndarray) -> np.ndarray:
    """Embeddings float32 [windows, dim], some at a time: a batch may be too large for memory."""
    slices = (windows[i : i + WINDOWS_AT_ONCE] for i in range(0, len(windows), WINDOWS_AT_ONCE))
    return np.concatenate(
        [backbone(part, training=False).numpy().astype(np.float32) for part in slices]
    )


def _ranks(similarity: np.ndarray) -> np.ndarray:
    """Rank each of ``similarity [n]`` from 0 for the largest, ties half; float64 [n]."""
    ordered = np.sort(similarity)
    larger = len(ordered) - np.searchsorted(ordered, similarity, side="right")
    not_smaller = len(ordered) - np.searchsorted(ordered, similarity, side="left")
    return (larger + not_smaller - 1) / 2


def mean_cosine(embeddings: np.ndarray) -> float:
    """Mean cosine over all pairs of different rows of ``embeddings [n, dim]``."""
    unit = _unit(embeddings)
    n = len(unit)
    return float((np.square(unit.sum(axis=0)).sum() - n) / (n * (n - 1)))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
