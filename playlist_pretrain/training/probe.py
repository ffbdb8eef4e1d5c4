"""Held-out retrieval: does the positive of a pair stand out among a batch?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from playlist_pretrain.pairs import Pairing
from playlist_pretrain.records.windows import WindowReader, random_starts

PROBE_BATCHES = 8
PERMUTATIONS = 9_999


@dataclass(frozen=True)
class ProbePairs:
    """Pairs of held-out groups with fixed windows: the same question at every probe.

    Attributes
    ----------
    anchors, anchor_starts : np.ndarray int32 [batches, pairs]
        Rows of the anchors and where their windows start.
    candidates, candidate_starts : np.ndarray int32 [batches, batch]
        The same of the candidates; the first ``pairs`` of a batch are the anchors' positives,
        in order, and what follows are tracks that are in no held-out group.
    """

    anchors: np.ndarray
    anchor_starts: np.ndarray
    candidates: np.ndarray
    candidate_starts: np.ndarray

    @classmethod
    def draw(
        cls, pairing: Pairing, others: np.ndarray, reader: WindowReader, batch: int, seed: int
    ) -> ProbePairs | None:
        """Draw up to eight batches from one epoch of a pairing over held-out groups.

        One epoch, so that no track comes twice, which the p-value counts on. Where it has fewer
        pairs than ``batch``, the candidates are filled up with ``others``: among tracks of one
        single group, no positive could stand out.

        Parameters
        ----------
        pairing : Pairing
            Over the held-out groups.
        others : np.ndarray int [n]
            Rows that are in no held-out group.
        reader : WindowReader
        batch : int
            Candidates of a batch.
        seed : int
            Of the window positions and of the choice among ``others``.

        Returns
        -------
        ProbePairs or None
            None when there is no pair, or nothing to tell its positive from.
        """
        pairs = np.concatenate([np.empty((0, 2), np.int32), *pairing.epoch(0)])
        batches = min(len(pairs) // batch, PROBE_BATCHES)
        if batches:
            pairs = pairs[: batches * batch].reshape(batches, batch, 2)
            fill = np.empty((batches, 0), np.int32)
        else:
            pairs = pairs[None]  # (1, pairs, 2)
            missing = min(batch - pairs.shape[1], len(others))
            generator = np.random.default_rng(seed)
            fill = generator.choice(others, missing, replace=False).astype(np.int32)[None]
        anchors = np.ascontiguousarray(pairs[:, :, 0])
        candidates = np.concatenate([pairs[:, :, 1], fill], axis=1)
        if not anchors.size or candidates.shape[1] < 2:
            return None
        starts = [
            random_starts(reader.last_start(rows.reshape(-1, 1)), seed, side, 0)
            for side, rows in enumerate((anchors, candidates))
        ]
        return cls(
            anchors,
            starts[0].reshape(anchors.shape),
            candidates,
            starts[1].reshape(candidates.shape),
        )

    @property
    def batch(self) -> int:
        """Candidates among which the positive is looked for; chance of top-1 is 1 / batch."""
        return self.candidates.shape[1]


@dataclass(frozen=True)
class ProbeResult:
    """What a probe saw.

    Attributes
    ----------
    ranks : np.ndarray float64 [batches, pairs, batch]
        For anchor i and candidate j, how many candidates of the batch are more similar to i
        than j is; a tie counts half, so embeddings that are all equal find nothing. The
        positive of anchor i is candidate i.
    mean_cosine : float
        Mean cosine between the embeddings of different tracks; near 1 is a collapse.
    """

    ranks: np.ndarray
    mean_cosine: float

    def top(self, k: int) -> float:
        """Share of the anchors whose positive is among the ``k`` most similar candidates."""
        return float((np.diagonal(self.ranks, axis1=1, axis2=2) < k).mean())

    def chance(self, k: int) -> float:
        """Expected :meth:`top` of a model that knows nothing."""
        return min(1.0, k / self.ranks.shape[2])

    def p_value(self, k: int, seed: int = 0) -> float:
        """One-sided permutation test of :meth:`top`: candidates dealt out anew in each batch.

        Anchors of one batch share their candidates and are not independent of each other,
        which a permutation within the batch respects and a binomial test would not.
        """
        generator = np.random.default_rng(seed)
        hits = self.ranks < k
        observed = np.diagonal(hits, axis1=1, axis2=2).sum()
        batches, pairs, batch = hits.shape
        rows = np.arange(pairs)
        as_good = 0
        for _ in range(PERMUTATIONS):
            dealt = (generator.permutation(batch)[:pairs] for _ in range(batches))
            total = sum(hits[b, rows, columns].sum() for b, columns in enumerate(dealt))
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
    for anchors, anchor_starts, candidates, candidate_starts in zip(
        pairs.anchors, pairs.anchor_starts, pairs.candidates, pairs.candidate_starts, strict=True
    ):
        x = backbone(reader.read(anchors, anchor_starts), training=False).numpy()
        y = backbone(reader.read(candidates, candidate_starts), training=False).numpy()
        z_x, z_y = (_unit(projector(side, training=False).numpy()) for side in (x, y))
        ranks.append([_ranks(similarity) for similarity in z_x @ z_y.T])
        cosines.append(mean_cosine(y))
    return ProbeResult(np.array(ranks), float(np.mean(cosines)))


def _ranks(similarity: np.ndarray) -> np.ndarray:
    """How many of ``similarity [n]`` are larger than each of it, ties half, float64 [n]."""
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
