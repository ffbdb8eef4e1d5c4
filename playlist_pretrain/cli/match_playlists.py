"""The command that makes groups, and the tables and figures of groups."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.cli import command_line
from playlist_pretrain.demo import ready_demo
from playlist_pretrain.errors import GroupsError, RecipeError, TableError, printable
from playlist_pretrain.files import write_json
from playlist_pretrain.messages import command, progress
from playlist_pretrain.playlists.groups import (
    TrackGroups,
    check_groups_name,
    groups_path,
    load_groups,
)
from playlist_pretrain.playlists.match import Coverage, IdMap, match_groups
from playlist_pretrain.playlists.settings import TableSettings
from playlist_pretrain.storage import RemotePath, location

if TYPE_CHECKING:
    from playlist_pretrain.playlists.readers import Reader, Request
    from playlist_pretrain.records.collection import Collection

TABLES = ("tco", "w2v")
USAGE = """
examples:
  python scripts/match_playlists.py --playlists playlists.csv --collection tfrecords/mine
  python scripts/match_playlists.py --playlists tracks.csv --columns group=artist,track=track_id \\
      --separator "|" --name artists --collection tfrecords/mine
  python scripts/match_playlists.py --playlists mpd.zip --kind artists --map spotify.csv \\
      --collection tfrecords/mine
  python scripts/match_playlists.py --collection tfrecords/mine --tables tco,w2v --figures
