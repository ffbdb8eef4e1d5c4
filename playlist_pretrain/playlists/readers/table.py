"""Long tables: one row for each track of each group; CSV, TSV, Parquet or Arrow.

Format: text is that of ``playlist_pretrain.delimited``, Parquet and Arrow (its IPC files, which
Feather writes) have columns of text or whole numbers, or of lists of them. Rows of a group need
not be neighbours. Where no column names the group, or ``--columns group=@file`` says so, a file is
a group, as Exportify writes playlists of Spotify; its column of tracks is known. A track of several
artists has a row for each, or all of them in one cell, apart by ``--separator`` or as a list.
Provenance: whatever exports tables; track ids are those of the collection.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import struct
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.delimited import DELIMITERS, RowError, listed, read_columns, read_header
from playlist_pretrain.errors import TableError, first_line
from playlist_pretrain.files import FREELY, check_expanded
from playlist_pretrain.playlists.readers.source import (
    Group,
    Reader,
    Request,
    Source,
    in_parts,
    usable,
    valid_id,
)

if TYPE_CHECKING:
    from pyarrow import Array, DataType, Message, RecordBatch, Schema

DEFAULT_COLUMNS = {"group": "group_id", "track": "track_id"}
OPTION = "--columns group=…,track=…"
MEND = "name the columns with " + OPTION
A_FILE = "@file"
"""In place of the name of the column of groups: a file is a group."""
EXPORTIFY = ("Track URI", "Spotify URI", "Spotify ID")
TEXT, COLUMNAR = (".csv", ".tsv"), (".parquet", ".pq", ".arrow", ".feather")
PARQUET, ARROW = b"PAR1", b"ARROW1"


class TableReader(Reader):
    """Reader of long tables; see the module."""

    name = "table"
    description = (
        "CSV, TSV, Parquet or Arrow, a row for each track of each group (columns group_id and "
        f"track_id, or {OPTION}), or a folder or zip file of such parts"
    )
    kinds = ("playlists", "artists", "albums", "genres", "years", "sessions")
    options = frozenset({"columns", "separator"})
    suffixes = TEXT + COLUMNAR

    def begins(self, start: bytes) -> bool:
        """True for Parquet and Arrow, and for text whose first line has a delimiter."""
        if start.startswith((PARQUET, ARROW)):
            return True
        try:
            text = start.partition(b"\n")[0][:4096].decode("utf-8").strip(" ")
        except UnicodeDecodeError:
            return False
        return (
            not text.startswith(("{", "[", "<", "#"))
            and "\0" not in text
            and any(sign in text for sign in DELIMITERS)
        )

    def read(self, sources: Sequence[Source], request: Request) -> Iterator[Group]:
        """Yield neighbouring rows of one group together."""
        if not set(request.columns or {}) <= set(DEFAULT_COLUMNS):
            raise TableError(f"{sources[0].name}: the columns of a table are named with {OPTION}")
        yield from super().read(sources, request)

    def groups(self, source: Source, request: Request) -> Iterator[Group]:
        """Yield neighbouring rows of one group of a file together."""
        read = _columnar_rows if _is_columnar(source) else _text_rows
        rows = read(source, request)
        for group, run in itertools.groupby(rows, itemgetter(0)):
            yield from in_parts(group, map(itemgetter(1), run))


def _is_columnar(source: Source) -> bool:
    if source.path.suffix.lower() in TEXT + COLUMNAR:
        return source.path.suffix.lower() in COLUMNAR
    return source.start().startswith((PARQUET, ARROW))


def _columns(header: Sequence[str], request: Request) -> list[str]:
    """Columns of the group, unless a file is one, and of the track."""
    given = request.columns or {}
    track = given.get("track", DEFAULT_COLUMNS["track"])
    if "track" not in given and track not in header:
        track = next((name for name in EXPORTIFY if name in header), track)
    group = given.get("group", DEFAULT_COLUMNS["group"])
    if "group" not in given and group not in header and track in header:
        group = A_FILE
        request.note(
            "taken as a group each, having no column 'group_id'; --columns group=… names one"
        )
    return [track] if group == A_FILE else [group, track]


def _text_rows(source: Source, request: Request) -> Iterator[tuple[str, str]]:
    separator = request.separator
    names = _columns(read_header(source, ()), request)
    rows = read_columns(source, names, request.advance, MEND, row=request.damaged)
    if separator is None or len(names) == 1:
        for _, (*group, track) in rows:
            yield group[0] if group else source.group_id, track
        return

    def pairs(line: int, cells: tuple[str, ...]) -> list[tuple[str, str]]:
        group, track = cells
        where = f"{source.name}: line {line}: column {names[0]!r}"
        return [(one, track) for one in _ids(group, where, separator)]

    yield from itertools.chain.from_iterable(usable(rows, pairs, request))


def _columnar_rows(source: Source, request: Request) -> Iterator[tuple[str, str]]:
    """Yield (group id, track id) row by row of Parquet or Arrow, a batch in memory at a time."""
    from pyarrow import ArrowException

    where = source.name
    number = told = 0

    def pairs(row: int, *cells: Any) -> list[tuple[str, str]]:
        *groups, tracks = (
            _ids(cell, f"{where}: row {row}: column {name!r}", separator)
            for cell, name, separator in zip(cells, names, separators, strict=True)
        )
        return [(group, track) for group in (*groups, [source.group_id])[0] for track in tracks]

    try:
        with contextlib.ExitStack() as opened:
            source.encoding = None  # which is that of the texts beside it
            arrow = source.start().startswith(ARROW)
            batches_of = _batches_of_arrow if arrow else _batches_of_parquet
            names, rows, batches = batches_of(source, request, opened)
            separators = (request.separator, None)[-len(names) :]
            for batch in batches:
                columns = [_cells(batch.column(name)) for name in names]
                cells = zip(itertools.count(number + 1), *columns, strict=False)
                yield from itertools.chain.from_iterable(usable(cells, pairs, request))
                number += batch.num_rows
                done = min(source.size, source.size * number // rows) if rows else 0
                request.advance(done - told)
                told = done
            request.advance(source.size - told)
            if not number:
                raise TableError(f"{where}: no rows")
    except (ArrowException, OSError, ValueError, LookupError, MemoryError, struct.error) as error:
        raise TableError(
            f"{where}: not a whole Parquet or Arrow file, or damaged after row {number:,}: "
            f"{first_line(error)}"
        ) from error


Batches = tuple[list[str], int, "Iterable[RecordBatch]"]
"""Names of the columns of groups and tracks, number of rows if it is known, and the rows."""


def _batches_of_parquet(source: Source, request: Request, opened: contextlib.ExitStack) -> Batches:
    from pyarrow.parquet import ParquetFile

    file = source.file or io.BytesIO(source.read())
    table = opened.enter_context(ParquetFile(file))
    metadata, schema = table.metadata, table.schema_arrow
    # Bytes of every row group when it is expanded.
    sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    names = _checked_columns(schema, source, request)
    check_expanded(sum(sizes), source.size)
    if max(sizes, default=0) <= FREELY:
        # Dictionaries stay dictionaries, since a few bytes of one may stand for gigabytes;
        # long ones do not, since every batch would come with a copy.
        texts = [name for name in names if holds_text(schema.field(name).type)]
        table = ParquetFile(file, metadata=metadata, read_dictionary=texts)
        opened.enter_context(table)
    return names, metadata.num_rows, table.iter_batches(columns=list(dict.fromkeys(names)))


def _batches_of_arrow(source: Source, request: Request, opened: contextlib.ExitStack) -> Batches:
    import pyarrow
    from pyarrow import ipc

    data = pyarrow.py_buffer(source.read())
    if not data.to_pybytes().endswith(ARROW):
        raise ValueError("cut off")
    # The same messages are measured and read: what the end of the file says of them is not asked.
    messages = data.slice(8)
    check_expanded(sum(map(_expanded, ipc.MessageReader.open_stream(messages))), source.size)
    schema = ipc.open_stream(messages).schema
    names = _checked_columns(schema, source, request)
    places = [schema.get_field_index(name) for name in dict.fromkeys(names)]
    options = ipc.IpcReadOptions(included_fields=places)

    def batches() -> Iterator[RecordBatch]:
        written = 0
        for batch in opened.enter_context(ipc.open_stream(messages, options=options)):
            batch.validate(full=True)
            written += sum(map(_written_out, batch.columns))
            check_expanded(written, source.size)
            yield batch

    return names, 0, batches()


def _expanded(message: Message) -> int:
    """Bytes of the buffers of an Arrow message when they are expanded.

    Each that is compressed begins with that number; where they are is in a table of Arrow's
    ``Message.fbs``, whose places the format of FlatBuffers gives.
    """
    if message.type not in ("dictionary", "record batch"):
        return 0
    data, body = message.metadata.to_pybytes(), message.body

    def number(form: str, place: int, holder: Any = data) -> int:
        return struct.unpack_from(form, holder, place)[0]

    def field(table: int, which: int) -> int:
        entries = table - number("<i", table)
        at = 4 + 2 * which
        found = number("<H", entries + at) if at < number("<H", entries) else 0
        return table + found if found else 0

    def follow(place: int) -> int:
        return place + number("<I", place)

    header = follow(field(follow(0), 2))
    if message.type == "dictionary":
        header = follow(field(header, 1))
    buffers, compressed = follow(field(header, 2)), field(header, 3)
    total = 0
    for place in range(buffers + 4, buffers + 4 + 16 * number("<I", buffers), 16):
        start, length = struct.unpack_from("<qq", data, place)
        total += max(length, number("<q", start, body) if compressed and length else 0)
    return total


def _written_out(column: Array) -> int:
    """Bytes of the texts of a column of views, of which many may lie in the same place."""
    from pyarrow import types

    kind = column.type
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        raise ValueError("a column of list views")
    if holds_lists(kind):
        return _written_out(column.flatten())
    if types.is_string_view(kind) or types.is_binary_view(kind):
        lengths = np.frombuffer(column.buffers()[1], np.int32)[4 * column.offset :: 4]
        there = column.is_valid().to_numpy(zero_copy_only=False)
        return int(lengths[: len(column)][there].sum(dtype=np.int64))
    return 0


def _checked_columns(schema: Schema, source: Source, request: Request) -> list[str]:
    """The names of the columns of ids, or a TableError unless each is there once and holds ids."""
    where, names = source.name, _columns(schema.names, request)
    for what, wrong in (
        ("no column", [name for name in names if name not in schema.names]),
        ("more than one column", [name for name in names if schema.names.count(name) > 1]),
    ):
        if wrong:
            raise TableError(
                f"{where}: {what} {listed(wrong)}; its columns are: {listed(schema.names)}; {MEND}"
            )
    for name in names:
        kind = schema.field(name).type
        if not _holds_ids(kind):
            raise TableError(
                f"{where}: column {name!r} holds {kind}; ids are text or whole numbers, or lists "
                "of them"
            )
    return names


def _holds_ids(kind: DataType) -> bool:
    from pyarrow import types

    if holds_lists(kind):
        kind = kind.value_type
    if types.is_dictionary(kind) and types.is_integer(kind.value_type):
        return True
    return holds_text(kind) or types.is_integer(kind) or types.is_null(kind)


def holds_lists(kind: DataType) -> bool:
    """True for a column of lists, however long they are and wherever they lie."""
    from pyarrow import types

    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view,
             types.is_large_list_view)  # fmt: skip
    return any(holds(kind) for holds in lists)


def holds_text(kind: DataType) -> bool:
    """True for a column of text, also of bytes whose writers do not say so (Impala, NumPy)."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return holds_text(kind.value_type)
    texts = (types.is_string, types.is_large_string, types.is_string_view, types.is_binary,
             types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)  # fmt: skip
    return any(holds(kind) for holds in texts)


