"""Listening histories: what a user played without a long pause is a group, a session.

Format: a table (see ``playlist_pretrain.delimited``) with the columns ``user_id``, ``timestamp``
and ``track_id``, or JSON lines of ListenBrainz, with ``user_id`` or ``user_name``, ``timestamp`` or
``listened_at``, and ``track_metadata``, whose MusicBrainz recording (as mapped, or as submitted) is
the track id, or else its ``recording_msid``; a listen without any of them has ``artist – track``.
Times are seconds since 1970 (milliseconds above 10¹¹) or ISO 8601, in UTC if they do not say.
Lines may come in any order, and a user's listens lie in any number of files.
Provenance: any log; https://listenbrainz.org/data.
"""

from __future__ import annotations

import datetime
import math
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from playlist_pretrain.delimited import BYTE_ORDER_MARK, LONGEST_LINE, has_column, read_columns
from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.json_text import field, object_of, text_of, valid_id
from playlist_pretrain.playlists.readers.source import Request, Source, first_bytes, sources_in

DEFAULT_COLUMNS = {"user": "user_id", "time": "timestamp", "track": "track_id"}
OPTION = "--columns user=…,time=…,track=…"
JSON_LINES = (".listens", ".jsonl", ".ndjson")
TEXT = (".csv", ".tsv")
MILLISECONDS = 10**11
LATEST = 253_402_300_799
"""The last second that has a date of four figures."""


class HistoryReader:
    """Reader of listening histories; see the module.

    Memory: 16 bytes a listen, and the distinct ids of users and tracks.
    """

    name = "history"
    description = (
        "listening history: a table with user_id, timestamp and track_id, or ListenBrainz JSON "
        "lines; groups are sessions that --gap minutes of silence end"
    )
    kinds = ("sessions",)
    options = frozenset({"columns", "gap"})

    def sniff(self, path: Path) -> bool:
        """True for JSON lines of listens, and for tables with a user and a time."""
        if path.is_dir() or not (start := first_bytes(path)):
            return any(_is_json(source.path) for source in sources_in(path, _is_json))
        if start.lstrip().startswith(b"{"):
            return b'"track_metadata"' in start
        line = start.partition(b"\n")[0].decode("utf-8", "replace")
        return all(has_column(line, DEFAULT_COLUMNS[name]) for name in ("user", "time"))

    def sources(self, path: Path) -> list[Source]:
        """The file, or the JSON lines in a folder or zip file (or else its tables)."""
        found = sources_in(path, _is_json) or sources_in(path, _is_text)
        if not found:
            raise TableError(
                f"{path}: no {', '.join(JSON_LINES + TEXT)} in this folder or zip file"
            )
        return found

    def read(self, sources: Sequence[Source], request: Request) -> Iterator[tuple[str, list[str]]]:
        """Yield the sessions user by user, once all sources have been read."""
        columns = {**DEFAULT_COLUMNS, **(request.columns or {})}
        if set(columns) != set(DEFAULT_COLUMNS):
            raise TableError(f"{sources[0].name}: the columns of a history are named with {OPTION}")
        users: dict[str, int] = {}
        tracks: dict[str, int] = {}
        user_of, time_of, track_of = array("i"), array("q"), array("i")
        for source in sources:
            listens = (
                _listens_of_json(source, request)
                if _begins_with_brace(source)
                else _listens_of_table(source, list(columns.values()), request)
            )
            try:
                for user, seconds, track in listens:
                    user_of.append(users.setdefault(user, len(users)))
                    time_of.append(seconds)
                    track_of.append(tracks.setdefault(track, len(tracks)))
            except TableError as error:
                request.damaged(error)
        who, when, what = (
            np.frombuffer(part, part.typecode) for part in (user_of, time_of, track_of)
        )
        yield from _sessions(who, when, what, list(users), list(tracks), request.gap * 60)


def _is_json(path: PurePosixPath) -> bool:
    return path.suffix.lower() in JSON_LINES


