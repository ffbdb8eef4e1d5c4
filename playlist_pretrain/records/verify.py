"""Verification of a collection, byte by byte, and its repair by whole shards."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.errors import CollectionError
from playlist_pretrain.files import TableWriter, atomic_write, folder_lock, plain_cell, whole
from playlist_pretrain.messages import command, progress
from playlist_pretrain.records import schema
from playlist_pretrain.records.collection import Collection, front_end_of, read_document, read_index
from playlist_pretrain.records.example import RECORD_HEADER, parse_track, read_records
from playlist_pretrain.records.schema import MEL_DTYPE
from playlist_pretrain.records.writer import (
    ShardPart,
    add_band_sums,
    band_statistics,
    write_collection,
)

DAMAGED_FOLDER = "damaged"
DAMAGED_TRACKS = "tracks.tsv"
PATTERNS = np.arange(1 << 16, dtype=np.uint16).view(MEL_DTYPE)
"""All values of a float16, by their bits."""


class Tally:
    """Values of many mels: counts of all bit patterns of a float16, extremes of each band."""

    def __init__(self, bands: int):
        self.counts = np.zeros(len(PATTERNS), np.int64)
        self.low = np.full(bands, np.inf, np.float32)
        self.high = np.full(bands, -np.inf, np.float32)

    def add(self, counts: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Add the counts and extremes of more mels."""
        self.counts += counts
        np.minimum(self.low, low, out=self.low)
        np.maximum(self.high, high, out=self.high)

    def summary(self) -> tuple[float, float, float, float]:
        """Smallest and largest value, mean and standard deviation over all values."""
        values, counts = self._present()
        mean = np.average(values, weights=counts)
        deviation = np.sqrt(np.average(np.square(values - mean), weights=counts))
        return float(values.min()), float(values.max()), float(mean), float(deviation)

    def histogram(self, bins: int = 60) -> tuple[np.ndarray, np.ndarray]:
        """Counts [shape=(bins,)] and edges [shape=(bins + 1,)] over the range of the values."""
        values, counts = self._present()
        return np.histogram(values, bins, weights=counts)

    def _present(self) -> tuple[np.ndarray, np.ndarray]:
        present = self.counts > 0
        return PATTERNS[present].astype(np.float64), self.counts[present]


@dataclass
class ShardScan:
    """Content of a shard with ``n`` sound records.

    ``part`` describes these; its ``sha`` is empty when it was not computed. ``silent`` [n, bool]
    mels hold nothing but the front end's silence; ``fingerprints`` [n, uint64] are hashes of their
    bytes. ``damages`` are first byte, end and reason of records that cannot be used.
    """

    part: ShardPart
    silent: np.ndarray
    fingerprints: np.ndarray
    damages: list[tuple[int, int, str]]
    tally: Tally


