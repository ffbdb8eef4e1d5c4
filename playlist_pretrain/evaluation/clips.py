"""The clips of triplets as mels: whole tracks of a collection, or excerpts cut out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from playlist_pretrain.embedding.tracks import track_means
from playlist_pretrain.errors import TableError
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.id_table import did_you_mean
from playlist_pretrain.records.positions import WindowPositions, incomplete_excerpts
from playlist_pretrain.records.schema import shard_name
from playlist_pretrain.records.windows import WindowReader
from playlist_pretrain.records.writer import ShardWriter, write_collection
from playlist_pretrain.tasks.dim_sim import Triplets, seconds_text

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.models.embedders import Embedder


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
        self, embedder: Embedder, clips: np.ndarray, *, short: str = "repeat", quiet: bool = True
    ) -> np.ndarray:
        """Mean embedding of each clip's non-overlapping windows.

        Parameters
        ----------
        embedder : Embedder
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
