"""Audio files to mono waveforms, decoded and resampled by Essentia.

Essentia runs in a process of its own, since its TensorFlow and the one that a program imports need
not go together; the worker processes of the package, which import none, run it themselves.

Any file comes out as Essentia's ``MonoLoader`` gives it, so that a model sees the same numbers
here and there. What ``MonoLoader`` refuses, more than two channels and a few codecs such as
Opus, is read by libsndfile, averaged over all channels and resampled by Essentia.

The whole file is decoded even when an excerpt is asked for: only then is its length, and with it
the place of its centre, known to the sample. Of a file of more than half an hour a second pass
keeps the excerpt alone, so that memory does not grow with the file.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
import mmap
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import IO

import numpy as np

from playlist_pretrain.errors import AudioError, require
from playlist_pretrain.processes import OwnProcess, ProcessEnded, ended_twice, in_worker

# A file may be this much shorter than its header states: codecs add and drop some samples.
_MISSING_SECONDS = 0.1
_BLOCK_SAMPLES = 1 << 20
# More than that is not kept in a first pass; the second costs little beside the length.
_LONG_SECONDS = 1800
LONGEST_WHOLE = 5400
"""Most seconds that are taken out of one file, as with ``excerpt=None``."""
_ADVICE = "convert it, for example with: ffmpeg -i FILE -ac 2 FILE.wav"


@dataclass
class Decoded:
    """Waveform of a file or of its excerpt."""

    waveform: np.ndarray  # float32 [samples], mono, full scale ±1
    start_seconds: float  # in the file
    source_seconds: float  # length of the whole file


@dataclass(frozen=True)
class AudioLoader:
    """:func:`decode` with its settings, as an object that travels to worker processes."""

    sample_rate: int = 16000
    excerpt: float | None = 30.0
    resample_quality: int = 4

    def __call__(self, source: str) -> Decoded:
        """Decode the file ``source``."""
        return decode(source, self.sample_rate, self.excerpt, self.resample_quality)


def load_audio(path: str | os.PathLike) -> np.ndarray:
    """Decode a whole file to mono at 16 kHz.

    Returns
    -------
    np.ndarray [shape=(samples,), float32, full scale ±1]

    Raises
    ------
    AudioError
        See :func:`decode`.
    """
    return decode(path, excerpt=None).waveform


def decode(
    path: str | os.PathLike,
    sample_rate: int = 16000,
    excerpt: float | None = 30.0,
    resample_quality: int = 4,
) -> Decoded:
    """Decode a file to mono at ``sample_rate`` and cut out its centre.

    Silence and files shorter than the excerpt, or than any window, are no errors. A wav, aiff
    or flac file that holds less than its header states is refused; an mp3, ogg or m4a file that
    was cut off gives what it holds, since these formats state no length that can be trusted.

    Parameters
    ----------
    path : str or path-like
        wav, flac, mp3, ogg, m4a, aiff and whatever else Essentia or libsndfile reads, of any
        rate and number of channels (m4a: at most two).
    sample_rate : int
        Hz of the result.
    excerpt : float or None
        Seconds around the centre of the file; None keeps all of it, an hour and a
        half at most.
    resample_quality : int
        Essentia's ``resampleQuality``: 0 (best) … 4 (linear interpolation).

    Raises
    ------
    AudioError
        The file is missing, empty, cut off, no audio, holds NaN or infinite samples, or more
        than an hour and a half of it would be taken.
    """
    path = os.fsdecode(path)
    try:
        if excerpt is not None and not 0 < excerpt < math.inf:
            raise AudioError(f"an excerpt of {excerpt} seconds cannot be cut")
        _check_file(path)
        settings = sample_rate, excerpt, resample_quality
        if in_worker() and "tensorflow" not in sys.modules:
            return _decode(path, *settings)
        require("essentia")
        # Names that hold for this process alone: its folder, /proc/self, /dev/fd.
        folder, name = os.path.split(path)
        return _apart((os.path.join(os.path.realpath(folder), name), *settings))
    except AudioError as error:
        reason = str(error)
    except ProcessEnded as error:
        before = f"the process that was to decode it ended twice before it began ({error})"
        reason = ended_twice(str(error)) if error.began else before
    raise AudioError(f"{path if path.isprintable() else ascii(path)}: {reason}")


def _decode_task(task: tuple, announce: Callable[[str], None]) -> Decoded:
    announce("decoding")
    return _decode(*task)


_apart = OwnProcess(_decode_task)


def _decode(path: str, sample_rate: int, excerpt: float | None, resample_quality: int) -> Decoded:
    """:func:`decode` in this process; errors do not name the file."""
    waveform, first, total = _load(path, sample_rate, excerpt, resample_quality)
    if waveform.size == 0:
        raise AudioError("holds no audio")
    if not np.isfinite(waveform).all():
        raise AudioError("holds NaN or infinite samples")
    seconds, stated = total / sample_rate, stated_seconds(path)
    if stated is not None and seconds < stated - _MISSING_SECONDS:
        raise AudioError(f"cut off: {seconds:.1f} s of the {stated:.1f} s that its header states")
    start, stop = _excerpt(total, sample_rate, excerpt)
    if stop - start < waveform.size:  # a copy does not keep the whole file in memory
        waveform = waveform[start - first : stop - first].copy()
    return Decoded(waveform, start / sample_rate, seconds)


def _excerpt(total: int, sample_rate: int, excerpt: float | None) -> tuple[int, int]:
    """First sample of the excerpt from the centre of ``total`` samples, and the one after it."""
    samples = total if excerpt is None else min(total, max(1, round(excerpt * sample_rate)))
    start = (total - samples) // 2
    return start, start + samples


def _check_file(path: str) -> None:
    """Refuse what needs no decoder to be refused; opening a pipe would wait for ever."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise AudioError("is a folder, not an audio file")
        if not stat.S_ISREG(status.st_mode):
            raise AudioError("is not a regular file")
        if status.st_size == 0:
            raise AudioError("is empty")
        with open(path, "rb") as stream:
            magic = stream.read(4)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"cannot be opened: {reason}") from None
    # A decoder that looks for mp3 frames finds them in an archive of mp3 files as well.
    if magic == b"PK\x03\x04":
        raise AudioError("is a zip archive, not an audio file")