def scan_shard(
    path: Path,
    front_end: FrontEnd,
    *,
    hashed: bool = True,
    advance: Callable[[int], object] = lambda count: None,
) -> ShardScan:
    """Read every record of a shard, one at a time, and check it.

    With ``hashed`` the SHA-256 of the file is computed too; ``advance`` is called with the number
    of bytes that were read. CollectionError when the file cannot be read.
    """
    bands = front_end.bands
    silence = np.array(front_end.silence, MEL_DTYPE).view(np.uint16)
    tally, sums, digest = Tally(bands), np.zeros((2, bands)), hashlib.sha256()
    rows: dict[str, tuple] = {}
    damages = []
    try:
        with open(path, "rb") as stream:

            def read(count: int) -> bytes:
                data = stream.read(count)
                if hashed:
                    digest.update(data)
                advance(len(data))
                return data

            size = os.fstat(stream.fileno()).st_size
            for start, end, data, wrong in read_records(read, size):
                try:
                    if wrong:
                        raise ValueError(wrong)
                    track = parse_track(data)
                    first, last = track.mel
                    if last - first != track.frames * bands * MEL_DTYPE.itemsize:
                        what = f"{last - first} bytes for {track.frames} frames of {bands} bands"
                        raise ValueError(f"a mel of {what}")
                    if track.track_id in rows:
                        raise ValueError("its id is that of another record of the shard")
                    bits = np.frombuffer(data, "<u2", track.frames * bands, first)
                    counts = np.bincount(bits, minlength=len(PATTERNS))
                    if infinite := int(counts[~np.isfinite(PATTERNS)].sum()):
                        raise ValueError(f"{infinite} values of its mel are not finite")
                except ValueError as error:
                    damages.append((start, end, str(error)))
                    continue
                mel = bits.view(MEL_DTYPE).reshape(-1, bands)
                add_band_sums(sums, mel)
                single = mel.astype(np.float32)
                tally.add(counts, single.min(axis=0), single.max(axis=0))
                fingerprint = hashlib.blake2b(data[first:last], digest_size=8).digest()
                rows[track.track_id] = (
                    start + RECORD_HEADER + first,
                    *(track.frames, track.start_seconds, track.source_seconds),
                    counts[silence] == bits.size,
                    int.from_bytes(fingerprint, "little"),
                )
    except OSError as error:
        raise CollectionError(f"{path}: {error.strerror}") from error
    kinds = (np.int64, np.int32, np.float32, np.float32, bool, np.uint64)
    columns = zip(*rows.values(), strict=True) if rows else [()] * len(kinds)
    offsets, frames, starts, sources, silent, fingerprints = map(np.array, columns, kinds)
    part = ShardPart(
        *(path.name, size, digest.hexdigest() if hashed else "", list(rows)),
        *(offsets, frames, starts, sources),
        *(np.where(silent, np.float32(0), np.float32(np.nan)), *sums),
    )
    return ShardScan(part, silent, fingerprints, damages, tally)


@dataclass
class Verification:
    """Result of :func:`verify_collection`.

    ``document`` is the content of ``collection.json``, ``index`` the arrays of the index (None when
    it is damaged). There is a scan for each shard, None for a file that is missing. ``damaged`` has
    the numbers of damaged shards and what is wrong with each. ``problems`` are the differences
    between what the collection says and what is there: file, place and reason.
    """

    document: dict
    front_end: FrontEnd
    index: dict | None
    tally: Tally
    scans: list[ShardScan | None] = field(default_factory=list)
    damaged: dict[int, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def rows_of(self, number: int) -> slice:
        """Rows of shard ``number`` in the index."""
        return slice(*np.searchsorted(self.index["shard"], [number, number + 1]).tolist())


def verify_collection(folder: str | Path, *, hashed: bool = True) -> Verification:
    """Compare ``collection.json``, index, shards and records of a collection with one another.

    The SHA-256 of the shards is compared where ``hashed``.

    Raises CollectionError: no such folder, a ``collection.json`` that cannot be used, or a shard
    that cannot be read.
    """
    folder = Path(folder)
    document = read_document(folder)
    front_end = front_end_of(document, folder / schema.COLLECTION_FILE)
    found = Verification(document, front_end, None, Tally(front_end.bands))
    problems, entry = found.problems, document["index"]
    try:
        found.index = read_index(folder, document)
    except CollectionError as error:
        text = str(error).removeprefix(f"{folder / entry['file']}: ")
        problems.append(f"{entry['file']}: {text.rpartition('; ')[0] or text}")
    if entry["tracks"] != document["tracks"]:
        both = f"{document['tracks']} tracks, {entry['tracks']} in the index"
        problems.append(f"{schema.COLLECTION_FILE}: {both}")
    first_file: dict[str, str] = {}
    for number, scan in enumerate(_scan_shards(folder, found, hashed)):
        problems += _check_shard(found, number, scan, hashed)
        found.scans.append(scan)
        if scan is None:
            continue
        found.tally.add(scan.tally.counts, scan.tally.low, scan.tally.high)
        scan.tally = found.tally  # half a megabyte less a shard
        name = scan.part.file
        for track_id in scan.part.track_ids:
            if first_file.setdefault(track_id, name) != name:
                reason = f"track is also in {first_file[track_id]}"
                problems.append(f"{name}, track {track_id!r}: {reason}")
                found.damaged.setdefault(number, reason)
    if not problems:
        problems += _check_statistics(document, [scan.part for scan in found.scans if scan])
    return found


def _scan_shards(folder: Path, found: Verification, hashed: bool) -> Iterator[ShardScan | None]:
    paths = [folder / entry["file"] for entry in found.document["shards"]]
    total = sum(path.stat().st_size for path in paths if path.is_file())

    def scan(path: Path) -> ShardScan | None:
        if path.is_file():
            return scan_shard(path, found.front_end, hashed=hashed, advance=bar.update)
        return None

    with (
        progress(total=total, desc="shards", unit="B", unit_scale=True) as bar,
        ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="shards") as threads,
    ):
        yield from threads.map(scan, paths)


