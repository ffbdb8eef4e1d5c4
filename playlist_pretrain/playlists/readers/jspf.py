"""JSPF playlists: one file is one group.

Format: JSON, ``{"playlist": {"track": [{"identifier": …, "location": …}, …]}}``, both text or a
list of texts; also the form without ``playlist`` around it. A track's id is its first identifier
(the address of a MusicBrainz recording is reduced to its id), or else its first location, see
``paths.py``; a track with neither has its ``creator – title``.
Provenance: https://www.xspf.org/jspf; ListenBrainz exports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.json_text import field, object_of, text_of, valid_id
from playlist_pretrain.playlists.readers.paths import (
    group_id_of,
    track_id_of_identifier,
    track_id_of_path,
)
from playlist_pretrain.playlists.readers.source import Request, Source, first_bytes, sources_in


class JspfReader:
    """Reader of JSPF playlists; see the module."""

    name = "jspf"
    description = (
        "JSPF: a file, or a folder or zip file of them; a file is a group, tracks are "
        "identifiers, or else locations below the folder or --audio"
    )
    kinds = ("playlists",)
    options = frozenset({"audio"})

    def sniff(self, path: Path) -> bool:
        """True for playlists by name, and for JSON that begins with a playlist of tracks."""
        if any(_is_jspf(source.path) for source in sources_in(path, _is_jspf)):
            return True
        start = first_bytes(path)
        return (
            start.lstrip().startswith(b"{")
            and b'"playlist"' in start
            and b'"track"' in start
            and b'"playlists"' not in start
        )

    def sources(self, path: Path) -> list[Source]:
        """The file, or all playlists in a folder or zip file."""
        found = sources_in(path, _is_jspf)
        if not found:
            raise TableError(f"{path}: no .jspf in this folder or zip file")
        return found

    def read(self, sources: Sequence[Source], request: Request) -> Iterator[tuple[str, list[str]]]:
        """Yield a group for each file."""
        for source in sources:
            try:
                data = source.read(request.advance)
                yield group_id_of(source.path), _tracks(data, source, request.audio)
            except TableError as error:
                request.damaged(error)


def _is_jspf(path: PurePosixPath) -> bool:
    return path.suffix.lower() == ".jspf"


def _tracks(data: bytes, source: Source, audio: Path | None) -> list[str]:
    name = source.name
    content = object_of(text_of(data, name), name)
    playlist = content.get("playlist", content)
    tracks = field(playlist, "track", list, f"{name}: playlist")
    return [
        _track_id(track, source.path, audio, f"{name}: track {number}")
        for number, track in enumerate(tracks)
    ]


def _track_id(track: Any, playlist: PurePosixPath, audio: Path | None, where: str) -> str:
    if type(track) is not dict:
        raise TableError(f"{where}: not an object")
    identifier = _first(track, "identifier", where)
    if identifier:
        return valid_id(track_id_of_identifier(identifier), f"{where}: 'identifier'")
    location = _first(track, "location", where)
    if location:
        return valid_id(track_id_of_path(location, playlist, audio), f"{where}: 'location'")
    named = [_first(track, key, where) for key in ("creator", "title")]
    if not any(named):
        raise TableError(f"{where}: no 'identifier', 'location' or 'title'")
    return valid_id(" – ".join(filter(None, named)), f"{where}: 'title'")


def _first(track: dict[str, Any], key: str, where: str) -> str:
    """First text of a field that may be there, be text, or be a list of texts."""
    value = track.get(key)
    values = value if type(value) is list else [value]
    for one in values:
        if one is not None and type(one) is not str:
            raise TableError(f"{where}: {key!r} is not text")
    return next((one for one in values if one), "")
