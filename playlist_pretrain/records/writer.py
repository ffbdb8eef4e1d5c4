"""Writing of shards and collections: what has its final name is whole."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.errors import CollectionError, TrackError
from playlist_pretrain.files import atomic_write, temporary_beside, write_json
from playlist_pretrain.records import example, schema
from playlist_pretrain.records.collection import read_document
from playlist_pretrain.records.schema import generation
from playlist_pretrain.records.shard_file import masked_crc
from playlist_pretrain.version import __version__

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.records.collection import Collection


@dataclass(frozen=True)
class Before:
    """See the module.

    Attributes
    ----------
    collection : Collection or None
    generation : int
        Of the index that is written next.
    track_ids : sequence of str
    shards : list of dict
        File entries of its shards.
    sums : ndarray [shape=(2, bands), float64]
        Sums of the stored values and of their squares over all frames.
    """

    collection: Collection | None
    generation: int
    track_ids: Sequence[str]
    shards: list[dict]
    sums: np.ndarray

    @classmethod
    def of(cls, collection: Collection | None, bands: int) -> Before:
        """Read it from an open collection; None stands for a collection that is to be made."""
        if collection is None:
            return cls(None, 0, (), [], np.zeros((2, bands)))
        document = read_document(collection.path)
        with np.load(collection.path / document["index"]["file"], allow_pickle=False) as archive:
            if "band_sum" in archive.files:
                sums = np.stack([archive["band_sum"], archive["band_square_sum"]])
            else:  # written by another program: as exact as the statistics are
                mean, std = (np.array(document[name]) for name in ("band_mean", "band_std"))
                sums = document["frames"] * np.stack([mean, np.square(std) + np.square(mean)])
        number = generation(document) + 1
        return cls(collection, number, collection.track_ids, document["shards"], sums)

    def column(self, name: str, *more: np.ndarray) -> np.ndarray:
        """Column ``name`` of the index with ``more`` entries after those that are there."""
        there = [] if self.collection is None else [getattr(self.collection, name)]
        return np.concatenate([*there, *more])


_SUM_FRAMES = 1 << 16  # at once, so that hours of audio need no more memory than minutes


@dataclass
class ShardPart:
    """What a collection has to know about one finished shard of ``n`` tracks.

    Attributes
    ----------
    file : str
        File name, without its folder.
    size : int
        Bytes.
    sha : str
        SHA-256 of the file, hexadecimal.
    track_ids : list of str
    offsets : ndarray [shape=(n,), int64]
        Position of the mel's first byte in the file.
    frames : ndarray [shape=(n,), int32]
    start_seconds, source_seconds : ndarray [shape=(n,), float32]
    band_sum, band_square_sum : ndarray [shape=(bands,), float64]
        Sums of the stored values and of their squares over all frames.
    """

    file: str
    size: int
    sha: str
    track_ids: list[str]
    offsets: np.ndarray
    frames: np.ndarray
    start_seconds: np.ndarray
    source_seconds: np.ndarray
    band_sum: np.ndarray
    band_square_sum: np.ndarray

    def save(self, path: str | Path) -> None:
        """Write the part as ``.npz``, atomically; :meth:`load` finds out if it is not whole."""
        content = dict(vars(self))
        ids = schema.PackedStrings.pack(content.pop("track_ids"))
        with atomic_write(path, sync=False) as stream:
            name = content.pop("file")  # np.savez has a parameter of that name
            np.savez(stream, name=name, id_bytes=ids.data, id_ends=ids.ends, **content)

    @classmethod
    def load(cls, path: str | Path) -> ShardPart:
        """Read what :meth:`save` wrote; CollectionError when the file is damaged."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                content = {name: archive[name] for name in archive.files}
            ids = schema.PackedStrings(content.pop("id_bytes"), content.pop("id_ends"))
            name, size, sha = (content.pop(key).item() for key in ("name", "size", "sha"))
            return cls(name, size, sha, list(ids), **content)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise CollectionError(
                f"{path}: damaged ({error}); remove it and its shard is made anew"
            ) from error


