"""Matching: from the ids of a playlist source to the rows of a collection, with a report."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import shlex
from array import array
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from playlist_pretrain.audio.file_tags import BETWEEN, PLACEHOLDERS, plain_name
from playlist_pretrain.delimited import read_columns
from playlist_pretrain.errors import GroupsError, RecipeError, TableError
from playlist_pretrain.files import write_json
from playlist_pretrain.kernels import compiled
from playlist_pretrain.messages import progress
from playlist_pretrain.playlists.groups import (
    FEWEST_TRACKS,
    TrackGroups,
    check_groups_name,
    filter_groups,
    first_in_group,
    groups_path,
)
from playlist_pretrain.playlists.readers import (
    READERS,
    Request,
    Source,
    check_request,
    find_reader,
    other_files,
)
from playlist_pretrain.playlists.readers.paths import paths_hint, without_extension
from playlist_pretrain.playlists.readers.source import LeftOut, set_encoding
from playlist_pretrain.playlists.readers.table import A_FILE, DEFAULT_COLUMNS
from playlist_pretrain.records.collection import Collection, opened
from playlist_pretrain.records.paths import KnownIds, PathIds
from playlist_pretrain.records.schema import PackedStrings, did_you_mean
from playlist_pretrain.records.track_tags import FOLDER, TRACKS_FILE

logger = logging.getLogger(__name__)
LONGEST_SHOWN = 60
DAMAGES_SHOWN = 5
MOST_WANTED = 20
EXAMPLES = 3
KINDS_SHOWN = 8
LARGEST_SHOWN = 3
LARGE = 5
"""A group of more tracks than the collection's divided by this is worth a warning."""
TAGS = "tags"
"""In place of a file with playlists: the collection's own ``tracks.csv``."""
GROUP = DEFAULT_COLUMNS["group"]
GIVEN = ("playlists", "sessions")
"""Kinds whose groups have the names that files, services or people give them: any."""
LOOK_UP = 65_536
"""Ids that are looked up at once."""
NOT_THERE, NOT_MAPPED = -1, -2


