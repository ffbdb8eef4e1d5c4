"""Track ids of the paths and addresses in playlist files.

A track's id is by default its POSIX path below the audio folder without its extension. Nothing
here looks at the file system: paths are worked out from their text.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from playlist_pretrain.delimited import RowError
from playlist_pretrain.playlists.readers.source import valid_id
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
    fields: Mapping[str, str], playlist: PurePosixPath, audio: Path | None, where: str
) -> str:
    """Track id of an XSPF or JSPF track: its identifier, or else location, or else names.

    Raises RowError: at ``where``, when it has none of them.
    """
    key = next((key for key in ("identifier", "location") if fields.get(key)), "title")
    if key == "identifier":
        found = track_id_of_identifier(fields[key])
    elif key == "location":
        found = track_id_of_path(fields[key], playlist, audio)
    else:
        found = " – ".join(fields[name] for name in ("creator", "title") if fields.get(name))
        if not found:
            raise RowError(
                f"{where}: no 'identifier', 'location' or 'title'",
                "a track without 'identifier', 'location' and 'title'",
                usual=True,
            )
    return valid_id(found, f"{where}: {key!r}")


def track_id_of_path(entry: str, playlist: PurePosixPath, audio: Path | None) -> str:
    """Track id of a path, ``file:`` address or other address in a playlist file.

    ``entry`` is as the playlist file has it; Windows paths are fine. ``playlist`` is that file
    below the folder that is read, ``audio`` the folder of the collection's audio, by default the
    folder that is read. The id is the path below it without the extension of an audio file. What
    lies outside stays as it is written, so that a map may know it, and so do addresses.
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
        root = posixpath.normpath(audio.absolute().as_posix()).rstrip("/") + "/"
        inside = posixpath.normpath(path)
        if not inside.startswith(root):
            return entry
        inside = inside.removeprefix(root)
    else:
        inside = posixpath.normpath(posixpath.join(playlist.parent.as_posix(), path))
        if inside == ".." or inside.startswith("../"):
            return entry
    return without_extension(inside)


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
