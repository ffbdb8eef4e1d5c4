"""Any folder of ``.npy`` files, with a description of the user's.

Format: one array a track, float of any size; what its axes and values are, ``--description`` says
(see :mod:`.description`). A track id is the path below the folder, or within a tar file, without
extension.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from playlist_pretrain.errors import MelError
from playlist_pretrain.records.mel_sources.description import FIELDS, Description
from playlist_pretrain.records.mel_sources.source import MelSource


class NpyMels(MelSource):
    """Mels of the user's own; see the module."""

    name = "npy"
    about = "any .npy files, with --description; a track's id is its path"
    named = "*.npy"

    def __init__(self, description: Description):
        self.front_end = description.front_end
        self.orientation = description.orientation
        self.unit = description.unit

    @classmethod
    def make(cls, description: Path | None) -> NpyMels:
        """Read the description."""
        if description is None:
            raise MelError(
                f"--source npy needs --description FILE.json with the fields {', '.join(FIELDS)}"
            )
        return cls(Description.read(description))

    def track_id(self, path: PurePosixPath) -> str:
        """The path without extension."""
        return str(path.with_suffix(""))
