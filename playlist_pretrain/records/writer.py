"""Writing of shards and collections: what has its final name is whole."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.errors import CollectionError, TrackError
from playlist_pretrain.files import atomic_write, load_arrays, write_arrays, write_json
from playlist_pretrain.records import example, schema
from playlist_pretrain.records.collection import Collection, read_document
from playlist_pretrain.version import __version__


@dataclass
class ShardPart:
    """Description of one finished shard of ``n`` tracks.

    ``file`` is its name without the folder, ``size`` its bytes, ``sha`` its SHA-256. ``offsets``
    [n, int64] are the positions of the mels' first bytes in it; ``frames`` [n, int32] and the
    seconds and the share of sound [n, float32] are as in the index; the sums [bands, float64] are
    over the stored values of all frames and over their squares.
    """

    file: str
    size: int
    sha: str
    track_ids: list[str]
    offsets: np.ndarray
    frames: np.ndarray
    start_seconds: np.ndarray
    source_seconds: np.ndarray
    sound: np.ndarray
    band_sum: np.ndarray
    band_square_sum: np.ndarray

    def to_dict(self) -> dict:
        """Return the part as JSON values."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}

    @classmethod
    def from_dict(cls, content: dict) -> ShardPart:
        """Make a part from the result of :meth:`to_dict`; ValueError where it is none.

        One of an earlier version says nothing of sound.
        """
        content = {"sound": [math.nan] * len(content["track_ids"]), **content}
        arrays = {name: np.array(content[name], dtype) for name, dtype in _PART_ARRAYS.items()}
        part = cls(**{**content, **arrays})
        tracks, bands = len(part.track_ids), len(part.band_sum)
        shapes = [(tracks,)] * 5 + [(bands,)] * 2
        if [array.shape for array in arrays.values()] != shapes:
            raise ValueError("columns of several lengths")
        texts = (part.file, part.sha, *part.track_ids)
        if not all(isinstance(text, str) and text for text in texts) or type(part.size) is not int:
            raise ValueError("values of other types")
        return part


_PART_ARRAYS = {
    "offsets": np.int64,
    "frames": np.int32,
    "start_seconds": np.float32,
    "source_seconds": np.float32,
    "sound": np.float32,
    "band_sum": np.float64,
    "band_square_sum": np.float64,
}


