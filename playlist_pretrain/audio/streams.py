"""Parser of the headers of audio files: tags, joined streams, stated lengths.

Players and download programs put tags before, between and behind what they join, and a header is
a claim that was often made before the sound was known. So frames count only where they chain, and
a stated length only as far as it can be held against the bytes that are there.
"""

from __future__ import annotations

import functools
import itertools
import mmap
import os
import re
import struct
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

from playlist_pretrain.errors import AudioError

MISSING_SECONDS = 0.1
"""A file may be this much shorter than its header states: codecs add and drop some samples."""
_CHAIN = 3
"""Frames of one kind in a row that are no accident: pictures in tags hold single ones."""
_MOST_CHANGES, _MOST_STREAMS = 100, 10_000
_MOST_TRIES = 300_000  # places that look like a frame and are none
_SYNC = re.compile(rb"\xff[\xe0-\xfe][^\xff]")
# fmt: off
_KBITS = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# fmt: on
_KBITS[2, 3] = _KBITS[2, 2]
_MPEG_RATES = (44100, 48000, 32000)
# fmt: off
_AAC_RATES = (
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
)
# fmt: on
MPEG_ENDINGS = (".mp3", ".mp2", ".mpa", ".mpga", ".aac")
"""Of files whose frames are looked for, whatever they begin with."""
_FLAC_HEAD = re.compile(rb"fLaC[\0\x80]\0\0\x22")
# Bounded, since any number of damaged tags may state that they reach to the same zeros.
_PADDING = re.compile(rb"\0{0,16384}")


MOST_CHUNKS = 1_000
"""Chunks of a wav file that are looked at, one after another."""
PACKED = "a wav file of 24 bits in 32 for each sample, which programs read differently"
"""Samples as if 24 bits followed 24 bits, or as integers or floats of 32: which is not said."""
LONGEST_WHOLE = 5400
"""Most seconds that are taken out of one file, as with ``excerpt=None``."""


class Stream(NamedTuple):
    """One of the streams that a file is made of, and the bytes that belong to it.

    Those of a last frame that is cut off end behind the file.
    """

    codec: str
    sample_rate: int
    channels: int
    spans: list[tuple[int, int]]
    frames: int = 0  # of MPEG audio
    frame_samples: int = 0
    stated: int = 0  # samples of flac, by its header

    @property
    def sound(self) -> tuple[str, int, int]:
        """Codec, rate and channels: a decoder goes on where these stay the same."""
        return self[:3]


