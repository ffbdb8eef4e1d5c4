"""The clips of triplets as mels: whole tracks of a collection, or excerpts cut out of it.

The clips of triplets as mels, from audio files: whole ones, excerpts of them, or cut ones.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from playlist_pretrain.audio.decode import AudioLoader
from playlist_pretrain.errors import AudioError, TableError, TrackError
from playlist_pretrain.messages import progress
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.schema import did_you_mean, shard_name
from playlist_pretrain.records.sources import TrackSource, find_audio
from playlist_pretrain.records.windows import WindowPositions, WindowReader, incomplete_excerpts
from playlist_pretrain.records.workers import decode_in_order
from playlist_pretrain.records.writer import ShardWriter, write_collection
from playlist_pretrain.retrieval.window_batches import track_means
from playlist_pretrain.tasks.triplets import Clip, Triplets, seconds_text

if TYPE_CHECKING:
    from playlist_pretrain.audio.decode import Decoded
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.models.load import LoadedModel


@dataclass(frozen=True, eq=False)
class ClipMels:
    """Where the mels of clips are.

    Attributes
    ----------
    collection : Collection
        One that has a track for each clip, or that of the clips' whole tracks.
    rows : np.ndarray int64 [clips]
        Of the clips in the collection; −1 for one that is not there.
    """

    collection: Collection
    rows: np.ndarray

    def shorter(self, clips: np.ndarray, frames: int) -> int:
        """How many of ``clips`` (positions) have fewer frames."""
        return int((self.collection.frames[self.rows[clips]] < frames).sum())

    def embed(
        self, embedder: LoadedModel, clips: np.ndarray, *, short: str = "repeat", quiet: bool = True
    ) -> np.ndarray:
        """Mean embedding of each clip's non-overlapping windows.

        Parameters
        ----------
        embedder : LoadedModel
            Of the collection's front end.
        clips : np.ndarray int [any]
            Positions of clips that are there.
        short : {"repeat", "pad"}
            What fills the window of a clip that is shorter.
        quiet : bool
            No progress.

        Returns
        -------
        np.ndarray float32 [all clips, dim]
            NaN for others than ``clips``.
        """
        reader = WindowReader(self.collection, embedder.frames, short=short)
        means = track_means(embedder.model, WindowPositions(reader, self.rows[clips]), quiet=quiet)
        vectors = np.full((len(self.rows), embedder.dim), np.nan, np.float32)
        vectors[clips] = means
        return vectors


class ClipStore:
    """Context manager that makes clips a collection of their own.

    Parameters
    ----------
    folder : str or Path
        Empty; to be kept as long as the mels are read.
    front_end : FrontEnd
    clips : int
        All there are, with those that may not come.

    Attributes
    ----------
    mels : ClipMels or None
        When all is written; None when nothing came.
    """

    def __init__(self, folder: str | Path, front_end: FrontEnd, clips: int):
        self.front_end = front_end
        self.mels: ClipMels | None = None
        self._folder = Path(folder)
        self._rows = np.full(clips, -1, np.int64)
        self._count = 0
        self._writer = ShardWriter(self._folder / shard_name(0), front_end.bands)

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def add(self, clip: int, mel: np.ndarray, start: float, source_seconds: float) -> None:
        """Add the clip at position ``clip``: its mel [frames, bands] and where it was cut out.

        Raises
        ------
        TrackError
            When the mel cannot be stored; the rest can.
        """
        self._writer.add(str(clip), mel, start, source_seconds)
        self._rows[clip] = self._count
        self._count += 1

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self._writer.__exit__(kind, error, traceback)
        if kind is None and self._count:
            write_collection(self._folder, self.front_end, [self._writer.part], {"made": "clips"})
            self.mels = ClipMels(Collection.open(self._folder), self._rows)


def span_text(start: float, seconds: float) -> str:
    """Where an excerpt lies, for messages."""
    return f"{seconds_text(start)} to {seconds_text(round(start + seconds, 3))} s"


def collection_rows(triplets: Triplets, collection: Collection) -> np.ndarray:
    """Triplets of whole tracks as rows of a collection.

    Returns
    -------
    np.ndarray int32 [triplets, 3]

    Raises
    ------
    TableError
        With the line of a clip that is an excerpt, or whose track is not in the collection.
    """
    if triplets.has_starts:
        raise TableError(f"{triplets.path}: its triplets are of excerpts, not of whole tracks")
    rows = collection.rows(clip.track_id for clip in triplets.clips)[triplets.rows]
    if (rows < 0).any():
        triplet, side = np.argwhere(rows < 0)[0]
        clip = triplets.clips[triplets.rows[triplet, side]]
        raise TableError(
            f"{triplets.path}: line {triplets.lines[triplet]}: {clip} is not in {collection.name}"
            + did_you_mean(clip.track_id, collection.rows)
        )
    return rows


def clips_of_collection(
    triplets: Triplets, collection: Collection, folder: str | Path, seconds: float
) -> tuple[ClipMels | None, dict[int, str]]:
    """Find the clips of triplets in a collection.

    Excerpts are cut out of the mels that are there, so frames at their ends hear what comes
    before and after, which frames of a file that was cut do not.

    Parameters
    ----------
    triplets : Triplets
    collection : Collection
    folder : str or Path
        Empty, and to be kept as long as the mels are read; a collection of the excerpts is
        written to it if the clips are excerpts.
    seconds : float
        Length of an excerpt.

    Returns
    -------
    ClipMels or None
        None when there is no clip.
    dict of int to str
        Position of each clip that is not there, and why.
    """
    lacking: dict[int, str] = {}
    rows = np.full(len(triplets.clips), -1, np.int64)
    named = triplets.named
    rows[named] = collection.rows(triplets.clips[clip].track_id for clip in named)
    for clip in named[rows[named] < 0].tolist():
        hint = did_you_mean(triplets.clips[clip].track_id, collection.rows)
        lacking[clip] = f"not in {collection.name}{hint}"
    if not triplets.has_starts:
        return (ClipMels(collection, rows) if (rows >= 0).any() else None), lacking
    front_end = collection.front_end
    length = front_end.frames(max(1, round(seconds * front_end.sample_rate)))
    with ClipStore(folder, front_end, len(rows)) as store:
        for clip in named[rows[named] >= 0].tolist():
            row, start = int(rows[clip]), triplets.clips[clip].start
            first, frames = float(collection.start_seconds[row]), int(collection.frames[row])
            begin = round((start - first) * front_end.sample_rate / front_end.hop_length)
            if incomplete_excerpts(np.array(begin), np.array(begin + length), frames):  # type: ignore[arg-type]
                last = first + frames * front_end.hop_length / front_end.sample_rate
                lacking[clip] = (
                    f"{collection.name} has {first:.1f} to {last:.1f} s of the track, the excerpt "
                    f"is {span_text(start, seconds)}"
                )
                continue
            mel = collection.mel(row)[max(begin, 0) : begin + length]
            store.add(clip, mel, start, float(collection.source_seconds[row]))
    return store.mels, lacking


MISSING_SECONDS = 0.1
"""An excerpt may end that long after its file: codecs add and drop some samples."""


def audio_of_clips(
    triplets: Triplets, audio: str | Path, *, cut: bool
) -> tuple[dict[int, TrackSource], dict[int, str]]:
    """Find the audio files of clips; reads none of them.

    A track's file has its id as its path below the folder, without extension. The file of an
    excerpt that was cut out is named ``ID_START``, START as short as it can be (``x_30``,
    ``x_27.5``) or with a decimal (``x_30.0``); one of a track that the table names at one start
    only may be named ``ID``.

    Returns
    -------
    dict of int to TrackSource
        By position of the clip.
    dict of int to str
        Position of each clip that has no file, and why.

    Raises
    ------
    AudioError
        No such folder, no audio in it, or a file that two clips are to be cut out as.
    TrackError
        Two files with one id.
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
    quiet: bool = False,
) -> tuple[list[ClipMels | None], dict[int, str]]:
    """Mels of the clips of triplets, by several front ends.

    A file is decoded whole, once a sample rate, and its excerpts are cut out of the waveform, from
    the sample nearest to their start.

    Parameters
    ----------
    triplets : Triplets
    audio : str or Path
        The folder.
    files : mapping of int to TrackSource
        Of the clips that triplets name, as :func:`audio_of_clips` finds them.
    front_ends : sequence of FrontEnd
        All different, and such that take waveforms.
    folder : str or Path
        Empty, and to be kept as long as the mels are read; for a collection a front end.
    seconds : float
        Length of an excerpt.
    cut : bool
        Whether a file is an excerpt already, whatever its start and its length.
    workers : int, optional
        Processes that decode; default one for each core this process may use.
    quiet : bool
        No progress.

    Returns
    -------
    list of ClipMels or None
        One for each front end; None when no file can be read.
    dict of int to str
        Position of each clip whose file cannot be read, or ends before the excerpt does, and why.
    """
    clips_in: dict[TrackSource, list[int]] = defaultdict(list)
    for position in triplets.named.tolist():
        clips_in[files[position]].append(position)
    tracks = sorted(clips_in, key=lambda track: track.track_id)
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, front_end in enumerate(front_ends):
        groups[front_end.sample_rate, front_end.resample_quality].append(number)
    lacking: dict[int, str] = {}
    stores = [
        ClipStore(Path(folder) / str(number), front_end, len(triplets.clips))
        for number, front_end in enumerate(front_ends)
    ]
    total = len(tracks) * len(groups)
    with progress(total=total, quiet=quiet, desc="decoding", unit=" files") as bar:
        for (rate, quality), numbers in groups.items():
            load = AudioLoader(rate, None, quality)
            with contextlib.ExitStack() as stack:
                own = [stack.enter_context(stores[number]) for number in numbers]
                decoded = decode_in_order(tracks, audio, load, workers, size_of=_size)
                stack.enter_context(contextlib.closing(decoded))
                for number, result in decoded:
                    track = tracks[number]
                    bar.update()
                    for position in clips_in[track]:
                        clip = triplets.clips[position]
                        try:
                            if isinstance(result, str):
                                raise AudioError(result)
                            waveform = _excerpt(result.waveform, rate, clip, seconds, cut=cut)
                            for store in own:
                                mel = _log_mel(store.front_end, waveform)
                                store.add(position, mel, clip.start or 0.0, result.source_seconds)
                        except (AudioError, TrackError) as error:
                            lacking[position] = f"{track.source}: {error}"
    return [store.mels for store in stores], lacking


def _size(result: Decoded | str) -> int:
    return 0 if isinstance(result, str) else result.waveform.nbytes


def _excerpt(
    waveform: np.ndarray, rate: int, clip: Clip, seconds: float, *, cut: bool
) -> np.ndarray:
    """The samples of a clip."""
    if cut or clip.start is None:
        return waveform
    first, count = round(clip.start * rate), max(1, round(seconds * rate))
    part = waveform[first : first + count]
    if not len(part) or count - len(part) > MISSING_SECONDS * rate:
        raise AudioError(
            f"lasts {len(waveform) / rate:.1f} s, the excerpt is {span_text(clip.start, seconds)}"
        )
    return part


def _log_mel(front_end: FrontEnd, waveform: np.ndarray) -> np.ndarray:
    """Log-mel [at least 1 frame, bands]; silence follows samples that are too few for a frame."""
    shortest = next(n for n in range(1, front_end.frame_length + 1) if front_end.frames(n))
    missing = max(shortest - len(waveform), 0)
    return front_end.log_mel(np.pad(waveform, (0, missing))).numpy()
