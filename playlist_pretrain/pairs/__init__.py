"""Pairings: ways to make (anchor, positive) pairs of tracks for one epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from playlist_pretrain.errors import GroupsError, RecipeError
from playlist_pretrain.playlists.settings import TableSettings
from playlist_pretrain.registry import Registry

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.storage import RemotePath


class Pairing(Protocol):
    """What the trainer asks of every pairing.

    A pairing is a pure function of its groups, its seed and the epoch: asked again it answers
    the same, in any order of questions, on every platform.

    Attributes
    ----------
    name : str
        Name in :data:`PAIRINGS`.
    y : {"window", "views", "vector"}
        What the positive row of a pair stands for: ``window`` is a window of that track, to go
        through the same tower as the anchor's; ``views`` means that anchor and positive are one
        row, and x and y two views of one window of it; ``vector`` is that row of ``table``.
    table : ndarray [shape=(tracks, size), float32]
        The vectors of the positive side, where ``y`` is ``vector``; there is none otherwise.
    """

    @property
    def name(self) -> str:
        """Its key in :data:`PAIRINGS`; a pairing may have this and ``y`` as attributes."""

    @property
    def y(self) -> Literal["window", "views", "vector"]:
        """What the positive row of a pair stands for."""

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


@dataclass(frozen=True)
class Material:
    """What pairings are made of.

    Attributes
    ----------
    groups : TrackGroups or None
        Groups to train on; only ``simclr`` does without.
    usable : ndarray [shape=(tracks,), bool]
        Tracks that may be trained on.
    settings : TableSettings
        Of the tables that some pairings need.
    folder : Path or RemotePath, optional
        Where these tables are kept; without one they are made anew.
    track_ids : sequence of str, optional
        Ids of all rows, for tables that name their tracks.
    say : callable
        Told what a user should know about the tables.
    quiet : bool
        No progress.
    """

    groups: TrackGroups | None
    usable: np.ndarray
    settings: TableSettings = field(default_factory=TableSettings)
    folder: Path | RemotePath | None = None
    track_ids: Sequence[str] | None = None
    say: Callable[[str], object] = lambda text: None
    quiet: bool = True

    @classmethod
    def of(cls, groups: TrackGroups, settings: TableSettings | None = None) -> Material:
        """Groups alone, all of whose tracks are usable: for notebooks and tests."""
        return cls(groups, np.ones(groups.tracks, bool), settings or TableSettings())

    def needed_groups(self, pairing: str) -> TrackGroups:
        """The groups.

        Raises
        ------
        GroupsError
            When there are none.
        """
        if self.groups is None:
            raise GroupsError(f"--pairs {pairing} needs groups")
        return self.groups


def _playlist_co(material: Material, seed: int) -> Pairing:
    from playlist_pretrain.pairs.co_occurrence import PlaylistCoOccurrence

    return PlaylistCoOccurrence(material.needed_groups("playlist_co"), seed)


def _artist_co(material: Material, seed: int) -> Pairing:
    from playlist_pretrain.pairs.co_occurrence import ArtistCoOccurrence

    return ArtistCoOccurrence(material.needed_groups("artist_co"), seed)


def _playlist_tco(material: Material, seed: int) -> Pairing:
    from playlist_pretrain.pairs.co_occurrence import TopCoOccurrence
    from playlist_pretrain.playlists.top_table import cached_top_table, top_table

    groups, longest = material.needed_groups("playlist_tco"), material.settings.max_group_length
    if material.folder is None:
        table = top_table(groups, max_group_length=longest, quiet=material.quiet)
    else:
        table = cached_top_table(
            groups,
            material.folder,
            max_group_length=longest,
            quiet=material.quiet,
            say=material.say,
        )
    return TopCoOccurrence(table, seed)


def _playlist_w2v(material: Material, seed: int) -> Pairing:
    from playlist_pretrain.pairs.co_occurrence import PlaylistWord2Vec
    from playlist_pretrain.playlists.word2vec import Word2VecSettings, cached_vectors, track_vectors

    groups = material.needed_groups("playlist_w2v")
    settings = Word2VecSettings.of(material.settings)
    if material.folder is None or material.track_ids is None:
        vectors = track_vectors(groups, settings, quiet=material.quiet, say=material.say)
    else:
        vectors = cached_vectors(
            groups,
            material.track_ids,
            material.folder,
            settings,
            quiet=material.quiet,
            say=material.say,
        )
    without = int(material.usable.sum()) - len(vectors.rows)
    if without:
        short = f" of at most {settings.max_group_length:,}" if vectors.left_out else ""
        material.say(f"{without:,} tracks are in no group{short} and take no part")
    return PlaylistWord2Vec(vectors, groups.tracks, seed)


def _simclr(material: Material, seed: int) -> Pairing:
    from playlist_pretrain.pairs.co_occurrence import SimClr

    return SimClr(np.flatnonzero(material.usable), seed)


PAIRINGS: Registry[Callable[[Material, int], Pairing]] = Registry("pairing", RecipeError)
"""Factories ``(material, seed) → Pairing`` by the name that ``--pairs`` takes."""

for _name, _factory in {
    "playlist_co": _playlist_co,
    "playlist_tco": _playlist_tco,
    "playlist_w2v": _playlist_w2v,
    "artist_co": _artist_co,
    "simclr": _simclr,
}.items():
    PAIRINGS.register(_name, _factory)
