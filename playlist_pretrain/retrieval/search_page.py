"""The page of ``search``: what a map page is to show of the tracks that were searched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from playlist_pretrain.delimited import read_columns, read_header
from playlist_pretrain.errors import PlaylistPretrainError
from playlist_pretrain.records.sources import find_audio
from playlist_pretrain.retrieval.map_page import write_map_page
from playlist_pretrain.retrieval.table_groups import (
    ARTISTS,
    BETWEEN_KIND_AND_TAG,
    audio_folder,
    text_about,
)
from playlist_pretrain.storage import RemotePath, location
from playlist_pretrain.tasks.tag_table import RemoteTable

if TYPE_CHECKING:
    from pathlib import Path

    from playlist_pretrain.cli.search import Searched, SearchOptions
    from playlist_pretrain.playlists.groups import TrackGroups

TRACKS_FILE = "tracks.csv"
_NOT_SHOWN = ("playlists", "sessions")
"""Groups of which a track is in dozens: no colour for a point, no line to read."""


def write_page(options: SearchOptions, searched: Searched) -> None:
    """Write ``options.page`` and say what became of it.

    Tracks are coloured by the groups and tags that there are, artists first; titles come from
    ``--artists`` or the collection's ``tracks.csv``, where these have any; audio files are those
    that the embeddings were made from, or those of ``--audio-folder``.

    Raises
    ------
    PlaylistPretrainError
        See :func:`~playlist_pretrain.retrieval.map_page.write_map_page`; or an audio folder that
        cannot be read.
    """
    table = searched.table
    files = None
    if options.audio_folder is not None and table.paths is None:
        known = set(table.track_ids)
        found = find_audio(options.audio_folder).tracks
        files = {track.track_id: track.source for track in found if track.track_id in known}
        if not files:
            options.say(f"{options.audio_folder}: no file has the name of a track")
    groups = sorted(searched.groups, key=lambda one: one.name != ARTISTS)
    page = write_map_page(
        options.page,
        table,
        labels={_label(one.name): _values(one, searched) for one in groups if _shown(one)},
        titles=_titles(options, searched),
        audio=audio_folder(table, options.audio_folder),
        files=files,
        selected=options.track[0] if len(options.track) == 1 else None,
        seed=options.seed,
        say=options.say,
    )
    played = f"{page.linked:,} with audio" if page.linked else "none with audio (--audio-folder)"
    options.say(f"{options.page}: {page.tracks:,} tracks, {played}; open it in a browser")
    if page.refused:
        options.say(
            f"{len(page.refused):,} tracks have a path that is none below the audio folder, such "
            f"as {page.refused[0]!r}: they are not played"
        )


def _shown(groups: TrackGroups) -> bool:
    return groups.name not in _NOT_SHOWN and len(groups) > 0


def _label(name: str) -> str:
    """``artists`` → artist, ``tags-genre`` → genre."""
    return name.removeprefix("tags-").removesuffix("s")


def _values(groups: TrackGroups, searched: Searched) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    of_tags = groups.name.startswith("tags")
    for number, name in enumerate(groups.group_ids):
        # A tag of the kind genre is called genre---rock; any other name stays whole.
        text = name.rpartition(BETWEEN_KIND_AND_TAG)[2] if of_tags else name
        for row in groups.group(number).tolist():
            values.setdefault(searched.table.track_ids[row], []).append(text)
    return values


def _titles(options: SearchOptions, searched: Searched) -> dict[str, str]:
    place = options.collection or text_about(searched.table, "collection")
    paths = [location(options.artists)] if options.artists else []
    paths += [location(place) / TRACKS_FILE] if place else []
    for path in paths:
        try:
            if not path.exists():  # the collection need not have one
                continue
            table = RemoteTable(path) if isinstance(path, RemotePath) else path
            if "title" in read_header(table, ["track_id"]):
                return dict(_pairs(table, set(searched.table.track_ids)))
        except PlaylistPretrainError as error:
            options.say(f"no titles: {error}")
    return {}


def _pairs(path: Path | RemoteTable, known: set[str]) -> Iterable[tuple[str, str]]:
    for _, (track_id, title) in read_columns(path, ["track_id", "title"], blank={"title"}):
        if track_id in known and title.strip():
            yield track_id, title
