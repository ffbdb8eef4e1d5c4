"""Listening histories: the tracks that a user played without a long pause are a group, a session.

Format: a table (see ``playlist_pretrain.delimited``) with the columns ``user_id``, ``timestamp``
and ``track_id``, or JSON lines of ListenBrainz, with ``user_id`` or ``user_name``, ``timestamp`` or
``listened_at``, and ``track_metadata``, whose MusicBrainz recording (as mapped, or as submitted) is
the track id, or else its ``recording_msid``; a listen without any of them has ``artist – track``.
Times are seconds since 1970 (milliseconds above 10¹¹) or ISO 8601, in UTC if they do not say.
Lines may come in any order, and a user's listens lie in any number of files.
Provenance: any log; https://listenbrainz.org/data.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import math
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from playlist_pretrain.delimited import BYTE_ORDER_MARK, has_column, read_columns
from playlist_pretrain.errors import TableError
from playlist_pretrain.playlists.readers.json_text import field, object_of, text_of
from playlist_pretrain.playlists.readers.source import (
    Group,
    Reader,
    Request,
    Source,
    first_bytes,
    sources_in,
    valid_id,
)

DEFAULT_COLUMNS = {"user": "user_id", "time": "timestamp", "track": "track_id"}
OPTION = "--columns user=…,time=…,track=…"
TEXT = (".csv", ".tsv")
MILLISECONDS = 10**11
LATEST = 253_402_300_799
"""The last second that has a date of four figures."""


class HistoryReader(Reader):
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
    suffixes = (".listens", ".jsonl", ".ndjson")
    files = ", ".join(suffixes + TEXT)

    def sniff(self, path: Path) -> bool:
        """True for JSON lines of listens, and for tables with a user and a time."""
        if path.is_dir() or not (start := first_bytes(path)):
            return any(self.accepts(source.path) for source in sources_in(path, self.accepts))
        if start.lstrip().startswith(b"{"):
            return b'"track_metadata"' in start
        line = start.partition(b"\n")[0].decode("utf-8", "replace")
        return all(has_column(line, DEFAULT_COLUMNS[name]) for name in ("user", "time"))

    def sources(self, path: Path) -> list[Source]:
        """The file, or the JSON lines in a folder or zip file (or else its tables)."""
        return sources_in(path, self.accepts) or sources_in(path, _is_text) or super().sources(path)

    def read(self, sources: Sequence[Source], request: Request) -> Iterator[Group]:
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
                if self.accepts(source.path) or _begins_with_brace(source)
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


def _is_text(path: PurePosixPath) -> bool:
    return path.suffix.lower() in TEXT


def _begins_with_brace(source: Source) -> bool:
    if _is_text(source.path):
        return False
    try:
        with source.open() as stream:
            return stream.read(4096).removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"{")
    except TableError:
        return False  # said when it is read


def _listens_of_table(
    source: Source, names: Sequence[str], request: Request
) -> Iterator[tuple[str, int, str]]:
    mend = "name the columns with " + OPTION
    for line, (user, time, track) in read_columns(source, names, request.advance, mend):
        yield user, _seconds(time, f"{source.name}: line {line}: column {names[1]!r}"), track


def _listens_of_json(source: Source, request: Request) -> Iterator[tuple[str, int, str]]:
    for where, line in source.lines(request.advance):
        if not line.isspace():
            yield _listen(object_of(text_of(line, where), where), where)


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
    """Whole seconds since 1970 of a number or an ISO 8601 time, or a TableError at ``where``."""
    seconds: float = math.nan
    with contextlib.suppress(ValueError, OverflowError):
        try:
            seconds = float(value)
            if seconds > MILLISECONDS:
                seconds /= 1000
        except ValueError:
            moment = datetime.datetime.fromisoformat(str(value).strip())
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=datetime.UTC)
            seconds = moment.timestamp()
    if not 0 <= seconds <= LATEST:  # not a number fails here too
        raise TableError(f"{where}: {str(value)[:60]!r} is not a time (seconds or ISO 8601)")
    return int(seconds)