def _check_shard(
    found: Verification, number: int, scan: ShardScan | None, hashed: bool
) -> Iterator[str]:
    """Differences of a shard from its entry in ``collection.json`` and from the index."""
    entry, index = found.document["shards"][number], found.index
    name, says = entry["file"], f"{schema.COLLECTION_FILE} says"
    rows = slice(0, 0) if index is None else found.rows_of(number)
    ids = [] if index is None else index["track_ids"][rows]
    part, damages = (scan.part, scan.damages) if scan else (None, [])

    def track(i: int) -> str:
        return f"row {rows.start + i}, track {ids[i]!r}"

    whole = ""
    if part is None:
        whole = f"no such file; {says} {entry['size']} bytes"
    elif part.size != entry["size"]:
        whole = f"{part.size} bytes, {says} {entry['size']}"
    elif hashed and part.sha != entry["sha256"]:
        whole = f"SHA-256 is {part.sha}, {says} {entry['sha256']}"
    elif not damages and len(part.track_ids) != entry["tracks"]:
        whole = f"{len(part.track_ids)} tracks, {says} {entry['tracks']}"
    if whole:
        yield f"{name}: {whole}"
    if whole or damages:
        found.damaged[number] = damages[-1][2] if damages else whole
    if part is None:
        yield from (f"{name}, {track(i)}: the shard is gone" for i in range(len(ids)))
        return
    for start, end, reason in damages:
        places = [""]
        if index is not None:
            offsets = index["offset"][rows]
            to_end = end == part.size  # rows beyond a cut are lost with it
            hit = np.flatnonzero((offsets >= start) & ((offsets < end) | to_end)).tolist()
            places = [f", {track(i)}" for i in hit] or places
        yield from (f"{name}, byte {start}{place}: {reason}" for place in places)
    if index is None or damages or len(part.track_ids) != entry["tracks"]:
        return
    columns: dict[str, tuple] = {
        "track id": (part.track_ids, ids),
        "offset": (part.offsets, index["offset"][rows]),
    }
    for column in ("frames", "start_seconds", "source_seconds"):
        columns[column] = getattr(part, column), index[column][rows]
    for column, (here, there) in columns.items():
        for i in np.flatnonzero(np.asarray(here) != np.asarray(there)).tolist():
            reason = f"{column} {here[i]} in the record, {there[i]} in the index"
            yield f"{name}, {track(i)}: {reason}"


def _check_statistics(document: dict, parts: Sequence[ShardPart]) -> Iterator[str]:
    """Differences of the statistics in ``collection.json`` from those of all mels."""
    if not document["tracks"]:
        yield f"{schema.COLLECTION_FILE}: no tracks"
        return
    band_sum = np.sum([part.band_sum for part in parts], 0)
    band_square_sum = np.sum([part.band_square_sum for part in parts], 0)
    computed = band_statistics(band_sum, band_square_sum, document["frames"])
    for name, here in zip(("band_mean", "band_std"), computed, strict=True):
        there = np.array(document[name], np.float32)
        rounding = np.spacing(np.maximum(np.abs(here), np.abs(there)))
        for band in np.flatnonzero(np.abs(here - there) > rounding).tolist():
            reason = f"{name} of band {band} is {there[band]}, the mels' is {here[band]}"
            yield f"{schema.COLLECTION_FILE}: {reason}"


@dataclass
class Repair:
    """Result of :func:`repair_collection`: the ``collection`` as it is now.

    ``problems`` were wrong; nothing was done when there are none. ``shards`` are the damaged ones,
    no longer part of the collection; ``lost`` are id, shard and reason of the tracks in them, as in
    ``damaged/tracks.tsv``.
    """

    collection: Collection
    problems: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    lost: list[tuple[str, str, str]] = field(default_factory=list)


