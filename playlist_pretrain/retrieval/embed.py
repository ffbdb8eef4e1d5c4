"""The finished parts of a table of embeddings that is being made: an interrupted run goes on there.

They lie in a hidden folder beside the table: ``plan.json``, what the table is made of, and
``part-00000.npz`` …, each with the embeddings of some successive tracks. The folder is removed when
the table is there.

From windows to a table of embeddings: through the model, part by part, and into files.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zipfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from playlist_pretrain.errors import AudioError, CollectionError, EmbeddingsError, printable
from playlist_pretrain.files import atomic_write, folder_lock, write_json
from playlist_pretrain.messages import progress
from playlist_pretrain.records.report import Note, write_report
from playlist_pretrain.retrieval.embedding_table import embedding_writer, read_embeddings
from playlist_pretrain.retrieval.window_batches import (
    Batch,
    PartEnd,
    embedding_function,
    through_model,
)

if TYPE_CHECKING:
    import tensorflow as tf

    from playlist_pretrain.models.load import LoadedModel

PLAN = "plan.json"


@dataclass(frozen=True, eq=False)
class Part:
    """Embeddings of some successive tracks.

    Attributes
    ----------
    stop : int
        Position of the track that comes next.
    tracks : ndarray [shape=(n,), int64]
        Position of the track of each vector.
    vectors : ndarray [shape=(n, dim)]
    starts : ndarray [shape=(n,), float64]
        Seconds at which each window begins; of a whole track 0.
    notes : list of Note
        Tracks that have no vector, and why.
    seconds : float
        Of audio.
    """

    stop: int
    tracks: np.ndarray
    vectors: np.ndarray
    starts: np.ndarray
    notes: list[Note]
    seconds: float


class EmbeddingParts:
    """The parts of the table ``out``.

    Parameters
    ----------
    out : Path
        The table; its folder is there.
    """

    def __init__(self, out: Path):
        self._out = out
        self._folder = out.with_name(f".{out.name}.parts")
        self._count = 0

    @contextlib.contextmanager
    def claimed(self, request: Mapping[str, Any], *, overwrite: bool) -> Iterator[None]:
        """Hold the folder for one request while the block runs; go on with what is finished of it.

        Parameters
        ----------
        request : mapping
            What the table is made of, ready for JSON.
        overwrite : bool
            Start over.

        Raises
        ------
        EmbeddingsError
            Another process has the folder, or it holds parts of another request (the message
            lists what differs), or it is damaged.
        """
        busy = f"{self._out} is being made"
        with folder_lock(self._folder, busy, error=EmbeddingsError):
            plan = self._folder / PLAN
            if overwrite:
                for path in [plan, *self._folder.glob("part-*"), *self._folder.glob(".*.tmp")]:
                    path.unlink(missing_ok=True)
            if plan.exists():
                check_request(_content(plan), request, f"{self._out}: was begun")
            else:
                write_json(plan, request)
            self._count = 0
            while self._path(self._count).exists():
                self._count += 1
            try:
                yield
            finally:
                if not self._count:  # nothing to go on with
                    self.remove()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Part]:
        return (self._load(number) for number in range(self._count))

    @property
    def last(self) -> Part | None:
        """The last finished part."""
        return self._load(self._count - 1) if self._count else None

    def add(self, part: Part) -> None:
        """Keep the next part."""
        about = {
            "stop": part.stop,
            "seconds": part.seconds,
            "notes": [asdict(note) for note in part.notes],
        }
        with atomic_write(self._path(self._count)) as stream:
            np.savez(
                stream,
                tracks=part.tracks,
                vectors=part.vectors,
                starts=part.starts,
                about=np.frombuffer(json.dumps(about).encode(), np.uint8),
            )
        self._count += 1

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:05d}.npz"

    def _load(self, number: int) -> Part:
        path = self._path(number)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                about = json.loads(arrays["about"].tobytes())
                notes = [Note(**note) for note in about["notes"]]
                tracks, vectors, starts = (arrays[n] for n in ("tracks", "vectors", "starts"))
                return Part(about["stop"], tracks, vectors, starts, notes, about["seconds"])
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise EmbeddingsError(
                f"{path}: damaged ({error}); --overwrite starts {self._out} over"
            ) from error


def check_request(found: Any, request: Mapping[str, Any], what: str) -> None:
    """Refuse to go on with something that was made of something else.

    Raises
    ------
    EmbeddingsError
        Begins with ``what``, and lists what differs.
    """
    found = found if isinstance(found, dict) else {}
    differing = [
        f"{name}: {_shown(name, found)} there, {_shown(name, request)} now"
        for name in sorted(found.keys() | request.keys())
        if found.get(name) != request.get(name)
    ]
    if differing:
        raise EmbeddingsError(
            f"{what} with other inputs or settings ({'; '.join(differing)}); choose another --out, "
            "or --overwrite to start over"
        )


def _shown(name: str, request: Mapping[str, Any]) -> Any:
    value = request.get(name)
    return value.get("name", "another") if isinstance(value, dict) else value


def _content(plan: Path) -> Any:
    try:
        return json.loads(plan.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EmbeddingsError(f"{plan}: damaged ({error}); --overwrite starts over") from error


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
    embedder : LoadedModel
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
        embedder: LoadedModel,
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
