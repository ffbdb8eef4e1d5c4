"""A collection on disk: what is in it, checked once when it is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.audio.silence import QUIET
from playlist_pretrain.errors import CollectionError, FrontEndError, TrackError, first_line
from playlist_pretrain.files import load_arrays, load_json
from playlist_pretrain.messages import command
from playlist_pretrain.records import schema
from playlist_pretrain.records.schema import PackedStrings, did_you_mean
from playlist_pretrain.storage import (
    is_remote,
    location,
    plain_errors,
    read_bytes,
    read_ranges,
    remote_error,
)


class Collection:
    """The tracks of one collection; row ``i`` of every array speaks of the same track.

    Made by :meth:`open`.

    Attributes
    ----------
    path : Path
        The folder.
    name : str
        The folder's name.
    front_end : FrontEnd
        What made every mel.
    content_key : str
        Changes when any mel, id, order or front-end constant changes.
    track_ids : sequence of str
        Packed; an item becomes a string when it is asked for.
    frames : ndarray [shape=(n,), int32]
    start_seconds, source_seconds : ndarray [shape=(n,), float32]
        Where in its source the mel starts, and the source's length.
    sound : ndarray [shape=(n,), float32]
        Share of the mel's audio that has sound, see :mod:`~playlist_pretrain.audio.silence`; NaN
        where the collection does not say.
    shard : ndarray [shape=(n,), int32]
        Position in :attr:`shard_paths`.
    offset : ndarray [shape=(n,), int64]
        Position of the mel's first byte in that file.
    band_mean, band_std : ndarray [shape=(bands,), float32]
        Over all frames of all tracks. The deviation of a band that never changes is exactly 0:
        who divides by it must guard against that.
    shard_paths : list of Path
    source : dict
        Settings remembered when the collection was built.
    version : str
        Version of the program that made it.
    """

    def __init__(self, path: Path, document: dict, front_end: FrontEnd, index: dict):
        self.path = path
        self.name = path.resolve().name
        self.front_end = front_end
        self.content_key: str = document["content_key"]
        self.source: dict = document["source"]
        self.version: str = document["version"]
        self.band_mean = np.array(document["band_mean"], np.float32)
        self.band_std = np.array(document["band_std"], np.float32)
        self.shard_paths = [path / shard["file"] for shard in document["shards"]]
        self.track_ids: schema.PackedStrings = index["track_ids"]
        self.shard: np.ndarray = index["shard"]
        self.offset: np.ndarray = index["offset"]
        self.frames: np.ndarray = index["frames"]
        self.start_seconds: np.ndarray = index["start_seconds"]
        self.source_seconds: np.ndarray = index["source_seconds"]
        self.sound: np.ndarray = index["sound"]

    @classmethod
    def open(cls, path: str | Path) -> Collection:
        """Open the collection in folder ``path``, or behind a URL such as ``s3://bucket/folder``.

        Reads ``collection.json`` and the index and compares every shard's size; the mels
        themselves are not read. A remote folder is listed once, however many its shards.
        CollectionError when anything is missing, damaged, foreign or of another format, or a
        server cannot be reached.
        """
        path = location(path)
        listing = _listing(path) if is_remote(path) else None
        document = read_document(path)
        front_end = front_end_of(document, path / schema.COLLECTION_FILE)
        for shard in document["shards"]:
            _check_size(path, shard, listing)
        return cls(path, document, front_end, read_index(path, document, listing))

    def __len__(self) -> int:
        return len(self.track_ids)

    def __repr__(self) -> str:
        return (
            f"Collection({str(self.path)!r}: {len(self)} tracks, front end "
            f"{self.front_end.name!r}, key {self.content_key[:8]})"
        )

    @property
    def quiet(self) -> np.ndarray:
        """Tracks that are silent, or nearly, bool [n]: for no pairs and no neighbours."""
        return self.sound < QUIET

    @cached_property
    def _table(self) -> IdTable:
        try:
            return IdTable(self.track_ids)
        except ValueError as error:
            raise CollectionError(f"{self.path}: {error}; {_mend(self.path)}") from error

    def rows(self, ids: Iterable[str]) -> np.ndarray:
        """Rows of ``ids`` [shape=(ids,), int32], -1 for an id that is not in the collection."""
        return self._table.rows(list(ids))

    def row(self, track_id: str) -> int:
        """Row of one track; TrackError when the collection does not have it."""
        row = int(self.rows([track_id])[0])
        if row < 0:
            raise TrackError(
                f"track {track_id!r} is not in collection {str(self.path)!r} "
                f"({len(self)} tracks, the first is {self.track_ids[0]!r})"
                f"{did_you_mean(track_id, self.rows)}"
            )
        return row

    def mel(self, row: int) -> np.ndarray:
        """The whole log-mel of track ``row`` [shape=(frames, bands), float16].

        CollectionError when there is no such row, or its shard no longer holds it.
        """
        if not 0 <= row < len(self):
            raise CollectionError(f"{self.path}: row {row} of {len(self)} tracks")
        shape = (int(self.frames[row]), self.front_end.bands)
        size = shape[0] * shape[1] * schema.MEL_DTYPE.itemsize
        shard, offset = self.shard_paths[self.shard[row]], int(self.offset[row])
        what = f"ends too early: it was cut or replaced; {_mend(self.path)}"
        try:
            if is_remote(shard):
                (data,) = read_ranges([shard], [offset], [size])
            else:
                with open(shard, "rb") as stream:
                    stream.seek(offset)
                    data = stream.read(size)
        except OSError as error:
            raise CollectionError(f"{shard}: {error.strerror}; {_mend(self.path)}") from error
        if isinstance(data, CollectionError):
            what = str(data).removeprefix(f"{shard}: ")
        elif len(data) == size:
            return np.frombuffer(bytearray(data), schema.MEL_DTYPE).reshape(shape)
        raise CollectionError(f"{shard}: cannot read track {self.track_ids[row]!r}: {what}")


def opened(collection: Collection | str | Path | Callable[[], Path]) -> Collection:
    """Return a collection; opens one given by its path, or by a function that returns the path."""
    if isinstance(collection, Collection):
        return collection
    return Collection.open(collection() if callable(collection) else collection)


def _mend(path: Path) -> str:
    if is_remote(path):
        return "copy the collection there again"
    verbs = f"{command('make_tfrecords')} or import_mels command"
    return (
        f"copy the collection again, or call the same {verbs} that built it: it makes damaged "
        "shards anew. Where the sources are gone, keep the sound shards with "
        + command("check_collection", "--collection", str(path), "--repair")
    )


def _listing(path: Path) -> dict[str, int]:
    """Sizes of the files of a remote folder, by name, from one request."""
    with plain_errors(path):
        try:
            entries = path.fs.ls(path.path, detail=True)  # type: ignore[attr-defined]
        except FileNotFoundError as error:
            raise CollectionError(
                f"{remote_error(path, error)}; build the collection in a local folder and copy it "
                "there"
            ) from error
    listing = {entry["name"].rpartition("/")[2]: entry["size"] for entry in entries}
    if schema.COLLECTION_FILE not in listing:
        raise CollectionError(
            f"{path}: no collection, {schema.COLLECTION_FILE} is missing; {_mend(path)}"
        )
    return listing


def read_document(path: Path) -> dict:
    """Content of ``collection.json`` in folder ``path``, checked; CollectionError otherwise."""
    file = path / schema.COLLECTION_FILE
    if not is_remote(path) and not path.exists():
        raise CollectionError(
            f"{path}: no such folder; build the collection with "
            f"{command('make_tfrecords', '--audio', 'DIR', '--out', str(path))}"
        )
    try:
        document = load_json(file)
    except FileNotFoundError:
        raise CollectionError(
            f"{path}: no collection, {schema.COLLECTION_FILE} is missing; when its building was "
            f"interrupted, {command('make_tfrecords', '--audio', 'DIR', '--out', str(path))} "
            "finishes it"
        ) from None
    except OSError as error:
        raise CollectionError(f"{file}: {error.strerror}") from error
    except ValueError as error:
        what = _mend(path)
        if not is_remote(path):
            words = ("--audio", "DIR", "--out", str(path), "--overwrite")
            what = "build the collection anew with the command that made it and --overwrite: "
            what += command("make_tfrecords", *words)
        raise CollectionError(f"{file}: {error}; {what}") from error
    return schema.check_document(document, str(file))


def front_end_of(document: dict, file: Path) -> FrontEnd:
    """The front end that a checked ``collection.json`` names; CollectionError if it does not fit.

    ``file`` is where the document comes from, for the message.
    """
    try:
        front_end = FrontEnd.from_dict(document["front_end"])
    except FrontEndError as error:
        raise CollectionError(f"{file}: {error}") from error
    if front_end.bands != document["bands"]:
        raise CollectionError(
            f"{file}: {document['bands']} bands, but its front end {front_end.name!r} makes "
            f"{front_end.bands}"
        )
    return front_end  # type: ignore[return-value]


def _check_size(path: Path, entry: dict, listing: dict[str, int] | None) -> None:
    file = path / entry["file"]
    try:
        size = file.stat().st_size if listing is None else listing[entry["file"]]
    except KeyError:
        raise CollectionError(f"{file}: no such file; {_mend(path)}") from None
    except OSError as error:
        raise CollectionError(f"{file}: {error.strerror}; {_mend(path)}") from error
    if size != entry["size"]:
        raise CollectionError(
            f"{file}: {size} bytes, {schema.COLLECTION_FILE} says {entry['size']}; {_mend(path)}"
        )


def read_index(path: Path, document: dict, listing: dict[str, int] | None = None) -> dict:
    """Arrays of the index that ``document`` names, checked; CollectionError otherwise."""
    entry = document["index"]
    file = path / entry["file"]
    _check_size(path, entry, listing)
    data = read_bytes(file)
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise CollectionError(
            f"{file}: not the index that {schema.COLLECTION_FILE} names (SHA-256 differs); "
            + _mend(path)
        )
    try:
        return _checked_index(load_arrays(data, schema.INDEX_ARRAYS), document)
    except Exception as error:
        raise CollectionError(
            f"{file}: damaged index ({first_line(error)}); {_mend(path)}"
        ) from error


def _checked_index(arrays: dict, document: dict) -> dict:
    arrays.setdefault("sound", np.full(document["tracks"], np.nan, np.float32))
    for name, dtype in schema.INDEX_ARRAYS.items():
        if arrays[name].dtype != dtype or arrays[name].ndim != 1:
            raise ValueError(f"{name}: {arrays[name].dtype} {arrays[name].shape}, not {dtype} (n,)")
        if name != "track_id_bytes" and len(arrays[name]) != document["tracks"]:
            raise ValueError(f"{name}: {len(arrays[name])} rows, not {document['tracks']} tracks")
    shard, offset, frames = arrays["shard"], arrays["offset"], arrays["frames"]
    sizes = np.array([entry["size"] for entry in document["shards"]], np.int64)
    counts = [entry["tracks"] for entry in document["shards"]]
    if not np.array_equal(shard, np.repeat(np.arange(len(sizes)), counts)):
        raise ValueError("the rows of its shards do not match their numbers of tracks")
    ends = offset + frames.astype(np.int64) * document["bands"] * schema.MEL_DTYPE.itemsize
    outside = np.flatnonzero((offset < 0) | (frames < 1) | (ends > sizes[shard]))
    if len(outside):
        row = outside[0]
        raise ValueError(f"row {row} reaches from byte {offset[row]} to {ends[row]} of its shard")
    if int(frames.sum(dtype=np.int64)) != document["frames"]:
        raise ValueError(f"its frames do not sum to {document['frames']}")
    if ((arrays["sound"] < 0) | (arrays["sound"] > 1)).any():
        raise ValueError("a share of sound that is not from 0 to 1")
    ids = schema.PackedStrings(arrays.pop("track_id_bytes"), arrays.pop("track_id_ends"))
    return {"track_ids": ids, **arrays}


class IdTable:
    """Rows of ids by sorted hashes: 12 bytes an id, where a dictionary takes 200.

    ValueError when ids stand for more than one row; says how many.
    """

    def __init__(self, ids: PackedStrings):
        self._ids = ids
        hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
        order = np.argsort(hashes, kind="stable")
        self._rows, self._hashes = order.astype(np.int32), hashes[order]
        self._row_of: dict[str, int] | None = None
        if (self._hashes[1:] == self._hashes[:-1]).any():  # equal ids, or chance
            self._row_of = {track_id: row for row, track_id in enumerate(ids)}
            if repeated := len(ids) - len(self._row_of):
                raise ValueError(f"{repeated} track ids stand for more than one track")

    def rows(self, wanted: Sequence[str]) -> np.ndarray:
        """Rows of ids [shape=(n,), int32], -1 for one that is not there."""
        if self._row_of is not None:
            return np.array([self._row_of.get(track_id, -1) for track_id in wanted], np.int32)
        found = np.full(len(wanted), -1, np.int32)
        if not len(self._hashes):
            return found
        hashes = np.fromiter(map(hash, wanted), np.int64, len(wanted))
        places = np.searchsorted(self._hashes, hashes).clip(max=len(self._hashes) - 1)
        likely = np.flatnonzero(self._hashes[places] == hashes)
        rows = self._rows[places[likely]]
        for i, row, track_id in zip(likely.tolist(), rows, self._ids.take(rows), strict=True):
            if track_id == wanted[i]:
                found[i] = row
        return found
