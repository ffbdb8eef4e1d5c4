"""Reader of tables in text files (CSV and TSV).

Format: UTF-8 (a byte-order mark is fine), lines that end in LF or CRLF, a header in the first
line, then rows with as many cells as the header. Cells are separated by tab, comma or semicolon,
whichever separates the wanted columns in the header, and may be quoted as RFC 4180 says. Cells
are taken as they are, blanks included, but for the apostrophe before what a spreadsheet would run
as a formula (``'=1+1``, see :class:`~playlist_pretrain.files.TableWriter`); blanks around the names
in the header do not count. Blank lines are left out. Cells of wanted columns hold more than blanks,
unless a caller says otherwise.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from playlist_pretrain.errors import TableError
from playlist_pretrain.files import plain_cell
from playlist_pretrain.storage import is_remote, open_bytes

DELIMITERS = "\t,;"
LONGEST_LINE = 1 << 20
MOST_SHOWN, LONGEST_SHOWN = 20, 60
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ADVANCE_BYTES = 1 << 20


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

    Raises TableError: names the file, and the line where there is one: what :func:`text_lines`
    refuses, no row, a wanted column that is missing or there twice, a row with more or fewer cells
    than the header, an empty cell in a wanted column, a quote that does not end. What came before
    the damage has been yielded.
    """
    lines, path = text_lines(path, advance), _name(path)
    names = [name.strip() for name in names]
    delimiter, columns = _header(next(lines, None), names, path, mend)
    positions = [columns.index(name) for name in names]
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    number, empty = 2, True  # a quoted cell may span lines
    try:
        for row in reader:
            if len(row) == len(columns):
                cells = tuple([row[position] for position in positions])
                if any(cell.startswith("'") for cell in cells):
                    cells = tuple(map(plain_cell, cells))
                for name, cell in zip(names, cells, strict=True):
                    if (not cell or cell.isspace()) and name not in blank:
                        raise TableError(
                            f"{path}: line {number}: column {name!r} is empty; fill it in or "
                            "remove the row"
                        )
                yield number, cells
                empty = False
            elif row:
                raise TableError(
                    f"{path}: line {number}: {len(row)} cells, the header has {len(columns)}"
                )
            number = reader.line_num + 2
    except csv.Error as error:
        raise TableError(f"{path}: line {number}: {error}") from error
    if empty:
        raise TableError(f"{path}: a header and no rows")


def read_header(path: str | Path | Opens, wanted: Sequence[str], mend: str = "") -> list[str]:
    """Read the names of the columns of a table; TableError unless each of ``wanted`` is one."""
    return _header(next(text_lines(path), None), wanted, _name(path), mend)[1]


def has_column(line: str, name: str) -> bool:
    """Whether ``line``, read as the header of a table, has a column ``name``."""
    return any(name in columns for _, columns in _ways_to_read(line))


def text_lines(
    path: str | Path | Opens, advance: Callable[[int], object] | None = None
) -> Iterator[str]:
    """Yield the lines of a text file with their ends, without the byte-order mark.

    Raises TableError for a file that cannot be read, text that is not UTF-8, a zero byte, a line
    longer than ``LONGEST_LINE`` bytes.
    """
    advance = advance or (lambda read: None)
    if not (isinstance(path, str | Path) or is_remote(path)):
        with path.open(advance) as stream:
            yield from _decoded(stream, path.name, lambda read: None)
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
        yield from _decoded(stream, str(path), advance)


def _decoded(stream: BinaryIO, path: str, advance: Callable[[int], object]) -> Iterator[str]:
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
            raise TableError(
                f"{path}: line {number}: not UTF-8 (byte {error.start + 1} of the line is "
                f"0x{line[error.start]:02x}); save the file as UTF-8"
            ) from error
        if read >= _ADVANCE_BYTES:
            advance(read)
            read = 0
        yield text
    advance(read)


def _name(path: str | Path | Opens) -> str:
    return str(path) if isinstance(path, str | Path) or is_remote(path) else path.name


def _ways_to_read(line: str) -> Iterator[tuple[str, list[str]]]:
    for delimiter in DELIMITERS:
        try:
            names = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        yield delimiter, [plain_cell(name.strip()) for name in names]


def _header(line: str | None, wanted: Sequence[str], path: str, mend: str) -> tuple[str, list[str]]:
    if line is None:
        raise TableError(f"{path}: the file is empty")
    ways = list(_ways_to_read(line))
    if not ways:
        raise TableError(
            f"{path}: line 1: a quote that does not end with its cell, or a line end that is "
            "neither LF nor CRLF"
        )
    fitting = (way for way in ways if set(wanted) <= set(way[1]))
    delimiter, names = next(fitting, None) or max(ways, key=lambda way: len(way[1]))
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
