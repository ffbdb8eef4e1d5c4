"""Long tables: one line for each track of each group, CSV or TSV.

Format: that of ``playlist_pretrain.tables``, one row for each entry. Rows of a group need not be
neighbours.
Provenance: whatever exports tables; track ids are those of the collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from playlist_pretrain.errors import TableError
from playlist_pretrain.tables import BYTE_ORDER_MARK, DELIMITERS, read_columns

DEFAULT_COLUMNS = {"group": "group_id", "track": "track_id"}
LONGEST_PART = 65_536
OPTION = "--columns group=…,track=…"


class TableReader:
    """Reader of long tables; see the module."""

    name = "table"
    description = (
        "CSV or TSV with a header, one row for each track of each group "
        f"(columns group_id and track_id, or {OPTION})"
    )

    def sniff(self, path: Path) -> bool:
        """True for files called .csv or .tsv, and for text whose first line has a delimiter."""
        if not path.is_file():
            return False
        if path.suffix.lower() in (".csv", ".tsv"):
            return True
        with open(path, "rb") as stream:
            line = stream.readline(4096).removeprefix(BYTE_ORDER_MARK)
        try:
            text = line.decode("utf-8").strip(" ")
        except UnicodeDecodeError:
            return False
        return (
            not text.startswith(("{", "[", "<"))
            and "\0" not in text
            and any(sign in text for sign in DELIMITERS)
        )

    def files(self, path: Path) -> list[Path]:
        """The table itself."""
        if path.is_dir():
            raise TableError(f"{path}: a folder, not a file")
        return [path]

    def read(
        self,
        path: Path,
        columns: Mapping[str, str] | None = None,
        advance: Callable[[int], object] = lambda read: None,
    ) -> Iterator[tuple[str, list[str]]]:
        """Yield runs of neighbouring rows of one group; see ``Reader.read``."""
        wanted = {**DEFAULT_COLUMNS, **(columns or {})}
        names = wanted["group"], wanted["track"]
        rows = read_columns(path, names, advance, "name the columns with " + OPTION)
        _, (group, first) = next(rows)
        tracks = [first]
        for _, (row_group, track) in rows:
            if row_group != group or len(tracks) == LONGEST_PART:
                yield group, tracks
                group, tracks = row_group, []
            tracks.append(track)
        yield group, tracks
