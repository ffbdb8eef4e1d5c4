"""Import of mels that others made: sources with their file names, ids and units, and the import.

Melon Playlist Dataset (the one public collection of playlists and mels): ``arena_mel_{0..39}.tar``
with ``{id // 1000}/{id}.npy``, or the same unpacked. An array is float32 [48 bands, frames], in dB,
1,876 frames for 30 s: 16 kHz, frames of 512 every 256 samples, the first of them centred on the
first sample. A track id is the song's id as text, as ``playlists.readers.melon`` has it.
Provenance: Ferraro et al., ICASSP 2021, https://mtg.github.io/melon-playlist-dataset/ (names and
ids). Orientation and frames are what public programs that read it expect; whether the dB are of
power is not documented, and taken so.

MTG-Jamendo's mels, as they are distributed beside its audio: ``raw_30s_melspecs-{00..99}.tar`` with
``{id % 100}/{id}.npy`` (two digits), or the same unpacked. An array is float32 [96 bands, frames]
of the whole track: 12 kHz, frames of 512 every 256 samples, the first of them centred on the first
sample, 20 log10 of power and -200 for silence. A track id is the path without extension, as the
column ``PATH`` of the dataset's tables has it; ``.low``, the sign of low-bitrate copies, is no part
of it. Provenance: https://github.com/MTG/mtg-jamendo-dataset, ``scripts/melspectrograms.py``. Its
dB are twice 10 log10, which Essentia's ``UnaryOperator`` (type ``lin2db``, scale 2) confirms.

Any folder of ``.npy`` files with a description ``mels.json`` (its fields: ``tfrecords/README.md``).
A track id is the path below the folder, or within a tar file, without extension.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import numpy as np

from playlist_pretrain.audio.front_end import IMPORTED, PRESETS, ImportedFrontEnd
from playlist_pretrain.audio.silence import QUIET, centre, excerpt_start, frames_with_sound
from playlist_pretrain.errors import MelError, TrackError
from playlist_pretrain.files import load_json, whole
from playlist_pretrain.records.build import make_collection
from playlist_pretrain.records.mel_files import FoundMels, file_of, find_mels, read_array
from playlist_pretrain.records.report import BuildReport, Note, log_report
from playlist_pretrain.records.sources import TrackSource

logger = logging.getLogger(__name__)

UNITS = ("db", "log10", "ln", "power", "amplitude")
ORIENTATIONS = ("frames×bands", "bands×frames")
LINEAR = {"power": 10.0, "amplitude": 20.0}
"""Units that become dB, and the factor of their logarithm."""
FLOOR_DB = -100.0
NEEDED = ("name", "sample_rate", "frame_length", "hop_length", "bands", "window_frames", "unit",
          "orientation")  # fmt: skip
OPTIONAL = ("spectrum", "log_scale", "log_offset", "silence", "framing", "made_by")
"""Fields of ``mels.json``."""
MELON_DAMAGED = (225, 227, 229, 230, 276)
"""Thousands of song ids whose files are known to be damaged as distributed."""


@dataclass(frozen=True)
class MelSource:
    """A kind of mels: how its files are named and what their numbers mean.

    ``name`` is the value of ``--source``; ``about`` (files and track ids, in one line) and
    ``named`` (pattern of the file names) are for messages. ``orientation`` is one of
    ``ORIENTATIONS``, ``unit`` one of ``UNITS``. ``id_of(path)`` is the track id of a mel, None
    for names of other kinds.
    """

    name: str
    about: str
    named: str
    front_end: ImportedFrontEnd
    orientation: str
    unit: str
    id_of: Callable[[PurePosixPath], str | None]

    def left_out(self, track_id: str) -> str | None:
        """Reason why a track is left out unread; None for most."""
        damaged = self.name == "melon" and int(track_id) // 1000 in MELON_DAMAGED
        return "known to be damaged as distributed" if damaged else None


_NUMBER = re.compile(r"0|[1-9][0-9]*")


def _melon_id(path: PurePosixPath) -> str | None:
    stem, folder = path.stem, path.parent.name
    return stem if _NUMBER.fullmatch(stem) and folder == str(int(stem) // 1000) else None


def _jamendo_id(path: PurePosixPath) -> str | None:
    stem, folder = path.stem.removesuffix(".low"), path.parent.name
    fits = _NUMBER.fullmatch(stem) and folder == f"{int(stem) % 100:02d}"
    return f"{folder}/{stem}" if fits else None


MEL_SOURCES = {
    "melon": MelSource(
        "melon",
        "Melon Playlist Dataset: arena_mel_*.tar or what is in them; a track's id is its song's",
        "{id // 1000}/{id}.npy",
        IMPORTED["melon"],
        "bands×frames",
        "db",
        _melon_id,
    ),
    "jamendo": MelSource(
        "jamendo",
        "MTG-Jamendo's mels, unpacked or in tar files; a track's id is its path, 41/241",
        "{id % 100}/{id}.npy",
        IMPORTED["jamendo-mels"],
        "bands×frames",
        "db",
        _jamendo_id,
    ),
}
"""Public sources by the value of ``--source``; ``npy`` is what :func:`read_description` gives."""
_NPY_ABOUT = "any .npy files, with --description; a track's id is its path"


def read_description(path: Path) -> MelSource:
    """Read ``mels.json``, a user's description of mels; MelError names the file and the field."""
    with whole(path, "description", MelError):
        return _described(load_json(path))


