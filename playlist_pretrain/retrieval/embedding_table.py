"""Table of embeddings, one vector a track or one a window, in memory and as one Parquet file.

Columns of the file: ``track_id`` (string); ``embedding`` (fixed-size list of float or halffloat
[dim]); with one vector a window ``start_seconds`` (double, in the source; the windows of a track
follow each other); of audio files ``path`` (string, below the folder). The file's metadata has
under ``playlist_pretrain`` a JSON object that says which model they are of, see
:class:`EmbeddingTable`. Any Parquet file that has the first two columns can be read.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from playlist_pretrain.audio.windows import mean_over_windows
from playlist_pretrain.delimited import listed
from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.files import atomic_write, check_expanded, parse_json, whole
from playlist_pretrain.messages import command
from playlist_pretrain.playlists.readers.table import cell_text, holds_lists, holds_text
from playlist_pretrain.records.schema import PackedStrings

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Schema
    from pyarrow.parquet import ParquetFile

FORMAT = 1
METADATA = b"playlist_pretrain"
DTYPES = ("float32", "float16")
ROWS_AT_ONCE = 1000
LARGEST = 1e38
"""Bound on the values of a centre: about that of float32."""
COLUMNS = ("track_id", "start_seconds", "path", "embedding")


def leads_below(path: str) -> bool:
    """True for a path of a table, or an id taken for one, that stays below its folder."""
    parts = path.split("/")
    return "\0" not in path and {"", ".", ".."}.isdisjoint(parts) and ".." not in path.split("\\")


@dataclass(frozen=True, eq=False, repr=False)
class EmbeddingTable:
    """Embeddings, one vector a track or one a window; ``np.asarray`` gives the vectors.

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
        ``collection`` (its folder) and ``collection_key``, of audio files ``audio`` (the folder);
        ``excerpt`` (seconds of each source, or ``full``), ``silent`` (ids of tracks that are
        silent, or nearly), ``centre`` (the mean that was taken from centred ones), ``left_out``
        (tracks without an embedding) and ``request``, by which ``embed.py`` tells whether the file
        is finished; ``per``, ``dtype``, ``precision``. Of a table made in memory ``model`` (its
        path), ``model_key``, ``short``, ``collection``, ``collection_key``, ``excerpt`` and
        ``silent`` alone. Empty where the file is not of this package.
    skipped : sequence of (str, str)
        Path, or id, and reason of each track that was left out when they were made in memory.
    """

    track_ids: PackedStrings
    vectors: np.ndarray
    start_seconds: np.ndarray | None = None
    paths: PackedStrings | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    skipped: Sequence[tuple[str, str]] = ()

    def __len__(self) -> int:
        return len(self.vectors)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.vectors, dtype) if copy else np.asarray(self.vectors, dtype)

    def __repr__(self) -> str:
        rows, dim = self.vectors.shape
        what = "tracks" if self.start_seconds is None else "windows"
        ids = ", ".join(map(repr, self.track_ids[:3])) + (", …" if rows > 3 else "")
        skipped = f", {len(self.skipped):,} skipped" if self.skipped else ""
        return f"<embeddings of {rows:,} {what}, {dim} values each{skipped}: {ids}>"

    @property
    def ids(self) -> list[str]:
        """Track id of each row."""
        return list(self.track_ids)

    @property
    def starts(self) -> np.ndarray | None:
        """Second at which each window starts; None with one vector a track."""
        return self.start_seconds

    @property
    def silent(self) -> np.ndarray:
        """Rows of the tracks that are silent, or nearly, int64: no neighbours of others."""
        silent = silent_ids(self.about)
        rows = [row for row, one in enumerate(self.track_ids) if one in silent] if silent else []
        return np.array(rows, np.int64)

    def take(self, rows: np.ndarray) -> EmbeddingTable:
        """Return a table of some of the rows, in their order."""
        return replace(
            self,
            track_ids=PackedStrings.pack(self.track_ids.take(rows)),
            vectors=self.vectors[rows],
            start_seconds=None if self.start_seconds is None else self.start_seconds[rows],
            paths=None if self.paths is None else PackedStrings.pack(self.paths.take(rows)),
        )

    def by_track(self) -> EmbeddingTable:
        """Return one vector a track: the mean over its windows."""
        if self.start_seconds is None:
            return self
        ids = np.array(self.ids, object)
        first = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]])[: len(ids)])
        return EmbeddingTable(
            PackedStrings.pack(ids[first]),
            mean_over_windows(self.vectors, np.diff(np.append(first, len(ids)))),
            None,
            None if self.paths is None else PackedStrings.pack(self.paths.take(first)),
            self.about,
            self.skipped,
        )


def silent_ids(about: Mapping[str, Any]) -> set[str]:
    """Ids of the tracks that are silent, or nearly, in the metadata of a table."""
    ids = about.get("silent")
    return {one for one in ids if isinstance(one, str)} if isinstance(ids, list) else set()


def centre_of(table: EmbeddingTable) -> np.ndarray | None:
    """Return the mean that was taken from the vectors of a table, float64 [dim]; None if none was.

    Raises EmbeddingsError where the metadata hold something else.
    """
    found = table.about.get("centre")
    if found is None:
        return None
    numbers = isinstance(found, list) and all(
        type(one) in (int, float) and abs(one) < LARGEST for one in found
    )
    if not numbers or len(found) != table.vectors.shape[1]:
        raise EmbeddingsError(
            f"the embeddings are damaged: a centre that is not {table.vectors.shape[1]} numbers"
        )
    return np.array(found, np.float64)


def centred(table: EmbeddingTable) -> EmbeddingTable:
    """Take the mean of all tracks that have sound from the vectors, once.

    A table that is centred stays as it is.

    What all tracks share leaves no room between cosines, and makes hubs (Suzuki et al. 2013,
    Centering similarity measures to reduce hubs). The mean is one of vectors as they are, so that
    those of windows, of tracks and of a new file can be centred alike.
    """
    if centre_of(table) is not None:
        return table
    tracks = table.by_track()
    with_sound = np.delete(np.arange(len(tracks)), tracks.silent)
    mean = tracks.vectors[with_sound].mean(axis=0, dtype=np.float64)
    vectors = (table.vectors - mean).astype(np.float32)
    return replace(table, vectors=vectors, about={**table.about, "centre": mean.tolist()})


def as_stored(vectors: np.ndarray, dtype: str, track_ids: Sequence[str], whose: str) -> np.ndarray:
    """Cast vectors [n, dim] to ``dtype``; raise EmbeddingsError if one is not finite in it.

    The message begins with ``whose`` and names the track.
    """
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(vectors, dtype=dtype)
    bad = ~np.isfinite(stored).all(axis=1)
    if bad.any():
        track = track_ids[int(np.argmax(bad))]
        raise EmbeddingsError(f"{whose} embedding of track {track!r} is not finite {dtype}")
    return stored


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

    Yields ``write(track_ids, vectors [n, dim], start_seconds=None, paths=None)``, which adds ``n``
    rows and raises EmbeddingsError for a vector that is not finite in ``dtype``. ``windows`` and
    ``audio`` say whether the table has the columns ``start_seconds`` and ``path``; ``about`` is
    that of :class:`EmbeddingTable` without ``format``.
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
            values = as_stored(vectors, dtype, track_ids, f"{path}: the")
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

    Raises EmbeddingsError: names the file, and the row (the first is 0): not a whole Parquet file;
    columns that are missing or of other types; no rows; vectors of several lengths, or not finite;
    a track id that is empty, comes twice, or whose windows are not adjacent; a newer format.
    """
    path = Path(path)
    with _opened(path) as (file, schema, about):
        size = path.stat().st_size
        columns = _columns(file, schema, size)
        if not len(columns["track_id"]):
            raise EmbeddingsError("no rows")
        ids = _texts_of_column("track_id", columns["track_id"], size)
        starts = paths = None
        if "start_seconds" in schema.names:
            starts = columns["start_seconds"].to_numpy().astype(np.float64)
            if not np.isfinite(starts).all():
                raise EmbeddingsError(f"row {np.argmin(np.isfinite(starts))}: no start_seconds")
        if "path" in schema.names:
            paths = PackedStrings.pack(_texts_of_column("path", columns["path"], size))
        seen: set[str] = set()
        for row, track_id in enumerate(ids):
            if track_id in seen and (starts is None or ids[row - 1] != track_id):
                how = "it comes twice" if starts is None else "its windows are not adjacent"
                raise EmbeddingsError(f"row {row}: track {track_id!r}: {how}")
            seen.add(track_id)
        vectors = _vectors_of_column(columns["embedding"], ids)
        return EmbeddingTable(PackedStrings.pack(ids), vectors, starts, paths, about)


