"""Audio by libsndfile: every stream of a file, with the length that it has.

libsndfile stops after the first stream of a file that was joined, and takes the length of an mp3
without an old encoder's word from its first frame, so that of a variable bit rate a part is lost.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from playlist_pretrain.audio.streams import (
    LONGEST_WHOLE,
    MISSING_SECONDS,
    Stream,
    frame_at,
    refuse_cut_off,
    streams_of,
)
from playlist_pretrain.errors import AudioError

MOST_VALUES = 2**30
"""Samples of all channels that a stream may state, since memory is taken for them before they are
read."""
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
"""Hz; what a header states beyond that is no rate of audio, and from 1 Hz a file of a megabyte
would be resampled to gigabytes."""
DAMAGED = "a file that is damaged, or no audio that libsndfile reads"
_BLOCK_VALUES = 1 << 22
_UNKNOWN = 2**63 - 1  # samples of a flac stream that was written to a pipe, as libsndfile has it


def read_streams(path: str) -> Iterator[tuple[int, np.ndarray]]:
    """Read the streams of a file, one after the other.

    Yields
    ------
    int, np.ndarray [shape=(samples,), float32, full scale ±1]
        Rate in Hz, and the mean of the channels.

    Raises
    ------
    AudioError
        For a file that is damaged, cut off, of a kind that libsndfile does not read, or longer
        than an hour and a half.
    """
    with open(os.fsencode(path), "rb") as file:
        streams = streams_of(path)
        if not streams:
            if file.read(4).startswith((b"\xff", b"ID3", b"TAG", b"APET")):
                raise AudioError(DAMAGED)  # libmpg123 would print what it does not find
            file.seek(0)
            rate, mono = _read(file, Stream("", 0, 0, []))
            refuse_cut_off(path, streams, len(mono) / rate)
            yield rate, mono
        for stream in streams:
            if stream.codec == "aac":
                raise AudioError(DAMAGED)
            _check_length(stream.frames * stream.frame_samples, stream.sample_rate, stream.channels)
            parts = []
            for start, stop in stream.spans:
                file.seek(start)
                # libmpg123 gives up on a last frame that is cut off.
                parts.append(file.read(stop - start).ljust(stop - start, b"\0"))
            content = b"".join(parts)
            yield _read(_mpeg(content, stream) if stream.frames else io.BytesIO(content), stream)


class _Longer(io.BytesIO):
    """Bytes that state ``more`` than there are; libmpg123 works out a length from them."""

    def __init__(self, content: bytes, more: int):
        super().__init__(content)
        self.size, self.more = len(content), more

    def seek(self, place: int, whence: int = 0, /) -> int:
        return super().seek(place + (self.more if whence == 2 else 0), whence)

    def readinto(self, buffer: Any, /) -> int:
        if self.tell() <= self.size:
            return super().readinto(buffer)
        buffer[:] = bytes(len(buffer))  # where it looks for a tag, at the end that it was told
        return len(buffer)


def _mpeg(content: bytes, stream: Stream) -> IO[bytes]:
    """Frames with an information frame that is right about their number, or with none."""
    _, _, size = frame_at(content, 0)
    if found := re.search(b"Xing|Info|VBRI", content[: min(size, 64)]):
        stated = int.from_bytes(content[found.end() + 4 : found.end() + 8], "big")
        # It would misread the numbers of the third.
        if found[0] != b"VBRI" and stated in (stream.frames - 1, stream.frames):
            return io.BytesIO(content)
        content = content[size:]
    return _Longer(content, 128 + (stream.frames + 2) * frame_at(content, 0)[2])


def _read(source: IO[bytes], stream: Stream) -> tuple[int, np.ndarray]:
    import soundfile

    means: list[np.ndarray] = []
    try:
        with soundfile.SoundFile(source) as file:
            rate, stated = file.samplerate, file.frames
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise AudioError(f"a file of an impossible rate: {rate}")
            if stream.frames:
                # In one go: between blocks libmpg123 loses its place.
                stated = min(stated, stream.frames * stream.frame_samples)
                means = [file.read(stated, "float32", always_2d=True).mean(axis=1)]
            else:
                if stated < _UNKNOWN:
                    _check_length(stated, rate, file.channels)
                most = _BLOCK_VALUES // file.channels
                while not means or len(means[-1]) == most:
                    means.append(_block(file, most).mean(axis=1))
                    _check_length(sum(map(len, means)), rate, file.channels)
    except soundfile.LibsndfileError:
        raise AudioError(DAMAGED) from None
    mono = np.concatenate(means)
    # What an encoder adds before and behind is taken off again.
    there = len(mono) + 4 * stream.frame_samples
    if stated < _UNKNOWN and there < stated - MISSING_SECONDS * rate:
        raise AudioError(f"a file that is cut off: samples stated, there: {stated}, {len(mono)}")
    return rate, mono


def _block(file: Any, most: int) -> np.ndarray:
    """The next samples, float32 [samples, channels]; less than ``most`` are the last."""
    import soundfile

    block = np.full((most, file.channels), np.nan, np.float32)
    # Of a file that is cut off, or whose length is not known: what was read is there.
    with contextlib.suppress(soundfile.LibsndfileError):
        return file.read(out=block)
    return block[~np.isnan(block).any(axis=1)]


def _check_length(samples: int, rate: int, channels: int) -> None:
    if samples > LONGEST_WHOLE * rate or samples * channels > MOST_VALUES:
        raise AudioError(
            f"a file of more than {LONGEST_WHOLE} seconds, or of {MOST_VALUES} samples: "
            f"it states {samples}"
        )
