"""Matching: from the ids of a playlist source to the rows of a collection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import GroupsError
from playlist_pretrain.playlists.coverage import Coverage, shown
from playlist_pretrain.playlists.groups import FEWEST_TRACKS, TrackGroups, check_groups_name
from playlist_pretrain.playlists.kernels import filter_groups, first_in_group, gather_runs
from playlist_pretrain.playlists.look_up import EXAMPLES, LookUp, Rows
from playlist_pretrain.playlists.readers.paths import paths_hint
from playlist_pretrain.records.id_table import did_you_mean
from playlist_pretrain.records.schema import PackedStrings

if TYPE_CHECKING:
    from playlist_pretrain.playlists.id_map import IdMap
    from playlist_pretrain.records.collection import Collection

MOST_WANTED = 20


def match_groups(
    entries: Iterable[tuple[str, Sequence[str]]],
    collection: Collection,
    name: str,
    id_map: IdMap | None = None,
    paths_option: str | None = None,
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
    id_map : IdMap, optional
        What the ids of the source are called in the collection; without one, the same.
    paths_option : str, optional
        Option for the folder below which paths became these ids; for the message when none is
        found.

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
    known: Rows = collection if id_map is None else id_map
    found = LookUp(known)
    for group_id, track_ids in entries:
        found.add(group_id, track_ids)
    found.flush()
    wanted = tuple(found.missing.most_common(MOST_WANTED))
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
        entries_unknown=found.entries - len(rows) - found.unmapped,
        entries_repeated=repeated,
        entries_in_dropped_groups=len(rows) - repeated - len(kept_rows),
        tracks=len(collection),
        tracks_covered=int(np.count_nonzero(np.bincount(kept_rows))) if len(kept_rows) else 0,
        mean_length=float(lengths.mean()) if len(lengths) else 0.0,
        median_length=float(np.median(lengths)) if len(lengths) else 0.0,
        wanted=wanted,
        entries_unmapped=None if id_map is None else found.unmapped,
        hints=tuple(did_you_mean(name, known.rows) for name, _ in wanted),
    )
    if not group_ids:
        raise GroupsError(_nothing(coverage, found.examples, collection, known, paths_option))
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


def _nothing(
    coverage: Coverage,
    examples: Sequence[str],
    collection: Collection,
    known: Rows,
    paths_option: str | None,
) -> str:
    if not coverage.groups_read:
        return "the playlists' source holds no groups"
    hints = filter(None, (did_you_mean(one, known.rows) for one in examples))
    here = [collection.track_ids[row] for row in range(min(EXAMPLES, len(collection)))]
    found = coverage.entries_read - coverage.entries_unknown - (coverage.entries_unmapped or 0)
    what = (
        f"none of the {coverage.entries_read:,} entries is a track of"
        if not found
        else f"no group has two tracks of the {found:,} entries found in"
    )
    return (
        f"{what} collection {str(collection.path)!r} ({len(collection):,} tracks); the playlists' "
        f"ids look like {', '.join(map(shown, examples)) or 'nothing'}"
        f"{next(hints, '')}, the collection's like {', '.join(map(shown, here)) or 'nothing'}"
        + ("" if paths_option is None else paths_hint(examples, paths_option))
        + ("" if coverage.entries_unmapped is not None else "; --map joins ids that differ")
    )
