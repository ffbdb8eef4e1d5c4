"""Listening histories: the tracks that a user played without a long pause are a group, a session.

Format: a table (see ``playlist_pretrain.delimited``) with the columns ``user_id``, ``timestamp``
and ``track_id``; or what these export:

* ListenBrainz: JSON, a listen a line or all in one list, with ``user_id`` or ``user_name``,
  ``timestamp`` or ``listened_at``, and ``track_metadata``, whose MusicBrainz recording (as mapped,
  or as submitted) is the track id, or else its ``recording_msid``; a listen without any of them has
  ``artist – track``. Of a whole export, feedback and pins are no listens.
* Spotify: ``Streaming_History_Audio_*.json``, with ``ts`` (when it ended), ``ms_played`` and
  ``spotify_track_uri``. Left out is what was ``skipped`` or played for less than ``min_played``
  seconds, and what is no track. Addresses and devices, which are beside them, are not looked at.
* Last.fm: a table with ``uts``, ``artist`` and ``track``, and ``track_mbid``, which is the track id
  where it is there; else that is ``artist – track``. Also the table without a header: artist,
  album, track, and a time as in ``31 May 2014 10:55``.

Where a listen has no user, it is that of ``user.json``, or else the name of the file or folder.
Times are seconds since 1970 (milliseconds above 10¹¹) or ISO 8601, in UTC if they do not say.
Lines may come in any order, and a user's listens lie in any number of files. A column in which all
small numbers are from 20,000 to 80,000 has day numbers of a spreadsheet, and they are left out.
Provenance: any log; https://listenbrainz.org/data; https://www.spotify.com/account/privacy.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import itertools
import math
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from playlist_pretrain.delimited import RowError, has_column, read_columns, read_header
from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.json_text import elements, field, object_of
from playlist_pretrain.playlists.readers.source import (
    Group,
    Reader,
    Request,
    Source,
    is_zip,
    sources_in,
    usable,
    valid_id,
)

DEFAULT_COLUMNS = {"user": "user_id", "time": "timestamp", "track": "track_id"}
OPTION = "--columns user=…,time=…,track=…"
TEXT = (".csv", ".tsv")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
BARE = "artist,album,track,uts"
LAST_FM = ("artist", "uts", "track")
SIGNS = ((b'"track_metadata"',), (b'"ms_played"', b'"spotify_track_uri"'))
EXPORT = re.compile(r"(?:Streaming_History_Audio_.*|endsong_\d+|.+_lb-[\d-]+)\.json")
"""Names of Spotify's files, and of ListenBrainz's older ones."""
OF_USER = re.compile(r"(.+)_lb-[\d-]+\.json")
USER, NO_LISTENS = "user.json", ("feedback.jsonl", "pinned_recording.jsonl")
MILLISECONDS = 10**11
EARLIEST, DAYS = 10**8, (20_000, 80_000)
"""Seconds of 1973, and days from 1954 to 2119 as spreadsheets count them."""
LATEST = 253_402_300_799
"""The last second that has a date of four figures."""


class HistoryReader(Reader):
    """Reader of listening histories; see the module.

    Memory: 16 bytes a listen, and the distinct ids of users and tracks.
    """

    name = "history"
    description = (
        "listening history: a table with user_id, timestamp and track_id, or what ListenBrainz, "
        "Spotify and Last.fm export; groups are sessions that --gap minutes of silence end"
    )
    kinds = ("sessions",)
    options = frozenset({"columns", "gap", "min_played"})
    suffixes = (".listens", ".jsonl", ".ndjson")
    files = ", ".join(suffixes + TEXT)
    beside = (USER,)

    def accepts(self, path: PurePosixPath) -> bool:
        """True for JSON lines, but for those of ListenBrainz that are no listens, and exports."""
        if EXPORT.fullmatch(path.name):
            return True
        return path.suffix.lower() in self.suffixes and path.name not in NO_LISTENS

    def sniff(self, path: Path) -> bool:
        """True for a file of listens, and for a folder or zip file with some, or with tables."""
        if super().sniff(path):
            return True
        tables = sources_in(path, _is_table) if path.is_dir() or is_zip(path) else []
        return bool(tables) and self.begins(tables[0].start())

    def begins(self, start: bytes) -> bool:
        """True for JSON of listens, and for tables with a user and a time, or of Last.fm."""
        if start.lstrip()[:1] in (b"{", b"["):
            return any(all(sign in start for sign in signs) for signs in SIGNS)
        text = start.decode("utf-8", "replace")
        usual = [DEFAULT_COLUMNS[name] for name in ("user", "time")]
        if any(all(has_column(text, name) for name in names) for names in (usual, LAST_FM)):
            return True
        first = next(csv.reader(text.splitlines()[:1]), [])
        return _has_no_header([cell.strip() for cell in first])

    def sources(self, path: Path) -> list[Source]:
        """The file, or the JSON in a folder or zip file (or else its tables)."""
        found = (
            sources_in(path, self.accepts) or sources_in(path, _is_table) or super().sources(path)
        )
        owners = _owners(path)
        for source in found:
            folder = next((one for one in source.path.parents if one in owners), None)
            source.owner = owners[folder] if folder else _owner(source.path, path)
        return found

    def read(self, sources: Sequence[Source], request: Request) -> Iterator[Group]:
        """Yield the sessions user by user, once all sources have been read."""
        columns = {**DEFAULT_COLUMNS, **(request.columns or {})}
        if set(columns) != set(DEFAULT_COLUMNS):
            raise TableError(f"{sources[0].name}: the columns of a history are named with {OPTION}")
        users: dict[str, int] = {}
        tracks: dict[str, int] = {}
        parts = []
        for source in sources:
            user_of, time_of, track_of = array("i"), array("q"), array("i")
            try:
                for user, seconds, track in _listens(source, columns, request):
                    user_of.append(users.setdefault(user, len(users)))
                    time_of.append(seconds)
                    track_of.append(tracks.setdefault(track, len(tracks)))
            except TableError as error:
                request.damaged(error)
            days = _day_numbers(np.array(time_of))
            for place in days:
                request.damaged(RowError(
                    f"{source.name}: time {time_of[place]}: a day number of a spreadsheet? "
                    "write seconds since 1970 or ISO 8601", "a time that is a day number",
                ))  # fmt: skip
            parts.append([np.delete(part, days) for part in (user_of, time_of, track_of)])
        who, when, what = map(np.concatenate, zip(*parts, strict=True))
        order = np.lexsort((when, who))  # stable: what has one time stays in order
        who, when, what = who[order], when[order], what[order]
        cut = (np.diff(who) != 0) | (np.diff(when) > request.gap * 60)
        borders = [0, *(np.flatnonzero(cut) + 1).tolist(), len(order)]
        names, ids = list(users), list(tracks)
        for start, end in itertools.pairwise(borders):
            if start < end:
                began = datetime.datetime.fromtimestamp(int(when[start]), datetime.UTC)
                session = f"{names[who[start]]}/{began:%Y-%m-%dT%H:%M:%SZ}"
                yield session, [ids[track] for track in what[start:end].tolist()]


def _is_table(path: PurePosixPath) -> bool:
    return path.suffix.lower() in TEXT


def _owners(path: Path) -> dict[PurePosixPath, str]:
    """Users that the ``user.json`` of exports in a folder or zip file name, by their folders."""
    found = {}
    for source in sources_in(path, lambda name: name.name == USER):
        if source.path.name == USER:
            with contextlib.suppress(TableError):
                user = object_of(source.read(largest=1 << 20), USER)
                found[source.path.parent] = field(user, "username", str, USER)
    outside = path.parent / USER  # of the folder listens alone
    if path.is_dir() and not found and outside.is_file():
        return {PurePosixPath("."): owner for owner in _owners(outside).values()}
    return found


def _owner(file: PurePosixPath, path: Path) -> str:
    """Whose history a file is, by its name and that of the folder or zip file."""
    if _is_table(file):
        return file.stem
    if named := OF_USER.match(file.name):
        return named[1]
    if EXPORT.fullmatch(file.name) and file.parent.name:
        return file.parent.name
    return path.resolve().name if path.is_dir() else path.name.partition(".")[0] or path.name


def _day_numbers(times: np.ndarray) -> np.ndarray:
    """Places of times that are days since 1900: where no other number below 10⁸ is beside them."""
    small = np.flatnonzero(times < EARLIEST)
    days = (times[small] >= DAYS[0]) & (times[small] < DAYS[1])
    return small if days.all() else small[:0]


def _listens(
    source: Source, columns: Mapping[str, str], request: Request
) -> Iterator[tuple[str, int, str]]:
    """User, time and track of each row of a source."""
    start = source.start().lstrip()[:1]
    if start in (b"{", b"[") or source.path.suffix.lower() in (*HistoryReader.suffixes, ".json"):
        return _listens_of_json(source, start == b"[", request)
    return _listens_of_table(source, columns, request)


def _listens_of_table(
    source: Source, columns: Mapping[str, str], request: Request
) -> Iterator[tuple[str, int, str]]:
    header = read_header(source, ())
    bare = BARE if _has_no_header(header) else None
    of_last_fm = bare or (set(LAST_FM) <= set(header) and columns["time"] not in header)
    names = [columns[name] for name in ("user", "time", "track")]
    if of_last_fm:
        names = [*LAST_FM, *({"track_mbid"} & set(header))]

    def listen(line: int, cells: tuple[str, ...]) -> tuple[str, int, str]:
        who, time, track, *mbid = cells
        seconds = _seconds(time, f"{source.name}: line {line}: column {names[1]!r}")
        if of_last_fm:
            return source.owner, seconds, next(filter(None, mbid), f"{who} – {track}")
        return who, seconds, track

    rows = read_columns(
        source, names, request.advance, "name the columns with " + OPTION, blank=names[3:],
        row=request.damaged, header=bare,
    )  # fmt: skip
    return usable(rows, listen, request)


def _has_no_header(cells: Sequence[str]) -> bool:
    """True for the cells of a row of Last.fm's table that has no header."""
    with contextlib.suppress(RowError):
        return len(cells) == 4 and not cells[3].isdigit() and _seconds(cells[3], "") > 0
    return False


