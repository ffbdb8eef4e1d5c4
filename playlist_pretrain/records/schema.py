"""What is inside a collection: names, track records and the two description files.

``tfrecords/README.md`` specifies all of it to the byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from playlist_pretrain.errors import CollectionError, TrackError
from playlist_pretrain.files import content_key

FORMAT = 1
"""The collection format that this version writes and reads."""

TYPE = "mel collection"
COLLECTION_FILE = "collection.json"
MEL_DTYPE = np.dtype("<f2")
RECORD_HEADER = 12
"""Bytes before a TFRecord's data: length (8) and its checksum (4)."""
RECORD_OVERHEAD = 16
"""Bytes a TFRecord adds to its data: the header and the checksum of the data (4)."""

INDEX_ARRAYS = {
    "track_id_bytes": np.dtype("u1"),
    "track_id_ends": np.dtype("<i8"),
    "shard": np.dtype("<i4"),
    "offset": np.dtype("<i8"),
    "frames": np.dtype("<i4"),
    "start_seconds": np.dtype("<f4"),
    "source_seconds": np.dtype("<f4"),
}
"""Arrays of ``index-<generation>.npz`` and their types."""


def shard_name(number: int) -> str:
    """File name of shard ``number``."""
    return f"mel-{number:05d}.tfrecord"


def index_name(generation: int) -> str:
    """File name of the index of ``generation``."""
    return f"index-{generation}.npz"


