"""What is sound in a damaged collection becomes a sound collection."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.commands import command
from playlist_pretrain.errors import CollectionError
from playlist_pretrain.files import atomic_write, folder_lock
from playlist_pretrain.records import schema
from playlist_pretrain.records.build_folder import LOCK_FILE
from playlist_pretrain.records.collection import Collection, read_document
from playlist_pretrain.records.description import next_names, own_files
from playlist_pretrain.records.listing import generation as generation_of
from playlist_pretrain.records.listing import sources_name
from playlist_pretrain.records.scan import ShardScan, scan_shard
from playlist_pretrain.records.shard_file import CHUNK
from playlist_pretrain.records.verify import Problem, Verification, repeated, verify_collection
from playlist_pretrain.records.writer import ShardPart, write_collection

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd

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
        from playlist_pretrain.audio.front_end import PRESETS
        from playlist_pretrain.audio.imported import IMPORTED

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
