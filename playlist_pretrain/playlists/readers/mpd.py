"""Million Playlist Dataset: ``mpd.slice.0-999.json`` … ``mpd.slice.999000-999999.json``.

Format: JSON, ``playlists`` is a list of objects with ``pid`` (whole number) and ``tracks``, a
list of objects with ``track_uri``, ``artist_uri`` and ``album_uri``. Playlists have their ``pid``
as group id, artists and albums their URI; the track id is the ``track_uri``. Nothing else is
looked at. Where a slice has no ``artist_uri``, as public cuts, artists are by ``artist_name``.
Provenance: Chen et al., RecSys Challenge 2018; distributed by AIcrowd, for research only.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NoReturn

from playlist_pretrain.delimited import RowError
from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.json_text import elements, field
from playlist_pretrain.playlists.readers.source import (
    Group,
    Reader,
    Request,
    Source,
    ignore,
    usable,
    valid_id,
)
from playlist_pretrain.processes import describe_exit, work_through

SLICE = re.compile(r"mpd\.slice\.(\d+)-(\d+)\.json")
KEYS = {"playlists": (None,), "artists": ("artist_uri", "artist_name"), "albums": ("album_uri",)}
"""Field of a track that has its group, and the one in its place where a slice has none."""
Task = tuple[int, Source]
IN_FLIGHT = 2
"""Slices a process has read before their turn when no further ones are begun."""


class MpdReader(Reader):
    """Reader of the Million Playlist Dataset; see the module."""

    name = "mpd"
    description = (
        "Million Playlist Dataset: mpd.slice.*.json, a folder or a zip file of them; groups are "
        "playlists by pid, artists or albums, tracks are track_uri"
    )
    kinds = tuple(KEYS)
    files = "mpd.slice.*.json"

    def accepts(self, path: PurePosixPath) -> bool:
        """True for the names of slices."""
        return bool(SLICE.fullmatch(path.name))

    def begins(self, start: bytes) -> bool:
        """True for JSON that names playlists and pids."""
        return start.lstrip().startswith(b"{") and b'"playlists"' in start and b'"pid"' in start

    def sources(self, path: Path) -> list[Source]:
        """The slices of a folder or a zip file by number, or the one file."""

        def number(source: Source) -> tuple[int, ...]:
            match = SLICE.fullmatch(source.path.name)
            return tuple(map(int, match.groups())) if match else ()

        return sorted(super().sources(path), key=number)

    def read(self, sources: Sequence[Source], request: Request) -> Iterator[Group]:
        """Yield the groups of all slices, some slices in memory at a time."""
        read = functools.partial(_read_slice, request.kind)
        tasks, workers = list(enumerate(sources)), min(request.workers, len(sources))
        results = _in_processes(read, tasks, workers) if workers > 1 else map(read, tasks)
        for source, (groups, damages) in zip(sources, results, strict=True):
            request.advance(source.size)
            yield from groups
            for damage in damages:
                request.damaged(damage)


def _in_processes(read: Any, tasks: Sequence[Task], workers: int) -> Iterator[Any]:
    """Results of ``read`` in order, made by processes, since parsing JSON holds the interpreter."""
    early: dict[int, Any] = {}
    turn = 0
    ahead = workers * IN_FLIGHT
    done = work_through(read, tasks, workers, on_death=_died, hold=lambda: len(early) > ahead)
    with contextlib.closing(done):
        for (number, _), result in done:
            early[number] = result
            while turn in early:
                yield early.pop(turn)
                turn += 1


def _died(task: Task, step: None, code: int) -> NoReturn:
    raise TableError(
        f"{task[1].name}: the process that read it ended ({describe_exit(code)}); --workers 1 "
        "takes least memory"
    )


def _read_slice(
    kind: str, task: Task, announce: Callable[[Any], None] = ignore
) -> tuple[list[Group], list[TableError]]:
    """Groups of one slice as far as it is whole, and what is left out."""
    _, source = task
    data, damage = source.read_far()
    groups = None if damage else _read_fast(data, kind)
    if groups is not None:
        return groups, []
    groups = []
    damages: list[TableError] = []
    playlists = elements(data, source.name, "playlists", damage)
    try:
        for group in _read_slowly(playlists, source, Request(kind, damaged=damages.append)):
            groups.append(group)
    except TableError as error:
        damages.append(TableError(str(error)))  # without what led to it, which may not be sent
    return groups, damages


@functools.cache
def _decoder(key: str | None) -> Any:
    import msgspec

    text = Annotated[str, msgspec.Meta(min_length=1)]
    fields: list[Any] = [("track_uri", text)]
    if key:
        fields.append((key, text))
    track: Any = msgspec.defstruct("Track", fields, gc=False)
    playlist: Any = msgspec.defstruct("Playlist", [("pid", int), ("tracks", list[track])])
    return msgspec.json.Decoder(msgspec.defstruct("Slice", [("playlists", list[playlist])]))


def _read_fast(data: bytes, kind: str) -> list[Group] | None:
    """Groups of a slice, or None when anything is odd about it."""
    import msgspec

    for key in KEYS[kind]:
        try:
            if not data.isascii():
                data.decode("utf-8")  # msgspec does not look into what it leaves out
            playlists = _decoder(key).decode(data).playlists
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if key is None:
            groups = [(str(p.pid), [track.track_uri for track in p.tracks]) for p in playlists]
        else:
            groups = _by_group((getattr(t, key), t.track_uri) for p in playlists for t in p.tracks)
        blank = any(group.isspace() or any(map(str.isspace, tracks)) for group, tracks in groups)
        return None if blank else groups
    return None


def _by_group(pairs: Iterable[tuple[str, str]]) -> list[Group]:
    """Tracks of each group, as often as they are in playlists: matching counts repetitions."""
    groups: dict[str, list[str]] = {}
    for group, track in pairs:
        groups.setdefault(group, []).append(track)
    return list(groups.items())


def _read_slowly(playlists: Iterator[Any], source: Source, request: Request) -> Iterator[Group]:
    """The same, playlist by playlist, telling what is left out."""

    def track_of(place: str, track: Any) -> tuple[str, str]:
        keys = KEYS[request.kind]
        key = next((key for key in keys if type(track) is dict and key in track), keys[0])
        group = key and valid_id(field(track, key, str, place), f"{place}: {key!r}")
        return group or "", valid_id(field(track, "track_uri", str, place), f"{place}: 'track_uri'")

    for number, playlist in enumerate(playlists):
        try:
            pid = field(playlist, "pid", int, f"{source.name}: playlist {number} of the slice")
            where = f"{source.name}: pid {pid}"
            tracks = field(playlist, "tracks", list, where)
        except RowError as error:
            error.reason = f"a whole playlist: {error.reason}"
            request.damaged(error)
            continue
        places = [(f"{where}, track {position}", track) for position, track in enumerate(tracks)]
        found = usable(places, track_of, request)
        if request.kind == "playlists":
            yield str(pid), [track for _, track in found]
        else:
            yield from _by_group(found)
