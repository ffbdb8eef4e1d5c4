"""Files that are whole or not there, arrays with a header, locks, keys of contents."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import json
import logging
import math
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from playlist_pretrain.errors import CollectionError, GroupsError, PlaylistPretrainError, first_line
from playlist_pretrain.storage import is_remote, location, open_bytes, upload

logger = logging.getLogger(__name__)
Table = TypeVar("Table")
LARGEST_DOCUMENT = 64 << 20
"""Bytes of a JSON document; Python objects take two dozen times as much."""
DEEPEST = 64
"""Lists and objects within each other; whatever goes through a document may recurse so far."""
TEMPORARY = "playlist_pretrain-"
"""Prefix of the names of temporary folders, in the system's place for them."""
FREELY, LARGEST_EXPANSION = 64 << 20, 200
"""Bytes that compressed data may expand to, or times their size."""


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "wb", *, sync: bool = True) -> Iterator[IO]:
    """Open a temporary file beside ``path`` and rename it to ``path`` on success.

    The data are synced to disk before the rename: after a crash ``path`` has its old content or
    all of the new one. On any error the temporary file is removed; what a process that was killed
    left of it is written anew by the next. Of several that write the same file the last one wins.

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
        with named(path), tempfile.NamedTemporaryFile(mode, **text) as stream:
            yield stream
            stream.flush()
            upload(stream.name, location(path))
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with named(path):
        descriptor, temporary = _temporary_beside(path)
    with named(path, temporary), open(descriptor, mode, **text) as stream:
        try:
            yield stream
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
            os.replace(temporary, path)  # as long as it is locked
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _temporary_beside(path: Path) -> tuple[int, Path]:
    """Open an empty hidden file that nobody else writes: a new one, or one of a killed process.

    It is locked as long as it is open.
    """
    number = 0
    while True:
        temporary = path.with_name(f".{path.name}.{f'{number}.' if number else ''}tmp")
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        try:
            descriptor, own = os.open(temporary, flags | os.O_EXCL, 0o666), True
        except FileExistsError:
            descriptor, own = os.open(temporary, flags, 0o666), False
        try:
            _lock(descriptor, temporary)
            own = True
        except BlockingIOError:
            own = False
        except OSError:  # not every file system has locks
            pass
        if own:
            os.truncate(descriptor, 0)
            return descriptor, temporary
        os.close(descriptor)
        number += 1


def _lock(descriptor: int, path: Path) -> None:
    """Lock an opened file or folder; BlockingIOError if somebody has it, or it is gone.

    Raises OSError where the file system has no locks.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return
    except FileNotFoundError:
        pass
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))


@contextlib.contextmanager
def temporary_folder() -> Iterator[None]:
    """Give what makes temporary files in the block, libraries too, a folder, removed at its end.

    It is locked as long as it is used; those of processes that were killed are removed first.
    """
    before = os.environ.get("TMPDIR")
    place = Path(tempfile.gettempdir())
    if place.name.startswith(TEMPORARY):  # of a process that started this one, and may end before
        place = place.parent
    for path in place.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError), _locked_folder(path):
            shutil.rmtree(path, ignore_errors=True)
    with contextlib.ExitStack() as lock:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=place))
            try:
                lock.enter_context(_locked_folder(folder))
            except BlockingIOError:  # taken for one that was left
                continue
            except OSError:  # without locks nobody removes it
                pass
            break
        try:
            os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
            yield
        finally:
            tempfile.tempdir = None
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked_folder(path: Path) -> Iterator[None]:
    """Lock a folder of this user; OSError where that is not possible."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))
        _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def named(path: str | Path, temporary: Path | None = None) -> Iterator[None]:
    """Give an OSError of writing the name that is meant; the system names none, or a hidden one.

    What lies below ``temporary`` becomes the same below ``path``.
    """
    try:
        yield
    except OSError as error:
        inner = None if error.filename is None else str(error.filename)
        if inner is None or (temporary and inner.startswith(str(temporary))):
            # NumPy says no more than how many bytes it has written.
            error.strerror = error.strerror or f"{error}; is the disk full?"
            error.filename = str(path) + (inner or "").removeprefix(str(temporary))
        raise


@contextlib.contextmanager
def together(
    paths: Sequence[Path], about: Any = None, *, overwrite: bool = False
) -> Iterator[None]:
    """Mark files or folders that the block writes as unfinished until all are there.

    When it was killed, :func:`half_there` knows those that are there for half of what was asked
    for, not for something of the user's. A mark with nothing behind it goes with its folders.
    ``overwrite`` needs no mark.
    """
    if overwrite or len(paths) < 2:
        yield
        return
    mark = _mark(paths)
    made = [folder for folder in mark.parents if not folder.exists()]
    try:
        write_json(mark, _unfinished(paths, about))
        yield
        mark.unlink()
    except BaseException:
        if not any(map(os.path.lexists, paths)):
            with contextlib.suppress(OSError):
                mark.unlink()
                for folder in made:
                    folder.rmdir()
        raise


def half_there(paths: Sequence[Path], about: Any = None) -> bool:
    """True if the same call of :func:`together` was interrupted; ``about`` None takes any."""
    try:
        there = load_json(_mark(paths)) if len(paths) > 1 else {}
    except (OSError, ValueError):
        return False
    about = there.get("about") if about is None else about
    return there == _unfinished(paths, about)


def _mark(paths: Sequence[Path]) -> Path:
    return paths[0].with_name(f".{paths[0].name}.unfinished")


def _unfinished(paths: Sequence[Path], about: Any) -> dict[str, Any]:
    return {"unfinished": [path.name for path in paths], "about": about}


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


_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class TableWriter:
    """Writes the rows of a CSV or TSV that people open.

    A spreadsheet would run text that begins as a formula does: it gets an apostrophe before it,
    which :func:`plain_cell` takes away.
    """

    def __init__(self, stream: IO[str], delimiter: str = ",", *, quote_text: bool = False):
        quoting: Any = csv.QUOTE_NONNUMERIC if quote_text else csv.QUOTE_MINIMAL
        self._stream = stream
        # Until Python 3.13 a cell with a carriage return is quoted only where lines end in one.
        self._rows = csv.writer(self, delimiter=delimiter, lineterminator="\r\n", quoting=quoting)

    def write(self, line: str) -> None:
        """Take a row as csv formats it."""
        self._stream.write(line.removesuffix("\r\n") + "\n")

    def writerow(self, cells: Iterable[Any]) -> None:
        """Write a row; None is an empty cell."""
        self._rows.writerow([
            f"'{cell}"
            if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
            else cell
            for cell in cells
        ])  # fmt: skip

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write rows."""
        for row in rows:
            self.writerow(row)


