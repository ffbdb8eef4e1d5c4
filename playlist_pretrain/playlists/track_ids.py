"""Lists of track ids, for ``--exclude``: one a line, or the column ``track_id`` of a table."""

from __future__ import annotations

import re
from pathlib import Path

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.table import TableReader

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
        If the file is missing, empty, or not text.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise TableError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise TableError(f"{path}: a folder, not a list of track ids") from None
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not a list in UTF-8: {error}") from error
    header = re.split("[\t,;]", lines[0]) if lines else []
    if COLUMN in [cell.strip('" ') for cell in header]:
        columns = {"group": COLUMN, "track": COLUMN}
        ids = [track for _, run in TableReader().read(path, columns) for track in run]
    else:
        ids = [line for line in lines if line.strip()]
    if not ids:
        raise TableError(f"{path}: no track ids")
    return ids