def streams_of(path: str) -> list[Stream]:
    """Find the streams of an MPEG audio, AAC, FLAC or Ogg file, in their order.

    Empty for all other formats, which state rate and channels once and for all, and for a file
    in which none is found. Reads the headers of frames and pages only.

    Raises
    ------
    AudioError
        There are more than ten thousand, or their sound changes more than a hundred times.
    """
    with open(path, "rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            return []
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = after_tags(data)
            magic = data[start : start + 4]
            if magic == b"OggS":
                found = _ogg_streams(data, start)
            elif magic == b"fLaC":
                found = _flac_streams(data, start)
            elif magic not in (b"RIFF", b"FORM") and (
                start or magic[:1] == b"\xff" or path.lower().endswith(MPEG_ENDINGS)
            ):
                found = _frame_streams(data, start)
            else:
                return []
    changes = sum(one.sound != other.sound for one, other in itertools.pairwise(found))
    if changes > _MOST_CHANGES:
        raise AudioError(f"its sample rate or channels change more than {_MOST_CHANGES} times")
    if len(found) > _MOST_STREAMS:
        raise AudioError(f"is joined of more than {_MOST_STREAMS:,} streams")
    return found


def after_tags(data: mmap.mmap, at: int = 0) -> int:
    """Place behind the ID3v2, APEv2 and ID3v1 tags at ``at``, and behind zeros after a tag."""
    while size := _tag_size(data, at):
        end = _PADDING.match(data, at + size).end()
        # A damaged tag states any length; what it covers is then looked through.
        if end < len(data) and not data[end : end + 4].startswith(
            (b"\xff", b"ID3", b"APET", b"TAG", b"fLaC", b"OggS", b"RIFF", b"FORM")
        ):
            return at + 10
        at = min(end, len(data))
    return at


def _tag_size(data: mmap.mmap, at: int) -> int:
    head = data[at : at + 32]
    if head[:3] == b"ID3" and len(head) > 10 and max(head[6:10]) < 128:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        return size + (20 if head[5] & 16 else 10)
    if head[:8] == b"APETAGEX" and len(head) == 32:
        size, flags = struct.unpack("<12xI4xI8x", head)
        return size + 32 if flags >> 29 & 1 else 32  # the flag: this is the header, not the footer
    return 128 if head[:3] == b"TAG" else 0


def _frame_streams(data: mmap.mmap, at: int) -> list[Stream]:
    """Streams of MPEG audio or AAC frames, of which at least three chain."""
    found: list[Stream] = []
    for _ in range(_MOST_TRIES):
        start, (sound, samples, size) = at, frame_at(data, at)
        frames, following = 0, sound
        while size and following == sound:
            at, frames = at + size, frames + 1
            following, _, size = frame_at(data, at)
        ends = at == len(data) or _tag_size(data, at)
        if sound is None or (frames < _CHAIN and not ends):
            at = after_tags(data, start)
            if at == start:
                sync = _SYNC.search(data, at + 1)
                at = sync.start() if sync else len(data)
        elif found and found[-1].sound == sound:
            found[-1].spans.append((start, at))
            found[-1] = found[-1]._replace(frames=found[-1].frames + frames)
        else:
            found.append(Stream(*sound, [(start, at)], frames, samples))
        if at >= len(data) or len(found) > _MOST_CHANGES + 1:
            break
    return found


def frame_at(data: mmap.mmap | bytes, at: int) -> tuple[tuple[str, int, int] | None, int, int]:
    """Sound, samples and bytes of the frame at ``at``; 0 bytes if there is none."""
    if data[at + 1 : at + 2] in (b"\xf0", b"\xf1", b"\xf8", b"\xf9"):  # AAC in ADTS
        head = data[at : at + 7]
        if len(head) == 7 and head[0] == 0xFF and (rate := head[2] >> 2 & 15) < len(_AAC_RATES):
            size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
            channels = (head[2] & 1) << 2 | head[3] >> 6
            if size > 7:
                return ("aac", _AAC_RATES[rate], channels), 1024, size
        return None, 0, 0
    return _mpeg_frame(data[at : at + 4])


@functools.lru_cache(4096)
def _mpeg_frame(head: bytes) -> tuple[tuple[str, int, int] | None, int, int]:
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None, 0, 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or kbits in (0, 15) or rate == 3:
        return None, 0, 0
    bits = 1000 * _KBITS[1 if version == 3 else 2, layer][kbits]
    hertz = _MPEG_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    slot = 4 if layer == 1 else 1
    size = (samples // 8 * bits // hertz // slot + (head[2] >> 1 & 1)) * slot
    return (f"mpeg layer {layer}", hertz, 1 if head[3] >> 6 == 3 else 2), samples, size


def _flac_streams(data: mmap.mmap, at: int) -> list[Stream]:
    found: list[Stream] = []
    while at < len(data) and len(found) <= _MOST_STREAMS:
        following = _FLAC_HEAD.search(data, at + 8)
        end = following.start() if following else len(data)
        rate, channels, stated = flac_info(data[at : at + 26])
        found.append(Stream("flac", rate, channels, [(at, end)], stated=stated))
        at = end
    return found


def flac_info(head: bytes) -> tuple[int, int, int]:
    """Rate, channels and samples that the first 26 bytes of a flac stream state."""
    packed = int.from_bytes(head[18:26].ljust(8, b"\0"), "big")
    return packed >> 44, (packed >> 41 & 7) + 1, packed & 0xFFFFFFFFF


def _ogg_streams(data: mmap.mmap, start: int) -> list[Stream]:
    """Links of an Ogg file: each begins with the first pages of all its streams, side by side."""
    found: list[Stream] = []
    at, end_of_heads = start, -1
    while at >= 0 and len(found) <= _MOST_STREAMS:
        body, end = _ogg_page(data, at)
        sound = _ogg_sound(data[body : body + 64])
        if at != end_of_heads:
            if found:
                start = found[-1].spans[0][0]
                _, last = _ogg_page(data, data.rfind(b"OggS", start, at))
                found[-1].spans[:] = [(start, min(last, at))]
            found.append(Stream(*(sound or ("", 0, 0)), [(at, len(data))]))
        elif sound and not found[-1].codec:
            found[-1] = Stream(*sound, found[-1].spans)
        end_of_heads = end
        at = data.find(b"OggS\0\2", at + 27)
    return found


def _ogg_page(data: mmap.mmap, at: int) -> tuple[int, int]:
    """Place of the content of the page at ``at``, and the place behind it."""
    body = at + 27 + (data[at + 26] if at + 26 < len(data) else 0)
    return body, body + sum(data[at + 27 : body])


def _ogg_sound(packet: bytes) -> tuple[str, int, int] | None:
    packet = packet.ljust(64, b"\0")
    if packet.startswith(b"\1vorbis"):
        return "vorbis", int.from_bytes(packet[12:16], "little"), packet[11]
    if packet.startswith(b"OpusHead"):
        return "opus", 48000, packet[9]
    if packet.startswith(b"\x7fFLAC"):
        return "flac", *flac_info(packet[9:35])[:2]
    if packet.startswith(b"Speex "):
        return "speex", int.from_bytes(packet[36:40], "little"), packet[48]
    return None


def unstated(size: int) -> bool:
    """True for lengths that programs leave that write to a pipe; for tensors as well.

    That is 0, and what is a few megabytes below 2³¹ or 2³² at most: whole, less a header, or
    rounded down to whole frames.
    """
    return (size + 2**24) % 2**31 <= 2**24


class SampleBytes(NamedTuple):
    """Samples of a wav or aiff file."""

    stated: int
    there: int
    seconds: float  # that the header states beside where the samples are compressed, or 0


def refuse_cut_off(path: str, streams: Sequence[Stream], seconds: float) -> None:
    """Raise AudioError if the header of a wav, aiff or flac file states more than there is.

    ``seconds`` came out of the decoder: a wav or aiff file is as much longer as bytes are missing,
    whatever its header says of rates. The other formats have no header that can be trusted: an mp3
    that was cut on purpose often keeps the length of its original.
    """
    stated = 0.0
    if samples := sample_bytes(path):
        stated = samples.seconds
        if samples.stated > samples.there:
            stated = seconds * samples.stated / max(samples.there, 1)
    elif all(one.stated and one.sample_rate for one in streams):
        stated = sum(one.stated / one.sample_rate for one in streams)
    if 0 < seconds < stated - MISSING_SECONDS:  # of no samples another message says more
        raise AudioError(f"cut off: {seconds:.1f} s of the {stated:.1f} s that its header states")


def sample_bytes(path: str) -> SampleBytes | None:
    """Find the samples of a wav (RIFF, RF64, W64) or aiff file; None for other files."""
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        magic = stream.read(12)
        kind = magic[:4]
        if kind in (b"RIFF", b"RF64") and magic[8:] == b"WAVE":
            chunks = _chunks(stream, "<4sI", 12, 2)
        elif kind == b"FORM" and magic[8:] in (b"AIFF", b"AIFC"):
            chunks = _chunks(stream, ">4sI", 12, 2)
        elif kind == b"riff":
            chunks = _chunks(stream, "<4s12xQ", 40, 8)
        else:
            return None
        long_size = claim = rate = count = 0
        try:
            for name, length in chunks:  # noqa: B007
                if name == b"ds64":
                    long_size = struct.unpack("<8xQ", stream.read(16))[0]
                elif name == b"fmt ":
                    code, channels, rate, byte_rate, align, bits = struct.unpack(
                        "<HHIIHH", stream.read(16)
                    )
                    claim = 0 if code in (1, 3, 0xFFFE) else byte_rate
                    if not claim and bits == 24 and align == 4 * channels:
                        raise AudioError(PACKED)
                elif name == b"fact":
                    count = struct.unpack("<I", stream.read(4))[0]
                elif name in (b"data", b"SSND"):
                    break
            else:
                return None
        except struct.error:
            return None
        there = size - stream.tell()
    if kind == b"RF64" and length == 0xFFFFFFFF:
        length = long_size
    # Of nothing, what lies behind are other chunks, if the whole has the length it states.
    whole = kind == b"RIFF" and struct.unpack("<4xI4x", magic)[0] + 8 == size
    if not whole if length == 0 else unstated(length) and length > there:
        length = there
    # The smaller of two claims: there are odd byte rates, and odd counts.
    seconds = 0.0
    if claim and rate and not unstated(count):
        seconds = min(min(length, there) / claim, count / rate)
    return SampleBytes(length, there, seconds)


def _chunks(stream: IO[bytes], form: str, start: int, even: int) -> Iterator[tuple[bytes, int]]:
    """Name and stated size of the content of each chunk, the stream standing at it."""
    head_size = struct.calcsize(form)
    at = start
    for _ in range(MOST_CHUNKS):
        stream.seek(at)
        if len(head := stream.read(head_size)) < head_size:
            return
        name, size = struct.unpack(form, head)
        # W64 counts the head; and no file is as long as it may state.
        size = max(0, min(size, 2**40) - (head_size if even == 8 else 0))
        yield name, size
        at += head_size + size
        at += -at % even
