"""From tracks to a collection: all cores, one task a shard, and any interruption survived.

A finished collection and a call that may add to it: what is new, what was unreadable.
"""

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
from playlist_pretrain.messages import progress
from playlist_pretrain.records import schema
from playlist_pretrain.records.build_folder import (
    BuildFolder,
    Deaths,
    Plan,
    ShardTask,
    ShardWork,
    part_path,
    read_notes,
    sync_shard,
)
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.listing import Changes, Listing
from playlist_pretrain.records.report import (
    DIFFERS,
    REPORT_FILE,
    BuildReport,
    Note,
    merged,
    read_report,
    write_report,
)
from playlist_pretrain.records.sources import TrackSource, storable
from playlist_pretrain.records.workers import work_through
from playlist_pretrain.records.writer import ShardPart, write_collection

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.records.build_folder import Plan


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
    appends what can be read now; see :func:`playlist_pretrain.records.build.extend_finished`.

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


def extend_finished(
    folder: BuildFolder,
    plan: Plan,
    unnamed: list[Note],
    run: Callable[[Plan, list[Note]], int],
    *,
    add: bool,
    began: float,
) -> BuildReport:
    """Append to the finished collection of ``folder`` what a call may append.

    With ``add`` that is every track of ``plan`` that the collection does not have; without, only
    those that an earlier call could not read. An addition that was interrupted is finished first.

    Parameters
    ----------
    folder : BuildFolder
    plan : Plan
        Of all tracks of the call.
    unnamed : list of Note
        Files that cannot be tracks.
    run : callable
        ``run(plan, notes)`` makes an addition and writes ``notes`` into the report, with its own
        on the tracks it tried; returns how many shards it made that the collection now has.
    add : bool
    began : float
        Monotonic time at which the call began.

    Raises
    ------
    CollectionError
        Front end or loader are others than the collection's; without ``add``, files changed or
        went; with it, the collection does not know its sources.
    """
    collection = Collection.open(folder.out)
    folder.clean_up(plan, collection.content_key)
    collection = Collection.open(folder.out)
    _refuse_other_settings(folder, plan, collection, add)
    listing = Listing.load(collection)
    if listing is None:
        return _without_listing(folder, plan, collection, add, began)
    before, unread, made = len(collection), None, 0
    while True:
        held = set(collection.track_ids)
        changes = listing.compare(plan.tracks, plan.lines, held.__contains__)
        if not add and changes.refusal:
            raise _made_otherwise(folder, [changes.refusal])
        if unread is None:
            unread = [track.track_id for track in changes.unread]
        chosen = {track.track_id for track in changes.unread + (changes.new if add else [])}
        wanted, interrupted = _wanted(folder, plan, collection, listing, chosen, add)
        notes = _notes(folder, plan, changes, unnamed, add)
        if wanted is None:
            if notes != read_report(folder.out / REPORT_FILE):
                write_report(folder.out / REPORT_FILE, notes)
            break
        made += run(wanted, notes)
        collection = Collection.open(folder.out)
        listing = Listing.load(collection) or listing
        if len(wanted.tracks) == len(chosen):
            break
    now = set(collection.track_ids)
    return BuildReport(
        collection,
        read_report(folder.out / REPORT_FILE),
        made,
        len(collection.shard_paths) - made,
        time.monotonic() - began,
        added=len(collection) - before,
        read_late=sum(track_id in now for track_id in unread),
        waiting=0 if add else len(changes.new),
        interrupted=interrupted,
    )


def _wanted(
    folder: BuildFolder,
    plan: Plan,
    collection: Collection,
    listing: Listing,
    chosen: set[str],
    add: bool,
) -> tuple[Plan | None, bool]:
    """What to append next, and whether an interrupted addition is in the way."""
    there = folder.unfinished_addition()
    if there is not None:
        lines = set(there)
        begun = [
            track
            for track, line in zip(plan.tracks, plan.lines, strict=True)
            if line in lines and track.track_id in chosen
        ]
        if there and len(begun) == len(there):  # whole, so it can be finished as it was begun
            return plan.addition(collection, listing, begun), False
        if not add:
            return None, True
    if not chosen:
        return None, False
    tracks = [track for track in plan.tracks if track.track_id in chosen]
    return plan.addition(collection, listing, tracks), False


def _notes(
    folder: BuildFolder, plan: Plan, changes: Changes, unnamed: list[Note], add: bool
) -> list[Note]:
    """What the report says already, and what this call found out without reading a file."""
    notes = read_report(folder.out / REPORT_FILE)
    fresh = unnamed
    if add:
        listed = {track.track_id for track in plan.tracks}
        notes = [note for note in notes if note.status != DIFFERS or note.track_id not in listed]
        fresh = changes.differing + unnamed
    there = set(notes)
    return notes + [note for note in fresh if note not in there]


def _refuse_other_settings(
    folder: BuildFolder, plan: Plan, collection: Collection, add: bool
) -> None:
    differences = plan.differences_from_collection(collection)
    if differences and add:
        raise CollectionError(
            f"{folder.out} was made otherwise, so nothing can be added: {'; '.join(differences)}. "
            "Give the settings that it was made with, or choose another --out"
        )
    if differences:
        raise _made_otherwise(folder, differences)


def _made_otherwise(folder: BuildFolder, differences: list[str]) -> CollectionError:
    return CollectionError(
        f"{folder.out} is finished, and was made otherwise: {'; '.join(differences)}. "
        "Choose another --out, add what is new with --add, or build it afresh with --overwrite"
    )


def _without_listing(
    folder: BuildFolder, plan: Plan, collection: Collection, add: bool, began: float
) -> BuildReport:
    """The collection does not know what it was made from, only the digest of that."""
    if add:
        raise CollectionError(
            f"{folder.out} does not hold the list of its sources (sources-….jsonl is missing, or "
            "damaged), so nothing can be added; build it afresh with --overwrite"
        )
    if not plan.same_listing(collection):
        raise _made_otherwise(folder, ["the list of audio files (ids, paths, sizes, dates)"])
    notes = read_report(folder.out / REPORT_FILE)
    shards = len(collection.shard_paths)
    return BuildReport(collection, notes, 0, shards, time.monotonic() - began)
