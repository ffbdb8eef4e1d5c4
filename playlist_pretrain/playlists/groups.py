"""Groups of tracks as one sparse matrix over the rows of a collection, and their split for a run.

The file ``groups-<name>.npz`` is an archive of plain arrays: ``header`` (UTF-8 bytes of a JSON
object with format, name, tracks, collection_key), ``indptr`` (int64), ``rows`` (int32),
``group_id_bytes`` (UTF-8 of all group ids, one after the other) and ``group_id_ends`` (int64, where
each ends). Equal groups give equal bytes.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.delimited import has_column, read_columns, text_lines
from playlist_pretrain.errors import GroupsError, TableError
from playlist_pretrain.files import content_key, load_json, read_arrays, whole, write_arrays
from playlist_pretrain.kernels import compiled
from playlist_pretrain.messages import command
from playlist_pretrain.records.schema import PackedStrings, did_you_mean
from playlist_pretrain.seeds import random_order, random_stream
from playlist_pretrain.storage import location

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection

logger = logging.getLogger(__name__)
FORMAT = 1
FEWEST_TRACKS = 2
COLUMN = "track_id"
HOLD_OUT_SEED = 0
"""The same for all runs: tables made from the groups that are left serve every seed of a run, and
the probes of two runs ask the same question."""
FEWEST_PAIRS = 20
"""Held-out pairs below which a probe tells nothing: each is asked both ways, and the standard error
of a share of 40 answers is 0.08 at a half and 0.06 at a fifth, as large as what is looked for."""
GOOD_PAIRS = 50
"""Held-out pairs that are worth more than the usual share of a small collection: a standard error
of at most 0.05."""
MOST_PAIRS = 500
"""More would tell little (standard error below 0.016) and be lost to training."""
LARGEST_USUAL_SHARE = 0.1
"""Of the tracks, for which the share is raised to reach ``GOOD_PAIRS``."""
FEWEST_WRONG = 19
"""Wrong answers to a pair from which guessing is right in at most one of twenty."""
STAYS, HELD_OUT = 1, 2


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Pairs of tracks that are kept out of training: two of one group each.

    ``pairs`` (int32 [pairs, 2]) are rows of the collection. ``wrong`` (bool [2 · pairs, 2 · pairs])
    tells of two of the held-out tracks, in the order of ``pairs.ravel()``, that they share no
    group, so that one is a wrong answer where the partner of the other is looked for.
    """

    pairs: np.ndarray
    wrong: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def askable(self) -> np.ndarray:
        """Pairs whose tracks have wrong answers enough, both of them [shape=(pairs,), bool]."""
        return (self.wrong.sum(axis=1) >= FEWEST_WRONG).reshape(-1, 2).all(axis=1)


