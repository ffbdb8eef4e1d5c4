"""The demo's collections, and the songs as wav files.

Beside a collection its folder holds ``tracks.csv`` (track_id, artist, style, title),
``tags.tsv``, ``triplets.csv`` and ``groups-artists.npz``; ``demo`` has ``playlists.csv``
(group_id, track_id) and ``groups-playlists.npz`` too. The collection is made first; the other
files are compared with the world at every call and written where they are missing or differ.
"""

from __future__ import annotations

import csv
import io
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from playlist_pretrain.audio.decode import Decoded
from playlist_pretrain.audio.front_end import front_end
from playlist_pretrain.demo import world as tables
from playlist_pretrain.demo.songs import SAMPLE_RATE, render
from playlist_pretrain.demo.world import PARTS, STYLES, World, make_world
from playlist_pretrain.errors import (
    AudioError,
    CollectionError,
    GroupsError,
    RecipeError,
    TrackError,
)
from playlist_pretrain.files import atomic_write, half_there, load_json, together
from playlist_pretrain.messages import progress
from playlist_pretrain.playlists.groups import groups_path, load_groups
from playlist_pretrain.playlists.match import match_groups
from playlist_pretrain.records.build import make_collection
from playlist_pretrain.records.collection import Collection
from playlist_pretrain.records.sources import TrackSource

SECONDS = 30.0
WORLD_VERSION = 1
"""Counts the changes of what a seed stands for; it is remembered with every collection."""


def check_empty(folder: Path, seed: int | None = None) -> None:
    """Raise AudioError when ``folder`` holds anything: songs of two worlds must not mix.

    What was begun of the same world [any world] goes on.
    """
    if half_there([folder / part for part in PARTS], seed):
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AudioError(f"{folder} is not empty; give the wav files a folder of their own")


def write_songs(folder: str | Path, seed: int, *, seconds: float = SECONDS) -> None:
    """Write every song of a world as ``folder/<part>/<track id>.wav``, 16 bits, 16 kHz, mono.

    AudioError when the folder is not empty.
    """
    folder = Path(folder)
    check_empty(folder, seed)
    world = make_world(seed)
    with together([folder / part for part in PARTS], seed):
        _write_songs(folder, world, seconds)


def _write_songs(folder: Path, world: World, seconds: float) -> None:
    songs = [(part, song) for part in PARTS for song in world.songs(part)]
    for part, song in progress(songs, desc=folder.name, unit=" songs"):
        samples = np.rint(render(world, song, seconds) * 32767).astype("<i2")
        with (
            atomic_write(folder / part / f"{world.track_ids[song]}.wav") as stream,
            wave.open(stream, "wb") as file,
        ):
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(samples.tobytes())


@dataclass(frozen=True)
class SongLoader:
    """Render a song of the world ``seed`` where other loaders decode a file."""

    seed: int
    version: int = WORLD_VERSION

    def __call__(self, source: str) -> Decoded:
        """Render the song whose track id is ``source``: 30 s at 16 kHz."""
        world = make_world(self.seed)
        if source not in world.track_ids:
            raise TrackError(f"world {self.seed} has no song {source!r}")
        return Decoded(render(world, world.song(source), SECONDS), 0.0, SECONDS)


