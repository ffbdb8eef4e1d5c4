"""Track ids of a source looked up in a collection, and what is worth remembering of them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np

LOOK_UP = 65_536
EXAMPLES = 3
NOT_THERE, NOT_MAPPED = -1, -2


class Rows(Protocol):
    """What knows the rows of ids: a collection, or a map of other ids to it."""

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Row of every id [shape=(n,), int32].

        −1 where the collection has no such track, −2 where a map does not know the id.
        """


class LookUp:
    """Looks ids up many at a time and keeps only numbers of what was found.

    Parameters
    ----------
    known : Rows

    Attributes
    ----------
    group_index : dict of str to int
        Number of each group id, in the order of their first part.
    run_group, run_length : array of int32
        Group of each part, and how many of its ids were found.
    rows : array of int32
        Rows of the ids that were found, part after part.
    entries : int
        Ids looked up.
    unmapped : int
        Of these, ids that a map does not know.
    missing : Counter of str
        Ids that were not found.
    examples : list of str
        The first distinct ids, at most three.
    """

    def __init__(self, known: Rows):
        self._known = known
        self.group_index: dict[str, int] = {}
        self.run_group, self.run_length, self.rows = array("i"), array("i"), array("i")
        self.entries = self.unmapped = 0
        self.missing: Counter[str] = Counter()
        self.examples: list[str] = []
        self._waiting: list[str] = []
        self._runs: list[tuple[int, int]] = []

    def add(self, group_id: str, track_ids: Sequence[str]) -> None:
        """Take in one part of a group."""
        index = self.group_index.setdefault(group_id, len(self.group_index))
        self._runs.append((index, len(track_ids)))
        self._waiting += track_ids
        if len(self.examples) < EXAMPLES:
            distinct = dict.fromkeys([*self.examples, *track_ids[: EXAMPLES * EXAMPLES]])
            self.examples = list(distinct)[:EXAMPLES]
        if len(self._waiting) >= LOOK_UP or len(self._runs) >= LOOK_UP:
            self.flush()

    def flush(self) -> None:
        """Look up what is waiting."""
        if not self._runs:
            return
        rows = self._known.rows(self._waiting)
        known = rows >= 0
        run_group, run_length = np.array(self._runs, np.int32).T
        ends = np.cumsum(run_length, dtype=np.int64)
        total = np.concatenate([np.zeros(1, np.int64), np.cumsum(known)])
        found = total[ends] - total[ends - run_length]
        self.run_group.frombytes(run_group.tobytes())
        self.run_length.frombytes(found.astype(np.int32).tobytes())
        self.rows.frombytes(rows[known].astype(np.int32).tobytes())
        self.entries += len(rows)
        self.unmapped += int(np.count_nonzero(rows == NOT_MAPPED))
        self.missing.update(self._waiting[i] for i in np.flatnonzero(~known))
        self._waiting, self._runs = [], []
