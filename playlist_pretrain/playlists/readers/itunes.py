"""Libraries of iTunes and Apple Music (``Library.xml``): each playlist in it is a group.

Format: XML property list, a dictionary with ``Tracks`` (by their number: ``Location``, ``Artist``,
``Name``) and ``Playlists`` (``Name``, ``Playlist Items``, each with a ``Track ID``). A track's id
is that of its location, see ``paths.py``, or else its ``artist – name``. Left out are folders of
playlists and the lists that the program makes of the whole library.
Provenance: File, Library, Export Library.
"""

from __future__ import annotations

import plistlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.parsers.expat import ExpatError

from playlist_pretrain.delimited import RowError
from playlist_pretrain.errors import TableError, first_line
from playlist_pretrain.playlists.readers.paths import track_id_of_fields
from playlist_pretrain.playlists.readers.source import Group, Reader, Request, Source, usable

FIELDS = {"location": "Location", "creator": "Artist", "title": "Name"}
OF_THE_PROGRAM = ("Master", "Distinguished Kind", "Folder")
"""Keys of lists that are no playlists of the user's: their tracks are in others too."""
LARGEST = 128 << 20
"""Bytes of a library, which takes ten times that in memory."""
DAMAGES = (ExpatError, ValueError, TypeError, AttributeError, LookupError, RuntimeError,
           ArithmeticError)  # fmt: skip


class ItunesReader(Reader):
    """Reader of the libraries of iTunes and Apple Music; see the module."""

    name = "itunes"
    description = (
        "library of iTunes or Apple Music, Library.xml: groups are its playlists, tracks are "
        "locations below --audio, or else artist and name"
    )
    options = frozenset({"audio"})
    files = "Library.xml"

    def accepts(self, path: PurePosixPath) -> bool:
        """True for the names that the programs give."""
        return path.name.endswith("Library.xml")

    def begins(self, start: bytes) -> bool:
        """True for a property list with what such a library begins with."""
        return b"<plist" in start and b"<key>Tracks</key>" in start

    def sources(self, path: Path) -> list[Source]:
        """The libraries; of several, each owns its playlists, which may have the same names."""
        found = super().sources(path)
        for source in found if len(found) > 1 else ():
            source.owner = f"{source.group_id}/"
        return found

    def groups(self, source: Source, request: Request) -> Iterator[Group]:
        """Yield the playlists of a library."""
        try:
            library = plistlib.loads(source.read(request.advance, LARGEST), fmt=plistlib.FMT_XML)
        except DAMAGES as error:
            said = first_line(error)
            raise TableError(f"{source.name}: not XML, cut off or damaged: {said}") from error
        tracks, playlists = (
            library.get(key) if type(library) is dict else None for key in ("Tracks", "Playlists")
        )
        if type(tracks) is not dict or type(playlists) is not list:
            raise TableError(f"{source.name}: no Tracks and Playlists, so it is no library")

        def track_id(where: str, item: Any) -> str:
            number = item.get("Track ID") if type(item) is dict else None
            track = tracks.get(str(number)) if type(number) is int else None
            if type(track) is not dict:
                what = "its track is not in the library"
                raise RowError(f"{where}: {what}", "a track that is not listed")
            fields = {key: _text(track.get(name)) for key, name in FIELDS.items()}
            return track_id_of_fields(fields, source, request.audio, where)

        taken: set[str] = set()
        for number, playlist in enumerate(playlists):
            where = f"{source.name}: playlist {number}"
            items = playlist.get("Playlist Items", []) if type(playlist) is dict else None
            if type(items) is not list:
                request.damaged(RowError(f"{where}: no playlist", "a whole playlist: no playlist"))
                continue
            places = [(f"{where}, item {i}", item) for i, item in enumerate(items)]
            if any(playlist.get(key) for key in OF_THE_PROGRAM):
                for place, _ in places:
                    what = "in a list that the program makes itself"
                    request.damaged(RowError(f"{place}: {what}", what, usual=True))
                continue
            name, key = (_text(playlist.get(key)) for key in ("Name", "Playlist Persistent ID"))
            name = source.owner + (name or str(number))
            if name in taken:
                name = f"{name} ({key or number})"
            taken.add(name)
            yield name, list(usable(places, track_id, request))


def _text(value: Any) -> str:
    return value.strip() if type(value) is str else ""
