"""From tracks to a collection: all cores, one task a shard, and any interruption survived."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain.errors import (
    AudioError,
    CollectionError,
    FrontEndError,
    RecipeError,
    TrackError,
)
from playlist_pretrain.progress import progress
from playlist_pretrain.records import schema
from playlist_pretrain.records.build_folder import BuildFolder
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.plan import Plan
from playlist_pretrain.records.pool import work_through
from playlist_pretrain.records.report import (
    REPORT_FILE,
    BuildReport,
    Note,
    read_report,
    write_report,
)
from playlist_pretrain.records.shards import Deaths, ShardTask, ShardWork, part_path, read_notes
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.writer import ShardPart, write_collection

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd


def build_collection(
    out: str | Path,
    tracks: Sequence[TrackSource],
    front_end: FrontEnd,
    load: Callable[[str], Any],
    *,
    root: str | Path | None = None,
    notes: Sequence[Note] = (),
    workers: int | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    make_shards: Callable[[ShardWork, list[ShardTask]], int] | None = None,
) -> BuildReport:
    """Make a collection of ``tracks``, or finish one that was interrupted.

    The bytes of the result depend on the arguments up to ``root`` and on the files there, never
    on the number of workers or on interruptions. A call on a collection that is finished, and
    was made from the same, changes nothing. A track that cannot be read is left out and noted
    in ``build_report.tsv``, also when reading it ends the process twice.

    Parameters
    ----------
    out : str or Path
        Folder of the collection.
    tracks : sequence of TrackSource
        Rows are numbered in this order.
    front_end : FrontEnd
        Makes the log-mels.
    load : callable frozen dataclass, picklable
        ``load(source)`` returns an object with ``waveform`` (float32 [samples], mono, at the
        front end's rate), ``start_seconds`` and ``source_seconds``. Where the front end was
        imported, there is ``mel`` (float [frames, bands]) instead. Its fields are remembered.
    root : str or Path, optional
        Folder that the sources are relative to; the loader is given the joined path, and a file
        whose size or date changes makes another collection. None when sources are tokens.
    notes : sequence of Note, optional
        On what was left out of ``tracks``, for the report.
    workers : int, optional
        Processes; default one for each core this process may use.
    overwrite : bool
        Replace a finished collection, once the new one is ready, and drop an unfinished build
        with other settings. An unfinished build with the same settings is continued.
    quiet : bool
        No progress bar.
    make_shards : callable, optional
        Finishes all shards and returns how many were not there before; default ``workers``
        processes of this machine.

    Raises
    ------
    CollectionError
        ``out`` is foreign, made otherwise, or being built by another process; the disk is full.
    TrackError
        An id twice.
    AudioError
        No track could be read; nothing is left behind.
    """
    began = time.monotonic()
    out = Path(out)
    rate = getattr(load, "sample_rate", front_end.sample_rate)
    if rate != front_end.sample_rate:
        raise FrontEndError(
            f"front end {front_end.name!r} needs {front_end.sample_rate} Hz, "
            f"the loader gives {rate}"
        )
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    elif workers < 1:
        raise RecipeError(f"--workers {workers}: at least one process is needed")
    tracks, unnamed = _storable(tracks)
    unnamed.extend(notes)
    root = None if root is None else os.path.abspath(root)
    plan = Plan(tracks, front_end, load, root)
    folder = BuildFolder(out)
    if folder.finished and not overwrite:
        return _finished_before(folder, plan, began)
    with folder.locked():
        folder.prepare(plan, overwrite)
        tasks = [
            ShardTask(number, tuple(tracks[start : start + plan.per_shard]))
            for number, start in enumerate(range(0, len(tracks), plan.per_shard))
        ]
        made = 0
        if not (folder.path / schema.COLLECTION_FILE).exists():
            work = ShardWork(folder.path, root, front_end, load)
            if make_shards is None:
                made = _make_shards(folder, work, tasks, workers, quiet)
            else:
                made = make_shards(work, tasks)
            _complete(folder, front_end, plan, tasks, unnamed)
        folder.move_out()
    return BuildReport(
        Collection.open(out),
        read_report(out / REPORT_FILE),
        made,
        len(tasks) - made,
        time.monotonic() - began,
    )


def _storable(tracks: Sequence[TrackSource]) -> tuple[list[TrackSource], list[Note]]:
    named, unnamed = {}, []
    for track in tracks:
        try:
            schema.check_track_id(track.track_id)
        except TrackError as error:
            readable = [
                name.encode("utf-8", "backslashreplace").decode("utf-8")
                for name in (track.track_id, track.source)
            ]
            unnamed.append(Note(*readable, "unreadable", str(error)))
            continue
        if track.track_id in named:
            sources = f"{named[track.track_id].source!r} and {track.source!r}"
            raise TrackError(f"the id {track.track_id!r} stands for two tracks: {sources}")
        named[track.track_id] = track
    if not named:
        reason = unnamed[0].reason if unnamed else "there is no track to build it from"
        raise AudioError(f"no collection can be built: {reason}")
    return list(named.values()), unnamed


def _finished_before(folder: BuildFolder, plan: Plan, began: float) -> BuildReport:
    collection = Collection.open(folder.out)
    differences = plan.differences_from_collection(collection)
    if differences:
        raise CollectionError(
            f"{folder.out} is finished, and was made otherwise: {'; '.join(differences)}. "
            "Choose another --out, or build it afresh with --overwrite"
        )
    folder.remove_leftover(plan)
    notes = read_report(folder.out / REPORT_FILE)
    shards = len(collection.shard_paths)
    return BuildReport(collection, notes, 0, shards, time.monotonic() - began)


def _make_shards(
    folder: BuildFolder, work: ShardWork, tasks: list[ShardTask], workers: int, quiet: bool
) -> int:
    """Have all shards made; the number of those that were not there yet."""
    deaths = Deaths()
    done: Counter[int] = Counter()
    made = finished = 0
    total = sum(len(task.tracks) for task in tasks)
    bar = progress(total=total, desc=folder.out.name, unit=" tracks", quiet=quiet)

    def on_step(task: ShardTask, position: int) -> None:
        bar.update(position - done[task.number])
        done[task.number] = position

    def on_death(task: ShardTask, position: int | None, code: int) -> ShardTask:
        folder.remove_temporaries(schema.shard_name(task.number))
        return deaths(task, position, code)

    try:
        with (
            bar,
            closing(
                work_through(work, tasks, workers, on_step=on_step, on_death=on_death)
            ) as results,
        ):
            for task, was_made in results:
                finished += 1
                made += was_made
                if not was_made:  # found, not worked for: no part of rate and time left
                    bar.total -= len(task.tracks)
                    bar.refresh()
    except (OSError, CollectionError) as error:
        raise _kept(error, folder, f"{finished} of {len(tasks)} shards are finished") from error
    finally:
        folder.remove_temporaries()
    return made


def _kept(error: Exception, folder: BuildFolder, what: str) -> CollectionError:
    text = str(error)
    if isinstance(error, OSError):
        text = f"{error.filename or folder.out}: {error.strerror or error}"
    return CollectionError(f"{text}. {what} and kept: mend that, and the same command goes on")


def _complete(
    folder: BuildFolder,
    front_end: FrontEnd,
    plan: Plan,
    tasks: list[ShardTask],
    unnamed: list[Note],
) -> None:
    """Write report, index and ``collection.json`` beside the shards."""
    notes = [note for task in tasks for note in read_notes(folder.path, task.number)] + unnamed
    parts = [ShardPart.load(part_path(folder.path, task.number)) for task in tasks]
    parts = [part for part in parts if part.track_ids]
    if not parts:
        folder.discard()
        failed = [note for note in notes if note.status == "unreadable"]
        shown = "".join(f"\n  {note.source}: {note.reason}" for note in failed[:3])
        more = f"\n  … and {len(failed) - 3:,} more" if len(failed) > 3 else ""
        raise AudioError(
            f"none of {len(failed):,} tracks could be read, nothing is built:{shown}{more}"
        )
    try:
        write_report(folder.path / REPORT_FILE, notes)
        write_collection(folder.path, front_end, parts, plan.source)
    except OSError as error:
        raise _kept(error, folder, "All shards are finished") from error
