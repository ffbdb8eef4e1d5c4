"""Reader of tables in text files (CSV and TSV).

Format: UTF-8 (a byte-order mark is fine) or UTF-16 with a byte-order mark, lines that end in LF or
CRLF, a header in the first line (or below ``sep=;``, which gives the separator), then rows with as
many cells as the header. Cells are separated by tab, comma or semicolon, whichever separates the
wanted columns in the header, and may be quoted as RFC 4180 says; where tabs separate them and the
header has no quotes, a quote that does not enclose its cell is a sign as any other. Cells are taken
as they are, blanks included, but for the apostrophe before what a spreadsheet would run as a
formula (``'=1+1``, see :class:`~playlist_pretrain.files.TableWriter`); blanks around the names in
the header do not count. Blank lines are left out. Cells of wanted columns hold more than blanks,
unless a caller says otherwise.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from playlist_pretrain.errors import TableError, first_line
from playlist_pretrain.files import plain_cell
from playlist_pretrain.storage import is_remote, open_bytes

DELIMITERS = "\t,;"
LONGEST_LINE = 1 << 20
MOST_SHOWN, LONGEST_SHOWN = 20, 60
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
SEPARATOR = re.compile(r"sep=([\t,;|:])\r?\n?", re.IGNORECASE)
"""First line by which Excel is told the separator of a table."""
LONGEST_CELL = csv.field_size_limit()
"""Signs of one cell; also ends a quote that is open."""
_ADVANCE_BYTES = 1 << 20
_RECODED = 1 << 16
_QUOTED = re.compile('"(?:[^"]|"")*"')


class RowError(TableError):
    """One row of a source that cannot be used, where those after it can.

    ``reason`` is the same for all rows with this fault. Sources as people have them hold ``usual``
    ones (a blank id): they are left out and counted where others stop the reading.
    """

    def __init__(self, message: str, reason: str = "", *, usual: bool = False):
        super().__init__(message)
        self.reason, self.usual = reason, usual


def stop(error: TableError) -> None:
    """Raise ``error``."""
    raise error


class Opens(Protocol):
    """Source of text that is no file; ``name`` is for messages."""

    name: str

    def open(self, advance: Callable[[int], object]) -> AbstractContextManager[BinaryIO]:
        """Open for reading; ``advance`` is told how many more bytes on disk have been read."""


def read_columns(
    path: str | Path | Opens,
    names: Sequence[str],
    advance: Callable[[int], object] | None = None,
    mend: str = "",
    blank: Container[str] = (),
    row: Callable[[RowError], object] = stop,
    header: str | None = None,
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the cells of some columns, row by row, streaming.

    Yields the number of the line in which a row starts (the header is line 1), and its cells in the
    order of ``names``; there may be other columns, in any order.

    Parameters
    ----------
    path
        See the module for the format.
    advance
        Told how many more bytes of the file have been read.
    mend
        What can be done when a column is missing; ends that message.
    blank
        Wanted columns whose cells may be empty.
    row
        Told of a row that cannot be used; raises the error, or returns to leave the row out.
    header
        Header of a table that has none, as its first line would be.

    Raises TableError: names the file, and the line where there is one: what :func:`text_lines`
    refuses, no row, a wanted column that is missing or there twice, and by ``row`` a row with more
    or fewer cells than the header, an empty cell in a wanted column, a quote that does not end.
    What came before the damage has been yielded.
    """
    lines, path = text_lines(path, advance, row), _name(path)
    names = [name.strip() for name in names]
    first, line, delimiter = _first(lines) if header is None else (0, header, "")
    delimiter, columns = _header(line, delimiter, names, path, mend)
    positions = [columns.index(name) for name in names]
    must = [(name, position) for name, position in zip(names, positions, strict=True)
            if name not in blank]  # fmt: skip
    plain = delimiter == "\t" and len(columns) > 1 and '"' not in str(line)
    empty = True
    for number, cells, fault in _rows(lines, first + 1, delimiter, len(columns), plain):
        empty = False
        if fault:
            reason = "other cells than the header" if cells else "a quote that is open"
            row(RowError(f"{path}: line {number}: {fault}", reason))
            continue
        for name, position in must:
            if not cells[position] or cells[position].isspace():
                row(RowError(
                    f"{path}: line {number}: column {name!r} is empty; fill it in or "
                    "remove the row", f"column {name!r} is empty", usual=True,
                ))  # fmt: skip
                break
        else:
            wanted = tuple([cells[position] for position in positions])
            if any(cell.startswith("'") for cell in wanted):
                wanted = tuple(map(plain_cell, wanted))
            yield number, wanted
    if empty:
        raise TableError(f"{path}: a header and no rows")


