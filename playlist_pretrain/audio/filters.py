"""Windows and mel filter banks of the front ends, as NumPy constants."""

from __future__ import annotations

import numpy as np

from playlist_pretrain.audio.constants import Constants

_CORNER_HZ, _CORNER_MEL = 1000.0, 15.0
_SLOPE = 3.0 / 200.0
_LOG_STEP = np.log(6.4) / 27.0


def hann(length: int, periodic: bool) -> np.ndarray:
    """Hann window: ``0.5 − 0.5·cos(2πn / N)`` with N = length (periodic) or length − 1.

    Returns
    -------
    numpy.ndarray [shape=(length,), float32, 0 … 1]
    """
    last = length if periodic else length - 1
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / last)).astype(np.float32)


def hz_to_mel(hz: np.ndarray, scale: str) -> np.ndarray:
    """Frequencies in Hz on the ``"slaney"`` or ``"htk"`` mel scale, in the precision of ``hz``.

    For float32 the roundings in between are Essentia's too: its filters come out to the bit.
    """
    wide, kind = hz.astype(np.float64), hz.dtype.type
    if scale == "htk":
        return (2595.0 * np.log10(wide / 700.0 + 1.0)).astype(kind)
    ratio_log = np.log(np.maximum(wide, _CORNER_HZ) / _CORNER_HZ).astype(kind)
    above = kind(_CORNER_MEL) + ratio_log / kind(_LOG_STEP)
    return np.where(hz < kind(_CORNER_HZ), hz * kind(_SLOPE), above)


def mel_to_hz(mel: np.ndarray, scale: str) -> np.ndarray:
    """Inverse of :func:`hz_to_mel`, rounded in the same way."""
    kind = mel.dtype.type
    if scale == "htk":
        return (700.0 * (10.0 ** (mel.astype(np.float64) / 2595.0) - 1.0)).astype(kind)
    corner = kind(_CORNER_MEL)
    exponent = (np.maximum(mel, corner) - corner) * kind(_LOG_STEP)
    above = kind(_CORNER_HZ) * np.exp(exponent.astype(np.float64)).astype(kind)
    return np.where(mel < corner, mel / kind(_SLOPE), above)


def mel_edges(bands: int, f_min: float, f_max: float, scale: str, precision: str) -> np.ndarray:
    """The ``bands + 2`` edges of the triangles in Hz, equally spaced on the mel scale.

    Parameters
    ----------
    precision : {"float32", "float64"}
        ``"float64"`` is the textbook. ``"float32"`` adds a rounded increment again and again,
        as Essentia does; the error that this piles up moves the edges enough to change a
        log-mel by 2e-3, so parity with Essentia needs the same rounding.
    """
    dtype = np.dtype(precision)
    low, high = hz_to_mel(np.array([f_min, f_max], dtype), scale)
    if dtype == np.float64:
        return mel_to_hz(np.linspace(low, high, bands + 2), scale)
    steps = np.full(bands + 2, (high - low) / np.float32(bands + 1), np.float32)
    steps[0] = low
    return mel_to_hz(np.cumsum(steps, dtype=np.float32), scale)


def mel_filters(
    *,
    sample_rate: int,
    fft_length: int,
    bands: int,
    f_min: float,
    f_max: float,
    scale: str,
    slopes: str,
    norm: str,
    precision: str,
) -> np.ndarray:
    """Triangular mel filters.

    Parameters
    ----------
    scale : {"slaney", "htk"}
        Mel scale on which the edges are equally spaced.
    slopes : {"hz", "mel"}
        Axis on which the sides of the triangles are straight.
    norm : {"area", "peak"}
        ``"area"``: the triangle's area in Hz is 1; ``"peak"``: its peak is 1.
    precision : {"float32", "float64"}
        See :func:`mel_edges`.

    Returns
    -------
    numpy.ndarray [shape=(fft_length // 2 + 1, bands), float32, >= 0]
    """
    edges = mel_edges(bands, f_min, f_max, scale, precision)
    bins = (np.arange(fft_length // 2 + 1) * (sample_rate / fft_length)).astype(edges.dtype)
    if slopes == "mel":
        places, corners = hz_to_mel(bins, scale), hz_to_mel(edges, scale)
    else:
        places, corners = bins, edges
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (places[:, None] - left) / (centre - left)
    falling = (right - places[:, None]) / (right - centre)
    filters = np.maximum(0, np.minimum(rising, falling))
    if norm == "area":
        filters = filters / ((edges[2:] - edges[:-2]) / edges.dtype.type(2))
    return filters.astype(np.float32)


def front_end_taper(front_end: Constants) -> np.ndarray:
    """Window of ``front_end``, float32 [frame_length]."""
    return hann(front_end.frame_length, periodic=front_end.taper == "hann-periodic")


def front_end_filters(front_end: Constants) -> np.ndarray:
    """Mel filters of ``front_end``, float32 [fft_length // 2 + 1, bands]."""
    return mel_filters(
        sample_rate=front_end.sample_rate,
        fft_length=front_end.fft_length,
        bands=front_end.bands,
        f_min=front_end.f_min,
        f_max=front_end.f_max,
        scale=front_end.mel_scale,
        slopes=front_end.mel_slopes,
        norm=front_end.mel_norm,
        precision=front_end.mel_precision,
    )
