"""Embeddings of tracks as one Parquet file: what ``embed.py`` writes and ``search.py`` reads.

Columns: ``track_id`` (string); ``embedding`` (fixed-size list of float or halffloat [dim]); with
one vector a window ``start_seconds`` (double, in the source; the windows of a track follow each
other); of audio files ``path`` (string, below the folder). The file's metadata has under
``playlist_pretrain`` a JSON object that says which model they are of, see :class:`EmbeddingTable`.
A Parquet file of other origin that has the first two columns can be read too.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.commands import command
from playlist_pretrain.errors import EmbeddingsError, first_line
from playlist_pretrain.files import atomic_write
from playlist_pretrain.records.schema import PackedStrings
from playlist_pretrain.tables import listed

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Schema

FORMAT = 1
METADATA = b"playlist_pretrain"
DTYPES = ("float32", "float16")


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """Embeddings, one vector a track or one a window.

    Attributes
    ----------
    track_ids : PackedStrings [length=rows]
        With one vector a track no id comes twice; with one a window those of a track are adjacent.
    vectors : np.ndarray float32 [rows, dim]
        Finite; half precision in the file is single precision here.
    start_seconds : np.ndarray float64 [rows], or None
        Where each window starts in its source; None with one vector a track.
    paths : PackedStrings [length=rows], or None
        Audio files below ``about["audio"]``; None of a collection.
    about : mapping
        ``format``, ``model`` (as it was given), ``model_key`` (changes with the weights),
        ``front_end`` (its constants), ``frames`` (of a window), ``short``, and of a collection
        ``collection`` (its folder) and ``collection_key``, of audio files ``audio`` (the folder).
        Empty where the file is not of this package.
    """

    track_ids: PackedStrings
    vectors: np.ndarray
    start_seconds: np.ndarray | None = None
    paths: PackedStrings | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.vectors)

    def by_track(self) -> EmbeddingTable:
        """One vector a track: the mean over its windows."""
        if self.start_seconds is None:
            return self
        ids = np.array(list(self.track_ids), object)
        first = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
        sums = np.add.reduceat(self.vectors, first, axis=0, dtype=np.float64)
        counts = np.diff(np.append(first, len(ids)))
        return EmbeddingTable(
            PackedStrings.pack(ids[first]),
            (sums / counts[:, np.newaxis]).astype(np.float32),
            None,
            None if self.paths is None else PackedStrings.pack(self.paths.take(first)),
            self.about,
        )


@contextlib.contextmanager
def embedding_writer(
    path: str | Path,
    dim: int,
    about: Mapping[str, Any],
    *,
    dtype: str = "float32",
    windows: bool = False,
    audio: bool = False,
) -> Iterator[Callable[..., None]]:
    """Write an embedding table part by part; the file is whole or not there.

    Parameters
    ----------
    path : str or Path
    dim : int
        Length of a vector.
    about : mapping
        See :class:`EmbeddingTable`, without ``format``.
    dtype : {"float32", "float16"}
        Of the vectors in the file.
    windows, audio : bool
        Whether the table has the column ``start_seconds``, ``path``.

    Yields
    ------
    callable
        ``write(track_ids, vectors [n, dim], start_seconds=None, paths=None)`` adds ``n`` rows; it
        raises EmbeddingsError for a vector that is not finite in ``dtype``, with its track.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    kind = pa.float16() if dtype == "float16" else pa.float32()
    fields = [("track_id", pa.string())]
    fields += [("start_seconds", pa.float64())] if windows else []
    fields += [("path", pa.string())] if audio else []
    fields += [("embedding", pa.list_(kind, dim))]
    text = json.dumps({"format": FORMAT, **about})
    schema = pa.schema(fields, metadata={METADATA: text.encode()})

    with atomic_write(path) as stream, ParquetWriter(stream, schema) as writer:

        def write(track_ids, vectors, start_seconds=None, paths=None):
            with np.errstate(over="ignore"):
                values = np.ascontiguousarray(vectors, dtype=dtype)
            bad = ~np.isfinite(values).all(axis=1)
            if bad.any():
                track = track_ids[int(np.argmax(bad))]
                raise EmbeddingsError(
                    f"{path}: the embedding of track {track!r} is not finite {dtype}"
                )
            given = {"track_id": track_ids, "start_seconds": start_seconds, "path": paths}
            columns = [
                pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind), dim)
                if name == "embedding"
                else pa.array(given[name], schema.field(name).type)
                for name in schema.names
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))

        yield write


