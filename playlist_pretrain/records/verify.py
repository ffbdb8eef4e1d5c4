"""Is a collection what it says it is? Every byte read, every difference named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.records import schema
from playlist_pretrain.records.collection import read_index
from playlist_pretrain.records.description import Description, describe
from playlist_pretrain.records.scan import ShardScan, scan_shards
from playlist_pretrain.records.values import Tally
from playlist_pretrain.records.writer import band_statistics

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes
    ----------
    file : str
        Name in the collection's folder.
    reason : str
    byte : int or None
        Position in the file.
    row : int or None
    track_id : str
        Empty when not known.
    """

    file: str
    reason: str
    byte: int | None = None
    row: int | None = None
    track_id: str = ""

    def __str__(self) -> str:
        place = [self.file]
        if self.byte is not None:
            place.append(f"byte {self.byte}")
        if self.row is not None:
            place.append(f"row {self.row}")
        if self.track_id:
            place.append(f"track {self.track_id!r}")
        return f"{', '.join(place)}: {self.reason}"


@dataclass
class Verification:
    """What was found.

    Attributes
    ----------
    description : Description
    front_end : FrontEnd or None
        The description's, or the one that was named.
    index : dict or None
        Arrays of the index, when it can be used.
    scans : list of (ShardScan or None)
        Of the description's files; None for a file that is gone.
    problems : list of Problem
    tally : Tally or None
        Values of all mels; None when the front end is not known.
    """

    description: Description
    front_end: FrontEnd | None
    index: dict | None = None
    scans: list[ShardScan | None] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    tally: Tally | None = None

    def rows_of(self, number: int) -> slice:
        """Rows of the index that are of shard ``number``."""
        return slice(*np.searchsorted(self.index["shard"], [number, number + 1]).tolist())


def verify_collection(
    folder: str | Path,
    *,
    front_end: FrontEnd | None = None,
    hashed: bool = True,
    quiet: bool = False,
) -> Verification:
    """Compare description, index, shards and records of a collection with one another.

    Parameters
    ----------
    folder : str or Path
    front_end : FrontEnd, optional
        What made the mels, for a collection that can no longer say so.
    hashed : bool
        Whether to compare the SHA-256 of the shards as well.
    quiet : bool
        No progress.

    Raises
    ------
    CollectionError
        No such folder, a format this version does not know, or a file that cannot be read.
    """
    description = describe(Path(folder))
    result = Verification(description, description.front_end or front_end)
    if description.trouble:
        result.problems.append(_whole(schema.COLLECTION_FILE, description.trouble, folder))
    document = description.document
    if document is not None:
        try:
            result.index = read_index(description.folder, document)
        except CollectionError as error:
            result.problems.append(_whole(document["index"]["file"], str(error), folder))
        if document["index"]["tracks"] != document["tracks"]:
            reason = f"{document['tracks']} tracks, {document['index']['tracks']} in the index"
            result.problems.append(Problem(schema.COLLECTION_FILE, reason))
    _scan(result, hashed, quiet)
    for number, scan in enumerate(result.scans):
        result.problems += _of_file(description, number, scan, hashed)
        if scan is not None and result.index is not None:
            result.problems += _against_index(result, number, scan)
        elif scan is not None:
            result.problems += [
                Problem(scan.part.file, d.reason, d.start, None, d.track_id) for d in scan.damages
            ]
        elif result.index is not None:
            name, rows = description.entries[number]["file"], result.rows_of(number)
            result.problems += [
                Problem(name, "the shard is gone", None, row, result.index["track_ids"][row])
                for row in range(rows.start, rows.stop)
            ]
        elif description.entries:
            name = description.entries[number]["file"]
            result.problems.append(Problem(name, "the shard is gone, with all its tracks", 0))
    result.problems += [
        Problem(scan.part.file, f"track is also in {first}", int(scan.starts[i]), None, track_id)
        for scan, i, track_id, first in repeated(result.scans)
    ]
    if document is not None and not result.problems:
        result.problems += _statistics(document, [scan for scan in result.scans if scan])
    return result


def repeated(scans: list[ShardScan | None]) -> Iterator[tuple[ShardScan, int, str, str]]:
    """Records whose id another shard has too: scan, position in it, id, the first one's file."""
    scans = [scan for scan in scans if scan]
    hashes = [np.fromiter(map(hash, s.part.track_ids), np.int64) for s in scans]
    every, counts = np.unique(np.concatenate(hashes or [np.zeros(0, np.int64)]), return_counts=True)
    twice = every[counts > 1]
    first: dict[str, str] = {}
    for scan, own in zip(scans, hashes, strict=True):
        for i in np.flatnonzero(np.isin(own, twice)).tolist():
            track_id = scan.part.track_ids[i]
            if track_id in first:
                yield scan, i, track_id, first[track_id]
            else:
                first[track_id] = scan.part.file


def _whole(file: str, text: str, folder: str | Path) -> Problem:
    return Problem(file, text.removeprefix(f"{Path(folder) / file}: ").partition("; copy the")[0])


