"""Tapers and mel filter banks of the front ends, as NumPy constants."""

from __future__ import annotations

import numpy as np

from playlist_pretrain.audio.constants import Constants

_CORNER_HZ, _CORNER_MEL = 1000.0, 15.0
_SLOPE = 3.0 / 200.0
_LOG_STEP = np.log(6.4) / 27.0


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


def front_end_taper(front_end: Constants) -> np.ndarray:
    """Hann window of ``front_end``, float32 [frame_length]; the periodic one ends before its 0."""
    last = front_end.frame_length - (front_end.taper != "hann-periodic")
    steps = np.arange(front_end.frame_length)
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * steps / last)).astype(np.float32)


def front_end_filters(front_end: Constants) -> np.ndarray:
    """Triangular mel filters of ``front_end``.

    The edges are equally spaced on the scale ``mel_scale``, the sides of the triangles straight on
    the axis ``mel_slopes``. With ``mel_norm="area"`` the area of a triangle in Hz is 1, with
    ``"peak"`` its peak. ``mel_precision="float64"`` is the textbook; ``"float32"`` adds a rounded
    increment again and again, as Essentia does: the error that this piles up moves the edges
    enough to change a log-mel by 2e-3, so parity with Essentia needs the same rounding.

    Returns
    -------
    numpy.ndarray [shape=(fft_length // 2 + 1, bands), float32, >= 0]
    """
    dtype, scale = np.dtype(front_end.mel_precision), front_end.mel_scale
    low, high = hz_to_mel(np.array([front_end.f_min, front_end.f_max], dtype), scale)
    if dtype == np.float64:
        steps = np.linspace(low, high, front_end.bands + 2)
    else:
        steps = np.full(front_end.bands + 2, (high - low) / np.float32(front_end.bands + 1), dtype)
        steps[0] = low
        steps = np.cumsum(steps, dtype=dtype)
    edges = mel_to_hz(steps, scale)
    width = front_end.sample_rate / front_end.fft_length
    places = (np.arange(front_end.fft_length // 2 + 1) * width).astype(dtype)
    corners = edges
    if front_end.mel_slopes == "mel":
        places, corners = hz_to_mel(places, scale), hz_to_mel(edges, scale)
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (places[:, None] - left) / (centre - left)
    falling = (right - places[:, None]) / (right - centre)
    filters = np.maximum(0, np.minimum(rising, falling))
    if front_end.mel_norm == "area":
        filters = filters / ((edges[2:] - edges[:-2]) / dtype.type(2))
    return filters.astype(np.float32)
