"""From tracks to a collection: all cores, one task a shard, and any interruption survived."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain.errors import AudioError, CollectionError, FrontEndError, RecipeError
from playlist_pretrain.progress import progress
from playlist_pretrain.records import schema
from playlist_pretrain.records.build_folder import BuildFolder
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.extend import extend_finished
from playlist_pretrain.records.plan import Plan
from playlist_pretrain.records.pool import work_through
from playlist_pretrain.records.report import (
    REPORT_FILE,
    BuildReport,
    Note,
    merged,
    read_report,
    write_report,
)
from playlist_pretrain.records.shards import (
    Deaths,
    ShardTask,
    ShardWork,
    part_path,
    read_notes,
    sync_shard,
)
from playlist_pretrain.records.sources import TrackSource, storable
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
    add: bool = False,
    make_shards: Callable[[ShardWork, list[ShardTask]], int] | None = None,
) -> BuildReport:
    """Make a collection of ``tracks``, finish one that was interrupted, or add to one.

    The bytes of the result depend on the arguments up to ``root`` and on the files there, never
    on the number of workers or on interruptions. A track that cannot be read is left out and
    noted in ``build_report.tsv``, also when reading it ends the process twice. A call on a
    collection that is finished, and was made from the same, reads only those tracks again and
    appends what can be read now; see :func:`playlist_pretrain.records.extend.extend_finished`.

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
        With ``add`` it drops no more than an unfinished addition of other tracks.
    quiet : bool
        No progress bar.
    add : bool
        Append those of ``tracks`` that the finished collection in ``out`` does not have, as
        new shards; its rows keep their numbers and their bytes.
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
    tracks, unnamed = storable(tracks)
    unnamed.extend(notes)
    root = None if root is None else os.path.abspath(root)
    plan = Plan(tracks, front_end, load, root)
    folder = BuildFolder(out)
    make = functools.partial(
        _make,
        folder,
        work=ShardWork(folder.path, root, front_end, load),
        make_shards=make_shards
        or functools.partial(_make_shards, folder, workers=workers, quiet=quiet),
        overwrite=overwrite,
    )
    if add and not folder.finished:
        raise CollectionError(
            f"{out} is no finished collection, so nothing can be added to it; the same command "
            "without --add builds it"
        )
    if folder.finished and (add or not overwrite):
        return extend_finished(folder, plan, unnamed, make, add=add, began=began)
    made = make(plan, unnamed)
    return BuildReport(
        Collection.open(out),
        read_report(out / REPORT_FILE),
        made,
        len(plan.tasks()) - made,
        time.monotonic() - began,
    )


def _make(
    folder: BuildFolder,
    plan: Plan,
    notes: list[Note],
    work: ShardWork,
    *,
    make_shards: Callable[[ShardWork, list[ShardTask]], int],
    overwrite: bool,
) -> int:
    """Carry out ``plan``; the number of shards made now that the collection has."""
    with folder.locked():
        if plan.onto and Collection.open(folder.out).content_key != plan.onto.content_key:
            raise CollectionError(f"{folder.out} was changed by another process; call again")
        folder.prepare(plan, overwrite)
        made = 0
        if not (folder.path / schema.COLLECTION_FILE).exists():
            tasks = plan.tasks()
            made = make_shards(work, tasks)
            if not _complete(folder, work.front_end, plan, tasks, notes):
                return 0
        folder.move_out()
    return made


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

    # The disk is waited for here, while the workers go on.
    work = dataclasses.replace(work, sync=False)
    try:
        with (
            bar,
            closing(
                work_through(work, tasks, workers, on_step=on_step, on_death=on_death)
            ) as results,
        ):
            for task, was_made in results:
                sync_shard(folder.path, task.number)
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
    notes: list[Note],
) -> bool:
    """Write report, index and ``collection.json`` beside the shards; False if nothing is to add."""
    made = [note for task in tasks for note in read_notes(folder.path, task.number)]
    if plan.onto:
        notes = merged(notes, {track.track_id for track in plan.tracks}, made)
    else:
        notes = made + notes
    parts = [ShardPart.load(part_path(folder.path, task.number)) for task in tasks]
    parts = [part for part in parts if part.track_ids]
    if not parts:
        folder.discard()
        if not plan.onto:
            raise _nothing_read([note for note in notes if note.status == "unreadable"])
        if notes != read_report(folder.out / REPORT_FILE):
            write_report(folder.out / REPORT_FILE, notes)
        return False
    try:
        for task in tasks:  # those found may come from a build that was killed before it waited
            sync_shard(folder.path, task.number)
        write_report(folder.path / REPORT_FILE, notes)
        plan.save_sources(folder.path)
        write_collection(folder.path, front_end, parts, plan.source, onto=plan.onto)
    except OSError as error:
        raise _kept(error, folder, "All shards are finished") from error
    return True


def _nothing_read(failed: list[Note]) -> AudioError:
    shown = "".join(f"\n  {note.source}: {note.reason}" for note in failed[:3])
    more = f"\n  … and {len(failed) - 3:,} more" if len(failed) > 3 else ""
    return AudioError(
        f"none of {len(failed):,} tracks could be read, nothing is built:{shown}{more}"
    )
