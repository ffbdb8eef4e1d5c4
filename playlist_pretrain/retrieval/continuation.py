"""A playlist that goes on: its tracks in an embedding table, and a file with more of them."""

from __future__ import annotations

import csv
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import EmbeddingsError, TableError
from playlist_pretrain.files import atomic_write, write_json
from playlist_pretrain.playlists.match import IdMap, shown
from playlist_pretrain.playlists.readers import READERS, Request, check_request, find_reader
from playlist_pretrain.playlists.readers.m3u import lines_of
from playlist_pretrain.playlists.readers.paths import DRIVE, SCHEME, group_id_of, paths_hint
from playlist_pretrain.records.schema import did_you_mean

if TYPE_CHECKING:
    from playlist_pretrain.playlists.readers import Reader
    from playlist_pretrain.playlists.readers.source import Source
    from playlist_pretrain.retrieval.embedding_table import EmbeddingTable
    from playlist_pretrain.retrieval.table_groups import KnownTracks

FORMATS = (".m3u8", ".csv", ".json")
MOST_LISTED = 20
EXAMPLES = 3


@dataclass(frozen=True)
class Playlist:
    """One playlist, and which of its entries a table has.

    Attributes
    ----------
    name : str
        Id of the group that it is in its source.
    entries : list of str
        Track ids as the reader gives them, in order.
    entry_rows : np.ndarray int32 [entries]
        Rows of a table; below 0 where it has no such track.
    lines : list of str or None
        Of an M3U file, all of them.
    folder : Path or None
        That the M3U file is in, which its relative paths start from.
    """

    name: str
    entries: list[str]
    entry_rows: np.ndarray
    lines: list[str] | None = None
    folder: Path | None = None

    @property
    def rows(self) -> np.ndarray:
        """Rows of the different tracks that the table has, in order of their first entry."""
        rows = self.entry_rows[self.entry_rows >= 0]
        return rows[np.sort(np.unique(rows, return_index=True)[1])]

    @property
    def missing(self) -> list[str]:
        """Different ids that the table does not have, in order of their first entry."""
        gone = np.flatnonzero(self.entry_rows < 0)
        return list(dict.fromkeys(self.entries[entry] for entry in gone))

    def text(self) -> str:
        """What of it was found, as lines; ids that were not are listed, ``MOST_LISTED`` at most."""
        here = int(np.count_nonzero(self.entry_rows >= 0))
        lines = [
            f"playlist {shown(self.name)}: {len(self.entries):,} entries, {here:,} in the "
            f"embeddings ({len(self.rows):,} different tracks), {len(self.entries) - here:,} not"
        ]
        lines += [f"  not there: {shown(one)}" for one in self.missing[:MOST_LISTED]]
        if len(self.missing) > MOST_LISTED:
            lines.append(f"  … and {len(self.missing) - MOST_LISTED:,} more")
        return "\n".join(lines)


@dataclass(frozen=True)
class PlaylistSource:
    """Where a playlist is, and how it is read.

    Attributes
    ----------
    path : Path
        File, folder or zip file.
    name : str or None
        Which one, of several.
    format : str
        A name of ``readers.READERS``, or ``auto``.
    columns : mapping or None
        Of a table.
    audio : Path or None
        Folder below which paths become track ids, for the formats that have paths.
    id_map : Path or None
        Table of foreign ids.
    """

    path: Path
    name: str | None = None
    format: str = "auto"
    columns: dict[str, str] | None = None
    audio: Path | None = None
    id_map: Path | None = None


def read_playlist(source: PlaylistSource, known: KnownTracks) -> Playlist:
    """Read one playlist and look its entries up.

    Raises
    ------
    TableError
        It cannot be read or is empty; there are several and no name, or none of that name.
    EmbeddingsError
        None of its entries is a track of the table.
    """
    reader = find_reader(source.path, source.format)
    audio = source.audio if "audio" in reader.options else None
    request = Request(kind=reader.kinds[0], columns=source.columns, audio=audio)
    check_request(reader, source.path, request)
    files = reader.sources(source.path)
    name, entries = _one(reader.read(files, request), source)
    if not entries:
        raise TableError(f"{source.path}: playlist {shown(name)} has no entries")
    ids = known if source.id_map is None else IdMap.read(source.id_map, known)
    playlist = Playlist(name, entries, ids.rows(entries), *_m3u_lines(reader, files, name))
    if not len(playlist.rows):
        examples = playlist.missing[:EXAMPLES]
        raise EmbeddingsError(
            f"{source.path}: none of the {len(entries):,} entries of playlist {shown(name)} is a "
            f"track of the embeddings; its ids look like "
            f"{', '.join(map(shown, examples))}{did_you_mean(examples[0], known.rows)}, "
            f"theirs like {', '.join(shown(one) for one in known.track_ids[:EXAMPLES])}"
            + (paths_hint(examples, "--audio-folder", audio) if "audio" in reader.options else "")
            + ("" if source.id_map else "; --map joins ids that differ")
        )
    return playlist


