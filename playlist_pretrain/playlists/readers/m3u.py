"""M3U and M3U8 playlists: one file is one group.

Format: a path or an address a line; lines that begin with ``#`` and blank lines do not count.
``.m3u8`` is UTF-8; ``.m3u`` that is not UTF-8 is read as Windows-1252, which it usually is then.
Provenance: written by most players. See ``paths.py`` for how an entry becomes a track id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.paths import group_id_of, track_id_of_path
from playlist_pretrain.playlists.readers.source import (
    Group,
    Reader,
    Request,
    Source,
    ignore,
    in_parts,
    valid_id,
)


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
        tracks = (
            valid_id(track_id_of_path(text, source.path, request.audio), where)
            for where, text in _lines(source, request.advance)
            if text and not text.startswith("#")
        )
        yield from in_parts(group_id_of(source.path), tracks)


def lines_of(source: Source) -> list[str]:
    """All lines of a playlist, comments too, without the blanks around them.

    Raises
    ------
    TableError
        As :meth:`M3uReader.read` has it.
    """
    return [text for _, text in _lines(source)]


def _lines(source: Source, advance: Callable[[int], object] = ignore) -> Iterator[tuple[str, str]]:
    strict = source.path.suffix.lower() == ".m3u8"
    for where, line in source.lines(advance):
        if b"\0" in line:
            raise TableError(f"{where}: holds a zero byte, so it is not a playlist")
        text = _decoded(line, where, strict=strict).strip()
        if "\r" in text:
            raise TableError(f"{where}: a line end that is neither LF nor CRLF")
        yield where, text


def _decoded(line: bytes, where: str, *, strict: bool) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = error
    if not strict:
        try:
            return line.decode("cp1252")
        except UnicodeDecodeError as error:
            problem = error
    place = f"(byte {problem.start + 1} of the line is 0x{line[problem.start]:02x})"
    if strict:
        raise TableError(f"{where}: not UTF-8 {place}; save the file as UTF-8")
    raise TableError(f"{where}: neither UTF-8 nor Windows-1252 {place}")
