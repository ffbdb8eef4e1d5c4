"""From windows to a table of embeddings: through the model, part by part, and into files."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from playlist_pretrain.embedding.parts import EmbeddingParts, Part
from playlist_pretrain.embedding.table import embedding_writer, read_embeddings
from playlist_pretrain.embedding.window_batches import (
    Batch,
    PartEnd,
    embedding_function,
    through_model,
)
from playlist_pretrain.errors import AudioError, CollectionError, EmbeddingsError, printable
from playlist_pretrain.files import atomic_write
from playlist_pretrain.progress import progress
from playlist_pretrain.records.report import Note, write_report

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.models.embedders import Embedder

MOST_SHOWN = 3
"""Tracks that the error names when none has an embedding."""


class Source(Protocol):
    """Tracks in an order, and their windows."""

    dtype: str
    ids: Any
    paths: Sequence[str] | None
    collection: Any
    folder: Any

    @property
    def facts(self) -> dict[str, Any]:
        """What decides its windows, but for the front end."""

    def __len__(self) -> int: ...

    def batches(self, first: int, batch: int) -> Generator[Batch | PartEnd, None, None]:
        """Batches of the tracks from ``first`` on, part by part."""


@dataclass(frozen=True)
class Embedded:
    """What one call has embedded: how many tracks, with how many seconds of audio."""

    tracks: int
    seconds: float

    def text(self, took: float) -> str:
        """One line, with the rates."""
        tracks = "1 track" if self.tracks == 1 else f"{self.tracks:,} tracks"
        return (
            f"{tracks}, {self.seconds / 60:,.1f} minutes of audio in {took:,.1f} s: "
            f"{self.tracks / took:,.1f} tracks a second, {self.seconds / took:,.0f} times real time"
        )


class EmbeddingRun:
    """One table of embeddings, to be made or there.

    Parameters
    ----------
    embedder : Embedder
    strategy : tf.distribute.Strategy or None
        In whose scope the embedder was loaded.
    source : Source
    about : mapping
        What the table says of itself.
    out : Path
        Of the table; ``vectors`` and ``report`` lie beside it.
    """

    def __init__(
        self,
        embedder: Embedder,
        strategy: tf.distribute.Strategy | None,
        source: Source,
        about: Mapping[str, Any],
        out: Path,
    ):
        self._embedder, self._strategy = embedder, strategy
        self._source, self._about = source, about
        self.out, self.vectors = out, out.with_suffix(".npy")
        self.report = out.with_name(f"{out.stem}_report.tsv")

    def embed(self, parts: EmbeddingParts, *, quiet: bool) -> Embedded:
        """Embed the tracks that no part has; the last part ends with the last track.

        Raises
        ------
        EmbeddingsError
            An embedding that is not finite in the table's type, with its track.
        """
        source, batch = self._source, self._about["request"]["batch"]
        first = parts.last.stop if parts.last else 0
        function = embedding_function(self._embedder.model, self._strategy, batch, source.dtype)
        window = self._embedder.frames * self._embedder.front_end.hop_length
        window_seconds = window / self._embedder.front_end.sample_rate
        done: list[tuple[np.ndarray, ...]] = []
        stop, seconds, windows = first, 0.0, 0
        with contextlib.ExitStack() as stack:
            enter = stack.enter_context
            items = enter(contextlib.closing(source.batches(first, batch)))
            results = enter(contextlib.closing(through_model(function, items)))
            bar = progress(
                quiet=quiet, desc="embedding", total=len(source), initial=first, unit=" tracks"
            )
            enter(bar)
            for item, embeddings in results:
                if isinstance(item, Batch):
                    done.append((item.tracks, item.starts, embeddings))  # not its windows
                    windows += len(item)
                    rate = windows * window_seconds / max(bar.format_dict["elapsed"], 1e-9)
                    bar.set_postfix_str(f"{rate:,.0f} times real time", refresh=False)
                    bar.update(int(item.tracks[-1]) - bar.n)
                else:
                    part = self._part(item, done)
                    parts.add(part)
                    done, stop, seconds = [], part.stop, seconds + part.seconds
                    bar.update(stop - bar.n)
        return Embedded(stop - first, seconds)

    def write(self, parts: EmbeddingParts) -> None:
        """Write the table, its vectors and the report of all parts; the table comes last.

        Raises
        ------
        AudioError, CollectionError
            No track has an embedding: then the report is all that is written.
        """
        notes = [note for part in parts for note in part.notes]
        rows = sum(len(part.tracks) for part in parts)
        if notes:
            write_report(self.report, notes)
        if not rows:
            parts.remove()
            raise self._nothing(notes)
        if not notes:
            self.report.unlink(missing_ok=True)
        self._write_vectors(rows, (part.vectors for part in parts))
        source, about = self._source, {**self._about, "left_out": len(notes)}
        windows, audio = about["per"] == "window", source.paths is not None
        kinds = {"dtype": about["dtype"], "windows": windows, "audio": audio}
        with embedding_writer(self.out, self._embedder.dim, about, **kinds) as write:
            for part in parts:
                tracks = part.tracks.tolist()
                write(
                    [source.ids[track] for track in tracks],
                    part.vectors,
                    part.starts if windows else None,
                    [source.paths[track] for track in tracks] if audio else None,
                )

    def mend(self) -> None:
        """Write the vectors again if they are not beside the table, which is there."""
        if not self.vectors.exists():
            table = read_embeddings(self.out)
            self._write_vectors(len(table), [table.vectors.astype(self._about["dtype"])])

    def _write_vectors(self, rows: int, arrays: Iterable[np.ndarray]) -> None:
        kind = np.dtype(self._about["dtype"]).newbyteorder("<")
        header = {"descr": kind.str, "fortran_order": False, "shape": (rows, self._embedder.dim)}
        with atomic_write(self.vectors) as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for array in arrays:
                stream.write(np.ascontiguousarray(array, kind).tobytes())

    def _nothing(self, notes: Sequence[Note]) -> AudioError | CollectionError:
        shown = [
            f"\n  {printable(note.source or note.track_id)}: {printable(note.reason)}"
            for note in notes[:MOST_SHOWN]
        ]
        if len(notes) > MOST_SHOWN:
            shown.append(f"\n  … and {len(notes) - MOST_SHOWN:,} more")
        kind, what = CollectionError, "tracks"
        if self._source.collection is None:
            kind, what = AudioError, "audio files"
        return kind(
            f"none of {len(notes):,} {what} could be embedded (see {self.report}):{''.join(shown)}"
        )

    def _part(self, end: PartEnd, done: Sequence[tuple[np.ndarray, ...]]) -> Part:
        """A part out of the tracks, starts and embeddings of its batches."""
        per, dtype = self._about["per"], self._about["dtype"]
        nothing = np.empty(0, np.int64), np.empty(0), np.empty((0, self._embedder.dim), np.float32)
        tracks, starts, vectors = map(np.concatenate, zip(nothing, *done, strict=True))
        if per == "track" and len(tracks):
            tracks, first, counts = np.unique(tracks, return_index=True, return_counts=True)
            sums = np.add.reduceat(vectors, first, axis=0, dtype=np.float64)
            vectors = (sums / counts[:, np.newaxis]).astype(np.float32)
            starts = starts[first]
        with np.errstate(over="ignore"):
            stored = vectors.astype(dtype)
        bad = ~np.isfinite(stored).all(axis=1)
        if bad.any():
            track = self._source.ids[int(tracks[int(np.argmax(bad))])]
            raise EmbeddingsError(
                f"{self._about['model']}: its embedding of track {track!r} is not finite {dtype}"
            )
        return Part(end.stop, tracks, stored, starts, end.notes, end.seconds)
