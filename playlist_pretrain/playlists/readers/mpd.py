"""Million Playlist Dataset: ``mpd.slice.0-999.json`` … ``mpd.slice.999000-999999.json``.

Format: JSON, ``playlists`` is a list of objects with ``pid`` (whole number) and ``tracks``, a
list of objects with ``track_uri``. The group id is the ``pid``, the track id the ``track_uri``;
nothing else is looked at.
Provenance: Chen et al., RecSys Challenge 2018; distributed by AIcrowd, for research only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from playlist_pretrain.errors import TableError

SLICE = re.compile(r"mpd\.slice\.(\d+)-(\d+)\.json")
KINDS = {int: "a whole number", list: "a list", str: "text"}


class MpdReader:
    """Reader of the Million Playlist Dataset; see the module."""

    name = "mpd"
    description = (
        "Million Playlist Dataset, a folder of mpd.slice.*.json (or one of them); "
        "groups are playlists by pid, tracks are track_uri"
    )

    def sniff(self, path: Path) -> bool:
        """True for a folder with slices, a file called as one, and JSON that names playlists."""
        if path.is_dir():
            return bool(_slices(path))
        if not path.is_file():
            return False
        if SLICE.fullmatch(path.name):
            return True
        with open(path, "rb") as stream:
            start = stream.read(65_536)
        return start.lstrip().startswith(b"{") and b'"playlists"' in start and b'"pid"' in start

    def files(self, path: Path) -> list[Path]:
        """The slices of a folder (or of its folder ``data``) by number, or the one file."""
        if path.is_file():
            return [path]
        slices = _slices(path)
        if not slices:
            raise TableError(f"{path}: no mpd.slice.*.json in this folder")
        return slices

    def read(
        self,
        path: Path,
        columns: Mapping[str, str] | None = None,
        advance: Callable[[int], object] = lambda read: None,
    ) -> Iterator[tuple[str, list[str]]]:
        """Yield the playlists, one slice in memory at a time; see ``Reader.read``."""
        if columns:
            raise TableError(f"{path}: --columns is for tables; a slice has fixed names")
        for file in self.files(path):
            data = file.read_bytes()
            advance(len(data))
            yield from _playlists(data, file)


def _slices(folder: Path) -> list[Path]:
    for place in (folder, folder / "data"):
        found = [
            (tuple(map(int, match.groups())), file)
            for file in (place.iterdir() if place.is_dir() else ())
            if (match := SLICE.fullmatch(file.name)) and file.is_file()
        ]
        if found:
            return [file for _, file in sorted(found)]
    return []


def _playlists(data: bytes, file: Path) -> Iterator[tuple[str, list[str]]]:
    if not data or data.isspace():
        raise TableError(f"{file}: the file is empty")
    try:
        content = json.loads(data)
    except RecursionError:
        raise TableError(f"{file}: JSON nested too deeply for a slice") from None
    except UnicodeDecodeError as error:
        raise TableError(f"{file}: byte {error.start}: not UTF-8") from error
    except ValueError as error:  # json's own message ends with line, column and character
        raise TableError(f"{file}: not JSON, cut off or damaged: {error}") from error
    playlists = content.get("playlists") if isinstance(content, dict) else None
    if not isinstance(playlists, list):
        raise TableError(f"{file}: no list 'playlists', so this is not a slice")
    for number, playlist in enumerate(playlists):
        where = f"{file}: playlist {number} of the slice"
        pid = _field(playlist, "pid", int, where)
        where = f"{file}: pid {pid}"
        tracks = _field(playlist, "tracks", list, where)
        yield (
            str(pid),
            [
                _text(_field(track, "track_uri", str, where, position), where, position)
                for position, track in enumerate(tracks)
            ],
        )


def _field(holder: Any, key: str, kind: type, where: str, position: int | None = None) -> Any:
    value = holder.get(key) if type(holder) is dict else None
    if type(value) is not kind:
        at = "" if position is None else f", track {position}"
        if type(holder) is not dict:
            raise TableError(f"{where}{at}: not an object")
        problem = f"{key!r} is not {KINDS[kind]}" if key in holder else f"no {key!r}"
        raise TableError(f"{where}{at}: {problem}")
    return value


def _text(value: str, where: str, position: int) -> str:
    if value.isascii() and value:
        return value
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise TableError(f"{where}, track {position}: 'track_uri' is not valid Unicode") from None
    if not value:
        raise TableError(f"{where}, track {position}: 'track_uri' is empty")
    return value
