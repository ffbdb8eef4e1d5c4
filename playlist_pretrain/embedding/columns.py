"""The columns of an embedding table, checked: every message has the file, and the row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import EmbeddingsError
from playlist_pretrain.tables import listed

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Schema


def check_schema(path: Path, schema: Schema) -> None:
    """Refuse columns that are missing, there twice, or of other types."""
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


def texts_of_column(path: Path, name: str, column: ChunkedArray) -> list[str]:
    """Cells of a column of ids or paths, none of them empty."""
    texts = [None if cell is None else str(cell) for cell in column.to_pylist()]
    bad = next((row for row, text in enumerate(texts) if not text), None)
    if bad is not None:
        raise EmbeddingsError(f"{path}: row {bad}: no {name}")
    return texts


def numbers_of_column(path: Path, column: ChunkedArray) -> np.ndarray:
    """``start_seconds``, float64 [rows], all of them finite."""
    numbers = column.to_numpy().astype(np.float64)
    if not np.isfinite(numbers).all():
        raise EmbeddingsError(f"{path}: row {np.argmin(np.isfinite(numbers))}: no start_seconds")
    return numbers


def check_ids(path: Path, ids: Sequence[str], *, adjacent: bool) -> None:
    """Refuse an id that comes twice, but for windows of one track that are ``adjacent``."""
    seen: set[str] = set()
    for row, track_id in enumerate(ids):
        if track_id in seen and not (adjacent and ids[row - 1] == track_id):
            how = "its windows are not adjacent" if adjacent else "it comes twice"
            raise EmbeddingsError(f"{path}: row {row}: track {track_id!r}: {how}")
        seen.add(track_id)


def vectors_of_column(path: Path, column: ChunkedArray, ids: Sequence[str]) -> np.ndarray:
    """Embeddings float32 [rows, dim], all of one length and finite; ``ids`` are for messages."""
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
