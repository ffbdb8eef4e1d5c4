"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from playlist_pretrain.errors import PlaylistPretrainError
from playlist_pretrain.storage import RemotePath


@contextlib.contextmanager
def atomic_write(path: str | Path | RemotePath, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file beside ``path`` and rename it to ``path`` on success.

    The data are synced to disk before the rename, so after a crash ``path`` holds either
    what it held before or all of the new content. On any error the temporary file is removed.

    Parameters
    ----------
    path : str, Path or RemotePath
        Final name; its folder is created when missing. A remote file is written to a local
        temporary one and uploaded on success.
    mode : {"wb", "w"}
        Text is written as UTF-8 with ``\\n`` line ends.
    """
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    if isinstance(path, RemotePath):
        with tempfile.NamedTemporaryFile(mode, **text) as stream:
            yield stream
            stream.flush()
            path.put(stream.name)
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, **text) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: str | Path | RemotePath, content: Any) -> None:
    """Write ``content`` as readable JSON, atomically; floats keep every digit."""
    with atomic_write(path, "w") as stream:
        json.dump(content, stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")


def content_key(*parts: bytes) -> str:
    """Short hexadecimal key (32 digits of SHA-256) of ``parts``, each with its length."""
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
    """Hold ``folder/name`` as long as the block runs; the system frees it when a process dies.

    The block may remove the lock file, and its folder: a process that opened the file before
    then does not get the lock.

    Parameters
    ----------
    folder : str or Path
        Created when missing.
    busy : str
        What another process is doing when it holds the lock; begins the message.
    name : str
        Of the lock file.
    error : type
        What is raised.

    Raises
    ------
    PlaylistPretrainError
        Or ``error``; if another process holds the lock.
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