def _described(content: dict) -> MelSource:
    if unknown := content.keys() - set(NEEDED + OPTIONAL):
        raise MelError(f"unknown fields: {', '.join(sorted(unknown))}")
    if missing := set(NEEDED) - content.keys():
        raise MelError(f"missing fields: {', '.join(sorted(missing))}")
    given = {name: value for name, value in content.items() if value is not None}
    unit, orientation, name = (given.pop(key, None) for key in ("unit", "orientation", "name"))
    orientation = str(orientation).replace("x", "×").replace(" ", "")
    for field, value, choices in (
        ("unit", unit, UNITS),
        ("orientation", orientation, ORIENTATIONS),
    ):
        if value not in choices:
            raise MelError(f"{field} = {value!r}: one of {', '.join(choices)}")
    if not isinstance(name, str) or not name or name in {*PRESETS, *IMPORTED}:
        raise MelError(f"name = {name!r}: not text, or of a front end that there is already")
    logarithm = unit in ("log10", "ln")
    for field in given.keys() & {"log_scale", "log_offset"}:
        if not logarithm:
            raise MelError(f"{field} is for the units log10 and ln, not for {unit}")
    for field in given.keys() & {"silence", "spectrum"}:
        if unit in LINEAR:
            raise MelError(f"{field} is not for unit {unit}, which says it")
    spectrum = "magnitude" if unit == "amplitude" else given.pop("spectrum", "power")
    decibels = 20.0 if spectrum == "magnitude" else 10.0
    factor = 1.0 if logarithm else decibels
    offset = given.pop("log_offset", 0.0)
    if "silence" not in given:
        scale = factor * math.log(10.0) if unit == "ln" else factor
        some = isinstance(offset, int | float) and offset > 0
        given["silence"] = scale * (math.log10(offset) if some else FLOOR_DB / decibels)
    given = {"log_scale": 1.0, "framing": "centred", "made_by": "", **given}
    base = "e" if unit == "ln" else "10"
    front_end = ImportedFrontEnd(
        name=name, spectrum=spectrum, log_base=base, log_factor=factor, log_offset=offset, **given
    )
    return MelSource(
        "npy", _NPY_ABOUT, "*.npy", front_end, orientation, unit,
        id_of=lambda path: str(path.with_suffix("")),
    )  # fmt: skip


def find_source(name: str, description: Path | None, found: FoundMels) -> MelSource:
    """The source called ``name``, or for ``auto`` the one that the files look like.

    With ``auto``, a ``description`` says that the mels are the user's own. MelError when the name
    is unknown, a description is missing or not needed, or nothing fits.
    """
    if name == "npy" or (name == "auto" and description is not None):
        if description is None:
            raise MelError(
                "--source npy needs --description FILE.json with the fields "
                + ", ".join(NEEDED + OPTIONAL)
            )
        return read_description(description)
    if name in MEL_SOURCES:
        if description is not None:
            raise MelError(f"--description is not for source {name}: its mels are known")
        return MEL_SOURCES[name]
    if name != "auto":
        raise MelError(f"unknown source of mels {name!r}; there are: {', '.join(MEL_SOURCES)}, npy")
    some = [PurePosixPath(file.name) for file in found.files[:1000]]
    fitting = [
        source
        for source in MEL_SOURCES.values()
        if 2 * sum(source.id_of(path) is not None for path in some) > len(some)
    ]
    if len(fitting) > 1:  # 10/10010.npy is a name of both: the number of bands decides
        bands = _first_bands(found)
        fitting = [source for source in fitting if source.front_end.bands == bands]
    if not fitting:
        known = "; ".join(f"{source.name} ({source.about})" for source in MEL_SOURCES.values())
        raise MelError(
            f"{found.folder}: files such as {found.files[0].name!r} are not recognised; say what "
            f"they are with --source: {known}; npy ({_NPY_ABOUT})"
        )
    return fitting[0]


def _first_bands(found: FoundMels) -> int | None:
    for file in found.files[:1000]:
        try:
            return len(read_array(str(found.folder / file.source)))
        except MelError:
            continue
    return None