def cell_text(value: Any) -> str:
    """Text of a cell, "" of an empty one; UnicodeDecodeError for bytes that are not UTF-8."""
    if type(value) is bytes:
        return value.rstrip(b"\0").decode("utf-8")  # which fill up texts of a fixed size
    return "" if value is None else str(value)


def _cells(column: Array) -> list[Any]:
    """The values of a column, with one object for all equal texts of a dictionary."""
    from pyarrow import DictionaryArray

    if not isinstance(column, DictionaryArray):
        return column.to_pylist()
    used = column.indices.unique()
    values = dict(zip(used.to_pylist(), column.dictionary.take(used).to_pylist(), strict=True))
    return [values[i] for i in column.indices.to_pylist()]


def _ids(value: Any, where: str, separator: str | None) -> list[str]:
    """The ids in one cell: text, a whole number, or a list of them."""
    if type(value) is bytes:
        value = _text(value, where)
    if type(value) is str and separator is not None:
        value = [part.strip() for part in value.split(separator) if part.strip()]
    values = value if type(value) is list else [value]
    texts = (one if type(one) is str else _text(one, where) for one in values or [None])
    return list(dict.fromkeys(valid_id(text, where) for text in texts))


def _text(value: Any, where: str) -> str:
    try:
        return cell_text(value)
    except UnicodeDecodeError:
        raise RowError(f"{where} is not UTF-8", "an id is not UTF-8") from None
