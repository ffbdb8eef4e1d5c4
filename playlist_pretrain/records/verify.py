"""One shard read as a whole: what a collection has to know of it, and what is wrong with it.

Is a collection what it says it is? Every byte read, every difference named.

What is sound in a damaged collection becomes a sound collection.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Collection as Container
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import CollectionError
from playlist_pretrain.files import atomic_write, folder_lock
from playlist_pretrain.messages import command, progress
from playlist_pretrain.records import schema
from playlist_pretrain.records.collection import Collection, read_document, read_index
from playlist_pretrain.records.description import Description, describe, next_names
from playlist_pretrain.records.schema import LOCK_FILE, MEL_DTYPE, own_files, sources_name
from playlist_pretrain.records.schema import generation as generation_of
from playlist_pretrain.records.shard_file import CHUNK, Damage, Record, ShardFile, read_shard
from playlist_pretrain.records.writer import (
    MelSums,
    ShardPart,
    Tally,
    band_statistics,
    write_collection,
)

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd

SUM_FRAMES = 1 << 16
"""Frames that are added up at once: sums have the order that the writer of shards gives them."""


@dataclass
class ShardScan:
    """What is in a shard of ``n`` sound records.

    Attributes
    ----------
    part : ShardPart
        Of the sound records; its SHA-256 is that of the whole file, empty when not computed.
    starts, ends : ndarray [shape=(n,), int64]
        Bytes of the file that each record takes.
    silent : ndarray [shape=(n,), bool]
        Whether the mel is nothing but the front end's silence.
    fingerprints : ndarray [shape=(n,), uint64]
        Equal for equal mels, and hardly ever else.
    damages : list of Damage
    tally : Tally or None
        Values of all mels; None without a record.
    """

    part: ShardPart
    starts: np.ndarray
    ends: np.ndarray
    silent: np.ndarray
    fingerprints: np.ndarray
    damages: list[Damage]
    tally: Tally | None


def scan_shards(
    paths: Sequence[Path],
    front_end: FrontEnd | None,
    *,
    known: Callable[[int], Container[int] | None] = lambda number: None,
    hashed: bool = True,
    quiet: bool = False,
) -> Iterator[ShardScan]:
    """Scan shards, several at a time, in their order.

    Parameters
    ----------
    paths : sequence of Path
    front_end : FrontEnd or None
        What the collection is made by, when that is known.
    known : callable
        ``known(number)``: see :func:`playlist_pretrain.records.shard_file.read_shard`.
    hashed : bool
        Whether to compute the files' SHA-256.
    quiet : bool
        No progress.

    Raises
    ------
    CollectionError
        A file that cannot be read.
    """
    total = sum(path.stat().st_size for path in paths if path.exists())
    threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="shards")
    with progress(total=total, desc="shards", unit="B", unit_scale=True, quiet=quiet) as bar:

        def scan(job: tuple[int, Path]) -> ShardScan:
            number, path = job
            return scan_shard(
                path, front_end, known=known(number), hashed=hashed, advance=bar.update
            )

        try:
            yield from threads.map(scan, enumerate(paths))
        finally:
            threads.shutdown(cancel_futures=True)


def scan_shard(
    path: Path,
    front_end: FrontEnd | None,
    *,
    known: Container[int] | None = None,
    hashed: bool = True,
    advance: Callable[[int], object] | None = None,
) -> ShardScan:
    """Scan one shard; see :func:`scan_shards`."""
    found = _Found(front_end)
    with ShardFile(path, hashed=hashed, advance=advance) as file:
        bands = None if front_end is None else front_end.bands
        with closing(read_shard(file, bands, known)) as contents:
            for item in contents:
                if isinstance(item, Damage):
                    found.damages.append(item)
                else:
                    found.add(item, file)
        return found.scan(path.name, file.size, file.sha256())


@dataclass
class _Found:
    front_end: FrontEnd | None
    records: list[tuple] = field(default_factory=list)
    ids: dict[str, None] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)
    tally: Tally | None = None
    sums: np.ndarray | None = None

    def add(self, record: Record, file: ShardFile) -> None:
        import google_crc32c

        bands, track = record.bands, record.track
        if self.tally is None:
            self.tally, self.sums = Tally(bands), np.zeros((2, bands))
        if track.track_id in self.ids:
            self._damaged(record, "its id is that of another record of the shard")
            return
        silence = -1
        if self.front_end is not None:
            silence = int(np.array(self.front_end.silence, MEL_DTYPE).view(np.uint16))
        frame = bands * MEL_DTYPE.itemsize
        end = record.offset + track.frames * frame
        sums, digest = self.sums.copy(), hashlib.blake2b(digest_size=8)
        silent = not_finite = crc = 0
        low, high = self.tally.low.copy(), self.tally.high.copy()
        for start in range(record.offset, end, SUM_FRAMES * frame):
            mel = MelSums.empty(bands)
            for piece in file.pieces(start, min(start + SUM_FRAMES * frame, end), frame):
                mel.add(piece, silence, self.tally.counts)
                crc = google_crc32c.extend(crc, piece)
            sums += mel.sums[:2]
            np.minimum(low, mel.sums[2], out=low)
            np.maximum(high, mel.sums[3], out=high)
            silent += mel.silent
            not_finite += mel.not_finite
            digest.update(mel.sums.data)
        if not_finite:
            self._damaged(record, f"{not_finite} values of its mel are not finite")
            return
        self.ids[track.track_id] = None
        self.sums, self.tally.low, self.tally.high = sums, low, high
        # Sums do not know the order of the frames: the checksum does.
        digest.update(struct.pack("<QQ", track.frames, crc))
        self.records.append(
            (
                *(record.start, record.end, record.offset, track.frames),
                *(track.start_seconds, track.source_seconds),
                silent == track.frames * bands,
                int.from_bytes(digest.digest(), "little"),
            )
        )

    def _damaged(self, record: Record, reason: str) -> None:
        self.damages.append(Damage(record.start, record.end, reason, record.track.track_id))

    def scan(self, file: str, size: int, sha: str) -> ShardScan:
        columns = list(zip(*self.records, strict=True)) or [()] * 8
        kinds = (np.int64, np.int64, np.int64, np.int32, np.float32, np.float32, bool, np.uint64)
        starts, ends, offsets, frames, start, source, silent, fingerprints = (
            np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)
        )
        bands = 0 if self.front_end is None else self.front_end.bands
        sums = np.zeros((2, bands)) if self.sums is None else self.sums
        part = ShardPart(file, size, sha, list(self.ids), offsets, frames, start, source, *sums)
        return ShardScan(part, starts, ends, silent, fingerprints, self.damages, self.tally)


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


CHECK_REPORT_FILE = "check_report.tsv"


@dataclass
class Repair:
    """What was done.

    Attributes
    ----------
    collection : Collection
        As it is now.
    problems : list of Problem
        What was wrong; nothing was done when it is empty.
    lost : list of Problem
        Tracks, and bytes of unknown tracks, that are no longer in the collection.
    rewritten : int
        Shards that were written anew, without their damaged records.
    old_key : str
        Content key before, when that is known.
    """

    collection: Collection
    problems: list[Problem] = field(default_factory=list)
    lost: list[Problem] = field(default_factory=list)
    rewritten: int = 0
    old_key: str = ""


def repair_collection(
    folder: str | Path, *, front_end: FrontEnd | None = None, quiet: bool = False
) -> Repair:
    """Keep every sound record of a collection, byte for byte, and set the rest aside.

    Shards with damage are written anew under new names, then the list of what was set aside, a new
    index, and ``collection.json`` last; only then what it no longer names is removed. Killed at any
    moment, the collection is as it was or as it will be, and the same call goes on.

    Parameters
    ----------
    folder : str or Path
    front_end : FrontEnd, optional
        What made the mels; needed, and used, only when ``collection.json`` can no longer say so.
    quiet : bool
        No progress.

    Raises
    ------
    CollectionError
        A front end is needed, nothing sound is left, a file cannot be read or written, or the
        collection is being built.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CollectionError(f"{folder}: no such folder")
    with _alone(folder):
        found = verify_collection(folder, front_end=front_end, quiet=quiet)
        if not found.problems:
            _remove_unnamed(folder, found.description.document)
            return Repair(Collection.open(folder))
        _check_possible(found, folder)
        lost = sorted(_set_aside(found), key=lambda p: (p.file, p.byte or 0, p.row or 0))
        number, generation = next_names(found.description)
        parts, rewritten = [], 0
        doubles = _doubles(found)
        for scan in filter(None, found.scans):
            drop = doubles.get(scan.part.file, set())
            if not (scan.damages or drop):
                parts.append(scan.part)
            elif len(drop) < len(scan.starts):
                name = schema.shard_name(number + rewritten)
                parts.append(_rewrite(scan, drop, folder, name, found.front_end))
                rewritten += 1
        parts = [part for part in parts if part.track_ids]
        before = found.description.document
        _write_report(folder / CHECK_REPORT_FILE, lost)
        if before:
            _keep_sources(folder, before, generation)
        write_collection(
            folder, found.front_end, parts, found.description.source, generation=generation
        )
        collection = Collection.open(folder)
        _remove_unnamed(folder, read_document(folder))
    old_key = before["content_key"] if before else ""
    return Repair(collection, found.problems, lost, rewritten, old_key)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep builders out, and leave no empty build folder behind."""
    build = folder / ".build"
    if (build / schema.COLLECTION_FILE).exists():
        raise CollectionError(
            f"{folder}: a build was interrupted while it moved its files here: finish it first, "
            f"with the same {command('make_tfrecords')} command"
        )
    with folder_lock(build, f"{folder} is being built", LOCK_FILE, CollectionError):
        try:
            yield
        finally:
            if [path.name for path in build.iterdir()] == [LOCK_FILE]:
                (build / LOCK_FILE).unlink()
                build.rmdir()


def _check_possible(found: Verification, folder: Path) -> None:
    if found.front_end is None:
        from playlist_pretrain.audio.front_end import IMPORTED, PRESETS

        raise CollectionError(
            f"{folder}: {schema.COLLECTION_FILE} cannot say what made the mels "
            f"({found.problems[0].reason}); name the front end: --front-end "
            f"{' or '.join([*PRESETS, *IMPORTED])}"
        )
    if not any(scan and scan.part.track_ids for scan in found.scans):
        reasons = [str(problem) for problem in found.problems if problem.file.startswith("mel-")]
        first = f" (first: {reasons[0]})" if reasons else ""
        raise CollectionError(
            f"{folder}: nothing is left to repair, no shard holds a sound record of "
            f"{found.front_end.bands} bands{first}; build it again with "
            f"{command('make_tfrecords', '--audio', 'DIR', '--out', str(folder), '--overwrite')}"
        )


def _set_aside(found: Verification) -> Iterator[Problem]:
    """Damage and tracks that the repaired collection no longer holds."""
    kept = {
        track_id for scan in found.scans if scan for track_id in scan.part.track_ids
    }  # an id that a sound record has is not lost, whatever the index says
    for problem in found.problems:
        damaged = problem.file != schema.COLLECTION_FILE and problem.byte is not None
        if (damaged or problem.row is not None) and problem.track_id not in kept:
            yield problem
    yield from (
        Problem(scan.part.file, f"track is also in {first}", int(scan.starts[i]), None, track_id)
        for scan, i, track_id, first in repeated(found.scans)
    )


def _doubles(found: Verification) -> dict[str, set[int]]:
    """Positions in each scan, by its file, of records whose id came before."""
    doubles: dict[str, set[int]] = {}
    for scan, position, _, _ in repeated(found.scans):
        doubles.setdefault(scan.part.file, set()).add(position)
    return doubles


def _rewrite(
    scan: ShardScan, drop: set[int], folder: Path, name: str, front_end: FrontEnd
) -> ShardPart:
    """Copy the sound records of a shard, but for those to drop, and read the copy back."""
    kept = [i for i in range(len(scan.starts)) if i not in drop]
    with atomic_write(folder / name) as stream, open(folder / scan.part.file, "rb") as old:
        for start, end in zip(scan.starts[kept].tolist(), scan.ends[kept].tolist(), strict=True):
            old.seek(start)
            for position in range(start, end, CHUNK):
                stream.write(old.read(min(CHUNK, end - position)))
    again = scan_shard(folder / name, front_end)
    wanted = [scan.part.track_ids[i] for i in kept]
    same = np.array_equal(again.fingerprints, scan.fingerprints[kept])
    if again.damages or again.part.track_ids != wanted or not same:
        raise CollectionError(f"{folder / scan.part.file}: changed while it was copied; try again")
    return again.part


def _keep_sources(folder: Path, document: dict, generation: int) -> None:
    """Name the list of sources as the new index is named: a build then reads what was lost."""
    old = folder / sources_name(generation_of(document))
    with contextlib.suppress(FileNotFoundError):
        data = old.read_bytes()
        with atomic_write(folder / sources_name(generation)) as stream:
            stream.write(data)


def _remove_unnamed(folder: Path, document: dict) -> None:
    """Remove shards, indexes and lists of sources that are no part of the collection."""
    named = {entry["file"] for entry in (*document["shards"], document["index"])}
    named.add(sources_name(generation_of(document)))
    for name in set(own_files(folder)) - named:
        (folder / name).unlink()


def _write_report(path: Path, lost: Sequence[Problem]) -> None:
    with atomic_write(path, "w") as stream:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow(["track_id", "shard", "byte", "reason"])
        for problem in lost:
            byte = "" if problem.byte is None else problem.byte
            table.writerow([problem.track_id, problem.file, byte, problem.reason])
