"""Windows of many tracks as batches of one size, which go through a model one after the other.

Batches cross the borders of tracks, and every one of them has the same shape: the model is traced
once. Successive tracks make parts of some thousand windows, and a batch never crosses the border
of a part, so that the numbers of a part depend on nothing that was done before it.

The windows of audio files as batches for a model, decoded by worker processes.

The windows of a collection as batches for a model, read ahead from its shards.

One embedding a track, from a collection.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.errors import CollectionError, FrontEndError
from playlist_pretrain.files import content_key
from playlist_pretrain.messages import progress
from playlist_pretrain.records.report import Note
from playlist_pretrain.records.schema import SMALLEST_STD
from playlist_pretrain.records.sources import TrackSource, find_audio
from playlist_pretrain.records.windows import (
    BufferPool,
    WindowBlock,
    WindowPositions,
    WindowReader,
    read_ahead,
)
from playlist_pretrain.records.workers import decode_in_order

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.audio.numpy_log_mel import NumpyLogMel
    from playlist_pretrain.records.collection import Collection

PART_WINDOWS = 4096
"""A part ends with the track that brings it there."""
AHEAD = 4
"""Batches that wait for the model, or are in it."""


@dataclass(frozen=True)
class Batch:
    """Windows that go through a model together.

    Attributes
    ----------
    windows : ndarray [shape=(batch, frames, bands)]
        Log-mels; only as many as there are ``tracks`` count, the others fill it up.
    tracks : ndarray [shape=(n,), int64]
        Position of each window's track in its source; never decreases.
    starts : ndarray [shape=(n,), float64]
        Seconds in the audio file at which each window begins.
    """

    windows: np.ndarray
    tracks: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.tracks)


@dataclass(frozen=True)
class PartEnd:
    """The batches since the last one are a part.

    Attributes
    ----------
    stop : int
        Position of the track that comes next.
    seconds : float
        Of audio in the part.
    notes : list of Note
        Tracks of the part that have no windows, and why.
    """

    stop: int
    seconds: float
    notes: list[Note] = field(default_factory=list)


def too_short(track_id: str, source: str, frames: int, wanted: int) -> Note:
    """A note on a track that has no window."""
    return Note(track_id, source, "skipped", f"{frames} frames, a window needs {wanted}")


class BatchFiller:
    """Makes batches out of the windows of one track after the other.

    Parameters
    ----------
    batch, frames, bands : int
    """

    def __init__(self, batch: int, frames: int, bands: int):
        self._shape = (batch, frames, bands)
        self._pool = BufferPool(AHEAD + 2)
        self._begin()

    def _begin(self) -> None:
        self._windows = self._pool.take(self._shape, np.dtype(np.float32))
        self._tracks = np.empty(self._shape[0], np.int64)
        self._starts = np.empty(self._shape[0])
        self._filled = 0

    def add(self, track: int, windows: np.ndarray, starts: np.ndarray) -> Iterator[Batch]:
        """Take the windows [n, frames, bands] of a track; yields the batches that they fill."""
        taken = 0
        while taken < len(windows):
            first = self._filled
            stop = min(first + len(windows) - taken, self._shape[0])
            part = slice(taken, taken + stop - first)
            self._windows[first:stop] = windows[part]
            self._tracks[first:stop] = track
            self._starts[first:stop] = starts[part]
            taken, self._filled = part.stop, stop
            if stop == self._shape[0]:
                yield from self.flush()

    def flush(self) -> Iterator[Batch]:
        """Yield what has been taken and is in no batch yet."""
        filled = self._filled
        if filled:
            self._windows[filled:] = self._windows[filled - 1]
            yield Batch(self._windows, self._tracks[:filled], self._starts[:filled])
            self._begin()


def embedding_function(
    model: tf.keras.Model, strategy: tf.distribute.Strategy | None, batch: int, dtype: str
) -> Callable[[np.ndarray], np.ndarray]:
    """``windows [batch, frames, bands] → embeddings float32 [batch, dim]``, traced once.

    Parameters
    ----------
    model : tf.keras.Model
        Made in the scope of ``strategy``.
    strategy : tf.distribute.Strategy, optional
        Its replicas share each batch.
    batch : int
        A multiple of their number.
    dtype : str
        Of the windows.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    share = batch // replicas

    def embed(windows):
        windows = tf.ensure_shape(windows, [share, *model.input_shape[1:]])
        return tf.cast(model(tf.cast(windows, tf.float32), training=False), tf.float32)

    if replicas == 1:
        spec = tf.TensorSpec([share, *model.input_shape[1:]], tf.as_dtype(dtype))
        alone = tf.function(embed, input_signature=[spec], autograph=False)
        # Weights that cannot change are laid out for the processor once, not for every batch.
        frozen = convert_variables_to_constants_v2(alone.get_concrete_function())
        return lambda windows: frozen(tf.constant(windows))[0].numpy()
    together = tf.function(lambda shares: strategy.run(embed, (shares,)), autograph=False)

    def shared_out(windows: np.ndarray) -> np.ndarray:
        def own(context):
            first = context.replica_id_in_sync_group * share
            return tf.constant(windows[first : first + share])

        answers = together(strategy.experimental_distribute_values_from_function(own))
        return np.concatenate([a.numpy() for a in strategy.experimental_local_results(answers)])

    return shared_out


