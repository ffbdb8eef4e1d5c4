"""What a build will do: all that determines its result, and how two of them differ."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain import __version__
from playlist_pretrain.files import atomic_write, write_json
from playlist_pretrain.records import schema
from playlist_pretrain.records.sources import TrackSource

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.records.collection import Collection


def tracks_per_shard(tracks: int) -> int:
    """About 64 shards of 16 to 2048 tracks, whatever the number of workers."""
    return min(max(math.ceil(tracks / 64), 16), 2048)


class Plan:
    """All that determines a collection.

    Parameters
    ----------
    tracks : sequence of TrackSource
    front_end : FrontEnd
    load : dataclass
        The loader; its fields are part of the plan. Where a source is a place within a file, its
        method ``file_of(source)`` names the file.
    root : str or None
        Folder of the sources: the size and date of each file then count too.
    """

    def __init__(
        self, tracks: Sequence[TrackSource], front_end: FrontEnd, load: Any, root: str | None
    ):
        file_of = getattr(load, "file_of", str)
        self.lines = [_listing_line(track, root, file_of) for track in tracks]
        digest = hashlib.sha256("".join(self.lines).encode("ascii")).hexdigest()
        self.per_shard = tracks_per_shard(len(tracks))
        loader = {"name": type(load).__name__, **dataclasses.asdict(load)}
        loader.pop("front_end", None)  # remembered already, as the collection's
        self.source = {
            "loader": json.loads(json.dumps(loader)),
            "listed_tracks": len(tracks),
            "listing_sha256": digest,
            "tracks_per_shard": self.per_shard,
        }
        self.document = {
            "type": "mel collection build",
            "format": schema.FORMAT,
            "version": __version__,
            "front_end": json.loads(json.dumps(front_end.to_dict())),
            "source": self.source,
        }

    def differences_from_collection(self, collection: Collection) -> list[str]:
        """What a finished collection was made from otherwise; the program's version may differ."""
        there = {"front_end": collection.front_end.to_dict(), "source": collection.source}
        here = {name: self.document[name] for name in there}
        return _differences(there, here)

    def differences_from_build(self, folder: Path) -> list[str]:
        """What an unfinished build in ``folder`` was begun with otherwise."""
        try:
            there = json.loads((folder / "plan.json").read_text("utf-8"))
        except ValueError as error:
            return [f"its plan.json is damaged ({error})"]
        differences = _differences(there, self.document)
        listing = folder / "listing.jsonl"
        if differences and listing.is_file():
            with open(listing, encoding="ascii", newline="\n") as stream:
                for old, new in itertools.zip_longest(stream, self.lines, fillvalue=""):
                    if old != new:
                        differences.append(f"first of them: {_listing_change(old, new)}")
                        break
        return differences

    def save(self, folder: Path) -> None:
        """Write the listing, then ``plan.json``."""
        with atomic_write(folder / "listing.jsonl", "w") as stream:
            stream.writelines(self.lines)
        write_json(folder / "plan.json", self.document)


def _listing_line(track: TrackSource, root: str | None, file_of: Callable[[str], str]) -> str:
    size = date = None
    if root is not None:
        with contextlib.suppress(OSError):  # a file that is not there is found out by reading it
            status = os.stat(os.path.join(root, file_of(track.source)))
            size, date = status.st_size, status.st_mtime_ns
    return json.dumps([track.track_id, track.source, size, date]) + "\n"


def _listing_change(old: str, new: str) -> str:
    try:
        old_id, new_id = (json.loads(line)[0] if line else "" for line in (old, new))
    except ValueError:
        return "its listing is damaged"
    if old_id == new_id:
        return f"path, size or date of track {new_id!r} changed"
    if new_id and (not old_id or new_id < old_id):
        return f"track {new_id!r} is new"
    return f"track {old_id!r} is gone"


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        if name == "front_end" and there.get("name") != here["name"]:  # all the rest follows
            there, here = {"name": there.get("name")}, {"name": here["name"]}
        names = [*here, *(key for key in there if key not in here)]
        return [
            line
            for key in names
            for line in _differences(there.get(key), here.get(key), f"{name}.{key}".lstrip("."))
        ]
    if there == here:
        return []
    if name == "source.listing_sha256":
        return ["the list of audio files (ids, paths, sizes, dates)"]
    return [f"{name}: {there!r} there, {here!r} asked for"]
