"""A look at groups: their tables made ahead, the nearest tracks of a few, and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playlist_pretrain.errors import GroupsError
from playlist_pretrain.playlists.figures import draw_groups
from playlist_pretrain.playlists.groups import TrackGroups, groups_path, load_groups
from playlist_pretrain.playlists.nearest import (
    nearest_by_cosine,
    nearest_by_count,
    nearest_text,
    rows_to_show,
)
from playlist_pretrain.playlists.split import split_groups
from playlist_pretrain.playlists.top_table import cached_top_table
from playlist_pretrain.playlists.vectors_file import cached_vectors
from playlist_pretrain.playlists.word2vec import Word2VecSettings

if TYPE_CHECKING:
    from playlist_pretrain.playlists.make import MatchOptions
    from playlist_pretrain.records.collection import Collection


def show_groups(
    options: MatchOptions,
    tables: tuple[str, ...],
    collection: Collection,
    groups: TrackGroups,
) -> None:
    """Make tables, print the nearest tracks, and draw, as the options ask for.

    Tables are those that ``pretrain.py`` will look for: of the groups that are trained on, which
    leaves out the ones held out for the probe, with the collection's own window.

    Raises
    ------
    GroupsError
        When nothing is left to make tables of.
    """
    split = split_groups(
        groups,
        collection,
        frames=collection.front_end.window_frames,
        exclude=options.exclude,
        probe_share=options.probe_share,
        say=options.say,
    )
    if not len(split.kept):
        raise GroupsError(f"{collection.path}: no group of {groups.name!r} can be trained on")
    rows = rows_to_show(options.nearest, collection, split.kept)
    options.say(
        f"{len(split.kept):,} groups to train on, {len(split.held_out):,} held out for the probe "
        "and in no table"
    )
    common: dict[str, Any] = {"quiet": options.quiet, "say": options.say}
    found = {}
    table = None
    if "tco" in tables or options.figures:
        table = cached_top_table(
            split.kept, collection.path, max_group_length=options.max_group_length, **common
        )
    if "tco" in tables:
        found["groups shared"] = [nearest_by_count(table, row) for row in rows]
    if "w2v" in tables:
        settings = Word2VecSettings.of(options)
        vectors = cached_vectors(
            split.kept, collection.track_ids, collection.path, settings, **common
        )
        found["cosine of Word2Vec"] = [nearest_by_cosine(vectors, row) for row in rows]
    for how, nearest in found.items():
        for row, near in zip(rows, nearest, strict=True):
            options.say(nearest_text(collection.track_ids, row, how, near))
    if options.figures:
        folder = collection.path / f"figures-{groups.name}"
        drawn = draw_groups(groups, table, folder, _artists(collection, groups))
        options.say(f"{folder}: {', '.join(path.name for path in drawn)}")


def _artists(collection: Collection, groups: TrackGroups) -> TrackGroups | None:
    """Artists of the collection, when it has such groups and they are of its present content."""
    if groups.name == "artists":
        return groups
    if not groups_path(collection.path, "artists").exists():
        return None
    return load_groups(collection, "artists")
