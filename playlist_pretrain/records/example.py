"""One track as a record of a shard, and where in it the mel lies."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from playlist_pretrain.errors import TrackError
from playlist_pretrain.records.schema import MEL_DTYPE

RECORD_HEADER = 12
"""Bytes before a TFRecord's data: length (8) and its checksum (4)."""
RECORD_OVERHEAD = 16
"""Bytes a TFRecord adds to its data: the header and the checksum of the data (4)."""


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
    # Looking at the wider numbers first is ten times as fast, and nearly always enough.
    small = mel.dtype == np.float32 and np.abs(mel).max() <= np.finfo(MEL_DTYPE).max
    if not small and not np.isfinite(stored).all():
        frame, band = np.argwhere(~np.isfinite(stored))[0]
        value = mel[frame, band]
        why = "does not fit float16" if np.isfinite(value) else "is not a number to learn from"
        raise TrackError(f"track {track_id!r}: {value} at frame {frame}, band {band} {why}")
    return stored


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
    payload = memoryview(np.ascontiguousarray(mel, MEL_DTYPE).reshape(-1).view(np.uint8))
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
    for features_start, features_end in _fields(data, 0, len(data), number=1):
        for entry_start, entry_end in _fields(data, features_start, features_end, number=1):
            keys = [data[a:b] for a, b in _fields(data, entry_start, entry_end, number=1)]
            if keys != [b"mel"]:
                continue
            for feature in _fields(data, entry_start, entry_end, number=2):
                for bytes_list in _fields(data, *feature, number=1):
                    for start, end in _fields(data, *bytes_list, number=1):
                        return start, end
    raise ValueError("no feature 'mel' with bytes in this record")


def _fields(data: bytes, position: int, end: int, number: int) -> Iterator[tuple[int, int]]:
    while position < end:
        tag, position = _varint(data, position)
        if tag & 7 != 2:
            raise ValueError(f"wire type {tag & 7} where a length-delimited field is expected")
        length, position = _varint(data, position)
        if position + length > end:
            raise ValueError("a field is longer than the message around it")
        if tag >> 3 == number:
            yield position, position + length
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("the record ends inside a number")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
