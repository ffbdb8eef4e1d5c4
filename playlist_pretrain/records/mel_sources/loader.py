"""From a place to the mel of a track, as an object that travels to worker processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from playlist_pretrain.audio.imported import ImportedFrontEnd
from playlist_pretrain.errors import MelError
from playlist_pretrain.records.mel_sources import array
from playlist_pretrain.records.mel_sources.description import as_stored


@dataclass
class LoadedMel:
    """Mel of a file or of its excerpt.

    Attributes
    ----------
    mel : ndarray [shape=(frames, bands), float]
        Values as a collection holds them.
    start_seconds, source_seconds : float
        Where in the file the mel starts, and how much audio the whole file speaks of.
    """

    mel: np.ndarray
    start_seconds: float
    source_seconds: float


@dataclass(frozen=True)
class MelLoader:
    """Reads, checks and cuts the mels of a source.

    Attributes
    ----------
    front_end : ImportedFrontEnd
    orientation, unit : str
        Of the arrays, see :class:`~.source.MelSource`.
    excerpt : float or None
        Seconds around the centre of the file; None keeps all of it.
    """

    front_end: ImportedFrontEnd
    orientation: str
    unit: str
    excerpt: float | None = 30.0

    def __call__(self, source: str) -> LoadedMel:
        """The mel at the place ``source``, see :mod:`.array`.

        Raises
        ------
        MelError
            It cannot be read, or is no array of the source's bands and unit.
        """
        settings = self.front_end
        values = array.read_array(source)
        shape = values.shape
        if self.orientation == "bands×frames":
            values = values.T
        if values.shape[1] != settings.bands:
            wanted = self.orientation.replace("bands", str(settings.bands))
            raise MelError(f"an array of shape {shape}, not {wanted}")
        frames = len(values)
        kept = frames if self.excerpt is None else settings.frames_of(self.excerpt)
        start = max(0, frames - kept) // 2
        return LoadedMel(
            mel=as_stored(values[start : start + kept], self.unit),
            start_seconds=start * settings.hop_length / settings.sample_rate,
            source_seconds=settings.seconds(frames),
        )

    def file_of(self, source: str) -> str:
        """The file on disk that holds the place ``source``."""
        return array.file_of(source)