def _listens_of_json(
    source: Source, as_list: bool, request: Request
) -> Iterator[tuple[str, int, str]]:
    def listen(where: str, one: Any) -> tuple[str, int, str]:
        if type(one) is bytes:
            one = object_of(one, where)
        elif type(one) is not dict:
            raise RowError(f"{where}: not an object", "not an object")
        return _listen(one, where, source.owner, request)

    if as_list:
        data, damage = source.read_far(request.advance)
        listens = enumerate(elements(data, source.name, damage=damage))
        return usable(((f"{source.name}: listen {i}", one) for i, one in listens), listen, request)
    lines = (row for row in source.lines(request.advance) if not row[1].isspace())
    return usable(lines, listen, request)


def _listen(
    listen: dict[str, Any], where: str, owner: str, request: Request
) -> tuple[str, int, str]:
    user, time = (
        next((listen[key] for key in keys if listen.get(key) is not None), None)
        for keys in (("user_name", "user_id", "username"), ("timestamp", "listened_at", "ts"))
    )
    user = owner if user is None else str(user) if type(user) is int else user
    if type(user) is not str:
        raise RowError(f"{where}: 'user_name' is not text", "a user that is not text")
    if type(time) not in (int, float, str):
        what = "no 'timestamp', 'listened_at' or 'ts'"
        raise RowError(f"{where}: {what}", what)
    if "ms_played" in listen:
        track, played = _played(listen, where, request)
    else:
        track, played = _recording(listen, where), 0.0
    return (
        valid_id(user, f"{where}: user"),
        max(0, int(_seconds(time, f"{where}: time") - played)),
        valid_id(track, f"{where}: track"),
    )


