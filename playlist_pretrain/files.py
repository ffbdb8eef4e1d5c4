"""Files that are whole or not there, locks, keys of contents, files of a folder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from playlist_pretrain.errors import PlaylistPretrainError
from playlist_pretrain.storage import is_remote, location, upload


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