@dataclass(frozen=True, eq=False)
class TrackGroups:
    """All groups of one kind; group ``i`` holds ``rows[indptr[i]:indptr[i + 1]]``.

    ``name`` is the kind, e.g. ``playlists``. ``indptr`` (int64 [groups + 1]) tells where each group
    starts in ``rows`` (int32 [nnz]): rows of a collection of ``tracks`` tracks with the content key
    ``collection_key``, in the order of the source, a row once in a group. ``group_ids`` are the ids
    in the source, kept packed. The arrays are read-only; a writable array given is copied.

    Raises GroupsError: if the parts do not fit together.
    """

    name: str
    indptr: np.ndarray
    rows: np.ndarray
    tracks: int
    collection_key: str
    group_ids: PackedStrings

    def __post_init__(self):
        check_groups_name(self.name)
        for field, dtype in (("indptr", np.dtype("<i8")), ("rows", np.dtype("<i4"))):
            array = np.asarray(getattr(self, field))
            if array.ndim != 1 or array.dtype.kind != "i":
                raise GroupsError(f"{field}: {array.dtype} {array.shape}, not integers (n,)")
            if array.size and not 0 <= array.min() <= array.max() <= np.iinfo(dtype).max:
                raise GroupsError(f"{field}: values from {array.min()} to {array.max()}")
            if array.dtype != dtype or array.flags.writeable or not array.flags.c_contiguous:
                array = np.array(array, dtype, order="C")
                array.flags.writeable = False
            object.__setattr__(self, field, array)
        if not isinstance(self.group_ids, PackedStrings):
            try:
                object.__setattr__(self, "group_ids", PackedStrings.pack(self.group_ids))
            except ValueError as error:
                raise GroupsError(f"group ids: {error}") from error
        indptr, rows = self.indptr, self.rows
        if not 0 <= self.tracks < 2**31:
            raise GroupsError(f"{self.tracks} tracks: there can be 0 to {2**31 - 1}")
        ends = (indptr[:1].tolist(), indptr[-1:].tolist())
        if ends != ([0], [len(rows)]) or np.any(indptr[1:] < indptr[:-1]):
            raise GroupsError(f"indptr does not cut {len(rows)} entries into groups")
        if len(self.group_ids) != len(self):
            raise GroupsError(f"{len(self.group_ids)} group ids for {len(self)} groups")
        if len(rows) and int(rows.max()) >= self.tracks:
            raise GroupsError(f"row {rows.max()} in a collection of {self.tracks} tracks")
        numbers, tracks = rows, self.tracks
        if tracks > 1 << 20 and tracks > 64 * len(rows):  # a claim must not take memory
            numbers = np.unique(rows, return_inverse=True)[1].astype(np.int32)
            tracks = len(rows)
        first = first_in_group(indptr, numbers, tracks)
        if not first.all():
            entry = int(np.argmin(first))
            group = int(np.searchsorted(indptr, entry, side="right")) - 1
            raise GroupsError(f"row {rows[entry]} comes twice in group {self.group_ids[group]!r}")

    @classmethod
    def from_lists(
        cls, name: str, groups: Iterable[Iterable[int]], *, tracks: int, collection_key: str
    ) -> TrackGroups:
        """Groups of a notebook's own, as lists of rows; their ids are their positions."""
        lists = [np.fromiter(group, np.int32) for group in groups]
        lengths = np.array([len(rows) for rows in lists], np.int64)
        return cls(
            name=name,
            indptr=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            rows=np.concatenate([np.empty(0, np.int32), *lists]),
            tracks=tracks,
            collection_key=collection_key,
            group_ids=[str(i) for i in range(len(lists))],  # type: ignore[arg-type]
        )

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        return (
            f"TrackGroups({self.name!r}: {len(self):,} groups, {len(self.rows):,} entries, "
            f"{np.count_nonzero(self.covered):,} of {self.tracks:,} tracks)"
        )

    def group(self, i: int) -> np.ndarray:
        """Rows of group ``i`` [shape=(length,), int32], read-only."""
        if not 0 <= i < len(self):
            raise IndexError(f"group {i} of {len(self)}")
        return self.rows[self.indptr[i] : self.indptr[i + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Number of tracks of each group [shape=(groups,), int64]."""
        return np.diff(self.indptr)

    @cached_property
    def covered(self) -> np.ndarray:
        """Mask of the tracks that are in a group [shape=(tracks,), bool], read-only."""
        covered = np.zeros(self.tracks, bool)
        covered[self.rows] = True
        covered.flags.writeable = False
        return covered

    @cached_property
    def content_key(self) -> str:
        """Key of what the groups hold: rows, borders and the collection; not of their ids."""
        return content_key(self.indptr.tobytes(), self.rows.tobytes(), self.collection_key.encode())

    def select(self, mask: np.ndarray) -> TrackGroups:
        """The groups where ``mask`` [shape=(groups,), bool] is True, in the same order."""
        _check_mask(mask, len(self), "groups")
        return self._filtered(mask, np.ones(len(self.rows), bool), 0)

    def without_tracks(self, mask: np.ndarray) -> TrackGroups:
        """Leave out the tracks where ``mask`` [shape=(tracks,), bool] is True.

        Groups that then have fewer than two tracks are left out as well.
        """
        _check_mask(mask, self.tracks, "tracks")
        return self._filtered(np.ones(len(self), bool), ~mask[self.rows], FEWEST_TRACKS)

    def hold_out(self, share: float = 1 / 20, seed: int = 0) -> tuple[TrackGroups, HeldOut]:
        """Hold out pairs of tracks for a probe; returns what is left of the groups, and the pairs.

        A pair is two tracks of one group, which keeps two others at least, and is left out of
        every group. Groups give a pair each in random order, then a second one, and so on, so that
        as many as possible give one. ``share`` of the tracks in groups (0 ≤ share < 1) are held
        out: more, up to a tenth, where they make fewer than 50 pairs, and at most 500 pairs. None
        are if that makes fewer than 20 pairs which have 19 wrong answers each among the others, and
        with a ``share`` of 0. Equal seeds give equal pairs on every platform.

        Raises GroupsError: if ``share`` is not from 0 up to below 1.
        """
        if not 0 <= share < 1:
            raise GroupsError(f"share {share} of the tracks: must be from 0 up to below 1")
        tracks = int(np.count_nonzero(self.covered))
        share_of_pairs = (share * tracks / 2, min(GOOD_PAIRS, LARGEST_USUAL_SHARE * tracks / 2))
        wanted = min(MOST_PAIRS, int(max(share_of_pairs) + 1e-9)) if share else 0
        pairs = np.empty((0, 2), np.int32)
        if wanted >= FEWEST_PAIRS:
            pairs = self._pairs_to_hold_out(wanted, seed)
        held_out = HeldOut(pairs, ~self._sharing(pairs.ravel()))
        if held_out.askable.sum() < FEWEST_PAIRS:
            return self, HeldOut(pairs[:0], np.empty((0, 0), bool))
        mask = np.zeros(self.tracks, bool)
        mask[pairs] = True
        return self.without_tracks(mask), held_out

    def _pairs_to_hold_out(self, wanted: int, seed: int) -> np.ndarray:
        """Draw at most ``wanted`` pairs, int32 [pairs, 2], that no other pair and group needs."""
        stream = random_stream("hold_out", seed)
        order = random_order(stream, len(self))
        order = order[self.lengths[order] >= 2 * FEWEST_TRACKS]
        taken = np.zeros(self.tracks, np.int8)
        pairs: list[np.ndarray] = []
        while len(order) and len(pairs) < wanted:
            gave = []
            for group in order:
                rows = self.group(group)
                rows = rows[taken[rows] != HELD_OUT]
                free = rows[taken[rows] != STAYS]
                staying = len(rows) - len(free)
                if len(free) < 2 or len(rows) < 2 * FEWEST_TRACKS:
                    continue
                free = free[random_order(stream, len(free))]
                taken[free[:2]] = HELD_OUT
                # What this group keeps, no other group may give.
                taken[free[2 : 2 + max(0, FEWEST_TRACKS - staying)]] = STAYS
                pairs.append(free[:2])
                gave.append(group)
                if len(pairs) == wanted:
                    break
            order = np.array(gave, np.int64)
        return np.array(pairs, np.int32).reshape(-1, 2)

    def _sharing(self, rows: np.ndarray) -> np.ndarray:
        """Compute which two of ``rows`` share a group, or are one track [shape=(n, n), bool]."""
        from scipy.sparse import csr_array

        place = np.full(self.tracks, -1, np.int32)
        place[rows] = np.arange(len(rows))
        there = np.flatnonzero(place[self.rows] >= 0)
        groups = np.searchsorted(self.indptr, there, side="right") - 1
        entries = (np.ones(len(there), np.int32), (place[self.rows[there]], groups))
        member = csr_array(entries, shape=(len(rows), len(self)))  # tracks × groups
        return (member @ member.T).toarray() > 0

    def _filtered(self, groups: np.ndarray, entries: np.ndarray, fewest: int) -> TrackGroups:
        indptr, rows, kept = filter_groups(self.indptr, self.rows, groups, entries, fewest)
        ids = self.group_ids
        if not kept.all():
            ids = PackedStrings.pack(ids[i] for i in np.flatnonzero(kept))
        return dataclasses.replace(self, indptr=indptr, rows=rows, group_ids=ids)

    def save(self, path: str | Path) -> None:
        """Write the groups, whole or not at all; equal groups give equal bytes."""
        header = {
            "format": FORMAT,
            "name": self.name,
            "tracks": int(self.tracks),
            "collection_key": self.collection_key,
        }
        write_arrays(
            path,
            header,
            indptr=self.indptr,
            rows=self.rows,
            group_id_bytes=self.group_ids.data,
            group_id_ends=self.group_ids.ends.astype("<i8"),
        )

    @classmethod
    def load(cls, path: str | Path) -> TrackGroups:
        """Read groups that :meth:`save` wrote.

        Raises GroupsError: if the file is missing, truncated, foreign, or its parts do not fit
        together.
        """
        path = location(path)
        mend = f"; make it again with {command('match_playlists')} … --overwrite"
        if not path.exists():
            raise GroupsError(f"{path}: no such file")
        with whole(path, "groups file", GroupsError, mend):
            return cls._read(path)

    @classmethod
    def _read(cls, path: Path) -> TrackGroups:
        header, arrays = read_arrays(path, FORMAT)
        name, tracks, key = (header[field] for field in ("name", "tracks", "collection_key"))
        if not (isinstance(name, str) and isinstance(key, str) and type(tracks) is int):
            raise ValueError("name and collection_key are text, tracks is a number")
        indptr, rows = arrays["indptr"], arrays["rows"]
        ids, ends = arrays["group_id_bytes"], arrays["group_id_ends"]
        if ids.dtype != np.uint8 or ends.dtype != np.int64 or ids.ndim != 1 or ends.ndim != 1:
            raise ValueError("group ids are not packed text")
        indptr.flags.writeable = rows.flags.writeable = False
        return cls(name, indptr, rows, tracks, key, PackedStrings(ids, ends))


def _check_mask(mask: np.ndarray, size: int, what: str) -> None:
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (size,):
        raise ValueError(f"mask: {mask.dtype} {mask.shape}, not bool ({size},) over the {what}")


def check_groups_name(name: str) -> str:
    """Return ``name``, or raise GroupsError when it cannot be part of a file name."""
    if not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise GroupsError(
            f"groups name {name!r}: use up to 100 letters, digits, '-', '_' and '.', "
            "a letter or digit first"
        )
    return name


def groups_path(folder: Path, name: str) -> Path:
    """File of the groups called ``name`` of the collection in ``folder``."""
    return folder / f"groups-{check_groups_name(name)}.npz"


def load_groups(collection: Collection, name: str) -> TrackGroups:
    """Read the groups ``name`` of ``collection``.

    Raises GroupsError: if there are none of that name (lists those there are), the file is damaged,
    or they were made for a collection of another content.
    """
    path = groups_path(collection.path, name)
    folder = str(collection.path)
    words = ["--playlists", "FILE", "--collection", folder]
    if name != "playlists":
        words += ["--name", name]
    made_by = command("match_playlists", *words)
    if not path.is_file():
        known = sorted(
            file.name.removeprefix("groups-").removesuffix(".npz")
            for file in collection.path.glob("groups-*.npz")
        )
        raise GroupsError(
            f"collection {str(collection.path)!r} has no groups {name!r}; there are: "
            f"{', '.join(known) or 'none'}; make them with {made_by}"
        )
    groups = TrackGroups.load(path)
    if groups.collection_key != collection.content_key or groups.tracks != len(collection):
        raise GroupsError(
            f"{path}: made for another content of the collection (key "
            f"{groups.collection_key[:8]}, {groups.tracks} tracks; now "
            f"{collection.content_key[:8]}, {len(collection)} tracks); make them again with "
            f"{_same_command(path, name, folder) or made_by} --overwrite"
        )
    return dataclasses.replace(groups, name=name)


def _same_command(path: Path, name: str, folder: str) -> str | None:
    """The command that made the groups in ``path``, as their report remembers it."""
    try:
        report = load_json(path.with_suffix(".report.json"))
        words = ["--playlists", report["source"], "--format", report["format"]]
        for option in (
            "kind", "columns", "separator", "gap", "audio", "path_prefix", "encoding", "min_played",
            "map",
        ):  # fmt: skip
            value = report.get(option)
            if value is not None:
                option = option.replace("_", "-")
                words += [f"--{option}", f"{value:g}" if isinstance(value, float) else value]
        if report.get("ignore"):
            words += ["--ignore", *report["ignore"]]
        if report.get("keep_going"):
            words.append("--keep-going")
        if name != report["kind"]:
            words += ["--name", name]
        return command("match_playlists", *words, "--collection", folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@compiled
def groups_of_tracks(indptr, rows, tracks):
    """Transpose the matrix of groups: the groups of every track, ascending.

    Returns ``starts`` (int64 [tracks + 1]), where the groups of each track begin in ``groups``
    (int32 [nnz]).
    """
    starts = np.zeros(tracks + 1, np.int64)
    for entry in range(len(rows)):
        starts[rows[entry] + 1] += 1
    for track in range(tracks):
        starts[track + 1] += starts[track]
    free = starts[:-1].copy()
    groups = np.empty(len(rows), np.int32)
    for group in range(len(indptr) - 1):
        for entry in range(indptr[group], indptr[group + 1]):
            groups[free[rows[entry]]] = group
            free[rows[entry]] += 1
    return starts, groups


@compiled
def first_in_group(indptr, rows, tracks):
    """Mark the first entry of every track in every group.

    Returns bool [nnz], False where the track comes earlier in the same group.
    """
    first = np.empty(len(rows), np.bool_)
    last_group = np.full(tracks, -1, np.int32)
    for group in range(len(indptr) - 1):
        for entry in range(indptr[group], indptr[group + 1]):
            row = rows[entry]
            first[entry] = last_group[row] != group
            last_group[row] = group
    return first


def filter_groups(
    indptr: np.ndarray,
    rows: np.ndarray,
    keep_group: np.ndarray,
    keep_entry: np.ndarray,
    fewest: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leave out groups and entries, then groups with fewer than ``fewest`` entries.

    Returns ``indptr`` and ``rows`` of the groups that are left, read-only, and the mask of those
    groups.
    """
    before = np.diff(indptr)
    filled = before > 0
    lengths = np.zeros(len(before), np.int64)
    lengths[filled] = np.add.reduceat(keep_entry, indptr[:-1][filled], dtype=np.int64)
    kept = keep_group & (lengths >= fewest)
    left = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[kept])])
    rows = rows[keep_entry & np.repeat(kept, before)]
    left.flags.writeable = rows.flags.writeable = False
    return left, rows, kept