def _rows(
    lines: Iterator[str], number: int, delimiter: str, width: int, plain: bool
) -> Iterator[tuple[int, list[str], str]]:
    """Yield the line a row starts in, its cells (none for an open quote), and what is wrong.

    With ``plain`` quotes that do not enclose a cell are signs as any other. A fault is one of the
    line in which the row starts: the lines that an open quote took in are read again, as rows.
    """
    again: deque[str] = deque()

    def following() -> str:
        return again.popleft() if again else next(lines, "")

    def row_follows() -> bool:
        if not again and (line := next(lines, "")):
            again.append(line)
        return not again or again[0].count(delimiter) == width - 1

    def noted(line: str, taken: list[str]) -> Iterator[str]:
        while line:
            taken.append(line)
            yield line
            line = following()

    while line := following():
        text = line.rstrip("\r\n")
        cells, fault, taken = text.split(delimiter), "", [line]
        if '"' in text or "\r" in text or len(text) > LONGEST_CELL:
            whole = plain and "\r" not in text and len(cells) == width
            if whole and (not _is_open(cells[-1]) or row_follows()):
                cells = [_unquoted(cell) for cell in cells]
            else:
                cells, taken = [], []
                try:
                    rows = csv.reader(noted(line, taken), delimiter=delimiter, strict=True)
                    cells = next(rows)
                except csv.Error as error:
                    fault = str(error)
                if plain and any(line.count(delimiter) == width - 1 for line in taken[1:-1]):
                    cells, fault = [], "a quote that takes in whole rows"
        if not fault and len(cells) != width:
            fault = f"{len(cells)} cells, the header has {width}"
        if text:  # no blank line
            yield number, cells, fault
        if len(taken) > 1 and fault:
            again.extendleft(reversed(taken[1:]))
            del taken[1:]
        number += len(taken)  # a quoted cell may span lines


def _is_open(cell: str) -> bool:
    """True for a cell that begins with a quote and does not end with it."""
    return cell.startswith('"') and not _QUOTED.fullmatch(cell)


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if _QUOTED.fullmatch(cell) else cell


def read_header(path: str | Path | Opens, wanted: Sequence[str], mend: str = "") -> list[str]:
    """Read the names of the columns of a table; TableError unless each of ``wanted`` is one."""
    _, line, delimiter = _first(text_lines(path))
    return _header(line, delimiter, wanted, _name(path), mend)[1]


def has_column(text: str, name: str) -> bool:
    """True if the header of the table that ``text`` begins has a column ``name``."""
    _, line, delimiter = _first(iter(text.splitlines(keepends=True)[:2]))
    return any(name in columns for _, columns in _ways_to_read(line or "", delimiter))


def _first(lines: Iterator[str]) -> tuple[int, str | None, str]:
    """Number and text of the header's line, and the separator that a line before it gives."""
    line = next(lines, None)
    if found := SEPARATOR.fullmatch(line or ""):
        return 2, next(lines, None), found[1]
    return 1, line, ""


def text_lines(
    path: str | Path | Opens,
    advance: Callable[[int], object] | None = None,
    row: Callable[[RowError], object] = stop,
) -> Iterator[str]:
    """Yield the lines of a text file with their ends, without the byte-order mark.

    ``row`` is told of a line that is not UTF-8; a blank one stands in its place if it returns.

    Raises TableError for a file that cannot be read, text that is not UTF-8 (or UTF-16 with a
    byte-order mark), a zero byte, a line longer than ``LONGEST_LINE`` bytes.
    """
    advance = advance or (lambda read: None)
    if not (isinstance(path, str | Path) or is_remote(path)):
        with path.open(advance) as stream:
            mend = ", or say what it is with --encoding"
            yield from _decoded(stream, path.name, lambda read: None, row, mend)
        return
    try:
        opened = open_bytes(Path(path) if isinstance(path, str) else cast(Path, path))
    except FileNotFoundError:
        raise TableError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise TableError(f"{path}: a folder, not a file") from None
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror}") from error
    with opened as stream:
        yield from _decoded(in_utf8(stream, str(path)), str(path), advance, row)