@dataclass(frozen=True)
class Coverage:
    """Counts of one matching, and the ids most often not found.

    Every entry (track id of a group) that was read is in exactly one of ``entries_matched`` (of
    groups that were kept), ``entries_unknown`` (the collection has no such track),
    ``entries_unmapped`` (the map does not know the id; None without a map), ``entries_repeated``
    (again in its group) and ``entries_in_dropped_groups`` (the only track of its group). Lengths
    are tracks of a kept group, ``wanted`` ids with the number of entries that asked for them,
    ``hints`` likely ids in their place, ``damaged`` damages of sources not read to their end,
    ``largest`` the groups with the most tracks.
    ``rows_left_out`` has, by reason, the rows of the sources that gave no entry, and where the
    first is; ``other_files`` the files of a folder that are not of the format, by their ending;
    ``notes`` say how paths were taken, what those that were not found are like, what was guessed.
    """

    name: str
    groups_read: int
    groups_kept: int
    largest: tuple[tuple[str, int], ...]
    entries_read: int
    entries_matched: int
    entries_unknown: int
    entries_repeated: int
    entries_in_dropped_groups: int
    tracks: int
    tracks_covered: int
    mean_length: float
    median_length: float
    wanted: tuple[tuple[str, int], ...]
    entries_unmapped: int | None = None
    damaged: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    rows_left_out: tuple[tuple[str, int, str], ...] = ()
    other_files: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def groups_dropped(self) -> int:
        """Groups with fewer than two tracks of the collection."""
        return self.groups_read - self.groups_kept

    @property
    def groups_per_track(self) -> float:
        """Mean number of groups a covered track is in."""
        return self.entries_matched / self.tracks_covered if self.tracks_covered else 0.0

    def to_dict(self) -> dict:
        """All figures, ready for JSON."""
        figures = dataclasses.asdict(self) | {
            "groups_dropped": self.groups_dropped,
            "groups_per_track": self.groups_per_track,
            "largest": [{"group": group, "tracks": count} for group, count in self.largest],
            "wanted": [{"track_id": track_id, "entries": count} for track_id, count in self.wanted],
            "rows_left_out": [
                {"reason": reason, "rows": count, "first": first}
                for reason, count, first in self.rows_left_out
            ],
            "other_files": dict(self.other_files),
        }
        del figures["hints"]  # for people
        return figures

    def text(self) -> str:
        """The figures as an aligned block of lines."""
        left_out = sum(count for _, count, _ in self.rows_left_out)
        rows = [
            ("groups read", self.groups_read, ""),
            ("  kept", self.groups_kept, _share(self.groups_kept, self.groups_read)),
            ("  dropped, fewer than two tracks", self.groups_dropped, ""),
            *([("rows left out", left_out, "")] if left_out else []),
            *((f"  {reason}", count, "") for reason, count, _ in self.rows_left_out),
            ("entries read", self.entries_read, ""),
            (
                "  matched",
                self.entries_matched,
                _share(self.entries_matched, self.entries_read + left_out)
                + (" of these and the rows left out" if left_out else ""),
            ),
            *(
                [("  dropped, unknown track id", self.entries_unknown, "")]
                if self.entries_unmapped is None
                else [
                    ("  dropped, id not in the map", self.entries_unmapped, ""),
                    ("  dropped, its track not here", self.entries_unknown, ""),
                ]
            ),
            ("  dropped, again in its group", self.entries_repeated, ""),
            ("  dropped with their group", self.entries_in_dropped_groups, ""),
            ("tracks of the collection", self.tracks, ""),
            ("  covered", self.tracks_covered, _share(self.tracks_covered, self.tracks)),
            ("tracks a group, mean", self.mean_length, ""),
            ("tracks a group, median", self.median_length, ""),
            ("groups a track, mean", self.groups_per_track, ""),
        ]
        values = [f"{v:,.1f}" if isinstance(v, float) else f"{v:,}" for _, v, _ in rows]
        left, right = max(len(row[0]) for row in rows), max(map(len, values))
        lines = [f"groups {self.name!r}"]
        for (label, _, share), value in zip(rows, values, strict=True):
            lines.append(f"  {label:<{left}}  {value:>{right}}  {share}".rstrip())
        lines += _counted("largest groups", self.largest)
        if self.damaged:
            lines.append(f"  sources that could not be read to their end: {len(self.damaged):,}")
            lines += [f"    {text}" for text in self.damaged[:DAMAGES_SHOWN]]
            if len(self.damaged) > DAMAGES_SHOWN:
                lines.append(f"    … and {len(self.damaged) - DAMAGES_SHOWN:,} more in the report")
        lines += [f"  first row left out: {first}" for _, _, first in self.rows_left_out[:1]]
        lines += [f"  {note}" for note in self.notes]
        if self.other_files:
            lines.append(f"  files of other kinds left alone: {files_text(self.other_files)}")
        what = "most wanted track ids that the collection does not have"
        lines += _counted(what, self.wanted, self.hints)
        return "\n".join(lines)


def _counted(
    what: str, counts: Sequence[tuple[str, int]], hints: Sequence[str] = ()
) -> Iterator[str]:
    """Lines of names by their numbers, the largest first."""
    width = len(f"{counts[0][1]:,}") if counts else 0
    yield from [f"  {what}"] * bool(counts)
    for (name, count), hint in zip(counts, hints or [""] * len(counts), strict=True):
        yield f"    {count:>{width},}  {shown(name)}{hint}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""


def files_text(counts: Sequence[tuple[str, int]]) -> str:
    """Files by their ending, with the ``--format`` that reads them, for a message."""
    more = f", … ({len(counts)} kinds)" if len(counts) > KINDS_SHOWN else ""
    return ", ".join(f"{count:,} {ending}" for ending, count in counts[:KINDS_SHOWN]) + more


