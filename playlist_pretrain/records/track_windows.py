"""Non-overlapping windows of whole tracks, one track after the other: of audio or a collection."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.audio.silence import sound_share
from playlist_pretrain.audio.windows import cut_windows
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.windows import WindowReader, read_ahead, window_positions
from playlist_pretrain.records.workers import decode_in_order

TRACKS_AT_ONCE = 8
"""Tracks of a collection whose windows are read together."""


@dataclass(frozen=True, eq=False)
class TrackWindows:
    """Non-overlapping windows of one track, log-mels [n, frames, bands].

    The first begins at second ``start`` of the source; there are ``seconds`` of audio, ``sound`` is
    the share of it that has any, NaN where that is not known. A track without windows has a
    ``status``, "skipped" or "unreadable", and a ``reason``.
    """

    windows: np.ndarray
    start: float = 0.0
    seconds: float = 0.0
    status: str = ""
    reason: str = ""
    sound: float = math.nan


@dataclass(frozen=True)
class FileWindows:
    """Decode an audio file and cut its log-mel into windows; travels to worker processes.

    The windows are those of the SavedModel's signature ``waveform``: of the whole file or of an
    ``excerpt`` of so many seconds (see :func:`.decode`), silence after samples that are too few for
    one frame, frames after the last window left out. ``short`` says what becomes of audio shorter
    than a window of ``frames``, see :func:`.cut_windows`.
    """

    front_end: FrontEnd
    frames: int
    short: str = "repeat"
    excerpt: float | None = None

    def __call__(self, path: str) -> TrackWindows:
        """Windows of the file ``path``; raises AudioError as :func:`.decode` does."""
        end = self.front_end
        audio = decode(path, end.sample_rate, self.excerpt, end.resample_quality)
        return self.of_waveform(audio.waveform, audio.start_seconds)

    def of_waveform(self, waveform: np.ndarray, start: float = 0.0) -> TrackWindows:
        """Windows of a waveform float32 [samples] at the front end's rate, full scale ±1."""
        mel = self._log_mel(with_one_frame(waveform, self.front_end))
        windows = cut_windows(mel, self.frames, self.short, self.front_end.silence)
        rate = self.front_end.sample_rate
        seconds, sound = len(waveform) / rate, sound_share(waveform, rate)
        return _track(windows, len(mel), self.frames, start, seconds, sound)

    @cached_property
    def _log_mel(self) -> Callable[[np.ndarray], np.ndarray]:
        from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel

        return NumpyLogMel(self.front_end)


def with_one_frame(waveform: np.ndarray, front_end: FrontEnd) -> np.ndarray:
    """Append silence to a waveform that is too short for one frame."""
    if front_end.frames(len(waveform)):
        return waveform
    shortest = 1 if front_end.framing == "centred" else front_end.frame_length
    return np.pad(waveform, (0, shortest - len(waveform)))


def windows_of_files(
    tracks: Sequence[TrackSource], folder: str | Path, load: FileWindows, workers: int | None = None
) -> Iterator[TrackWindows]:
    """Yield the windows of audio files below ``folder``, in their order.

    Files are decoded in ``workers`` processes, one for each core by default.
    """
    nothing = np.empty((0, load.frames, load.front_end.bands), np.float32)
    found = decode_in_order(
        tracks, folder, load, workers,
        size_of=lambda track: 0 if isinstance(track, str) else track.windows.nbytes,
    )  # fmt: skip
    with contextlib.closing(found):
        for _, track in found:
            if isinstance(track, str):
                track = TrackWindows(nothing, status="unreadable", reason=track)
            yield track


def windows_of_collection(
    collection: Collection,
    frames: int,
    short: str = "repeat",
    rows: np.ndarray | None = None,
    seconds: float | None = None,
) -> Iterator[TrackWindows]:
    """Yield the windows of a collection's tracks, float16, read ahead from its shards.

    A window has ``frames`` frames; ``short`` says what becomes of shorter tracks, see
    :func:`.cut_windows`. ``rows`` [tracks, int] are the tracks in their order, by default all;
    ``seconds`` limits the windows to the centre of each source.
    """
    reader = WindowReader(collection, frames, short)
    rows = np.arange(len(collection)) if rows is None else np.asarray(rows)
    front_end = collection.front_end
    per_frame = front_end.hop_length / front_end.sample_rate

    def read(first: int) -> list[TrackWindows]:
        part = rows[first : first + TRACKS_AT_ONCE]
        block = window_positions(reader, part, seconds)
        windows = reader.read(block.rows, block.starts)
        counts = np.bincount(block.tracks, minlength=len(part))
        found, stop = [], 0
        for row, count in zip(part.tolist(), counts.tolist(), strict=True):
            own, stop = slice(stop, stop + count), stop + count
            length, start = int(collection.frames[row]), float(collection.start_seconds[row])
            start += int(block.starts[own][:1].sum()) * per_frame
            sound = float(collection.sound[row])
            found.append(_track(windows[own], length, frames, start, length * per_frame, sound))
        return found

    firsts = ((first,) for first in range(0, len(rows), TRACKS_AT_ONCE))
    ahead = read_ahead(read, firsts, reader.calls)
    with contextlib.closing(ahead):  # type: ignore[type-var]
        for tracks in ahead:
            yield from tracks


def _track(
    windows: np.ndarray, frames: int, wanted: int, start: float, seconds: float, sound: float
) -> TrackWindows:
    if len(windows):
        return TrackWindows(windows, start, seconds, sound=sound)
    reason = f"{frames} frames, a window needs {wanted}"
    return TrackWindows(windows, status="skipped", reason=reason)