class ShardWriter:
    """Context manager that writes one shard of a collection.

    On normal exit the shard is renamed to ``path``, and :attr:`part` describes it; after an
    exception nothing of it is left.

    Parameters
    ----------
    path : str or Path
        Final name.
    bands : int
        Bands of every mel.
    sync : bool
        Wait until the shard is on the disk before it gets its name. Whoever does not has to see
        to it with :func:`~playlist_pretrain.files.sync_file` before a collection names the shard.

    Examples
    --------
    >>> with ShardWriter("tfrecords/mine/mel-00000.tfrecord", bands=96) as writer:
    ...     writer.add("artist/song", mel, start_seconds=0.0, source_seconds=30.0)
    >>> writer.part.frames
    """

    def __init__(self, path: str | Path, bands: int, *, sync: bool = True):
        self.path = Path(path)
        self.bands = bands
        self.sync = sync
        self.part: ShardPart | None = None
        self._temporary = temporary_beside(self.path)

    def __enter__(self) -> ShardWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream: IO[bytes] = open(self._temporary, "wb")
        self._digest = hashlib.sha256()
        self._rows: list[tuple[int, int, float, float]] = []
        self._ids: dict[str, None] = {}
        self._position = 0
        self._sum = np.zeros(self.bands)
        self._square_sum = np.zeros(self.bands)
        return self

    def add(
        self, track_id: str, mel: np.ndarray, start_seconds: float, source_seconds: float
    ) -> None:
        """Append a track.

        Parameters
        ----------
        track_id : str
            Any non-empty Unicode string, once a shard.
        mel : array_like [shape=(frames, bands), real]
            Log-mel; stored as float16.
        start_seconds, source_seconds : float
            Where in the source the mel starts, and how long the source is.

        Raises
        ------
        TrackError
            When the id, the mel or a time cannot be stored; the shard stays as it was.
        CollectionError
            When the file cannot be written.
        """
        schema.check_track_id(track_id)
        if track_id in self._ids:
            raise TrackError(f"track {track_id!r}: the id is in the shard already")
        for name, value in (("start", start_seconds), ("source length", source_seconds)):
            if not (math.isfinite(value) and value >= 0):
                raise TrackError(f"track {track_id!r}: {name} of {value} seconds")
        stored = example.stored_mel(track_id, mel, self.bands)
        data, mel_position = example.encode_track(track_id, stored, start_seconds, source_seconds)
        self._write(data)
        offset = self._position + example.RECORD_HEADER + mel_position
        self._rows.append((offset, len(stored), start_seconds, source_seconds))
        self._ids[track_id] = None
        self._position += len(data) + example.RECORD_OVERHEAD
        for start in range(0, len(stored), _SUM_FRAMES):
            exact = example.exact_values(stored[start : start + _SUM_FRAMES])
            self._sum += np.einsum("ij->j", exact)
            self._square_sum += np.einsum("ij,ij->j", exact, exact)  # without a table of squares

    def _write(self, data: bytes) -> None:
        length = struct.pack("<Q", len(data))
        header = length + struct.pack("<I", masked_crc(length))
        try:
            for part in (header, data, struct.pack("<I", masked_crc(data))):
                self._stream.write(part)
                self._digest.update(part)
        except OSError as error:
            raise self._unwritable(error) from error

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        try:
            self._close(failed=kind is not None)
            if kind is None:
                self.part = self._finish()
        finally:
            self._temporary.unlink(missing_ok=True)

    def _close(self, failed: bool) -> None:
        try:
            self._stream.close()
        except OSError as error:
            if not failed:
                raise self._unwritable(error) from error

    def _finish(self) -> ShardPart:
        with open(self._temporary, "rb") as stream:
            if self.sync:
                os.fsync(stream.fileno())
            size = os.fstat(stream.fileno()).st_size
        if size != self._position:
            raise self._unwritable(f"{size} of {self._position} bytes arrived; is the disk full?")
        os.replace(self._temporary, self.path)
        offsets, frames, starts, lengths = zip(*self._rows, strict=True) if self._rows else [()] * 4
        return ShardPart(
            file=self.path.name,
            size=size,
            sha=self._digest.hexdigest(),
            track_ids=list(self._ids),
            offsets=np.array(offsets, np.int64),
            frames=np.array(frames, np.int32),
            start_seconds=np.array(starts, np.float32),
            source_seconds=np.array(lengths, np.float32),
            band_sum=self._sum,
            band_square_sum=self._square_sum,
        )

    def _unwritable(self, reason: object) -> CollectionError:
        return CollectionError(
            f"{self.path}: cannot be written: {getattr(reason, 'strerror', None) or reason}"
        )


