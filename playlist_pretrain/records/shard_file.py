"""A shard read from front to back: its records, and where they are damaged.

A shard is never in memory as a whole, and neither is a record longer than :data:`CHUNK`.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.records.example import (
    RECORD_HEADER,
    RECORD_OVERHEAD,
    Bytes,
    StoredTrack,
    parse_track,
)
from playlist_pretrain.records.schema import MEL_DTYPE

CHUNK = 4 << 20
"""Bytes that are read at a time."""
_FOOTER = RECORD_OVERHEAD - RECORD_HEADER
_SMALLEST_RECORD = 60  # shorter data cannot hold the names of five features
_LONGEST_ID = 1 << 20


@dataclass(frozen=True)
class Record:
    """A sound record.

    Attributes
    ----------
    start, end : int
        Bytes of the file from its header to its last checksum.
    track : StoredTrack
    offset : int
        Position in the file of the mel's first byte.
    bands : int
    """

    start: int
    end: int
    track: StoredTrack
    offset: int
    bands: int


@dataclass(frozen=True)
class Damage:
    """Bytes of a shard that are no sound record.

    Attributes
    ----------
    start, end : int
        Which bytes.
    reason : str
    track_id : str
        As the damaged record itself says, or empty.
    """

    start: int
    end: int
    reason: str
    track_id: str = ""


class _Unsound(Exception):
    """No sound record starts here; ``end`` is where it ends, when its header can be trusted."""

    def __init__(self, reason: str, end: int | None = None, track_id: str = ""):
        super().__init__(reason)
        self.damage = reason, track_id
        self.end = end


class ShardFile:
    """Random access to a file whose SHA-256 is computed on the way.

    Parameters
    ----------
    path : Path
    hashed : bool
        Whether to compute it.
    advance : callable, optional
        Told how many more bytes have been read.

    Raises
    ------
    CollectionError
        When it cannot be opened or read.
    """

    def __init__(
        self, path: Path, *, hashed: bool = True, advance: Callable[[int], object] | None = None
    ):
        self.path = path
        self._advance = advance or (lambda read: None)
        self._digest = hashlib.sha256() if hashed else None
        self._seen = 0
        self._buffer, self._first = b"", 0
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CollectionError(f"{path}: {error.strerror}") from error
        self.size = os.fstat(self._descriptor).st_size

    def __enter__(self) -> ShardFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def read(self, start: int, end: int) -> bytes:
        """Bytes ``start`` … ``end`` of the file; :data:`CHUNK` at most, fewer at its end."""
        end = min(end, self.size)
        if not self._first <= start <= end <= self._first + len(self._buffer):
            self._load(start)
        return self._buffer[start - self._first : end - self._first]

    def pieces(self, start: int, end: int, unit: int = 1) -> Iterator[bytes]:
        """Bytes ``start`` … ``end`` in pieces of whole units."""
        step = max(CHUNK // unit, 1) * unit
        for position in range(start, end, step):
            last = min(position + step, end)
            if last - position > CHUNK:  # a unit that is longer than a chunk
                yield b"".join(self.pieces(position, last))
            else:
                yield self.read(position, last)

    def sha256(self) -> str:
        """SHA-256 of the whole file, hexadecimal."""
        while self._seen < self.size and self._load(self._seen):
            pass
        return self._digest.hexdigest() if self._digest else ""

    def _load(self, position: int) -> int:
        while self._seen < position and self._fill(self._seen):
            pass
        return self._fill(position)

    def _fill(self, position: int) -> int:
        try:
            self._buffer, self._first = os.pread(self._descriptor, CHUNK, position), position
        except OSError as error:
            raise CollectionError(f"{self.path}: byte {position}: {error.strerror}") from error
        new = self._buffer[max(self._seen - position, 0) :]
        if new:
            if self._digest:
                self._digest.update(new)
            self._advance(len(new))
            self._seen += len(new)
        return len(new)


class _Data:
    """The data of one long record, as if they were bytes."""

    def __init__(self, file: ShardFile, start: int, end: int):
        self._file, self._start, self._length = file, start, end - start

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position):
        first = self._start
        if isinstance(position, slice):
            start, end, _ = position.indices(self._length)
            if end - start > _LONGEST_ID:
                raise ValueError(f"a track id of {end - start:,} bytes")
            return self._file.read(first + start, first + max(start, end))
        return self._file.read(first + position, first + position + 1)[0]


def masked_crc(data: bytes, crc: int = 0) -> int:
    """The checksum that TFRecord files hold, of ``data`` after what ``crc`` stands for."""
    import google_crc32c

    return mask(google_crc32c.extend(crc, data))


def mask(crc: int) -> int:
    """A CRC-32C as TFRecord files store it."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_shard(
    file: ShardFile, bands: int | None, known: Collection[int] | None = None
) -> Generator[Record | Damage, None, None]:
    """What a shard holds, in order; every byte belongs to one of the results.

    A record whose checksum is wrong is skipped by its length. When the length is damaged too, the
    next record is looked for: its header and data must fit their checksums and be a track.

    Parameters
    ----------
    file : ShardFile
    bands : int or None
        Bands of every mel; when not known, those of the first record.
    known : set of int, optional
        Offsets of mels according to a sound index: a record that is looked for must be one of
        them, since a mel may hold bytes that look like a record.
    """
    position = 0
    while position < file.size:
        try:
            record = _record_at(file, position, bands)
        except _Unsound as unsound:
            end = unsound.end
            if end is None:
                end = _next_record(file, position + 1, bands, known)
            reason, track_id = unsound.damage
            yield Damage(position, end, reason, track_id)
            position = end
        else:
            bands = record.bands
            yield record
            position = record.end


