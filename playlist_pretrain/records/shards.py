"""What a worker does: load the tracks of one shard, write it, and note what was special.

A shard is finished when its three files are there, written in this order: the shard, the notes
(``.json``) and the part (``.npz``, see :class:`playlist_pretrain.records.writer.ShardPart`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import CollectionError, PlaylistPretrainError, TrackError
from playlist_pretrain.files import sync_file, write_json
from playlist_pretrain.records.pool import describe_exit
from playlist_pretrain.records.report import Note
from playlist_pretrain.records.schema import shard_name
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.writer import ShardPart, ShardWriter

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel

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
        """The task to try, as :func:`playlist_pretrain.records.pool.work_through` asks for it.

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
