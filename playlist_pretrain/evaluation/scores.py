"""Files of per-track scores, from which every metric of a tagging task can be computed again.

Format: an ``.npz`` archive of plain arrays, not compressed, without pickle: ``header`` (UTF-8
bytes of a JSON object with the format and the classes), ``targets`` (bool), ``scores`` (float32 or
float64, the bits that were measured), ``track_id_bytes`` and ``track_id_ends`` (all track ids, one
after the other). Equal scores give equal bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from playlist_pretrain.errors import ScoresError
from playlist_pretrain.files import read_arrays, whole, write_arrays
from playlist_pretrain.records.schema import PackedStrings

FORMAT = 1


class TrackScores(NamedTuple):
    """Contents of a file: targets (bool) and scores (float32 or float64) are [tracks, classes]."""

    track_ids: list[str]
    targets: np.ndarray
    scores: np.ndarray
    classes: tuple[str, ...]


def save_scores(
    path: str | Path,
    track_ids: Sequence[str],
    targets: np.ndarray,
    scores: np.ndarray,
    classes: Sequence[str],
) -> None:
    """Write the fields of :class:`TrackScores` to an ``.npz`` file, whole or not at all.

    Raises ScoresError for arrays that do not fit together, scores that are not finite, and ids or
    classes that are there more than once.
    """
    targets, scores = check_scores(targets, scores, classes)
    _check_ids(track_ids, len(targets))
    ids = PackedStrings.pack(track_ids)
    write_arrays(
        path,
        {"format": FORMAT, "classes": list(classes)},
        targets=targets,
        scores=scores.astype("<f8" if scores.dtype.itemsize > 4 else "<f4", copy=False),
        track_id_bytes=ids.data,
        track_id_ends=ids.ends.astype("<i8"),
    )


def load_scores(path: str | Path) -> TrackScores:
    """Read a file of :func:`save_scores`; ScoresError if it is missing, damaged or foreign."""
    with whole(path, "file of scores", ScoresError):
        header, arrays = read_arrays(Path(path), FORMAT)
        targets, scores = arrays["targets"], arrays["scores"]
        ids = PackedStrings(arrays["track_id_bytes"], arrays["track_id_ends"])
        classes = tuple(header["classes"])
        if not all(isinstance(name, str) for name in classes):
            raise ValueError("classes that are not text")
        if scores.dtype not in (np.dtype("<f4"), np.dtype("<f8")):
            raise ValueError(f"scores are {scores.dtype}, not float32 or float64")
        targets, scores = check_scores(targets, scores, classes)
        _check_ids(ids, len(targets))
        return TrackScores(list(ids), targets, scores, classes)


def check_scores(
    targets: np.ndarray, scores: np.ndarray, classes: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``targets`` and ``scores`` as arrays; ScoresError when they cannot be measured."""
    targets, scores = np.asarray(targets), np.asarray(scores)
    if targets.ndim != 2 or targets.shape != scores.shape or not targets.size:
        raise ScoresError(
            f"targets {targets.shape} and scores {scores.shape}: both are (tracks, classes), at "
            "least one of each"
        )
    if classes is not None and targets.shape[1] != len(classes):
        raise ScoresError(f"scores {scores.shape}: as many columns as classes, {len(classes)}")
    if repeated := _repeated(classes or ()):
        raise ScoresError(f"class {repeated!r} is there more than once")
    if targets.dtype != np.bool_ or not np.issubdtype(scores.dtype, np.floating):
        raise ScoresError(
            f"targets are {targets.dtype} and scores {scores.dtype}, not bool and float"
        )
    if not (finite := np.isfinite(scores)).all():
        track, column = np.argwhere(~finite)[0]
        name = repr(classes[column]) if classes is not None else column
        raise ScoresError(
            f"the score of track {track} for class {name} is {scores[track, column]}; "
            f"{np.count_nonzero(~finite):,} of {scores.size:,} scores are not finite"
        )
    return targets, scores


def measurable(targets: np.ndarray) -> np.ndarray:
    """Mark the classes [classes] that some tracks have and some have not; ScoresError if none."""
    measured = np.any(targets, axis=0) & ~np.all(targets, axis=0)
    if not measured.any():
        raise ScoresError(
            f"none of {targets.shape[1]:,} classes has tracks with it and tracks without it among "
            f"{len(targets):,}: nothing can be measured"
        )
    return measured


def _check_ids(track_ids: Sequence[str], tracks: int) -> None:
    if len(track_ids) != tracks:
        raise ScoresError(f"{len(track_ids):,} track ids for the scores of {tracks:,} tracks")
    if repeated := _repeated(track_ids):
        raise ScoresError(f"track id {repeated!r} is there more than once")


def _repeated(names: Iterable[str]) -> str | None:
    return next((name for name, times in Counter(names).items() if times > 1), None)
