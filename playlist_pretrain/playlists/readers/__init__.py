"""Readers of playlist sources: one registry, one anatomy.

A reader turns a source into (group id, track ids) and knows nothing of collections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.history import HistoryReader
from playlist_pretrain.playlists.readers.itunes import ItunesReader
from playlist_pretrain.playlists.readers.jspf import JspfReader
from playlist_pretrain.playlists.readers.m3u import M3uReader
from playlist_pretrain.playlists.readers.melon import MelonReader
from playlist_pretrain.playlists.readers.mpd import MpdReader
from playlist_pretrain.playlists.readers.source import (
    OPTIONS,
    Reader,
    Request,
    Source,
    sources_in,
)
from playlist_pretrain.playlists.readers.table import TableReader
from playlist_pretrain.playlists.readers.xspf import XspfReader
from playlist_pretrain.registry import Registry

READERS: Registry[Reader] = Registry("playlist format", TableError)
"""Readers by the name that ``--format`` takes; ``auto`` asks them in this order."""

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

    Raises
    ------
    TableError
        When ``path`` does not exist, the name is unknown, or no reader recognises it.
    """
    named = None if name == "auto" else READERS.get(name)
    if not path.exists():
        raise TableError(f"{path}: no such file or folder")
    if named is not None:
        return named
    for known in READERS:
        if READERS.get(known).sniff(path):
            return READERS.get(known)
    known = "; ".join(f"{name} ({READERS.get(name).description})" for name in READERS)
    raise TableError(f"{path}: not recognised; say what it is with --format: {known}")


def check_request(reader: Reader, path: Path, request: Request) -> None:
    """Refuse a request that the reader cannot answer.

    Raises
    ------
    TableError
        For a kind that the source does not hold, or an option that the reader does not take.
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


def other_files(path: Path, sources: Sequence[Source]) -> tuple[tuple[str, int], ...]:
    """Files of a folder or zip file that are none of ``sources``: their endings, and how many.

    With an ending stands the ``--format`` that reads such files.
    """
    read = {source.name for source in sources}
    others = [source for source in sources_in(path, lambda name: True) if source.name not in read]
    counts: Counter[str] = Counter()
    for other in others:
        known = next((name for name in READERS if READERS.get(name).accepts(other.path)), None)
        ending = other.path.suffix or other.path.name
        counts[f"{ending} (--format {known} reads them)" if known else ending] += 1
    return tuple(sorted(counts.items()))