def in_utf8(stream: BinaryIO, name: str, encoding: str | None = None) -> BinaryIO:
    """``stream``, recoded to UTF-8 if it is in ``encoding``; a byte-order mark knows better.

    Reading raises TableError where it is not text in that encoding.
    """
    if not isinstance(stream, io.BufferedReader):
        stream = cast(BinaryIO, io.BufferedReader(stream))
    start = stream.peek(3)  # type: ignore[attr-defined]
    encoding = UTF_16.get(start[:2], encoding)
    if encoding is None or start.startswith(BYTE_ORDER_MARK):
        return stream
    return cast(BinaryIO, io.BufferedReader(_Recoded(stream, name, encoding)))


class _Recoded(io.RawIOBase):
    """The UTF-8 of a stream in another encoding."""

    def __init__(self, stream: BinaryIO, name: str, encoding: str):
        self._stream, self._name, self._encoding = stream, name, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready, self._ended = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            data = self._stream.read(_RECODED)
            self._ended = not data
            try:
                self._ready = self._decoder.decode(data, self._ended).encode("utf-8")
            except UnicodeError as error:
                raise TableError(
                    f"{self._name}: not text in {self._encoding}: {first_line(error)}"
                ) from error
        part, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def check_encoding(name: str, where: str = "--encoding") -> str:
    """``name`` of an encoding of text, or a TableError at ``where``."""
    try:
        "".encode(name)
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError):
        raise TableError(f"{where}: {name[:60]!r} is no encoding that is known") from None
    return name


def _decoded(
    stream: BinaryIO,
    path: str,
    advance: Callable[[int], object],
    row: Callable[[RowError], object],
    mend: str = "",
) -> Iterator[str]:
    number = read = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        read += len(line)
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            raise TableError(f"{path}: line {number}: longer than {LONGEST_LINE:,} bytes")
        if b"\0" in line:
            raise TableError(
                f"{path}: line {number}: holds a zero byte, so it is not text in UTF-8"
            )
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            row(RowError(
                f"{path}: line {number}: not UTF-8 (byte {error.start + 1} of the line is "
                f"0x{line[error.start]:02x}); save the file as UTF-8{mend}", "not UTF-8",
            ))  # fmt: skip
            text = "\n"
        if read >= _ADVANCE_BYTES:
            advance(read)
            read = 0
        yield text
    advance(read)


def _name(path: str | Path | Opens) -> str:
    return str(path) if isinstance(path, str | Path) or is_remote(path) else path.name


def _ways_to_read(line: str, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    for one in delimiter or DELIMITERS:
        try:
            names = next(csv.reader([line], delimiter=one, strict=True), [])
        except csv.Error:
            continue
        yield one, [plain_cell(name.strip()) for name in names]


def _header(
    line: str | None, delimiter: str, wanted: Sequence[str], path: str, mend: str
) -> tuple[str, list[str]]:
    if line is None:
        raise TableError(f"{path}: the file is empty")
    ways = list(_ways_to_read(line, delimiter))
    if not ways:
        raise TableError(
            f"{path}: line 1: a quote that does not end with its cell, or a line end that is "
            "neither LF nor CRLF"
        )
    fitting = [way for way in ways if set(wanted) <= set(way[1])]
    delimiter, names = max(fitting or ways, key=lambda way: len(way[1]))
    missing = [name for name in wanted if name not in names]
    repeated = [name for name in wanted if names.count(name) > 1]
    if missing or repeated:
        what = "no column" if missing else "more than one column"
        raise TableError(
            f"{path}: {what} {listed(missing or repeated)}; its columns are: "
            f"{listed(names) or 'none'}" + (mend and f"; {mend}")
        )
    return delimiter, names


def listed(names: Sequence[str]) -> str:
    """Format names of columns for a message, which is to fit a screen."""
    shown = [repr(name[:LONGEST_SHOWN]) for name in names[:MOST_SHOWN]]
    return ", ".join([*shown, "…"] if len(names) > MOST_SHOWN else shown)
