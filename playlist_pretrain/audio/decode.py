"""Audio files to mono waveforms, decoded and resampled by Essentia.

Essentia runs in a process of its own, since its TensorFlow and the one that a program imports need
not go together; the worker processes of the package, which import none, run it themselves.

Any file comes out as Essentia's ``MonoLoader`` gives it, so that a model sees the same numbers
here and there. What ``MonoLoader`` refuses, more than two channels and a few formats such as
Opus and W64, is read by libsndfile, averaged over all channels and resampled by Essentia. Of a file
that was joined of streams of several rates or numbers of channels each is decoded on its own.

The whole file is decoded even when an excerpt is asked for: only then is its length, and with it
the place of its centre, known to the sample. Of a file of more than half an hour a second pass
keeps the excerpt alone, so that memory does not grow with the file.

An excerpt is the middle of its file unless that is quiet, which is said in :mod:`.silence` with the
rule for another; ``start_seconds`` tells where it is. Of a long file whose middle is quiet a third
pass finds the others, and a fourth takes one.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import math
import os
import resource
import stat
import sys
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import NamedTuple

import numpy as np

from playlist_pretrain.audio.file_tags import FileTags, file_tags
from playlist_pretrain.audio.silence import QUIET, centre, excerpt_start, powers, sound_share, tenth
from playlist_pretrain.audio.sndfile import DAMAGED, read_streams
from playlist_pretrain.audio.streams import (
    LONGEST_WHOLE,
    MPEG_ENDINGS,
    Stream,
    refuse_cut_off,
    sample_bytes,
    streams_of,
)
from playlist_pretrain.errors import AudioError, require
from playlist_pretrain.processes import OwnProcess, ProcessEnded, ended_twice, in_worker

# More than that is not kept in a first pass; the second costs little beside the length.
_LONG_SECONDS = 1800
# The decoder's own take 134 MiB at 63 Hz, next to the lowest rate that it resamples.
_MOST_FOR_BUFFERS = 1 << 30
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

    def tags(self, source: str) -> FileTags:
        """Tags of the file ``source``."""
        return file_tags(source)


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
    """Decode a file to mono at ``sample_rate`` and cut out its centre, or what has sound near it.

    Silence and files shorter than the excerpt, or than any window, are no errors. A wav, aiff
    or flac file that holds less than its header states is refused; an mp3, ogg or m4a file that
    was cut off gives what it holds, since these formats state no length that can be trusted.

    Parameters
    ----------
    path : str or path-like
        wav, flac, mp3, ogg, m4a, aiff and whatever else Essentia or libsndfile reads, of any
        rate and number of channels (m4a: at most two), also such as change on the way.
    sample_rate : int
        Hz of the result.
    excerpt : float or None
        Seconds around the centre of the file, or beside it where these are quiet (see
        :func:`.silence.excerpt_start`); None keeps all of it, an hour and a half at most.
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
        asked = AudioLoader(sample_rate, excerpt, resample_quality)
        if in_worker() and "tensorflow" not in sys.modules:
            return _decode(path, asked)
        require("essentia")
        # Names that hold for this process alone: its folder, /proc/self, /dev/fd.
        folder, name = os.path.split(path)
        return _apart((os.path.join(os.path.realpath(folder), name), asked))
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


def _decode(path: str, asked: AudioLoader) -> Decoded:
    """:func:`decode` in this process; errors do not name the file."""
    samples = sample_bytes(path)
    if samples and not samples.stated:
        raise AudioError("holds no samples")
    streams = streams_of(path)
    waveform, first, total, start = _load(path, streams, asked)
    if waveform.size == 0:
        raise AudioError(
            "no samples came of it: it holds none, or its codec is not supported in full; "
            f"{_ADVICE}"
        )
    if not np.isfinite(waveform).all():
        raise AudioError("holds NaN or infinite samples")
    seconds = total / asked.sample_rate
    refuse_cut_off(path, streams, seconds)
    length = _length(total, asked)
    if start is None:
        start = centre(total, length)
        if length < total and _is_quiet(waveform[start : start + length], asked):
            levels = powers(waveform, asked.sample_rate)
            start = excerpt_start(levels, tenth(asked.sample_rate), total, length)
    if length < waveform.size:  # a copy does not keep the whole file in memory
        waveform = waveform[start - first : start - first + length].copy()
    return Decoded(waveform, start / asked.sample_rate, seconds)


def _length(total: int, asked: AudioLoader) -> int:
    """Samples of the excerpt of a file of ``total`` samples."""
    if asked.excerpt is None:
        return total
    return min(total, max(1, round(asked.excerpt * asked.sample_rate)))


