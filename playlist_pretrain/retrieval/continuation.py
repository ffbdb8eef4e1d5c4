"""Continuation of a playlist: its tracks in an embedding table, and a file with more of them."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import EmbeddingsError, TableError
from playlist_pretrain.files import TableWriter, atomic_write, write_json
from playlist_pretrain.playlists.match import IdMap, files_text, shown
from playlist_pretrain.playlists.readers import (
    READERS,
    Request,
    check_request,
    find_reader,
    other_files,
)
from playlist_pretrain.playlists.readers.m3u import lines_of
from playlist_pretrain.playlists.readers.paths import paths_hint, without_extension
from playlist_pretrain.playlists.readers.source import LeftOut, set_encoding
from playlist_pretrain.records.paths import ADDRESS, DRIVE, SCHEME, PathIds, path_of_uri
from playlist_pretrain.records.schema import did_you_mean
from playlist_pretrain.retrieval.embedding_table import EmbeddingTable, leads_below

if TYPE_CHECKING:
    from playlist_pretrain.retrieval.table_groups import KnownTracks

FORMATS = (".m3u8", ".csv", ".json")
MOST_LISTED = 20
EXAMPLES = 3
EXTENC = re.compile(r"#EXTENC:", re.IGNORECASE)


@dataclass(frozen=True)
class Playlist:
    """One playlist, and which of its entries a table has."""

    name: str  # id of the group that it is in its source
    entries: list[str]  # track ids as the reader gives them, in order
    entry_rows: np.ndarray  # int32 [entries], rows of the table; below 0 where it has none
    lines: list[tuple[str, int]] | None = None  # of an M3U file, all of them, and their rows
    folder: Path | None = None  # on disk that the file is in, which relative paths start from
    notes: tuple[str, ...] = ()  # on rows left out, and on how paths were taken

    @property
    def rows(self) -> np.ndarray:
        """Rows of the different tracks that the table has, in order of their first entry."""
        rows = self.entry_rows[self.entry_rows >= 0]
        return rows[np.sort(np.unique(rows, return_index=True)[1])]

    @property
    def missing(self) -> list[str]:
        """Different ids that the table does not have, in order of their first entry."""
        pairs = zip(self.entries, self.entry_rows, strict=True)
        return list(dict.fromkeys(entry for entry, row in pairs if row < 0))

    def text(self) -> str:
        """Summary of the matched entries; lists at most ``MOST_LISTED`` ids that are missing."""
        here = int(np.count_nonzero(self.entry_rows >= 0))
        lines = [
            f"playlist {shown(self.name)}: {len(self.entries):,} entries, {here:,} in the "
            f"embeddings ({len(self.rows):,} different tracks), {len(self.entries) - here:,} not"
        ]
        lines += [f"  {note}" for note in self.notes]
        lines += [f"  not there: {shown(one)}" for one in self.missing[:MOST_LISTED]]
        if len(self.missing) > MOST_LISTED:
            lines.append(f"  … and {len(self.missing) - MOST_LISTED:,} more")
        return "\n".join(lines)


def read_playlist(
    path: str | Path,
    known: KnownTracks,
    *,
    name: str | None = None,
    format: str = "auto",
    columns: dict[str, str] | None = None,
    audio: str | Path | None = None,
    id_map: str | Path | None = None,
    path_prefix: str | None = None,
    encoding: str | None = None,
) -> Playlist:
    """Read one playlist of a file, folder or zip file, and look its entries up.

    ``name`` says which of several; ``format`` is a name of ``readers.READERS`` or ``auto``; paths
    below ``audio`` become track ids, and ``path_prefix`` is what they begin with in its place;
    ``id_map`` is a table of foreign ids, ``encoding`` that of text without a byte-order mark.

    Raises
    ------
    TableError
        It cannot be read or is empty; there are several and no name, or none of that name.
    EmbeddingsError
        None of its entries is a track of the table.
    """
    path = Path(path)
    reader = find_reader(path, format)
    audio = Path(audio) if audio is not None and "audio" in reader.options else None
    left_out = LeftOut()
    request = Request(
        kind=reader.kinds[0],
        columns=columns,
        audio=audio,
        damaged=left_out,
        note=left_out.note,
    )
    check_request(reader, path, request)
    files = reader.sources(path)
    set_encoding(files, encoding)
    name, entries = _one(reader.read(files, request), path, name)
    if not entries:
        raise TableError(f"{path}: playlist {shown(name)} has no entries")
    ids = PathIds(
        known if id_map is None else IdMap.read(Path(id_map), known),
        every="audio" in reader.options,
        prefix=path_prefix,
        strip=without_extension,
    )
    rows = ids.rows(entries)
    lines, folder = None, None
    m3u = READERS.get("m3u")
    source = next((file for file in files if file.group_id == name), files[0])
    if source.folder is not None and "audio" in reader.options:
        folder = source.folder / source.path.parent
    if reader is m3u or ("audio" in reader.options and m3u.accepts(source.path)):
        row_of = dict(zip(entries, rows.tolist(), strict=True))
        lines = [(line, row_of.get(entry, -1)) for line, entry in lines_of(source, audio)]
    notes = [*filter(None, [left_out.text()]), *ids.notes()]
    if others := other_files(reader, path, files):
        notes.append(f"files of other kinds left alone: {files_text(others)}")
    playlist = Playlist(name, entries, rows, lines, folder, tuple(notes))
    if not len(playlist.rows):
        examples = playlist.missing[:EXAMPLES]
        raise EmbeddingsError(
            f"{path}: none of the {len(entries):,} entries of playlist {shown(name)} is a "
            f"track of the embeddings; its ids look like "
            f"{', '.join(map(shown, examples))}{did_you_mean(examples[0], known.rows)}, "
            f"theirs like {', '.join(shown(one) for one in known.track_ids[:EXAMPLES])}"
            + (paths_hint(examples, "--audio-folder", audio) if "audio" in reader.options else "")
            + ("" if id_map else "; --map joins ids that differ")
            + "".join(f"; {note}" for note in notes)
        )
    return playlist


def _one(
    groups: Iterator[tuple[str, list[str]]], path: Path, wanted: str | None
) -> tuple[str, list[str]]:
    """Name and entries of the wanted playlist, whose parts may come apart; of the only one."""
    found: dict[str, list[str]] = {}
    for name, entries in groups:
        of_name = found.setdefault(name, [])
        if wanted in (None, name):
            of_name += entries
        if wanted is None and len(found) > MOST_LISTED:
            break
    listing = ", ".join(shown(name) for name in list(found)[:MOST_LISTED]) or "none"
    listing += ", …" if len(found) > MOST_LISTED else ""
    if wanted is None and len(found) > 1:
        raise TableError(f"{path}: several playlists; say which with --name: {listing}")
    name = next(iter(found), "") if wanted is None else wanted
    if name not in found:
        what = "no playlist" if wanted is None else f"no playlist {shown(wanted)}"
        raise TableError(f"{path}: {what}; there are: {listing}")
    return name, found[name]


def write_continued(
    out: Path,
    playlist: Playlist,
    table: EmbeddingTable,
    rows: np.ndarray,
    similarities: np.ndarray,
    audio: Path | None = None,
    files: Mapping[str, str] | None = None,
    percentiles: np.ndarray | None = None,
) -> list[str]:
    """Write a playlist and the ``rows`` added to it as ``.m3u8``, ``.csv`` or ``.json``, whole.

    ``.m3u8`` keeps the lines of an M3U file that lead to a file, with absolute paths in place of
    relative ones where it is written to another folder, and in place of those that lead to none has
    the path of their track. Tracks are added as the paths that the table has, or ``files`` (by
    id), below ``audio``, by default the playlist's own folder: relative ones to a playlist of
    such in its own folder, else absolute ones. Returns the lines that lead to no file.
    ``.csv`` is a table with ``group_id``, ``track_id`` and, of what is added, ``similarity`` and
    ``percentile`` if it is given. ``.json`` is JSPF, beside which stand ``added`` and
    ``not_in_embeddings``. Each can be read as a playlist again. Raises TableError for an id or path
    that no line of an M3U file can hold, or that leads out of the audio folder.
    """
    kind = out.suffix.lower()
    if kind == ".m3u8":
        lines = _Lines(out, playlist, table, audio, files or {}).with_more(rows)
        with atomic_write(out, "w") as stream:
            stream.writelines(line + "\n" for line in lines)
        entries = [line for line in lines if line and line[0] != "#" and not ADDRESS.match(line)]
        return [line for line in entries if not os.path.isfile(_target(line, out.parent))]
    pairs = zip(playlist.entries, playlist.entry_rows.tolist(), strict=True)
    ids = [table.track_ids[row] if row >= 0 else entry for entry, row in pairs]
    more = table.track_ids.take(rows)
    figures = {"similarity": similarities.tolist()}
    figures |= {} if percentiles is None else {"percentile": percentiles.tolist()}
    added = list(zip(more, *figures.values(), strict=True))
    if kind == ".csv":
        with atomic_write(out, "w") as stream:
            writer = TableWriter(stream, quote_text=True)
            writer.writerow(["group_id", "track_id", *figures])
            writer.writerows([playlist.name, track_id, *[""] * len(figures)] for track_id in ids)
            writer.writerows([playlist.name, *one] for one in added)
        return []
    tracks = [{"identifier": [track_id]} for track_id in [*ids, *more]]
    write_json(out, {
        "playlist": {"title": playlist.name, "track": tracks},
        "added": [
            {"rank": rank, **dict(zip(figures, values, strict=True)), "track_id": track_id}
            for rank, (track_id, *values) in enumerate(added, 1)
        ],
        "not_in_embeddings": playlist.missing,
    })  # fmt: skip
    return []


class _Lines:
    """Lines of an M3U file at ``out``; see :func:`write_continued`."""

    def __init__(
        self,
        out: Path,
        playlist: Playlist,
        table: EmbeddingTable,
        audio: Path | None,
        files: Mapping[str, str],
    ):
        self._playlist, self._table, self._files = playlist, table, files
        self._to = os.path.realpath(out.parent)
        self._from = playlist.folder and os.path.realpath(playlist.folder)
        self._root = audio or playlist.folder
        entries = [line for line, _ in playlist.lines or () if line and line[0] != "#"]
        self._relative = self._from == self._to and any(map(_is_relative, entries))
        self._relative &= not any(map(_is_absolute, entries))

    def with_more(self, rows: np.ndarray) -> list[str]:
        """The playlist's lines, and one for each of the ``rows`` added."""
        if self._playlist.lines is not None:
            lines = [self._kept(line, row) for line, row in self._playlist.lines]
        else:
            pairs = zip(self._playlist.entries, self._playlist.entry_rows.tolist(), strict=True)
            lines = ["#EXTM3U"]
            lines += [self._of_row(row) if row >= 0 else self._of_id(id_) for id_, row in pairs]
        return [*lines, *map(self._of_row, rows.tolist())]

    def _kept(self, line: str, row: int) -> str:
        """A line that leads where the playlist's own does, or else to the file of its track."""
        if line.startswith("#"):
            return "#EXTENC: UTF-8" if EXTENC.match(line) else line
        unknown = self._from is None and _is_relative(line)  # of a member of a zip file
        target = "" if unknown else _target(line, self._from or "")
        known = row >= 0 and leads_below(self._below(row))
        if known and not os.path.isfile(target) and os.path.isfile(self._path(row)):
            return self._of_row(row)
        if not line or unknown or self._from == self._to or _is_absolute(line):
            return line
        return _line(target) if _is_relative(line) or os.path.isfile(target) else line

    def _below(self, row: int) -> str:
        """Path of a track's file below the audio folder; its id where that is all."""
        if self._table.paths is not None:
            return self._table.paths[row]
        track_id = self._table.track_ids[row]
        return self._files.get(track_id, track_id)

    def _path(self, row: int) -> str:
        """Path of a track's file, relative where no folder is known."""
        path = self._below(row)
        if not leads_below(path):
            raise TableError(
                f"track {self._table.track_ids[row]!r}: {path!r} is no path below the audio "
                "folder, which an M3U file would lead to; write .csv or .json"
            )
        return path if self._root is None else posixpath.join(os.path.abspath(self._root), path)

    def _of_row(self, row: int) -> str:
        path = self._path(row)
        if self._relative:
            root = os.path.abspath(self._root or "")
            path = os.path.join(os.path.realpath(root), os.path.relpath(path, root))
            path = os.path.relpath(path, self._to)
        if SCHEME.match(path) or DRIVE.match(path) or "\\" in path:
            path = path if path.startswith("/") else f"./{path}"  # else it is taken for an address
        return _line(path)

    def _of_id(self, entry: str) -> str:
        """Line of an entry that no track of the table is."""
        if self._root is None or not leads_below(entry) or ADDRESS.match(entry):
            return _line(entry)
        return _line(posixpath.join(os.path.abspath(self._root), entry))


def _is_absolute(line: str) -> bool:
    """True for a path from the root."""
    return line.startswith("/") or line.lower().startswith("file:")


def _is_relative(line: str) -> bool:
    """True for a path from the playlist's own folder."""
    elsewhere = _is_absolute(line) or "\\" in line or SCHEME.match(line) or DRIVE.match(line)
    return not elsewhere


def _target(line: str, folder: str | Path) -> str:
    """Path that a player takes a line for, of an M3U file in ``folder``."""
    path = path_of_uri(line) if line.lower().startswith("file:") else line
    return os.path.normpath(os.path.join(folder, path))


def _line(text: str) -> str:
    """An entry of an M3U file that is read as it is."""
    if "\n" in text or "\r" in text or text != text.strip():
        raise TableError(f"{text!r} fits no line of an M3U file; write .csv or .json")
    return f"./{text}" if text.startswith("#") else text
