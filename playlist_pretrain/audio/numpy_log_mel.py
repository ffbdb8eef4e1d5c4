"""The log-mel of a front end without TensorFlow, for building collections and embedding files.

``import tensorflow`` takes a worker longer than the log-mels of a hundred tracks, and SciPy's FFT
of real float32 frames is faster than TensorFlow's. The filters and the window are those of
:mod:`playlist_pretrain.audio.log_mel`, which every model has inside; the two differ by rounding.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.fft import rfft
from threadpoolctl import ThreadpoolController

from playlist_pretrain.audio.filters import front_end_filters, front_end_taper
from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.audio.front_end import front_end as front_end_named

# What one step works on stays in the processor's cache, and hours of audio need little memory
# beyond their waveform and their mel.
_CHUNK_FRAMES = 256
# Neighbouring bands add up neighbouring bins: a product for some bands needs only these.
_PRODUCTS = 6


def log_mel(waveform: np.ndarray, front_end: str | FrontEnd = "paper") -> np.ndarray:
    """Compute the log-mel of a waveform.

    Parameters
    ----------
    waveform : array_like [shape=(samples,), mono, full scale ±1]
        At the front end's rate, 16 kHz for all presets; see :func:`.decode.load_audio`.
    front_end : str or FrontEnd
        Preset by its name (see :func:`.front_end.front_end`), or settings of one's own.

    Returns
    -------
    np.ndarray [shape=(frames, bands), float32]

    Raises
    ------
    FrontEndError
        There is no such preset, or it is of imported mels.
    """
    settings = front_end_named(front_end) if isinstance(front_end, str) else front_end
    return NumpyLogMel(settings)(np.asarray(waveform, np.float32))


class NumpyLogMel:
    """Log-mel of one waveform at a time, on one thread; not to be called by several at once.

    Parameters
    ----------
    front_end : FrontEnd
        One that takes waveforms.
    dtype : {np.float32, np.float16}
        Of the log-mels. They are computed in float32; float16 is the same, rounded.

    Examples
    --------
    >>> from playlist_pretrain.audio.front_end import front_end
    >>> mel = NumpyLogMel(front_end("paper"))(waveform)  # float32 [samples] → float32 [frames, 96]
    """

    def __init__(self, front_end: FrontEnd, dtype: type[np.floating] = np.float32):
        if not front_end.takes_waveforms:
            front_end.log_mel(None)  # says why
        self.front_end = front_end
        self.dtype = np.dtype(dtype)
        self._taper = front_end_taper(front_end)
        filters = front_end_filters(front_end)
        self._products = []
        for bands in np.array_split(np.arange(front_end.bands), _PRODUCTS):
            if not len(bands):
                continue
            columns = slice(bands[0], bands[-1] + 1)
            bins = np.flatnonzero(filters[:, columns].any(axis=1))
            lines = slice(bins[0], bins[-1] + 1) if len(bins) else slice(0, 0)
            self._products.append((columns, lines, np.ascontiguousarray(filters[lines, columns])))
        # Memory that is there already is not asked of the system anew for every step.
        self._frames = np.empty((_CHUNK_FRAMES, front_end.frame_length), np.float32)
        self._spectrum = np.empty((_CHUNK_FRAMES, front_end.fft_length // 2 + 1), np.float32)
        self._mel = np.empty((_CHUNK_FRAMES, front_end.bands), np.float32)
        # The workers are what keeps the cores busy, and on one thread sums have one order.
        self._threads = ThreadpoolController()

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Log-mel of a waveform.

        Parameters
        ----------
        waveform : np.ndarray float32 [samples], mono, full scale ±1
            At the front end's rate; there may be none.

        Returns
        -------
        np.ndarray [frames, bands], of the ``dtype`` asked for
        """
        front_end = self.front_end
        waveform = np.ascontiguousarray(waveform)
        frames = front_end.frames(len(waveform))
        before = front_end.frame_length // 2 if front_end.framing == "centred" else 0
        mel = np.empty((frames, front_end.bands), self.dtype)
        with self._threads.limit(limits=1, user_api="blas"):
            for first in range(0, frames, _CHUNK_FRAMES):
                part = mel[first : first + _CHUNK_FRAMES]
                start = first * front_end.hop_length - before
                length = (len(part) - 1) * front_end.hop_length + front_end.frame_length
                part[...] = self._mel_of(_cut(waveform, start, start + length), len(part))
        return mel

    def _mel_of(self, samples: np.ndarray, count: int) -> np.ndarray:
        """Log-mel of the ``count`` frames of some samples, until the next call."""
        front_end = self.front_end
        frames, spectrum, mel = self._frames[:count], self._spectrum[:count], self._mel[:count]
        # sliding_window_view takes as long to begin with as all products of a step.
        strides = (front_end.hop_length * samples.itemsize, samples.itemsize)
        views: np.ndarray = np.ndarray(frames.shape, samples.dtype, samples, strides=strides)
        np.multiply(views, self._taper, out=frames)
        np.abs(rfft(frames, front_end.fft_length, axis=1, overwrite_x=True), out=spectrum)
        if front_end.spectrum == "power":
            np.square(spectrum, out=spectrum)
        for bands, bins, filters in self._products:
            np.matmul(spectrum[:, bins], filters, out=mel[:, bands])
        mel *= np.float32(front_end.log_scale)
        mel += np.float32(front_end.log_offset)
        np.log(mel, out=mel)
        if front_end.log_base == "10":
            mel *= np.float32(1.0 / math.log(10.0))
        return mel


def _cut(waveform: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Samples ``start`` to ``stop``, zeros where there are none."""
    samples = waveform[max(start, 0) : max(stop, 0)]
    before = min(max(-start, 0), stop - start)
    missing = stop - start - before - len(samples)
    return np.pad(samples, (before, missing)) if before or missing else samples
