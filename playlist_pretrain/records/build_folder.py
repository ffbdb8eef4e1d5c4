"""What a worker does: load the tracks of one shard, write it, and note what was special.

A shard is finished when its three files are there, written in this order: the shard, the notes
(``.json``) and the part (``.npz``, see :class:`playlist_pretrain.records.writer.ShardPart`).

What a build will do: all that determines its result, and how two of them differ.

The folder ``.build`` in which a collection is made.

Everything is made in ``<collection>/.build`` and moved out at the very end, so a finished
collection stays whole until its successor is ready, and a build that was killed goes on where
it stopped.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import itertools
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import CollectionError, PlaylistPretrainError, TrackError
from playlist_pretrain.files import folder_lock, sync_file, write_json
from playlist_pretrain.records import schema
from playlist_pretrain.records.collection import read_document
from playlist_pretrain.records.listing import (
    ADDITIONS,
    Listing,
    listing_change,
    listing_digest,
    listing_line,
    write_listing,
)
from playlist_pretrain.records.report import REPORT_FILE, Note
from playlist_pretrain.records.schema import (
    LOCK_FILE,
    generation,
    own_files,
    shard_name,
    sources_name,
)
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.workers import describe_exit
from playlist_pretrain.records.writer import ShardPart, ShardWriter
from playlist_pretrain.storage import refuse_remote
from playlist_pretrain.version import __version__

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel
    from playlist_pretrain.records.collection import Collection

#: A track is silent when no sample reaches half a step of 16-bit audio.
SILENCE = 2.0**-16


@dataclass(frozen=True)
class ShardTask:
    """One shard to make.

    Attributes
    ----------
    number : int
    tracks : tuple of TrackSource
    crashes : tuple of (int, str)
        Positions in ``tracks`` whose reading ends the process, and how it ended.
    """

    number: int
    tracks: tuple[TrackSource, ...]
    crashes: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class ShardWork:
    """Makes the shards of one build; picklable, called in worker processes.

    Attributes
    ----------
    folder : Path
        Where the shards are built.
    root : str or None
        Folder that sources are relative to; None when they are tokens.
    front_end : FrontEnd
    load : callable
        ``load(source)`` returns the decoded audio, or the mel where the front end was imported.
    sync : bool
        Whether a shard that is made is on the disk; otherwise :func:`sync_shard` is for the
        caller to do.
    """

    folder: Path
    root: str | None
    front_end: FrontEnd
    load: Callable[[str], Any]
    sync: bool = True

    def __call__(self, task: ShardTask, announce: Callable[[int], None]) -> bool:
        """Make the shard unless it is finished; True when it was made.

        ``announce(position)`` is called before each track is read, and with the number of
        tracks before the shard is closed.
        """
        if is_finished(self.folder, task.number):
            return False
        crashes = dict(task.crashes)
        notes: list[Note] = []
        path = self.folder / shard_name(task.number)
        with ShardWriter(path, self.front_end.bands, sync=self.sync) as writer:
            for position, track in enumerate(task.tracks):
                announce(position)
                reason = crashes.get(position) or self._add(writer, track, notes)
                if reason:
                    notes.append(Note(track.track_id, track.source, "unreadable", reason))
            announce(len(task.tracks))
        # Not synced: is_finished tells what a crash of the machine may leave.
        write_json(
            notes_path(self.folder, task.number), [asdict(note) for note in notes], sync=False
        )
        writer.part.save(part_path(self.folder, task.number))
        return True

    def _add(self, writer: ShardWriter, track: TrackSource, notes: list[Note]) -> str | None:
        """Write one track, or return why that is not possible."""
        source = track.source if self.root is None else os.path.join(self.root, track.source)
        try:
            audio = self.load(source)
        except MemoryError:
            raise
        except Exception as error:  # whatever a decoder thinks of, one file must not end a build
            known = isinstance(error, OSError | PlaylistPretrainError)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            return text.removeprefix(f"{source}: ")
        imported = not self.front_end.takes_waveforms
        mel = audio.mel if imported else self._log_mel(audio.waveform)
        try:
            writer.add(track.track_id, mel, audio.start_seconds, audio.source_seconds)
        except TrackError as error:
            if len(mel):
                return str(error)
            samples = len(audio.waveform)
            some = "1 sample is too little" if samples == 1 else f"{samples} samples are too few"
            return f"{some} for one frame"
        if self._is_silent(audio):
            notes.append(Note(track.track_id, track.source, "silent", "no sound in it"))
        window = self.front_end.window_frames
        if len(mel) < window:
            reason = (
                f"{len(mel)} frames, a window of front end {self.front_end.name!r} has {window}"
            )
            if not imported:  # most formats state no length, so the two look the same
                reason += ": the file is short, or was cut off"
            notes.append(Note(track.track_id, track.source, "short", reason))
        return None

    def _is_silent(self, audio: Any) -> bool:
        if self.front_end.takes_waveforms:
            samples = audio.waveform
            parts = (samples[at : at + 65_536] for at in range(0, len(samples), 65_536))
            return not any(np.abs(part).max() >= SILENCE for part in parts)  # mostly the first
        return audio.mel.max() <= self.front_end.silence

    @cached_property
    def _log_mel(self) -> NumpyLogMel:
        from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel

        return NumpyLogMel(self.front_end, np.float16)


class Deaths:
    """What to try next after a process ended while it made a shard.

    The shard is begun anew; a track whose reading ends the process twice is then left out.
    """

    def __init__(self):
        self._times: Counter[tuple[int, int | None]] = Counter()

    def __call__(self, task: ShardTask, position: int | None, code: int) -> ShardTask:
        """The task to try, as :func:`playlist_pretrain.records.workers.work_through` asks for it.

        Raises
        ------
        CollectionError
            The process ended three times, and no track is to blame.
        """
        self._times[task.number, position] += 1
        how, times = describe_exit(code), self._times[task.number, position]
        reading = position is not None and position < len(task.tracks)
        if reading and times == 2:
            reason = f"reading it ended the process twice ({how})"
            return replace(task, crashes=(*task.crashes, (position, reason)))
        if times > 2:
            when = "before its first track" if position is None else "while writing it"
            raise CollectionError(
                f"the process that makes {shard_name(task.number)} (tracks "
                f"{task.tracks[0].track_id!r} … {task.tracks[-1].track_id!r}) ended {times} times "
                f"{when} ({how}); try fewer --workers"
            )
        return task


def notes_path(folder: Path, number: int) -> Path:
    """Where the notes on shard ``number`` are, while the collection is built."""
    return folder / f"{shard_name(number)}.json"


def part_path(folder: Path, number: int) -> Path:
    """Where the part of shard ``number`` is, while the collection is built."""
    return folder / f"{shard_name(number)}.npz"


def sync_shard(folder: Path, number: int) -> None:
    """See that a shard is on the disk; one that does not get there is no longer finished.

    Raises
    ------
    OSError
    """
    try:
        sync_file(folder / shard_name(number))
    except OSError:
        # Its bytes may be read from memory as if nothing had happened.
        part_path(folder, number).unlink(missing_ok=True)
        raise


def read_notes(folder: Path, number: int) -> list[Note]:
    """Notes on a finished shard."""
    return [Note(**note) for note in json.loads(notes_path(folder, number).read_text("utf-8"))]


def is_finished(folder: Path, number: int) -> bool:
    """Whether shard ``number`` is there, with its notes, as its part says."""
    try:
        part = ShardPart.load(part_path(folder, number))
        read_notes(folder, number)
        with open(folder / shard_name(number), "rb") as stream:
            whole = os.fstat(stream.fileno()).st_size == part.size
            return whole and hashlib.file_digest(stream, "sha256").hexdigest() == part.sha
    except (OSError, ValueError, TypeError, CollectionError):
        return False


def tracks_per_shard(tracks: int) -> int:
    """About 64 shards of 16 to 2048 tracks, whatever the number of workers."""
    return min(max(math.ceil(tracks / 64), 16), 2048)


class Plan:
    """All that determines a collection, or an addition to one.

    Parameters
    ----------
    tracks : sequence of TrackSource
    front_end : FrontEnd
    load : dataclass
        The loader; its fields are part of the plan. Where a source is a place within a file, its
        method ``file_of(source)`` names the file.
    root : str or None
        Folder of the sources: the size and date of each file then count too.

    Attributes
    ----------
    lines : list of str
        Of the listing of ``tracks``.
    onto : Collection or None
        What an addition is added to.
    """

    def __init__(
        self, tracks: Sequence[TrackSource], front_end: FrontEnd, load: Any, root: str | None
    ):
        loader = {"name": type(load).__name__, **dataclasses.asdict(load)}
        loader.pop("front_end", None)  # remembered already, as the collection's
        file_of = getattr(load, "file_of", str)
        lines = [listing_line(track, root, file_of) for track in tracks]
        self._set(tracks, lines, front_end.to_dict(), json.loads(json.dumps(loader)))
        self.onto: Collection | None = None
        self._first_shard = self._generation = 0
        self._whole = Listing(lines, [len(lines)])

    def _set(self, tracks: Sequence, lines: list[str], front_end: dict, loader: dict) -> None:
        self.tracks, self.lines = tracks, lines
        self._per_shard = tracks_per_shard(len(tracks))
        self.source = {
            "loader": loader,
            "listed_tracks": len(tracks),
            "listing_sha256": listing_digest(lines),
            "tracks_per_shard": self._per_shard,
        }
        self.document: dict[str, Any] = {
            "type": "mel collection build",
            "format": schema.FORMAT,
            "version": __version__,
            "front_end": json.loads(json.dumps(front_end)),
            "source": self.source,
        }

    def addition(
        self, collection: Collection, listing: Listing, tracks: Sequence[TrackSource]
    ) -> Plan:
        """The plan that adds ``tracks``, some of this plan's, to a finished ``collection``."""
        line_of = {t.track_id: line for t, line in zip(self.tracks, self.lines, strict=True)}
        plan = copy.copy(self)
        lines = [line_of[track.track_id] for track in tracks]
        plan._set(tracks, lines, self.document["front_end"], self.source["loader"])  # type: ignore[arg-type]
        plan.document["addition_to"] = collection.content_key
        plan.onto = collection
        names = [schema.SHARD_FILE.fullmatch(p.name) for p in collection.shard_paths]
        plan._first_shard = 1 + max((int(name[1]) for name in names if name), default=-1)
        plan._generation = generation(read_document(collection.path)) + 1
        plan._whole = listing.extended(lines)
        plan.source = {
            **collection.source,
            "listed_tracks": len(plan._whole.lines),
            "listing_sha256": listing_digest(plan._whole.lines),
            ADDITIONS: plan._whole.counts[1:],
        }
        return plan

    def tasks(self) -> list[ShardTask]:
        """One task a shard."""
        starts = range(0, len(self.tracks), self._per_shard)
        return [
            ShardTask(number, tuple(self.tracks[start : start + self._per_shard]))
            for number, start in enumerate(starts, self._first_shard)
        ]

    def save_sources(self, folder: Path) -> None:
        """Write the listing that the collection keeps."""
        write_listing(folder / sources_name(self._generation), self._whole.lines)

    def differences_from_collection(self, collection: Collection) -> list[str]:
        """What a finished collection was made from otherwise; the program's version may differ."""
        front_end, loader = self.document["front_end"], self.source["loader"]
        return _differences(
            {
                "front_end": collection.front_end.to_dict(),
                "source": {"loader": collection.source.get("loader")},
            },
            {"front_end": front_end, "source": {"loader": loader}},
        )

    def same_listing(self, collection: Collection) -> bool:
        """Whether a finished collection was made from just these files, as far as it tells."""
        return collection.source.get("listing_sha256") == self.source["listing_sha256"]

    def differences_from_build(self, folder: Path) -> list[str]:
        """What an unfinished build in ``folder`` was begun with otherwise."""
        try:
            there = json.loads((folder / "plan.json").read_text("utf-8"))
        except ValueError as error:
            return [f"its plan.json is damaged ({error})"]
        differences = _differences(there, self.document)
        listing = folder / "listing.jsonl"
        if differences and listing.is_file():
            with open(listing, encoding="ascii", newline="\n") as stream:
                for old, new in itertools.zip_longest(stream, self.lines, fillvalue=""):
                    if old != new:
                        differences.append(f"first of them: {listing_change(old, new)}")
                        break
        return differences

    def save(self, folder: Path) -> None:
        """Write the listing, then ``plan.json``."""
        write_listing(folder / "listing.jsonl", self.lines)
        write_json(folder / "plan.json", self.document)


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        if name == "front_end" and there.get("name") != here["name"]:  # all the rest follows
            there, here = {"name": there.get("name")}, {"name": here["name"]}
        names = [*here, *(key for key in there if key not in here)]
        return [
            line
            for key in names
            for line in _differences(there.get(key), here.get(key), f"{name}.{key}".lstrip("."))
        ]
    if there == here:
        return []
    if name == "addition_to":
        return ["one is an addition and the other is not"]
    if name == "source.listing_sha256":
        return ["the list of audio files (ids, paths, sizes, dates)"]
    return [f"{name}: {there!r} there, {here!r} asked for"]


