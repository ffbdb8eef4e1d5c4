"""The windows of audio files as batches for a model, decoded by worker processes."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.embedding.window_batches import (
    PART_WINDOWS,
    Batch,
    BatchFiller,
    PartEnd,
    too_short,
)
from playlist_pretrain.errors import FrontEndError
from playlist_pretrain.files import content_key
from playlist_pretrain.records.decoding import decode_in_order
from playlist_pretrain.records.report import Note
from playlist_pretrain.records.sources import TrackSource, find_audio

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel


@dataclass(frozen=True)
class TrackWindows:
    """Non-overlapping windows of an audio file.

    Attributes
    ----------
    windows : ndarray [shape=(n, frames, bands), float32]
    frames : int
        Of the whole log-mel.
    seconds : float
        Length of the file.
    """

    windows: np.ndarray
    frames: int
    seconds: float


@dataclass(frozen=True)
class WindowLoader:
    """Makes the windows of a file; travels to worker processes.

    The log-mel is that of the SavedModel's signature ``waveform``: of the whole file, silence
    after samples that are too few for one frame, frames after the last window left out.

    Attributes
    ----------
    front_end : FrontEnd
        One that takes waveforms.
    frames : int
        Of a window.
    short : {"repeat", "pad", "skip"}
        What becomes of files that are shorter: no windows with ``"skip"``.
    """

    front_end: FrontEnd
    frames: int
    short: str

    def __call__(self, source: str) -> TrackWindows:
        """Windows of the file ``source``; raises AudioError as ``decode`` does."""
        front_end = self.front_end
        audio = decode(source, front_end.sample_rate, None, front_end.resample_quality)
        waveform = audio.waveform
        missing = 0 if front_end.frames(len(waveform)) else front_end.frame_length - len(waveform)
        mel = self._log_mel(np.pad(waveform, (0, missing)) if missing else waveform)
        length = len(mel)
        if length < self.frames:
            if self.short == "skip":
                mel = mel[:0]
            elif self.short == "repeat":
                mel = np.tile(mel, (-(-self.frames // length), 1))
            else:
                fill = ((0, self.frames - length), (0, 0))
                mel = np.pad(mel, fill, constant_values=front_end.silence)
        windows = mel[: len(mel) // self.frames * self.frames]
        shape = (-1, self.frames, front_end.bands)
        return TrackWindows(windows.reshape(shape), length, audio.source_seconds)

    @cached_property
    def _log_mel(self) -> NumpyLogMel:
        from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel

        return NumpyLogMel(self.front_end)


class AudioWindows:
    """Non-overlapping windows of every audio file of a folder, in the order of the ids.

    Files are decoded, and their log-mels computed, in worker processes.

    Parameters
    ----------
    audio : str or Path
        A folder as :func:`~playlist_pretrain.records.sources.find_audio` reads it, or a file of
        any name, whose id is that name without the extension.
    front_end : FrontEnd
    frames : int
        Of a window.
    short : {"repeat", "pad", "skip"}
    workers : int, optional
        Processes; default one for each core this process may use.

    Raises
    ------
    FrontEndError
        The front end was imported.
    AudioError, TrackError
        No audio; two files with one id.
    """

    dtype = "float32"
    collection = None

    def __init__(
        self,
        audio: str | Path,
        front_end: FrontEnd,
        frames: int,
        short: str,
        workers: int | None = None,
    ):
        from playlist_pretrain.evaluation.predict import text_ids

        if not front_end.takes_waveforms:
            raise FrontEndError(
                f"--audio {audio}: front end {front_end.name!r} of the model takes no waveforms, "
                "its mels are made elsewhere; embed a collection of them"
            )
        audio = Path(audio)
        single = audio.is_file()
        self.folder = audio.parent if single else audio
        found = [TrackSource(audio.stem, audio.name)] if single else find_audio(audio).tracks
        self._tracks, self._unnamed = text_ids(found)
        self.ids: Sequence[str] = [track.track_id for track in self._tracks]
        self.paths: Sequence[str] = [
            track.source.encode("utf-8", "backslashreplace").decode() for track in self._tracks
        ]
        self._load = WindowLoader(front_end, frames, short)
        self._workers = workers

    def __len__(self) -> int:
        return len(self._tracks)

    @property
    def facts(self) -> dict[str, Any]:
        """What decides its windows, but for the front end: names, sizes and times of the files."""
        lines = []
        for track in self._tracks:
            try:
                status = os.stat(self.folder / track.source)
                state = f"{status.st_size} {status.st_mtime_ns}"
            except OSError:
                state = "none"  # reading it will say why
            lines += [os.fsencode(track.source), state.encode()]
        return {"files": len(self) + len(self._unnamed), "files_key": content_key(*lines)}

    def batches(self, first: int, batch: int) -> Generator[Batch | PartEnd, None, None]:
        """Batches of the files from ``first`` on, part by part."""
        load = self._load
        window_seconds = load.frames * load.front_end.hop_length / load.front_end.sample_rate
        filler = BatchFiller(batch, load.frames, load.front_end.bands)
        notes, in_part, seconds = ([] if first else list(self._unnamed)), 0, 0.0
        decoded = decode_in_order(
            self._tracks[first:], self.folder, load, self._workers,
            size_of=lambda found: 0 if isinstance(found, str) else found.windows.nbytes,
        )  # fmt: skip
        for position, found in decoded:
            track = first + position
            reason = found if isinstance(found, str) else None
            if reason is not None:
                notes.append(Note(self.ids[track], self.paths[track], "unreadable", reason))
            elif not len(found.windows):
                notes.append(
                    too_short(self.ids[track], self.paths[track], found.frames, load.frames)
                )
            else:
                starts = np.arange(len(found.windows)) * window_seconds
                yield from filler.add(track, found.windows, starts)
                in_part += len(starts)
                seconds += found.seconds
            if in_part >= PART_WINDOWS or track + 1 == len(self):
                yield from filler.flush()
                yield PartEnd(track + 1, seconds, notes)
                notes, in_part, seconds = [], 0, 0.0
        if notes:  # no file has a name that can be stored
            yield PartEnd(len(self), 0.0, notes)
