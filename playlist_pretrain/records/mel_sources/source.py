"""What a source of mels is: names of files, ids of tracks, and what the numbers mean."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from playlist_pretrain.audio.imported import ImportedFrontEnd
from playlist_pretrain.errors import MelError


class MelSource:
    """Base of all sources; the module of each says where its format is documented.

    Attributes
    ----------
    name : str
        What ``--source`` takes.
    about : str
        One line: what is read, and what serves as track id.
    named : str
        How its files are named, for messages.
    front_end : ImportedFrontEnd
    orientation : {"bands×frames", "frames×bands"}
        Of its arrays.
    unit : str
        Of their values, see :mod:`.description`.
    """

    name: str
    about: str
    named: str
    front_end: ImportedFrontEnd
    orientation: str
    unit: str

    @classmethod
    def make(cls, description: Path | None) -> MelSource:
        """The source; MelError when it needs a description, or needs none."""
        if description is not None:
            raise MelError(f"--description is not for source {cls.name}: its mels are known")
        return cls()

    def track_id(self, path: PurePosixPath) -> str:
        """Id of the track whose mel has this path.

        Raises
        ------
        MelError
            The source does not name its files so.
        """
        raise NotImplementedError

    def names(self, path: PurePosixPath) -> bool:
        """Whether the source names its files so."""
        try:
            return bool(self.track_id(path))
        except MelError:
            return False

    def left_out(self, track_id: str) -> str | None:
        """Why a track is left out, unread; None for most."""
        return None
