"""From track ids to rows, in 12 bytes a track, and what an id that is not there may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from playlist_pretrain.records.schema import PackedStrings

_FEW = 1 << 16
MOST_ZEROS = 16


def did_you_mean(wanted: str, rows: Callable[[Sequence[str]], Iterable[int]]) -> str:
    """End of a message on an id that is not there: the one with other leading zeros, if any.

    Spreadsheets take them from ids that are numbers.

    Parameters
    ----------
    wanted : str
    rows : callable
        Row of each id, below 0 for one that is not there.
    """
    if not (wanted.isascii() and wanted.isdigit()):
        return ""
    bare = wanted.lstrip("0")
    zeros = range(0 if bare else 1, MOST_ZEROS)
    ids = [one for one in ("0" * count + bare for count in zeros) if one != wanted]
    there = [one for one, row in zip(ids, rows(ids), strict=True) if row >= 0]
    return f" (did you mean {there[0]!r}?)" if len(there) == 1 else ""


class IdTable:
    """Looks ids up: a dictionary for few tracks, sorted hashes for many.

    A dictionary of a million ids takes 200 MB and misses the processor's cache at every step.
    Python's hash of a string is seeded anew in every process, so no ids can be made to collide.

    Parameters
    ----------
    ids : PackedStrings

    Raises
    ------
    ValueError
        When ids stand for more than one row; says how many.
    """

    def __init__(self, ids: PackedStrings):
        self._ids = ids
        self._row_of: dict[str, int] | None = None
        if len(ids) <= _FEW:
            self._row_of = {track_id: row for row, track_id in enumerate(ids)}
            repeated = len(ids) - len(self._row_of)
        else:
            hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
            order = np.argsort(hashes, kind="stable")
            self._rows, self._hashes = order.astype(np.int32), hashes[order]
            repeated = self._repeated()
        if repeated:
            raise ValueError(f"{repeated} track ids stand for more than one track")

    def _repeated(self) -> int:
        again = np.flatnonzero(self._hashes[1:] == self._hashes[:-1]) + 1
        candidates = np.union1d(again, again - 1)
        distinct = {self._ids[row] for row in self._rows[candidates].tolist()}
        return len(candidates) - len(distinct)

    def rows(self, wanted: Sequence[str]) -> np.ndarray:
        """Rows of ids [shape=(n,), int32], -1 for one that is not there."""
        if self._row_of is not None:
            find = self._row_of.get
            return np.array([find(track_id, -1) for track_id in wanted], np.int32)
        hashes = np.fromiter(map(hash, wanted), np.int64, len(wanted))
        found = np.full(len(wanted), -1, np.int32)
        places = np.searchsorted(self._hashes, hashes)
        left = np.arange(len(wanted))
        while len(left):  # once for all, and once more for ids whose hash another id has
            left = left[places[left] < len(self._hashes)]
            left = left[self._hashes[places[left]] == hashes[left]]
            rows = self._rows[places[left]]
            texts = self._ids.take(rows)
            same = np.array(
                [text == wanted[i] for text, i in zip(texts, left.tolist(), strict=True)], bool
            )
            found[left[same]] = rows[same]
            left = left[~same]
            places[left] += 1
        return found
