"""Readers of playlist sources: one registry, one anatomy.

A reader turns a source into (group id, track ids) and knows nothing of collections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.history import HistoryReader
from playlist_pretrain.playlists.readers.itunes import ItunesReader
from playlist_pretrain.playlists.readers.jspf import JspfReader
from playlist_pretrain.playlists.readers.m3u import M3uReader
from playlist_pretrain.playlists.readers.melon import MelonReader
from playlist_pretrain.playlists.readers.mpd import MpdReader
from playlist_pretrain.playlists.readers.source import (
    OPTIONS,
    Group,
    Reader,
    Request,
    Source,
    is_zip,
    sources_in,
)
from playlist_pretrain.playlists.readers.table import TableReader
from playlist_pretrain.playlists.readers.xspf import XspfReader
from playlist_pretrain.registry import Registry

READERS: Registry[Reader] = Registry("playlist format", TableError)
"""Readers by the name that ``--format`` takes; ``auto`` asks them in this order."""

PLAYLIST_FILES = ("jspf", "xspf", "m3u")
"""Formats of which a file is a playlist: of a folder with several of them all are read."""

_READERS: tuple[Reader, ...] = (
    MpdReader(),
    MelonReader(),
    JspfReader(),
    XspfReader(),
    M3uReader(),
    ItunesReader(),
    HistoryReader(),
    TableReader(),
)
for _reader in _READERS:
    READERS.register(_reader.name, _reader)


def find_reader(path: Path, name: str = "auto") -> Reader:
    """The reader called ``name``, or for ``auto`` the first that recognises ``path``.

    Raises TableError: when ``path`` does not exist, the name is unknown, or no reader recognises
    it.
    """
    named = None if name == "auto" else READERS.get(name)
    if not path.exists():
        raise TableError(f"{path}: no such file or folder")
    if named is not None:
        return named
    for known in READERS:
        if READERS.get(known).sniff(path):
            return _with_others(READERS.get(known), path)
    known = "; ".join(f"{name} ({READERS.get(name).description})" for name in READERS)
    raise TableError(f"{path}: not recognised; say what it is with --format: {known}")


class _PlaylistFiles(Reader):
    """Reader of a folder with playlist files of several formats."""

    name, options = "auto", frozenset({"audio"})
    description = "playlist files of several formats"

    def __init__(self, readers: Sequence[Reader]):
        self._readers = readers

    def accepts(self, path: PurePosixPath) -> bool:
        return any(reader.accepts(path) for reader in self._readers)

    def groups(self, source: Source, request: Request) -> Iterator[Group]:
        reader = next(reader for reader in self._readers if reader.accepts(source.path))
        yield from reader.groups(source, request)


def _with_others(reader: Reader, path: Path) -> Reader:
    """The reader, or one of the other playlist files of a folder too."""
    files = [READERS.get(name) for name in PLAYLIST_FILES]
    if reader not in files or not (path.is_dir() or is_zip(path)):
        return reader
    found = [one for one in files if sources_in(path, one.accepts)]
    return reader if found == [reader] else _PlaylistFiles(found)


def check_request(reader: Reader, path: Path, request: Request) -> None:
    """Refuse a request that the reader cannot answer.

    Raises TableError: for a kind that the source does not hold, or an option that the reader does
    not take.
    """
    if request.kind not in reader.kinds:
        raise TableError(
            f"{path}: --kind {request.kind}: format {reader.name} has {', '.join(reader.kinds)}"
        )
    usual = Request()
    for option in OPTIONS:
        if option not in reader.options and getattr(request, option) != getattr(usual, option):
            written = option.replace("_", "-")
            raise TableError(f"{path}: --{written} is not for format {reader.name}")


def other_files(
    reader: Reader, path: Path, sources: Sequence[Source]
) -> tuple[tuple[str, int], ...]:
    """Files of a folder or zip file that are not read: their endings, and how many.

    With an ending stands the ``--format`` that reads such files.
    """
    read = {source.name for source in sources}
    others = [
        source
        for source in sources_in(path, lambda name: name.name not in reader.beside)
        if source.name not in read
    ]
    counts: Counter[str] = Counter()
    for other in others:
        known = next((name for name in READERS if READERS.get(name).accepts(other.path)), None)
        ending = other.path.suffix or other.path.name
        counts[f"{ending} (--format {known} reads them)" if known else ending] += 1
    return tuple(sorted(counts.items()))