class ShardWriter:
    """Context manager that writes one shard, of mels of ``bands`` bands.

    On normal exit the shard is on the disk under the name ``path``, and :attr:`part` describes it;
    after an exception nothing of it is left.

    Examples
    --------
    >>> with ShardWriter("tfrecords/mine/mel-00000.tfrecord", bands=96) as writer:
    ...     writer.add("artist/song", mel, start_seconds=0.0, source_seconds=30.0)
    >>> writer.part.frames
    """

    def __init__(self, path: str | Path, bands: int):
        self.path = Path(path)
        self.bands = bands
        self.part: ShardPart | None = None
        self._file = atomic_write(self.path)

    def __enter__(self) -> ShardWriter:
        self._stream: IO[bytes] = self._file.__enter__()
        self._digest = hashlib.sha256()
        self._rows: list[tuple[int, int, float, float, float]] = []
        self._ids: dict[str, None] = {}
        self._position = 0
        self._sums = np.zeros((2, self.bands))
        return self

    def add(
        self,
        track_id: str,
        mel: np.ndarray,
        start_seconds: float,
        source_seconds: float,
        sound: float = math.nan,
    ) -> None:
        """Append a track's log-mel [shape=(frames, bands), real], which is stored as float16.

        The id is any non-empty Unicode string, once a shard; the seconds say where in the source
        the mel starts, and how long the source is; ``sound`` is the share of it that has any.

        Raises TrackError: when the id, the mel or a time cannot be stored; the shard stays as it
        was.
        """
        schema.check_track_id(track_id)
        if track_id in self._ids:
            raise TrackError(f"track {track_id!r}: the id is in the shard already")
        for name, value in (("start", start_seconds), ("source length", source_seconds)):
            if not (math.isfinite(value) and value >= 0):
                raise TrackError(f"track {track_id!r}: {name} of {value} seconds")
        stored = example.stored_mel(track_id, mel, self.bands)
        data, mel_position = example.encode_track(track_id, stored, start_seconds, source_seconds)
        length = struct.pack("<Q", len(data))
        header = length + struct.pack("<I", example.masked_crc(length))
        for part in (header, data, struct.pack("<I", example.masked_crc(data))):
            self._stream.write(part)
            self._digest.update(part)
        offset = self._position + example.RECORD_HEADER + mel_position
        self._rows.append((offset, len(stored), start_seconds, source_seconds, sound))
        self._ids[track_id] = None
        self._position += len(data) + example.RECORD_OVERHEAD
        add_band_sums(self._sums, stored)

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)
        if error[0] is None:
            self.part = self._described()

    def _described(self) -> ShardPart:
        columns = zip(*self._rows, strict=True) if self._rows else [()] * 5
        offsets, frames, starts, lengths, sound = columns
        return ShardPart(
            file=self.path.name,
            size=self._position,
            sha=self._digest.hexdigest(),
            track_ids=list(self._ids),
            offsets=np.array(offsets, np.int64),
            frames=np.array(frames, np.int32),
            start_seconds=np.array(starts, np.float32),
            source_seconds=np.array(lengths, np.float32),
            sound=np.array(sound, np.float32),
            band_sum=self._sums[0],
            band_square_sum=self._sums[1],
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
    the two files (no time, no machine), so the same tracks give the same bytes. ``source`` are
    settings to remember about where the tracks came from, JSON values only.

    Parameters
    ----------
    onto : Collection, optional
        Its rows come first, with the shards they are in, which need not be in ``folder``, and
        the index is the next generation unless told otherwise.
    generation : int, optional
        Of the index; one that ``folder`` does not have yet, so that the old one stays whole.

    Raises
    ------
    CollectionError
        No tracks.
    """
    folder = Path(folder)
    counts = [len(part.track_ids) for part in parts]
    if not sum(counts):
        raise CollectionError(f"{folder}: no tracks, so there is no collection to write")
    before = None if onto is None else read_document(onto.path)
    shards = [] if before is None else before["shards"]
    old_ids = () if onto is None else onto.track_ids
    ids = schema.PackedStrings.pack(itertools.chain(old_ids, *(part.track_ids for part in parts)))
    columns = {"shard": len(shards) + np.repeat(range(len(parts)), counts)}
    for name, of_part in _COLUMNS.items():
        columns[name] = np.concatenate([getattr(part, of_part) for part in parts])
    if onto is not None:
        columns = {k: np.concatenate([getattr(onto, k), new]) for k, new in columns.items()}
    columns |= {"track_id_bytes": ids.data, "track_id_ends": ids.ends}
    sums = _sums_of(onto, before, front_end.bands)
    for part in parts:
        sums += part.band_sum, part.band_square_sum
    if generation is None:
        generation = 0 if before is None else schema.generation(before) + 1
    index_path = folder / f"index-{generation}.npz"
    arrays = {k: columns[k].astype(t) for k, t in schema.INDEX_ARRAYS.items()}  # type: ignore[call-overload]
    write_arrays(index_path, **arrays, band_sum=sums[0], band_square_sum=sums[1])
    index = index_path.read_bytes()

    frames = int(columns["frames"].sum(dtype=np.int64))
    mean, std = band_statistics(sums[0], sums[1], frames)
    constants = json.loads(json.dumps(front_end.to_dict()))
    shards = shards + [
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


_COLUMNS = {
    "offset": "offsets",
    "frames": "frames",
    "start_seconds": "start_seconds",
    "source_seconds": "source_seconds",
    "sound": "sound",
}


def _sums_of(collection: Collection | None, document: dict | None, bands: int) -> np.ndarray:
    """Sums of the stored values and of their squares [shape=(2, bands), float64]."""
    if collection is None or document is None:
        return np.zeros((2, bands))
    names = ("band_sum", "band_square_sum")
    stored = load_arrays(collection.path / document["index"]["file"], names)
    if [array.shape for array in stored.values()] == [(bands,)] * 2:
        return np.stack([stored[name] for name in names]).astype(np.float64)
    # Written by another program: as exact as the statistics are.
    mean, std = (np.array(document[name]) for name in ("band_mean", "band_std"))
    return document["frames"] * np.stack([mean, np.square(std) + np.square(mean)])


def add_band_sums(sums: np.ndarray, mel: np.ndarray) -> None:
    """Add a mel's values and their squares, summed over its frames, to ``sums`` [2, bands]."""
    for start in range(0, len(mel), 1 << 16):  # hours need no more memory than minutes
        exact = mel[start : start + (1 << 16)].astype(np.float64)
        sums += np.einsum("ij->j", exact), np.einsum("ij,ij->j", exact, exact)


def band_statistics(
    band_sum: np.ndarray, band_square_sum: np.ndarray, frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every band [shape=(bands,), float32] over ``frames``."""
    mean, square_mean = band_sum / frames, band_square_sum / frames
    variance = square_mean - np.square(mean)
    # A band that never changes leaves rounding noise of either sign: that is no deviation.
    variance[variance < 1e-12 * square_mean] = 0.0
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
