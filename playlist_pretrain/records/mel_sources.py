"""What a source of mels is: names of files, ids of tracks, and what the numbers mean.

MTG-Jamendo's mels, as they are distributed beside its audio.

Format: ``raw_30s_melspecs-{00..99}.tar`` with ``{id % 100}/{id}.npy`` (two digits), or the same
unpacked. An array is float32 [96 bands, frames] of the whole track: 12 kHz, frames of 512 every
256 samples, the first of them centred on the first sample, 20 log10 of power and -200 for silence.
A track id is the path without extension, as the column ``PATH`` of the dataset's tables has it;
``.low``, the sign of low-bitrate copies, is no part of it.
Provenance: https://github.com/MTG/mtg-jamendo-dataset, ``scripts/melspectrograms.py``. Its dB are
twice 10 log10, which Essentia's ``UnaryOperator`` (type ``lin2db``, scale 2) confirms.

Melon Playlist Dataset: the one public collection of playlists and mels.

Format: ``arena_mel_{0..39}.tar`` with ``{id // 1000}/{id}.npy``, or the same unpacked. An array is
float32 [48 bands, frames], in dB, 1,876 frames for 30 s: 16 kHz, frames of 512 every 256 samples,
the first of them centred on the first sample. A track id is the song's id as text, as
``playlists.readers.melon`` has it.
Provenance: Ferraro et al., ICASSP 2021, https://mtg.github.io/melon-playlist-dataset/ (names and
ids). Orientation and frames are what public programs that read it expect; whether the dB are of
power is not documented, and taken so.

Any folder of ``.npy`` files, with a description of the user's.

Format: one array a track, float of any size; what its axes and values are, ``--description`` says
(see :mod:`.description`). A track id is the path below the folder, or within a tar file, without
extension.

Public collections that come as mels: one registry, one file a source, one anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from playlist_pretrain.audio.front_end import IMPORTED, ImportedFrontEnd
from playlist_pretrain.errors import MelError
from playlist_pretrain.records.mel_files import FIELDS, Description, MelFile, read_array
from playlist_pretrain.registry import Registry


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


DAMAGED = (range(225_000, 226_000), range(227_000, 228_000), range(229_000, 231_000),
           range(276_000, 277_000))  # fmt: skip
"""Ids of the songs whose files are known to be damaged as distributed."""


class MelonMels(MelSource):
    """Mels of the Melon Playlist Dataset; see the module."""

    name = "melon"
    about = "Melon Playlist Dataset: arena_mel_*.tar or what is in them; a track's id is its song's"
    named = "{id // 1000}/{id}.npy"
    front_end = IMPORTED["melon"]
    orientation = "bands×frames"
    unit = "db"

    def track_id(self, path: PurePosixPath) -> str:
        """The song's id; MelError for names of other kinds."""
        number = int(path.stem) if path.stem.isascii() and path.stem.isdigit() else -1
        folder = path.parent.name
        if str(number) != path.stem or folder != str(number // 1000):
            raise MelError(f"its name is not of the kind {self.named}")
        return path.stem

    def left_out(self, track_id: str) -> str | None:
        """Known damage."""
        known = any(int(track_id) in ids for ids in DAMAGED)
        return "known to be damaged as distributed" if known else None


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


MEL_SOURCES: Registry[type[MelSource]] = Registry("source of mels", MelError)
"""Sources by the name that ``--source`` takes; ``auto`` asks them in this order."""

for _source in (MelonMels, JamendoMels, NpyMels):
    MEL_SOURCES.register(_source.name, _source)

_SNIFFED = 1000


def find_source(
    name: str, description: Path | None, folder: Path, files: Sequence[MelFile]
) -> MelSource:
    """The source called ``name``, or for ``auto`` the one that the files look like.

    Parameters
    ----------
    name : str
        A name of the registry, or ``auto``.
    description : Path or None
        Of the user's own mels; with ``auto`` it says that these are such.
    folder : Path
        What the sources of ``files`` are relative to.
    files : sequence of MelFile

    Raises
    ------
    MelError
        The name is unknown, a description is missing or not needed, or nothing fits.
    """
    if name == "auto" and description is not None:
        name = NpyMels.name
    if name != "auto":
        return MEL_SOURCES.get(name).make(description)
    some = files[:_SNIFFED]
    fitting = [
        source
        for source in (MelonMels.make(None), JamendoMels.make(None))
        if 2 * sum(source.names(file.path) for file in some) > len(some)
    ]
    if len(fitting) > 1:  # 10/10010.npy is a name of both: the number of bands decides
        bands = _first_bands(folder, some)
        fitting = [source for source in fitting if source.front_end.bands == bands]
    if not fitting:
        known = "; ".join(f"{name} ({MEL_SOURCES.get(name).about})" for name in MEL_SOURCES)
        raise MelError(
            f"{folder}: files such as {some[0].name!r} are not recognised; say what they are "
            f"with --source: {known}"
        )
    return fitting[0]


def _first_bands(folder: Path, files: Sequence[MelFile]) -> int | None:
    for file in files:
        try:
            return len(read_array(str(folder / file.source)))
        except MelError:
            continue
    return None
