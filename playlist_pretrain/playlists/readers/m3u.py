"""M3U and M3U8 playlists: one file is one group.

Format: a path or an address a line; lines that begin with ``#`` and blank lines do not count.
``.m3u8`` is UTF-8; ``.m3u`` that is not UTF-8 is read as Windows-1252, which it usually is then.
Provenance: written by most players. See ``paths.py`` for how an entry becomes a track id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from playlist_pretrain.delimited import BYTE_ORDER_MARK, LONGEST_LINE
from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.json_text import valid_id
from playlist_pretrain.playlists.readers.paths import group_id_of, track_id_of_path
from playlist_pretrain.playlists.readers.source import Request, Source, first_bytes, sources_in

SUFFIXES = (".m3u", ".m3u8")
LONGEST_PART = 65_536


class M3uReader:
    """Reader of M3U playlists; see the module."""

    name = "m3u"
    description = (
        "M3U and M3U8: a file, or a folder or zip file of them; a file is a group, tracks are "
        "paths below the folder, or below --audio"
    )
    kinds = ("playlists",)
    options = frozenset({"audio"})

    def sniff(self, path: Path) -> bool:
        """True for playlists by name, and for what begins with ``#EXTM3U``."""
        if any(_is_m3u(source.path) for source in sources_in(path, _is_m3u)):
            return True
        return first_bytes(path).startswith(b"#EXTM3U")

    def sources(self, path: Path) -> list[Source]:
        """The file, or all playlists in a folder or zip file."""
        found = sources_in(path, _is_m3u)
        if not found:
            raise TableError(f"{path}: no {', '.join(SUFFIXES)} in this folder or zip file")
        return found

    def read(self, sources: Sequence[Source], request: Request) -> Iterator[tuple[str, list[str]]]:
        """Yield a group for each file, long ones in parts."""
        for source in sources:
            group = group_id_of(source.path)
            tracks: list[str] = []
            try:
                for number, entry in _entries(source, request):
                    where = f"{source.name}: line {number}"
                    track = track_id_of_path(entry, source.path, request.audio)
                    tracks.append(valid_id(track, where))
                    if len(tracks) == LONGEST_PART:
                        yield group, tracks
                        tracks = []
                yield group, tracks
            except TableError as error:
                if tracks:
                    yield group, tracks
                request.damaged(error)


def _is_m3u(path: PurePosixPath) -> bool:
    return path.suffix.lower() in SUFFIXES


def lines_of(source: Source) -> list[str]:
    """All lines of a playlist, comments too, without the blanks around them.

    Raises
    ------
    TableError
        As :meth:`M3uReader.read` has it.
    """
    return [text for _, text in _lines(source, lambda read: None)]


def _entries(source: Source, request: Request) -> Iterator[tuple[int, str]]:
    for number, text in _lines(source, request.advance):
        if text and not text.startswith("#"):
            yield number, text


def _lines(source: Source, advance: Callable[[int], object]) -> Iterator[tuple[int, str]]:
    strict = source.path.suffix.lower() == ".m3u8"
    seen = False
    with source.open(advance) as stream:
        number = 0
        while line := stream.readline(LONGEST_LINE):
            number += 1
            where = f"{source.name}: line {number}"
            if len(line) == LONGEST_LINE:
                raise TableError(f"{where}: longer than {LONGEST_LINE:,} bytes")
            if b"\0" in line:
                raise TableError(f"{where}: holds a zero byte, so it is not a playlist")
            if number == 1:
                line = line.removeprefix(BYTE_ORDER_MARK)
            text = _decoded(line, where, strict=strict).strip()
            if "\r" in text:
                raise TableError(f"{where}: a line end that is neither LF nor CRLF")
            seen = seen or bool(text)
            yield number, text
    if not seen:
        raise TableError(f"{source.name}: the file is empty")


def _decoded(line: bytes, where: str, *, strict: bool) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        if strict:
            raise TableError(
                f"{where}: not UTF-8 (byte {error.start + 1} of the line is "
                f"0x{line[error.start]:02x}); save the file as UTF-8"
            ) from error
    try:
        return line.decode("cp1252")
    except UnicodeDecodeError as error:
        raise TableError(
            f"{where}: neither UTF-8 nor Windows-1252 (byte {error.start + 1} of the line is "
            f"0x{line[error.start]:02x})"
        ) from error