class PackedStrings(Sequence):
    """Many strings as one UTF-8 array and their ends: no Python object until one is asked for.

    Parameters
    ----------
    data : ndarray [shape=(bytes,), uint8]
        The strings' UTF-8 bytes, one after the other.
    ends : ndarray [shape=(n,), int64]
        Where each string ends in ``data``; it starts where the one before ends.

    Raises
    ------
    ValueError
        When the two do not fit together, a string is empty, or bytes are not UTF-8.
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray):
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends
        if (int(ends[-1]) if len(ends) else 0) != len(data) or (ends <= starts).any():
            raise ValueError("the ends of the strings do not fit their bytes")
        if (data[starts] & 0xC0 == 0x80).any():
            raise ValueError("a string starts inside a UTF-8 character")
        self._blob = data.tobytes()
        self._blob.decode("utf-8")
        self._starts, self._ends = starts, ends

    @classmethod
    def pack(cls, strings: Iterable[str]) -> PackedStrings:
        """Pack ``strings``, none of them empty."""
        encoded = [string.encode("utf-8") for string in strings]
        ends = np.cumsum([len(string) for string in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends)

    @property
    def data(self) -> np.ndarray:
        """UTF-8 bytes [shape=(bytes,), uint8]."""
        return np.frombuffer(self._blob, np.uint8)

    @property
    def ends(self) -> np.ndarray:
        """Where each string ends [shape=(n,), int64]."""
        return self._ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, position):
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        return self._blob[self._starts[position] : self._ends[position]].decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends.tolist():
            yield self._blob[start:end].decode("utf-8")
            start = end


def check_track_id(track_id: Any) -> str:
    """Return ``track_id`` or raise TrackError: an id is any non-empty Unicode string."""
    if not isinstance(track_id, str) or not track_id:
        raise TrackError(f"track id {track_id!r}: an id is a non-empty string")
    try:
        track_id.encode("utf-8")
    except UnicodeEncodeError:
        raise TrackError(
            f"track id {track_id!a} is not valid Unicode; rename the file or give the track "
            "another id in a tracks table"
        ) from None
    return track_id


def stored_mel(track_id: str, mel: Any, bands: int) -> np.ndarray:
    """``mel`` as a shard stores it, after checking that it can be stored.

    Parameters
    ----------
    track_id : str
        Names the track in errors.
    mel : array_like [shape=(frames, bands), real]
        Log-mel, at least one frame, finite, within float16 (±65504).
    bands : int
        The number of bands the collection has.

    Returns
    -------
    ndarray [shape=(frames, bands), float16, little-endian, C order]

    Raises
    ------
    TrackError
        Names the track and the first value that cannot be stored.
    """
    mel = np.asarray(mel)
    if mel.ndim != 2 or mel.shape[1] != bands or len(mel) == 0 or mel.dtype.kind not in "fiu":
        raise TrackError(
            f"track {track_id!r}: a mel of shape {mel.shape} and type {mel.dtype}; needed are "
            f"real numbers of shape (frames, {bands}) with at least one frame"
        )
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(mel, dtype=MEL_DTYPE)
    if not np.isfinite(stored).all():
        frame, band = np.argwhere(~np.isfinite(stored))[0]
        value = mel[frame, band]
        why = "does not fit float16" if np.isfinite(value) else "is not a number to learn from"
        raise TrackError(f"track {track_id!r}: {value} at frame {frame}, band {band} {why}")
    return stored


def encode_track(
    track_id: str, mel: np.ndarray, start_seconds: float, source_seconds: float
) -> tuple[bytes, int]:
    """One track as a serialised ``tf.train.Example`` and where in it the mel's bytes start.

    Parameters
    ----------
    track_id : str
    mel : ndarray [shape=(frames, bands), float16]
        From :func:`stored_mel`.
    start_seconds, source_seconds : float
        Where in the source the mel starts, and how long the source is.

    Returns
    -------
    (bytes, int)
        The record's data, and the position of the mel's first byte in it.
    """
    import tensorflow as tf

    payload = mel.tobytes()
    features = tf.train.Features(
        feature={
            "track_id": _bytes_feature(track_id.encode("utf-8")),
            "mel": _bytes_feature(payload),
            "frames": tf.train.Feature(int64_list=tf.train.Int64List(value=[len(mel)])),
            "start_seconds": _float_feature(start_seconds),
            "source_seconds": _float_feature(source_seconds),
        }
    )
    data = tf.train.Example(features=features).SerializeToString(deterministic=True)
    start, end = locate_mel(data)
    if data[start:end] != payload:
        raise AssertionError(f"track {track_id!r}: the mel is not where the encoding says")
    return data, start


def _bytes_feature(value: bytes):
    import tensorflow as tf

    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _float_feature(value: float):
    import tensorflow as tf

    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


def locate_mel(data: bytes) -> tuple[int, int]:
    """Where the bytes of feature ``mel`` start and end in a serialised ``tf.train.Example``.

    Walks the wire format, so a mel that looks like anything else (all zeros, say) is found.

    Raises
    ------
    ValueError
        When ``data`` is no such Example.
    """
    for features_start, features_end in _fields(data, 0, len(data), number=1):
        for entry_start, entry_end in _fields(data, features_start, features_end, number=1):
            keys = [data[a:b] for a, b in _fields(data, entry_start, entry_end, number=1)]
            if keys != [b"mel"]:
                continue
            for feature in _fields(data, entry_start, entry_end, number=2):
                for bytes_list in _fields(data, *feature, number=1):
                    for start, end in _fields(data, *bytes_list, number=1):
                        return start, end
    raise ValueError("no feature 'mel' with bytes in this record")


def _fields(data: bytes, position: int, end: int, number: int) -> Iterator[tuple[int, int]]:
    while position < end:
        tag, position = _varint(data, position)
        if tag & 7 != 2:
            raise ValueError(f"wire type {tag & 7} where a length-delimited field is expected")
        length, position = _varint(data, position)
        if position + length > end:
            raise ValueError("a field is longer than the message around it")
        if tag >> 3 == number:
            yield position, position + length
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("the record ends inside a number")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def collection_key(front_end: dict, shards: Sequence[dict]) -> str:
    """Content key of a collection: its front end and its shards, in order."""
    constants = json.dumps(front_end, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return content_key(constants.encode("utf-8"), *(s["sha256"].encode("ascii") for s in shards))


EXPECTED = {
    "front_end": dict,
    "dtype": str,
    "bands": int,
    "tracks": int,
    "frames": int,
    "band_mean": list,
    "band_std": list,
    "shards": list,
    "index": dict,
    "content_key": str,
    "creator": str,
    "version": str,
    "source": dict,
}


def check_document(document: Any, where: str) -> dict:
    """Validate the content of ``collection.json``.

    Parameters
    ----------
    document : object
        What the JSON file holds.
    where : str
        The file, for messages.

    Returns
    -------
    dict
        ``document``, every field present and of the right kind.

    Raises
    ------
    CollectionError
    """
    if not isinstance(document, dict) or document.get("type") != TYPE:
        raise CollectionError(
            f'{where}: not the description of a collection (no "type": "{TYPE}"); a collection '
            "is made by scripts/make_tfrecords.py"
        )
    if document.get("format") != FORMAT:
        raise CollectionError(
            f"{where}: format {document.get('format')!r}, this version reads format {FORMAT}; "
            "install the version that made the collection, or build it again"
        )

    def refuse(what: str):
        raise CollectionError(f"{where}: {what}; the file was damaged or edited: restore it")

    for name, kind in EXPECTED.items():
        if name not in document:
            refuse(f"field {name!r} is missing")
        if not isinstance(document[name], kind) or isinstance(document[name], bool):
            refuse(f"field {name!r} is {document[name]!r}, expected {kind.__name__}")
    if document["dtype"] != MEL_DTYPE.name:
        refuse(f"dtype {document['dtype']!r}, format {FORMAT} stores {MEL_DTYPE.name}")
    for files in (document["shards"], [document["index"]]):
        for entry in files:
            _check_file_entry(entry, refuse)
    for name in ("band_mean", "band_std"):
        values = document[name]
        low = 0 if name == "band_std" else -np.inf
        numbers = all(isinstance(v, (int, float)) and low <= v < np.inf for v in values)
        if len(values) != document["bands"] or not numbers:
            refuse(f"field {name!r} needs {document['bands']} finite numbers (a deviation: from 0)")
    if sum(shard["tracks"] for shard in document["shards"]) != document["tracks"]:
        refuse(f"{document['tracks']} tracks, but its shards hold another number")
    if collection_key(document["front_end"], document["shards"]) != document["content_key"]:
        refuse(f"content key {document['content_key']!r} does not fit front end and shards")
    return document


def _check_file_entry(entry: Any, refuse) -> None:
    kinds = {"file": str, "size": int, "sha256": str, "tracks": int}
    fits = isinstance(entry, dict) and all(
        isinstance(entry.get(name), kind) and (kind is str or entry[name] >= 0)
        for name, kind in kinds.items()
    )
    if not fits:
        refuse(f"{entry!r} is no file entry with {', '.join(kinds)}")
    name = entry["file"]
    if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        refuse(f"file name {name!r} is not a plain name")
    if not set(entry["sha256"]) <= set("0123456789abcdef"):
        refuse(f"sha256 {entry['sha256']!r} is not hexadecimal")