def _record_at(file: ShardFile, start: int, bands: int | None) -> Record:
    end = _record_end(file, start)
    data, stored = _data_and_crc(file, start + RECORD_HEADER, end)
    if stored != _crc(file, data, start + RECORD_HEADER, end - _FOOTER):
        raise _Unsound("the checksum of its data is wrong", end, _claimed_id(data))
    try:
        track = parse_track(data)
    except ValueError as error:
        raise _Unsound(f"no record of a track: {error}", end) from None
    first, last = track.mel
    values, rest = divmod(last - first, track.frames * MEL_DTYPE.itemsize)
    if rest or not values or values != (bands or values):
        reason = f"a mel of {last - first} bytes for {track.frames} frames of {bands or '?'} bands"
        raise _Unsound(reason, end, track.track_id)
    return Record(start, end, track, start + RECORD_HEADER + first, values)


def _record_end(file: ShardFile, start: int) -> int:
    """Where the record ends that starts at ``start``, when its header says so."""
    header = file.read(start, start + RECORD_HEADER)
    if len(header) < RECORD_HEADER:
        raise _Unsound(f"the file ends {len(header)} bytes into a record")
    length, crc = struct.unpack("<QI", header)
    if masked_crc(header[:8]) != crc:
        raise _Unsound("the checksum of its length is wrong")
    end = start + length + RECORD_OVERHEAD
    if end > file.size:
        raise _Unsound(f"a record of {length} bytes, and the file ends {end - file.size} early")
    return end


def _data_and_crc(file: ShardFile, start: int, end: int) -> tuple[Bytes, int]:
    if end - start <= CHUNK:
        both = file.read(start, end)
        if len(both) < end - start:
            raise _Unsound("the file was cut while it was read")
        return both[:-_FOOTER], int.from_bytes(both[-_FOOTER:], "little")
    stored = file.read(end - _FOOTER, end)
    return _Data(file, start, end - _FOOTER), int.from_bytes(stored, "little")


def _crc(file: ShardFile, data: Bytes, start: int, end: int) -> int:
    import google_crc32c

    if isinstance(data, bytes):
        return masked_crc(data)
    crc = 0
    for piece in file.pieces(start, end):
        crc = google_crc32c.extend(crc, piece)
    return mask(crc)


def _claimed_id(data: Bytes) -> str:
    try:
        return parse_track(data).track_id
    except ValueError:
        return ""


def _next_record(
    file: ShardFile, start: int, bands: int | None, known: Collection[int] | None
) -> int:
    """Where the next sound record starts, at ``start`` or later; the file's end without one."""
    patience = 4 * file.size  # a file full of false headers must not take for ever
    for position in _plausible_headers(file, start):
        try:
            end = _record_end(file, position)
        except _Unsound:
            continue
        try:
            record = _record_at(file, position, bands)
        except _Unsound:
            patience -= end - position
            if patience < 0:
                break
            continue
        if known is None or record.offset in known:
            return position
    return file.size


def _plausible_headers(file: ShardFile, start: int) -> Iterator[int]:
    """Positions whose eight bytes are a length that would fit the file."""
    step = CHUNK // 2
    for first in range(start, file.size - RECORD_OVERHEAD, step):
        piece = np.frombuffer(file.read(first, min(first + step + 7, file.size)), np.uint8)
        words = np.lib.stride_tricks.sliding_window_view(piece, 8)
        # Few lengths reach beyond four bytes: what is left after this is little.
        few = np.flatnonzero(~words[:, 5:].any(axis=1))
        lengths = words[few].copy().view("<u8").reshape(-1).astype(np.int64)
        fits = (lengths >= _SMALLEST_RECORD) & (
            first + few + lengths + RECORD_OVERHEAD <= file.size
        )
        yield from (first + few[fits]).tolist()
