"""Melon Playlist Dataset: ``train.json``, ``val.json``, ``test.json`` and ``song_meta.json``.

Format: JSON lists. A playlist has ``id`` and ``songs``, a song has ``id`` (``_id`` in some copies),
``artist_id_basket``, ``album_id`` and ``song_gn_gnr_basket``. All ids are whole numbers or text; a
track id is the song's id as text. ``test.json`` has playlists without songs.
Provenance: Ferraro et al., ICASSP 2021, https://mtg.github.io/melon-playlist-dataset/.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from playlist_pretrain.delimited import RowError
from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.json_text import elements, field
from playlist_pretrain.playlists.readers.source import (
    Group,
    Reader,
    Request,
    Source,
    first_bytes,
    sources_in,
    usable,
    valid_id,
)

PLAYLISTS = "train.json, val.json, test.json"
SONGS = "song_meta.json"
BASKETS = {"artists": "artist_id_basket", "albums": "album_id", "genres": "song_gn_gnr_basket"}
SIGNS = (b'"plylst_title"', b'"song_gn_gnr_basket"', b'"artist_id_basket"')


class MelonReader(Reader):
    """Reader of the Melon Playlist Dataset; see the module."""

    name = "melon"
    description = (
        "Melon Playlist Dataset: train.json, val.json and test.json, or a folder or zip file "
        "with them and song_meta.json; tracks are song ids"
    )
    kinds = ("playlists", *BASKETS)
    files = f"{PLAYLISTS} or {SONGS}"

    def accepts(self, path: PurePosixPath) -> bool:
        """True for the names of its files."""
        return path.name in (*PLAYLISTS.split(", "), SONGS)

    def sniff(self, path: Path) -> bool:
        """True where there is one of its files, by name in a folder and by content alone."""
        if path.is_file() and (start := first_bytes(path)):
            return start.lstrip().startswith(b"[") and any(sign in start for sign in SIGNS)
        return any(self.accepts(source.path) for source in sources_in(path, self.accepts))

    def read(self, sources: Sequence[Source], request: Request) -> Iterator[Group]:
        """Yield the playlists, or the songs of each artist, album or genre song by song."""
        of_songs = request.kind in BASKETS
        wanted = [
            source
            for source in sources
            if len(sources) == 1 or (source.path.name == SONGS) == of_songs
        ]
        if not wanted:
            files = SONGS if of_songs else PLAYLISTS
            raise TableError(f"{sources[0].name}: {request.kind} are in {files}, which is not here")
        for source in sources:
            if source not in wanted:
                request.advance(source.size)
        yield from super().read(wanted, request)

    def groups(self, source: Source, request: Request) -> Iterator[Group]:
        """Yield the playlists of a file, or a group for each basket of each song."""
        name = source.name
        data, damage = source.read_far(request.advance)
        for number, one in enumerate(elements(data, name, damage=damage)):
            try:
                if request.kind in BASKETS:
                    yield from _baskets(one, request, f"{name}: song {number}", name)
                    continue
                group = _id(one, ("id",), f"{name}: playlist {number}")
                where = f"{name}: playlist {group[:60]}"
                songs = field(one, "songs", list, where)
            except RowError as error:
                error.reason = f"a whole {request.kind[:-1]}: {error.reason}"
                request.damaged(error)
            else:
                places = [(song, f"{where}, song {i}") for i, song in enumerate(songs)]
                yield group, list(usable(places, _text, request))


def _baskets(song: Any, request: Request, where: str, name: str) -> Iterator[Group]:
    track = _id(song, ("id", "_id"), where)
    where, basket = f"{name}: song {track[:60]}", BASKETS[request.kind]
    if basket not in song:
        raise RowError(f"{where}: no {basket!r}", f"no {basket!r}")
    groups = song[basket] if type(song[basket]) is list else [song[basket]]
    for group in usable([(one, f"{where}: {basket!r}") for one in groups], _text, request):
        yield group, [track]


def _id(holder: Any, keys: Sequence[str], where: str) -> str:
    if type(holder) is not dict:
        raise RowError(f"{where}: not an object", "not an object")
    for key in keys:
        if key in holder:
            return _text(holder[key], f"{where}: {key!r}")
    raise RowError(f"{where}: no {keys[0]!r}", f"no {keys[0]!r}")


def _text(value: Any, where: str) -> str:
    if type(value) is int:
        return str(value)
    if type(value) is not str:
        raise RowError(f"{where}: neither a whole number nor text", "an id of another type")
    return valid_id(value, where)
