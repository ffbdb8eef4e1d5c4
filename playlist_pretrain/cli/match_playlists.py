"""The command ``match_playlists``."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from playlist_pretrain.cli import command_line
from playlist_pretrain.demo import ready_demo
from playlist_pretrain.errors import RecipeError, TableError, require
from playlist_pretrain.messages import command
from playlist_pretrain.playlists.groups import check_groups_name, load_groups
from playlist_pretrain.playlists.match import match_playlists
from playlist_pretrain.playlists.settings import TableSettings
from playlist_pretrain.playlists.show import show_groups
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.storage import location

logger = logging.getLogger(__name__)
TABLES = ("tco", "w2v")
READING = ("format", "kind", "columns", "separator", "gap", "audio", "path_prefix", "encoding",
           "min_played", "map", "ignore", "keep_going", "workers")  # fmt: skip
"""Options that say how playlists are read."""
USAGE = """
examples:
  python scripts/match_playlists.py --playlists playlists.csv --collection tfrecords/mine
  python scripts/match_playlists.py --playlists tags --columns group=artist \\
      --collection tfrecords/mine
  python scripts/match_playlists.py --playlists tracks.csv --columns group=artist,track=track_id \\
      --separator "|" --name artists --collection tfrecords/mine
  python scripts/match_playlists.py --playlists mpd.zip --kind artists --map spotify.csv \\
      --collection tfrecords/mine
  python scripts/match_playlists.py --collection tfrecords/mine --tables tco,w2v --figures
"""


@dataclass(frozen=True)
class _Source:
    """Options of what to read."""

    playlists: str | None = None
    """file, folder or zip file with the playlists, or the word tags for groups by the tags of the
    collection's own files (by artist, or --columns group=album, genre, year or folder; a file of
    that name is ./tags); without it, groups NAME that are there"""
    collection: str | None = None
    """folder made by make_tfrecords, or its s3://, gs:// or hdfs:// URL [tfrecords/demo, made
    when missing]"""
    name: str | None = None
    """name of the groups: groups-NAME.npz, and --groups NAME in pretrain [as --kind]"""
    format: str = "auto"
    """auto, mpd, melon, jspf, xspf, m3u, itunes, history or table (CSV, TSV, Parquet)"""
    kind: str | None = None
    """playlists, artists, albums, genres, years or sessions, as the format has them [that of the
    column of groups, or its first]"""
    columns: str | None = None
    """columns of a table [group=group_id,track=track_id; without the first, or by group=@file, a
    file is a group], or of a history [user=user_id,time=timestamp,track=track_id]"""
    separator: str | None = None
    """sign between several groups in one cell of a table"""
    gap: float = 30.0
    """minutes of silence that end a session of a history"""
    audio: str | None = None
    """audio folder below which the paths in playlist files become track ids [the playlists' own]"""
    path_prefix: str | None = None
    """beginning of the paths in playlist files in place of that folder, as in D:/Music [found
    where one makes most of them match]"""
    encoding: str | None = None
    """encoding of text without a byte-order mark, as in windows-1251 [UTF-8]"""
    min_played: float = 30.0
    """seconds from which a track in a history of Spotify counts as listened to"""
    map: str | None = None
    """table with foreign_id and track_id, for playlists whose ids are not the collection's"""
    ignore: list[str] = field(default_factory=list)
    """names of groups to leave out, one after the other; empty cells are left out anyway, and
    unknown, various artists and the like in place of artists, albums, genres or years"""
    keep_going: bool = False
    """keep what is good before the damage in a source, and count the damage"""
    workers: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """processes that read slices of the Million Playlist Dataset [as many as there are cores]"""
    tables: str | None = None
    """tables to make for pretrain: tco, w2v or both, with a comma between"""
    nearest: str | None = None
    """ids whose nearest tracks are shown, with commas between [the three in most groups]"""
    figures: bool = False
    """draw lengths, popularity and co-occurrences into the collection's folder"""
    beam: str | None = None
    """count the table tco with Apache Beam, with these options of it, as in
    --beam="--runner=FlinkRunner --flink_master=HOST:PORT" """
    temp: str | None = None
    """folder that all workers of Beam reach, for files to them and back [a local one]"""
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


def match(options: MatchOptions) -> None:
    """Match and write, or read, groups; make the tables and figures that are asked for."""
    tables = _check(options)
    columns = parse_columns(options.columns)
    collection = Collection.open(
        location(options.collection) if options.collection else ready_demo()
    )
    kind = None
    if options.playlists is None:
        groups = load_groups(collection, options.name or "playlists")
    else:
        settings = {name: getattr(options, name) for name in (*READING, "name", "overwrite")}
        on_error = "skip" if settings.pop("keep_going") else "raise"
        settings |= {"columns": columns, "on_error": on_error}
        matched = match_playlists(options.playlists, collection, **settings)
        groups, kind = matched.groups, matched.kind
    if tables or options.figures:
        show_groups(
            collection,
            groups,
            tables=tables,
            nearest=_names(options.nearest),
            figures=options.figures,
            settings=options,
            beam=options.beam,
            temp=options.temp,
        )
    pairs = "artist_co" if "artists" in (groups.name, kind) else "playlist_co"
    words = ["--collection", options.collection] if options.collection else []
    words = ["--pairs", pairs, *words, "--groups", groups.name]
    logger.info("next: %s", command("pretrain", *words))


def _check(options: MatchOptions) -> tuple[str, ...]:
    """Refuse options that miss something or that nothing would read; returns the tables."""
    tables = tuple(_names(options.tables) or ())
    options.check(word2vec="w2v" in tables)
    if set(tables) - set(TABLES) or (options.tables is not None and not tables):
        raise RecipeError(f"--tables {options.tables}: {' or '.join(TABLES)}, or both")
    if options.nearest is not None and not tables:
        raise RecipeError("--nearest: by what? give --tables tco, w2v or both")
    if options.name:
        check_groups_name(options.name)
    require(*["gensim"] * ("w2v" in tables), *["matplotlib"] * options.figures)
    shows = tables or options.figures
    if options.playlists is None:
        if not shows:
            raise RecipeError("--playlists: nothing to do without; or give --tables or --figures")
        command_line.refuse_unread(options, READING, "--playlists")
    settings = [field.name for field in dataclasses.fields(TableSettings)]
    if not shows:
        command_line.refuse_unread(options, settings, "--tables or --figures")
    if "w2v" not in tables:
        command_line.refuse_unread(
            options, [name for name in settings if name.startswith("w2v_")], "--tables w2v"
        )
    if "tco" not in tables:
        command_line.refuse_unread(options, ["beam", "temp"], "--tables tco")
    if options.beam is None:
        command_line.refuse_unread(options, ["temp"], "--beam")
    return tables


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def parse_columns(text: str | None) -> dict[str, str] | None:
    """``group=artist,track=id`` → mapping; None for None.

    Raises TableError: for anything else, or when two are the same column.
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return command_line.run(
        MatchOptions, match, prog="match_playlists.py", epilog=USAGE, argv=argv, modules=("numba",)
    )
