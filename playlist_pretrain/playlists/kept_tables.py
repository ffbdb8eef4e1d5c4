"""Tables made from groups, kept beside them under a key of content and settings."""

from __future__ import annotations

import contextlib
import json
import logging
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from playlist_pretrain.errors import CollectionError, GroupsError, first_line
from playlist_pretrain.files import atomic_write, check_writable
from playlist_pretrain.storage import open_bytes

logger = logging.getLogger(__name__)
Table = TypeVar("Table")


def kept(
    path: Path,
    load: Callable[[], Table],
    make: Callable[[], Table],
    save: Callable[[Table], None],
) -> Table:
    """Read the table at ``path``, or make and save it; one that cannot be read is made again.

    The path is to hold a key of all that decides the table, so that nothing stale is read.
    """
    if path.exists():
        try:
            table = load()
            logger.info("%s: read", path)
            return table
        except GroupsError as error:
            logger.info("%s; made again", error)
    check_writable(path.parent)
    started = time.monotonic()
    table = make()
    save(table)
    logger.info("%s: made in %.1f s", path, time.monotonic() - started)
    return table


@contextlib.contextmanager
def whole(path: Path, what: str, mend: str = "") -> Iterator[None]:
    """Turn any error of the block into one GroupsError: ``path`` is not a whole ``what``.

    A damaged zip file or header fails in a dozen ways. A server that is away is none of them.
    """
    try:
        yield
    except CollectionError:
        raise
    except Exception as error:
        raise GroupsError(f"{path}: not a whole {what} ({first_line(error)}){mend}") from error


def write_arrays(path: str | Path, header: dict[str, Any], **arrays: Any) -> None:
    """Write plain arrays with a JSON header, whole or not at all; equal content, equal bytes.

    Nothing is compressed, and every entry carries the zip format's first date.
    """
    with atomic_write(path) as stream:
        np.savez(stream, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)


def read_arrays(path: Path, version: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the header and the arrays that :func:`write_arrays` wrote, without pickle.

    Raises
    ------
    Exception
        Of many kinds when the file is damaged or foreign; see :func:`whole`.
    """
    with open_bytes(path) as stream:
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("one array, not an archive")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.zip.infolist()):
            raise ValueError("compressed entries")  # an archive must not grow when it is opened
        arrays = dict(archive)
    header = json.loads(arrays.pop("header").tobytes())
    if not isinstance(header, dict) or header.get("format") != version:
        raise ValueError(f"not format {version}")
    return header, arrays
