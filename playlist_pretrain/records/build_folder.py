"""Plan of a build, and the folder ``<collection>/.build`` in which it is carried out.

Everything is made in ``.build`` and moved out at the very end, so a finished collection stays whole
until its successor is ready, and a build that was killed goes on with its finished shards.

``sources-<generation>.jsonl`` in the collection has a line for every track that was listed, read or
not: ``[id, source, size, date]``, the size in bytes and the date in nanoseconds (null where there
is no file). It tells later what is new or changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playlist_pretrain.audio.front_end import FrontEnd
from playlist_pretrain.errors import CollectionError
from playlist_pretrain.files import atomic_write, folder_lock, load_json, whole, write_json
from playlist_pretrain.records import schema
from playlist_pretrain.records.collection import Collection, read_document
from playlist_pretrain.records.report import REPORT_FILE
from playlist_pretrain.records.schema import LOCK_FILE, generation, own_files, sources_name
from playlist_pretrain.records.shards import ShardTask
from playlist_pretrain.records.sources import TrackSource
from playlist_pretrain.records.track_tags import TRACKS_FILE
from playlist_pretrain.storage import refuse_remote
from playlist_pretrain.version import __version__

THE_LIST = "the list of audio files (ids, paths, sizes, dates)"


def tracks_per_shard(tracks: int) -> int:
    """About 64 shards of 16 to 2048 tracks, whatever the number of workers."""
    return min(max(math.ceil(tracks / 64), 16), 2048)


def _digest(listing: dict[str, str]) -> str:
    return hashlib.sha256("".join(listing.values()).encode("ascii")).hexdigest()


def _read_listing(path: Path) -> dict[str, str]:
    """Id → line of a listing; CollectionError when it cannot be read."""
    with (
        whole(path, "listing", CollectionError),
        open(path, encoding="ascii", newline="\n") as stream,
    ):
        return {read_line(line)[0]: line for line in stream}


def read_line(line: str) -> list[Any]:
    """Id, source, size and date of a line of a listing; see :func:`whole` for its errors."""
    track_id, source, size, date = content = json.loads(line)
    texts, numbers = {type(track_id), type(source)}, {type(size), type(date)}
    if texts != {str} or not numbers <= {int, type(None)}:
        raise ValueError("not id, source, size and date")
    return content


def listing_of(collection: Collection) -> dict[str, str] | None:
    """Id → line of what ``collection`` was made from; None when that is missing or damaged."""
    try:
        number = generation(read_document(collection.path))
        listing = _read_listing(collection.path / sources_name(number))
        same = _digest(listing) == collection.source["listing_sha256"]
    except (CollectionError, KeyError):
        return None
    return listing if same else None


class Changes:
    """Ids by which two listings differ; ``held(id)`` is whether the collection has the track.

    Those that are ``new`` are listed now and not before, those ``missing`` before and now, and
    are not in the collection. Tracks of the collection are listed with another path, size or date
    (``changed``), or not any more (``gone``). ``known`` is the number of ids in both listings.
    """

    def __init__(self, old: dict[str, str], new: dict[str, str], held: Callable[[str], bool]):
        both = [track_id for track_id in new if track_id in old]
        self.new = [track_id for track_id in new if track_id not in old]
        self.changed = [i for i in both if old[i] != new[i] and held(i)]
        self.gone = [track_id for track_id in old if track_id not in new and held(track_id)]
        self.missing = [track_id for track_id in both if not held(track_id)]
        self.known = len(both)

    def __str__(self) -> str:
        if not self.known:
            return f"{THE_LIST}: none of its tracks is among them"
        kinds = {"changed": self.changed, "gone": self.gone, "new": self.new}
        counts = ", ".join(f"{len(ids):,} {what}" for what, ids in kinds.items())
        for what, ids in kinds.items():
            if ids:
                first = f"track {ids[0]!r} is {what}"
                if what == "changed":
                    first = f"path, size or date of track {ids[0]!r} changed"
                return f"{THE_LIST}: {counts}; first of them: {first}"
        return f"{THE_LIST}: in another order"


@dataclass(frozen=True)
class Plan:
    """All that determines a collection, or an addition ``onto`` one.

    ``tracks`` are in the order of the rows; ``listing`` has the line of each, ``old_listing`` those
    of the collection that is added to. ``loader`` has the settings of what reads the sources.
    """

    tracks: dict[str, TrackSource]
    listing: dict[str, str]
    front_end: dict
    loader: dict
    onto: Collection | None = None
    old_listing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, tracks: Sequence[TrackSource], front_end: FrontEnd, load: Any, root: str | None
    ) -> Plan:
        """Plan a collection; see :func:`playlist_pretrain.records.build.make_collection`."""
        loader = {"name": type(load).__name__, **dataclasses.asdict(load)}
        loader.pop("front_end", None)  # remembered already, as the collection's
        file_of = getattr(load, "file_of", str)

        def line(track: TrackSource) -> str:
            size = date = None
            if root is not None:
                with contextlib.suppress(OSError):  # reading it finds out that it is not there
                    status = os.stat(os.path.join(root, file_of(track.source)))
                    size, date = status.st_size, status.st_mtime_ns
            return json.dumps([track.track_id, track.source, size, date]) + "\n"

        return cls(
            {track.track_id: track for track in tracks},
            {track.track_id: line(track) for track in tracks},
            json.loads(json.dumps(front_end.to_dict())),
            json.loads(json.dumps(loader)),
        )

    def addition(self, collection: Collection, listing: dict[str, str], ids: list[str]) -> Plan:
        """Plan to add the tracks ``ids`` to a ``collection`` made from ``listing``."""
        return dataclasses.replace(
            self,
            tracks={track_id: self.tracks[track_id] for track_id in ids},
            listing={track_id: self.listing[track_id] for track_id in ids},
            onto=collection,
            old_listing=listing,
        )

    @property
    def whole_listing(self) -> dict[str, str]:
        """Listing of the collection that the plan results in."""
        return {**self.old_listing, **self.listing}

    @property
    def source(self) -> dict:
        """Settings that the collection remembers."""
        whole = self.whole_listing
        listed = {"listed_tracks": len(whole), "listing_sha256": _digest(whole)}
        if self.onto:
            return {**self.onto.source, **listed}
        per_shard = tracks_per_shard(len(self.tracks))
        return {"loader": self.loader, **listed, "tracks_per_shard": per_shard}

    def tasks(self) -> list[ShardTask]:
        """One task a shard."""
        tracks, size, first = tuple(self.tracks.values()), tracks_per_shard(len(self.tracks)), 0
        if self.onto:
            names = [schema.SHARD_FILE.fullmatch(path.name) for path in self.onto.shard_paths]
            first = 1 + max((int(name[1]) for name in names if name), default=-1)
        starts = range(0, len(tracks), size)
        return [ShardTask(n, tracks[at : at + size]) for n, at in enumerate(starts, first)]

    def save_sources(self, folder: Path) -> None:
        """Write the listing that the collection keeps."""
        number = 1 + generation(read_document(self.onto.path)) if self.onto else 0
        with atomic_write(folder / sources_name(number), "w") as stream:
            stream.writelines(self.whole_listing.values())

    def save(self, folder: Path) -> None:
        """Write the listing, then ``plan.json``."""
        with atomic_write(folder / "listing.jsonl", "w") as stream:
            stream.writelines(self.listing.values())
        write_json(folder / "plan.json", self._document())

    def _document(self) -> dict:
        document = {
            "type": "mel collection build",
            "format": schema.FORMAT,
            "version": __version__,
            "front_end": self.front_end,
            "source": {"loader": self.loader},
        }
        return {**document, "addition_to": self.onto.content_key} if self.onto else document

    def other_settings(self, document: dict) -> list[str]:
        """Settings by which the collection that ``document`` describes was made otherwise."""
        there = {"loader": document["source"].get("loader")}
        return [
            *_differences(document["front_end"], self.front_end, "front_end"),
            *_differences(there, {"loader": self.loader}, "source"),
        ]

    def differences_from_build(self, folder: Path) -> list[str]:
        """Settings and tracks by which an unfinished build in ``folder`` differs."""
        try:
            there = _load(folder / "plan.json")
            listing = _read_listing(folder / "listing.jsonl")
        except CollectionError as error:
            return [str(error)]
        differences = _differences(there, self._document())
        if list(listing.items()) != list(self.listing.items()):
            differences.append(str(Changes(listing, self.listing, lambda _: True)))
        return differences


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        if name == "front_end" and there.get("name") != here["name"]:  # all the rest follows
            there, here = {"name": there.get("name")}, {"name": here["name"]}
        return [
            line
            for key in {**here, **there}
            for line in _differences(there.get(key), here.get(key), f"{name}.{key}".lstrip("."))
        ]
    if there == here:
        return []
    if name == "addition_to":
        return ["one is an addition and the other is not"]
    return [f"{name}: {there!r} there, {here!r} asked for"]


class BuildFolder:
    """The folder ``<out>/.build``.

    Parameters
    ----------
    out : Path
        The collection's folder.

    Raises
    ------
    CollectionError
        ``out`` holds things and is not a collection, or is a URL.
    """

    def __init__(self, out: Path):
        refuse_remote(out, "build there, then copy it: aws s3 cp --recursive DIR s3://BUCKET/DIR")
        self.out, self.path = out, out / ".build"
        if not out.exists():
            return
        if not out.is_dir():
            raise CollectionError(f"{out} is a file; a collection is a folder")
        held = sorted(os.listdir(out))
        if held and held != [".build"] and not self._is_ours():
            raise CollectionError(
                f"{out} is not a collection and not empty (it holds {held[0]!r}); choose another "
                "--out, or empty it yourself"
            )

    def _is_ours(self) -> bool:
        if (self.path / "plan.json").is_file():
            return True
        try:
            document = _load(self.out / schema.COLLECTION_FILE)
        except CollectionError:  # missing or damaged: what lies beside it tells
            return bool(own_files(self.out))
        return document.get("type") == schema.TYPE

    @property
    def finished(self) -> bool:
        """True if ``out`` holds a finished collection, sound or damaged."""
        if (self.out / schema.COLLECTION_FILE).exists():
            return True
        begun = (self.path / "plan.json").is_file()
        return not begun and self.out.is_dir() and bool(own_files(self.out))

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Make the folder and keep other processes out; CollectionError when one is in it."""
        return folder_lock(self.path, f"{self.out} is being built", LOCK_FILE, CollectionError)

    def prepare(self, plan: Plan, overwrite: bool) -> None:
        """Keep the shards of an unfinished build with the same plan; begin anew otherwise.

        CollectionError when there is one with another plan, and no ``overwrite``.
        """
        if (self.path / "plan.json").exists():
            differences = plan.differences_from_build(self.path)
            if not differences:
                return
            if not overwrite:
                raise CollectionError(
                    f"{self.out} holds an unfinished build that differs: {'; '.join(differences)}. "
                    "Give the same settings to finish it, or --overwrite to begin anew"
                )
            (self.path / "plan.json").unlink()  # without it nothing else counts
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK_FILE:
                path.unlink()
        plan.save(self.path)

    def remove_temporaries(self) -> None:
        """Remove half-written files."""
        for path in self.path.rglob(".*.tmp"):
            path.unlink(missing_ok=True)

    def move_out(self) -> None:
        """Put the finished collection in the place of the old one; may be called again.

        Files of an addition have names of their own, and ``collection.json`` is replaced when
        they are there: at every moment the collection is either the old or the new one. Files of
        another build have the names of the old one's, so ``collection.json`` goes first and comes
        last: at no time does it name a file that is not whole.
        """
        names = _named_files(self.path)
        if self.addition_to is None:
            (self.out / schema.COLLECTION_FILE).unlink(missing_ok=True)
        for name in [*names, REPORT_FILE, TRACKS_FILE]:
            if (self.path / name).exists():
                os.replace(self.path / name, self.out / name)
        os.replace(self.path / schema.COLLECTION_FILE, self.out / schema.COLLECTION_FILE)
        self.remove_replaced()

    def remove_replaced(self) -> None:
        """Remove what earlier states of the collection left, then the build folder."""
        for name in sorted(set(own_files(self.out)).difference(_named_files(self.out))):
            (self.out / name).unlink()
        self.remove()

    @property
    def addition_to(self) -> str | None:
        """Content key of the collection that an unfinished addition was begun to."""
        try:
            return _load(self.path / "plan.json").get("addition_to")
        except CollectionError:
            return None

    def remove(self) -> None:
        """Remove the build folder, and the collection's folder if nothing else is in it."""
        (self.path / "plan.json").unlink(missing_ok=True)
        shutil.rmtree(self.path)
        with contextlib.suppress(OSError):
            self.out.rmdir()

    def clean_up(self) -> None:
        """Finish what was killed in its last steps; ``out`` holds a finished collection."""
        if not self.path.is_dir():
            return
        with contextlib.suppress(CollectionError), self.locked():
            addition_to = self.addition_to
            stale = addition_to not in (None, read_document(self.out)["content_key"])
            if addition_to and not stale and (self.path / schema.COLLECTION_FILE).exists():
                self.move_out()
            elif stale or not any(self.path.rglob("mel-*.tfrecord")):  # they were moved out
                self.remove_replaced()


def _load(file: Path) -> dict[str, Any]:
    with whole(file, "JSON object", CollectionError):
        return load_json(file)


def _named_files(folder: Path) -> list[str]:
    """Files of the collection in ``folder``, without ``collection.json``."""
    document = read_document(folder)
    shards = [shard["file"] for shard in document["shards"]]
    return [*shards, document["index"]["file"], sources_name(generation(document))]