def _played(listen: dict[str, Any], where: str, request: Request) -> tuple[str, float]:
    """Track of a line of Spotify's, and the seconds before its time at which it began."""
    played, track = listen["ms_played"], listen.get("spotify_track_uri")
    if type(played) not in (int, float) or not 0 <= played < MILLISECONDS:
        raise RowError(f"{where}: 'ms_played' is no time", "'ms_played' is no time")
    reason = ""
    if type(track) is not str or not track:
        reason = "no track (an episode, a chapter)"
    elif listen.get("skipped") is True:
        reason = "skipped"
    elif played < 1000 * request.min_played:
        reason = f"played for less than {request.min_played:g} s"
    if reason:
        raise RowError(f"{where}: {reason}", reason, usual=True)
    return str(track), played / 1000


def _recording(listen: dict[str, Any], where: str) -> str:
    """Track of a listen of ListenBrainz."""
    metadata = field(listen, "track_metadata", dict, where)
    mapping, info = (
        part if type(part) is dict else {}
        for part in (metadata.get("mbid_mapping"), metadata.get("additional_info"))
    )
    names = [metadata.get(key) for key in ("artist_name", "track_name")]
    candidates = (
        mapping.get("recording_mbid"),
        info.get("recording_mbid"),
        listen.get("recording_msid"),
        info.get("recording_msid"),
        metadata.get("recording_msid"),
        " – ".join(name for name in names if type(name) is str and name),
    )
    track = next((one for one in candidates if type(one) is str and one), "")
    if not track:
        what = "no recording id and no 'track_name'"
        raise RowError(f"{where}: {what}", what, usual=True)
    return track


def _moment(text: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        day, month, rest = text.split(" ", 2)  # 31 May 2014 10:55
        number = MONTHS.index(month) + 1
        return datetime.datetime.strptime(f"{day} {number} {rest}", "%d %m %Y %H:%M")


def _seconds(value: float | str, where: str) -> int:
    """Whole seconds since 1970 of a number or an ISO 8601 time, or a RowError at ``where``."""
    seconds: float = math.nan
    with contextlib.suppress(ValueError, OverflowError):
        try:
            seconds = float(value)
            if seconds > MILLISECONDS:
                seconds /= 1000
        except ValueError:
            moment = _moment(str(value).strip())
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=datetime.UTC)
            seconds = moment.timestamp()
    if not 0 <= seconds <= LATEST:  # not a number fails here too
        said = f"{str(value)[:60]!r} is not a time (seconds or ISO 8601)"
        raise RowError(f"{where}: {said}", "not a time")
    return int(seconds)
