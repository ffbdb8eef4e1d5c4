"""Audio files to mono waveforms, decoded and resampled by Essentia.

Any file comes out as Essentia's ``MonoLoader`` gives it, so that a model sees the same numbers
here and there. What ``MonoLoader`` refuses, more than two channels and a few codecs such as
Opus, is read by libsndfile, averaged over all channels and resampled by Essentia.

The whole file is decoded even when an excerpt is asked for: only then is its length, and with it
the place of its centre, known to the sample.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from playlist_pretrain.audio.channels import changes_channels
from playlist_pretrain.audio.headers import stated_seconds
from playlist_pretrain.errors import AudioError

# A file may be this much shorter than its header states: codecs add and drop some samples.
_MISSING_SECONDS = 0.1
_BLOCK_SAMPLES = 1 << 20
_ADVICE = "convert it, for example with: ffmpeg -i FILE -ac 2 FILE.wav"


@dataclass
class Decoded:
    """Waveform of a file or of its excerpt.

    Attributes
    ----------
    waveform : numpy.ndarray [shape=(samples,), float32, mono, full scale ±1]
    start_seconds : float
        Where in the file the waveform starts.
    source_seconds : float
        Length of the whole file.
    """

    waveform: np.ndarray
    start_seconds: float
    source_seconds: float


@dataclass(frozen=True)
class AudioLoader:
    """:func:`decode` with its settings, as an object that travels to worker processes."""

    sample_rate: int = 16000
    excerpt: float | None = 30.0
    resample_quality: int = 4

    def __call__(self, source: str) -> Decoded:
        """Decode the file ``source``."""
        return decode(source, self.sample_rate, self.excerpt, self.resample_quality)


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
        Seconds around the centre of the file; None keeps all of it.
    resample_quality : int
        Essentia's ``resampleQuality``: 0 (best) … 4 (linear interpolation).

    Raises
    ------
    AudioError
        The file is missing, empty, cut off, no audio, or holds NaN or infinite samples.
    """
    path = os.fsdecode(path)
    shown = path if path.isprintable() else ascii(path)
    try:
        return _decode(path, sample_rate, excerpt, resample_quality)
    except AudioError as error:
        raise AudioError(f"{shown}: {error}") from None


def _decode(path: str, sample_rate: int, excerpt: float | None, resample_quality: int) -> Decoded:
    if excerpt is not None and not 0 < excerpt < math.inf:
        raise AudioError(f"an excerpt of {excerpt} seconds cannot be cut")
    _check_file(path)
    waveform = _load(path, sample_rate, resample_quality)
    if waveform.size == 0:
        raise AudioError("holds no audio")
    if not np.isfinite(waveform).all():
        raise AudioError("holds NaN or infinite samples")
    seconds = waveform.size / sample_rate
    stated = stated_seconds(path)
    if stated is not None and seconds < stated - _MISSING_SECONDS:
        raise AudioError(f"cut off: {seconds:.1f} s of the {stated:.1f} s that its header states")
    start = 0
    if excerpt is not None and waveform.size > (samples := max(1, round(excerpt * sample_rate))):
        start = (waveform.size - samples) // 2
        waveform = waveform[start : start + samples].copy()
    return Decoded(waveform, start / sample_rate, seconds)


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


def _load(path: str, sample_rate: int, resample_quality: int) -> np.ndarray:
    """The whole file, mono at ``sample_rate``."""
    if changes_channels(path):
        raise AudioError(f"cannot be decoded: its number of channels changes; {_ADVICE}")
    loader = _essentia().MonoLoader()
    with _essentia_name(path) as name:
        try:
            # The decoder frees a packet that only a first successful opening sets up, so a
            # file of an unknown codec would crash the process if it were the first.
            loader.configure(filename=_tiny_wav())
            loader.configure(
                filename=name, sampleRate=sample_rate, resampleQuality=resample_quality
            )
            return loader()
        except RuntimeError as error:
            reason = str(error)
    if "more than 2 channels" in reason:
        return _load_other(path, sample_rate, resample_quality, "it has more than two channels")
    if "Unsupported codec" in reason:
        return _load_other(path, sample_rate, resample_quality, "its codec is not supported")
    reason = reason.rpartition(", error = ")[2].rpartition("AudioLoader: ")[2]
    raise AudioError(f"cannot be decoded as audio ({' '.join(reason.split())})")


def _load_other(path: str, sample_rate: int, resample_quality: int, reason: str) -> np.ndarray:
    """:func:`_load` for what Essentia refuses for ``reason``."""
    import soundfile

    try:
        with soundfile.SoundFile(os.fsencode(path)) as stream:
            rate = stream.samplerate
            blocks = stream.blocks(_BLOCK_SAMPLES, dtype="float32", always_2d=True)
            means = [np.zeros(0, np.float32), *(block.mean(axis=1) for block in blocks)]
    except soundfile.LibsndfileError:
        raise AudioError(f"cannot be decoded: {reason}; {_ADVICE}") from None
    waveform = np.concatenate(means)
    if rate == sample_rate or waveform.size == 0:
        return waveform
    resample = _essentia().Resample(
        inputSampleRate=rate, outputSampleRate=sample_rate, quality=resample_quality
    )
    try:
        return resample(waveform)
    except RuntimeError as error:
        raise AudioError(f"cannot be resampled from {rate} Hz ({error})") from None


@functools.cache
def _essentia():
    """Essentia, kept from printing, as is the TensorFlow inside it; exceptions tell the trouble."""
    level = os.environ.get("TF_CPP_MIN_LOG_LEVEL")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        import essentia

        log = essentia.log
        log.infoActive = log.warningActive = log.errorActive = False
        import essentia.standard
    finally:
        if level is None:
            del os.environ["TF_CPP_MIN_LOG_LEVEL"]
        else:
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = level
    return essentia.standard


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
    """Absolute, so that it is no protocol (``http:…``), and UTF-8 even if the file's is not."""
    path = os.path.abspath(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        with open(path, "rb") as stream:
            yield f"/proc/self/fd/{stream.fileno()}"
    else:
        yield path
