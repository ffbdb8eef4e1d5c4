"""One array of numbers out of an ``.npy`` file, which may lie inside a tar file.

A place is written as the path of the file, or as ``ARCHIVE.tar:OFFSET+SIZE:MEMBER``: a member is
read where it lies, nothing is ever unpacked. Nothing is unpickled, and no memory is taken before
the header's shape was found to fit the bytes that are there.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import warnings
from typing import BinaryIO

import numpy as np

from playlist_pretrain.errors import MelError

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
