"""Public collections that come as mels: one registry, one file a source, one anatomy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from playlist_pretrain.errors import MelError
from playlist_pretrain.records.mel_sources.array import read_array
from playlist_pretrain.records.mel_sources.files import MelFile
from playlist_pretrain.records.mel_sources.jamendo import JamendoMels
from playlist_pretrain.records.mel_sources.melon import MelonMels
from playlist_pretrain.records.mel_sources.npy import NpyMels
from playlist_pretrain.records.mel_sources.source import MelSource
from playlist_pretrain.registry import Registry

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