def shown(text: str) -> str:
    """``text`` quoted for a terminal: control characters escaped, cut after 60 characters."""
    return repr(text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…")


class Rows(KnownIds, Protocol):
    """A collection, or a map of other ids to it; an id that a map does not know has row −2."""


URI = "spotify:track:"
SPOTIFY = re.compile(
    r"(?:spotify:track:|https?://open\.spotify\.com/(?:intl-[\w-]+/)?track/)?([0-9A-Za-z]{22})/?(?:\?.*)?"
)
"""Track of Spotify as a URI, an address or a bare id."""


def one_form(track_id: str) -> str:
    """``track_id``, as a URI if it is a track of Spotify in any form."""
    found = SPOTIFY.fullmatch(track_id)
    return f"{URI}{found[1]}" if found else track_id


class IdMap:
    """Rows of a collection by foreign id, −1 where it does not have the track.

    A track of Spotify is found in any of its forms.
    """

    def __init__(self, row_of: dict[str, int]):
        self._row_of = row_of

    def __len__(self) -> int:
        return len(self._row_of)

    @classmethod
    def read(cls, path: str | Path, collection: Rows) -> IdMap:
        """Read a table (CSV or TSV) with the columns ``foreign_id`` and ``track_id``.

        Raises TableError: if it cannot be read, or an id stands for two tracks; names the line.
        """
        track_of: dict[str, int] = {}
        tracks: dict[str, int] = {}
        mend = "a map has a column for each of the two ids"
        left_out = LeftOut()
        names = ("foreign_id", "track_id")
        for line, (foreign, track) in read_columns(path, names, mend=mend, row=left_out):
            foreign = one_form(foreign)
            number = tracks.setdefault(track, len(tracks))
            if track_of.setdefault(foreign, number) != number:
                other = list(tracks)[track_of[foreign]]
                raise TableError(
                    f"{path}: line {line}: {shown(foreign)} stands for {shown(track)} here, and "
                    f"for {shown(other)} before"
                )
        if told := left_out.text():
            logger.info("%s: %s", path, told)
        known = PathIds(collection, strip=without_extension)
        ids = list(tracks)
        parts = [ids[first : first + LOOK_UP] for first in range(0, len(ids), LOOK_UP)]
        rows = np.concatenate([known.rows(part) for part in parts or [[]]]).tolist()
        for note in known.notes():
            logger.info("%s: %s", path, note)
        return cls({foreign: rows[number] for foreign, number in track_of.items()})

    @property
    def track_ids(self) -> Sequence[str]:
        """The foreign ids."""
        return list(self._row_of)

    @property
    def known(self) -> int:
        """Number of foreign ids whose track the collection has."""
        return sum(row != NOT_THERE for row in self._row_of.values())

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Row of every foreign id [shape=(n,), int32]; see :class:`Rows`."""
        row_of = self._row_of
        found = (
            row_of[one] if one in row_of else row_of.get(one_form(one), NOT_MAPPED) for one in ids
        )
        return np.fromiter(found, np.int32, len(ids))


def _batches(
    entries: Iterable[tuple[str, Sequence[str]]], index_of: dict[str, int]
) -> Iterator[tuple[list[tuple[int, int]], list[str]]]:
    """Yield runs (group, length) and the ids in them, many parts of groups at a time."""
    runs: list[tuple[int, int]] = []
    ids: list[str] = []
    for group_id, track_ids in entries:
        runs.append((index_of.setdefault(group_id, len(index_of)), len(track_ids)))
        ids += track_ids
        if max(len(ids), len(runs)) >= LOOK_UP:
            yield runs, ids
            runs, ids = [], []
    if runs:
        yield runs, ids


def match_groups(
    entries: Iterable[tuple[str, Sequence[str]]],
    collection: Collection,
    name: str,
    id_map: IdMap | None = None,
    paths_option: str | None = None,
    path_prefix: str | None = None,
) -> tuple[TrackGroups, Coverage]:
    """Turn groups of track ids into groups of rows.

    A track that comes again in its group is left out there, ids that the collection does not
    have are left out, and so are groups with fewer than two tracks left. All of it is counted.

    ``entries`` are (group id, track ids), streamed; parts of one group are joined in the order
    they come in. ``id_map`` leads from the ids of the source to tracks of the collection.
    ``paths_option`` gives the folder below which paths became ids, for the message when none is
    found, and says that all ids are paths; ``path_prefix`` is what they begin with in place of that
    folder. Groups come in the order of their first part, tracks in that of their first entry.

    Memory: 4 bytes for each matched entry (8 while they are sorted), the group ids, and the
    distinct ids that were not found.

    Raises GroupsError: when no group has two tracks of the collection.
    """
    check_groups_name(name)
    known: Rows = collection if id_map is None else id_map
    paths = PathIds(
        known, every=paths_option is not None, prefix=path_prefix, strip=without_extension
    )
    index_of: dict[str, int] = {}
    run_group, run_length, found = array("i"), array("i"), array("i")
    entries_read = entries_unmapped = 0
    missing: Counter[str] = Counter()
    examples: list[str] = []
    for runs, ids in _batches(entries, index_of):
        if len(examples) < EXAMPLES:
            examples = list(dict.fromkeys([*examples, *ids]))[:EXAMPLES]
        answer = paths.rows(ids)
        here = answer >= 0
        groups, lengths = np.array(runs, np.int32).T
        ends = np.cumsum(lengths, dtype=np.int64)
        total = np.concatenate([np.zeros(1, np.int64), np.cumsum(here)])
        run_group.frombytes(groups.tobytes())
        run_length.frombytes((total[ends] - total[ends - lengths]).astype(np.int32).tobytes())
        found.frombytes(answer[here].astype(np.int32).tobytes())
        entries_read += len(ids)
        entries_unmapped += int(np.count_nonzero(answer == NOT_MAPPED))
        missing.update(ids[i] for i in np.flatnonzero(~here))
    wanted = tuple(missing.most_common(MOST_WANTED))
    parts = (np.frombuffer(part, np.int32) for part in (run_group, run_length, found))
    indptr, rows = gather_runs(*parts, len(index_of))
    first = first_in_group(indptr, rows, len(collection))
    everything = np.ones(len(indptr) - 1, bool)
    kept_indptr, kept_rows, kept = filter_groups(indptr, rows, everything, first, FEWEST_TRACKS)
    group_ids = [group_id for group_id, index in index_of.items() if kept[index]]
    lengths = np.diff(kept_indptr)
    repeated = len(rows) - int(first.sum())
    largest = np.argsort(-lengths, kind="stable")[:LARGEST_SHOWN].tolist()
    coverage = Coverage(
        name=name,
        groups_read=len(kept),
        groups_kept=len(group_ids),
        largest=tuple((group_ids[group], int(lengths[group])) for group in largest),
        entries_read=entries_read,
        entries_matched=len(kept_rows),
        entries_unknown=entries_read - len(rows) - entries_unmapped,
        entries_repeated=repeated,
        entries_in_dropped_groups=len(rows) - repeated - len(kept_rows),
        tracks=len(collection),
        tracks_covered=int(np.count_nonzero(np.bincount(kept_rows))),
        mean_length=float(lengths.mean()) if len(lengths) else 0.0,
        median_length=float(np.median(lengths)) if len(lengths) else 0.0,
        wanted=wanted,
        entries_unmapped=None if id_map is None else entries_unmapped,
        hints=tuple(did_you_mean(name, known.rows) for name, _ in wanted),
        notes=tuple(paths.notes()),
    )
    if not group_ids:
        raise GroupsError(_nothing(coverage, examples, collection, known, paths_option))
    ids = PackedStrings.pack(group_ids)
    key = collection.content_key
    return TrackGroups(name, kept_indptr, kept_rows, len(collection), key, ids), coverage


def _nothing(
    coverage: Coverage,
    examples: Sequence[str],
    collection: Collection,
    known: Rows,
    paths_option: str | None,
) -> str:
    if not coverage.groups_read:
        return "the playlists' source holds no groups"
    hint = next(filter(None, (did_you_mean(one, known.rows) for one in examples)), "")
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
        f"{hint}, the collection's like {', '.join(map(shown, here)) or 'nothing'}"
        + ("" if paths_option is None else paths_hint(examples, paths_option))
        + "".join(f"; {note}" for note in coverage.notes)
        + ("" if coverage.entries_unmapped is not None else "; --map joins ids that differ")
    )


@dataclass(frozen=True, repr=False)
class Match:
    """Groups that were matched and written to ``path``, their coverage, and their kind."""

    groups: TrackGroups
    coverage: Coverage
    path: Path
    kind: str

    def __repr__(self) -> str:
        return f"{self.coverage.text()}\n{self.path}"


def match_playlists(
    playlists: str | Path,
    collection: str | Path | Collection,
    *,
    name: str | None = None,
    format: str = "auto",
    kind: str | None = None,
    columns: Mapping[str, str] | None = None,
    separator: str | None = None,
    gap: float = 30.0,
    audio: str | Path | None = None,
    path_prefix: str | None = None,
    encoding: str | None = None,
    min_played: float = 30.0,
    map: str | Path | None = None,
    ignore: Sequence[str] = (),
    on_error: str = "raise",
    workers: int | None = None,
    overwrite: bool = False,
) -> Match:
    """Match playlists (artists, albums, sessions, …) to the tracks of a collection.

    Writes ``groups-<name>.npz`` and ``groups-<name>.report.json`` into the collection's folder.
    Names that say nothing (``unknown``, ``various artists`` and the like,
    :data:`~playlist_pretrain.audio.file_tags.PLACEHOLDERS`) are no groups where they are those of
    artists, albums, genres or years, or come from a column that ``columns`` names: their rows are
    counted. Names of playlists and sessions are taken as they are.

    Parameters
    ----------
    playlists : str or Path
        File, folder or zip file; ``"tags"`` for the tags of the collection's own files
        (``tracks.csv``), by ``artist`` unless ``columns`` says ``album``, ``genre``, ``year`` or
        ``folder``, the one that the file lies in.
    collection : str, Path or Collection
    name : str, optional
        Name of the groups; default ``kind``.
    format : str
        Name of a reader, or ``auto``.
    kind : str, optional
        Kind of groups, of those that the format has; default that of the column of groups of a
        table (``artist``: artists), or its first.
    columns : mapping, optional
        Columns of a table (``group``, ``track``) or a history (``user``, ``time``, ``track``).
    separator : str, optional
        Sign between several groups in one cell of a table.
    gap : float
        Minutes of silence that end a session of a history.
    audio : str or Path, optional
        Folder below which the paths in playlist files become track ids.
    path_prefix : str, optional
        What the paths in playlists begin with in place of that folder, as in ``D:\\Music``; by
        default it is found where one makes most of them match.
    encoding : str, optional
        Encoding of text without a byte-order mark; default UTF-8.
    min_played : float
        Seconds from which a track in a history of Spotify counts as listened to.
    map : str or Path, optional
        Table with ``foreign_id`` and ``track_id``, for ids that are not the collection's.
    ignore : sequence of str, optional
        Names of groups to leave out, of any kind; blanks and letter case do not count.
    on_error : {"raise", "skip"}
        With ``skip`` the damage of a source is counted, and what came before it is kept.
    workers : int, optional
        Processes that read slices of the Million Playlist Dataset; default one a core.
    overwrite : bool
        Replace groups of the same name that differ.

    Raises
    ------
    CollectionError, TableError, GroupsError, RecipeError
        When the collection cannot be opened, the playlists cannot be read, nothing matches,
        other groups of that name exist, or an argument cannot be obeyed.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    if workers < 1:
        raise RecipeError(f"--workers {workers}: must be at least 1")
    if not 0 <= gap < float("inf"):
        raise RecipeError(f"--gap {gap}: minutes, 0 or more")
    if not 0 <= min_played < float("inf"):
        raise RecipeError(f"--min-played {min_played}: seconds, 0 or more")
    if on_error not in ("raise", "skip"):
        raise RecipeError(f"on_error {on_error!r}: raise or skip")
    if name:
        check_groups_name(name)
    ignore = [ignore] if isinstance(ignore, str) else list(ignore)
    if playlists == TAGS:
        collection = opened(collection)
        source, reader = collection.path / TRACKS_FILE, READERS.get("table")
        if format not in ("auto", reader.name):
            raise RecipeError(f"--format {format}: tags are in a table, {source}")
        if not source.is_file():
            raise TableError(
                f"{source}: no such file; the make_tfrecords command that built the collection "
                "from audio files reads their tags into it, or name another table of tracks and "
                "artists: --playlists FILE --columns group=artist"
            )
        columns, separator = {"group": "artist", **(columns or {})}, separator or BETWEEN
    else:
        source = Path(playlists)
        reader = find_reader(source, format)
    column = (columns or {}).get("group", GROUP) if reader.name == "table" else A_FILE
    of_column = f"{column.lower().removesuffix('_id').removesuffix('s')}s"
    of_column = of_column if of_column in reader.kinds else ""
    left_out = LeftOut(keep_going=on_error == "skip")
    request = Request(
        kind=kind or of_column or reader.kinds[0],
        columns=columns,
        separator=separator,
        gap=gap,
        audio=Path(audio) if audio else None,
        min_played=min_played,
        workers=workers,
        damaged=left_out,
        note=left_out.note,
    )
    check_request(reader, source, request)
    if separator is not None and not separator.strip():
        raise TableError("--separator: must be a sign")
    collection = opened(collection)
    id_map = None
    if map is not None:
        id_map = IdMap.read(map, collection)
        logger.info("%s: %s ids, %s of tracks of the collection",
                    map, f"{len(id_map):,}", f"{id_map.known:,}")  # fmt: skip
    no_group = set(PLACEHOLDERS)
    if request.kind in GIVEN and (kind or of_column or column in (A_FILE, GROUP)):
        no_group.clear()  # any name may be that of a playlist
    ignored = {plain_name(one): one for one in ignore}  # until they come
    no_group.update(ignored)
    of_tags = playlists == TAGS
    sources = [Source(source, PurePosixPath(TRACKS_FILE))] if of_tags else reader.sources(source)
    set_encoding(sources, encoding)
    size = sum(one.size for one in sources)
    with progress(total=size, desc="playlists", unit="B", unit_scale=True) as bar:
        entries = reader.read(sources, dataclasses.replace(request, advance=bar.update))
        if no_group:
            entries = _without(no_group, ignored, entries, left_out)
        paths = "--audio" if "audio" in reader.options else None
        try:
            groups, coverage = match_groups(
                entries, collection, name or request.kind, id_map, paths, path_prefix
            )
        except GroupsError as error:
            told = [told] if (told := left_out.text()) else []
            if of_tags:
                other = "" if column == FOLDER else f", such as --columns group={FOLDER}"
                told.append(f"fill in column {column!r} of {source}, or take another{other}")
            raise GroupsError("; ".join([str(error), *told])) from error
    coverage = dataclasses.replace(
        coverage,
        damaged=tuple(left_out.sources),
        rows_left_out=tuple((reason, *row) for reason, row in left_out.rows.items()),
        other_files=() if of_tags else other_files(reader, source, sources),
        notes=(*coverage.notes, *left_out.notes()),
    )
    logger.info("%s", coverage.text())
    for one in ignored.values():
        logger.info("--ignore %s: no group has this name", shown(one))
    _warn_of_large(groups)
    path = groups_path(collection.path, groups.name)
    same = _holds(path, groups, overwrite=overwrite)
    if not same:
        groups.save(path)
    columns_text = ",".join(f"{key}={column}" for key, column in (columns or {}).items())
    report = {
        "source": str(playlists),
        "format": reader.name,
        "kind": request.kind,
        "map": None if map is None else str(map),
        "ignore": ignore or None,
        "columns": columns_text or None,
        "separator": separator,
        "gap": gap if reader.name == "history" else None,
        "audio": None if audio is None else str(audio),
        "path_prefix": path_prefix,
        "encoding": encoding,
        "min_played": min_played if reader.name == "history" else None,
        "keep_going": on_error == "skip",
        "content_key": groups.content_key,
        "collection": {"name": collection.name, "content_key": collection.content_key},
    }
    write_json(path.with_suffix(".report.json"), report | coverage.to_dict())
    logger.info("%s: %s", path, "holds these groups already" if same else "written")
    return Match(groups, coverage, path, request.kind)


def _without(
    no_group: Container[str],
    ignored: dict[str, str],
    entries: Iterable[tuple[str, Sequence[str]]],
    left_out: LeftOut,
) -> Iterator[tuple[str, Sequence[str]]]:
    """Leave groups out by their names and count their rows; ``ignored`` loses those that came."""
    asked = set(ignored)
    for group, tracks in entries:
        if (name := plain_name(group)) not in no_group:
            yield group, tracks
            continue
        ignored.pop(name, None)
        reason = f"of group {shown(name)}, which names none"
        if name in asked:
            reason = f"of group {shown(name)}, by --ignore"
        first = f"{shown(tracks[0]) if tracks else 'no track'} of group {shown(group)}"
        left_out.add(reason, len(tracks), first)


def _warn_of_large(groups: TrackGroups) -> None:
    """Warn of groups with so many tracks that they may be none."""
    lengths = groups.lengths
    large = [i for i in np.argsort(-lengths, kind="stable") if lengths[i] * LARGE > groups.tracks]
    if not large:
        return
    names = [
        f"{shown(groups.group_ids[i])} ({lengths[i]:,}, {_share(int(lengths[i]), groups.tracks)})"
        for i in large[:LARGEST_SHOWN]
    ]
    more = f" and {len(large) - LARGEST_SHOWN:,} more" if len(large) > LARGEST_SHOWN else ""
    has = "1 group has" if len(large) == 1 else f"{len(large):,} groups have"
    logger.warning(
        f"{has} more than a fifth of the {groups.tracks:,} tracks of the collection: "
        f"{', '.join(names)}{more}; if a name stands for none, or for many, leave it out: "
        f"--ignore {shlex.quote(groups.group_ids[large[0]])}"
    )


def _holds(path: Path, groups: TrackGroups, *, overwrite: bool) -> bool:
    """Compare with the groups at ``path``; a GroupsError if they differ, unless ``overwrite``."""
    if not path.exists():
        return False
    mend = "--overwrite replaces them, --name NAME keeps both"
    try:
        old = TrackGroups.load(path)
    except GroupsError as error:
        if overwrite:
            return False
        raise GroupsError(f"{error}; {mend}") from error
    same = old.content_key == groups.content_key and all(
        np.array_equal(getattr(old.group_ids, part), getattr(groups.group_ids, part))
        for part in ("data", "ends")
    )
    if not (same or overwrite):
        raise GroupsError(f"{path}: holds other groups ({len(old):,} of them); {mend}")
    return same


@compiled
def gather_runs(run_group, run_length, entries, groups):
    """Bring the entries of every group together, in the order in which they came.

    ``run_group`` and ``run_length`` (int32 [runs]) tell the group and size of each run of
    ``entries`` (int32 [nnz]). Returns ``indptr`` (int64 [groups + 1]) and ``rows`` (int32 [nnz]).
    """
    indptr = np.zeros(groups + 1, np.int64)
    for run in range(len(run_group)):
        indptr[run_group[run] + 1] += run_length[run]
    for group in range(groups):
        indptr[group + 1] += indptr[group]
    free = indptr[:-1].copy()
    rows = np.empty(len(entries), np.int32)
    read = 0
    for run in range(len(run_group)):
        write = free[run_group[run]]
        for _ in range(run_length[run]):
            rows[write] = entries[read]
            write += 1
            read += 1
        free[run_group[run]] = write
    return indptr, rows
