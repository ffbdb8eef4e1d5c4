"""Groups to train on and groups held out for the retrieval probe; tracks to leave out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.delimited import has_column, read_columns, text_lines
from playlist_pretrain.errors import GroupsError, TableError
from playlist_pretrain.files import content_key
from playlist_pretrain.playlists.groups import TrackGroups
from playlist_pretrain.records.schema import did_you_mean

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection

logger = logging.getLogger(__name__)
COLUMN = "track_id"
HOLD_OUT_SEED = 0
"""The same for all runs: tables made from the groups that are left serve every seed of a run, and
the probes of two runs ask the same question."""


def read_track_ids(path: str | Path) -> list[str]:
    """Ids of a list, in its order.

    A first line with a cell ``track_id`` makes it a table (CSV or TSV); anything else is a plain
    list, one id a line, where blank lines do not count.

    Raises
    ------
    TableError
        If the file is missing, empty, or not text, or a table that cannot be read.
    """
    lines = [line.rstrip("\r\n") for line in text_lines(path)]
    if lines and has_column(lines[0], COLUMN):
        return [track_id for _, (track_id,) in read_columns(path, [COLUMN])]
    for number, line in enumerate(lines, 1):
        if "\r" in line:
            raise TableError(f"{path}: line {number}: a line end that is neither LF nor CRLF")
    ids = [line for line in lines if line.strip()]
    if not ids:
        raise TableError(f"{path}: no track ids")
    return ids


@dataclass(frozen=True)
class Split:
    """Groups of a collection as a run uses them.

    ``kept`` are trained on, ``held_out`` are for the probe; ``usable`` (bool [tracks]) are tracks
    that are long enough and not excluded, ``exclude_key`` is a key of the excluded ids.
    """

    kept: TrackGroups
    held_out: TrackGroups
    usable: np.ndarray
    exclude_key: str | None


def split_groups(
    groups: TrackGroups,
    collection: Collection,
    *,
    frames: int,
    exclude: str | None = None,
    probe_share: float = 0.05,
) -> Split:
    """Leave out tracks that cannot be trained on, and hold out groups for the probe.

    ``frames`` are those of a window, shorter tracks are left out; ``exclude`` is a file of track
    ids to leave out; ``probe_share`` the share of the groups to hold out.

    Raises
    ------
    TableError
        If ``exclude`` cannot be read, or none of its ids is in the collection.
    """
    usable, exclude_key = usable_tracks(collection, frames=frames, exclude=exclude)
    if not usable.all():
        groups = groups.without_tracks(~usable)
    kept, held_out = groups.hold_out(probe_share, HOLD_OUT_SEED)
    return Split(kept, held_out, usable, exclude_key)


def usable_tracks(
    collection: Collection, *, frames: int, exclude: str | None = None
) -> tuple[np.ndarray, str | None]:
    """Tracks that may be trained on [shape=(tracks,), bool], and the key of the excluded ids."""
    usable = np.asarray(collection.frames) >= frames
    short = int((~usable).sum())
    if short:
        logger.info("%d tracks are shorter than a window of %d frames: left out", short, frames)
    if exclude is None:
        return usable, None
    ids = read_track_ids(exclude)
    rows = collection.rows(ids)
    unknown = [track_id for track_id, row in zip(ids, rows, strict=True) if row < 0]
    if len(unknown) == len(ids):
        raise TableError(
            f"{exclude}: none of its {len(ids)} track ids is in {collection.name} (the first is "
            f"{ids[0]!r}{did_you_mean(ids[0], collection.rows)}, the collection's is "
            f"{collection.track_ids[0]!r})"
        )
    if unknown:
        logger.info(
            f"{exclude}: {len(unknown)} of {len(ids)} ids are not in {collection.name}, the first "
            f"is {unknown[0]!r}{did_you_mean(unknown[0], collection.rows)}"
        )
    usable[rows[rows >= 0]] = False
    logger.info("%d tracks are excluded", len(np.unique(rows[rows >= 0])))
    return usable, content_key(*sorted(i.encode() for i in ids))


def short_enough(groups: TrackGroups, max_group_length: int) -> np.ndarray:
    """Mask of the groups that take part in a table [shape=(groups,), bool].

    Raises
    ------
    GroupsError
        If none does.
    """
    taking_part = groups.lengths <= max_group_length
    if not taking_part.any():
        raise GroupsError(
            f"groups {groups.name!r}: none has at most {max_group_length:,} tracks "
            "(--max-group-length)"
        )
    return taking_part
