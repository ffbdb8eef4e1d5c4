"""The windows of a collection as batches for a model, read ahead from its shards."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.embedding.window_batches import (
    AHEAD,
    PART_WINDOWS,
    Batch,
    PartEnd,
    too_short,
)
from playlist_pretrain.errors import CollectionError
from playlist_pretrain.records.positions import WindowBlock, WindowPositions
from playlist_pretrain.records.windows import WindowReader, read_ahead

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection


class CollectionWindows:
    """Non-overlapping windows of every track of a collection, in the order of its rows.

    Parameters
    ----------
    collection : Collection
    frames : int
        Of a window.
    short : {"repeat", "pad", "skip"}
        What becomes of tracks that are shorter.

    Raises
    ------
    CollectionError
        If the collection is empty.
    """

    dtype = "float16"
    paths: Sequence[str] | None = None
    folder = None

    def __init__(self, collection: Collection, frames: int, short: str):
        if not len(collection):
            raise CollectionError(f"{collection.path}: no tracks in it")
        self.collection = collection
        self.ids = collection.track_ids
        self._reader = WindowReader(collection, frames, short)
        rows = np.arange(len(collection))
        last = self._reader.last_start(rows).astype(np.int64)
        self._ends = np.cumsum(np.where(self._reader.usable, 1 + last // frames, 0))

    def __len__(self) -> int:
        return len(self.collection)

    @property
    def facts(self) -> dict[str, Any]:
        """What decides its windows, but for the front end."""
        return {"collection_key": self.collection.content_key}

    def batches(self, first: int, batch: int) -> Generator[Batch | PartEnd, None, None]:
        """Batches of the tracks from ``first`` on, part by part; read ahead in threads."""
        reader = self._reader
        reader.pool.keep(2 * reader.calls + AHEAD + 2)
        items = ((item,) for item in self._items(first, batch))

        def read(item: WindowBlock | PartEnd) -> Batch | PartEnd:
            if isinstance(item, PartEnd):
                return item
            fill = (0, batch - len(item))
            rows, starts = (np.pad(a, fill, mode="edge") for a in (item.rows, item.starts))
            return Batch(reader.read(rows, starts), item.rows.astype(np.int64), self._seconds(item))

        yield from read_ahead(read, items, reader.calls, reader.calls)

    def _items(self, first: int, batch: int) -> Iterator[WindowBlock | PartEnd]:
        while first < len(self):
            before = self._ends[first - 1] if first else 0
            stop = int(np.searchsorted(self._ends, before + PART_WINDOWS)) + 1
            rows = np.arange(first, min(stop, len(self)))
            yield from WindowPositions(self._reader, rows).blocks(batch)
            yield self._end(rows)
            first = stop

    def _seconds(self, block: WindowBlock) -> np.ndarray:
        front_end = self.collection.front_end
        into = block.starts * (front_end.hop_length / front_end.sample_rate)
        return self.collection.start_seconds[block.rows] + into

    def _end(self, rows: np.ndarray) -> PartEnd:
        frames, front_end = self.collection.frames[rows], self.collection.front_end
        notes = [
            too_short(self.ids[int(row)], "", int(self.collection.frames[row]), self._reader.frames)
            for row in rows[~self._reader.usable[rows]]
        ]
        seconds = float(frames.sum()) * front_end.hop_length / front_end.sample_rate
        return PartEnd(int(rows[-1]) + 1, seconds, notes)
