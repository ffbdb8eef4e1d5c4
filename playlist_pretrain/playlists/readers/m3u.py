"""M3U and M3U8 playlists: one file is one group.

Format: a path or an address a line; lines that begin with ``#`` and blank lines do not count.
Text is UTF-8, or in the encoding that a line ``#EXTENC: NAME`` before it names; a line of an
``.m3u`` that is neither is read as Windows-1252, which it usually is then.
Provenance: written by most players. See ``paths.py`` for how an entry becomes a track id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from playlist_pretrain.delimited import RowError, check_encoding
from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.paths import track_id_of_path
from playlist_pretrain.playlists.readers.source import (
    Group,
    Reader,
    Request,
    Source,
    in_parts,
    usable,
    valid_id,
)

ENCODING = re.compile(rb"\s*#EXTENC:\s*([\w.:-]+)", re.ASCII | re.IGNORECASE)
GUESS = "Windows-1252"


class M3uReader(Reader):
    """Reader of M3U playlists; see the module."""

    name = "m3u"
    description = (
        "M3U and M3U8: a file, or a folder or zip file of them; a file is a group, tracks are "
        "paths below the folder, or below --audio"
    )
    options = frozenset({"audio"})
    suffixes = (".m3u", ".m3u8")

    def begins(self, start: bytes) -> bool:
        """True for ``#EXTM3U``."""
        return start.startswith(b"#EXTM3U")

    def groups(self, source: Source, request: Request) -> Iterator[Group]:
        """Yield the group of a file."""

        def track_id(where: str, entry: str) -> str:
            return valid_id(_track_id(entry, source, request.audio), where)

        lines = (line for line in _lines(source, request) if line[1] and line[1][0] != "#")
        yield from in_parts(source.group_id, usable(lines, track_id, request))


def lines_of(source: Source, audio: Path | None) -> Iterator[tuple[str, str]]:
    """Yield all lines of a playlist, comments too, without the blanks around them, and their ids.

    Raises TableError: as :meth:`M3uReader.read` has it.
    """
    for _, line in _lines(source, Request()):
        yield line, _track_id(line, source, audio) if line and line[0] != "#" else ""


def _track_id(entry: str, source: Source, audio: Path | None) -> str:
    return track_id_of_path(entry, source.path, audio, source.folder)


def _lines(source: Source, request: Request) -> Iterator[tuple[str, str]]:
    encoding = None  # one that the file names
    guessed = False
    for where, line in source.lines(request.advance):
        if b"\0" in line:
            raise TableError(f"{where}: holds a zero byte, so it is not a playlist")
        if found := ENCODING.match(line):
            encoding = check_encoding(found[1].decode("ascii"), f"{where}: #EXTENC")
        try:
            text, guess = _decoded(line, where, encoding, source)
        except RowError as error:
            request.damaged(error)
            continue
        if guess and not guessed:
            guessed = True
            request.note(f"read as {guess}, a guess; --encoding sets it")
        text = text.strip()
        if "\r" in text:
            raise TableError(f"{where}: a line end that is neither LF nor CRLF")
        yield where, text


def _decoded(line: bytes, where: str, encoding: str | None, source: Source) -> tuple[str, str]:
    """A line as text, and the encoding that was guessed for it."""
    strict = source.path.suffix.lower() == ".m3u8"
    tried = [encoding] if encoding else ["UTF-8"] if strict else ["UTF-8", GUESS]
    for name in tried:
        try:
            return line.decode(name), GUESS if name is GUESS else ""
        except UnicodeError as error:
            at = getattr(error, "start", 0)
    names = f"neither {' nor '.join(tried)}" if len(tried) > 1 else f"not {tried[0]}"
    raise RowError(
        f"{where}: {names} (byte {at + 1} of the line is 0x{line[at]:02x}); save the file as "
        "UTF-8, or say --encoding NAME",
        names,
    )