def _scan(result: Verification, hashed: bool, quiet: bool) -> None:
    files = result.description.files
    numbers = [number for number, name in enumerate(files) if name is not None]
    paths = [result.description.folder / files[number] for number in numbers]

    def known(position: int) -> set[int] | None:
        if result.index is None:
            return None
        return set(result.index["offset"][result.rows_of(numbers[position])].tolist())

    scans = scan_shards(paths, result.front_end, known=known, hashed=hashed, quiet=quiet)
    result.scans = [None] * len(files)
    if result.front_end is not None:
        result.tally = Tally(result.front_end.bands)
    for number, scan in zip(numbers, scans, strict=True):
        if result.tally is not None and scan.tally is not None:
            result.tally.merge(scan.tally)
        scan.tally = None  # half a megabyte each
        result.scans[number] = scan


def _of_file(
    description: Description, number: int, scan: ShardScan | None, hashed: bool
) -> Iterator[Problem]:
    """Differences between a shard and its entry in ``collection.json``."""
    if description.document is None:
        return
    entry = description.entries[number]
    name = entry["file"]
    if scan is None:
        yield Problem(name, f"no such file; {schema.COLLECTION_FILE} says {entry['size']} bytes")
        return
    part = scan.part
    if part.file != name:
        yield Problem(schema.COLLECTION_FILE, f"names {name!r} for what is in {part.file!r}")
    if part.size != entry["size"]:
        yield Problem(name, f"{part.size} bytes, {schema.COLLECTION_FILE} says {entry['size']}")
    elif hashed and part.sha != entry["sha256"]:
        yield Problem(
            name, f"SHA-256 is {part.sha}, {schema.COLLECTION_FILE} says {entry['sha256']}"
        )
    found = len(part.track_ids)
    if not scan.damages and found != entry["tracks"]:
        yield Problem(name, f"{found} tracks, {schema.COLLECTION_FILE} says {entry['tracks']}")


def _against_index(result: Verification, number: int, scan: ShardScan) -> Iterator[Problem]:
    """Damage of a shard by the rows it hits, and rows that differ from their records."""
    index, rows = result.index, result.rows_of(number)
    offsets = index["offset"][rows]
    part = scan.part
    if not scan.damages and _same(index, rows, part):
        return
    ids = index["track_ids"]
    row_at = {offset: rows.start + i for i, offset in enumerate(offsets.tolist())}
    ordered = np.sort(offsets)
    for damage in scan.damages:
        first, last = np.searchsorted(ordered, [damage.start, damage.end])
        hit = {row_at.pop(offset, None) for offset in ordered[first:last].tolist()} - {None}
        for row in sorted(hit):
            yield Problem(part.file, damage.reason, damage.start, row, ids[row])
        if not hit:
            yield Problem(part.file, damage.reason, damage.start, None, damage.track_id)
    for i, offset in enumerate(part.offsets.tolist()):
        row = row_at.pop(offset, None)
        start, track_id = int(scan.starts[i]), part.track_ids[i]
        if row is None:
            yield Problem(part.file, "the index has no row for it", start, None, track_id)
            continue
        if ids[row] != track_id:
            reason = f"the index calls it {ids[row]!r}"
            yield Problem(part.file, reason, start, row, track_id)
        for name in ("frames", "start_seconds", "source_seconds"):
            here, there = getattr(part, name)[i], index[name][row]
            if here != there:
                reason = f"{name} {here} in the record, {there} in the index"
                yield Problem(part.file, reason, start, row, track_id)
    for offset, row in row_at.items():
        yield Problem(part.file, "no mel of a record starts here", offset, row, ids[row])
    if (np.diff(offsets) <= 0).any():
        yield Problem(part.file, "its rows are not in the order of its records")


def _same(index: dict, rows: slice, part: Any) -> bool:
    ids = index["track_ids"]
    return (
        np.array_equal(index["offset"][rows], part.offsets)
        and all(
            np.array_equal(index[name][rows], getattr(part, name))
            for name in ("frames", "start_seconds", "source_seconds")
        )
        and ids[rows] == part.track_ids
    )


def _statistics(document: dict, scans: list[ShardScan]) -> Iterator[Problem]:
    frames = sum(int(scan.part.frames.sum(dtype=np.int64)) for scan in scans)
    if not frames:
        yield Problem(schema.COLLECTION_FILE, "no tracks")
        return
    band_sum = sum(scan.part.band_sum for scan in scans)
    computed = band_statistics(band_sum, sum(scan.part.band_square_sum for scan in scans), frames)  # type: ignore[arg-type]
    for name, here in zip(("band_mean", "band_std"), computed, strict=True):
        there = np.array(document[name], np.float32)
        rounding = np.spacing(np.maximum(np.abs(here), np.abs(there)))
        for band in np.flatnonzero(np.abs(here - there) > rounding).tolist():
            reason = f"{name} of band {band} is {there[band]}, the mels' is {here[band]}"
            yield Problem(schema.COLLECTION_FILE, reason)
