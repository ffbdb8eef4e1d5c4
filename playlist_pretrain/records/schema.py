"""Names, types and fields of a collection's files, and the look-up of track ids.

``tfrecords/README.md`` specifies the format to the byte; :mod:`.example` has the track records.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from playlist_pretrain.errors import CollectionError, TrackError
from playlist_pretrain.files import content_key
from playlist_pretrain.messages import command

FORMAT = 1
"""The collection format that this version writes and reads."""

TYPE = "mel collection"
COLLECTION_FILE = "collection.json"
SMALLEST_STD = 1e-3
"""Standard deviation that a band counts as having at least: one that never changes in a collection
(a silent top band) must not be blown up elsewhere."""
MEL_DTYPE = np.dtype("<f2")

INDEX_ARRAYS = {
    "track_id_bytes": np.dtype("u1"),
    "track_id_ends": np.dtype("<i8"),
    "shard": np.dtype("<i4"),
    "offset": np.dtype("<i8"),
    "frames": np.dtype("<i4"),
    "start_seconds": np.dtype("<f4"),
    "source_seconds": np.dtype("<f4"),
    "sound": np.dtype("<f4"),
}
"""Arrays of ``index-<generation>.npz`` and their types; ``sound`` may be missing."""


SHARD_FILE = re.compile(r"mel-(\d{5,})\.tfrecord", re.ASCII)
INDEX_FILE = re.compile(r"index-(\d+)\.npz", re.ASCII)
SOURCES_FILE = re.compile(r"sources-(\d+)\.jsonl", re.ASCII)
"""Patterns of the names of shards, indexes and lists of sources; the group is the number."""
LOCK_FILE = "lock"
"""File in ``.build`` that a build and a repair lock."""


def shard_name(number: int) -> str:
    """File name of shard ``number``."""
    return f"mel-{number:05d}.tfrecord"


def sources_name(generation: int) -> str:
    """File name of the list of sources that belongs to the index of ``generation``."""
    return f"sources-{generation}.jsonl"


def generation(document: dict) -> int:
    """Number of the index that ``collection.json`` names: one more after each addition."""
    found = INDEX_FILE.fullmatch(document["index"]["file"])
    return int(found[1]) if found else 0


def own_files(folder: Path) -> list[str]:
    """Names of the shards, indexes and lists of sources in ``folder``, of any generation."""
    patterns = (SHARD_FILE, INDEX_FILE, SOURCES_FILE)
    return [name for name in os.listdir(folder) if any(p.fullmatch(name) for p in patterns)]


class PackedStrings(Sequence):
    """Many strings as one UTF-8 array and their ends: no Python object until one is asked for.

    ``data`` [bytes, uint8] has the bytes of all strings, ``ends`` [n, int64] says where each ends.
    ValueError when the two do not fit together, a string is empty, or bytes are not UTF-8.
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray):
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends
        if (int(ends[-1]) if len(ends) else 0) != len(data) or (ends <= starts).any():
            raise ValueError("the ends of the strings do not fit their bytes")
        if (data[starts] & 0xC0 == 0x80).any():
            raise ValueError("a string starts inside a UTF-8 character")
        self._blob = data.tobytes()
        if not self._blob.isascii():
            self._blob.decode("utf-8")
        self._starts, self.ends = starts, ends

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

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, position):
        if isinstance(position, slice):
            return self.take(position)
        return self._blob[self._starts[position] : self.ends[position]].decode("utf-8")

    def take(self, positions: np.ndarray | slice) -> list[str]:
        """The strings at ``positions`` [shape=(n,), int]."""
        spans = zip(self._starts[positions].tolist(), self.ends[positions].tolist(), strict=True)
        return [self._blob[start:end].decode("utf-8") for start, end in spans]

    def __iter__(self) -> Iterator[str]:
        for start, end in itertools.pairwise(itertools.chain([0], self.ends.tolist())):
            yield self._blob[start:end].decode("utf-8")


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
    """Return ``document``, the content of the file ``where``, or raise CollectionError."""
    if not isinstance(document, dict) or document.get("type") != TYPE:
        raise CollectionError(
            f'{where}: not the description of a collection (no "type": "{TYPE}"); a collection '
            f"is made by {command('make_tfrecords')}"
        )
    if document.get("format") != FORMAT:
        raise CollectionError(
            f"{where}: format {document.get('format')!r}, this version reads format {FORMAT}; "
            "install the version that made the collection, or build it again"
        )
    if reason := _fault(document):
        raise CollectionError(
            f"{where}: {reason}; the file was damaged or edited: restore it, or "
            "build the collection anew with the command that made it and --overwrite"
        )
    return document


def _fault(document: dict) -> str:
    """Say what is wrong with the fields of ``collection.json``; empty when nothing is."""
    for name, kind in EXPECTED.items():
        if name not in document:
            return f"field {name!r} is missing"
        if not isinstance(document[name], kind) or isinstance(document[name], bool):
            return f"field {name!r} is {document[name]!r}, expected {kind.__name__}"
        if name == "source":  # names of folders in it may be bytes of any encoding
            continue
        try:
            json.dumps(document[name], ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return f"field {name!r} has text that is not valid Unicode"
    if document["dtype"] != MEL_DTYPE.name:
        return f"dtype {document['dtype']!r}, format {FORMAT} stores {MEL_DTYPE.name}"
    kinds = {"file": str, "size": int, "sha256": str, "tracks": int}
    for entry in (*document["shards"], document["index"]):
        if not isinstance(entry, dict) or not all(
            isinstance(entry.get(name), kind) and (kind is str or entry[name] >= 0)
            for name, kind in kinds.items()
        ):
            return f"{entry!r} is no file entry with {', '.join(kinds)}"
        if entry["file"] in ("", ".", "..") or any(sign in entry["file"] for sign in "/\\\0"):
            return f"file name {entry['file']!r} is not a plain name"
        if not set(entry["sha256"]) <= set("0123456789abcdef"):
            return f"sha256 {entry['sha256']!r} is not hexadecimal"
    names = [entry["file"] for entry in document["shards"]]
    if len(set(names)) != len(names):
        return f"shard {next(name for name in names if names.count(name) > 1)!r} is named twice"
    most = float(np.finfo(np.float32).max)
    for name, low in (("band_mean", -most), ("band_std", 0)):
        values = document[name]
        numbers = all(isinstance(v, int | float) and low <= v <= most for v in values)
        if len(values) != document["bands"] or not numbers:
            return f"field {name!r} needs {document['bands']} finite numbers (a deviation: from 0)"
    if sum(shard["tracks"] for shard in document["shards"]) != document["tracks"]:
        return f"{document['tracks']} tracks, but its shards hold another number"
    if collection_key(document["front_end"], document["shards"]) != document["content_key"]:
        return f"content key {document['content_key']!r} does not fit front end and shards"
    return ""


MOST_ZEROS = 16


def did_you_mean(wanted: str, rows: Callable[[Sequence[str]], Iterable[int]]) -> str:
    """End of a message on an id that is not there: the one with other leading zeros, if any.

    Spreadsheets take them from ids that are numbers. ``rows(ids)`` gives the row of each id, below
    0 for one that is not there.
    """
    if not (wanted.isascii() and wanted.isdigit()):
        return ""
    bare = wanted.lstrip("0")
    zeros = range(0 if bare else 1, MOST_ZEROS)
    ids = [one for one in ("0" * count + bare for count in zeros) if one != wanted]
    there = [one for one, row in zip(ids, rows(ids), strict=True) if row >= 0]
    return f" (did you mean {there[0]!r}?)" if len(there) == 1 else ""