def _is_text(path: PurePosixPath) -> bool:
    return path.suffix.lower() in TEXT


def _begins_with_brace(source: Source) -> bool:
    if _is_json(source.path):
        return True
    if _is_text(source.path):
        return False
    try:
        with source.open() as stream:
            return stream.read(4096).removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"{")
    except TableError:
        return False  # said when it is read


def _sessions(
    user_of: np.ndarray,
    time_of: np.ndarray,
    track_of: np.ndarray,
    users: list[str],
    tracks: list[str],
    gap: float,
) -> Iterator[tuple[str, list[str]]]:
    """Cut the listens of every user where more than ``gap`` seconds lie between two."""
    if not len(user_of):
        return
    order = np.lexsort((time_of, user_of))  # stable: what has one time stays in order
    user_of, time_of, track_of = user_of[order], time_of[order], track_of[order]
    cut = (np.diff(user_of) != 0) | (np.diff(time_of) > gap)
    starts = np.concatenate([[0], np.flatnonzero(cut) + 1])
    ends = np.append(starts[1:], len(order))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        began = datetime.datetime.fromtimestamp(int(time_of[start]), datetime.UTC)
        session = f"{users[user_of[start]]}/{began:%Y-%m-%dT%H:%M:%SZ}"
        yield session, [tracks[track] for track in track_of[start:end].tolist()]


def _listens_of_table(
    source: Source, names: Sequence[str], request: Request
) -> Iterator[tuple[str, int, str]]:
    mend = "name the columns with " + OPTION
    for line, (user, time, track) in read_columns(source, names, request.advance, mend):
        yield user, _seconds(time, f"{source.name}: line {line}: column {names[1]!r}"), track


def _listens_of_json(source: Source, request: Request) -> Iterator[tuple[str, int, str]]:
    number = 0
    seen = False
    with source.open(request.advance) as stream:
        while line := stream.readline(LONGEST_LINE):
            number += 1
            where = f"{source.name}: line {number}"
            if len(line) == LONGEST_LINE:
                raise TableError(f"{where}: longer than {LONGEST_LINE:,} bytes")
            if line.isspace():
                continue
            seen = True
            yield _listen(object_of(text_of(line, where), where), where)
    if not seen:
        raise TableError(f"{source.name}: the file is empty")


def _listen(listen: dict[str, Any], where: str) -> tuple[str, int, str]:
    user, time = (
        next((listen[key] for key in keys if listen.get(key) is not None), None)
        for keys in (("user_name", "user_id"), ("timestamp", "listened_at"))
    )
    if type(user) is int:
        user = str(user)
    if type(user) is not str:
        raise TableError(f"{where}: no 'user_name' or 'user_id'")
    if type(time) not in (int, float, str):
        raise TableError(f"{where}: no 'timestamp' or 'listened_at'")
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
        " – ".join(name for name in names if type(name) is str and name),
    )
    track = next((one for one in candidates if type(one) is str and one), "")
    if not track:
        raise TableError(f"{where}: no recording id and no 'track_name'")
    return (
        valid_id(user, f"{where}: user"),
        _seconds(time, f"{where}: time"),
        valid_id(track, f"{where}: track"),
    )


def _seconds(value: float | str, where: str) -> int:
    """Whole seconds since 1970 of a number or of an ISO 8601 time.

    Raises
    ------
    TableError
        If it is neither, or no time of our era.
    """
    seconds: float = math.nan
    try:
        seconds = float(value)
        if seconds > MILLISECONDS:
            seconds /= 1000
    except ValueError:
        try:
            moment = datetime.datetime.fromisoformat(str(value).strip())
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=datetime.UTC)
            seconds = moment.timestamp()
        except (ValueError, OverflowError):
            pass
    except OverflowError:
        pass
    if not 0 <= seconds <= LATEST:  # not a number fails here too
        raise TableError(f"{where}: {str(value)[:60]!r} is not a time (seconds or ISO 8601)")
    return int(seconds)
