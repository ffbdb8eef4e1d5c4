"""MTG-Jamendo's mels, as they are distributed beside its audio.

Format: ``raw_30s_melspecs-{00..99}.tar`` with ``{id % 100}/{id}.npy`` (two digits), or the same
unpacked. An array is float32 [96 bands, frames] of the whole track: 12 kHz, frames of 512 every
256 samples, the first of them centred on the first sample, 20 log10 of power and -200 for silence.
A track id is the path without extension, as the column ``PATH`` of the dataset's tables has it;
``.low``, the sign of low-bitrate copies, is no part of it.
Provenance: https://github.com/MTG/mtg-jamendo-dataset, ``scripts/melspectrograms.py``. Its dB are
twice 10 log10, which Essentia's ``UnaryOperator`` (type ``lin2db``, scale 2) confirms.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from playlist_pretrain.audio.imported import IMPORTED
from playlist_pretrain.errors import MelError
from playlist_pretrain.records.mel_sources.source import MelSource


class JamendoMels(MelSource):
    """Mels of the MTG-Jamendo dataset; see the module."""

    name = "jamendo"
    about = "MTG-Jamendo's mels, unpacked or in tar files; a track's id is its path, 41/241"
    named = "{id % 100}/{id}.npy"
    front_end = IMPORTED["jamendo-mels"]
    orientation = "bands×frames"
    unit = "db"

    def track_id(self, path: PurePosixPath) -> str:
        """Folder and number; MelError for names of other kinds."""
        stem, folder = path.stem.removesuffix(".low"), path.parent.name
        number = int(stem) if stem.isascii() and stem.isdigit() else -1
        if str(number) != stem or folder != f"{number % 100:02d}":
            raise MelError(f"its name is not of the kind {self.named}")
        return f"{folder}/{stem}"
