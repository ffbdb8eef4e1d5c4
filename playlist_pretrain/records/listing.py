"""Which files a collection was made from, kept beside it to tell later what is new or changed.

``sources-<generation>.jsonl`` has a line for every track that was listed, read or not:
``[id, source, size, date]``, the size in bytes and the date in nanoseconds (null where there is no
file). Lines of additions follow those of the first build; how many lines each of them has is in
``collection.json`` (``source``, ``listed_tracks_of_additions``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from playlist_pretrain.files import atomic_write
from playlist_pretrain.records.collection import read_document
from playlist_pretrain.records.report import DIFFERS, Note
from playlist_pretrain.records.schema import generation, sources_name

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection
    from playlist_pretrain.records.sources import TrackSource

ADDITIONS = "listed_tracks_of_additions"
_SAME = 2


def listing_line(track: TrackSource, root: str | None, file_of: Callable[[str], str] = str) -> str:
    """The line of ``track``, whose source is a path below ``root`` or, without one, a token.

    ``file_of(source)`` names the file of a source that is a place within one.
    """
    size = date = None
    if root is not None:
        with contextlib.suppress(OSError):  # a file that is not there is found out by reading it
            status = os.stat(os.path.join(root, file_of(track.source)))
            size, date = status.st_size, status.st_mtime_ns
    return json.dumps([track.track_id, track.source, size, date]) + "\n"


def listing_digest(lines: Iterable[str]) -> str:
    """SHA-256 of a listing, hexadecimal."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("ascii"))
    return digest.hexdigest()


def write_listing(path: Path, lines: Iterable[str]) -> None:
    """Write a listing, atomically."""
    with atomic_write(path, "w") as stream:
        stream.writelines(lines)


def listing_change(old: str, new: str) -> str:
    """What became of the first track in which two sorted listings differ."""
    try:
        old_id, new_id = (_id(line) if line else "" for line in (old, new))
    except ValueError:
        return "its listing is damaged"
    if old_id == new_id:
        return f"path, size or date of track {new_id!r} changed"
    if new_id and (not old_id or new_id < old_id):
        return f"track {new_id!r} is new"
    return f"track {old_id!r} is gone"


def _id(line: str) -> str:
    return json.loads(line)[0]


@dataclass
class Changes:
    """How the tracks of a call compare with those a finished collection was made from.

    Attributes
    ----------
    new : list of TrackSource
        Never listed before.
    unread : list of TrackSource
        Listed before, and not in the collection since they could not be read.
    differing : list of Note
        In the collection, read from another source or from a file of another size or date.
    gone : list of str
        Ids of the collection that are not listed, though others of the same build or addition
        are, and have not changed.
    known : int
        Tracks of the call that were listed before.
    """

    new: list[TrackSource] = field(default_factory=list)
    unread: list[TrackSource] = field(default_factory=list)
    differing: list[Note] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    known: int = 0

    @property
    def refusal(self) -> str | None:
        """Why a call without ``--add`` cannot be one for this collection; None when it can."""
        what = "the list of audio files (ids, paths, sizes, dates)"
        if not self.known:
            return f"{what}: none of its tracks is among them"
        if not (self.differing or self.gone):
            return None
        counts = f"{len(self.differing):,} changed, {len(self.gone):,} gone, {len(self.new):,} new"
        first = f"track {self.gone[0]!r} is gone" if self.gone else None
        if self.differing:
            first = f"path, size or date of track {self.differing[0].track_id!r} changed"
        return f"{what}: {counts}; first of them: {first}"


@dataclass(frozen=True)
class Listing:
    """The listing of a finished collection.

    Attributes
    ----------
    lines : list of str
    counts : list of int
        Lines of the first build and of each addition.
    """

    lines: list[str]
    counts: list[int]

    @classmethod
    def load(cls, collection: Collection) -> Listing | None:
        """The listing of ``collection``; None when there is none, or it is not as it was."""
        try:
            path = collection.path / sources_name(generation(read_document(collection.path)))
            with open(path, encoding="ascii", newline="\n") as stream:  # type: ignore[arg-type]
                lines = list(stream)
            total = int(collection.source["listed_tracks"])
            added = [int(count) for count in collection.source.get(ADDITIONS, [])]
            whole = listing_digest(lines) == collection.source["listing_sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return cls(lines, [total - sum(added), *added]) if whole and len(lines) == total else None

    def compare(
        self, tracks: Sequence[TrackSource], lines: Sequence[str], held: Callable[[str], bool]
    ) -> Changes:
        """Compare with ``tracks`` and their ``lines``; ``held(id)``: the collection has it."""
        changes = Changes()
        position_of = {_id(line): position for position, line in enumerate(self.lines)}
        seen = bytearray(len(self.lines))
        for track, line in zip(tracks, lines, strict=True):
            position = position_of.get(track.track_id)
            if position is None:
                changes.new.append(track)
                continue
            same = self.lines[position] == line
            seen[position] = _SAME if same else 1
            if not held(track.track_id):
                changes.unread.append(track)
            elif not same:
                changes.differing.append(_differing(track, self.lines[position]))
        start = 0
        for count in self.counts:
            part = seen[start : start + count]
            if _SAME in part:
                missing = (_id(self.lines[start + i]) for i, found in enumerate(part) if not found)
                changes.gone.extend(track_id for track_id in missing if held(track_id))
            start += count
        changes.known = len(seen) - seen.count(0)
        return changes

    def extended(self, lines: Sequence[str]) -> Listing:
        """With the ``lines`` of an addition; those of tracks listed before replace theirs."""
        position_of = {_id(line): position for position, line in enumerate(self.lines)}
        whole, new = list(self.lines), []
        for line in lines:
            position = position_of.get(_id(line))
            if position is None:
                new.append(line)
            else:
                whole[position] = line
        return Listing([*whole, *new], [*self.counts, len(new)])


def _differing(track: TrackSource, line: str) -> Note:
    _, source, size, _ = json.loads(line)
    held = f"{source!r}" + ("" if size is None else f" of {size:,} bytes")
    same = source == track.source
    reason = f"the collection holds this id from {held}; " + (
        "the file has changed since" if same else "this is another file"
    )
    return Note(track.track_id, track.source, DIFFERS, reason)