def _load(
    path: str, sample_rate: int, excerpt: float | None, resample_quality: int
) -> tuple[np.ndarray, int, int]:
    """Samples that hold the excerpt, mono at ``sample_rate``; number of the first, and of all."""
    if changes_channels(path):
        raise AudioError(f"cannot be decoded: its number of channels changes; {_ADVICE}")
    with _essentia_name(path) as name:
        try:
            waveform, total = _run(name, sample_rate, resample_quality, 0, _LONG_SECONDS)
            if total <= waveform.size:
                return waveform, 0, waveform.size
            start, stop = _excerpt(total, sample_rate, excerpt)
            _refuse_longer(stop - start, sample_rate)
            first, last = max(0, start // sample_rate - 1), stop // sample_rate + 2
            waveform, _ = _run(name, sample_rate, resample_quality, first, last)
            if waveform.size < (last - first) * sample_rate:  # it ends there: that is exact
                total = first * sample_rate + waveform.size
            return waveform, first * sample_rate, total
        except RuntimeError as error:
            reason = str(error)
    for sign, why in (
        ("more than 2 channels", "it has more than two channels"),
        ("Unsupported codec", "its codec is not supported"),
    ):
        if sign in reason:
            waveform = _load_other(path, sample_rate, resample_quality, why)
            return waveform, 0, waveform.size
    reason = reason.rpartition(", error = ")[2].rpartition("AudioLoader: ")[2]
    raise AudioError(f"cannot be decoded as audio ({' '.join(reason.split())})")


def _run(
    name: str, sample_rate: int, resample_quality: int, first: int, last: int
) -> tuple[np.ndarray, int]:
    """Run ``MonoLoader``: its samples from second ``first`` to ``last``, and how many there are.

    The number is exact up to 2²⁴, some 17 minutes at 16 kHz, then to a few milliseconds.
    """
    essentia, streaming = _essentia("essentia"), _essentia("essentia.streaming")
    loader = streaming.MonoLoader()
    part = streaming.Trimmer(sampleRate=sample_rate, startTime=first, endTime=last)
    length = streaming.Duration(sampleRate=sample_rate)
    pool = essentia.Pool()
    try:
        # The decoder frees a packet that only a first successful opening sets up, so a file of
        # an unknown codec would crash the process if it were the first.
        loader.configure(filename=_tiny_wav())
        loader.configure(filename=name, sampleRate=sample_rate, resampleQuality=resample_quality)
        loader.audio >> part.signal
        loader.audio >> length.signal
        part.signal >> (pool, "part")
        length.duration >> (pool, "seconds")
        essentia.run(loader)
    finally:
        # Each holds itself by its connectors, and so its buffers of several megabytes, until a
        # garbage collection that may be many files away.
        for algorithm in (loader, part, length):
            vars(algorithm).clear()
    held = set(pool.descriptorNames())
    waveform = pool["part"] if "part" in held else np.zeros(0, np.float32)
    total = round(float(pool["seconds"]) * sample_rate) if "seconds" in held else 0
    # Whatever rounding does to the number, a part that does not reach its end is all there is.
    whole = first == 0 and waveform.size < last * sample_rate
    return waveform, waveform.size if whole else total


def _refuse_longer(samples: int, sample_rate: int) -> None:
    if samples > LONGEST_WHOLE * sample_rate:
        raise AudioError(
            f"lasts {samples / sample_rate / 3600:.1f} hours, and at most "
            f"{LONGEST_WHOLE / 3600:.1f} are taken whole; take an excerpt, or cut it up, for "
            "example with: ffmpeg -i FILE -f segment -segment_time 3600 -c copy PART%02d.EXT"
        )


def _load_other(path: str, sample_rate: int, resample_quality: int, reason: str) -> np.ndarray:
    """:func:`_load` for what Essentia refuses for ``reason``."""
    import soundfile

    try:
        with soundfile.SoundFile(os.fsencode(path)) as stream:
            rate = stream.samplerate
            means = [np.zeros(0, np.float32)]
            for block in stream.blocks(_BLOCK_SAMPLES, dtype="float32", always_2d=True):
                means.append(block.mean(axis=1))
                _refuse_longer(_BLOCK_SAMPLES * (len(means) - 2), rate)
    except soundfile.LibsndfileError:
        raise AudioError(f"cannot be decoded: {reason}; {_ADVICE}") from None
    waveform = np.concatenate(means)
    if rate == sample_rate or waveform.size == 0:
        return waveform
    resample = _essentia("essentia.standard").Resample(
        inputSampleRate=rate, outputSampleRate=sample_rate, quality=resample_quality
    )
    try:
        return resample(waveform)
    except RuntimeError as error:
        raise AudioError(f"cannot be resampled from {rate} Hz ({error})") from None


@functools.cache
def _essentia(module: str) -> ModuleType:
    """Import ``essentia`` or one of its two modes, kept from printing.

    Each mode makes one of every algorithm when it is imported, which takes half a second.
    """
    log = importlib.import_module("essentia").log
    log.infoActive = log.warningActive = log.errorActive = False
    return importlib.import_module(module)


@functools.cache
def _tiny_wav() -> str:
    """Path of a valid wav file of 16 samples that lives in memory as long as the process."""
    samples = bytes(32)
    form = struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    size = struct.pack("<I", len(samples))
    body = b"WAVEfmt " + form + b"data" + size + samples
    descriptor = os.memfd_create("tiny.wav")
    os.write(descriptor, b"RIFF" + struct.pack("<I", len(body)) + body)
    return f"/proc/self/fd/{descriptor}"


@contextlib.contextmanager
def _essentia_name(path: str) -> Iterator[str]:
    """Make a path absolute, so that it is no protocol (``http:…``), and valid UTF-8."""
    path = os.path.abspath(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        with open(path, "rb") as stream:
            yield f"/proc/self/fd/{stream.fileno()}"
    else:
        yield path


_CONTAINERS = (b"RIFF", b"FORM", b"fLaC")
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = (44100, 48000, 32000)


def changes_channels(path: str) -> bool:
    """True if the frames of an mp3 or aac file, or the links of an ogg file, differ in channels.

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


_UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # left by programs that write to a pipe


def stated_seconds(path: str) -> float | None:
    """Length that the header of a wav, aiff or flac file states.

    The other formats have no header that can be trusted: an mp3 that was cut on purpose often
    keeps the length of its original.

    None for other formats and for headers without a usable length.
    """
    count, rate = 0, 0.0
    with open(path, "rb") as stream:
        magic = stream.read(12)
        try:
            if magic[:4] == b"RIFF" and magic[8:] == b"WAVE":
                for name, size in _chunks(stream, "<"):
                    if name == b"fmt ":
                        rate = struct.unpack("<8xI", stream.read(12))[0]  # bytes a second
                    elif name == b"data":
                        count = size
                        break
            elif magic[:4] == b"FORM" and magic[8:] in (b"AIFF", b"AIFC"):
                for name, _ in _chunks(stream, ">"):
                    if name == b"COMM":
                        count, exponent, mantissa = struct.unpack(">2xI2xHQ", stream.read(18))
                        rate = mantissa * 2.0 ** ((exponent & 0x7FFF) - 16383 - 63)
                        break
            elif magic[:4] == b"fLaC":
                stream.seek(18)
                packed = struct.unpack(">Q", stream.read(8))[0]
                rate, count = packed >> 44, packed & 0xFFFFFFFFF
            return None if count in _UNKNOWN_SIZES else count / rate
        except (struct.error, OverflowError, ZeroDivisionError):
            return None


def _chunks(stream: IO[bytes], order: str) -> Iterator[tuple[bytes, int]]:
    """Name and stated size of each chunk, the stream standing at its content."""
    while len(head := stream.read(8)) == 8:
        name, size = struct.unpack(f"{order}4sI", head)
        content = stream.tell()
        yield name, size
        stream.seek(content + size + size % 2)