def _columns(file: ParquetFile, schema: Schema, size: int) -> dict[str, ChunkedArray]:
    """Read the columns of a file of ``size`` bytes; raise where they expand beyond measure.

    What the file says of its row groups is asked, not what it says of the chunks of its columns:
    where that is damaged, PyArrow ends the process. A few bytes may stand for any number of values,
    so numbers are read some rows at a time.
    """
    import pyarrow as pa

    groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
    check_expanded(sum(max(one.total_byte_size, 8 * one.num_rows) for one in groups), size)
    texts = [name for name in schema.names if name in ("track_id", "path")]
    numbers = [name for name in schema.names if name in ("start_seconds", "embedding")]
    batches, expanded = [], 0
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=numbers):
        expanded += batch.nbytes
        check_expanded(expanded, size)
        batches.append(batch)
    read = pa.Table.from_batches(batches, pa.schema([schema.field(name) for name in numbers]))
    columns = {name: read[name] for name in numbers}
    read = file.read(columns=texts)
    return columns | {name: read[name] for name in texts}


class Overview(NamedTuple):
    """Rows, length of a vector (0 where it may differ), first id that has sound, and ``about``."""

    rows: int
    dim: int
    first_track: str
    about: Mapping[str, Any]


def overview(path: str | Path) -> Overview:
    """Summarise a file without reading its embeddings; raises as :func:`read_embeddings`."""
    path = Path(path)
    with _opened(path) as (file, schema, about):
        from pyarrow import types

        kind = schema.field("embedding").type
        dim = kind.list_size if types.is_fixed_size_list(kind) else 0
        batches = file.iter_batches(batch_size=1, columns=["track_id"])
        ids = (cell_text(batch["track_id"][0].as_py()) for batch in batches)
        first, silent = next(ids, ""), silent_ids(about)
        first = next((one for one in itertools.chain([first], ids) if one not in silent), first)
        return Overview(file.metadata.num_rows, dim, first, about)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[ParquetFile, Schema, dict[str, Any]]]:
    """Open a file that has the columns; its Arrow schema, and what it says about itself."""
    if not path.exists():
        raise EmbeddingsError(f"{path}: no such file; {command('embed')} makes one")
    with whole(path, "Parquet file", EmbeddingsError):
        from pyarrow.parquet import ParquetFile

        with ParquetFile(path) as file:
            schema = file.schema_arrow
            about = _about(schema)
            _check_schema(schema)
        # Dictionaries stay dictionaries, since a few bytes of one may stand for gigabytes.
        texts = [name for name in schema.names if holds_text(schema.field(name).type)]
        with ParquetFile(path, metadata=file.metadata, read_dictionary=texts) as file:
            yield file, schema, about


