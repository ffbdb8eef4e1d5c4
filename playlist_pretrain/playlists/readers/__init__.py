"""Readers of playlist sources: one registry, one anatomy.

A reader turns a source into (group id, track ids) and knows nothing of collections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.mpd import MpdReader
from playlist_pretrain.playlists.readers.table import TableReader
from playlist_pretrain.registry import Registry


class Reader(Protocol):
    """What every reader has.

    Attributes
    ----------
    name : str
        What ``--format`` takes.
    description : str
        One line: what is read, and what serves as group id and track id.
    """

    name: str
    description: str

    def sniff(self, path: Path) -> bool:
        """Whether the existing ``path`` looks like a source for this reader."""

    def files(self, path: Path) -> list[Path]:
        """The files that :meth:`read` will read, in order.

        Raises
        ------
        TableError
            When there are none.
        """

    def read(
        self,
        path: Path,
        columns: Mapping[str, str] | None = None,
        advance: Callable[[int], object] = lambda read: None,
    ) -> Iterator[tuple[str, list[str]]]:
        """Yield ``(group id, track ids in the order of the source)``, streaming.

        Parameters
        ----------
        path : Path
        columns : mapping, optional
            Names of the columns that hold ``group`` and ``track``; what is left out has the
            reader's own default.
        advance : callable
            Told how many more bytes of :meth:`files` have been read.

        Yields
        ------
        (str, list of str)
            Both kinds of ids are non-empty valid Unicode. A group may come in several parts; a
            group without tracks comes with an empty list.

        Raises
        ------
        TableError
            Names the file and the place in it. What came before the damage has been yielded.
        """


READERS: Registry[Reader] = Registry("playlist format", TableError)
"""Readers by the name that ``--format`` takes."""

for _reader in (MpdReader(), TableReader()):
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
