"""XSPF playlists: one file is one group.

Format: XML, ``playlist/trackList/track`` with ``identifier`` and ``location``, the first of which
counts. A track's id is chosen as in ``jspf.py``. A document type, and with it entities, is
refused: it is not part of the format, and a few lines of it may expand without end.
Provenance: https://www.xspf.org/spec.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.parsers import expat

from playlist_pretrain.delimited import BYTE_ORDER_MARK, RowError
from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.paths import FIELDS, track_id_of_fields
from playlist_pretrain.playlists.readers.source import Group, Reader, Request, Source, in_parts

NAMESPACES = ("http://xspf.org/ns/0/", "")
TRACK = ["playlist", "trackList", "track"]
DEEPEST = 100


class XspfReader(Reader):
    """Reader of XSPF playlists; see the module."""

    name = "xspf"
    description = (
        "XSPF: a file, or a folder or zip file of them; a file is a group, tracks are "
        "identifiers, or else locations below the folder or --audio"
    )
    options = frozenset({"audio"})
    suffixes = (".xspf",)

    def begins(self, start: bytes) -> bool:
        """True for XML that names the format."""
        return b"<playlist" in start and b"xspf.org/ns/0" in start

    def groups(self, source: Source, request: Request) -> Iterator[Group]:
        """Yield the group of a file."""
        yield from in_parts(source.group_id, _tracks(source, request))


def _tracks(source: Source, request: Request) -> Iterator[str]:
    content, damage = source.read_far(request.advance)
    content = content.removeprefix(BYTE_ORDER_MARK)
    parser = _Parser(source, request, content)
    try:
        parser.parse(content, final=damage is None)
    except TableError as error:
        damage = damage or error
    yield from parser.tracks
    if damage:
        raise damage


class _Parser:
    """Collects the track ids of a document."""

    def __init__(self, source: Source, request: Request, content: bytes):
        self.tracks: list[str] = []
        self._number = 0
        self._source, self._request = source, request
        self._path: list[str] = []
        self._found: dict[str, str] = {}
        self._text: list[str] | None = None
        self._has_list = False
        # What was recoded to UTF-8 still names what it was.
        recoded = source.encoding or re.match(rb"<\?xml[^>]*encoding=.utf-16", content, re.I)
        self._expat = expat.ParserCreate("utf-8" if recoded else None, " ")
        self._expat.StartDoctypeDeclHandler = self._refuse_doctype
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._characters

    def parse(self, content: bytes, *, final: bool) -> None:
        """Parse a document; damage is a TableError with line and column."""
        name = self._source.name
        if final and not content:
            raise TableError(f"{name}: the file is empty")
        try:
            self._expat.Parse(content, final)
        except expat.ExpatError as error:
            raise TableError(f"{name}: not XML, cut off or damaged: {error}") from error
        except (ValueError, LookupError) as error:  # an encoding that nobody knows
            raise TableError(f"{name}: not XML: {error}") from error
        if final and not self._has_list:
            raise TableError(f"{name}: no trackList")

    @property
    def _where(self) -> str:
        return f"{self._source.name}: line {self._expat.CurrentLineNumber}"

    def _refuse_doctype(self, *arguments: object) -> None:
        raise TableError(f"{self._where}: a document type, which XSPF does not have")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if namespace not in NAMESPACES:
            local = name  # another vocabulary inside of an extension
        if not self._path and local != "playlist":
            raise TableError(f"{self._where}: <{local[:60]}> is not a playlist")
        self._path.append(local)
        if len(self._path) > DEEPEST:
            raise TableError(f"{self._where}: nested too deeply")
        if self._path == TRACK[:-1]:
            self._has_list = True
        elif self._path == TRACK:
            self._found = {}
        elif self._path[:-1] == TRACK and local in FIELDS:
            self._text = []

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _end(self, name: str) -> None:
        if self._text is not None and self._path[:-1] == TRACK:
            text = "".join(self._text).strip()
            if text:
                self._found.setdefault(self._path[-1], text)
            self._text = None
        if self._path == TRACK:
            where = f"{self._where}: track {self._number + 1}"
            self._number += 1
            try:
                found = track_id_of_fields(self._found, self._source, self._request.audio, where)
            except RowError as error:
                self._request.damaged(error)
            else:
                self.tracks.append(found)
        self._path.pop()