def as_stored(values: np.ndarray, unit: str) -> np.ndarray:
    """Convert values [frames, bands] of ``unit`` to what a collection holds: power becomes dB.

    NaN and infinite values stay what they are; MelError for a power or amplitude below 0.
    """
    if unit not in LINEAR:
        return values
    factor = LINEAR[unit]
    if (values < 0).any():
        frame, band = np.argwhere(values < 0)[0]
        raise MelError(f"{unit} of {values[frame, band]} at frame {frame}, band {band}")
    return factor * np.log10(np.maximum(values, 10 ** (FLOOR_DB / factor)))


@dataclass(frozen=True)
class MelLoader:
    """Reads, checks and cuts the mels of a source.

    ``excerpt`` seconds of the centre are kept, or others where these are quiet, see
    :func:`.silence.excerpt_start`.
    """

    front_end: ImportedFrontEnd
    orientation: str
    unit: str
    excerpt: float | None = 30.0

    def __call__(self, source: str) -> SimpleNamespace:
        """Load the mel at the place ``source``; MelError when it is none of the source's."""
        front_end, values = self.front_end, read_array(source)
        shape = values.shape
        if self.orientation == "bands×frames":
            values = values.T
        if values.shape[1] != front_end.bands:
            wanted = self.orientation.replace("bands", str(front_end.bands))
            raise MelError(f"an array of shape {shape}, not {wanted}")
        frames = len(values)
        kept = frames if self.excerpt is None else min(frames, front_end.frames_of(self.excerpt))
        start = centre(frames, kept)
        mel = as_stored(values[start : start + kept], self.unit)
        if kept < frames and frames_with_sound(mel, front_end.silence).mean() < QUIET:
            above = frames_with_sound(as_stored(values, self.unit), front_end.silence)
            start = excerpt_start(above.astype(float), 1, frames, kept)
            mel = as_stored(values[start : start + kept], self.unit)
        return SimpleNamespace(
            mel=mel,
            start_seconds=start * front_end.hop_length / front_end.sample_rate,
            source_seconds=front_end.seconds(frames),
        )

    def file_of(self, source: str) -> str:
        """The file on disk that holds the place ``source``."""
        return file_of(source)


def import_mels(
    mels: str | Path,
    out: str | Path,
    *,
    source: str = "auto",
    description: str | Path | None = None,
    excerpt: float | None = 30.0,
    keep_going: bool = False,
    workers: int | None = None,
    add: bool = False,
    overwrite: bool = False,
) -> BuildReport:
    """Write mels that were made elsewhere as a collection, without any audio.

    Parameters
    ----------
    mels : str or Path
        Folder with ``.npy`` files, with tar files of them, or both; or one tar file.
    source : {"auto", "melon", "jamendo", "npy"}
    description : str or Path, optional
        ``mels.json`` of source ``npy``.
    excerpt : float or None
        Seconds to take from the centre of each mel; None keeps all of it.
    keep_going : bool
        Take what comes before the damage of a tar file, and the first of two mels of one track.
    workers, add, overwrite
        See :func:`playlist_pretrain.records.build.make_collection`.
    """
    mels = Path(mels)
    found = find_mels(mels, keep_going=keep_going)
    kind = find_source(source, None if description is None else Path(description), found)
    logger.info("%s: mels of source %s, front end %r", mels, kind.name, kind.front_end.name)
    tracks, notes = _tracks(found, kind, keep_going)
    load = MelLoader(kind.front_end, kind.orientation, kind.unit, excerpt)
    report = make_collection(
        out, tracks, kind.front_end, load,  # type: ignore[arg-type]
        root=found.folder, notes=notes, workers=workers, overwrite=overwrite, add=add,
    )  # fmt: skip
    log_report(report, "mel", len(found.files) + len(found.notes), found.other_files, mels)
    return report


def _tracks(
    found: FoundMels, kind: MelSource, keep_going: bool
) -> tuple[list[TrackSource], list[Note]]:
    """Tracks in the order of the files, and notes on those that are left out."""
    tracks: dict[str, TrackSource] = {}
    notes = list(found.notes)
    for file in found.files:
        track_id = kind.id_of(PurePosixPath(file.name))
        if track_id is None:
            shown = file.source.encode("utf-8", "backslashreplace").decode()
            reason = f"its name is not of the kind {kind.named}"
            notes.append(Note(shown, shown, "skipped", reason))
            continue
        reason = kind.left_out(track_id)
        if reason is None and track_id in tracks:
            first = tracks[track_id].source
            if not keep_going:
                raise TrackError(
                    f"two mels in {found.folder} have the id {track_id!r}: {first!r} and "
                    f"{file.source!r}; remove one, or take the first with --keep-going"
                )
            reason = f"a second mel of the track, after {first}"
        if reason is None:
            tracks[track_id] = TrackSource(track_id, file.source)
        else:
            notes.append(Note(track_id, file.source, "skipped", reason))
    if not tracks:
        first = notes[0]
        raise MelError(
            f"none of {len(notes):,} mels in {found.folder} can be imported from source "
            f"{kind.name}; {first.source}: {first.reason}"
        )
    return list(tracks.values()), notes
