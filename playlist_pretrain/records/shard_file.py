"""The framing of a TFRecord file: records with checksums of their length and of their data."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from playlist_pretrain.records.example import RECORD_HEADER, RECORD_OVERHEAD


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
