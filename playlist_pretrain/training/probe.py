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
    rows, starts : np.ndarray int32 [batches, batch, 2]
        Rows of the pairs and where their windows start.
    """

    rows: np.ndarray
    starts: np.ndarray

    @classmethod
    def draw(
        cls, pairing: Pairing, reader: WindowReader, batch: int, seed: int
    ) -> ProbePairs | None:
        """Draw up to eight batches from a pairing over held-out groups; None without pairs.

        Within a batch no track comes twice, since a batch lies within one epoch of the pairing.
        Where an epoch has fewer pairs than ``batch``, all of them are one smaller batch.
        """
        size = min(batch, pairing.count(0))
        if size < 2:
            return None
        batches: list[np.ndarray] = []
        for epoch in range(PROBE_BATCHES):
            pairs = np.concatenate(list(pairing.epoch(epoch)))
            batches += [pairs[i : i + size] for i in range(0, len(pairs) - size + 1, size)]
            if len(batches) >= PROBE_BATCHES:
                break
        rows = np.stack(batches[:PROBE_BATCHES])
        starts = random_starts(reader.last_start(rows.reshape(-1, 2)), seed, 0, 0)
        return cls(rows, starts.reshape(rows.shape))

    @property
    def batch(self) -> int:
        """Candidates among which the positive is looked for; chance is 1 / batch."""
        return self.rows.shape[1]


@dataclass(frozen=True)
class ProbeResult:
    """What a probe saw.

    Attributes
    ----------
    ranks : np.ndarray float64 [batches, batch, batch]
        For anchor i and candidate j, how many candidates of the batch are more similar to i
        than j is; a tie counts half, so embeddings that are all equal find nothing.
    mean_cosine : float
        Mean cosine between the embeddings of different windows; near 1 is a collapse.
    """

    ranks: np.ndarray
    mean_cosine: float

    def top(self, k: int) -> float:
        """Share of the anchors whose positive is among the ``k`` most similar candidates."""
        return float((np.diagonal(self.ranks, axis1=1, axis2=2) < k).mean())

    def chance(self, k: int) -> float:
        """Expected :meth:`top` of a model that knows nothing."""
        return min(1.0, k / self.ranks.shape[1])

    def p_value(self, k: int, seed: int = 0) -> float:
        """One-sided permutation test of :meth:`top`: positives swapped within each batch.

        Candidates of one batch are not independent of each other, which a permutation within
        the batch respects and a binomial test would not.
        """
        generator = np.random.default_rng(seed)
        hits = self.ranks < k
        observed = np.diagonal(hits, axis1=1, axis2=2).sum()
        batches, batch, _ = hits.shape
        rows = np.arange(batch)
        as_good = 0
        for _ in range(PERMUTATIONS):
            total = sum(hits[b, rows, generator.permutation(batch)].sum() for b in range(batches))
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
    for rows, starts in zip(pairs.rows, pairs.starts, strict=True):
        embeddings = [
            backbone.predict_on_batch(reader.read(rows[:, side], starts[:, side]))
            for side in (0, 1)
        ]
        z_x, z_y = (_unit(projector.predict_on_batch(side)) for side in embeddings)
        similarity = z_x @ z_y.T  # (batch, batch)
        more_similar = (similarity[:, None, :] > similarity[:, :, None]).sum(axis=2)
        as_similar = (similarity[:, None, :] == similarity[:, :, None]).sum(axis=2) - 1
        ranks.append(more_similar + as_similar / 2)
        cosines.append(mean_cosine(np.concatenate(embeddings)))
    return ProbeResult(np.stack(ranks), float(np.mean(cosines)))


def mean_cosine(embeddings: np.ndarray) -> float:
    """Mean cosine over all pairs of different rows of ``embeddings [n, dim]``."""
    unit = _unit(embeddings)
    n = len(unit)
    return float((np.square(unit.sum(axis=0)).sum() - n) / (n * (n - 1)))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