def read_track_ids(path: str | Path) -> list[str]:
    """Ids of a list, in its order.

    A first line with a cell ``track_id`` makes it a table (CSV or TSV); anything else is a plain
    list, one id a line, where blank lines do not count.

    Raises TableError: if the file is missing, empty, or not text, or a table that cannot be read.
    """
    lines = [line.rstrip("\r\n") for line in text_lines(path)]
    if has_column("\n".join(lines[:2]), COLUMN):
        return [track_id for _, (track_id,) in read_columns(path, [COLUMN])]
    for number, line in enumerate(lines, 1):
        if "\r" in line:
            raise TableError(f"{path}: line {number}: a line end that is neither LF nor CRLF")
    ids = [line for line in lines if line.strip()]
    if not ids:
        raise TableError(f"{path}: no track ids")
    return ids


@dataclass(frozen=True)
class Split:
    """Groups of a collection as a run uses them.

    ``kept`` are trained on, ``held_out`` are pairs for the probe; ``usable`` (bool [tracks]) are
    tracks that are long enough, not excluded and not held out, ``exclude_key`` is a key of the
    excluded ids.
    """

    kept: TrackGroups
    held_out: HeldOut
    usable: np.ndarray
    exclude_key: str | None


def split_groups(
    groups: TrackGroups,
    collection: Collection,
    *,
    frames: int,
    exclude: str | None = None,
    probe_share: float = 0.05,
) -> Split:
    """Leave out tracks that cannot be trained on, and hold out pairs of tracks for the probe.

    ``frames`` are those of a window, shorter tracks are left out; ``exclude`` is a file of track
    ids to leave out; ``probe_share`` the share of the tracks to hold out
    (:meth:`TrackGroups.hold_out`).

    Raises TableError: if ``exclude`` cannot be read, or none of its ids is in the collection.
    """
    usable, exclude_key = usable_tracks(collection, frames=frames, exclude=exclude)
    if not usable.all():
        groups = groups.without_tracks(~usable)
    kept, held_out = groups.hold_out(probe_share, HOLD_OUT_SEED)
    usable[held_out.pairs] = False
    return Split(kept, held_out, usable, exclude_key)


