"""Cut windows out of a log-mel, and take means over windows.

:func:`playlist_pretrain.models.signatures.track_mean` is the twin of both inside SavedModels; a
test compares them.
"""

from __future__ import annotations

import numpy as np

SHORT = ("repeat", "pad", "skip")
"""Treatments of a log-mel that is shorter than a window, see :func:`cut_windows`.

Building keeps every track that has a frame and notes the short ones in ``build_report.tsv``.
Pre-training skips and counts them (``usable_tracks`` in playlists/groups); fine-tuning repeats
them; ``embed`` and ``similarity`` have the option ``--short`` [repeat]; a saved model repeats."""


def cut_windows(
    mel: np.ndarray, frames: int, short: str = "repeat", silence: float = 0.0
) -> np.ndarray:
    """Cut a log-mel into non-overlapping windows, whatever its length.

    Frames after the last whole window are left out.

    Parameters
    ----------
    mel : np.ndarray [shape=(any, bands)]
    frames : int
        Of a window.
    short : {"repeat", "pad", "skip"}
        A log-mel shorter than a window is repeated until it fills one, followed by ``silence``,
        or gives no window.
    silence : float
        Value of silence in this log-mel, see :attr:`.FrontEnd.silence`.

    Returns
    -------
    np.ndarray [shape=(windows, frames, bands)]
        Of the type of ``mel``; a view of it unless it was too short.
    """
    length, bands = mel.shape
    if 0 < length < frames and short != "skip":
        if short == "repeat":
            mel = np.resize(mel, (frames, bands))
        else:
            mel = np.pad(mel, ((0, frames - length), (0, 0)), constant_values=silence)
    windows = len(mel) // frames
    return mel[: windows * frames].reshape(windows, frames, bands)


def mean_over_windows(vectors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over the windows of each track, summed in float64.

    ``vectors`` [windows, dim] are those of one track after the other, ``counts`` [tracks, int] the
    windows of each. Returns float32 [tracks, dim], NaN for a track without a window.
    """
    tracks = np.repeat(np.arange(len(counts)), counts)
    sums = np.zeros((len(counts), vectors.shape[1]), np.float64)
    np.add.at(sums, tracks, vectors)
    with np.errstate(invalid="ignore"):
        return (sums / np.asarray(counts)[:, np.newaxis]).astype(np.float32)
