"""``tracks.csv`` in the folder of a collection: tags of its tracks, as files or people give them.

Beside the tags each row has the folder that the file lies in, as far as its id says it.

It has a row for each track whose file was read, and any column beside those of ``COLUMNS``. What is
in it stays when tracks are added; it is no part of the collection's content.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from playlist_pretrain.audio.file_tags import BETWEEN, FileTags, names_in
from playlist_pretrain.delimited import read_columns, read_header
from playlist_pretrain.errors import CollectionError, TableError
from playlist_pretrain.files import TableWriter, atomic_write

TRACKS_FILE = "tracks.csv"
FOLDER = "folder"
COLUMNS = ("track_id", *FileTags._fields, FOLDER)


@dataclass
class TrackTable:
    """Rows of the table by track id, which is the first cell of each, and their ``header``."""

    header: list[str] = field(default_factory=lambda: list(COLUMNS))
    rows: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def known(self, column: str) -> int:
        """Number of tracks with a name in ``column``, see :func:`.names_in`."""
        if column not in self.header:
            return 0
        place = self.header.index(column)
        return sum(bool(names_in(row[place])) for row in self.rows.values())


def read_tracks(folder: Path) -> TrackTable:
    """Read the table of the collection in ``folder``; an empty one where there is none.

    CollectionError where it is damaged.
    """
    path = folder / TRACKS_FILE
    if not path.exists():
        return TrackTable()
    try:
        others = [name for name in read_header(path, ["track_id"]) if name not in ("track_id", "")]
        header = ["track_id", *others]
        rows: dict[str, tuple[str, ...]] = {}
        for _, cells in read_columns(path, header, blank=set(others)):
            rows.setdefault(cells[0], cells)
    except TableError as error:
        mend = "mend it, or remove it and the tags of the files are read again"
        raise CollectionError(f"{error}; {mend}") from error
    return TrackTable(header, rows)


def write_tracks(folder: Path, table: TrackTable, tags: Mapping[str, FileTags]) -> None:
    """Write ``table`` into ``folder``, with rows for the tracks of ``tags`` that it does not have.

    Columns that it does not have come last.
    """
    header = [*table.header, *(name for name in COLUMNS if name not in table.header)]
    missing = ("",) * (len(header) - len(table.header))
    with atomic_write(folder / TRACKS_FILE, "w") as stream:
        writer = TableWriter(stream)
        writer.writerow(header)
        writer.writerows(row + missing for row in table.rows.values())
        for track_id, of_track in tags.items():
            if track_id not in table.rows:
                folder = posixpath.dirname(track_id).replace(BETWEEN, "/")
                cells = {"track_id": track_id, **of_track._asdict(), FOLDER: folder}
                writer.writerow(cells.get(name, "") for name in header)