def through_model(
    embed: Callable[[np.ndarray], np.ndarray], items: Iterable[Batch | PartEnd]
) -> Generator[tuple[Batch, np.ndarray] | tuple[PartEnd, None], None, None]:
    """Each batch with its embeddings [n, dim], in their order; ends of parts pass through.

    The model works in a thread of its own while the next batches are made, :data:`AHEAD` of them
    at most.
    """
    ahead: deque[tuple[Any, Future | None]] = deque()
    model = ThreadPoolExecutor(1, thread_name_prefix="model")

    def first() -> tuple:
        item, future = ahead.popleft()
        return item, None if future is None else future.result()[: len(item)]

    try:
        for item in items:
            ahead.append(
                (item, model.submit(embed, item.windows) if isinstance(item, Batch) else None)
            )
            while ahead and (len(ahead) > AHEAD or ahead[0][1] is None or ahead[0][1].done()):
                yield first()
        while ahead:
            yield first()
    finally:
        model.shutdown(wait=True, cancel_futures=True)


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
        from playlist_pretrain.retrieval.predict import text_ids

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


class CollectionWindows:
    """Non-overlapping windows of every track of a collection, in the order of its rows.

    Parameters
    ----------
    collection : Collection
    frames : int
        Of a window.
    short : {"repeat", "pad", "skip"}
        What becomes of tracks that are shorter.

    Raises
    ------
    CollectionError
        If the collection is empty.
    """

    dtype = "float16"
    paths: Sequence[str] | None = None
    folder = None

    def __init__(self, collection: Collection, frames: int, short: str):
        if not len(collection):
            raise CollectionError(f"{collection.path}: no tracks in it")
        self.collection = collection
        self.ids = collection.track_ids
        self._reader = WindowReader(collection, frames, short)
        rows = np.arange(len(collection))
        last = self._reader.last_start(rows).astype(np.int64)
        self._ends = np.cumsum(np.where(self._reader.usable, 1 + last // frames, 0))

    def __len__(self) -> int:
        return len(self.collection)

    @property
    def facts(self) -> dict[str, Any]:
        """What decides its windows, but for the front end."""
        return {"collection_key": self.collection.content_key}

    def batches(self, first: int, batch: int) -> Generator[Batch | PartEnd, None, None]:
        """Batches of the tracks from ``first`` on, part by part; read ahead in threads."""
        reader = self._reader
        reader.pool.keep(2 * reader.calls + AHEAD + 2)
        items = ((item,) for item in self._items(first, batch))

        def read(item: WindowBlock | PartEnd) -> Batch | PartEnd:
            if isinstance(item, PartEnd):
                return item
            fill = (0, batch - len(item))
            rows, starts = (np.pad(a, fill, mode="edge") for a in (item.rows, item.starts))
            return Batch(reader.read(rows, starts), item.rows.astype(np.int64), self._seconds(item))

        yield from read_ahead(read, items, reader.calls, reader.calls)

    def _items(self, first: int, batch: int) -> Iterator[WindowBlock | PartEnd]:
        while first < len(self):
            before = self._ends[first - 1] if first else 0
            stop = int(np.searchsorted(self._ends, before + PART_WINDOWS)) + 1
            rows = np.arange(first, min(stop, len(self)))
            yield from WindowPositions(self._reader, rows).blocks(batch)
            yield self._end(rows)
            first = stop

    def _seconds(self, block: WindowBlock) -> np.ndarray:
        front_end = self.collection.front_end
        into = block.starts * (front_end.hop_length / front_end.sample_rate)
        return self.collection.start_seconds[block.rows] + into

    def _end(self, rows: np.ndarray) -> PartEnd:
        frames, front_end = self.collection.frames[rows], self.collection.front_end
        notes = [
            too_short(self.ids[int(row)], "", int(self.collection.frames[row]), self._reader.frames)
            for row in rows[~self._reader.usable[rows]]
        ]
        seconds = float(frames.sum()) * front_end.hop_length / front_end.sample_rate
        return PartEnd(int(rows[-1]) + 1, seconds, notes)


BATCH = 64


def track_embeddings(
    backbone: tf.keras.Model,
    front_end: FrontEnd,
    collection: Collection,
    *,
    rows: np.ndarray | None = None,
    seconds: float | None = None,
    short: str = "repeat",
    quiet: bool = True,
) -> np.ndarray:
    """Mean embedding of each track's non-overlapping windows.

    Parameters
    ----------
    backbone : tf.keras.Model
        ``[batch, frames, bands] → [batch, dim]``.
    front_end : FrontEnd
        That the backbone was trained on.
    collection : Collection
    rows : np.ndarray int [tracks], optional
        Which tracks; default all.
    seconds : float, optional
        Only the windows of that many seconds in the centre of each source.
    short : {"repeat", "pad"}
        What fills the window of a track that is shorter.
    quiet : bool
        No progress.

    Returns
    -------
    np.ndarray float32 [tracks, dim]

    Raises
    ------
    FrontEndError
        If the collection was made by another front end.
    """
    front_end.check_same(collection.front_end, "the model", f"collection {collection.name}")
    reader = WindowReader(collection, backbone.input_shape[1], short=short)
    return track_means(backbone, WindowPositions(reader, rows, seconds), quiet=quiet)


def track_means(
    model: tf.keras.Model, positions: WindowPositions, *, quiet: bool = True
) -> np.ndarray:
    """Mean output of a model over the windows of each track.

    Parameters
    ----------
    model : tf.keras.Model
        ``[batch, frames, bands] → [batch, dim]``: a backbone, or a tagger.
    positions : WindowPositions
        Says which windows.
    quiet : bool
        No progress.

    Returns
    -------
    np.ndarray float32 [tracks, dim]
        In the order of ``positions.rows``; NaN for a track that has no window.
    """
    total = np.zeros((len(positions.rows), model.output_shape[-1]), np.float64)
    windows = np.zeros((len(total), 1))
    reader = positions.reader
    blocks, soon = itertools.tee(positions.blocks(BATCH))
    requests = ((block.rows, block.starts) for block in soon)
    batches = read_ahead(reader.read, requests, reader.calls, reader.calls)
    with progress(total=positions.windows, quiet=quiet, desc="embedding", unit="window") as bar:
        for block, batch in zip(blocks, batches, strict=True):
            np.add.at(total, block.tracks, model(batch, training=False).numpy())
            np.add.at(windows, block.tracks, 1)
            bar.update(len(block))
    with np.errstate(invalid="ignore"):
        return (total / windows).astype(np.float32)


def mean_of_mel(collection: Collection) -> np.ndarray:
    """Mean of the standardised log-mel over a track's frames: what any embedding has to beat.

    Returns
    -------
    np.ndarray float32 [tracks, bands]
    """
    std = np.maximum(collection.band_std, SMALLEST_STD)
    means = [collection.mel(row).mean(axis=0, dtype=np.float64) for row in range(len(collection))]
    return ((np.stack(means) - collection.band_mean) / std).astype(np.float32)
