"""JSPF playlists: one file is one group.

Format: JSON, ``{"playlist": {"track": [{"identifier": …, "location": …}, …]}}``, both text or a
list of texts; also the form without ``playlist`` around it. A track's id is its first identifier
(the address of a MusicBrainz recording is reduced to its id), or else its first location, see
``paths.py``; a track with neither has its ``creator – title``.
Provenance: https://www.xspf.org/jspf; ListenBrainz exports it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from playlist_pretrain.delimited import RowError
from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.json_text import field, object_of
from playlist_pretrain.playlists.readers.paths import FIELDS, track_id_of_fields
from playlist_pretrain.playlists.readers.source import Group, Reader, Request, Source, usable


class JspfReader(Reader):
    """Reader of JSPF playlists; see the module."""

    name = "jspf"
    description = (
        "JSPF: a file, or a folder or zip file of them; a file is a group, tracks are "
        "identifiers, or else locations below the folder or --audio"
    )
    options = frozenset({"audio"})
    suffixes = (".jspf",)

    def begins(self, start: bytes) -> bool:
        """True for JSON that begins with a playlist of tracks."""
        return (
            start.lstrip().startswith(b"{")
            and b'"playlist"' in start
            and b'"track"' in start
            and b'"playlists"' not in start
        )

    def groups(self, source: Source, request: Request) -> Iterator[Group]:
        """Yield the group of a file."""
        name = source.name
        try:
            content = object_of(source.read(request.advance), name)
            tracks = field(content.get("playlist", content), "track", list, f"{name}: playlist")
        except RowError as error:  # no row but all of them
            raise TableError(str(error)) from error

        def track_id(number: int, track: Any) -> str:
            where = f"{name}: track {number}"
            if type(track) is not dict:
                raise RowError(f"{where}: not an object", "a track that is no object")
            fields = {key: _first(track, key, where) for key in FIELDS}
            return track_id_of_fields(fields, source, request.audio, where)

        yield source.group_id, list(usable(enumerate(tracks), track_id, request))


def _first(track: dict[str, Any], key: str, where: str) -> str:
    """First text of a field that may be there, be text, or be a list of texts."""
    value = track.get(key)
    values = value if type(value) is list else [value]
    for one in values:
        if one is not None and type(one) is not str:
            raise RowError(f"{where}: {key!r} is not text", f"{key!r} is not text")
    return next((one for one in values if one), "")
