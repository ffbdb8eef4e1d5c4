"""One track as a record of a shard, and where in it the mel lies."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from playlist_pretrain.errors import TrackError
from playlist_pretrain.records.schema import MEL_DTYPE

RECORD_HEADER = 12
"""Bytes before a TFRecord's data: length (8) and its checksum (4)."""
RECORD_OVERHEAD = 16
"""Bytes a TFRecord adds to its data: the header and the checksum of the data (4)."""
_MOST_FEATURES = 1000
_BITS = np.dtype("<u2")
_EXPONENT = np.uint16(0x7C00)  # all set in what is no number or infinite
_SIGNED_BITS = np.dtype("<i2")
_OF_FLOAT32 = np.int32(-0x70002000)  # 0x8fffe000: all bits but those that the sign was spread over
_CHUNK_FRAMES = 256  # they stay in the processor's cache
_FEATURES = {b"track_id": 1, b"mel": 1, b"frames": 3, b"start_seconds": 2, b"source_seconds": 2}
"""The features of a track and the kinds of their lists: bytes 1, float 2, int64 3."""


class Bytes(Protocol):
    """``bytes``, or something as long that is read piece by piece."""

    def __len__(self) -> int: ...

    def __getitem__(self, position): ...


@dataclass(frozen=True)
class StoredTrack:
    """A parsed record.

    Attributes
    ----------
    track_id : str
    mel : (int, int)
        Where the mel's bytes start and end in the record's data.
    frames : int
    start_seconds, source_seconds : float
    """

    track_id: str
    mel: tuple[int, int]
    frames: int
    start_seconds: float
    source_seconds: float


