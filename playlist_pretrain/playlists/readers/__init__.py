"""Readers of playlist sources: one registry, one anatomy.

A reader turns a source into (group id, track ids) and knows nothing of collections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.history import HistoryReader
from playlist_pretrain.playlists.readers.jspf import JspfReader
from playlist_pretrain.playlists.readers.m3u import M3uReader
from playlist_pretrain.playlists.readers.melon import MelonReader
from playlist_pretrain.playlists.readers.mpd import MpdReader
from playlist_pretrain.playlists.readers.source import Group, Request, Source
from playlist_pretrain.playlists.readers.table import TableReader
from playlist_pretrain.playlists.readers.xspf import XspfReader
from playlist_pretrain.registry import Registry


class Reader(Protocol):
    """Anatomy of a reader; those of the package derive from ``source.FileReader``.

    Attributes
    ----------
    name : str
        The value of ``--format``.
    description : str
        One line: the source, and what serves as group id and track id.
    kinds : tuple of str
        Kinds of groups that the source holds, the usual one first.
    options : frozenset of str
        Fields of a request that it looks at: of ``columns``, ``separator``, ``gap``, ``audio``.
    """

    name: str
    description: str
    kinds: tuple[str, ...]
    options: frozenset[str]

    def sniff(self, path: Path) -> bool:
        """Whether the existing ``path`` looks like a source for this reader."""

    def sources(self, path: Path) -> list[Source]:
        """Sources for :meth:`read`, in order; a TableError when there is none."""

    def read(self, sources: Sequence[Source], request: Request) -> Iterator[Group]:
        """Yield ``(group id, track ids in the order of the source)``, streaming.

        Parameters
        ----------
        sources : sequence of Source
            From :meth:`sources`.
        request : Request
            Its ``advance`` is told every byte, its ``damaged`` the error that ends the reading of
            a source.

        Yields
        ------
        (str, list of str)
            Both kinds of ids are non-empty valid Unicode. A group may come in several parts; a
            group without tracks comes with an empty list.

        Raises
        ------
        TableError
            As ``request.damaged`` has it; names the source and the place in it. What came before
            the damage has been yielded.
        """


READERS: Registry[Reader] = Registry("playlist format", TableError)
"""Readers by the name that ``--format`` takes; ``auto`` asks them in this order."""

_READERS: tuple[Reader, ...] = (
    MpdReader(),
    MelonReader(),
    JspfReader(),
    XspfReader(),
    M3uReader(),
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
    for option in ("columns", "separator", "gap", "audio"):
        if option not in reader.options and getattr(request, option) != getattr(usual, option):
            raise TableError(f"{path}: --{option} is not for format {reader.name}")