def write_collection(
    folder: str | Path,
    front_end: FrontEnd,
    parts: Sequence[ShardPart],
    source: dict,
    *,
    onto: Collection | None = None,
    generation: int | None = None,
) -> None:
    """Make the finished shards in ``folder`` a collection: the index, then ``collection.json``.

    Rows are numbered through the parts in their order. Nothing but the arguments goes into
    the two files (no time, no machine), so the same tracks give the same bytes.

    Parameters
    ----------
    folder : str or Path
        Holds the shards that ``parts`` describe.
    front_end : FrontEnd
        The one that made every mel.
    parts : sequence of ShardPart
    source : dict
        Settings to remember about where the tracks came from; JSON values only.
    onto : Collection, optional
        Its rows come first, with the shards they are in, which need not be in ``folder``, and
        the index is the next generation unless told otherwise.
    generation : int, optional
        Of the index; one that ``folder`` does not have yet, so that the old one stays whole.

    Raises
    ------
    CollectionError
        No tracks, an id twice, other bands than the front end's, or a shard that is missing
        or has another size.
    """
    folder = Path(folder)
    before = Before.of(onto, front_end.bands)
    _check_parts(folder, front_end, parts, before.track_ids)
    counts = [len(part.track_ids) for part in parts]
    names = (name for part in parts for name in part.track_ids)
    ids = schema.PackedStrings.pack(itertools.chain(before.track_ids, names))
    columns = {
        "track_id_bytes": ids.data,
        "track_id_ends": ids.ends,
        "shard": before.column("shard", len(before.shards) + np.repeat(range(len(parts)), counts)),
        "offset": before.column("offset", *(part.offsets for part in parts)),
        **{
            name: before.column(name, *(getattr(part, name) for part in parts))
            for name in ("frames", "start_seconds", "source_seconds")
        },
    }
    sums = np.stack([before.sums, *([part.band_sum, part.band_square_sum] for part in parts)])
    band_sum, band_square_sum = sum(sums)
    generation = before.generation if generation is None else generation
    index_path = folder / schema.index_name(generation)
    with atomic_write(index_path) as stream:
        arrays = {k: columns[k].astype(t) for k, t in schema.INDEX_ARRAYS.items()}  # type: ignore[call-overload]
        np.savez(stream, **arrays, band_sum=band_sum, band_square_sum=band_square_sum)
    index = index_path.read_bytes()

    frames = int(columns["frames"].sum(dtype=np.int64))
    mean, std = band_statistics(band_sum, band_square_sum, frames)
    constants = json.loads(json.dumps(front_end.to_dict()))
    shards = before.shards + [
        {"file": part.file, "size": part.size, "sha256": part.sha, "tracks": count}
        for part, count in zip(parts, counts, strict=True)
    ]
    write_json(
        folder / schema.COLLECTION_FILE,
        {
            "type": schema.TYPE,
            "format": schema.FORMAT,
            "creator": "playlist_pretrain",
            "version": __version__,
            "content_key": schema.collection_key(constants, shards),
            "front_end": constants,
            "dtype": schema.MEL_DTYPE.name,
            "bands": front_end.bands,
            "tracks": len(ids),
            "frames": frames,
            "band_mean": mean.tolist(),
            "band_std": std.tolist(),
            "source": source,
            "index": {
                "file": index_path.name,
                "size": len(index),
                "sha256": hashlib.sha256(index).hexdigest(),
                "tracks": len(ids),
            },
            "shards": shards,
        },
    )


def _check_parts(
    folder: Path, front_end: FrontEnd, parts: Sequence[ShardPart], before: Iterable[str]
) -> None:
    seen = dict.fromkeys(before, "the collection")
    for part in parts:
        for track_id in part.track_ids:
            if track_id in seen:
                raise CollectionError(
                    f"{folder}: track {track_id!r} is in {seen[track_id]} and in {part.file}; "
                    "an id belongs to one track"
                )
            seen[track_id] = part.file
        if len(part.band_sum) != front_end.bands:
            raise CollectionError(
                f"{folder / part.file}: {len(part.band_sum)} bands, front end "
                f"{front_end.name!r} makes {front_end.bands}"
            )
        path = folder / part.file
        if not path.is_file() or path.stat().st_size != part.size:
            raise CollectionError(
                f"{path}: missing, or not the {part.size} bytes that were written"
            )
    if not seen:
        raise CollectionError(f"{folder}: no tracks, so there is no collection to write")


def band_statistics(
    band_sum: np.ndarray, band_square_sum: np.ndarray, frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every band [shape=(bands,), float32] over ``frames``."""
    mean, square_mean = band_sum / frames, band_square_sum / frames
    variance = square_mean - np.square(mean)
    # A band that never changes leaves rounding noise of either sign: that is no deviation.
    variance[variance < 1e-12 * square_mean] = 0.0
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
