"""Long tables: one row for each track of each group; CSV, TSV or Parquet.

Format: text is that of ``playlist_pretrain.tables``, Parquet has columns of text or whole numbers,
or of lists of them. Rows of a group need not be neighbours. A track of several artists has a row
for each, or all of them in one cell, apart by ``--separator`` or as a list.
Provenance: whatever exports tables; track ids are those of the collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.parquet import parquet_rows
from playlist_pretrain.playlists.readers.request import Request
from playlist_pretrain.playlists.readers.source import Source, first_bytes, sources_in
from playlist_pretrain.tables import DELIMITERS, read_columns

DEFAULT_COLUMNS = {"group": "group_id", "track": "track_id"}
LONGEST_PART = 65_536
OPTION = "--columns group=…,track=…"
MEND = "name the columns with " + OPTION
TEXT, PARQUET = (".csv", ".tsv"), (".parquet", ".pq")
MAGIC = b"PAR1"


class TableReader:
    """Reader of long tables; see the module."""

    name = "table"
    description = (
        "CSV, TSV or Parquet, one row for each track of each group (columns group_id and "
        f"track_id, or {OPTION}), or a folder or zip file of such parts"
    )
    kinds = ("playlists", "artists", "albums", "genres", "sessions")
    options = frozenset({"columns", "separator"})

    def sniff(self, path: Path) -> bool:
        """True for tables by name, and for text whose first line has a delimiter."""
        if any(_is_table(source.path) for source in sources_in(path, _is_table)):
            return True
        start = first_bytes(path)
        if start.startswith(MAGIC):
            return True
        line = start.partition(b"\n")[0][:4096]
        try:
            text = line.decode("utf-8").strip(" ")
        except UnicodeDecodeError:
            return False
        return (
            not text.startswith(("{", "[", "<", "#"))
            and "\0" not in text
            and any(sign in text for sign in DELIMITERS)
        )

    def sources(self, path: Path) -> list[Source]:
        """The table itself, or the tables in a folder or zip file."""
        found = sources_in(path, _is_table)
        if not found:
            raise TableError(f"{path}: no {', '.join(TEXT + PARQUET)} in this folder or zip file")
        return found

    def read(self, sources: Sequence[Source], request: Request) -> Iterator[tuple[str, list[str]]]:
        """Yield runs of neighbouring rows of one group."""
        wanted = {**DEFAULT_COLUMNS, **(request.columns or {})}
        if set(wanted) != set(DEFAULT_COLUMNS):
            raise TableError(f"{sources[0].name}: the columns of a table are named with {OPTION}")
        names = wanted["group"], wanted["track"]
        for source in sources:
            try:
                if _is_parquet(source):
                    rows = parquet_rows(source, names, request, MEND)
                else:
                    rows = _text_rows(source, names, request)
                yield from _runs(rows)
            except TableError as error:
                request.damaged(error)


def _is_table(path: PurePosixPath) -> bool:
    return path.suffix.lower() in TEXT + PARQUET


def _is_parquet(source: Source) -> bool:
    if source.path.suffix.lower() in TEXT + PARQUET:
        return source.path.suffix.lower() in PARQUET
    with source.open() as stream:
        return stream.read(len(MAGIC)) == MAGIC


def _runs(rows: Iterator[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Neighbouring rows of one group together; what came before a damage is yielded too."""
    group: str | None = None
    tracks: list[str] = []
    try:
        for row_group, track in rows:
            if row_group != group or len(tracks) == LONGEST_PART:
                if group is not None:
                    yield group, tracks
                group, tracks = row_group, []
            tracks.append(track)
    except TableError:
        if group is not None:
            yield group, tracks
        raise
    if group is not None:
        yield group, tracks


def _text_rows(source: Source, names: Sequence[str], request: Request) -> Iterator[tuple[str, str]]:
    separator = request.separator
    for line, (group, track) in read_columns(source, names, request.advance, MEND):
        if separator is None:
            yield group, track
            continue
        parts = [part.strip() for part in group.split(separator)]
        if not any(parts):
            raise TableError(f"{source.name}: line {line}: column {names[0]!r} has no group")
        for part in dict.fromkeys(filter(None, parts)):
            yield part, track
