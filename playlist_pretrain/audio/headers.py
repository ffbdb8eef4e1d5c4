"""The length that a file's own header states, to tell a whole file from one that was cut off."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

_UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # left by programs that write to a pipe


def stated_seconds(path: str) -> float | None:
    """Length that the header of a wav, aiff or flac file states.

    The other formats have no header that can be trusted: an mp3 that was cut on purpose often
    keeps the length of its original.

    Returns
    -------
    float or None
        Seconds; None for other formats and for headers without a usable length.
    """
    with open(path, "rb") as stream:
        magic = stream.read(12)
        try:
            if magic[:4] == b"RIFF" and magic[8:] == b"WAVE":
                return _wav(stream)
            if magic[:4] == b"FORM" and magic[8:] in (b"AIFF", b"AIFC"):
                return _aiff(stream)
            if magic[:4] == b"fLaC":
                stream.seek(8)
                return _flac(stream.read(34))
        except (struct.error, OverflowError, ZeroDivisionError):
            return None
    return None


def _chunks(stream: IO[bytes], order: str) -> Iterator[tuple[bytes, int]]:
    """Name and stated size of each chunk, the stream standing at its content."""
    while len(head := stream.read(8)) == 8:
        name, size = struct.unpack(f"{order}4sI", head)
        content = stream.tell()
        yield name, size
        stream.seek(content + size + size % 2)


def _wav(stream: IO[bytes]) -> float | None:
    bytes_per_second = 0
    for name, size in _chunks(stream, "<"):
        if name == b"fmt ":
            bytes_per_second = struct.unpack("<8xI", stream.read(12))[0]
        elif name == b"data":
            return None if size in _UNKNOWN_SIZES else size / bytes_per_second
    return None


def _aiff(stream: IO[bytes]) -> float | None:
    for name, _ in _chunks(stream, ">"):
        if name == b"COMM":
            frames, exponent, mantissa = struct.unpack(">2xI2xHQ", stream.read(18))
            rate = mantissa * 2.0 ** ((exponent & 0x7FFF) - 16383 - 63)
            return frames / rate if frames not in _UNKNOWN_SIZES else None
    return None


def _flac(stream_info: bytes) -> float | None:
    packed = struct.unpack(">10xQ", stream_info[:18])[0]
    rate, samples = packed >> 44, packed & 0xFFFFFFFFF
    return samples / rate if samples else None