def read_embeddings(path: str | Path) -> EmbeddingTable:
    """Read an embedding table, of this package or with the same two columns.

    Raises
    ------
    EmbeddingsError
        Names the file, and the row (the first is 0): not a whole Parquet file; columns that are
        missing or of other types; no rows; vectors of several lengths, or not finite; a track id
        that is empty, comes twice, or whose windows are not adjacent; a newer format.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    path = Path(path)
    try:
        with ParquetFile(path) as file:
            schema = file.schema_arrow
            about = _about(path, schema)
            names = [
                n for n in ("track_id", "start_seconds", "path", "embedding") if n in schema.names
            ]
            _check_schema(path, schema)
            table = file.read(columns=names)
    except FileNotFoundError:
        raise EmbeddingsError(f"{path}: no such file; {command('embed')} makes one") from None
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise EmbeddingsError(
            f"{path}: not a whole Parquet file, or damaged: {first_line(error)}"
        ) from error
    if not len(table):
        raise EmbeddingsError(f"{path}: no rows")
    columns = dict(zip(names, table.columns, strict=True))
    ids = _texts(path, "track_id", columns["track_id"])
    starts = columns.get("start_seconds")
    starts = None if starts is None else _numbers(path, starts)
    _check_ids(path, ids, adjacent=starts is not None)
    paths = _texts(path, "path", columns["path"]) if "path" in columns else None
    vectors = _vectors(path, columns["embedding"], ids)
    packed = [None if texts is None else PackedStrings.pack(texts) for texts in (ids, paths)]
    return EmbeddingTable(packed[0], vectors, starts, packed[1], about)


def _about(path: Path, schema: Schema) -> dict[str, Any]:
    text = (schema.metadata or {}).get(METADATA)
    if text is None:
        return {}
    try:
        about = json.loads(text)
        version = about["format"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise EmbeddingsError(f"{path}: damaged: its metadata is no JSON with a format") from None
    if version != FORMAT:
        raise EmbeddingsError(f"{path}: format {version!r}, this version reads {FORMAT}")
    return about


def _check_schema(path: Path, schema: Schema) -> None:
    from pyarrow import types

    missing = [name for name in ("track_id", "embedding") if name not in schema.names]
    if missing:
        raise EmbeddingsError(
            f"{path}: no column {listed(missing)}; its columns are: {listed(schema.names)}"
        )
    if len(set(schema.names)) < len(schema.names):
        raise EmbeddingsError(f"{path}: several columns have the same name")
    kind = schema.field("embedding").type
    lists = types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)
    if not lists or not types.is_floating(kind.value_type):
        raise EmbeddingsError(f"{path}: column 'embedding' holds {kind}, not lists of floats")
    for name in {"track_id", "path"} & set(schema.names):
        kind = schema.field(name).type
        if not (types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind)):
            raise EmbeddingsError(f"{path}: column {name!r} holds {kind}, not text")
    if "start_seconds" in schema.names:
        kind = schema.field("start_seconds").type
        if not types.is_floating(kind):
            raise EmbeddingsError(f"{path}: column 'start_seconds' holds {kind}, not floats")


def _texts(path: Path, name: str, column: ChunkedArray) -> list[str]:
    texts = [None if cell is None else str(cell) for cell in column.to_pylist()]
    bad = next((row for row, text in enumerate(texts) if not text), None)
    if bad is not None:
        raise EmbeddingsError(f"{path}: row {bad}: no {name}")
    return texts


def _numbers(path: Path, column: ChunkedArray) -> np.ndarray:
    numbers = column.to_numpy().astype(np.float64)
    if not np.isfinite(numbers).all():
        raise EmbeddingsError(f"{path}: row {np.argmin(np.isfinite(numbers))}: no start_seconds")
    return numbers


def _check_ids(path: Path, ids: Sequence[str], *, adjacent: bool) -> None:
    seen: set[str] = set()
    for row, track_id in enumerate(ids):
        if track_id in seen and not (adjacent and ids[row - 1] == track_id):
            how = "its windows are not adjacent" if adjacent else "it comes twice"
            raise EmbeddingsError(f"{path}: row {row}: track {track_id!r}: {how}")
        seen.add(track_id)


def _vectors(path: Path, column: ChunkedArray, ids: Sequence[str]) -> np.ndarray:
    from pyarrow import compute

    lengths = compute.list_value_length(column).to_numpy(zero_copy_only=False)
    dim = lengths[0]
    odd = np.flatnonzero(~(lengths == dim))  # NaN, of a missing list, too
    if len(odd) or not dim > 0:
        row = int(odd[0]) if len(odd) else 0
        raise EmbeddingsError(
            f"{path}: row {row} (track {ids[row]!r}): {lengths[row]} values, the first has {dim}"
        )
    values = compute.list_flatten(column)
    vectors = values.to_numpy().astype(np.float32).reshape(len(ids), int(dim))
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise EmbeddingsError(f"{path}: row {row} (track {ids[row]!r}): NaN or infinite values")
    return vectors
