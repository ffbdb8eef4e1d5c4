"""Matching: from the ids of a playlist source to the rows of a collection."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain import cli
from playlist_pretrain.errors import GroupsError, TableError
from playlist_pretrain.files import write_json
from playlist_pretrain.playlists.coverage import Coverage, shown
from playlist_pretrain.playlists.groups import (
    FEWEST_TRACKS,
    TrackGroups,
    check_groups_name,
    groups_path,
)
from playlist_pretrain.playlists.kernels import filter_groups, first_in_group, gather_runs
from playlist_pretrain.playlists.look_up import EXAMPLES, LookUp
from playlist_pretrain.progress import progress
from playlist_pretrain.records.schema import PackedStrings

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection

MOST_WANTED = 20
USAGE = """
examples:
  python scripts/match_playlists.py --playlists playlists.csv --collection tfrecords/mine
  python scripts/match_playlists.py --playlists tracks.csv --columns group=artist,track=track_id \\
      --name artists --collection tfrecords/mine
  python scripts/match_playlists.py --playlists mpd/data --collection tfrecords/mine
"""


def match_groups(
    entries: Iterable[tuple[str, Sequence[str]]], collection: Collection, name: str
) -> tuple[TrackGroups, Coverage]:
    """Turn groups of track ids into groups of rows.

    A track that comes again in its group is left out there, ids that the collection does not
    have are left out, and so are groups with fewer than two tracks left. All of it is counted.

    Parameters
    ----------
    entries : iterable of (group id, track ids)
        Streamed; parts of one group may come apart and are joined in the order they come in.
        Neither kind of id may be empty.
    collection : Collection
        Needed are its ``rows``, ``track_ids``, ``path``, ``content_key`` and length.
    name : str
        Name of the groups.

    Returns
    -------
    groups : TrackGroups
        Groups in the order of their first part, tracks in the order of their first entry.
    coverage : Coverage
        What was read, matched and left out.

    Raises
    ------
    GroupsError
        When no group has two tracks of the collection.

    Notes
    -----
    Memory: 4 bytes for each matched entry (8 while they are sorted), the group ids, and the
    distinct ids that were not found.
    """
    check_groups_name(name)
    found = LookUp(collection)
    for group_id, track_ids in entries:
        found.add(group_id, track_ids)
    found.flush()
    indptr, rows = gather_runs(
        np.frombuffer(found.run_group, np.int32),
        np.frombuffer(found.run_length, np.int32),
        np.frombuffer(found.rows, np.int32),
        len(found.group_index),
    )
    first = first_in_group(indptr, rows, len(collection))
    everything = np.ones(len(indptr) - 1, bool)
    kept_indptr, kept_rows, kept = filter_groups(indptr, rows, everything, first, FEWEST_TRACKS)
    group_ids = [group_id for group_id, index in found.group_index.items() if kept[index]]
    lengths = np.diff(kept_indptr)
    repeated = len(rows) - int(first.sum())
    coverage = Coverage(
        name=name,
        groups_read=len(kept),
        groups_kept=len(group_ids),
        entries_read=found.entries,
        entries_matched=len(kept_rows),
        entries_unknown=found.entries - len(rows),
        entries_repeated=repeated,
        entries_in_dropped_groups=len(rows) - repeated - len(kept_rows),
        tracks=len(collection),
        tracks_covered=int(np.count_nonzero(np.bincount(kept_rows))) if len(kept_rows) else 0,
        mean_length=float(lengths.mean()) if len(lengths) else 0.0,
        median_length=float(np.median(lengths)) if len(lengths) else 0.0,
        wanted=tuple(found.missing.most_common(MOST_WANTED)),
    )
    if not group_ids:
        raise GroupsError(_nothing(coverage, found.examples, collection))
    for part in (kept_indptr, kept_rows):
        part.flags.writeable = False
    groups = TrackGroups(
        name,
        kept_indptr,
        kept_rows,
        len(collection),
        collection.content_key,
        PackedStrings.pack(group_ids),
    )
    return groups, coverage


def _nothing(coverage: Coverage, examples: Sequence[str], collection: Collection) -> str:
    if not coverage.groups_read:
        return "the playlists' source holds no groups"
    here = [collection.track_ids[row] for row in range(min(EXAMPLES, len(collection)))]
    found = coverage.entries_read - coverage.entries_unknown
    what = (
        f"none of the {coverage.entries_read:,} entries is a track of"
        if not found
        else f"no group has two tracks of the {found:,} entries found in"
    )
    return (
        f"{what} collection {str(collection.path)!r} ({len(collection):,} tracks); the playlists' "
        f"ids look like {', '.join(map(shown, examples)) or 'nothing'}, the collection's like "
        f"{', '.join(map(shown, here)) or 'nothing'}"
    )


@dataclass(frozen=True)
class MatchOptions:
    """Match playlists (artists, albums, …) to the tracks of a collection.

    Writes the groups and a report of what was matched into the collection's folder.
    """

    playlists: str
    """file or folder with the playlists"""
    collection: str
    """folder made by make_tfrecords.py"""
    name: str = "playlists"
    """name of the groups: groups-NAME.npz, and --groups NAME in pretrain.py"""
    format: str = "auto"
    """auto, table (CSV or TSV) or mpd (Million Playlist Dataset)"""
    columns: str | None = None
    """columns of a table [group=group_id,track=track_id]"""
    overwrite: bool = False
    """replace groups of the same name that differ"""
    quiet: bool = False
    """print nothing but errors"""


def match_playlists(options: MatchOptions) -> TrackGroups:
    """Read, match, save and report; what ``scripts/match_playlists.py`` does.

    Raises
    ------
    CollectionError, TableError, GroupsError
        When the collection cannot be opened, the playlists cannot be read, nothing matches, or
        other groups of that name exist and ``overwrite`` is off.
    """
    from playlist_pretrain.playlists.readers import find_reader
    from playlist_pretrain.records.collection import Collection

    check_groups_name(options.name)
    columns = parse_columns(options.columns)
    source = Path(options.playlists)
    reader = find_reader(source, options.format)
    total = sum(file.stat().st_size for file in reader.files(source))
    collection = Collection.open(options.collection)
    with progress(
        quiet=options.quiet, total=total, desc="playlists", unit="B", unit_scale=True
    ) as bar:
        groups, coverage = match_groups(
            reader.read(source, columns, bar.update), collection, options.name
        )
    path = groups_path(collection.path, options.name)
    same = path.exists() and _same(path, groups, options.overwrite)
    if not same:
        groups.save(path)
    report = {
        "source": str(source),
        "format": reader.name,
        "content_key": groups.content_key,
        "collection": {"name": collection.name, "content_key": collection.content_key},
    }
    write_json(path.with_suffix(".report.json"), {**report, **coverage.to_dict()})
    if not options.quiet:
        print(coverage.text())
        print(f"{path}: " + ("holds these groups already" if same else "written"))
        print("next: " + _next_command(options))
    return groups


def parse_columns(text: str | None) -> dict[str, str] | None:
    """``group=artist,track=id`` → mapping; None for None.

    Raises
    ------
    TableError
        For anything else, or when both are the same column.
    """
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    columns = {key: column for key, _, column in pairs}
    if (
        len(columns) != len(pairs)
        or not set(columns) <= {"group", "track"}
        or not all(columns.values())
        or len(set(columns.values())) != len(columns)
    ):
        raise TableError(f"--columns {text!r}: expected group=COLUMN,track=COLUMN")
    return columns


def _same(path: Path, groups: TrackGroups, overwrite: bool) -> bool:
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


def _next_command(options: MatchOptions) -> str:
    words = ["--pairs", "playlist_co", "--collection", options.collection, "--groups", options.name]
    return "python scripts/pretrain.py " + shlex.join(words)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of :func:`match_playlists`; returns the exit code."""
    return cli.run(
        MatchOptions, match_playlists, prog="match_playlists.py", epilog=USAGE, argv=argv
    )
