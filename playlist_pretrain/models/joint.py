"""Several pairings in one step: one backbone, and a loss for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from playlist_pretrain.models.contrastive import ContrastiveModel


class JointModel(ContrastiveModel):
    """A backbone and a projector trained on a batch of each of several pairings at a time.

    The loss is a weighted mean of the losses of the pairings, each among its own pairs: those of
    another pairing are no negatives. All windows go through the shared tower in one pass. Such a
    combination is what arXiv 2304.12257 (section 5) leaves to future work.

    Parameters
    ----------
    backbone, projector, micro_batch
        As in :class:`ContrastiveModel`; a slice has ``micro_batch`` pairs of each pairing.
    kinds : sequence of {"window", "views", "vector"}
        What the positive side of each pairing is, see :class:`~playlist_pretrain.pairs.Pairing`;
        ``views`` and ``vector`` at most once each.
    weights : sequence of float
        Of the pairings; divided by their sum.
    views : callable, optional
        Of the pairing whose kind is ``views``.
    y_tower : tf.keras.Model, optional
        Of the pairing whose kind is ``vector``.

    Notes
    -----
    Data are tuples with the data of each pairing, in the order of ``kinds``.
    """

    def __init__(
        self,
        backbone: tf.keras.Model,
        projector: tf.keras.Model,
        *,
        kinds: Sequence[str],
        weights: Sequence[float],
        views: Callable | None = None,
        y_tower: tf.keras.Model | None = None,
        micro_batch: int | None = None,
        **kwargs: Any,
    ):
        for kind, given in (("views", views), ("vector", y_tower)):
            if kinds.count(kind) != (given is not None):
                raise ValueError(f"kinds {', '.join(kinds)}: one {kind} needs one of its kind")
        super().__init__(backbone, projector, micro_batch=micro_batch, **kwargs)
        self.views = views
        self.y_tower = y_tower
        self._kinds = tuple(kinds)
        self._shares = tuple(weight / sum(weights) for weight in weights)

    def _sides(self, data):
        """All sides that are windows, pairing after pairing, and the rows of the one that has
        vectors."""
        windows, rows = [], ()
        for kind, part in zip(self._kinds, data, strict=True):
            if kind == "views":
                windows += self._seen(part[0] if isinstance(part, (tuple, list)) else part)
            elif kind == "window":
                windows += part[:2]
            else:
                windows.append(part[0])
                rows = part[1]
        if "views" in self._kinds:  # mixed in float32, while other windows come in 16 bits
            windows = [tf.cast(side, tf.float32) for side in windows]
        return tuple(windows), rows

    def _left_out(self, data):
        masks = [
            part[-1]
            for kind, part in zip(self._kinds, data, strict=True)
            if isinstance(part, (tuple, list)) and len(part) > (1 if kind == "views" else 2)
        ]
        return tuple(masks) or None

    def _windows(self, x, y):
        return x

    def _mean_loss(self, projections, left_out):
        masks = left_out or (None,) * len(self._kinds)
        losses = [
            super(JointModel, self)._mean_loss(pair, mask)
            for pair, mask in zip(self._pairs(projections), masks, strict=True)
        ]
        return tf.add_n([share * loss for share, loss in zip(self._shares, losses, strict=True)])

    def _similarities(self, projections):
        """Means over the pairings."""
        found = [super(JointModel, self)._similarities(pair) for pair in self._pairs(projections)]
        return {name: tf.add_n([one[name] for one in found]) / len(found) for name in found[0]}

    def _pairs(self, projections):
        """The two sides of each pairing."""
        # The projections of vectors come last, whichever pairing has them.
        windows = iter(projections)
        return [
            (next(windows), projections[-1] if kind == "vector" else next(windows))
            for kind in self._kinds
        ]
