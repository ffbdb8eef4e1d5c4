"""Detection of silence in a waveform, and choice of the excerpt of a file.

Audio is looked at in tenths of a second. One has sound if its mean power is −60 dB of full scale or
more, the level below which Essentia's ``StartStopSilence`` takes a frame for silence by default.
Audio is quiet if fewer than one in ten of them have sound, and silent if no sample of it reaches
half a step of 16-bit audio. Of log-mels that were made elsewhere it is the frames that have sound,
where any value is above that of silence.
"""

from __future__ import annotations

import numpy as np

SOUND_POWER = 1e-6
QUIET = 0.1
"""Share of tenths with sound below which audio is quiet."""
ENOUGH = 0.5
"""Share of tenths with sound from which an excerpt is taken in place of a quiet one."""
SILENCE = 2.0**-16
"""Half a step of 16-bit audio."""
_BLOCK = 1 << 16


def tenth(rate: int) -> int:
    """Samples of a tenth of a second."""
    return max(1, rate // 10)


def powers(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Mean power of each tenth of a second of a waveform, float32 [any]; of the last what is there.

    ``waveform`` is float32 [samples], full scale ±1.
    """
    size = tenth(rate)
    whole = waveform[: len(waveform) // size * size].reshape(-1, size)
    rest = waveform[whole.size :]
    found = np.einsum("ij,ij->i", whole, whole) / size
    found = np.append(found, np.einsum("i,i->", rest, rest) / len(rest)) if len(rest) else found
    return np.minimum(found, 1)  # sums of samples beyond full scale stay finite


def sound_share(waveform: np.ndarray, rate: int) -> float:
    """Share of the tenths of a second of a waveform that have sound, 0 to 1; 0 of no samples."""
    return float((powers(waveform, rate) >= SOUND_POWER).mean()) if len(waveform) else 0.0


def frames_with_sound(mel: np.ndarray, silence: float) -> np.ndarray:
    """Tell which frames of a log-mel [frames, bands] have a value above that of silence, bool."""
    return (mel > mel.dtype.type(silence)).any(axis=1)


def is_silent(waveform: np.ndarray) -> bool:
    """True if no sample reaches :data:`SILENCE`."""
    blocks = (waveform[at : at + _BLOCK] for at in range(0, len(waveform), _BLOCK))
    return not any(np.abs(block).max() >= SILENCE for block in blocks)  # mostly the first


def centre(total: int, length: int) -> int:
    """First of the ``length`` in the middle of ``total`` samples, or frames."""
    return (total - length) // 2


def excerpt_start(powers: np.ndarray, size: int, total: int, length: int) -> int:
    """First sample of the excerpt of ``length`` samples that is taken of a file of ``total``.

    That is the one in the middle, unless it is quiet. Then it is the nearest to the middle of
    those beside it, and of those beside these, out to both ends of the file, of which half has
    sound; if none has so much, the one with most, and of several the loudest. Of two equally near
    ones it is the earlier. The outermost two end where the file does, and may overlap the next.

    ``powers`` [any] are those of :func:`powers`, of ``size`` samples each, from the file's start.
    """
    middle = centre(total, length)
    steps = np.arange(1, -(-(total - length) // (2 * length)) + 1) * length
    beside = np.stack([middle - steps, middle + steps], axis=1).ravel()
    starts = np.concatenate([[middle], beside]).clip(0, total - length)
    ends = np.append(0.0, np.cumsum(powers >= SOUND_POWER)), np.append(0.0, np.cumsum(powers))
    first = np.minimum(np.round(starts / size).astype(int), len(powers) - 1)
    last = np.clip(np.round((starts + length) / size).astype(int), first + 1, len(powers))
    share, power = ((sums[last] - sums[first]) / (last - first) for sums in ends)
    if share[0] >= QUIET:
        return middle
    enough = np.flatnonzero(share >= ENOUGH)
    best = enough[0] if len(enough) else np.lexsort((np.arange(len(starts)), -power, -share))[0]
    return int(starts[best])
