"""What a build will do: all that determines its result, and how two of them differ."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playlist_pretrain import __version__
from playlist_pretrain.files import write_json
from playlist_pretrain.records import schema
from playlist_pretrain.records.collection import read_document
from playlist_pretrain.records.listing import (
    ADDITIONS,
    Listing,
    generation,
    listing_change,
    listing_digest,
    listing_line,
    sources_name,
    write_listing,
)
from playlist_pretrain.records.shards import ShardTask
from playlist_pretrain.records.sources import TrackSource

if TYPE_CHECKING:
    from playlist_pretrain.audio.front_end import FrontEnd
    from playlist_pretrain.records.collection import Collection


def tracks_per_shard(tracks: int) -> int:
    """About 64 shards of 16 to 2048 tracks, whatever the number of workers."""
    return min(max(math.ceil(tracks / 64), 16), 2048)


class Plan:
    """All that determines a collection, or an addition to one.

    Parameters
    ----------
    tracks : sequence of TrackSource
    front_end : FrontEnd
    load : dataclass
        The loader; its fields are part of the plan. Where a source is a place within a file, its
        method ``file_of(source)`` names the file.
    root : str or None
        Folder of the sources: the size and date of each file then count too.

    Attributes
    ----------
    lines : list of str
        Of the listing of ``tracks``.
    onto : Collection or None
        What an addition is added to.
    """

    def __init__(
        self, tracks: Sequence[TrackSource], front_end: FrontEnd, load: Any, root: str | None
    ):
        loader = {"name": type(load).__name__, **dataclasses.asdict(load)}
        loader.pop("front_end", None)  # remembered already, as the collection's
        file_of = getattr(load, "file_of", str)
        lines = [listing_line(track, root, file_of) for track in tracks]
        self._set(tracks, lines, front_end.to_dict(), json.loads(json.dumps(loader)))
        self.onto: Collection | None = None
        self._first_shard = self._generation = 0
        self._whole = Listing(lines, [len(lines)])

    def _set(self, tracks: Sequence, lines: list[str], front_end: dict, loader: dict) -> None:
        self.tracks, self.lines = tracks, lines
        self._per_shard = tracks_per_shard(len(tracks))
        self.source = {
            "loader": loader,
            "listed_tracks": len(tracks),
            "listing_sha256": listing_digest(lines),
            "tracks_per_shard": self._per_shard,
        }
        self.document: dict[str, Any] = {
            "type": "mel collection build",
            "format": schema.FORMAT,
            "version": __version__,
            "front_end": json.loads(json.dumps(front_end)),
            "source": self.source,
        }

    def addition(
        self, collection: Collection, listing: Listing, tracks: Sequence[TrackSource]
    ) -> Plan:
        """The plan that adds ``tracks``, some of this plan's, to a finished ``collection``."""
        line_of = {t.track_id: line for t, line in zip(self.tracks, self.lines, strict=True)}
        plan = copy.copy(self)
        lines = [line_of[track.track_id] for track in tracks]
        plan._set(tracks, lines, self.document["front_end"], self.source["loader"])  # type: ignore[arg-type]
        plan.document["addition_to"] = collection.content_key
        plan.onto = collection
        names = [schema.SHARD_FILE.fullmatch(p.name) for p in collection.shard_paths]
        plan._first_shard = 1 + max((int(name[1]) for name in names if name), default=-1)
        plan._generation = generation(read_document(collection.path)) + 1
        plan._whole = listing.extended(lines)
        plan.source = {
            **collection.source,
            "listed_tracks": len(plan._whole.lines),
            "listing_sha256": listing_digest(plan._whole.lines),
            ADDITIONS: plan._whole.counts[1:],
        }
        return plan

    def tasks(self) -> list[ShardTask]:
        """One task a shard."""
        starts = range(0, len(self.tracks), self._per_shard)
        return [
            ShardTask(number, tuple(self.tracks[start : start + self._per_shard]))
            for number, start in enumerate(starts, self._first_shard)
        ]

    def save_sources(self, folder: Path) -> None:
        """Write the listing that the collection keeps."""
        write_listing(folder / sources_name(self._generation), self._whole.lines)

    def differences_from_collection(self, collection: Collection) -> list[str]:
        """What a finished collection was made from otherwise; the program's version may differ."""
        front_end, loader = self.document["front_end"], self.source["loader"]
        return _differences(
            {
                "front_end": collection.front_end.to_dict(),
                "source": {"loader": collection.source.get("loader")},
            },
            {"front_end": front_end, "source": {"loader": loader}},
        )

    def same_listing(self, collection: Collection) -> bool:
        """Whether a finished collection was made from just these files, as far as it tells."""
        return collection.source.get("listing_sha256") == self.source["listing_sha256"]

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
                        differences.append(f"first of them: {listing_change(old, new)}")
                        break
        return differences

    def save(self, folder: Path) -> None:
        """Write the listing, then ``plan.json``."""
        write_listing(folder / "listing.jsonl", self.lines)
        write_json(folder / "plan.json", self.document)


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
    if name == "addition_to":
        return ["one is an addition and the other is not"]
    if name == "source.listing_sha256":
        return ["the list of audio files (ids, paths, sizes, dates)"]
    return [f"{name}: {there!r} there, {here!r} asked for"]
