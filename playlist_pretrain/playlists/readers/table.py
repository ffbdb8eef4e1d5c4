"""Long tables: one row for each track of each group; CSV, TSV or Parquet.

Format: text is that of ``playlist_pretrain.delimited``, Parquet has columns of text or whole
numbers, or of lists of them. Rows of a group need not be neighbours. A track of several artists has
a row for each, or all of them in one cell, apart by ``--separator`` or as a list. Provenance:
whatever exports tables; track ids are those of the collection.

Rows of Parquet files: columns of text or whole numbers, or of lists of them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from playlist_pretrain.delimited import DELIMITERS, listed, read_columns
from playlist_pretrain.errors import TableError, first_line
from playlist_pretrain.playlists.readers.json_text import valid_id
from playlist_pretrain.playlists.readers.source import (
    FREELY,
    LARGEST_EXPANSION,
    Request,
    Source,
    first_bytes,
    sources_in,
)

if TYPE_CHECKING:
    from pyarrow import Array, DataType
    from pyarrow.parquet import ParquetFile

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


def parquet_rows(
    source: Source, names: Sequence[str], request: Request, mend: str
) -> Iterator[tuple[str, str]]:
    """Yield (group id, track id) row by row, a batch in memory at a time.

    Parameters
    ----------
    source : Source
    names : sequence of str
        Columns of the group and of the track.
    request : Request
    mend : str
        What can be done when a column is missing; ends that message.

    Raises
    ------
    TableError
        With the row where there is one. What came before the damage has been yielded.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile
    from pyarrow.types import is_string

    where = source.name
    number = told = 0
    try:
        with contextlib.ExitStack() as opened:
            file = source.file or io.BytesIO(source.read())
            plain = opened.enter_context(ParquetFile(file))
            _check(plain, source, names, mend)
            table = plain
            if max(_sizes(plain), default=0) <= FREELY:
                # Dictionaries stay dictionaries, since a few bytes of one may stand for gigabytes;
                # long ones do not, since every batch would come with a copy.
                texts = [name for name in names if is_string(plain.schema_arrow.field(name).type)]
                table = opened.enter_context(ParquetFile(file, read_dictionary=texts))
            rows = max(table.metadata.num_rows, 1)
            for batch in table.iter_batches(columns=list(dict.fromkeys(names))):
                columns = [_cells(batch.column(name)) for name in names]
                for group, track in zip(*columns, strict=True):
                    number += 1
                    for one in _ids(group, f"{where}: row {number}", names[0], request.separator):
                        for other in _ids(track, f"{where}: row {number}", names[1], None):
                            yield one, other
                done = min(source.size, source.size * number // rows)
                request.advance(done - told)
                told = done
            request.advance(source.size - told)
            if not number:
                raise TableError(f"{where}: no rows")
    except (ArrowException, OSError, ValueError, LookupError, MemoryError) as error:
        raise TableError(
            f"{where}: not a whole Parquet file, or damaged after row {number:,}: "
            f"{first_line(error)}"
        ) from error


def _check(table: ParquetFile, source: Source, names: Sequence[str], mend: str) -> None:
    """Refuse a Parquet file without the columns, with others in them, or that is a bomb."""
    where, schema, size = source.name, table.schema_arrow, sum(_sizes(table))
    for what, wrong in (
        ("no column", [name for name in names if name not in schema.names]),
        ("more than one column", [name for name in names if schema.names.count(name) > 1]),
    ):
        if wrong:
            raise TableError(
                f"{where}: {what} {listed(wrong)}; its columns are: {listed(schema.names)}; {mend}"
            )
    for name in names:
        if not _holds_ids(schema.field(name).type):
            raise TableError(
                f"{where}: column {name!r} holds {schema.field(name).type}; ids are text or whole "
                "numbers, or lists of them"
            )
    if size > FREELY and size > LARGEST_EXPANSION * source.size:
        raise TableError(f"{where}: expands to more than {LARGEST_EXPANSION} times its size")


def _sizes(table: ParquetFile) -> list[int]:
    """Bytes of every row group when it is expanded."""
    metadata = table.metadata
    return [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]


def _holds_ids(kind: DataType) -> bool:
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        return _holds_ids(kind.value_type)
    return (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_integer(kind)
        or types.is_null(kind)
    )


def _cells(column: Array) -> list[Any]:
    """What ``to_pylist`` gives, with one object for all equal texts of a dictionary."""
    from pyarrow import DictionaryArray

    if not isinstance(column, DictionaryArray):
        return column.to_pylist()
    used = column.indices.unique()
    values = dict(zip(used.to_pylist(), column.dictionary.take(used).to_pylist(), strict=True))
    return [values[i] for i in column.indices.to_pylist()]


def _ids(value: Any, where: str, name: str, separator: str | None) -> list[str]:
    """The ids in one cell: text, a whole number, or a list of them."""
    if type(value) is str and separator is not None:
        value = [part.strip() for part in value.split(separator) if part.strip()]
    values = value if type(value) is list else [value]
    found = []
    for one in values:
        text = "" if one is None else str(one)
        if not text.strip():
            raise TableError(f"{where}: column {name!r} is empty")
        found.append(valid_id(text, f"{where}: column {name!r}"))
    if not found:
        raise TableError(f"{where}: column {name!r} is empty")
    return list(dict.fromkeys(found))