def usable_tracks(
    collection: Collection, *, frames: int, exclude: str | None = None
) -> tuple[np.ndarray, str | None]:
    """Tracks that may be trained on [shape=(tracks,), bool], and the key of the excluded ids."""
    usable = np.asarray(collection.frames) >= frames
    short = int((~usable).sum())
    if short:
        logger.info("%d tracks are shorter than a window of %d frames: left out", short, frames)
    if quiet := int((usable & collection.quiet).sum()):
        logger.info("%d tracks are silent, or nearly: left out", quiet)
        usable &= ~collection.quiet
    if exclude is None:
        return usable, None
    ids = read_track_ids(exclude)
    rows = collection.rows(ids)
    unknown = [track_id for track_id, row in zip(ids, rows, strict=True) if row < 0]
    if len(unknown) == len(ids):
        raise TableError(
            f"{exclude}: none of its {len(ids)} track ids is in {collection.name} (the first is "
            f"{ids[0]!r}{did_you_mean(ids[0], collection.rows)}, the collection's is "
            f"{collection.track_ids[0]!r})"
        )
    if unknown:
        logger.info(
            f"{exclude}: {len(unknown)} of {len(ids)} ids are not in {collection.name}, the first "
            f"is {unknown[0]!r}{did_you_mean(unknown[0], collection.rows)}"
        )
    usable[rows[rows >= 0]] = False
    logger.info("%d tracks are excluded", len(np.unique(rows[rows >= 0])))
    return usable, content_key(*sorted(i.encode() for i in ids))


def short_enough(groups: TrackGroups, max_group_length: int) -> np.ndarray:
    """Mask of the groups that take part in a table [shape=(groups,), bool].

    Raises GroupsError: if none does.
    """
    taking_part = groups.lengths <= max_group_length
    if not taking_part.any():
        raise GroupsError(
            f"groups {groups.name!r}: none has at most {max_group_length:,} tracks "
            "(--max-group-length)"
        )
    return taking_part
