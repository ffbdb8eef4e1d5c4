"""Streams whose number of channels changes on the way, which crash Essentia's decoder.

They come from files that were joined end to end, and from damaged ones.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable

_CONTAINERS = (b"RIFF", b"FORM", b"fLaC")
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = (44100, 48000, 32000)


def changes_channels(path: str) -> bool:
    """Whether the frames of an mp3 or aac file, or the links of an ogg file, differ in channels.

    Reads the headers of the frames only; other formats state the number once and for all.
    """
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] == b"OggS":
            return len(_vorbis_channels(data)) > 1
        if data[:4] in _CONTAINERS or data[4:8] == b"ftyp":
            return False  # whatever the name says, the decoder looks at the content
        start = 0
        if data[:3] == b"ID3" and len(data) > 10:
            start = 10 + (data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9])
            # A damaged tag states any length; the decoder then looks for frames inside it.
            start = start if data[start : start + 1] == b"\xff" else 10
        elif data[:1] != b"\xff" and not path.lower().endswith((".mp3", ".aac")):
            return False
        if _aac_frame(data, start)[1]:
            return len(_frame_channels(data, start, _aac_frame)) > 1
        return len(_frame_channels(data, start, _mp3_frame)) > 1


def _frame_channels(data: mmap.mmap, at: int, parse: Callable) -> set[int]:
    """Numbers of channels of all that looks like a frame, as it does to the decoder."""
    seen = set()
    while 0 <= at < len(data) - 6:
        channels, length = parse(data, at)
        if length:
            seen.add(channels)
            at += length
        else:
            at = data.find(b"\xff", at + 1)
    return seen


def _mp3_frame(data: mmap.mmap, at: int) -> tuple[int, int]:
    """Channels and bytes of the layer III frame at ``at``; 0 bytes if there is none."""
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    kbits, rate = data[at + 2] >> 4, data[at + 2] >> 2 & 3
    sync = data[at] == 0xFF and data[at + 1] >= 0xE0
    if not sync or version == 1 or layer != 1 or kbits in (0, 15) or rate == 3:
        return 0, 0
    if version == 3:
        size = 144000 * _KBITS_1[kbits] // _RATES[rate]
    else:
        size = 72000 * _KBITS_2[kbits] // (_RATES[rate] >> (1 if version == 2 else 2))
    return 1 if data[at + 3] >> 6 == 3 else 2, size + (data[at + 2] >> 1 & 1)


def _aac_frame(data: mmap.mmap, at: int) -> tuple[int, int]:
    """Channel configuration and bytes of the ADTS frame at ``at``; 0 bytes if there is none."""
    if at + 6 >= len(data) or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return 0, 0
    length = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    return (data[at + 2] & 1) << 2 | data[at + 3] >> 6, length if length > 7 else 0


def _vorbis_channels(data: mmap.mmap) -> set[int]:
    seen = set()
    at = data.find(b"\x01vorbis")
    while 0 <= at < len(data) - 11:
        seen.add(data[at + 11])
        at = data.find(b"\x01vorbis", at + 7)
    return seen
