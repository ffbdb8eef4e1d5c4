"""Files that are whole or not there, arrays with a header, locks, keys of contents."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import secrets
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from playlist_pretrain.errors import CollectionError, GroupsError, PlaylistPretrainError, first_line
from playlist_pretrain.storage import is_remote, location, open_bytes, upload

logger = logging.getLogger(__name__)
Table = TypeVar("Table")


def temporary_beside(path: Path) -> Path:
    """Return a hidden name beside ``path`` that no other process takes, on any machine."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "wb", *, sync: bool = True) -> Iterator[IO]:
    """Open a temporary file beside ``path`` and rename it to ``path`` on success.

    The data are synced to disk before the rename: after a crash ``path`` has its old content or
    all of the new one. On any error the temporary file is removed.

    Parameters
    ----------
    path : str or Path
        Final name; its folder is created when missing. A remote file is written to a local
        temporary one and uploaded on success.
    mode : {"wb", "w"}
        Text is written as UTF-8 with ``\\n`` line ends.
    sync : bool
        False saves waiting for the disk; a crash of the machine may then leave ``path`` empty or
        cut short, so readers must be able to tell.
    """
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    if is_remote(path):
        with tempfile.NamedTemporaryFile(mode, **text) as stream:
            yield stream
            stream.flush()
            upload(stream.name, location(path))
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with open(temporary, mode, **text) as stream:
            yield stream
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_writable(folder: str | Path) -> None:
    """Raise OSError when nothing can be written to a local ``folder``: before long work."""
    if not is_remote(folder):
        with tempfile.TemporaryFile(dir=folder):
            pass


def write_json(path: str | Path, content: Any, *, sync: bool = True) -> None:
    """Write ``content`` as readable JSON with :func:`atomic_write`; floats keep every digit."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path, sync=sync) as stream:
        # What is no whole character, in the name of a file, becomes JSON's own escape for it.
        stream.write(text.encode("utf-8", "backslashreplace") + b"\n")


def content_key(*parts: bytes) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of ``parts``, each with its length."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:32]


@contextlib.contextmanager
def folder_lock(
    folder: str | Path,
    busy: str,
    name: str = ".lock",
    error: type[PlaylistPretrainError] = PlaylistPretrainError,
) -> Iterator[None]:
    """Lock the file ``name`` in ``folder`` while the block runs; a process that dies frees it.

    The folder is created when missing. The block may remove the lock file, and the folder.

    Raises PlaylistPretrainError, or ``error``, if another process holds the lock; the message
    begins with ``busy``, which says what that process is doing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as opened:
        try:
            stream = opened.enter_context(open(folder / name, "a"))
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process that had it may have removed the file since it was opened here.
            held = os.path.samestat(os.fstat(stream.fileno()), os.stat(folder / name))
        except (BlockingIOError, FileNotFoundError):
            held = False
        if not held:
            raise error(f"{busy} already, by another process; wait for it, or stop it")
        yield


def files_below(
    folder: str | Path, error: type[PlaylistPretrainError] = PlaylistPretrainError
) -> Iterator[str]:
    """Yield the POSIX path below ``folder`` of every file in it, at any depth.

    Hidden files and folders (names that begin with a dot) are left out. Links to folders are
    followed unless they lead back to a folder they lie in. Bytes that are not UTF-8 become
    surrogates. Raises ``error`` for a folder that cannot be read.
    """
    folder = Path(folder)
    waiting = [("", frozenset([_identity(folder)]))]
    while waiting:
        below, ancestors = waiting.pop()
        try:
            entries = list(os.scandir(folder / below))
        except OSError as problem:
            raise error(f"cannot read the folder {folder / below}: {problem.strerror}") from problem
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = f"{below}/{entry.name}" if below else entry.name
            try:
                folder_entry = entry.is_dir()
            except OSError:  # a link to itself: reading it will say so
                folder_entry = False
            if not folder_entry:
                yield name
            elif (identity := _identity(entry.path)) not in ancestors:
                waiting.append((name, ancestors | {identity}))


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def whole(path: Path, what: str, mend: str = "") -> Iterator[None]:
    """Turn any error of the block into one GroupsError: ``path`` is not a whole ``what``.

    A damaged zip file or header fails in a dozen ways. A server that is away is none of them, nor
    is a package that is not installed.
    """
    try:
        yield
    except (CollectionError, ImportError):
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

    Raises exceptions of many kinds when the file is damaged or foreign; see :func:`whole`.
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


def kept(
    path: Path, load: Callable[[], Table], make: Callable[[], Table], save: Callable[[Table], None]
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
