"""Tracks that a collection is made of: the audio files of a folder, or the rows of a table."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from playlist_pretrain.delimited import read_columns
from playlist_pretrain.errors import AudioError, RecipeError, TableError, TrackError
from playlist_pretrain.files import files_below
from playlist_pretrain.records.paths import PathIds, path_of_uri
from playlist_pretrain.records.report import Note, other_kinds
from playlist_pretrain.records.schema import check_track_id

logger = logging.getLogger(__name__)

#: Files with these extensions (in any case) are audio; a table may list any others.
# fmt: off
AUDIO_EXTENSIONS = (
    ".aac", ".aif", ".aifc", ".aiff", ".flac", ".m4a", ".m4b", ".mka", ".mp2", ".mp3", ".mp4",
    ".oga", ".ogg", ".opus", ".w64", ".wav", ".webm", ".wma", ".wv",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class TrackSource:
    """A track and where its audio is.

    The id is unique in a collection and never empty; the source is a POSIX path below the audio
    folder, or a token that the loader understands.
    """

    track_id: str
    source: str


@dataclass(frozen=True)
class FoundAudio:
    """Content of a folder: ``tracks`` sorted by id, and the extensions of ``other_files``."""

    tracks: list[TrackSource]
    other_files: Counter[str]


def find_audio(folder: str | Path) -> FoundAudio:
    """Find every audio file below ``folder``; the id is the path without the extension.

    Names are taken byte by byte, without Unicode normalisation; see :func:`.files_below`.

    Raises
    ------
    AudioError
        No such folder, a folder below it that cannot be read, or no audio in it.
    TrackError
        Two files would have one id (``a.mp3`` and ``a.ogg``).
    """
    folder = _audio_folder(folder)
    found: dict[str, str] = {}
    twice: list[tuple[str, str]] = []
    other_files: Counter[str] = Counter()
    for name in files_below(folder, AudioError):
        path = PurePosixPath(name)
        if path.suffix.lower() not in AUDIO_EXTENSIONS:
            other_files[path.suffix.lower()] += 1
            continue
        track_id = str(path.with_suffix(""))
        if (other := found.setdefault(track_id, name)) != name:
            twice.append((min(other, name), max(other, name)))
    if twice:
        first, second = min(twice)
        more = f" (and {len(twice) - 1:,} more such files)" if len(twice) > 1 else ""
        raise TrackError(
            f"two files in {folder} have the id {str(PurePosixPath(first).with_suffix(''))!r}: "
            f"{first!r} and {second!r}{more}; rename or remove one, or give every file its own id "
            "in a table (make_tfrecords --tracks)"
        )
    if not found:
        held = other_kinds(other_files) if other_files else "it is empty"
        raise AudioError(f"no audio in {folder} ({held}); looked for {' '.join(AUDIO_EXTENSIONS)}")
    return FoundAudio([TrackSource(i, found[i]) for i in sorted(found)], other_files)


def read_tracks_table(
    table: str | Path, folder: str | Path, prefix: str | None = None
) -> list[TrackSource]:
    """Read a table with at least the columns ``track_id`` and ``path``, sorted by id.

    Paths are taken from the audio ``folder``. A path may be absolute or contain ``..`` as long as
    it ends inside that folder as written (links are not resolved). Where that is no file, the files
    of the folder are looked through for the one that is meant, see :class:`.PathIds`; ``prefix`` is
    what paths begin with in place of the folder. Whether the others exist is found out when they
    are read. TableError for a table that cannot be read, a repeated id, or a path that leaves the
    folder.
    """
    folder, table = _audio_folder(folder), Path(table)
    root = os.path.abspath(folder).rstrip("/") + "/"
    tracks: dict[str, tuple[int, str]] = {}
    odd: dict[str, bool] = {}  # whether they are inside of the folder
    for line, (track_id, path) in read_columns(table, ("track_id", "path")):
        if track_id in tracks:
            first_line, first_path = tracks[track_id]
            raise TableError(
                f"{table}: the track_id {track_id!r} is on line {first_line} ({first_path!r}) "
                f"and on line {line} ({path!r})"
            )
        full = os.path.normpath(os.path.join(root, path))
        if path.lower().startswith("file:") and not os.path.lexists(full):
            full = os.path.normpath(os.path.join(root, path_of_uri(path)))
        inside = full.startswith(root)
        tracks[track_id] = line, full.removeprefix(root) if inside else path
        if prefix is not None or not (inside and os.path.lexists(full)):
            odd[track_id] = inside
    if odd:
        files = _Files(folder)
        known = PathIds(files, every=True, prefix=prefix)
        rows = known.rows([tracks[track_id][1] for track_id in odd]).tolist()
        for (track_id, inside), row in zip(odd.items(), rows, strict=True):
            line, path = tracks[track_id]
            if row >= 0:
                tracks[track_id] = line, files.track_ids[row]
            elif not inside:
                raise TableError(
                    f"{table}: line {line}: the path {path!r} is not inside the audio folder "
                    f"{folder}; give --audio a folder that holds every file of the table, or "
                    "--path-prefix what the paths begin with in its place"
                )
        for note in known.notes():
            logger.info("%s: %s", table, note)
    return [TrackSource(i, tracks[i][1]) for i in sorted(tracks)]


class _Files:
    """Files below a folder, as ids."""

    def __init__(self, folder: Path):
        self.track_ids = sorted(files_below(folder, AudioError))
        self._row_of = {name: row for row, name in enumerate(self.track_ids)}

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        return np.array([self._row_of.get(one, -1) for one in ids], np.int32)


def storable(tracks: Sequence[TrackSource]) -> tuple[list[TrackSource], list[Note]]:
    """Separate tracks whose ids can be stored from the others, which become notes.

    Raises TrackError if an id comes twice.
    """
    named: dict[str, TrackSource] = {}
    unnamed: list[Note] = []
    for track in tracks:
        try:
            check_track_id(track.track_id)
        except TrackError as error:
            names = (track.track_id, track.source)
            shown = [name.encode("utf-8", "backslashreplace").decode("utf-8") for name in names]
            unnamed.append(Note(shown[0], shown[1], "unreadable", str(error)))
            continue
        if track.track_id in named:
            sources = f"{named[track.track_id].source!r} and {track.source!r}"
            raise TrackError(f"the id {track.track_id!r} stands for two tracks: {sources}")
        named[track.track_id] = track
    return list(named.values()), unnamed


def excerpt_seconds(excerpt: float | str | None) -> float | None:
    """Value of ``--excerpt``: seconds above 0, or None for ``"full"``; RecipeError otherwise."""
    if excerpt is None or excerpt == "full":
        return None
    try:
        seconds = float(excerpt)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise RecipeError(f"--excerpt {excerpt}: give a number of seconds above 0, or full")
    return seconds


def excerpt_text(seconds: float | None) -> str:
    """``30 s``, or ``all`` for None, to be followed by ``of``."""
    return "all" if seconds is None else f"{seconds:g} s"


def _audio_folder(folder: str | Path) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        if folder.exists():
            raise AudioError(f"the audio folder {folder} is not a folder")
        raise AudioError(f"the audio folder {folder} does not exist")
    return folder
