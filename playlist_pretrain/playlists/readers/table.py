"""Long tables: one line for each track of each group, CSV or TSV.

Format: UTF-8 (a byte-order mark is fine), a header, then one row for each entry. Cells are
separated by tab, comma or semicolon, whichever separates the wanted columns in the header, and
may be quoted as RFC 4180 says. Rows of a group need not be neighbours. Blank lines are left out.
Provenance: whatever exports tables; track ids are those of the collection.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from playlist_pretrain.errors import TableError

DEFAULT_COLUMNS = {"group": "group_id", "track": "track_id"}
DELIMITERS = "\t,;"
LONGEST_LINE = 1 << 20
LONGEST_PART = 65_536
ADVANCE_BYTES = 1 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TableReader:
    """Reader of long tables; see the module."""

    name = "table"
    description = (
        "CSV or TSV with a header, one row for each track of each group "
        "(columns group_id and track_id, or --columns group=…,track=…)"
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
        if not path.is_file():
            raise TableError(f"{path}: a table is one file, this is a folder")
        return [path]

    def read(
        self,
        path: Path,
        columns: Mapping[str, str] | None = None,
        advance: Callable[[int], object] = lambda read: None,
    ) -> Iterator[tuple[str, list[str]]]:
        """Yield runs of neighbouring rows of one group; see ``Reader.read``."""
        wanted = {**DEFAULT_COLUMNS, **(columns or {})}
        with open(self.files(path)[0], "rb") as stream:
            lines = _lines(stream, path, advance)
            header = next(lines, None)
            if header is None:
                raise TableError(f"{path}: the file is empty")
            delimiter, names = _header(header, wanted, path)
            at_group, at_track = (names.index(wanted[key]) for key in ("group", "track"))
            group, tracks = None, []
            for row in _rows(lines, delimiter, names, (at_group, at_track), path):
                if row[at_group] != group or len(tracks) == LONGEST_PART:
                    if tracks:
                        yield group, tracks
                    group, tracks = row[at_group], []
                tracks.append(row[at_track])
            if not tracks:
                raise TableError(f"{path}: a header and no rows")
            yield group, tracks


def _lines(stream, path: Path, advance: Callable[[int], object]) -> Iterator[str]:
    number = read = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        read += len(line)
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            raise TableError(f"{path}: line {number}: longer than {LONGEST_LINE:,} bytes")
        if b"\0" in line:
            raise TableError(f"{path}: line {number}: holds a zero byte, so it is not a text table")
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise TableError(
                f"{path}: line {number}: not UTF-8 (byte {error.start + 1} of the line is "
                f"0x{line[error.start]:02x}); save the table as UTF-8"
            ) from error
        if read >= ADVANCE_BYTES:
            advance(read)
            read = 0
        yield text
    advance(read)


def _header(line: str, wanted: Mapping[str, str], path: Path) -> tuple[str, list[str]]:
    best: tuple[str, list[str]] = ("", [])
    for delimiter in DELIMITERS:
        try:
            names = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        if len(names) > len(best[1]) or set(wanted.values()) <= set(names):
            best = (delimiter, names)
        if set(wanted.values()) <= set(names):
            break
    names = best[1]
    for key, name in wanted.items():
        if names.count(name) != 1:
            there = "no column" if name not in names else "more than one column"
            raise TableError(
                f"{path}: {there} {name!r} for the {key}; its columns are: "
                f"{', '.join(map(repr, names)) or 'none'}; name the columns with "
                "--columns group=…,track=…"
            )
    return best


def _rows(
    lines: Iterator[str], delimiter: str, names: list[str], needed: tuple[int, int], path: Path
) -> Iterator[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 2  # where the next row starts; a quoted cell may span lines
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise TableError(f"{path}: line {line}: {error}") from error
        if row is None:
            return
        if row:
            if len(row) != len(names):
                raise TableError(
                    f"{path}: line {line}: {len(row)} cells, the header has {len(names)}"
                )
            for position in needed:
                if not row[position]:
                    raise TableError(
                        f"{path}: line {line}: column {names[position]!r} is empty; fill it in or "
                        "remove the row"
                    )
            yield row
        line = 2 + reader.line_num
