"""Pairings: ways to make (anchor, positive) pairs of tracks for one epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from playlist_pretrain.errors import GroupsError, RecipeError
from playlist_pretrain.pairs.pairings import (
    ArtistCoOccurrence,
    PlaylistCoOccurrence,
    PlaylistWord2Vec,
    SimClr,
    TopCoOccurrence,
)
from playlist_pretrain.playlists.groups import TrackGroups, groups_path, load_groups, usable_tracks
from playlist_pretrain.playlists.settings import TableSettings
from playlist_pretrain.playlists.top_table import cached_top_table, top_table
from playlist_pretrain.playlists.word2vec import cached_vectors, track_vectors
from playlist_pretrain.records.collection import Collection, opened
from playlist_pretrain.registry import Registry

logger = logging.getLogger(__name__)


class Pairing(Protocol):
    """Anatomy of a pairing, as the trainer needs it.

    A pairing is a pure function of its groups, its seed and the epoch: asked again it answers
    the same, in any order of questions, on every platform. Where ``y`` is ``vector`` it also has a
    ``table`` (float32 [tracks, size]).
    """

    @property
    def name(self) -> str:
        """Its key in :data:`PAIRINGS`; a pairing may have this and ``y`` as attributes."""

    @property
    def y(self) -> Literal["window", "views", "vector"]:
        """The positive side of a pair.

        ``window`` is a window of the positive row, to go through the same tower as the anchor's;
        ``views`` means that anchor and positive are one row, and x and y two views of one window
        of it; ``vector`` is the positive's row of ``table``.
        """

    def epoch(self, epoch: int) -> Iterator[np.ndarray]:
        """Yield the pairs of an epoch in their final order, in blocks [k, 2], int32, k ≥ 1.

        They are rows of a collection: anchor, positive. The arrays are not touched afterwards.
        """

    def count(self, epoch: int) -> int:
        """Exact number of pairs that :meth:`epoch` yields for this epoch."""

    @property
    def expected_pairs(self) -> float:
        """Mean number of pairs of an epoch; exact where all epochs have the same number."""


@dataclass(frozen=True)
class Material:
    """Groups, tracks and settings that pairings are made of.

    Only ``simclr`` does without ``groups``; ``usable`` (bool [tracks]) are the tracks that may be
    trained on. ``settings`` are those of the tables that some pairings need, which are kept in
    ``folder`` if there is one and name their tracks by ``track_ids``.
    """

    groups: TrackGroups | None
    usable: np.ndarray
    settings: TableSettings = field(default_factory=TableSettings)
    folder: Path | None = None
    track_ids: Sequence[str] | None = None

    @classmethod
    def of(cls, groups: TrackGroups, settings: TableSettings | None = None) -> Material:
        """Groups alone, all of whose tracks are usable: for notebooks and tests."""
        return cls(groups, np.ones(groups.tracks, bool), settings or TableSettings())

    def needed_groups(self, pairing: str) -> TrackGroups:
        """The groups, or a GroupsError that names the pairing."""
        if self.groups is None:
            raise GroupsError(f"--pairs {pairing} needs groups")
        return self.groups


def _playlist_tco(material: Material, seed: int) -> Pairing:
    groups, longest = material.needed_groups("playlist_tco"), material.settings.max_group_length
    if material.folder is None:
        table = top_table(groups, max_group_length=longest)
    else:
        table = cached_top_table(groups, material.folder, max_group_length=longest)
    return TopCoOccurrence(table, seed)


def _playlist_w2v(material: Material, seed: int) -> Pairing:
    groups = material.needed_groups("playlist_w2v")
    settings = material.settings
    if material.folder is None or material.track_ids is None:
        vectors = track_vectors(groups, settings)
    else:
        vectors = cached_vectors(groups, material.track_ids, material.folder, settings)
    without = int(material.usable.sum()) - len(vectors.rows)
    if without:
        short = f" of at most {settings.max_group_length:,}" if vectors.left_out else ""
        logger.info(f"{without:,} tracks are in no group{short} and take no part")
    return PlaylistWord2Vec(vectors, groups.tracks, seed)


PAIRINGS: Registry[Callable[[Material, int], Pairing]] = Registry("pairing", RecipeError)
"""Factories ``(material, seed) → Pairing`` by the name that ``--pairs`` takes."""

PAIRINGS.register(
    "playlist_co",
    lambda material, seed: PlaylistCoOccurrence(material.needed_groups("playlist_co"), seed),
)
PAIRINGS.register("playlist_tco", _playlist_tco)
PAIRINGS.register("playlist_w2v", _playlist_w2v)
PAIRINGS.register(
    "artist_co",
    lambda material, seed: ArtistCoOccurrence(material.needed_groups("artist_co"), seed),
)
PAIRINGS.register("simclr", lambda material, seed: SimClr(np.flatnonzero(material.usable), seed))


def pairing(
    name: str,
    source: str | Path | Collection | TrackGroups,
    *,
    groups: str | None = None,
    seed: int = 0,
    frames: int | None = None,
    **settings: Any,
) -> Pairing:
    """Make a pairing of a collection, or of groups.

    >>> pairs = pairing("playlist_co", "tfrecords/mine")
    >>> rows = next(pairs.epoch(0))  # [pairs, 2]

    Parameters
    ----------
    name : str
        Key of :data:`PAIRINGS`: ``playlist_co``, ``playlist_tco``, ``playlist_w2v``,
        ``artist_co``, ``simclr`` or one that was registered.
    source : str, Path, Collection or TrackGroups
        A collection with its groups, without the tracks that are shorter than a window; or groups,
        all of whose tracks are used.
    groups : str, optional
        Name of the groups of a collection; default ``artists`` for ``artist_co``, ``playlists``
        for others.
    seed : int
    frames : int, optional
        Frames of a window; default those of the collection's front end.
    **settings
        Fields of :class:`~playlist_pretrain.playlists.settings.TableSettings`, such as
        ``max_group_length``, ``w2v_size`` or ``exclude``, a file of ids to leave out. No groups
        are held out.

    Raises
    ------
    CollectionError, GroupsError, RecipeError, TableError
        When there is no such collection, groups, or pairing, or ids cannot be left out.
    """
    make, chosen = PAIRINGS.get(name), TableSettings(**settings)
    chosen.check(word2vec=name == "playlist_w2v")
    if isinstance(source, TrackGroups):
        return make(Material.of(source, chosen), seed)
    collection = opened(source)
    frames = frames or collection.front_end.window_frames
    usable, _ = usable_tracks(collection, frames=frames, exclude=chosen.exclude)
    named = groups or ("artists" if name == "artist_co" else "playlists")
    found = None
    if name != "simclr" or groups or groups_path(collection.path, named).exists():
        found = load_groups(collection, named).without_tracks(~usable)
    return make(Material(found, usable, chosen, collection.path, collection.track_ids), seed)
