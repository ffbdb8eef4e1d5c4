"""Tracks as records of a shard, and the framing of records in TFRecord files."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from playlist_pretrain.errors import TrackError
from playlist_pretrain.records.schema import MEL_DTYPE

RECORD_HEADER = 12
"""Bytes before a TFRecord's data: length (8) and its checksum (4)."""
RECORD_OVERHEAD = 16
"""Bytes a TFRecord adds to its data: the header and the checksum of the data (4)."""
_BITS = np.dtype("<u2")
_EXPONENT = np.uint16(0x7C00)  # all set in what is no number or infinite
_FEATURES = {b"track_id": 1, b"mel": 1, b"frames": 3, b"start_seconds": 2, b"source_seconds": 2}
"""The features of a track and the kinds of their lists: bytes 1, float 2, int64 3."""


@dataclass(frozen=True)
class StoredTrack:
    """A parsed record; ``mel`` says where the mel's bytes start and end in its data."""

    track_id: str
    mel: tuple[int, int]
    frames: int
    start_seconds: float
    source_seconds: float


def stored_mel(track_id: str, mel: Any, bands: int) -> np.ndarray:
    """Convert ``mel`` [shape=(frames, bands), real] to what a shard stores: float16, C order.

    TrackError names the track and the shape, or the first value not finite or beyond ±65504.
    """
    mel = np.asarray(mel)
    if mel.ndim != 2 or mel.shape[1] != bands or len(mel) == 0 or mel.dtype.kind not in "fiu":
        raise TrackError(
            f"track {track_id!r}: a mel of shape {mel.shape} and type {mel.dtype}; needed are "
            f"real numbers of shape (frames, {bands}) with at least one frame"
        )
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(mel, dtype=MEL_DTYPE)
    # By their bits, which is many times as fast as asking whether they are finite.
    if (stored.view(_BITS) & _EXPONENT).max() == _EXPONENT:
        frame, band = np.argwhere(~np.isfinite(stored))[0]
        value = mel[frame, band]
        why = "does not fit float16" if np.isfinite(value) else "is not a number to learn from"
        raise TrackError(f"track {track_id!r}: {value} at frame {frame}, band {band} {why}")
    return stored


def encode_track(
    track_id: str, mel: np.ndarray, start_seconds: float, source_seconds: float
) -> tuple[bytes, int]:
    """Serialise a track as ``tf.train.Example``; return the bytes and where in them the mel starts.

    ``mel`` is float16 [frames, bands] from :func:`stored_mel`; the seconds say where in the source
    it starts, and how long the source is.
    """
    # TensorFlow would take a worker longer to import than to encode thousands of tracks: the
    # bytes are those of protocol buffers, features in the order of their names.
    payload = np.ascontiguousarray(mel, MEL_DTYPE).tobytes()
    before = _feature("frames", 0x1A, _varint_bytes(len(mel))) + _feature("mel", 0x0A, payload)
    after = (
        _feature("source_seconds", 0x12, struct.pack("<f", source_seconds))
        + _feature("start_seconds", 0x12, struct.pack("<f", start_seconds))
        + _feature("track_id", 0x0A, track_id.encode("utf-8"))
    )
    data = _field(0x0A, before + after)
    return data, len(data) - len(after) - len(payload)  # the mel ends its feature


def _feature(name: str, kind: int, value: bytes) -> bytes:
    """Entry of the features: ``kind`` is the tag of its list, whose one value is ``value``."""
    values = _field(0x12, _field(kind, _field(0x0A, value)))
    return _field(0x0A, _field(0x0A, name.encode("ascii")) + values)


def _field(tag: int, content: bytes) -> bytes:
    """A field of wire type 2."""
    return bytes([tag]) + _varint_bytes(len(content)) + content


