"""Mels in ``.npy`` files, single ones and those inside tar files: finding and reading them.

A place is written as the path of the file, or as ``ARCHIVE.tar:OFFSET+SIZE:MEMBER``: a member is
read where it lies, nothing is ever unpacked. Nothing is unpickled, and no memory is taken before
the header's shape was found to fit the bytes that are there.
"""

from __future__ import annotations

import io
import math
import os
import re
import tarfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from playlist_pretrain.errors import MelError
from playlist_pretrain.files import files_below
from playlist_pretrain.messages import progress
from playlist_pretrain.records.report import Note, other_kinds

LARGEST = 1 << 30
"""Bytes of a file: 1 GiB is 16 hours of 48 bands in float32 at 62 frames a second."""
_LONGEST_HEADER = 10_000
_LONGEST_NAME = 1 << 20
_IN_ARCHIVE = re.compile(r"(.*?\.tar):(\d+)\+(\d+):(.*)", re.S)
_COMPRESSED = re.compile(r"\.(tar\.\w+|tgz|tbz2?|txz)", re.I)


def place_in_archive(archive: str, offset: int, size: int, member: str) -> str:
    """The place of a member whose ``size`` bytes start at ``offset`` of ``archive``."""
    return f"{archive}:{offset}+{size}:{member}"


def file_of(place: str) -> str:
    """The file on disk that holds ``place``."""
    match = _IN_ARCHIVE.fullmatch(place)
    return match[1] if match else place


def read_array(place: str) -> np.ndarray:
    """Read the array at ``place``: floating-point numbers of any size, two dimensions.

    Raises MelError: the file cannot be read, or holds no such array, or is not as long as its
    header says, or is larger than ``LARGEST``.
    """
    match, path = _IN_ARCHIVE.fullmatch(place), file_of(place)
    if os.path.exists(path) and not os.path.isfile(path):
        raise MelError("not a file")
    try:
        with open(path, "rb") as stream:
            size = int(match[3]) if match else os.fstat(stream.fileno()).st_size
            if size > LARGEST:
                raise MelError(f"{size:,} bytes; a mel of more than {LARGEST:,} is not read")
            stream.seek(int(match[2]) if match else 0)
            data = stream.read(size)
    except OSError as error:
        raise MelError(f"cannot be read: {error.strerror}") from error
    if len(data) != size:
        raise MelError(f"{len(data):,} of {size:,} bytes are there")
    header = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Python 2 wrote it
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[np.lib.format.read_magic(header)]
            shape, fortran, dtype = read(header, max_header_size=_LONGEST_HEADER)
    except Exception as error:  # a damaged header fails in as many ways as the parser has
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise MelError(f"no .npy file, or a damaged one: {words}") from error
    if dtype.kind != "f":
        raise MelError(f"an array of {dtype}, not of floating-point numbers")
    if len(shape) != 2:
        raise MelError(f"an array of shape {shape}, not of two dimensions")
    if min(shape) < 1:
        raise MelError(f"an array of shape {shape}, which holds nothing")
    stated, there = math.prod(shape) * dtype.itemsize, len(data) - header.tell()
    if stated != there:
        raise MelError(f"its header states {stated:,} bytes of shape {shape}, {there:,} are there")
    flat = np.frombuffer(data, dtype, offset=header.tell())
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


@dataclass(frozen=True, slots=True)
class MelFile:
    """A mel: its path below the folder or in the tar file, and its place below the folder."""

    name: str
    source: str


@dataclass
class FoundMels:
    """The mels of a folder, which their sources are relative to.

    Single files come in the order of their names, numbers by their value; then the members of each
    tar file, as they lie in it. ``notes`` are on what cannot be taken; ``other_files`` counts files
    of other kinds, which are left alone.
    """

    folder: Path
    files: list[MelFile] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    other_files: Counter[str] = field(default_factory=Counter)


def find_mels(path: Path, *, keep_going: bool = False) -> FoundMels:
    """Find every ``.npy`` file below a folder and in the tar files there, or in one tar file.

    Hidden files are left out, uncounted. With ``keep_going`` what comes before the damage of a tar
    file is kept, and the damage noted. MelError when nothing is there, or a tar file is compressed
    or damaged.
    """
    if path.is_dir():
        found, names = FoundMels(path), sorted(files_below(path, MelError), key=_by_numbers)
    elif path.is_file():
        found, names = FoundMels(path.parent), [path.name]
    else:
        raise MelError(f"{path}: no such folder or tar file")
    archives = [name for name in names if name.endswith(".tar")]
    for name in names:
        if _COMPRESSED.search(name):
            raise MelError(f"{found.folder / name}: compressed; unpack it to a .tar file first")
        if name.endswith(".npy"):
            if file_of(name) != name:
                raise MelError(f"{found.folder / name}: its name looks like a place in a tar file")
            found.files.append(MelFile(name, name))
        elif not name.endswith(".tar"):
            found.other_files[PurePosixPath(name).suffix.lower()] += 1
    for name in progress(archives, desc="looking through", unit=" tar files"):
        try:
            for member in _members(found.folder / name):
                _add_member(found, name, member)
        except MelError as error:
            if not keep_going:
                raise MelError(
                    f"{error}. Copy it again, or take what comes before with --keep-going"
                ) from error
            text = str(error).removeprefix(f"{found.folder / name}: ")
            found.notes.append(Note(name, name, "unreadable", text))
    if not found.files:
        held = other_kinds(found.other_files) if found.other_files else "none at all"
        raise MelError(f"{path}: no .npy file below it or in a tar file there ({held})")
    return found


def _by_numbers(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), len(part), "") if i % 2 else (-1, 0, part) for i, part in enumerate(parts)]


def _add_member(found: FoundMels, archive: str, member: tarfile.TarInfo) -> None:
    path, reason = PurePosixPath(member.name), None
    if member.isdir() or any(part.startswith(".") and part != ".." for part in path.parts):
        return
    if path.suffix != ".npy":
        found.other_files[path.suffix.lower()] += 1
        return
    if path.is_absolute() or ".." in path.parts:
        reason = "its name leads out of the tar file"
    elif member.issym() or member.islnk():
        reason = "a link, not a file"
    elif member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None:
        reason = "a device, a pipe or a sparse file"
    if reason:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        found.notes.append(Note(shown, f"{archive}:{shown}", "unreadable", reason))
    else:
        place = place_in_archive(archive, member.offset_data, member.size, str(path))
        found.files.append(MelFile(str(path), place))


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    """Headers of a tar file, one after the other; MelError where they end too early."""
    size, last = path.stat().st_size, "its beginning"
    with _Headers(path) as stream:
        try:
            archive = tarfile.TarFile(fileobj=stream)
            while True:
                position = archive.offset if archive.firstmember is None else -1  # type: ignore[attr-defined]
                member = archive.next()
                if member is None:
                    break
                archive.members.clear()  # type: ignore[attr-defined]  # it keeps them all
                if archive.offset <= position or member.size < 0:
                    raise tarfile.ReadError("a member of negative size")
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"member {member.name!r} is not all there")
                yield member
                last = repr(member.name)
            stream.seek(archive.offset)
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it does not end as tar files do")
        except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
            text = str(error).encode("utf-8", "backslashreplace").decode()
            raise MelError(f"{path}: damaged or cut off after {last}: {text}") from error


class _Headers(io.FileIO):
    """A file of which only headers are read: a name of gigabytes is a trap."""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_NAME:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return super().read(size)
