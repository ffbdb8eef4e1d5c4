"""One shard read as a whole: what a collection has to know of it, and what is wrong with it."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain.progress import progress
from playlist_pretrain.records.schema import MEL_DTYPE
from playlist_pretrain.records.shard_file import Damage, Record, ShardFile, read_shard
from playlist_pretrain.records.values import MelSums, Tally
from playlist_pretrain.records.writer import ShardPart

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd

SUM_FRAMES = 1 << 16
"""Frames that are added up at once: sums have the order that the writer of shards gives them."""


@dataclass
class ShardScan:
    """What is in a shard of ``n`` sound records.

    Attributes
    ----------
    part : ShardPart
        Of the sound records; its SHA-256 is that of the whole file, empty when not computed.
    starts, ends : ndarray [shape=(n,), int64]
        Bytes of the file that each record takes.
    silent : ndarray [shape=(n,), bool]
        Whether the mel is nothing but the front end's silence.
    fingerprints : ndarray [shape=(n,), uint64]
        Equal for equal mels, and hardly ever else.
    damages : list of Damage
    tally : Tally or None
        Values of all mels; None without a record.
    """

    part: ShardPart
    starts: np.ndarray
    ends: np.ndarray
    silent: np.ndarray
    fingerprints: np.ndarray
    damages: list[Damage]
    tally: Tally | None


def scan_shards(
    paths: Sequence[Path],
    front_end: FrontEnd | None,
    *,
    known: Callable[[int], Collection[int] | None] = lambda number: None,
    hashed: bool = True,
    quiet: bool = False,
) -> Iterator[ShardScan]:
    """Scan shards, several at a time, in their order.

    Parameters
    ----------
    paths : sequence of Path
    front_end : FrontEnd or None
        What the collection is made by, when that is known.
    known : callable
        ``known(number)``: see :func:`playlist_pretrain.records.shard_file.read_shard`.
    hashed : bool
        Whether to compute the files' SHA-256.
    quiet : bool
        No progress.

    Raises
    ------
    CollectionError
        A file that cannot be read.
    """
    total = sum(path.stat().st_size for path in paths if path.exists())
    threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="shards")
    with progress(total=total, desc="shards", unit="B", unit_scale=True, quiet=quiet) as bar:

        def scan(job: tuple[int, Path]) -> ShardScan:
            number, path = job
            return scan_shard(
                path, front_end, known=known(number), hashed=hashed, advance=bar.update
            )

        try:
            yield from threads.map(scan, enumerate(paths))
        finally:
            threads.shutdown(cancel_futures=True)


def scan_shard(
    path: Path,
    front_end: FrontEnd | None,
    *,
    known: Collection[int] | None = None,
    hashed: bool = True,
    advance: Callable[[int], object] | None = None,
) -> ShardScan:
    """Scan one shard; see :func:`scan_shards`."""
    found = _Found(front_end)
    with ShardFile(path, hashed=hashed, advance=advance) as file:
        bands = None if front_end is None else front_end.bands
        with closing(read_shard(file, bands, known)) as contents:
            for item in contents:
                if isinstance(item, Damage):
                    found.damages.append(item)
                else:
                    found.add(item, file)
        return found.scan(path.name, file.size, file.sha256())


@dataclass
class _Found:
    front_end: FrontEnd | None
    records: list[tuple] = field(default_factory=list)
    ids: dict[str, None] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)
    tally: Tally | None = None
    sums: np.ndarray | None = None

    def add(self, record: Record, file: ShardFile) -> None:
        import google_crc32c

        bands, track = record.bands, record.track
        if self.tally is None:
            self.tally, self.sums = Tally(bands), np.zeros((2, bands))
        if track.track_id in self.ids:
            self._damaged(record, "its id is that of another record of the shard")
            return
        silence = -1
        if self.front_end is not None:
            silence = int(np.array(self.front_end.silence, MEL_DTYPE).view(np.uint16))
        frame = bands * MEL_DTYPE.itemsize
        end = record.offset + track.frames * frame
        sums, digest = self.sums.copy(), hashlib.blake2b(digest_size=8)
        silent = not_finite = crc = 0
        low, high = self.tally.low.copy(), self.tally.high.copy()
        for start in range(record.offset, end, SUM_FRAMES * frame):
            mel = MelSums.empty(bands)
            for piece in file.pieces(start, min(start + SUM_FRAMES * frame, end), frame):
                mel.add(piece, silence, self.tally.counts)
                crc = google_crc32c.extend(crc, piece)
            sums += mel.sums[:2]
            np.minimum(low, mel.sums[2], out=low)
            np.maximum(high, mel.sums[3], out=high)
            silent += mel.silent
            not_finite += mel.not_finite
            digest.update(mel.sums.data)
        if not_finite:
            self._damaged(record, f"{not_finite} values of its mel are not finite")
            return
        self.ids[track.track_id] = None
        self.sums, self.tally.low, self.tally.high = sums, low, high
        # Sums do not know the order of the frames: the checksum does.
        digest.update(struct.pack("<QQ", track.frames, crc))
        self.records.append(
            (
                *(record.start, record.end, record.offset, track.frames),
                *(track.start_seconds, track.source_seconds),
                silent == track.frames * bands,
                int.from_bytes(digest.digest(), "little"),
            )
        )

    def _damaged(self, record: Record, reason: str) -> None:
        self.damages.append(Damage(record.start, record.end, reason, record.track.track_id))

    def scan(self, file: str, size: int, sha: str) -> ShardScan:
        columns = list(zip(*self.records, strict=True)) or [()] * 8
        kinds = (np.int64, np.int64, np.int64, np.int32, np.float32, np.float32, bool, np.uint64)
        starts, ends, offsets, frames, start, source, silent, fingerprints = (
            np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)
        )
        bands = 0 if self.front_end is None else self.front_end.bands
        sums = np.zeros((2, bands)) if self.sums is None else self.sums
        part = ShardPart(file, size, sha, list(self.ids), offsets, frames, start, source, *sums)
        return ShardScan(part, starts, ends, silent, fingerprints, self.damages, self.tally)