def _varint_bytes(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def parse_track(data: bytes) -> StoredTrack:
    """Parse the data of a record; the mel's own bytes are not touched.

    Stricter than protocol buffers are: what could be read in two ways is refused. ValueError says
    what is not as ``tfrecords/README.md`` describes it.
    """
    values: dict[bytes, tuple[int, int]] = {}
    for number, entry in _fields(data, _only(data, (0, len(data)), 1, "the record")):
        fields = list(_fields(data, entry))
        if number != 1 or sorted(number for number, _ in fields) != [1, 2]:
            raise ValueError("the record is not a list of features")
        key, feature = (span for _, span in sorted(fields))
        name = data[key[0] : min(key[1], key[0] + 64)]  # ours are shorter
        if name not in _FEATURES:
            continue
        what = f"feature {name.decode('ascii')!r}"
        if name in values:
            raise ValueError(f"{what} is there twice")
        values[name] = _only(data, _only(data, feature, _FEATURES[name], what), 1, what)
    missing = [name.decode("ascii") for name in _FEATURES if name not in values]
    if missing:
        raise ValueError(f"no feature {missing[0]!r}")
    track_id = data[slice(*values[b"track_id"])].decode("utf-8")
    if not track_id:
        raise ValueError("its track id is empty")
    frames, end = _varint(data, values[b"frames"][0])
    if end != values[b"frames"][1] or not 1 <= frames < 2**31:
        raise ValueError("feature 'frames' is not one number from 1")
    seconds = []
    for name in (b"start_seconds", b"source_seconds"):
        held = data[slice(*values[name])]
        seconds.append(struct.unpack("<f", held)[0] if len(held) == 4 else math.nan)
        if not 0 <= seconds[-1] < math.inf:
            raise ValueError(f"feature {name.decode('ascii')!r} is not one number of seconds")
    return StoredTrack(track_id, values[b"mel"], frames, *seconds)


def _only(data: bytes, span: tuple[int, int], number: int, what: str) -> tuple[int, int]:
    """Bytes of the one field of a message, which must have this number."""
    fields = list(_fields(data, span))
    if [found for found, _ in fields] != [number]:
        raise ValueError(f"{what} is not one value of its kind")
    return fields[0][1]


def _fields(data: bytes, span: tuple[int, int]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Number and bytes (start, end) of each field of a message."""
    position, end = span
    while position < end:
        tag, position = _varint(data, position)
        if tag & 7 != 2:
            raise ValueError(f"wire type {tag & 7} where a length-delimited field is expected")
        length, position = _varint(data, position)
        if position + length > end:
            raise ValueError("a field is longer than the message around it")
        yield tag >> 3, (position, position + length)
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Value of a varint and the position after it."""
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("the record ends inside a number")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


class Record(NamedTuple):
    """Bytes ``start`` … ``end`` of a file; ``wrong`` says why ``data`` cannot be used."""

    start: int
    end: int
    data: bytes
    wrong: str = ""


def masked_crc(data: bytes) -> int:
    """CRC-32C of ``data`` as TFRecord files store it."""
    import google_crc32c

    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(read: Callable[[int], bytes], size: int) -> Iterator[Record]:
    """Yield the records of a file, sound or damaged, in order.

    ``read(n)`` returns the next ``n`` of the file's ``size`` bytes. A record with damaged data is
    passed over. A damaged length leaves no way to find the next record, so everything from there
    on is one damaged record.
    """
    start = 0
    while start < size:
        header = read(RECORD_HEADER)
        if len(header) < RECORD_HEADER:
            yield Record(start, size, b"", f"the file ends {len(header)} bytes into a record")
            return
        length, crc = struct.unpack("<QI", header)
        end = start + length + RECORD_OVERHEAD
        if masked_crc(header[:8]) != crc:
            yield Record(start, size, b"", "the checksum of its length is wrong")
            return
        if end > size:
            early = f"a record of {length} bytes, and the file ends {end - size} early"
            yield Record(start, size, b"", early)
            return
        data, stored = read(length), read(RECORD_OVERHEAD - RECORD_HEADER)
        sound = struct.pack("<I", masked_crc(data)) == stored
        yield Record(start, end, data, "" if sound else "the checksum of its data is wrong")
        start = end