def _is_quiet(excerpt: np.ndarray, asked: AudioLoader) -> bool:
    return sound_share(excerpt, asked.sample_rate) < QUIET


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
            head = stream.read(3 * 188)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"cannot be opened: {reason}") from None
    # A decoder that looks for mp3 frames finds them in archives and films as well.
    if head.startswith(b"PK\x03\x04"):
        raise AudioError("is a zip archive, not an audio file")
    if head.startswith(b"\0\0\1\xba") or head[::188] == b"GGG":
        raise AudioError(f"is an MPEG program or transport stream, which is not read; {_ADVICE}")


class Loaded(NamedTuple):
    """Samples of a file, mono and resampled: all of them, or those around an excerpt."""

    waveform: np.ndarray
    first: int  # position of its first sample in the file
    total: int  # samples of the file
    start: int | None = None  # of the excerpt; None where it has yet to be chosen


def _load(path: str, streams: Sequence[Stream], asked: AudioLoader) -> Loaded:
    """Load the samples of a file, or those around its excerpt."""
    runs = [list(run) for _, run in itertools.groupby(streams, lambda stream: stream.sound)]
    # The decoder gives up on what lies between the links of an Ogg file, such as a picture.
    links = [span for stream in streams if not stream.frames for span in stream.spans]
    gaps = any(one[1] != other[0] for one, other in itertools.pairwise(links))
    if len(runs) < 2 and not gaps:
        # Where no frames follow one another, what the decoder takes for some by a name is noise.
        nameless = not runs and path.lower().endswith(MPEG_ENDINGS)
        try:
            with open(path, "rb") as stream:
                # Absolute, a path is no protocol (http:…); Essentia takes no other than UTF-8.
                name = os.path.abspath(path)
                if nameless or name != name.encode("utf-8", "replace").decode():
                    name = f"/proc/self/fd/{stream.fileno()}"
                return _load_alike(name, asked)
        except AudioError:
            if not runs:
                raise  # otherwise what is around the frames may be in the way
    parts: list[np.ndarray] = []
    for run in runs:
        with _copied(path, run) as name:
            parts.append(_load_alike(name, replace(asked, excerpt=None))[0])
        _refuse_longer(sum(map(len, parts)), asked)
    waveform = np.concatenate(parts)
    return Loaded(waveform, 0, waveform.size)


def _load_alike(name: str, asked: AudioLoader) -> Loaded:
    """:func:`_load` for a file of one rate and number of channels."""
    try:
        with open(name, "rb") as stream:
            if stream.read(4) == b"RIFX":
                raise RuntimeError("taken for little-endian")
        waveform, total = _run(name, asked, 0, _LONG_SECONDS)
        if not waveform.size:
            raise RuntimeError("no samples")
        if total <= waveform.size:
            return Loaded(waveform, 0, waveform.size)
        length = _length(total, asked)
        _refuse_longer(length, asked)
        found = _load_around(name, asked, total, centre(total, length))
        excerpt = found.waveform[found.start - found.first :][:length]
        if length < total and _is_quiet(excerpt, asked):
            levels, _ = _run(name, asked, 0, None)
            start = excerpt_start(levels, tenth(asked.sample_rate), total, length)
            found = _load_around(name, asked, total, start)
        return found
    except RuntimeError as error:
        reason = str(error)
    try:
        waveform = _load_other(name, asked)
        return Loaded(waveform, 0, waveform.size)
    except AudioError as error:
        if str(error) != DAMAGED:  # it knows the file
            raise
    if "found 0 streams" in reason:
        raise AudioError("has no sound track")
    for sign, why in (
        ("more than 2 channels", "it has more than two channels, or states none"),
        ("Unsupported codec", "its codec is not supported"),
        ("no samples", "no samples came of it, its codec is not supported in full"),
        ("bad_alloc", "its sample rate is none of audio"),
    ):
        if sign in reason:
            raise AudioError(f"cannot be decoded: {why}; {_ADVICE}")
    reason = reason.rpartition(", error = ")[2].rpartition("AudioLoader: ")[2]
    reason = " ".join(reason.split())
    raise AudioError(
        f"cannot be decoded as audio ({reason}): damaged, or of a kind that is not supported; "
        f"{_ADVICE}"
    )


