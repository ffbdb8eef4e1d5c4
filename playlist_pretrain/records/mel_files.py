"""``mels.json``: what a user says about mels of their own.

One JSON object. Needed: ``name`` (of the front end), ``sample_rate`` (Hz), ``frame_length``,
``hop_length`` (samples), ``bands``, ``window_frames`` (of a model's window), ``unit`` and
``orientation`` (``"frames×bands"`` or ``"bands×frames"``; an x does for ×). Optional: ``spectrum``
(what the filters add up: ``"power"``, the default, or ``"magnitude"``), ``log_scale`` and
``log_offset`` (1 and 0), ``silence`` (the smallest value), ``framing`` (``"centred"``, the default,
or ``"whole"``) and ``made_by`` (for people).

========= ==================================== =====================================
unit      a value is                           it is stored as
========= ==================================== =====================================
db        10 log10(x), 20 for magnitudes       it is
log10, ln log(log_offset + log_scale · x)      it is
power     x, from 0                            10 log10(x), from -100 dB
amplitude x, the magnitude, from 0             20 log10(x), from -100 dB
========= ==================================== =====================================

One array of numbers out of an ``.npy`` file, which may lie inside a tar file.

A place is written as the path of the file, or as ``ARCHIVE.tar:OFFSET+SIZE:MEMBER``: a member is
read where it lies, nothing is ever unpacked. Nothing is unpickled, and no memory is taken before
the header's shape was found to fit the bytes that are there.

Which mels a folder holds, in files and in tar files; nothing but names and headers is read.

From a place to the mel of a track, as an object that travels to worker processes.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import stat
import tarfile
import warnings
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from playlist_pretrain.audio.front_end import IMPORTED, PRESETS, ImportedFrontEnd
from playlist_pretrain.errors import FrontEndError, MelError
from playlist_pretrain.files import files_below
from playlist_pretrain.messages import progress
from playlist_pretrain.records.report import Note

UNITS = ("db", "log10", "ln", "power", "amplitude")
ORIENTATIONS = ("frames×bands", "bands×frames")
LINEAR = {"power": 10.0, "amplitude": 20.0}
FLOOR_DB = -100.0
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True)
class Description:
    """The content of ``mels.json``; see the module."""

    name: str
    sample_rate: int
    frame_length: int
    hop_length: int
    bands: int
    window_frames: int
    unit: str
    orientation: str
    spectrum: str | None = None
    log_scale: float | None = None
    log_offset: float | None = None
    silence: float | None = None
    framing: str = "centred"
    made_by: str = ""

    @classmethod
    def read(cls, path: Path) -> Description:
        """Read and check a description.

        Raises
        ------
        MelError
            Names the file, and the field where there is one.
        """
        try:
            with open(path, "rb") as stream:
                text = stream.read(_LARGEST_FILE)
            content = json.loads(text.decode("utf-8"))
        except OSError as error:
            raise MelError(f"{path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise MelError(f"{path}: not JSON ({error})") from error
        if not isinstance(content, dict):
            raise MelError(f"{path}: not an object with the fields {', '.join(FIELDS)}")
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        for what, names in (
            ("unknown", content.keys() - set(FIELDS)),
            ("missing", needed - content.keys()),
        ):
            if names:
                raise MelError(f"{path}: {what} fields: {', '.join(sorted(names))}")
        if isinstance(content["orientation"], str):
            content["orientation"] = content["orientation"].replace("x", "×").replace(" ", "")
        description = cls(**content)
        try:
            description._check()
            description.front_end  # noqa: B018 (its own checks)
        except (FrontEndError, MelError) as error:
            raise MelError(f"{path}: {error}") from error
        except OverflowError as error:
            raise MelError(f"{path}: a number beyond all measure ({error})") from error
        return description

    def _check(self) -> None:
        for name, choices in (("unit", UNITS), ("orientation", ORIENTATIONS)):
            if getattr(self, name) not in choices:
                raise MelError(f"{name} = {getattr(self, name)!r}: one of {', '.join(choices)}")
        if not isinstance(self.name, str) or not self.name or self.name in {*PRESETS, *IMPORTED}:
            raise MelError(
                f"name = {self.name!r}: not text, or of a front end that there is already"
            )
        logarithm = self.unit in ("log10", "ln")
        for name in ("log_scale", "log_offset"):
            if getattr(self, name) is not None and not logarithm:
                raise MelError(f"{name} is for the units log10 and ln, not for {self.unit}")
        for name in ("silence", "spectrum"):
            if getattr(self, name) is not None and self.unit in LINEAR:
                raise MelError(f"{name} is not for unit {self.unit}, which says it")

    @property
    def front_end(self) -> ImportedFrontEnd:
        """The front end of what is stored."""
        spectrum = {"power": "power", "amplitude": "magnitude"}.get(self.unit, self.spectrum)
        spectrum = "power" if spectrum is None else spectrum
        decibels = 20.0 if spectrum == "magnitude" else 10.0
        factor = 1.0 if self.unit in ("log10", "ln") else decibels
        offset = 0.0 if self.log_offset is None else self.log_offset
        base = "e" if self.unit == "ln" else "10"
        return ImportedFrontEnd(
            name=self.name,
            sample_rate=self.sample_rate,
            frame_length=self.frame_length,
            hop_length=self.hop_length,
            bands=self.bands,
            window_frames=self.window_frames,
            spectrum=spectrum,
            log_base=base,
            log_factor=factor,
            log_scale=1.0 if self.log_scale is None else self.log_scale,
            log_offset=offset,
            silence=self._silence(factor, decibels, base, offset),
            framing=self.framing,
            made_by=self.made_by,
        )

    def _silence(self, factor: float, decibels: float, base: str, offset: float) -> float:
        if self.silence is not None:
            return self.silence
        unit = factor if base == "10" else factor * math.log(10.0)
        if isinstance(offset, (int, float)) and offset > 0:
            return unit * math.log10(offset)
        return unit * FLOOR_DB / decibels


FIELDS = tuple(field.name for field in fields(Description))


def as_stored(values: np.ndarray, unit: str) -> np.ndarray:
    """Values of ``unit`` as a collection holds them.

    Parameters
    ----------
    values : ndarray [shape=(frames, bands), float]
    unit : str

    Returns
    -------
    ndarray of the same shape
        NaN and infinite values stay what they are.

    Raises
    ------
    MelError
        A power or amplitude below 0.
    """
    if unit not in LINEAR:
        return values
    factor = LINEAR[unit]
    if (values < 0).any():
        frame, band = np.argwhere(values < 0)[0]
        raise MelError(f"{unit} of {values[frame, band]} at frame {frame}, band {band}")
    return factor * np.log10(np.maximum(values, 10 ** (FLOOR_DB / factor)))


LARGEST = 1 << 30
"""Bytes of a file: 1 GiB is 16 hours of 48 bands in float32 at 62 frames a second."""
_LONGEST_HEADER = 10_000
_IN_ARCHIVE = re.compile(
    r"(?P<archive>.*?\.tar):(?P<offset>\d+)\+(?P<size>\d+):(?P<member>.*)", re.S
)


def place_in_archive(archive: str, offset: int, size: int, member: str) -> str:
    """The place of a member whose ``size`` bytes start at ``offset`` of ``archive``."""
    return f"{archive}:{offset}+{size}:{member}"


def file_of(place: str) -> str:
    """The file on disk that holds ``place``."""
    match = _IN_ARCHIVE.fullmatch(place)
    return match["archive"] if match else place


def read_array(place: str) -> np.ndarray:
    """The array at ``place``, real floating-point numbers of any size, two dimensions.

    Raises
    ------
    MelError
        The file cannot be read, or holds no such array, or is not as long as its header says, or
        is larger than ``LARGEST``.
    """
    match = _IN_ARCHIVE.fullmatch(place)
    with _opened(file_of(place)) as stream:
        if match:
            stream.seek(int(match["offset"]))
            size = int(match["size"])
        else:
            size = os.fstat(stream.fileno()).st_size
        if size > LARGEST:
            raise MelError(f"{size:,} bytes; a mel of more than {LARGEST:,} is not read")
        data = stream.read(size)
    if len(data) != size:
        raise MelError(f"{len(data):,} of {size:,} bytes are there")
    return _array(data)


def _opened(path: str) -> BinaryIO:
    # Opening a pipe for reading would wait for somebody to write into it.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise MelError(f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MelError("not a file")
    return os.fdopen(descriptor, "rb")


def _array(data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    shape, fortran, dtype = _header(stream)
    if dtype.kind != "f":
        raise MelError(f"an array of {dtype}, not of floating-point numbers")
    if len(shape) != 2:
        raise MelError(f"an array of shape {shape}, not of two dimensions")
    if min(shape) < 1:
        raise MelError(f"an array of shape {shape}, which holds nothing")
    stated, there = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if stated != there:
        raise MelError(f"its header states {stated:,} bytes of shape {shape}, {there:,} are there")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Python 2 wrote it
            version = np.lib.format.read_magic(stream)
            return readers[version](stream, max_header_size=_LONGEST_HEADER)  # type: ignore[call-arg]
    except Exception as error:  # a damaged header fails in as many ways as the parser has
        raise MelError(f"no .npy file, or a damaged one: {_words(error)}") from error


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


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


@dataclass
class LoadedMel:
    """Mel of a file or of its excerpt.

    Attributes
    ----------
    mel : ndarray [shape=(frames, bands), float]
        Values as a collection holds them.
    start_seconds, source_seconds : float
        Where in the file the mel starts, and how much audio the whole file speaks of.
    """

    mel: np.ndarray
    start_seconds: float
    source_seconds: float


@dataclass(frozen=True)
class MelLoader:
    """Reads, checks and cuts the mels of a source.

    Attributes
    ----------
    front_end : ImportedFrontEnd
    orientation, unit : str
        Of the arrays, see :class:`~.source.MelSource`.
    excerpt : float or None
        Seconds around the centre of the file; None keeps all of it.
    """

    front_end: ImportedFrontEnd
    orientation: str
    unit: str
    excerpt: float | None = 30.0

    def __call__(self, source: str) -> LoadedMel:
        """The mel at the place ``source``, see :mod:`.array`.

        Raises
        ------
        MelError
            It cannot be read, or is no array of the source's bands and unit.
        """
        settings = self.front_end
        values = read_array(source)
        shape = values.shape
        if self.orientation == "bands×frames":
            values = values.T
        if values.shape[1] != settings.bands:
            wanted = self.orientation.replace("bands", str(settings.bands))
            raise MelError(f"an array of shape {shape}, not {wanted}")
        frames = len(values)
        kept = frames if self.excerpt is None else settings.frames_of(self.excerpt)
        start = max(0, frames - kept) // 2
        return LoadedMel(
            mel=as_stored(values[start : start + kept], self.unit),
            start_seconds=start * settings.hop_length / settings.sample_rate,
            source_seconds=settings.seconds(frames),
        )

    def file_of(self, source: str) -> str:
        """The file on disk that holds the place ``source``."""
        return file_of(source)
