"""Foreign ids, such as Spotify URIs or MusicBrainz ids, and the tracks they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.coverage import shown
from playlist_pretrain.playlists.look_up import LOOK_UP, NOT_MAPPED, NOT_THERE
from playlist_pretrain.tables import read_columns

if TYPE_CHECKING:
    from playlist_pretrain.playlists.look_up import Rows

COLUMNS = ("foreign_id", "track_id")


class IdMap:
    """Rows of a collection by foreign id; several foreign ids may stand for one track.

    Parameters
    ----------
    row_of : dict of str to int
        −1 where the collection does not have the track.
    """

    def __init__(self, row_of: dict[str, int]):
        self._row_of = row_of

    def __len__(self) -> int:
        return len(self._row_of)

    @classmethod
    def read(
        cls,
        path: str | Path,
        collection: Rows,
        advance: Callable[[int], object] | None = None,
    ) -> IdMap:
        """Read a table (CSV or TSV) with the columns ``foreign_id`` and ``track_id``.

        Raises
        ------
        TableError
            If it cannot be read, or an id stands for two tracks; names the line.
        """
        track_of: dict[str, int] = {}
        tracks: dict[str, int] = {}
        for line, (foreign, track) in read_columns(
            path, COLUMNS, advance, "a map has a column for each of the two ids"
        ):
            number = tracks.setdefault(track, len(tracks))
            if track_of.setdefault(foreign, number) != number:
                other = list(tracks)[track_of[foreign]]
                raise TableError(
                    f"{path}: line {line}: {shown(foreign)} stands for {shown(track)} here, and "
                    f"for {shown(other)} before"
                )
        ids = list(tracks)
        rows = np.concatenate(
            [collection.rows(ids[first : first + LOOK_UP]) for first in range(0, len(ids), LOOK_UP)]
        ).tolist()
        return cls({foreign: rows[number] for foreign, number in track_of.items()})

    @property
    def known(self) -> int:
        """Number of foreign ids whose track the collection has."""
        return sum(row != NOT_THERE for row in self._row_of.values())

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Row of every foreign id [shape=(n,), int32]; see ``look_up.Rows``."""
        row_of = self._row_of
        return np.fromiter((row_of.get(one, NOT_MAPPED) for one in ids), np.int32, len(ids))
