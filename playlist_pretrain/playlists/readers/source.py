"""Sources that readers read: files, members of zip files, either of them gzipped.

Also the base of the package's readers, and the request that a reader answers.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import gzip
import io
import itertools
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

from playlist_pretrain.delimited import (
    BYTE_ORDER_MARK,
    LONGEST_LINE,
    RowError,
    check_encoding,
    in_utf8,
)
from playlist_pretrain.errors import TableError
from playlist_pretrain.files import FREELY, LARGEST_EXPANSION, files_below
from playlist_pretrain.storage import open_bytes

Group = tuple[str, list[str]]
R = TypeVar("R")
LONGEST_PART = 65_536
"""Track ids of one part of a group; readers yield longer groups in several parts."""
LARGEST = 1 << 30
"""Bytes of a document that has to be read as a whole."""
CHUNK = 1 << 20
SNIFFED = 65_536
DAMAGES = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, struct.error,
           ArithmeticError, LookupError, RuntimeError, ValueError, OSError)  # fmt: skip
"""Exceptions of the standard library for damaged archives and files that cannot be read."""


def valid_id(value: str, where: str) -> str:
    """``value`` if it is an id, not blank and valid Unicode, or a RowError at ``where``."""
    if not value or value.isspace():
        raise RowError(f"{where} is empty", "an id is empty", usual=True)
    if value.isascii():
        return value
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise RowError(f"{where} is not valid Unicode", "an id is not valid Unicode") from None
    return value


def ignore(count: int) -> None:
    """Take no note of progress."""


def refuse(error: TableError) -> None:
    """Stop at the first damage; rows that cannot be used and are usual are none."""
    if not (isinstance(error, RowError) and error.usual):
        raise error


class Source:
    """One stream of bytes; what is gzipped (by its name's ``.gz``) is expanded while reading.

    It is a ``file`` or a ``member`` of a zip file, found under ``path`` below the folder or within
    the zip file; ``path`` then has no final ``.gz``, and bytes of a name that are not UTF-8 are
    written out. ``name`` is for messages, ``size`` the bytes on disk (compressed ones where it is
    compressed, 0 where a link leads nowhere), ``file`` the file on disk that holds just this, or
    None; ``folder`` the folder on disk that ``path`` is below, None of a member. ``encoding`` is
    that of its text where a user says it, else what its first bytes say. ``group_id`` is the id of
    the group that it is where a file is a group: ``path`` without extension, unless another file
    has the same; ``owner`` whose history or library it is, where that is not in it.
    """

    def __init__(self, file: Path, path: PurePosixPath, member: zipfile.ZipInfo | None = None):
        self._file, self._member = file, member
        name = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        path = PurePosixPath(name)
        self._gzipped = path.suffix.lower() == ".gz"
        self.path = path.with_suffix("") if self._gzipped else path
        self.whole_path = path
        self.group_id = self.path.with_suffix("").as_posix()
        self.encoding: str | None = None
        self.owner = ""
        self.file = None if member or self._gzipped else file
        above = file.absolute().parents
        self.folder = None if member else above[min(len(path.parts), len(above)) - 1]
        self.name = f"{file}: {member.filename}" if member else str(file)
        try:
            self.size = member.compress_size if member else file.stat().st_size
        except OSError:
            self.size = 0  # opening it will say so

    @contextlib.contextmanager
    def open(self, advance: Callable[[int], object] = ignore) -> Iterator[BinaryIO]:
        """Open for reading; ``advance`` is told how many more of the ``size`` bytes were read.

        Raises TableError: here or while reading: no permission, a damaged or cut-off archive, one
        that wants a password, one that expands beyond all measure.
        """
        with contextlib.ExitStack() as opened:
            try:
                if self._member:
                    status = self._file.stat()
                    version = status.st_ino, status.st_mtime_ns, status.st_size
                    archive = _archive(self._file, version)
                    raw: Any = opened.enter_context(archive.open(self._member))
                    whole = max(self._member.file_size, 1)
                else:
                    if self._file.exists() and not self._file.is_file():
                        raise TableError(f"{self.name}: not a file")
                    raw = opened.enter_context(open_bytes(self._file))
                    whole = max(self.size, 1)
                content = gzip.GzipFile(fileobj=raw) if self._gzipped else raw
            except DAMAGES as error:
                raise TableError(f"{self.name}: cannot be read: {_words(error)}") from error
            checked = _Checked(self, content, lambda: raw.tell() / whole, advance)
            yield in_utf8(io.BufferedReader(checked, CHUNK), self.name, self.encoding)
            advance(self.size - checked.told)

    def start(self) -> bytes:
        """The first bytes without the byte-order mark of UTF-8; none of what cannot be read."""
        try:
            with self.open() as stream:
                return stream.read(SNIFFED).removeprefix(BYTE_ORDER_MARK)
        except TableError:
            return b""  # said when it is read

    def lines(self, advance: Callable[[int], object] = ignore) -> Iterator[tuple[str, bytes]]:
        """Yield the lines of a text file with their place for messages.

        Raises TableError: as :meth:`open`, for a line of ``LONGEST_LINE`` bytes, and for a file of
        blanks.
        """
        empty = True
        with self.open(advance) as stream:
            for number in itertools.count(1):
                line = stream.readline(LONGEST_LINE)
                if not line:
                    break
                where = f"{self.name}: line {number}"
                if len(line) == LONGEST_LINE:
                    raise TableError(f"{where}: longer than {LONGEST_LINE:,} bytes")
                if number == 1:
                    line = line.removeprefix(BYTE_ORDER_MARK)
                empty = empty and not line.strip()
                yield where, line
        if empty:
            raise TableError(f"{self.name}: the file is empty")

    def read(self, advance: Callable[[int], object] = ignore, largest: int = LARGEST) -> bytes:
        """The whole content.

        Raises TableError: as :meth:`open`, and for more than ``largest`` bytes.
        """
        content, damage = self.read_far(advance, largest)
        if damage:
            raise damage
        return content

    def read_far(
        self, advance: Callable[[int], object] = ignore, largest: int = LARGEST
    ) -> tuple[bytes, TableError | None]:
        """The content as far as it can be read, and the error that :meth:`read` would raise."""
        content = bytearray()
        try:
            with self.open(advance) as stream:
                while chunk := stream.read1():  # type: ignore[attr-defined]
                    content += chunk
                    if len(content) > largest:
                        raise TableError(f"{self.name}: larger than {largest:,} bytes")
        except TableError as error:
            return bytes(content[:largest]), error
        return bytes(content), None


@functools.lru_cache(maxsize=1)
def _archive(file: Path, version: tuple[int, ...]) -> zipfile.ZipFile:
    """An open zip file: to read its directory anew for every member takes time squared."""
    return zipfile.ZipFile(file)


def _words(error: BaseException) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


class _Checked(io.RawIOBase):
    """Refuses what is damaged, and what expands beyond all measure; reports progress.

    ``done`` is the share of the source that has been read, 0 to 1.
    """

    def __init__(
        self,
        source: Source,
        stream: Any,
        done: Callable[[], float],
        advance: Callable[[int], object],
    ):
        self._source, self._stream, self._done, self._advance = source, stream, done, advance
        self._read = self.told = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        name, size = self._source.name, self._source.size
        try:
            data = self._stream.read1(len(buffer))  # what comes before a damage, and not nothing
            more = min(size, int(self._done() * size)) - self.told
        except DAMAGES as error:
            raise TableError(
                f"{name}: damaged or cut off after {self._read:,} bytes: {_words(error)}"
            ) from error
        self._advance(more)
        self.told += more
        buffer[: len(data)] = data
        self._read += len(data)
        if self._read > FREELY and self._read > LARGEST_EXPANSION * size:
            raise TableError(
                f"{name}: expands to more than {LARGEST_EXPANSION} times its size; "
                f"not read any further than {self._read:,} bytes"
            )
        return len(data)


def sources_in(path: Path, accept: Callable[[PurePosixPath], bool]) -> list[Source]:
    """The sources at ``path``, in the order of their names.

    A file is its own source, a zip file and a folder (with the folders in it) hold those whose
    path in it, without a final ``.gz``, ``accept`` takes. Hidden files do not count; links are
    followed.

    Raises TableError: for what is neither a file nor a folder, a folder that cannot be read, a zip
    file that is damaged, or whose members have names outside of it, the same name, or a password.
    """
    if path.is_dir():
        names = map(PurePosixPath, files_below(path, TableError))
        found = [Source(path / name, name) for name in names if _wanted(name, accept)]
    elif not path.is_file():
        raise TableError(f"{path}: neither a file nor a folder")
    elif is_zip(path):
        members = [(PurePosixPath(member.filename), member) for member in _members(path)]
        found = [Source(path, name, member) for name, member in members if _wanted(name, accept)]
    else:
        return [Source(path, PurePosixPath(path.name))]
    found.sort(key=lambda source: source.path.parts)
    times = collections.Counter(source.group_id for source in found)
    names = {source.whole_path.as_posix() for source in found}
    for source in found:
        if times[source.group_id] > 1 or source.group_id in names:
            source.group_id = source.whole_path.as_posix()
    return found


def _wanted(name: PurePosixPath, accept: Callable[[PurePosixPath], bool]) -> bool:
    plain = name.with_suffix("") if name.suffix.lower() == ".gz" else name
    return accept(plain) and not any(part.startswith((".", "__MACOSX")) for part in name.parts)


def is_zip(path: Path) -> bool:
    """True for a file that begins as zip files do."""
    with open(path, "rb") as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _members(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except DAMAGES as error:
        raise TableError(f"{path}: not a whole zip file: {_words(error)}") from error
    seen = set()
    for member in members:
        name = member.filename
        parts = PurePosixPath(name.replace("\\", "/"))
        outside = parts.is_absolute() or ".." in parts.parts or not parts.parts
        if outside or ":" in parts.parts[0]:
            raise TableError(f"{path}: member {name!r} has a name outside of the zip file")
        if name in seen:
            raise TableError(f"{path}: member {name!r} is there twice")
        if member.flag_bits & 1:
            raise TableError(f"{path}: member {name!r} wants a password; unpack it first")
        seen.add(name)
    return members


def first_bytes(path: Path) -> bytes:
    """The first bytes of a file as :meth:`Source.start` has them; of a folder or zip file none."""
    packed = not path.is_file() or is_zip(path)
    return b"" if packed else Source(path, PurePosixPath(path.name)).start()


def set_encoding(sources: Sequence[Source], encoding: str | None) -> None:
    """Set the encoding of text, if it is given; TableError for one that is not known."""
    if encoding is not None:
        check_encoding(encoding)
        for source in sources:
            source.encoding = encoding


class LeftOut:
    """Count of what a reading leaves out: a call with an error counts it, or raises it.

    With ``keep_going`` nothing is raised. ``rows`` has, by reason, the number of rows and the error
    of the first, ``sources`` the errors that ended sources, ``files`` how many were taken how.
    """

    def __init__(self, *, keep_going: bool = False):
        self.rows: dict[str, tuple[int, str]] = {}
        self.sources: list[str] = []
        self.files: collections.Counter[str] = collections.Counter()
        self._keep_going = keep_going

    def __call__(self, error: TableError) -> None:
        if not self._keep_going:
            refuse(error)
        if not isinstance(error, RowError):
            self.sources.append(str(error))
            return
        self.add(error.reason, 1, str(error))

    def add(self, reason: str, rows: int, first: str) -> None:
        """Count rows that are left out for a reason; ``first`` tells of the first of them."""
        count, first = self.rows.get(reason, (0, first))
        self.rows[reason] = count + rows, first

    def text(self) -> str:
        """End of a message: what was left out, if anything."""
        parts = [f"{count:,} rows left out: {first}" for count, first in self.rows.values()]
        parts += [f"what could not be read: {first}" for first in self.sources[:1]]
        parts += self.notes()
        return "; ".join(parts[:4])

    def notes(self) -> list[str]:
        """Sentences on how files were taken."""
        return [
            f"{count:,} {'file' if count == 1 else 'files'} {how}"
            for how, count in self.files.items()
        ]

    def note(self, how: str) -> None:
        """Count a file that was taken in a way that the user may want to change."""
        self.files[how] += 1


@dataclass(frozen=True)
class Request:
    """The request that a reader answers; options that it does not take are refused before.

    ``kind`` is one of the reader's ``kinds``, ``columns`` names those that hold ``group``,
    ``track``, … where not the reader's own, ``separator`` is the sign between several groups in
    one cell of a table, ``gap`` the minutes of silence that end a listening session,
    ``min_played`` the seconds from which a track counts as listened to, ``audio`` the folder below
    which the paths in a playlist file become track ids, and ``workers`` the number of processes
    that may read at once.
    """

    kind: str = "playlists"
    columns: Mapping[str, str] | None = None
    separator: str | None = None
    gap: float = 30.0
    audio: Path | None = None
    workers: int = 1
    min_played: float = 30.0
    advance: Callable[[int], object] = ignore
    """Told how many more bytes of the sources have been read."""
    damaged: Callable[[TableError], object] = refuse
    """Told of the damage of a source, or of one row of it (RowError); raises it, or returns to go
    on with the next source, or row."""
    note: Callable[[str], object] = ignore  # type: ignore[assignment]
    """Told once for a file how it was taken, where the user may want another way."""


OPTIONS = ("columns", "separator", "gap", "audio", "min_played")
"""Fields of a request that are options of some readers."""


class Reader:
    """Base of readers: finds files by name or first bytes, and reads one after the other.

    A format gives ``name`` (the value of ``--format``), ``description`` (one line: the source, and
    what serves as group id and track id), ``kinds`` of groups (the usual one first), ``options``
    (fields of a request that it looks at, of ``OPTIONS``), ``suffixes`` of the names of its files
    (or its own :meth:`accepts` and ``files``), ``beside`` the names of files that say something
    about them, and :meth:`groups`.
    """

    name: str
    description: str
    kinds: tuple[str, ...] = ("playlists",)
    options: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def files(self) -> str:
        """Names of the files that are read, for messages."""
        return ", ".join(self.suffixes)

    def accepts(self, path: PurePosixPath) -> bool:
        """True for the name of a file of the format."""
        return path.suffix.lower() in self.suffixes

    def begins(self, start: bytes) -> bool:
        """True for the first bytes of a file of the format, whatever its name."""
        return False

    def sniff(self, path: Path) -> bool:
        """True for an existing file of the format, and for a folder or zip file with some."""
        if any(self.accepts(source.path) for source in sources_in(path, self.accepts)):
            return True
        return self.begins(first_bytes(path))

    def sources(self, path: Path) -> list[Source]:
        """The file, or all files of the format in a folder or zip file; a TableError if none."""
        found = sources_in(path, self.accepts)
        if not found:
            raise TableError(f"{path}: no {self.files} in this folder or zip file")
        return found

    def read(self, sources: Sequence[Source], request: Request) -> Iterator[Group]:
        """Yield ``(group id, track ids in the order of the source)``, streaming.

        Both kinds of ids are non-empty valid Unicode. A group may come in several parts; a group
        without tracks comes with an empty list. ``request.advance`` is told every byte.
        ``request.damaged`` is told the TableError that ends the reading of a source, and a RowError
        for each row (track of a playlist) that is left out; it names the source and the place in
        it, and what came before has been yielded. So all rows of a source are yielded or told.
        """
        for source in sources:
            try:
                yield from self.groups(source, request)
            except TableError as error:
                request.damaged(error)

    def groups(self, source: Source, request: Request) -> Iterator[Group]:
        """Yield the groups of one source; a TableError ends it."""
        raise NotImplementedError


def usable(
    rows: Iterable[tuple[Any, ...]], read: Callable[..., R], request: Request
) -> Iterator[R]:
    """Yield ``read(*row)`` of each of the ``rows`` that it raises no RowError for."""
    for row in rows:
        try:
            found = read(*row)
        except RowError as error:
            request.damaged(error)
        else:
            yield found


def in_parts(group: str, tracks: Iterator[str]) -> Iterator[Group]:
    """Yield a group in parts of ``LONGEST_PART`` tracks; tracks before a damage too."""
    part: list[str] = []
    whole = True
    try:
        for track in tracks:
            if len(part) == LONGEST_PART:
                yield group, part
                part, whole = [], False
            part.append(track)
    except TableError:
        if part:
            yield group, part
        raise
    if part or whole:
        yield group, part
