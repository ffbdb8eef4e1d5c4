"""Pairings: ways to make (anchor, positive) pairs of tracks for one epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from playlist_pretrain.errors import RecipeError
from playlist_pretrain.registry import Registry

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups


class Pairing(Protocol):
    """What the trainer asks of every pairing.

    A pairing is a pure function of its groups, its seed and the epoch: asked again it answers
    the same, in any order of questions, on every platform.

    Attributes
    ----------
    name : str
        Name in :data:`PAIRINGS`.
    y : {"window"}
        What the positive row of a pair stands for: ``window`` is a window of that track, to go
        through the same tower as the anchor's.
    """

    name: str
    y: Literal["window"]

    def epoch(self, epoch: int) -> Iterator[np.ndarray]:
        """Yield the pairs of an epoch in their final order, in blocks of any size ≥ 1.

        Yields
        ------
        ndarray [shape=(k, 2), int32]
            Rows of a collection: anchor, positive. The arrays are not touched afterwards.
        """

    def count(self, epoch: int) -> int:
        """Exact number of pairs that :meth:`epoch` yields for this epoch."""

    @property
    def expected_pairs(self) -> float:
        """Mean number of pairs of an epoch; exact where all epochs have the same number."""


def _playlist_co(groups: TrackGroups, seed: int) -> Pairing:
    from playlist_pretrain.pairs.co_occurrence import PlaylistCoOccurrence

    return PlaylistCoOccurrence(groups, seed)


PAIRINGS: Registry[Callable[[TrackGroups, int], Pairing]] = Registry("pairing", RecipeError)
"""Factories ``(groups, seed) → Pairing`` by the name that ``--pairs`` takes."""

PAIRINGS.register("playlist_co", _playlist_co)
