"""Which mels a folder holds, in files and in tar files; nothing but names and headers is read."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from playlist_pretrain.errors import MelError
from playlist_pretrain.files import files_below
from playlist_pretrain.progress import progress
from playlist_pretrain.records.mel_sources.array import file_of, place_in_archive
from playlist_pretrain.records.report import Note

_COMPRESSED = re.compile(r"\.(tar\.\w+|tgz|tbz2?|txz)", re.I)
_LONGEST_NAME = 1 << 20


@dataclass(frozen=True, slots=True)
class MelFile:
    """A mel that was found; there may be hundreds of thousands.

    Attributes
    ----------
    name : str
        Path below the folder, or within the tar file.
    source : str
        Its place as ``array.read_array`` takes it, relative to the folder.
    """

    name: str
    source: str

    @property
    def path(self) -> PurePosixPath:
        """The name, taken apart."""
        return PurePosixPath(self.name)


@dataclass
class Found:
    """What a folder holds.

    Attributes
    ----------
    folder : Path
        What the sources of the files are relative to.
    files : list of MelFile
        Single files in the order of their names, numbers by their value; then the members of each
        tar file, as they lie in it.
    notes : list of Note
        On what cannot be taken.
    other_files : int
        Files of other kinds, which are left alone.
    """

    folder: Path
    files: list[MelFile] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    other_files: int = 0


def find_mels(path: Path, *, keep_going: bool = False, quiet: bool = False) -> Found:
    """Every ``.npy`` file below a folder and in the tar files there, or in one tar file.

    Hidden files are left out, uncounted.

    Parameters
    ----------
    path : Path
        Folder, or a tar file.
    keep_going : bool
        Keep what comes before the damage of a tar file, and note the damage.
    quiet : bool
        No progress bar.

    Raises
    ------
    MelError
        There is nothing, a tar file is damaged or cut off, or it is compressed.
    """
    if path.is_dir():
        found, names = Found(path), sorted(files_below(path, MelError), key=_by_numbers)
    elif path.is_file():
        found, names = Found(path.parent), [path.name]
    else:
        raise MelError(f"{path}: no such folder or tar file")
    archives = [name for name in names if name.endswith(".tar")]
    for name in names:
        if _COMPRESSED.search(name):
            raise MelError(f"{found.folder / name}: compressed; unpack it to a .tar file first")
        if name.endswith(".npy") and file_of(name) != name:
            raise MelError(f"{found.folder / name}: its name looks like a place in a tar file")
        if name.endswith(".npy"):
            found.files.append(MelFile(name, name))
    found.other_files = len(names) - len(found.files) - len(archives)
    for name in progress(archives, desc="looking through", unit=" tar files", quiet=quiet):
        try:
            _look_through(name, found)
        except MelError as error:
            if not keep_going:
                raise MelError(
                    f"{error}. Copy it again, or take what comes before with --keep-going"
                ) from error
            text = str(error).removeprefix(f"{found.folder / name}: ")
            found.notes.append(Note(name, name, "unreadable", text))
    if not found.files:
        held = f"{found.other_files:,} files of other kinds" if found.other_files else "none at all"
        raise MelError(f"{path}: no .npy file below it or in a tar file there ({held})")
    return found


def _by_numbers(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), len(part), "") if i % 2 else (-1, 0, part) for i, part in enumerate(parts)]


def _look_through(name: str, found: Found) -> None:
    for member in _members(found.folder / name):
        path = PurePosixPath(member.name)
        if member.isdir() or any(part.startswith(".") and part != ".." for part in path.parts):
            continue
        if path.suffix != ".npy":
            found.other_files += 1
            continue
        reason = _reason_to_refuse(member, path)
        if reason:
            shown = str(path).encode("utf-8", "backslashreplace").decode()
            found.notes.append(Note(shown, f"{name}:{shown}", "unreadable", reason))
            continue
        place = place_in_archive(name, member.offset_data, member.size, str(path))
        found.files.append(MelFile(str(path), place))


def _reason_to_refuse(member: tarfile.TarInfo, path: PurePosixPath) -> str | None:
    if path.is_absolute() or ".." in path.parts:
        return "its name leads out of the tar file"
    if member.issym() or member.islnk():
        return "a link, not a file"
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None:
        return "a device, a pipe or a sparse file"
    return None


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