def build_demo(
    root: str | Path = "tfrecords",
    seed: int | None = None,
    *,
    workers: int | None = None,
    overwrite: bool = False,
) -> tuple[Collection, ...]:
    """Make ``root/demo`` and ``root/demo-eval``, or what is missing of them, and open both.

    ``seed`` is the number of the world, 0 or greater; None takes the world that is there already,
    and world 0 when there is none. With ``overwrite`` both are built afresh, also when another
    world is there. ``workers`` are processes, by default one for each core.

    Raises
    ------
    CollectionError
        One of the folders holds another world, or something else, and no ``overwrite``.
    RecipeError
        A negative seed.
    """
    root = Path(root)
    if seed is not None and seed < 0:
        raise RecipeError(f"seed {seed}: worlds are numbered from 0")
    there = {part: _loader_there(root / part) for part in PARTS}
    if seed is None:
        seed = next((loader["seed"] for loader in there.values() if loader), 0)
    if not overwrite:
        for part, loader in there.items():
            _check_same_world(root / part, loader, SongLoader(seed))
    world = make_world(seed)
    collections = []
    for part in PARTS:
        ids = sorted(world.track_ids[song] for song in world.songs(part))
        collection = make_collection(
            root / part,
            [TrackSource(track_id, track_id) for track_id in ids],
            front_end("paper"),
            SongLoader(seed),
            workers=workers,
            overwrite=overwrite,
        ).collection
        _write_tables(world, part, Path(str(collection.path)))
        _write_groups(world, part, collection)
        collections.append(collection)
    return tuple(collections)


def _loader_there(folder: Path) -> dict | None:
    """Loader of the finished or unfinished collection in ``folder``, None when there is none."""
    for file in (folder / "collection.json", folder / ".build" / "plan.json"):
        try:
            loader = load_json(file)["source"]["loader"]
            if loader["name"] == SongLoader.__name__ and isinstance(loader["seed"], int):
                return loader
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError):
            pass  # foreign or damaged: said below, as for any other loader
        raise CollectionError(
            f"{folder} is not a collection of the demo ({file.name} names another source, or is "
            "damaged); give another folder with --out, or move it away"
        )
    return None


def _check_same_world(folder: Path, there: dict | None, asked: SongLoader) -> None:
    mend = f"python -m playlist_pretrain.demo --out {folder.parent} --seed {asked.seed} --overwrite"
    if there is None:
        return
    if there["seed"] != asked.seed:
        raise CollectionError(
            f"{folder} holds world {there['seed']}, world {asked.seed} was asked for: give "
            f"another folder with --out, or build it afresh with {mend}"
        )
    if there.get("version") != asked.version:
        raise CollectionError(
            f"{folder} was made by version {there.get('version')} of the demo's world, this is "
            f"version {asked.version}: build it afresh with {mend}"
        )


def _write_tables(world: World, part: str, folder: Path) -> None:
    ids, songs = world.track_ids, world.songs(part)
    tagged, splits = tables.tags(world), tables.splits(world)
    files: dict[str, list[tuple]] = {
        "tracks.csv": [
            ("track_id", "artist", "style", "title"),
            *(
                (ids[s], artist_of(world, s), STYLES[world.song_style[s]], world.titles[s])
                for s in songs
            ),
        ],
        "tags.tsv": [
            ("track_id", "split", "tags"),
            *((ids[s], splits[s], "|".join(tagged[s])) for s in songs),
        ],
        "triplets.csv": [
            ("anchor", "positive", "negative"),
            *(tuple(ids[s] for s in row) for row in tables.triplets(world, part)),
        ],
    }
    if part == "demo":
        files["playlists.csv"] = [
            ("group_id", "track_id"),
            *((name, ids[s]) for name, entries in tables.playlists(world) for s in entries),
        ]
    for name, rows in files.items():
        text = io.StringIO()
        delimiter = "\t" if name.endswith(".tsv") else ","
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
        content, path = text.getvalue().encode(), folder / name
        if not path.exists() or path.read_bytes() != content:
            with atomic_write(path) as stream:
                stream.write(content)


def artist_of(world: World, song: int) -> str:
    """Name of a song's artist."""
    return world.artists[world.song_artist[song]]


def _write_groups(world: World, part: str, collection: Collection) -> None:
    ids = world.track_ids
    kinds = {"artists": [(artist_of(world, song), [ids[song]]) for song in world.songs(part)]}
    if part == "demo":
        lists = tables.playlists(world)
        kinds["playlists"] = [(name, [ids[song] for song in songs]) for name, songs in lists]
    for name, entries in kinds.items():
        try:
            load_groups(collection, name)
        except GroupsError:  # missing, damaged, or of the collection that was here before
            match_groups(entries, collection, name)[0].save(groups_path(collection.path, name))