def repair_collection(folder: str | Path) -> Repair:
    """Move damaged shards into the folder ``damaged`` and make a sound collection of the others.

    The tracks of the damaged shards are listed in ``damaged/tracks.tsv``; the command that built
    the collection makes them anew and appends them. The list is written first and
    ``collection.json`` last: when a repair is interrupted, the same call finishes it.

    Raises CollectionError: ``collection.json`` cannot be used, no shard is sound, a shard cannot be
    read, or the collection is being built.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CollectionError(f"{folder}: no such folder")
    with _lock(folder):
        found = verify_collection(folder)
        document = found.document
        if not found.problems:
            return Repair(Collection.open(folder))
        sound = [n for n, scan in enumerate(found.scans) if scan and n not in found.damaged]
        parts = [_part_of(found, number) for number in sound]
        if not parts:
            words = "--audio", "DIR", "--out", str(folder), "--overwrite"
            raise CollectionError(
                f"{folder}: no shard is sound ({found.problems[0]}); build the collection again "
                f"with {command('make_tfrecords', *words)}"
            )
        shards = [document["shards"][number]["file"] for number in found.damaged]
        lost = list(_lost_tracks(found))
        if shards:
            _set_aside(folder, shards, lost)
        old = schema.generation(document)
        sources = folder / schema.sources_name(old)
        if sources.is_file():
            with atomic_write(folder / schema.sources_name(old + 1)) as stream:
                stream.write(sources.read_bytes())
        write_collection(folder, found.front_end, parts, document["source"], generation=old + 1)
        for file in (sources, folder / document["index"]["file"]):
            if file.is_file():  # a folder in its place is nobody's to remove
                file.unlink()
        return Repair(Collection.open(folder), found.problems, shards, lost)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keep builders out, and leave no empty build folder behind."""
    build = folder / ".build"
    if (build / schema.COLLECTION_FILE).exists():
        raise CollectionError(
            f"{folder}: a build was interrupted while it moved its files here: finish it first, "
            f"with the same {command('make_tfrecords')} command"
        )
    with folder_lock(build, f"{folder} is being built", schema.LOCK_FILE, CollectionError):
        try:
            yield
        finally:
            if [path.name for path in build.iterdir()] == [schema.LOCK_FILE]:
                (build / schema.LOCK_FILE).unlink()
                build.rmdir()


def _part_of(found: Verification, number: int) -> ShardPart:
    """A sound shard, with the shares of sound that the index has of its tracks."""
    part = found.scans[number].part
    if found.index is not None:
        rows = found.rows_of(number)
        if found.index["track_ids"][rows] == part.track_ids:
            part.sound = found.index["sound"][rows]
    return part


def _lost_tracks(found: Verification) -> Iterator[tuple[str, str, str]]:
    """Track id, shard and reason of every track in a damaged shard."""
    for number, reason in found.damaged.items():
        entry, scan = found.document["shards"][number], found.scans[number]
        if found.index is not None:
            ids = found.index["track_ids"][found.rows_of(number)]
        else:
            ids = scan.part.track_ids if scan else []
        yield from ((track_id, entry["file"], reason) for track_id in ids)
        if len(ids) < entry["tracks"]:
            unknown = f"{entry['tracks'] - len(ids)} tracks whose ids cannot be read: {reason}"
            yield "", entry["file"], unknown


def _set_aside(folder: Path, shards: Sequence[str], lost: Sequence[tuple[str, str, str]]) -> None:
    """List the tracks of damaged shards, then move the shards."""
    aside = folder / DAMAGED_FOLDER
    aside.mkdir(exist_ok=True)
    path, text = aside / DAMAGED_TRACKS, "track_id\tshard\treason\n"
    with whole(path, "list of tracks", CollectionError, "; move it away"):
        if path.exists():
            text = path.read_bytes().decode("utf-8")
        rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t")
        listed = {tuple(map(plain_cell, row[:2])) for row in rows}
    with atomic_write(path, "w") as stream:
        stream.write(text)
        table = TableWriter(stream, "\t")
        table.writerows(row for row in lost if row[:2] not in listed)
    for name in shards:
        target, times = aside / name, 1
        while target.exists():  # of an earlier repair
            times += 1
            target = aside / f"{name}.{times}"
        with contextlib.suppress(FileNotFoundError):
            os.replace(folder / name, target)
