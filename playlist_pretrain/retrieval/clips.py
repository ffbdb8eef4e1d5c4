"""Log-mels of the clips of triplets: tracks of a collection or audio files, or excerpts of them."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.audio.windows import cut_windows, mean_over_windows
from playlist_pretrain.errors import AudioError
from playlist_pretrain.files import atomic_write
from playlist_pretrain.messages import progress
from playlist_pretrain.models.track_outputs import batch_function, track_outputs
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.schema import MEL_DTYPE, did_you_mean
from playlist_pretrain.records.sources import TrackSource, find_audio
from playlist_pretrain.records.track_windows import TrackWindows, with_one_frame
from playlist_pretrain.records.windows import incomplete_excerpts
from playlist_pretrain.records.workers import decode_in_order
from playlist_pretrain.tasks.triplets import Clip, Triplets, seconds_text

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.models.load import LoadedModel

MISSING_SECONDS = 0.1
"""An excerpt may end that long after its file: codecs add and drop some samples."""


@dataclass(frozen=True, eq=False)
class ClipMels:
    """Log-mels of clips: ``mel(clip)`` reads that at a position, float16 [frames, bands].

    ``frames`` [clips] is 0 for a clip that is not there; ``mean`` and ``std`` [bands] are the
    statistics of the collection, or of the clips.
    """

    front_end: FrontEnd
    mel: Callable[[int], np.ndarray]
    frames: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    def embed(self, embedder: LoadedModel, clips: np.ndarray, short: str = "repeat") -> np.ndarray:
        """Compute the mean embedding of the windows of some clips, float32 [len(clips), dim].

        ``short`` ("repeat" or "pad") says what fills the window of a clip that is shorter.
        """
        silence = self.front_end.silence
        windows = (
            TrackWindows(cut_windows(self.mel(clip), embedder.frames, short, silence))
            for clip in clips.tolist()
        )
        function = batch_function(embedder.model, dtype=MEL_DTYPE.name)
        outputs = progress(
            track_outputs(function, windows), total=len(clips), desc="embedding", unit=" clips"
        )
        means = [mean_over_windows(own, np.array([len(own)])) for _, own in outputs]
        return np.concatenate(means)


def clips_of_collection(
    triplets: Triplets, collection: Collection, seconds: float
) -> tuple[ClipMels, dict[int, str]]:
    """Find the clips that triplets name in a collection: whole tracks, or excerpts of its mels.

    Frames at the ends of an excerpt hear what comes before and after, which frames of a file that
    was cut do not. An excerpt lasts ``seconds``. Returned with the mels: the position of each clip
    that is not there, and why.
    """
    front_end, named = collection.front_end, triplets.named
    rows = np.full(len(triplets.clips), -1, np.int64)
    rows[named] = collection.rows(triplets.clips[clip].track_id for clip in named)
    begin, frames = np.zeros_like(rows), np.zeros_like(rows)
    length = front_end.frames(max(1, round(seconds * front_end.sample_rate)))
    lacking: dict[int, str] = {}
    for clip in named.tolist():
        row, start = int(rows[clip]), triplets.clips[clip].start
        if row < 0:
            hint = did_you_mean(triplets.clips[clip].track_id, collection.rows)
            lacking[clip] = f"not in {collection.name}{hint}"
            continue
        frames[clip] = there = int(collection.frames[row])
        if start is None:
            continue
        first = float(collection.start_seconds[row])
        begin[clip] = round((start - first) * front_end.sample_rate / front_end.hop_length)
        end = begin[clip] + length
        if incomplete_excerpts(begin[clip], end, frames[clip]):
            last = first + there * front_end.hop_length / front_end.sample_rate
            lacking[clip] = (
                f"{collection.name} has {first:.1f} to {last:.1f} s of the track, the excerpt "
                f"is {_span(start, seconds)}"
            )
            frames[clip] = 0
            continue
        begin[clip] = max(begin[clip], 0)
        frames[clip] = min(end, there) - begin[clip]

    def mel(clip: int) -> np.ndarray:
        return collection.mel(int(rows[clip]))[begin[clip] : begin[clip] + frames[clip]]

    return ClipMels(front_end, mel, frames, collection.band_mean, collection.band_std), lacking


def _span(start: float, seconds: float) -> str:
    return f"{seconds_text(start)} to {seconds_text(round(start + seconds, 3))} s"


def audio_of_clips(
    triplets: Triplets, audio: str | Path, *, cut: bool
) -> tuple[dict[int, TrackSource], dict[int, str]]:
    """Find the audio files of clips; reads none of them.

    A track's file has its id as its path below the folder, without extension. The file of an
    excerpt that was cut out is named ``ID_START``, START as short as it can be (``x_30``,
    ``x_27.5``) or with a decimal (``x_30.0``); one of a track that the table names at one start
    only may be named ``ID``.

    Returned by position: the file of a clip, and why a clip has none. Raises AudioError for no such
    folder, no audio in it, or a file that two clips are to be cut out as, TrackError for two files
    with one id.
    """
    files = {track.track_id: track for track in find_audio(audio).tracks}
    starts = Counter(clip.track_id for clip in triplets.clips)
    found, lacking = {}, {}
    owner: dict[str, Clip] = {}
    for position in triplets.named.tolist():
        clip = triplets.clips[position]
        names = [clip.track_id]
        if cut and clip.start is not None:
            start = seconds_text(clip.start)
            names = [f"{clip.track_id}_{start}", f"{clip.track_id}_{clip.start!r}", *names]
            if starts[clip.track_id] > 1:  # one file cannot be several excerpts
                del names[2:]
        name = next((name for name in names if name in files), None)
        if name is None:
            named = " or ".join(repr(name) for name in dict.fromkeys(names))
            hint = did_you_mean(clip.track_id, lambda ids: [0 if i in files else -1 for i in ids])
            lacking[position] = f"no audio file named {named}{hint}"
            continue
        if cut and owner.setdefault(name, clip) != clip:
            raise AudioError(
                f"{audio}: the file {files[name].source!r} could be that of {owner[name]} and of "
                f"{clip}; name both ID_START"
            )
        found[position] = files[name]
    return found, lacking


def clips_of_audio(
    triplets: Triplets,
    audio: str | Path,
    files: Mapping[int, TrackSource],
    front_ends: Sequence[FrontEnd],
    folder: str | Path,
    *,
    seconds: float,
    cut: bool,
    workers: int | None = None,
) -> tuple[list[ClipMels], dict[int, str]]:
    """Compute the log-mels of the clips of triplets by several front ends.

    A file is decoded whole, once a sample rate, and its excerpts are cut out of the waveform, from
    the sample nearest to their start.

    ``files`` are those of :func:`audio_of_clips`; the front ends all differ and take waveforms;
    ``folder`` keeps the mels as long as they are read. An excerpt lasts ``seconds``; where it is
    ``cut``, a file is one already, whatever its start and its length. ``workers`` processes decode
    [one for each core].

    Returns the mels by each front end; and the position of each clip whose file cannot be read, or
    ends before the excerpt does, and why.
    """
    clips_in: dict[TrackSource, list[int]] = defaultdict(list)
    for position in triplets.named.tolist():
        clips_in[files[position]].append(position)
    tracks = sorted(clips_in, key=lambda track: track.track_id)
    of_rate: dict[tuple[int, int], list[_Store]] = defaultdict(list)
    stores = []
    for number, end in enumerate(front_ends):
        stores.append(_Store(Path(folder) / str(number), end, len(triplets.clips)))
        of_rate[end.sample_rate, end.resample_quality].append(stores[-1])
    lacking: dict[int, str] = {}
    total = len(tracks) * len(of_rate)
    with progress(total=total, desc="decoding", unit=" files") as bar:
        for (rate, quality), own in of_rate.items():
            decoded = decode_in_order(
                tracks, audio, AudioLoader(rate, None, quality), workers,
                size_of=lambda found: 0 if isinstance(found, str) else found.waveform.nbytes,
            )  # fmt: skip
            with contextlib.closing(decoded):
                for number, found in decoded:
                    bar.update()
                    for position in clips_in[tracks[number]]:
                        part = found
                        if not isinstance(found, str):
                            clip = triplets.clips[position]
                            part = _excerpt(found.waveform, rate, clip, seconds, cut=cut)
                        if isinstance(part, str):
                            lacking[position] = f"{tracks[number].source}: {part}"
                            continue
                        for store in own:
                            store.add(position, part)
    return [store.mels() for store in stores], lacking


class _Store:
    """Log-mels of clips, a file each, and their statistics."""

    def __init__(self, folder: Path, front_end: FrontEnd, clips: int):
        from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel

        folder.mkdir(parents=True)
        self._log_mel = NumpyLogMel(front_end)
        self.folder, self.front_end = folder, front_end
        self._frames, self._sums = np.zeros(clips, np.int64), np.zeros((2, front_end.bands))

    def add(self, clip: int, waveform: np.ndarray) -> None:
        stored = self._log_mel(with_one_frame(waveform, self.front_end)).astype(MEL_DTYPE)
        with atomic_write(self.folder / f"{clip}.npy", sync=False) as stream:
            np.save(stream, stored)
        self._frames[clip] = len(stored)
        values = stored.astype(np.float64)
        self._sums += values.sum(axis=0), np.square(values).sum(axis=0)

    def mels(self) -> ClipMels:
        mean, square = self._sums / max(int(self._frames.sum()), 1)
        std = np.sqrt(np.maximum(square - mean**2, 0))
        return ClipMels(
            self.front_end,
            lambda clip: np.load(self.folder / f"{clip}.npy", allow_pickle=False),
            self._frames,
            mean.astype(np.float32),
            std.astype(np.float32),
        )


def _excerpt(
    waveform: np.ndarray, rate: int, clip: Clip, seconds: float, *, cut: bool
) -> np.ndarray | str:
    """Samples of a clip, or why it cannot be cut out."""
    if cut or clip.start is None:
        return waveform
    first, count = round(clip.start * rate), max(1, round(seconds * rate))
    part = waveform[first : first + count]
    if not len(part) or count - len(part) > MISSING_SECONDS * rate:
        return f"lasts {len(waveform) / rate:.1f} s, the excerpt is {_span(clip.start, seconds)}"
    return part
