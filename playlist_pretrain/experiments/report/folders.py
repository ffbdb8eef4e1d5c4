"""Read run folders for a page; every damage is one message that names the file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from playlist_pretrain.delimited import read_columns, read_header
from playlist_pretrain.errors import EmbeddingsError, RunError, TableError
from playlist_pretrain.evaluation.neighbours import unit_vectors
from playlist_pretrain.experiments.collect import mend, read_json
from playlist_pretrain.retrieval.embedding_table import EmbeddingTable, read_embeddings
from playlist_pretrain.retrieval.similarity import EMBEDDINGS, PER_TRIPLET
from playlist_pretrain.runs import ENVIRONMENT, RECIPE
from playlist_pretrain.tasks.triplets import ROLES, START

HISTORY, PER_TAG = "history.csv", "per_tag.csv"


class TagScore(NamedTuple):
    """Test tracks that have a tag, and its Average Precision, NaN where it is left out."""

    support: int
    average_precision: float


def history(folder: Path, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of ``history.csv`` as float64 [epochs], NaN where an epoch does not know.

    Raises RunError: if it is missing or damaged, as for all functions of this module.
    """
    rows = list(_cells(folder / HISTORY, columns, numbers=range(len(columns))))
    return dict(zip(columns, np.array(rows, np.float64).T, strict=True))


def per_tag(folder: Path) -> dict[str, TagScore]:
    """Means over the runs of a fine-tuning, tag by tag in the order of the classes."""
    file = folder / PER_TAG
    name = "average_precision"
    name += "_mean" if f"{name}_mean" in _header(file, "class") else ""
    rows = _cells(file, ["class", "support", name], numbers=(1, 2), blank=(name,))
    return {tag: TagScore(int(support), value) for tag, support, value in rows}


def margins(folder: Path) -> np.ndarray:
    """Distance to the negative less distance to the positive, float64 [triplets]."""
    file = folder / PER_TRIPLET
    name = next((name for name in _header(file, "anchor") if name.startswith("margin ")), "margin")
    return np.array([value for (value,) in _cells(file, [name], numbers=(0,), blank=())])


def cosines(folder: Path) -> np.ndarray:
    """Cosine similarity of each anchor to its positive and its negative, float64 [triplets, 2]."""
    table = embeddings(folder)
    file = folder / PER_TRIPLET
    starts = [] if table.start_seconds is None else [f"{role}{START}" for role in ROLES]
    numbers = range(len(ROLES), len(ROLES) + len(starts))
    of = [float("nan")] * len(table) if not starts else table.start_seconds.tolist()
    place = {(i, None if math.isnan(s) else s): k
             for k, (i, s) in enumerate(zip(table.track_ids, of, strict=True))}  # fmt: skip
    rows = []
    for cells in _cells(file, [*ROLES, *starts], numbers=numbers, blank=()):
        ids, at = cells[: len(ROLES)], cells[len(ROLES) :] or [None] * len(ROLES)
        clips = list(zip(ids, at, strict=True))
        if lacking := [clip for clip in clips if clip not in place]:
            raise RunError(
                f"{folder / EMBEDDINGS}: has no {lacking[0][0]!r} of {file}; {mend(file)}"
            )
        rows.append([place[clip] for clip in clips])
    anchor, positive, negative = unit_vectors(table.vectors)[np.array(rows)].transpose(1, 0, 2)
    return np.stack([(anchor * positive).sum(axis=1), (anchor * negative).sum(axis=1)], axis=1)


def embeddings(folder: Path) -> EmbeddingTable:
    """Embeddings of the clips of a cell's triplets."""
    file = folder / EMBEDDINGS
    try:
        return read_embeddings(file)
    except EmbeddingsError as error:
        raise RunError(f"{error}; {mend(file)}") from error


def recipe(folder: Path) -> dict[str, Any]:
    """Settings of a run."""
    return _object(folder / RECIPE, "recipe")


def environment(folder: Path) -> dict[str, str]:
    """Programs and machine that a run recorded, as text by name."""
    return dict(_flat(_object(folder / ENVIRONMENT)))


def value_text(value: Any) -> str:
    """Text of a JSON value for people."""
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(value_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {value_text(one)}" for name, one in value.items())
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _flat(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value)
        elif name == "devices" and isinstance(value, list):
            shown = [
                {key: one[key] for key in ("type", "device_name") if key in one}.values()
                if isinstance(one, dict)
                else [value_text(one)]
                for one in value
            ]
            yield name, ", ".join(" ".join(map(str, words)) for words in shown)
        else:
            yield name, value_text(value)


def _object(file: Path, *keys: str) -> dict[str, Any]:
    found = read_json(file, *keys)
    if not isinstance(found, dict):
        raise RunError(f"{file}: cannot be read (no JSON object); {mend(file)}")
    return found


def _header(file: Path, wanted: str) -> list[str]:
    try:
        return read_header(file, [wanted])
    except TableError as error:
        raise RunError(f"{error}; {mend(file)}") from error


def _cells(
    file: Path, names: Sequence[str], numbers: Sequence[int], blank: Sequence[str] | None = None
) -> Iterator[list[Any]]:
    """Rows of a table, cells at the places ``numbers`` as numbers, NaN where they may be blank."""
    may_be_blank = names if blank is None else blank
    try:
        for line, cells in read_columns(file, names, blank=may_be_blank):
            row: list[Any] = list(cells)
            for place in numbers:
                try:
                    row[place] = float(cells[place] or "nan")
                    if not math.isfinite(row[place]) and names[place] not in may_be_blank:
                        raise ValueError
                except ValueError:
                    raise RunError(
                        f"{file}: line {line}: {names[place]} is {cells[place]!r}, no number; "
                        f"{mend(file)}"
                    ) from None
            yield row
    except TableError as error:
        raise RunError(f"{error}; {mend(file)}") from error