def plain_cell(cell: str) -> str:
    """Text of a cell that :class:`TableWriter` wrote."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


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
            # The process that had it may have removed the file since it was opened here.
            _lock(stream.fileno(), folder / name)
        except (BlockingIOError, FileNotFoundError):
            what = f"{busy} already, by another process; wait for it, or stop it"
            raise error(what) from None
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
def whole(
    path: object, what: str, error: type[PlaylistPretrainError] = GroupsError, mend: str = ""
) -> Iterator[None]:
    """Turn any error of the block into one ``error``: ``path`` is not a whole ``what``.

    A damaged file fails in a dozen ways, and whoever reads it need not know them. A server that is
    away is none of them, nor is a package that is not installed.
    """
    try:
        yield
    except (CollectionError, ImportError):
        raise
    except OSError as problem:
        said = problem.strerror or first_line(problem)
        raise error(f"{problem.filename or path}: cannot be read: {said}{mend}") from problem
    except PlaylistPretrainError as problem:
        if isinstance(problem, error) and str(problem).startswith(f"{path}: "):
            raise  # of a block within this one
        raise error(f"{path}: {problem}{mend}") from problem
    except Exception as problem:
        said = first_line(problem)
        said = f"no {said}" if isinstance(problem, KeyError) else said
        raise error(f"{path}: not a whole {what} ({said}){mend}") from problem


def read_whole(path: Path, largest: int = LARGEST_DOCUMENT) -> bytes:
    """Content of a local or remote file; OSError for no plain file, ValueError for a larger one."""
    if not is_remote(path) and path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a file", str(path))  # opening a pipe would wait for ever
    with open_bytes(path) as stream:
        content = stream.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"larger than {largest:,} bytes")
    return content


def load_json(path: Path, kind: type = dict) -> Any:
    """Read a JSON file whose content is of one ``kind``; see :func:`whole` for its errors."""
    return parse_json(read_whole(path), kind)


_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "text"}


def parse_json(text: str | bytes, kind: type = dict) -> Any:
    """Content of a JSON document, of one ``kind``: finite numbers, at most ``DEEPEST`` levels."""
    try:
        content = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    if type(content) is not kind:
        raise ValueError(f"it holds {_KINDS.get(type(content), 'a value')}, not {_KINDS[kind]}")
    return plain_values(content)


def plain_values(content: Any) -> Any:
    """Return a document of JSON or TOML, or raise ValueError: nested too deeply, not finite."""
    level = [content]
    for _ in range(DEEPEST + 1):
        deeper: list[Any] = []
        for value in level:
            if type(value) is float and not math.isfinite(value):
                raise ValueError(f"a number that is not finite: {value}")
            if isinstance(value, dict):
                deeper += value.values()
            elif isinstance(value, list):
                deeper += value
        if not deeper:
            return content
        level = deeper
    raise ValueError("nested too deeply")


def write_arrays(path: str | Path, header: dict[str, Any] | None = None, **arrays: Any) -> None:
    """Write plain arrays, perhaps with a JSON header, whole or not at all.

    Equal content gives equal bytes: nothing is compressed, and every entry carries the zip format's
    first date.
    """
    if header is not None:
        arrays = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays}
    archive = io.BytesIO()  # NumPy leaves open what it writes to a disk that is full
    np.savez(archive, **arrays)
    with atomic_write(path) as stream:
        stream.write(archive.getbuffer())


def load_arrays(
    source: Path | bytes, names: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npz`` file or its bytes, all or those of ``names``, without pickle.

    See :func:`whole` for its errors: nothing may be compressed, or expand in any other way.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else open_bytes(source) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("one array, not an archive")
        members = archive.zip.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("compressed entries")
        if sum(member.file_size for member in members) > size:
            raise ValueError("entries that are larger than the file")
        return {name: archive[name] for name in archive.files if names is None or name in names}


def read_arrays(path: Path, version: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the header and the arrays that :func:`write_arrays` wrote.

    Raises exceptions of many kinds when the file is damaged or foreign; see :func:`whole`.
    """
    arrays = load_arrays(path)
    header = parse_json(arrays.pop("header").tobytes())
    if header.get("format") != version:
        raise ValueError(f"not format {version}")
    return header, arrays


def check_expanded(expanded: int, size: int) -> None:
    """Raise ValueError where a file of ``size`` bytes is one of ``expanded`` bytes in memory."""
    if expanded > FREELY and expanded > LARGEST_EXPANSION * size:
        raise ValueError(f"expands to more than {LARGEST_EXPANSION} times its size")


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