def _load_around(name: str, asked: AudioLoader, total: int, start: int) -> Loaded:
    """Load the excerpt that begins at a sample, and a second or two on either side."""
    rate, length = asked.sample_rate, _length(total, asked)
    first, last = max(0, start // rate - 1), (start + length) // rate + 2
    waveform, _ = _run(name, asked, first, last)
    if waveform.size < (last - first) * rate:  # it ends there: that is exact
        exact = first * rate + waveform.size
        in_the_middle = start == centre(total, length)
        length = _length(exact, asked)
        start = centre(exact, length) if in_the_middle else min(start, exact - length)
        total = exact
    return Loaded(waveform, first * rate, total, start)


def _run(name: str, asked: AudioLoader, first: int, last: int | None) -> tuple[np.ndarray, int]:
    """Run ``MonoLoader``: its samples from second ``first`` to ``last``, and how many there are.

    The number is exact up to 2²⁴, some 17 minutes at 16 kHz, then to a few milliseconds. Without
    ``last`` there is the power of each tenth of a second in place of samples.
    """
    essentia, streaming = _essentia("essentia"), _essentia("essentia.streaming")
    rate, quality = asked.sample_rate, asked.resample_quality
    loader = streaming.MonoLoader()
    length = streaming.Duration(sampleRate=rate)
    if last is None:
        size = tenth(rate)
        part = streaming.FrameCutter(
            frameSize=size, hopSize=size, startFromZero=True, silentFrames="keep"
        )
        power = streaming.InstantPower()
    else:
        part = streaming.Trimmer(sampleRate=rate, startTime=first, endTime=last)
        power = None
    pool = essentia.Pool()
    try:
        # The decoder frees a packet that only a first successful opening sets up, so a file of
        # an unknown codec would crash the process if it were the first.
        loader.configure(filename=_tiny_wav())
        with _bounded_memory():  # of a rate of 2 Hz it takes gigabytes before it refuses that
            loader.configure(filename=name, sampleRate=rate, resampleQuality=quality)
        loader.audio >> part.signal
        loader.audio >> length.signal
        if power is None:
            part.signal >> (pool, "part")
        else:
            part.frame >> power.array
            power.power >> (pool, "part")
        length.duration >> (pool, "seconds")
        essentia.run(loader)
    finally:
        # Each holds itself by its connectors, and so its buffers of several megabytes, until a
        # garbage collection that may be many files away.
        for algorithm in filter(None, (loader, part, length, power)):
            vars(algorithm).clear()
    held = set(pool.descriptorNames())
    found = pool["part"] if "part" in held else np.zeros(0, np.float32)
    total = round(float(pool["seconds"]) * rate) if "seconds" in held else 0
    # Whatever rounding does to the number, a part that does not reach its end is all there is.
    whole = first == 0 and last is not None and found.size < last * rate
    return found, found.size if whole else total


@contextlib.contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let what runs in the block take no more than :data:`_MOST_FOR_BUFFERS` bytes."""
    with open("/proc/self/status", encoding="utf-8") as status:
        taken = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [taken + _MOST_FOR_BUFFERS, *(one for one in (soft, hard) if one >= 0)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _refuse_longer(samples: int, asked: AudioLoader) -> None:
    if (seconds := samples / asked.sample_rate) > LONGEST_WHOLE:
        raise AudioError(
            f"lasts {seconds / 3600:.1f} hours, and at most "
            f"{LONGEST_WHOLE / 3600:.1f} are taken whole; take an excerpt, or cut it up (of a "
            "joined file, or one of more than two channels, an excerpt needs the whole), for "
            "example with: ffmpeg -i FILE -f segment -segment_time 3600 -c copy PART%02d.EXT"
        )


def _load_other(name: str, asked: AudioLoader) -> np.ndarray:
    """:func:`_load` by libsndfile, for what Essentia refuses."""
    parts = []
    for rate, mono in read_streams(name):
        if rate != asked.sample_rate and mono.size:
            resample = _essentia("essentia.standard").Resample(
                inputSampleRate=rate,
                outputSampleRate=asked.sample_rate,
                quality=asked.resample_quality,
            )
            try:
                mono = resample(mono)
            except RuntimeError as error:
                raise AudioError(f"cannot be resampled from {rate} Hz ({error})") from None
        parts.append(mono)
        _refuse_longer(sum(map(len, parts)), asked)
    return np.concatenate(parts)


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
    descriptor = os.memfd_create("tiny.wav")
    with open(descriptor, "wb", closefd=False) as stream, wave.open(stream) as wav:
        wav.setparams((1, 2, 16000, 16, "NONE", ""))
        wav.writeframes(bytes(32))
    return f"/proc/self/fd/{descriptor}"


@contextlib.contextmanager
def _copied(path: str, streams: Sequence[Stream]) -> Iterator[str]:
    """Name of a file in memory that holds some streams of another, and nothing between them."""
    descriptor = os.memfd_create("streams")
    try:
        with open(path, "rb") as source, open(descriptor, "wb", closefd=False) as copy:
            for start, stop in itertools.chain(*(stream.spans for stream in streams)):
                source.seek(start)
                copy.write(source.read(stop - start))
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