def _about(schema: Schema) -> dict[str, Any]:
    text = (schema.metadata or {}).get(METADATA)
    if text is None:
        return {}
    about = parse_json(text)
    if about.get("format") != FORMAT:
        raise EmbeddingsError(f"format {about.get('format')!r}, this version reads {FORMAT}")
    return about


def _check_schema(schema: Schema) -> None:
    """Raise if columns are missing, come twice, or are of other types."""
    from pyarrow import types

    missing = [name for name in ("track_id", "embedding") if name not in schema.names]
    if missing:
        raise EmbeddingsError(
            f"no column {listed(missing)}; its columns are: {listed(schema.names)}"
        )
    if len(set(schema.names)) < len(schema.names):
        raise EmbeddingsError("several columns have the same name")
    kind = schema.field("embedding").type
    if not holds_lists(kind) or not types.is_floating(kind.value_type):
        raise EmbeddingsError(f"column 'embedding' holds {kind}, not lists of floats")
    for name in {"track_id", "path"} & set(schema.names):
        kind = schema.field(name).type
        if not (holds_text(kind) or types.is_integer(kind)):
            raise EmbeddingsError(f"column {name!r} holds {kind}, not text")
    if "start_seconds" in schema.names:
        kind = schema.field("start_seconds").type
        if not types.is_floating(kind):
            raise EmbeddingsError(f"column 'start_seconds' holds {kind}, not floats")


def _texts_of_column(name: str, column: ChunkedArray, size: int) -> list[str]:
    """Cells of a column of ids or paths in a file of ``size`` bytes; raise if one is empty."""
    from pyarrow import compute, types

    if types.is_dictionary(column.type):
        lengths = (
            compute.binary_length(chunk.dictionary).take(chunk.indices) for chunk in column.chunks
        )
        check_expanded(sum(compute.sum(one).as_py() or 0 for one in lengths), size)
        column = column.cast(column.type.value_type)
    try:
        texts = [cell_text(cell) for cell in column.to_pylist()]
    except UnicodeDecodeError:
        raise EmbeddingsError(f"column {name!r} holds bytes that are not UTF-8") from None
    bad = next((row for row, text in enumerate(texts) if not text), None)
    if bad is not None:
        raise EmbeddingsError(f"row {bad}: no {name}")
    return texts


def _vectors_of_column(column: ChunkedArray, ids: Sequence[str]) -> np.ndarray:
    """Embeddings float32 [rows, dim], all of one length and finite; ``ids`` are for messages."""
    from pyarrow import compute

    lengths = compute.list_value_length(column).to_numpy(zero_copy_only=False)
    dim = lengths[0]
    odd = np.flatnonzero(~(lengths == dim))  # NaN, of a missing list, too
    if len(odd) or not dim > 0:
        row = int(odd[0]) if len(odd) else 0
        raise EmbeddingsError(
            f"row {row} (track {ids[row]!r}): {lengths[row]} values, the first has {dim}"
        )
    values = compute.list_flatten(column)
    vectors = values.to_numpy().astype(np.float32).reshape(len(ids), int(dim))
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise EmbeddingsError(f"row {row} (track {ids[row]!r}): NaN or infinite values")
    return vectors