class BuildFolder:
    """``<out>/.build``; see the module.

    Parameters
    ----------
    out : Path
        The collection's folder.

    Raises
    ------
    CollectionError
        ``out`` holds things and is not a collection, or is a URL.
    """

    def __init__(self, out: Path):
        refuse_remote(out, "build there, then copy it: aws s3 cp --recursive DIR s3://BUCKET/DIR")
        self.out, self.path = out, out / ".build"
        if not out.exists():
            return
        if not out.is_dir():
            raise CollectionError(f"{out} is a file; a collection is a folder")
        held = sorted(os.listdir(out))
        if held and held != [".build"] and not self._is_ours():
            raise CollectionError(
                f"{out} is not a collection and not empty (it holds {held[0]!r}); choose another "
                "--out, or empty it yourself"
            )

    def _is_ours(self) -> bool:
        if (self.path / "plan.json").is_file():
            return True
        try:
            document = json.loads((self.out / schema.COLLECTION_FILE).read_text("utf-8"))
        except OSError:
            return False
        except ValueError:  # damaged: what lies beside it tells
            return bool(own_files(self.out))
        return isinstance(document, dict) and document.get("type") == schema.TYPE

    @property
    def finished(self) -> bool:
        """Whether ``out`` holds a finished collection, new or old."""
        return (self.out / schema.COLLECTION_FILE).exists()

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Make the folder and keep other processes out of it.

        Raises
        ------
        CollectionError
            On entering, when another process has it.
        """
        return folder_lock(self.path, f"{self.out} is being built", LOCK_FILE, CollectionError)

    def prepare(self, plan: Plan, overwrite: bool) -> None:
        """Keep what an unfinished build with the same plan left; begin anew otherwise.

        Raises
        ------
        CollectionError
            An unfinished build with another plan, and no ``overwrite``.
        """
        if (self.path / "plan.json").exists():
            differences = plan.differences_from_build(self.path)
            if not differences:
                self.remove_temporaries()
                return
            if not overwrite:
                raise CollectionError(
                    f"{self.out} holds an unfinished build that differs: {'; '.join(differences)}. "
                    "Give the same settings to finish it, or --overwrite to begin anew"
                )
        self._clear()
        plan.save(self.path)

    def remove_temporaries(self, shard: str = "") -> None:
        """Remove half-written files, all or those of one shard."""
        for path in self.path.glob(f".{shard}*.tmp"):
            path.unlink(missing_ok=True)

    def move_out(self) -> None:
        """Put the finished collection in the place of the old one; may be called again.

        Files of an addition have names of their own, and ``collection.json`` is replaced when
        they are there: at every moment the collection is either the old or the new one. Files of
        another build have the names of the old one's, so ``collection.json`` goes first and comes
        last: at no time does it name a file that is not whole.
        """
        document = json.loads((self.path / schema.COLLECTION_FILE).read_text("utf-8"))
        if "addition_to" not in self._plan():
            (self.out / schema.COLLECTION_FILE).unlink(missing_ok=True)
        for name in [*_names(document), REPORT_FILE]:
            if (self.path / name).exists():
                os.replace(self.path / name, self.out / name)
        os.replace(self.path / schema.COLLECTION_FILE, self.out / schema.COLLECTION_FILE)
        self._remove_replaced()
        self.remove()

    def _remove_replaced(self) -> None:
        """Remove what earlier states of the collection left, and only its own files."""
        document = json.loads((self.out / schema.COLLECTION_FILE).read_text("utf-8"))
        names = _names(document)
        for name in sorted(set(own_files(self.out)).difference(names)):
            (self.out / name).unlink()

    def _plan(self) -> dict:
        try:
            plan = json.loads((self.path / "plan.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return plan if isinstance(plan, dict) else {}

    def unfinished_addition(self) -> list[str] | None:
        """Listing of an addition that was begun, None when there is none."""
        if "addition_to" not in self._plan():
            return None
        try:
            return (self.path / "listing.jsonl").read_text("ascii").splitlines(keepends=True)
        except (OSError, ValueError):
            return []

    def discard(self) -> None:
        """Remove the build, and the collection's folder if nothing else is in it."""
        self.remove()
        with contextlib.suppress(OSError):
            self.out.rmdir()

    def remove(self) -> None:
        """Remove the folder; the plan goes first, since without it nothing else counts."""
        (self.path / "plan.json").unlink(missing_ok=True)
        shutil.rmtree(self.path)

    def clean_up(self, plan: Plan, content_key: str) -> None:
        """Finish what was killed in its last steps; ``out`` holds a finished collection.

        Parameters
        ----------
        plan : Plan
            Of the call: a build with this plan has nothing left to do.
        content_key : str
            Of the collection.
        """
        if not self.path.is_dir():
            return
        with contextlib.suppress(CollectionError), self.locked():
            there = self._plan().get("addition_to")
            if there == content_key:
                if (self.path / schema.COLLECTION_FILE).exists():
                    self.move_out()
            elif there is not None or not (
                (self.path / "plan.json").exists() and plan.differences_from_build(self.path)
            ):
                self._remove_replaced()
                self.remove()

    def _clear(self) -> None:
        (self.path / "plan.json").unlink(missing_ok=True)
        for path in self.path.iterdir():
            if path.name != LOCK_FILE:
                path.unlink()


def _names(document: dict) -> list[str]:
    """Files of the collection that ``collection.json`` describes, without that."""
    shards = [shard["file"] for shard in document["shards"]]
    return [*shards, document["index"]["file"], sources_name(generation(document))]