def stored_mel(track_id: str, mel: Any, bands: int) -> np.ndarray:
    """``mel`` as a shard stores it, after checking that it can be stored.

    Parameters
    ----------
    track_id : str
        Names the track in errors.
    mel : array_like [shape=(frames, bands), real]
        Log-mel, at least one frame, finite, within float16 (±65504).
    bands : int
        The number of bands the collection has.

    Returns
    -------
    ndarray [shape=(frames, bands), float16, little-endian, C order]

    Raises
    ------
    TrackError
        Names the track and the first value that cannot be stored.
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


def exact_values(stored: np.ndarray) -> np.ndarray:
    """float64 of the same shape, of finite float16: ``astype``, in less than half its time.

    NumPy converts each half by itself. Their bits, put where float32 has its sign, exponent and
    fraction, are the values times 2^-112, and all of these steps take many at once.
    """
    exact = np.empty(stored.shape)
    for start in range(0, len(stored), _CHUNK_FRAMES):
        bits = stored[start : start + _CHUNK_FRAMES].view(_SIGNED_BITS).astype(np.int32)
        bits <<= 13
        bits &= _OF_FLOAT32
        exact[start : start + _CHUNK_FRAMES] = bits.view(np.float32)
    exact *= 2.0**112
    return exact


def encode_track(
    track_id: str, mel: np.ndarray, start_seconds: float, source_seconds: float
) -> tuple[bytes, int]:
    """One track as a serialised ``tf.train.Example`` and where in it the mel's bytes start.

    Parameters
    ----------
    track_id : str
    mel : ndarray [shape=(frames, bands), float16]
        From :func:`stored_mel`.
    start_seconds, source_seconds : float
        Where in the source the mel starts, and how long the source is.

    Returns
    -------
    (bytes, int)
        The record's data, and the position of the mel's first byte in it.
    """
    # Put together here, since protocol buffers copy the mel several times, which would cost more
    # than all else that is done to write it; the bytes are theirs, features in order of name.
    payload = memoryview(np.ascontiguousarray(mel, MEL_DTYPE).reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    parts = _wrapped(
        0x0A,
        *_feature(b"frames", 0x1A, _varint_bytes(len(mel))),
        *_feature(b"mel", 0x0A, payload),
        *_feature(b"source_seconds", 0x12, struct.pack("<f", source_seconds)),
        *_feature(b"start_seconds", 0x12, struct.pack("<f", start_seconds)),
        *_feature(b"track_id", 0x0A, track_id.encode("utf-8")),
    )
    before = next(position for position, part in enumerate(parts) if part is payload)
    return b"".join(parts), sum(map(len, parts[:before]))


def _feature(name: bytes, kind: int, value: bytes | memoryview) -> list[bytes | memoryview]:
    """Entry of the features: ``kind`` is the tag of its list, whose one value is ``value``."""
    held = _wrapped(kind, *_wrapped(0x0A, value))
    return _wrapped(0x0A, *_wrapped(0x0A, name), *_wrapped(0x12, *held))


def _wrapped(tag: int, *parts: bytes | memoryview) -> list[bytes | memoryview]:
    """A field of wire type 2 around ``parts``, not yet joined."""
    return [bytes([tag]) + _varint_bytes(sum(map(len, parts))), *parts]


def _varint_bytes(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def locate_mel(data: bytes) -> tuple[int, int]:
    """Where the bytes of feature ``mel`` start and end in a serialised ``tf.train.Example``.

    Walks the wire format, so a mel that looks like anything else (all zeros, say) is found.

    Raises
    ------
    ValueError
        When ``data`` is no such Example.
    """
    for _, *features in _fields(data, 0, len(data), number=1):
        for _, *entry in _fields(data, *features, number=1):  # type: ignore[misc]
            keys = [data[a:b] for _, a, b in _fields(data, *entry, number=1)]  # type: ignore[misc]
            if keys != [b"mel"]:
                continue
            for _, *feature in _fields(data, *entry, number=2):  # type: ignore[misc]
                for _, *bytes_list in _fields(data, *feature, number=1):  # type: ignore[misc]
                    for _, start, end in _fields(data, *bytes_list, number=1):  # type: ignore[misc]
                        return start, end
    raise ValueError("no feature 'mel' with bytes in this record")


def parse_track(data: Bytes) -> StoredTrack:
    """The track in a record's data; the mel's own bytes are not touched.

    Stricter than protocol buffers are: what could be read in two ways is refused.

    Raises
    ------
    ValueError
        Says what is not as ``tfrecords/README.md`` describes it.
    """
    (features,) = _exactly(data, (0, len(data)), [1], "the record")
    values: dict[bytes, tuple[int, int]] = {}
    for count, (number, *entry) in enumerate(_fields(data, *features)):
        if number != 1 or count == _MOST_FEATURES:
            raise ValueError("the record is not a list of features")
        key, feature = _exactly(data, entry, [1, 2], "a feature")
        # A name as long as a mel is none of ours: there is no need to read it.
        name = data[key[0] : min(key[1], key[0] + 64)]
        if name not in _FEATURES:
            continue
        text = name.decode("ascii")
        if name in values:
            raise ValueError(f"feature {text!r} is there twice")
        (held,) = _exactly(data, feature, [_FEATURES[name]], f"feature {text!r}")
        (values[name],) = _exactly(data, held, [1], f"feature {text!r}")
    missing = [name.decode("ascii") for name in _FEATURES if name not in values]
    if missing:
        raise ValueError(f"no feature {missing[0]!r}")
    track_id = data[slice(*values[b"track_id"])].decode("utf-8")
    if not track_id:
        raise ValueError("its track id is empty")
    frames, end = _varint(data, values[b"frames"][0])
    if end != values[b"frames"][1] or not 1 <= frames < 2**31:
        raise ValueError("feature 'frames' is not one number from 1")
    seconds = [_float(data, values, name) for name in (b"start_seconds", b"source_seconds")]
    return StoredTrack(track_id, values[b"mel"], frames, *seconds)


def _float(data: Bytes, values: dict[bytes, tuple[int, int]], name: bytes) -> float:
    start, end = values[name]
    value = struct.unpack("<f", data[start:end])[0] if end - start == 4 else math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"feature {name.decode('ascii')!r} is not one number of seconds")
    return value


def _exactly(data: Bytes, span: Any, numbers: list[int], what: str) -> list[tuple[int, int]]:
    """The fields of a message that must hold these, once each, in any order, and no others."""
    found: dict[int, tuple[int, int]] = {}
    for number, start, end in _fields(data, *span):
        if number in found or number not in numbers:
            raise ValueError(f"{what} is not one value of its kind (field {number})")
        found[number] = start, end
    if len(found) != len(numbers):
        raise ValueError(f"{what} holds no value of its kind")
    return [found[number] for number in numbers]


def _fields(
    data: Bytes, position: int, end: int, number: int | None = None
) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of the fields of a message, all or those with one number."""
    while position < end:
        tag, position = _varint(data, position)
        if tag & 7 != 2:
            raise ValueError(f"wire type {tag & 7} where a length-delimited field is expected")
        length, position = _varint(data, position)
        if position + length > end:
            raise ValueError("a field is longer than the message around it")
        if number is None or tag >> 3 == number:
            yield tag >> 3, position, position + length
        position += length


def _varint(data: Bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("the record ends inside a number")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
