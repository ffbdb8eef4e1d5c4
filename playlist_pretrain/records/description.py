"""``collection.json`` of a collection that may be damaged: what of it can be relied on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain.errors import CollectionError, FrontEndError
from playlist_pretrain.records import schema
from playlist_pretrain.records.collection import front_end_of, read_document

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd


@dataclass
class Description:
    """What is known about a collection before its shards are read.

    Attributes
    ----------
    folder : Path
    trouble : str
        Why ``collection.json`` cannot be used; empty when it can.
    document : dict or None
        Its content, when it can be used.
    front_end : FrontEnd or None
        The one that made the mels, when that is certain.
    source : dict
        Settings remembered about where the tracks came from.
    entries : list of dict
        The shards as ``collection.json`` describes them, or none when it cannot be relied on.
    files : list of (str or None)
        The file of each entry, None for one that is gone; without entries, all files that are
        named as shards are.
    """

    folder: Path
    trouble: str = ""
    document: dict | None = None
    front_end: FrontEnd | None = None
    source: dict = field(default_factory=dict)
    entries: list[dict] = field(default_factory=list)
    files: list[str | None] = field(default_factory=list)


def describe(folder: Path) -> Description:
    """Read ``collection.json`` and look for the shards it names.

    A shard that is not there under its name is looked for by its SHA-256.

    Raises
    ------
    CollectionError
        No such folder, or another format than this version knows.
    """
    found = Description(folder)
    try:
        found.document = read_document(folder)
        found.front_end = front_end_of(found.document, folder / schema.COLLECTION_FILE)
        found.source = found.document["source"]
        found.entries = found.document["shards"]
    except CollectionError as error:
        if not folder.is_dir():
            raise
        found.document, found.trouble = None, str(error)
        _salvage(found, _raw_document(folder))
    names = list(_numbered(os.listdir(folder), schema.SHARD_FILE).values())
    found.files = _files_of(found.entries, folder, names) if found.entries else names
    return found


def next_names(description: Description) -> tuple[int, int]:
    """The first numbers from which on no shard and no index is there, or was."""
    names = os.listdir(description.folder) + [entry["file"] for entry in description.entries]
    if description.document is not None:
        names.append(description.document["index"]["file"])
    shards, indexes = (
        _numbered(names, pattern) for pattern in (schema.SHARD_FILE, schema.INDEX_FILE)
    )
    return max(shards, default=-1) + 1, max(indexes, default=-1) + 1


def _numbered(names: Iterable[str], pattern: re.Pattern) -> dict[int, str]:
    """Number → name of those that fit ``pattern``, in order."""
    matches = filter(None, map(pattern.fullmatch, names))
    return dict(sorted((int(match[1]), match[0]) for match in matches))


def _raw_document(folder: Path) -> dict:
    """What can be read of the file, without any check."""
    try:
        raw = json.loads((folder / schema.COLLECTION_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    number = raw.get("format") if isinstance(raw, dict) else None
    if isinstance(number, int) and number != schema.FORMAT and raw.get("type") == schema.TYPE:
        raise CollectionError(
            f"{folder / schema.COLLECTION_FILE}: format {number}, this version knows format "
            f"{schema.FORMAT}; install the version that made the collection. If you know that the "
            "number is damage, remove the file and name the front end with --front-end"
        )
    return raw if isinstance(raw, dict) else {}


def _salvage(found: Description, raw: dict) -> None:
    """Take what the content key seals: the front end and the order of the shards."""
    from playlist_pretrain.audio.front_end import IMPORTED, PRESETS, FrontEnd

    if isinstance(raw.get("source"), dict):
        found.source = raw["source"]
    constants, entries, key = raw.get("front_end"), raw.get("shards"), raw.get("content_key")
    if not isinstance(constants, dict):
        return
    sealed = False
    if isinstance(entries, list) and all(map(_is_entry, entries)):
        sealed = schema.collection_key(constants, entries) == key
        if not sealed:  # a digit of a shard's sum may be what is damaged
            files = [entry["file"] for entry in entries]
            if all((found.folder / name).is_file() for name in files):
                entries = [{"file": name, **_sealed(found.folder / name)} for name in files]
                sealed = schema.collection_key(constants, entries) == key
        found.entries = entries if sealed else []
    if sealed or any(constants == known.to_dict() for known in (PRESETS | IMPORTED).values()):
        try:
            found.front_end = FrontEnd.from_dict(constants)  # type: ignore[assignment]
        except FrontEndError:
            found.entries = []


def _is_entry(entry: Any) -> bool:
    """Whether it names a file and its sum; the numbers beside them are not needed."""
    if not isinstance(entry, dict):
        return False
    name, sha = entry.get("file"), entry.get("sha256")
    return isinstance(sha, str) and sha.isascii() and isinstance(name, str) and _is_plain(name)


def _is_plain(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not any(sign in name for sign in "/\\\0")


def _sealed(path: Path) -> dict[str, str]:
    with open(path, "rb") as stream:
        return {"sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _files_of(entries: list[dict], folder: Path, names: list[str]) -> list[str | None]:
    named = [entry["file"] for entry in entries]
    times = Counter(named)
    files: list[str | None] = [
        name if times[name] == 1 and (folder / name).is_file() else None for name in named
    ]
    if None not in files:
        return files
    others = {_sealed(folder / n)["sha256"]: n for n in names if n not in files}
    return [
        name or others.pop(entry["sha256"], None)
        for name, entry in zip(files, entries, strict=True)
    ]
