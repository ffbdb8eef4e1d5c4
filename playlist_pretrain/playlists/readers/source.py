"""Where readers read from: files, members of zip files, and both of them gzipped."""

from __future__ import annotations

import contextlib
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from playlist_pretrain.errors import TableError

LARGEST = 1 << 30
"""Bytes of a document that has to be read as a whole."""
FREELY = 64 << 20
LARGEST_EXPANSION = 200
"""Text shrinks to a tenth or so; what grows more than this after ``FREELY`` bytes is a trap."""
CHUNK = 1 << 20
SNIFFED = 65_536


class Source:
    """One stream of bytes; what is gzipped (by its name's ``.gz``) is expanded while reading.

    Parameters
    ----------
    file : Path
        On disk.
    path : PurePosixPath
        Name below the folder or within the zip file that it was found in.
    member : zipfile.ZipInfo, optional
        Of ``file``, which is a zip file then.

    Attributes
    ----------
    name : str
        For messages.
    path : PurePosixPath
        As given, without a final ``.gz``.
    size : int
        Bytes on disk, compressed ones where it is compressed.
    file : Path or None
        The file on disk that holds just this, or None.
    """

    def __init__(self, file: Path, path: PurePosixPath, member: zipfile.ZipInfo | None = None):
        self._file = file
        self._member = member
        self._gzipped = path.suffix.lower() == ".gz"
        self.path = path.with_suffix("") if self._gzipped else path
        self.file = None if member or self._gzipped else file
        self.name = f"{file}: {member.filename}" if member else str(file)
        self.size = member.compress_size if member else file.stat().st_size

    @contextlib.contextmanager
    def open(self, advance: Callable[[int], object] = lambda read: None) -> Iterator[BinaryIO]:
        """Open for reading.

        Parameters
        ----------
        advance : callable
            Told how many more of the ``size`` bytes have been read.

        Raises
        ------
        TableError
            Here or while reading: no permission, a damaged or cut-off archive, one that wants a
            password, one that expands beyond all measure.
        """
        with contextlib.ExitStack() as opened:
            try:
                if self._member:
                    archive = opened.enter_context(zipfile.ZipFile(self._file))
                    stream = opened.enter_context(archive.open(self._member))
                    whole = max(self._member.file_size, 1)
                else:
                    stream = opened.enter_context(open(self._file, "rb"))
                    whole = max(self.size, 1)
                counted = _Counted(stream, self, advance, whole)
                inner = gzip.GzipFile(fileobj=counted) if self._gzipped else counted
            except (*_DAMAGES, OSError) as error:
                raise TableError(f"{self.name}: cannot be read: {_words(error)}") from error
            yield io.BufferedReader(_Limited(inner, self), CHUNK)
            counted.finish()

    def read(
        self, advance: Callable[[int], object] = lambda read: None, largest: int = LARGEST
    ) -> bytes:
        """The whole content.

        Raises
        ------
        TableError
            As :meth:`open`, and for more than ``largest`` bytes.
        """
        with self.open(advance) as stream:
            content = stream.read(largest + 1)
            if len(content) > largest:
                raise TableError(f"{self.name}: larger than {largest:,} bytes")
        return content


_DAMAGES = (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile, NotImplementedError,
            RuntimeError)  # fmt: skip


def _words(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


class _Counted(io.RawIOBase):
    """Tells how much of the source has been read; a zip file does so by the share expanded."""

    def __init__(self, stream, source: Source, advance, whole: int):
        self._stream, self._source, self._advance = stream, source, advance
        self._whole, self._read, self._told = whole, 0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._read += len(data)
        told = min(self._source.size, self._read * self._source.size // self._whole)
        self._advance(told - self._told)
        self._told = told
        return len(data)

    def finish(self) -> None:
        self._advance(self._source.size - self._told)


class _Limited(io.RawIOBase):
    """Refuses what is damaged, and what expands beyond all measure."""

    def __init__(self, stream, source: Source):
        self._stream, self._source, self._read = stream, source, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        try:
            data = self._stream.read(len(buffer))
        except (*_DAMAGES, OSError) as error:
            raise TableError(
                f"{self._source.name}: damaged or cut off after {self._read:,} bytes: "
                f"{_words(error)}"
            ) from error
        buffer[: len(data)] = data
        self._read += len(data)
        if self._read > FREELY and self._read > LARGEST_EXPANSION * self._source.size:
            raise TableError(
                f"{self._source.name}: expands to more than {LARGEST_EXPANSION} times its size; "
                "not read any further"
            )
        return len(data)


def sources_in(path: Path, accept: Callable[[PurePosixPath], bool]) -> list[Source]:
    """The sources at ``path``, in the order of their names.

    Parameters
    ----------
    path : Path
        A file is its own source, a zip file and a folder (with the folders in it) hold those
        that ``accept`` takes. Hidden files do not count.
    accept : callable
        Takes the path below the folder or in the zip file, without a final ``.gz``.

    Raises
    ------
    TableError
        For a zip file that is damaged, or whose members have names outside of it, the same
        name, or a password.
    """
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
        found = [Source(file, PurePosixPath(file.relative_to(path).as_posix())) for file in files]
    elif is_zip(path):
        found = [Source(path, PurePosixPath(member.filename), member) for member in _members(path)]
    else:
        return [Source(path, PurePosixPath(path.name))]
    hidden = (".", "__MACOSX")
    found = [
        source
        for source in found
        if not any(part.startswith(hidden) for part in source.path.parts) and accept(source.path)
    ]
    return sorted(found, key=lambda source: source.path.parts)


def is_zip(path: Path) -> bool:
    """Whether the file begins as zip files do."""
    with open(path, "rb") as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _members(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except (*_DAMAGES, OSError, ValueError) as error:
        raise TableError(f"{path}: not a whole zip file: {_words(error)}") from error
    seen = set()
    for member in members:
        name = member.filename
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
            raise TableError(f"{path}: member {name!r} has a name outside of the zip file")
        if name in seen:
            raise TableError(f"{path}: member {name!r} is there twice")
        if member.flag_bits & 1:
            raise TableError(f"{path}: member {name!r} wants a password; unpack it first")
        seen.add(name)
    return members


def first_bytes(path: Path, size: int = SNIFFED) -> bytes:
    """How a file begins, expanded when gzipped; nothing for folders and zip files."""
    if not path.is_file() or is_zip(path):
        return b""
    try:
        with Source(path, PurePosixPath(path.name)).open() as stream:
            return stream.read(size)
    except TableError:
        return b""
