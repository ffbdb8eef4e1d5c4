"""Track ids of the paths and addresses in playlist files.

A track's id is by default its POSIX path below the audio folder without its extension. Nothing
here looks at the files that they name: paths are worked out from their text, and from where the
playlist lies.
"""

from __future__ import annotations

import functools
import os
import posixpath
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from playlist_pretrain.delimited import RowError
from playlist_pretrain.playlists.readers.source import Source, valid_id
from playlist_pretrain.records.paths import DRIVE, OUTSIDE, SCHEME, path_of_uri
from playlist_pretrain.records.sources import AUDIO_EXTENSIONS

FIELDS = ("identifier", "location", "creator", "title")
"""Fields of XSPF and JSPF tracks that an id is made of."""
MUSICBRAINZ = re.compile(
    r"https?://(?:\w+\.)?musicbrainz\.org/(?:recording|track)/([0-9a-f-]{36})/?", re.IGNORECASE
)


def track_id_of_identifier(identifier: str) -> str:
    """Reduce the address of a MusicBrainz recording to its id; leave any other as it is."""
    match = MUSICBRAINZ.fullmatch(identifier)
    return match[1].lower() if match else identifier


def track_id_of_fields(
    fields: Mapping[str, str], source: Source, audio: Path | None, where: str
) -> str:
    """Track id of an XSPF or JSPF track: its identifier, or else location, or else names.

    Raises RowError: at ``where``, when it has none of them.
    """
    key = next((key for key in ("identifier", "location") if fields.get(key)), "title")
    if key == "identifier":
        found = track_id_of_identifier(fields[key])
    elif key == "location":
        found = track_id_of_path(fields[key], source.path, audio, source.folder)
    else:
        found = " – ".join(fields[name] for name in ("creator", "title") if fields.get(name))
        if not found:
            raise RowError(
                f"{where}: no 'identifier', 'location' or 'title'",
                "a track without 'identifier', 'location' and 'title'",
                usual=True,
            )
    return valid_id(found, f"{where}: {key!r}")


def track_id_of_path(
    entry: str, playlist: PurePosixPath, audio: Path | None, folder: Path | None = None
) -> str:
    """Track id of a path, ``file:`` address or other address in a playlist file.

    ``entry`` is as the playlist file has it; Windows paths are fine. ``playlist`` is that file
    below the ``folder`` that is read, ``audio`` the folder of the collection's audio, by default
    ``folder``. The id is the path below it without the extension of an audio file; a relative one
    starts from the playlist's own folder, as for players, or where that leads out of the audio, as
    from another machine, from the folder that is read. What lies outside stays as it is written,
    so that a map may know it, and so do addresses.
    """
    path = entry.replace("\\", "/") if "/" not in entry else entry
    if DRIVE.match(entry) or entry.startswith("\\\\"):
        path = entry.replace("\\", "/")
    elif SCHEME.match(entry):
        if not entry.lower().startswith("file:"):
            return track_id_of_identifier(entry)
        path = path_of_uri(entry)
    if path.startswith("/") or DRIVE.match(path):
        if audio is None:
            return entry
        inside = _below(posixpath.normpath(path), audio)
        if inside is None:
            return entry
    else:
        inside = posixpath.normpath(posixpath.join(playlist.parent.as_posix(), path))
        if audio is not None and folder is not None:
            starts = (folder.absolute(), audio), (_real(folder.absolute()), _real(audio.absolute()))
            found = (
                _below(posixpath.normpath(posixpath.join(start.as_posix(), inside)), root)
                for start, root in starts
            )
            inside = next(filter(None, found), inside)
        if inside == ".." or inside.startswith("../"):
            return entry
    return without_extension(inside)


@functools.lru_cache(maxsize=16)
def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))


def _below(path: str, folder: Path) -> str | None:
    """``path`` below ``folder``, both absolute; None outside of it."""
    root = posixpath.normpath(folder.absolute().as_posix()).rstrip("/") + "/"
    return path.removeprefix(root) if path.startswith(root) else None


def without_extension(path: str) -> str:
    """``path`` without the extension of an audio file."""
    stem, extension = posixpath.splitext(path)
    return stem if extension.lower() in AUDIO_EXTENSIONS else path


def paths_hint(ids: Iterable[str], option: str, audio: Path | None = None) -> str:
    """End of a message on ids that were not found, if paths are among them.

    It names the ``option`` that gives the audio folder, and the ``audio`` folder that was taken.
    """
    if not any(one.startswith(OUTSIDE) or DRIVE.match(one) for one in ids):
        return ""
    taken = "" if audio is None else f" (now {audio})"
    return f"; paths become ids below {option} DIR, the folder that the audio was read from{taken}"
