"""Making the shards of a collection: the task of a worker process.

A shard is finished when ``mel-NNNNN.tfrecord`` and, written after it, ``mel-NNNNN.json`` are there.
The latter has what the index needs to know of the shard, the notes on its tracks, and the tags of
their files where the loader reads them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from playlist_pretrain.audio.file_tags import FileTags
from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.audio.silence import QUIET, frames_with_sound, is_silent, sound_share
from playlist_pretrain.errors import AudioError, CollectionError, TrackError
from playlist_pretrain.files import load_json, whole, write_json
from playlist_pretrain.processes import describe_exit, ended_twice
from playlist_pretrain.records.report import Note
from playlist_pretrain.records.schema import shard_name
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.workers import why_unreadable
from playlist_pretrain.records.writer import ShardPart, ShardWriter


@dataclass(frozen=True)
class ShardTask:
    """Shard to make: its number, its tracks, and positions of tracks that end the process (how)."""

    number: int
    tracks: tuple[TrackSource, ...]
    crashes: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class ShardWork:
    """Make the shards of one build in ``folder``; picklable, called in worker processes.

    The others are arguments of :func:`playlist_pretrain.records.build.make_collection`.
    """

    folder: Path
    root: str | None
    front_end: FrontEnd
    load: Callable[[str], Any]
    on_error: str = "skip"

    def __call__(self, task: ShardTask, announce: Callable[[int], None]) -> bool:
        """Make the shard unless it is finished; True when it was made.

        ``announce(position)`` is called before each track is read, and with the number of
        tracks before the shard is closed.
        """
        path = self.folder / shard_name(task.number)
        with contextlib.suppress(CollectionError):
            part, *_ = read_part(self.folder, task.number)
            if is_sound(path, part.size, part.sha):
                return False
        crashes = dict(task.crashes)
        notes: list[Note] = []
        tags: dict[str, FileTags] = {}
        read_tags = getattr(self.load, "tags", None)
        with ShardWriter(path, self.front_end.bands) as writer:
            for position, track in enumerate(task.tracks):
                announce(position)
                reason = crashes.get(position) or self._add(writer, track, notes)
                if reason and self.on_error == "raise":
                    raise AudioError(f"{track.source}: {reason}")
                if reason:
                    notes.append(Note(track.track_id, track.source, "unreadable", reason))
                elif read_tags is not None:
                    tags[track.track_id] = read_tags(self._path(track))
            announce(len(task.tracks))
        content = {
            "part": writer.part.to_dict(),
            "notes": [dataclasses.asdict(note) for note in notes],
            "tags": tags,
        }
        write_json(part_path(self.folder, task.number), content, sync=False)
        return True

    def _path(self, track: TrackSource) -> str:
        return track.source if self.root is None else os.path.join(self.root, track.source)

    def _add(self, writer: ShardWriter, track: TrackSource, notes: list[Note]) -> str | None:
        """Write one track, or return why that is not possible."""
        source = self._path(track)
        try:
            audio = self.load(source)
        except MemoryError:
            raise
        except Exception as error:  # whatever a decoder thinks of, one file must not end a build
            return why_unreadable(error, source)
        imported = not self.front_end.takes_waveforms
        if imported:
            mel = audio.mel
            above = frames_with_sound(mel, self.front_end.silence)
            silent, sound = not above.any(), above.mean() if len(mel) else 0.0
            taken = self.front_end.seconds(len(mel))  # type: ignore[attr-defined]
        else:
            mel = self._log_mel(audio.waveform)
            taken = len(audio.waveform) / self.front_end.sample_rate
            sound = sound_share(audio.waveform, self.front_end.sample_rate)
            silent = is_silent(audio.waveform)
        try:
            writer.add(track.track_id, mel, audio.start_seconds, audio.source_seconds, sound)
        except TrackError as error:
            if len(mel):
                return str(error)
            samples = len(audio.waveform)
            some = "1 sample is too little" if samples == 1 else f"{samples} samples are too few"
            return f"{some} for one frame"
        if silent or sound < QUIET:
            part = f"the {taken:g} s taken" if audio.source_seconds - taken > 0.1 else "it"
            status, reason = "silent", f"no sound in {part}"
            if not silent:
                level = "above silence" if imported else "at -60 dB of full scale or more"
                status, reason = "quiet", f"nearly silent: {sound:.1%} of {part} is {level}"
            notes.append(Note(track.track_id, track.source, status, reason))
        window = self.front_end.window_frames
        if len(mel) < window:
            reason = (
                f"{len(mel)} frames, a window of front end {self.front_end.name!r} has {window}"
            )
            if not imported:  # most formats state no length, so the two look the same
                reason += ": the file is short, or was cut off"
            notes.append(Note(track.track_id, track.source, "short", reason))
        return None

    @cached_property
    def _log_mel(self) -> Callable[[np.ndarray], np.ndarray]:
        from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel

        return NumpyLogMel(self.front_end, np.float16)


class Deaths:
    """Decides what to try next after a process ended while it made a shard.

    The shard is begun anew; a track whose reading ends the process twice is then left out.
    """

    def __init__(self):
        self._times: Counter[tuple[int, int | None]] = Counter()

    def __call__(self, task: ShardTask, position: int | None, code: int) -> ShardTask:
        """Return the task to try next; CollectionError at the third end with no track to blame."""
        self._times[task.number, position] += 1
        how, times = describe_exit(code), self._times[task.number, position]
        reading = position is not None and position < len(task.tracks)
        if reading and times == 2:
            reason = ended_twice(how)
            return dataclasses.replace(task, crashes=(*task.crashes, (position, reason)))
        if times > 2:
            when = "before its first track" if position is None else "while writing it"
            raise CollectionError(
                f"the process that makes {shard_name(task.number)} (tracks "
                f"{task.tracks[0].track_id!r} … {task.tracks[-1].track_id!r}) ended {times} times "
                f"{when} ({how}); try fewer --workers"
            )
        return task


def part_path(folder: Path, number: int) -> Path:
    """Path of the description of shard ``number`` while the collection is built."""
    return (folder / shard_name(number)).with_suffix(".json")


MadeShard = tuple[ShardPart, list[Note], dict[str, FileTags]]
"""Description of a finished shard, notes on its tracks, and the tags of their files."""


def read_part(folder: Path, number: int) -> MadeShard:
    """Read what is known of a finished shard."""
    path = part_path(folder, number)
    with whole(path, "description", CollectionError, "; remove it and its shard is made anew"):
        content = load_json(path)
        tags = {track_id: FileTags(*values) for track_id, values in content["tags"].items()}
        if not all(isinstance(value, str) for values in tags.values() for value in values):
            raise TypeError("tags that are not text")
        notes = [Note(**note) for note in content["notes"]]
        return ShardPart.from_dict(content["part"]), notes, tags


def is_sound(path: Path, size: int, sha: str | None) -> bool:
    """True if the file has this size and, unless ``sha`` is None, this SHA-256."""
    try:
        with open(path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size != size:
                return False
            return sha is None or hashlib.file_digest(stream, "sha256").hexdigest() == sha
    except OSError:
        return False