"""


@dataclass(frozen=True)
class _Source:
    """What to read and how."""

    playlists: str | None = None
    """file, folder or zip file with the playlists; without it, groups NAME that are there"""
    collection: str | None = None
    """folder made by make_tfrecords, or its s3://, gs:// or hdfs:// URL [tfrecords/demo, made
    when missing]"""
    name: str | None = None
    """name of the groups: groups-NAME.npz, and --groups NAME in pretrain [as --kind]"""
    format: str = "auto"
    """auto, mpd, melon, jspf, xspf, m3u, history or table (CSV, TSV, Parquet)"""
    kind: str | None = None
    """playlists, artists, albums, genres or sessions, as the format has them [its first]"""
    columns: str | None = None
    """columns of a table [group=group_id,track=track_id], or of a history
    [user=user_id,time=timestamp,track=track_id]"""
    separator: str | None = None
    """sign between several groups in one cell of a table"""
    gap: float = 30.0
    """minutes of silence that end a session of a history"""
    audio: str | None = None
    """audio folder below which the paths in playlist files become track ids [the playlists' own]"""
    map: str | None = None
    """table with foreign_id and track_id, for playlists whose ids are not the collection's"""
    keep_going: bool = False
    """keep what is good before the damage in a source, and count the damage"""
    workers: int = dataclasses.field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """processes that read slices of the Million Playlist Dataset [as many as there are cores]"""
    tables: str | None = None
    """tables to make for pretrain: tco, w2v or both, with a comma between"""
    nearest: str | None = None
    """ids whose nearest tracks are shown, with commas between [the three in most groups]"""
    figures: bool = False
    """draw lengths, popularity and co-occurrences into the collection's folder"""
    overwrite: bool = False
    """replace groups of the same name that differ"""
    quiet: bool = False
    """print nothing but errors"""


@dataclass(frozen=True)
class MatchOptions(TableSettings, _Source):
    """Match playlists (artists, albums, …) to the tracks of a collection.

    Writes the groups and a report of what was matched into the collection's folder, and makes
    the tables of playlist_tco and playlist_w2v when asked to.
    """

    def say(self, text: str) -> None:
        """Print, unless it is to be quiet; lines are kept, what steers a terminal is not."""
        if not self.quiet:
            print(printable(text, keep="\n"), flush=True)


def match_playlists(options: MatchOptions) -> TrackGroups:
    """Read, match, save, report, and make tables; what ``scripts/match_playlists.py`` does.

    Raises
    ------
    CollectionError, TableError, GroupsError, RecipeError, TrackError
        When the collection cannot be opened, the playlists cannot be read, nothing matches,
        other groups of that name exist and ``overwrite`` is off, or an option cannot be obeyed.
    """
    from playlist_pretrain.records.collection import Collection

    tables = _check(options)
    if options.name:
        check_groups_name(options.name)
    if options.playlists is None:
        collection = Collection.open(_folder(options))
        groups = load_groups(collection, options.name or "playlists")
    else:
        reader, request = _reader(options)
        collection = Collection.open(_folder(options))
        groups = _match(options, reader, request, collection)
    if tables or options.figures:
        from playlist_pretrain.playlists.show import show_groups

        show_groups(options, tables, collection, groups)
    options.say("next: " + _next_command(options, groups.name))
    return groups


def _folder(options: MatchOptions) -> Path | RemotePath:
    if options.collection:
        return location(options.collection)
    return ready_demo(options.say, quiet=options.quiet)


def _check(options: MatchOptions) -> tuple[str, ...]:
    """Refuse options that miss something or that nothing would read; returns the tables."""
    tables = tuple(part.strip() for part in (options.tables or "").split(",") if part.strip())
    options.check(word2vec="w2v" in tables)
    if set(tables) - set(TABLES) or (options.tables is not None and not tables):
        raise RecipeError(f"--tables {options.tables}: {' or '.join(TABLES)}, or both")
    if options.nearest is not None and not tables:
        raise RecipeError("--nearest: by what? give --tables tco, w2v or both")
    if options.workers < 1:
        raise RecipeError(f"--workers {options.workers}: must be at least 1")
    if not 0 <= options.gap < float("inf"):
        raise RecipeError(f"--gap {options.gap}: minutes, 0 or more")
    if options.playlists is None:
        if not (tables or options.figures):
            raise RecipeError("--playlists: nothing to do without; or give --tables or --figures")
        _refuse(options, _Source, ("format", "kind", "columns", "separator", "gap", "audio", "map",
                                   "keep_going", "workers"), "--playlists")  # fmt: skip
    settings = [field.name for field in dataclasses.fields(TableSettings)]
    if (tables or options.figures) and "w2v" not in tables:
        names = [name for name in settings if name.startswith("w2v_")]
        _refuse(options, TableSettings, names, "--tables w2v")
    if not (tables or options.figures):
        _refuse(options, TableSettings, settings, "--tables or --figures")
    return tables


def _refuse(options: MatchOptions, usual: type, names: Sequence[str], missing: str) -> None:
    for name in names:
        if getattr(options, name) != getattr(usual(), name):
            option = "--" + name.replace("_", "-")
            raise RecipeError(f"{option}: nothing reads it without {missing}")


def _reader(options: MatchOptions) -> tuple[Reader, Request]:
    from playlist_pretrain.playlists.readers import Request, check_request, find_reader

    source = Path(options.playlists)
    reader = find_reader(source, options.format)
    request = Request(
        kind=options.kind or reader.kinds[0],
        columns=parse_columns(options.columns),
        separator=options.separator,
        gap=options.gap,
        audio=Path(options.audio) if options.audio else None,
        workers=options.workers,
    )
    check_request(reader, source, request)
    if options.separator is not None and not options.separator.strip():
        raise TableError("--separator: must be a sign")
    return reader, request


def _match(
    options: MatchOptions, reader: Reader, request: Request, collection: Collection
) -> TrackGroups:
    """Read and match what the options name; write groups and report."""
    source = Path(options.playlists)
    name = check_groups_name(options.name or request.kind)
    damaged: list[str] = []
    id_map = None
    if options.map:
        id_map = IdMap.read(options.map, collection)
        options.say(
            f"{options.map}: {len(id_map):,} ids, {id_map.known:,} of tracks of the collection"
        )
    sources = reader.sources(source)
    total = sum(one.size for one in sources)
    with progress(
        quiet=options.quiet, total=total, desc="playlists", unit="B", unit_scale=True
    ) as bar:
        request = dataclasses.replace(request, advance=bar.update)
        if options.keep_going:
            request = dataclasses.replace(request, damaged=lambda error: damaged.append(str(error)))
        entries = reader.read(sources, request)
        try:
            paths = "--audio" if "audio" in reader.options else None
            groups, coverage = match_groups(entries, collection, name, id_map, paths)
        except GroupsError as error:
            if damaged:
                raise GroupsError(f"{error}; what could not be read: {damaged[0]}") from error
            raise
    coverage = dataclasses.replace(coverage, damaged=tuple(damaged))
    path = groups_path(collection.path, name)
    same = path.exists() and _same(path, groups, options.overwrite)
    if not same:
        groups.save(path)
    _report(path, options, reader, request, coverage, groups, collection)
    options.say(coverage.text())
    options.say(f"{path}: " + ("holds these groups already" if same else "written"))
    return groups


def _report(
    path: Path | RemotePath,
    options: MatchOptions,
    reader: Reader,
    request: Request,
    coverage: Coverage,
    groups: TrackGroups,
    collection: Collection,
) -> None:
    report = {
        "source": options.playlists,
        "format": reader.name,
        "kind": request.kind,
        "map": options.map,
        "columns": options.columns,
        "separator": options.separator,
        "gap": options.gap if reader.name == "history" else None,
        "audio": options.audio,
        "keep_going": options.keep_going,
        "content_key": groups.content_key,
        "collection": {"name": collection.name, "content_key": collection.content_key},
    }
    write_json(path.with_suffix(".report.json"), {**report, **coverage.to_dict()})


def parse_columns(text: str | None) -> dict[str, str] | None:
    """``group=artist,track=id`` → mapping; None for None.

    Raises
    ------
    TableError
        For anything else, or when two are the same column.
    """
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    columns = {key.strip(): column.strip() for key, _, column in pairs}
    if (
        len(columns) != len(pairs)
        or not set(columns) <= {"group", "track", "user", "time"}
        or not all(columns.values())
        or len(set(columns.values())) != len(columns)
    ):
        raise TableError(
            f"--columns {text!r}: expected group=COLUMN,track=COLUMN, or for a history "
            "user=COLUMN,time=COLUMN,track=COLUMN"
        )
    return columns


def _same(path: Path | RemotePath, groups: TrackGroups, overwrite: bool) -> bool:
    mend = "--overwrite replaces them, --name NAME keeps both"
    try:
        old = TrackGroups.load(path)
    except GroupsError as error:
        if overwrite:
            return False
        raise GroupsError(f"{error}; {mend}") from error
    ids = all(
        np.array_equal(getattr(old.group_ids, part), getattr(groups.group_ids, part))
        for part in ("data", "ends")
    )
    if old.content_key == groups.content_key and ids:
        return True
    if not overwrite:
        raise GroupsError(f"{path}: holds other groups ({len(old):,} of them); {mend}")
    return False


def _next_command(options: MatchOptions, name: str) -> str:
    pairs = "artist_co" if "artists" in (name, options.kind) else "playlist_co"
    words = ["--pairs", pairs, "--groups", name]
    if options.collection:
        words[2:2] = ["--collection", options.collection]
    return command("pretrain", *words)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of :func:`match_playlists`; returns the exit code."""
    return command_line.run(
        MatchOptions, match_playlists, prog="match_playlists.py", epilog=USAGE, argv=argv
    )