def _one(groups: Iterator[tuple[str, list[str]]], source: PlaylistSource) -> tuple[str, list[str]]:
    """Name and entries of the playlist that is asked for; its parts may come apart."""
    names: dict[str, None] = {}
    found: list[str] | None = None
    for name, entries in groups:
        names.setdefault(name)
        wanted = next(iter(names)) if source.name is None else source.name
        if source.name is None and len(names) > MOST_LISTED:
            break
        if name == wanted:
            found = [*(found or []), *entries]
    listing = ", ".join(shown(name) for name in list(names)[:MOST_LISTED])
    listing += ", …" if len(names) > MOST_LISTED else ""
    if source.name is None and len(names) > 1:
        raise TableError(f"{source.path}: several playlists; say which with --name: {listing}")
    if found is None:
        what = "no playlist" if source.name is None else f"no playlist {shown(source.name)}"
        raise TableError(f"{source.path}: {what}; there are: {listing or 'none'}")
    return (next(iter(names)) if source.name is None else source.name), found


def _m3u_lines(
    reader: Reader, files: Sequence[Source], name: str
) -> tuple[list[str] | None, Path | None]:
    if reader is not READERS.get("m3u"):
        return None, None
    source = next(file for file in files if group_id_of(file.path) == name)
    return lines_of(source), source.file.absolute().parent if source.file else None


@dataclass(frozen=True)
class Continued:
    """A playlist and what comes after it.

    Attributes
    ----------
    playlist : Playlist
    rows : np.ndarray int [added]
        Rows that are added, the nearest first.
    similarities : np.ndarray float64 [added]
    table : EmbeddingTable
    audio : Path or None
        Folder that the table's paths are below.
    """

    playlist: Playlist
    rows: np.ndarray
    similarities: np.ndarray
    table: EmbeddingTable
    audio: Path | None

    def write(self, out: Path) -> None:
        """Write the playlist and what is added as ``.m3u8``, ``.csv`` or ``.json``, whole.

        ``.m3u8`` keeps the lines of an M3U file, and adds the paths that the table has, or else
        ids: absolute paths where the playlist has such. In another folder than the playlist's
        all paths become absolute where ``audio`` is known, since relative ones would lead
        elsewhere. ``.csv`` is a table with ``group_id``,
        ``track_id`` and, of what is added, ``similarity``. ``.json`` is JSPF, beside which stand
        ``added`` and ``not_in_embeddings``. Each can be read as a playlist again.

        Raises
        ------
        TableError
            An id or path that no line of an M3U file can hold.
        """
        {".m3u8": self._m3u, ".csv": self._csv, ".json": self._json}[out.suffix.lower()](out)

    def _ids(self) -> list[str]:
        """Ids of the playlist's entries: the table's, where it has them."""
        pairs = zip(self.playlist.entries, self.playlist.entry_rows.tolist(), strict=True)
        return [self.table.track_ids[row] if row >= 0 else entry for entry, row in pairs]

    def _added(self) -> Iterator[tuple[str, float]]:
        for row, similarity in zip(self.rows.tolist(), self.similarities.tolist(), strict=True):
            yield self.table.track_ids[row], similarity

    def _m3u(self, out: Path) -> None:
        lines = self.playlist.lines
        absolute = any(_is_absolute(line) for line in lines or [])
        folder = self.playlist.folder
        if lines and folder and self.audio and folder.resolve() != out.parent.resolve():
            lines, absolute = [_from_folder(line, folder) for line in lines], True
        if lines is None:
            pairs = zip(self.playlist.entries, self.playlist.entry_rows.tolist(), strict=True)
            known = (self._line(row, absolute) if row >= 0 else _line(id_) for id_, row in pairs)
            lines = ["#EXTM3U", *known]
        more = [self._line(row, absolute) for row in self.rows.tolist()]
        with atomic_write(out, "w") as stream:
            stream.writelines(line + "\n" for line in [*lines, *more])

    def _line(self, row: int, absolute: bool) -> str:
        if self.table.paths is None:
            return _line(self.table.track_ids[row])
        path = self.table.paths[row]
        if absolute and self.audio is not None:
            path = posixpath.join(os.path.abspath(self.audio), path)
        elif SCHEME.match(path) or DRIVE.match(path) or "\\" in path:
            path = f"./{path}"  # else it would be taken for an address, or for a path of Windows
        return _line(path)

    def _csv(self, out: Path) -> None:
        with atomic_write(out, "w") as stream:
            rows = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            rows.writerow(["group_id", "track_id", "similarity"])
            rows.writerows([self.playlist.name, track_id, ""] for track_id in self._ids())
            rows.writerows([self.playlist.name, *added] for added in self._added())

    def _json(self, out: Path) -> None:
        ids = [*self._ids(), *(track_id for track_id, _ in self._added())]
        content: dict[str, Any] = {
            "playlist": {
                "title": self.playlist.name,
                "track": [{"identifier": [track_id]} for track_id in ids],
            },
            "added": [
                {"rank": rank, "similarity": similarity, "track_id": track_id}
                for rank, (track_id, similarity) in enumerate(self._added(), 1)
            ],
            "not_in_embeddings": self.playlist.missing,
        }
        write_json(out, content)


def _is_absolute(line: str) -> bool:
    return line.startswith("/") or line.lower().startswith("file:")


def _from_folder(line: str, folder: Path) -> str:
    """A line of an M3U file in ``folder``, with a path that leads there from anywhere."""
    relative = line and not line.startswith(("#", "/", "\\")) and "\\" not in line
    if not relative or SCHEME.match(line) or DRIVE.match(line):
        return line
    return posixpath.normpath(posixpath.join(folder.as_posix(), line))


def _line(text: str) -> str:
    """An entry of an M3U file that is read as it is."""
    if "\n" in text or "\r" in text or text != text.strip():
        raise TableError(f"{text!r} fits no line of an M3U file; write .csv or .json")
    return f"./{text}" if text.startswith("#") else text
