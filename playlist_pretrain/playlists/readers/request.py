"""What a reader is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from playlist_pretrain.errors import TableError


def refuse(error: TableError) -> None:
    """Stop at the first damage."""
    raise error


@dataclass(frozen=True)
class Request:
    """What a reader is asked for; options that it does not take are refused before it is called.

    Attributes
    ----------
    kind : str
        What the groups are: one of the reader's ``kinds``.
    columns : mapping, optional
        Names of the columns that hold ``group``, ``track``, …; what is left out has the reader's
        own default.
    separator : str, optional
        Sign between several groups in one cell of a table.
    gap : float
        Minutes of silence that end a listening session.
    audio : Path, optional
        Folder below which the paths in a playlist file become track ids.
    workers : int
        Processes that may read at once.
    advance : callable
        Told how many more bytes of the sources have been read.
    damaged : callable
        Told of the damage that ends the reading of one source; raises it, or returns to go on
        with the next source.
    """

    kind: str = "playlists"
    columns: Mapping[str, str] | None = None
    separator: str | None = None
    gap: float = 30.0
    audio: Path | None = None
    workers: int = 1
    advance: Callable[[int], object] = lambda read: None
    damaged: Callable[[TableError], object] = refuse
