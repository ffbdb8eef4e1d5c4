"""The log-mel of a front end without TensorFlow, for processes that do nothing else.

``import tensorflow`` takes a worker longer than the log-mels of a hundred tracks, and SciPy's FFT
of real float32 frames is faster than TensorFlow's. The filters and the window are those of
:mod:`playlist_pretrain.audio.log_mel`, which every model has inside; the two differ by rounding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import rfft
from threadpoolctl import ThreadpoolController

from playlist_pretrain.audio.filters import front_end_filters, front_end_taper
from playlist_pretrain.audio.half import round_to_half

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd

# What one step works on stays in the processor's cache, and hours of audio need little memory
# beyond their waveform and their mel.
_CHUNK_FRAMES = 256
# Neighbouring bands add up neighbouring bins: a product for some bands needs only these.
_PRODUCTS = 6


class NumpyLogMel:
    """Log-mel of one waveform at a time, on one thread; not to be called by several at once.

    Parameters
    ----------
    front_end : FrontEnd
        One that takes waveforms.
    dtype : {np.float32, np.float16}
        Of the log-mels. They are computed in float32; float16 is the same, rounded, and takes
        less time than rounding the whole mel afterwards.

    Examples
    --------
    >>> NumpyLogMel(front_end("paper"))(waveform)  # float32 [samples] → float32 [frames, 96]
    """

    def __init__(self, front_end: FrontEnd, dtype: type[np.floating] = np.float32):
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
        self._bits = np.empty((_CHUNK_FRAMES, front_end.bands), np.uint32)
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
        rounded = self.dtype == np.float16
        with self._threads.limit(limits=1, user_api="blas"):
            for first in range(0, frames, _CHUNK_FRAMES):
                part = mel[first : first + _CHUNK_FRAMES]
                start = first * front_end.hop_length - before
                length = (len(part) - 1) * front_end.hop_length + front_end.frame_length
                exact = self._mel[: len(part)] if rounded else part
                self._fill(exact, _cut(waveform, start, start + length))
                if rounded:
                    round_to_half(exact, part, self._bits[: len(part)])
        return mel

    def _fill(self, mel: np.ndarray, samples: np.ndarray) -> None:
        """Log-mel of all frames of some samples, into ``mel`` [frames, bands]."""
        front_end = self.front_end
        frames, spectrum = self._frames[: len(mel)], self._spectrum[: len(mel)]
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


def _cut(waveform: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Samples ``start`` to ``stop``, zeros where there are none."""
    samples = waveform[max(start, 0) : max(stop, 0)]
    before = min(max(-start, 0), stop - start)
    missing = stop - start - before - len(samples)
    return np.pad(samples, (before, missing)) if before or missing else samples
