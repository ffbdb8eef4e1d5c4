"""Lists of track ids, for ``--exclude``: one a line, or the column ``track_id`` of a table."""

from __future__ import annotations

from pathlib import Path

from playlist_pretrain.errors import TableError
from playlist_pretrain.tables import has_column, read_columns, text_lines

COLUMN = "track_id"


def read_track_ids(path: str | Path) -> list[str]:
    """Ids of a list, in its order.

    Parameters
    ----------
    path : str or Path
        UTF-8. A first line with a cell ``track_id`` makes it a table (CSV or TSV); anything else
        is a plain list, one id a line, where blank lines do not count.

    Raises
    ------
    TableError
        If the file is missing, empty, or not text, or a table that cannot be read.
    """
    lines = [line.rstrip("\r\n") for line in text_lines(path)]
    if lines and has_column(lines[0], COLUMN):
        return [track_id for _, (track_id,) in read_columns(path, [COLUMN])]
    for number, line in enumerate(lines, 1):
        if "\r" in line:
            raise TableError(f"{path}: line {number}: a line end that is neither LF nor CRLF")
    ids = [line for line in lines if line.strip()]
    if not ids:
        raise TableError(f"{path}: no track ids")
    return ids
