"""Building collections on all cores, with one task a shard.

A build that was interrupted goes on with the shards that are finished. A collection that is
finished grows by new shards and a new index; its shards stay as they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.audio.file_tags import FileTags
from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.audio.front_end import front_end as front_end_named
from playlist_pretrain.errors import (
    AudioError,
    CollectionError,
    FrontEndError,
    RecipeError,
    require,
)
from playlist_pretrain.messages import command, progress
from playlist_pretrain.processes import work_through
from playlist_pretrain.records import schema
from playlist_pretrain.records.build_folder import (
    THE_LIST,
    BuildFolder,
    Changes,
    Plan,
    listing_of,
    read_line,
)
from playlist_pretrain.records.collection import Collection, read_document, read_index
from playlist_pretrain.records.report import (
    DIFFERS,
    REPORT_FILE,
    BuildReport,
    Note,
    log_report,
    read_report,
    write_report,
)
from playlist_pretrain.records.shards import Deaths, ShardTask, ShardWork, is_sound, read_part
from playlist_pretrain.records.sources import (
    TrackSource,
    excerpt_seconds,
    find_audio,
    read_tracks_table,
    storable,
)
from playlist_pretrain.records.track_tags import TrackTable, read_tracks, write_tracks
from playlist_pretrain.records.workers import decode_files
from playlist_pretrain.records.writer import write_collection

MakeShards = Callable[[ShardWork, list[ShardTask]], int]


def build_collection(
    audio: str | Path,
    out: str | Path,
    *,
    front_end: str = "paper",
    excerpt: float | str | None = 30,
    tracks: str | Path | None = None,
    path_prefix: str | None = None,
    resample_quality: int = 4,
    workers: int | None = None,
    add: bool = False,
    overwrite: bool = False,
    on_error: str = "skip",
    beam: str | None = None,
) -> Collection:
    """Decode an audio folder, compute log-mels and write them as a collection.

    The same call finishes a build that was interrupted. On a finished collection it makes shards
    that are missing or damaged anew and appends tracks that could not be read before.

    Parameters
    ----------
    audio : str or Path
        Folder with the audio: every file below it that is not hidden, unless there is a table.
    out : str or Path
        Folder of the collection.
    front_end : str
        ``"paper"``, ``"musicnn"``, ``"vggish"`` or ``"vggish-essentia"``.
    excerpt : float, "full" or None
        Seconds to take from the centre of each file; ``"full"`` or None takes all of it.
    tracks : str or Path, optional
        CSV or TSV with the columns ``track_id`` and ``path`` (below the audio folder).
    path_prefix : str, optional
        What the paths of that table begin with in place of the audio folder.
    resample_quality : int
        Essentia's: 0 (best, slow) to 4 (linear).
    workers : int, optional
        Processes; default one for each core.
    add : bool
        Append the tracks that the finished collection does not have.
    overwrite : bool
        Build afresh; a finished collection is replaced when the new one is ready.
    on_error : {"skip", "raise"}
        What to do with a file that cannot be read: leave it out and list it in
        ``build_report.tsv``, or stop.
    beam : str, optional
        Build with Apache Beam, with these options of Beam, see
        :mod:`playlist_pretrain.records.beam_build`.

    Raises
    ------
    AudioError
        No such folder, no audio in it, or no file of it can be read.
    CollectionError
        See :func:`make_collection`.
    TrackError, TableError, RecipeError
        An id twice; a table that cannot be read; a setting that cannot be.

    Examples
    --------
    >>> collection = build_collection("~/music", "tfrecords/mine")
    """
    audio, out = Path(audio).expanduser(), Path(out).expanduser()
    require("essentia")
    BuildFolder(out)  # refuses what is no place to build in before it looks for audio
    make_shards = None
    if path_prefix is not None and tracks is None:
        raise RecipeError("--path-prefix: nothing reads it without --tracks")
    if beam is not None:
        from playlist_pretrain.records.beam_build import run_on

        if workers is not None:
            raise RecipeError("--workers: with --beam the number of workers is an option of Beam")
        make_shards = run_on(beam)
    made_by = dataclasses.replace(front_end_named(front_end), resample_quality=resample_quality)
    load = AudioLoader(made_by.sample_rate, excerpt_seconds(excerpt), resample_quality)
    other_files: Counter[str] = Counter()
    if tracks is None:
        found = find_audio(audio)
        sources, other_files = found.tracks, found.other_files
    else:
        sources = read_tracks_table(tracks, audio, path_prefix)
        missing = [t for t in sources if not os.path.exists(os.path.join(audio, t.source))]
        if len(missing) == len(sources):
            raise AudioError(
                f"none of the {len(sources):,} files of {tracks} is below {audio}, "
                f"neither {missing[0].source!r}; paths are taken from the folder of --audio"
            )
    report = make_collection(
        out, sources, made_by, load,
        root=audio, workers=workers, add=add, overwrite=overwrite, on_error=on_error,
        make_shards=make_shards,
    )  # fmt: skip
    listed = len(report.failed) + report.tracks
    log_report(report, "track", listed, other_files, tracks or audio)
    return report.collection


def make_collection(
    out: str | Path,
    tracks: Sequence[TrackSource],
    front_end: FrontEnd,
    load: Callable[[str], Any],
    *,
    root: str | Path | None = None,
    notes: Sequence[Note] = (),
    workers: int | None = None,
    overwrite: bool = False,
    add: bool = False,
    on_error: str = "skip",
    make_shards: MakeShards | None = None,
) -> BuildReport:
    """Make a collection of ``tracks``, finish one that was interrupted, or add to one.

    The bytes of the result depend on the arguments up to ``root`` and on the files there, never
    on the number of workers or on interruptions. A track that cannot be read is left out and
    noted in ``build_report.tsv``, also when reading it ends the process twice.

    A call on a finished collection that was made from the same sources makes shards that are
    missing or damaged anew, byte for byte, and appends those of ``tracks`` that could not be read
    before, or were lost in a repair.

    Parameters
    ----------
    out, workers, overwrite, add, on_error
        See :func:`build_collection`. An unfinished build with the same settings is continued,
        with others only ``overwrite`` drops it. Added tracks become new shards.
    tracks : sequence of TrackSource
        In the order of the rows.
    load : callable frozen dataclass, picklable
        ``load(source)`` returns an object with ``waveform`` (float32 [samples], mono, at the
        front end's rate), ``start_seconds`` and ``source_seconds``. Where the front end was
        imported, there is ``mel`` (float [frames, bands]) instead. Its fields are remembered.
        Its ``tags(source)``, a :class:`.FileTags`, go into ``tracks.csv`` where it has them.
    root : str or Path, optional
        Folder that the sources are relative to; the loader is given the joined path, and a file
        whose size or date changes makes another collection. None when sources are tokens.
    notes : sequence of Note, optional
        On what was left out of ``tracks``, for the report.
    make_shards : callable, optional
        Finishes all shards and returns how many were not there before; default ``workers``
        processes of this machine.

    Raises
    ------
    CollectionError
        ``out`` is foreign, made otherwise, or being built by another process; the disk is full;
        a damaged shard cannot be made anew.
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
    if on_error not in ("skip", "raise"):
        raise RecipeError(f"on_error = {on_error!r}: skip or raise")
    tracks, left_out = storable(tracks)
    if not tracks:
        reason = left_out[0].reason if left_out else "there is no track to build it from"
        raise AudioError(f"no collection can be built: {reason}")
    left_out.extend(notes)
    root = None if root is None else os.path.abspath(root)
    plan = Plan.of(tracks, front_end, load, root)
    folder = BuildFolder(out)
    if add and not folder.finished:
        raise CollectionError(
            f"{out} is no finished collection, so nothing can be added to it; the same command "
            "without --add builds it"
        )
    build = _Build(
        folder,
        ShardWork(folder.path, root, front_end, load, on_error),
        make_shards or functools.partial(_make_shards, folder, workers),
        overwrite,
    )
    if folder.finished and (add or not overwrite):
        report = build.update(plan, left_out, add)
    else:
        made = build.carry_out(plan, left_out)
        notes = read_report(out / REPORT_FILE)
        report = BuildReport(Collection.open(out), notes, made, len(plan.tasks()) - made)
    report.seconds = time.monotonic() - began
    return report


@dataclasses.dataclass
class _Build:
    folder: BuildFolder
    work: ShardWork
    make_shards: MakeShards
    overwrite: bool

    def carry_out(self, plan: Plan, notes: list[Note]) -> int:
        """Make the collection or the addition of ``plan``; the number of shards made for it now."""
        folder, made = self.folder, 0
        with folder.locked():
            if plan.onto and Collection.open(folder.out).content_key != plan.onto.content_key:
                raise CollectionError(f"{folder.out} was changed by another process; call again")
            folder.prepare(plan, self.overwrite)
            if not (folder.path / schema.COLLECTION_FILE).exists():
                made = self.make_shards(self.work, plan.tasks())
                if not self._complete(plan, notes):
                    return 0
            folder.move_out()
        return made

    def _complete(self, plan: Plan, notes: list[Note]) -> bool:
        """Write report, index and ``collection.json`` beside the shards; False if all are empty."""
        folder = self.folder
        parts, made = [], []
        tags: dict[str, FileTags] = {}
        for task in plan.tasks():
            part, its_notes, its_tags = read_part(folder.path, task.number)
            parts += [part] if part.track_ids else []
            made += its_notes
            tags |= its_tags
        if plan.onto:
            notes = [note for note in notes if note.track_id not in plan.tracks]
        notes = _distinct(notes + made if plan.onto else made + notes)
        if not parts:
            folder.remove()
            if not plan.onto:
                failed = [note for note in notes if note.status == "unreadable"]
                lines = [f"\n  {note.source}: {note.reason}" for note in failed[:3]]
                lines += [f"\n  … and {len(failed) - 3:,} more"] * (len(failed) > 3)
                raise AudioError(
                    f"none of {len(failed):,} tracks could be read, nothing is built:"
                    + "".join(lines)
                )
            _update_report(folder, notes)
            return False
        try:
            write_report(folder.path / REPORT_FILE, notes)
            plan.save_sources(folder.path)
            if tags:  # the loader reads them
                held = read_tracks(folder.out) if plan.onto else TrackTable()
                write_tracks(folder.path, held, tags)
            write_collection(folder.path, self.work.front_end, parts, plan.source, onto=plan.onto)
        except OSError as error:
            raise _kept(error, folder, "All shards are finished") from error
        return True

    def update(self, plan: Plan, left_out: list[Note], add: bool) -> BuildReport:
        """Mend a finished collection and append what ``plan`` has and it does not.

        With ``add`` that is every track; without, only those that were listed before and could
        not be read or were lost.
        """
        folder = self.folder
        folder.clean_up()
        document = read_document(folder.out)
        if differences := plan.other_settings(document):
            raise _made_otherwise(folder, "; ".join(differences), add)
        remade = self._make_damaged_shards_anew(plan, document, hashed=not add)
        collection = Collection.open(folder.out)
        before, held = len(collection), set(collection.track_ids)
        listing = listing_of(collection)
        if listing is None and add:
            raise CollectionError(
                f"{folder.out} does not hold the list of its sources (sources-….jsonl is missing, "
                "or damaged), so nothing can be added; build it afresh with --overwrite"
            )
        if listing is None:
            if collection.source.get("listing_sha256") != plan.source["listing_sha256"]:
                raise _made_otherwise(folder, THE_LIST)
            listing = plan.listing
        changes = Changes(listing, plan.listing, held.__contains__)
        # Tracks that another call added are not listed by this one.
        gone = changes.gone and schema.generation(document) == 0
        if not add and (not changes.known or changes.changed or gone):
            raise _made_otherwise(folder, str(changes))
        wanted = {*changes.missing, *(changes.new if add else [])}
        notes = read_report(folder.out / REPORT_FILE)
        if add:
            notes = [n for n in notes if n.status != DIFFERS or n.track_id not in plan.tracks]
            notes += [_differs(plan.tracks[i], listing[i]) for i in changes.changed]
        notes = _distinct(notes + left_out)
        addition = plan.addition(collection, listing, [i for i in plan.tracks if i in wanted])
        # Without --add, an addition of more tracks is left to the call that began it.
        interrupted = not add and folder.addition_to is not None
        if wanted and interrupted:
            interrupted = bool(addition.differences_from_build(folder.path))
        made = 0
        self._read_tags(plan, collection)
        if wanted and not interrupted:
            made = self.carry_out(addition, notes)
            collection = Collection.open(folder.out)
        else:
            _update_report(folder, notes)
        held = set(collection.track_ids)
        return BuildReport(
            collection,
            read_report(folder.out / REPORT_FILE),
            made,
            len(collection.shard_paths) - made,
            added=len(collection) - before,
            read_late=sum(track_id in held for track_id in changes.missing),
            waiting=0 if add else len(changes.new),
            interrupted=interrupted,
            remade=remade,
        )

    def _read_tags(self, plan: Plan, collection: Collection) -> None:
        """Read tags of the collection's files that ``tracks.csv`` has no row of, such as all."""
        read_tags = getattr(self.work.load, "tags", None)
        table = TrackTable() if read_tags is None else read_tracks(self.folder.out)
        ids = [i for i in collection.track_ids if i in plan.tracks and i not in table.rows]
        if read_tags is None or not ids:
            return
        tracks = [plan.tracks[track_id] for track_id in ids]
        found = decode_files(tracks, self.work.root or "", read_tags)
        bar = progress(found, desc="tags", total=len(ids), unit=" files")
        # A text is why a process ended: such a file has none.
        tags = {ids[i]: FileTags() if isinstance(one, str) else one for i, one in bar}
        write_tracks(self.folder.out, table, {track_id: tags[track_id] for track_id in ids})

    def _make_damaged_shards_anew(self, plan: Plan, document: dict, hashed: bool) -> int:
        """Make shards that are missing, cut or (``hashed``) changed anew; their number.

        They have to become what ``collection.json`` says of them, so that it stays as it is.
        """
        folder, entries = self.folder, document["shards"]

        def sound(entry: dict) -> bool:
            sha = entry["sha256"] if hashed else None
            return is_sound(folder.out / entry["file"], entry["size"], sha)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            checks = threads.map(sound, entries)
            bar = progress(checks, desc="checking shards", total=len(entries), unit=" shards")
            damaged = [number for number, is_right in enumerate(bar) if not is_right]
        if not damaged:
            return 0
        index = read_index(folder.out, document)
        tasks, reasons = [], []
        for number in damaged:
            first, end = np.searchsorted(index["shard"], [number, number + 1]).tolist()
            ids = index["track_ids"][first:end]
            absent = [track_id for track_id in ids if track_id not in plan.tracks]
            if absent:
                reasons.append(f"{entries[number]['file']}: track {absent[0]!r} is not listed now")
            else:
                tasks.append(ShardTask(number, tuple(plan.tracks[i] for i in ids)))
        anew = folder.path / "anew"
        with folder.locked():
            anew.mkdir(exist_ok=True)
            self.make_shards(dataclasses.replace(self.work, folder=anew), tasks)
            for task in tasks:
                entry = entries[task.number]
                if read_part(anew, task.number)[0].sha == entry["sha256"]:
                    os.replace(anew / schema.shard_name(task.number), folder.out / entry["file"])
                else:
                    reasons.append(f"{entry['file']}: its sources give other mels now")
            shutil.rmtree(anew)
            if not (folder.path / "plan.json").exists():
                folder.remove()
        if reasons:
            raise CollectionError(
                f"{folder.out}: {len(reasons)} of {len(damaged)} damaged shards cannot be made "
                f"anew ({'; '.join(reasons)}). Give the command that added these tracks, or have "
                f"{command('check_collection', '--collection', str(folder.out), '--repair')} take "
                "these shards out"
            )
        return len(damaged)


def _make_shards(folder: BuildFolder, workers: int, work: ShardWork, tasks: list[ShardTask]) -> int:
    """Have all shards made; the number of those that were not there yet."""
    deaths = Deaths()
    done: Counter[int] = Counter()
    made = finished = 0
    bar = progress(
        total=sum(len(task.tracks) for task in tasks), desc=folder.out.name, unit=" tracks"
    )

    def on_step(task: ShardTask, position: int) -> None:
        bar.update(position - done[task.number])
        done[task.number] = position

    results = work_through(work, tasks, workers, on_step=on_step, on_death=deaths)
    try:
        with bar, contextlib.closing(results):
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


def _made_otherwise(folder: BuildFolder, differences: str, add: bool = False) -> CollectionError:
    if add:
        return CollectionError(
            f"{folder.out} was made otherwise, so nothing can be added: {differences}. "
            "Give the settings that it was made with, or choose another --out"
        )
    return CollectionError(
        f"{folder.out} is finished, and was made otherwise: {differences}. "
        "Choose another --out, add what is new with --add, or build it afresh with --overwrite"
    )


def _differs(track: TrackSource, line: str) -> Note:
    _, source, size, _ = read_line(line)
    held = f"{source!r}" + ("" if size is None else f" of {size:,} bytes")
    now = "the file has changed since" if source == track.source else "this is another file"
    reason = f"the collection holds this id from {held}; {now}"
    return Note(track.track_id, track.source, DIFFERS, reason)


def _distinct(notes: list[Note]) -> list[Note]:
    return list(dict.fromkeys(notes))


def _update_report(folder: BuildFolder, notes: list[Note]) -> None:
    if set(notes) != set(read_report(folder.out / REPORT_FILE)):
        write_report(folder.out / REPORT_FILE, notes)
