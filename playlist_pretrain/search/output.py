"""What ``search`` found, on the screen and in files."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.commands import command
from playlist_pretrain.files import atomic_write, write_json
from playlist_pretrain.playlists.coverage import shown
from playlist_pretrain.search.continuation import Continued
from playlist_pretrain.search.table_groups import artists_of, audio_folder, text_about

if TYPE_CHECKING:
    from playlist_pretrain.embedding.table import EmbeddingTable
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.search.continuation import Playlist
    from playlist_pretrain.search.options import SearchOptions
    from playlist_pretrain.search.queries import Query
    from playlist_pretrain.search.space import SpaceReport


@dataclass(frozen=True)
class Searched:
    """What came of :func:`search`.

    Attributes
    ----------
    table : EmbeddingTable
        One vector a track.
    groups : list of TrackGroups
        That are known of its tracks.
    query : Query or None
    rows : np.ndarray int64 [found]
        Of the table, the nearest first; none without a query.
    similarities : np.ndarray float64 [found]
    playlist : Playlist or None
        That the rows go on with.
    report : SpaceReport or None
    """

    table: EmbeddingTable
    groups: list[TrackGroups]
    query: Query | None
    rows: np.ndarray
    similarities: np.ndarray
    playlist: Playlist | None
    report: SpaceReport | None

    def neighbours(self) -> list[dict[str, Any]]:
        """Rank, similarity, id and artist (None where not known) of what was found."""
        artists = artists_of(self.groups, self.rows)
        found = zip(self.rows.tolist(), self.similarities.tolist(), artists, strict=True)
        return [
            {"rank": rank, "similarity": similarity, "track_id": self.table.track_ids[row],
             "artist": artist}
            for rank, (row, similarity, artist) in enumerate(found, 1)
        ]  # fmt: skip


def neighbours_text(neighbours: Sequence[dict[str, Any]]) -> str:
    """What :meth:`Searched.neighbours` gives, as aligned lines."""
    artists = any(one["artist"] is not None for one in neighbours)
    width = max([len("track"), *(len(shown(one["track_id"])) for one in neighbours)])
    lines = [f"  rank  similarity  {'track':<{width}}  {'artist' if artists else ''}".rstrip()]
    for one in neighbours:
        artist = shown(one["artist"]) if one["artist"] is not None else ""
        lines.append(
            f"  {one['rank']:>4}  {one['similarity']:>10.4f}  {shown(one['track_id']):<{width}}  "
            f"{artist}".rstrip()
        )
    return "\n".join(lines)


def write_found(options: SearchOptions, searched: Searched) -> None:
    """Write what was found to ``options.out``, whole."""
    out, table = Path(options.out), searched.table
    if searched.playlist is not None:
        Continued(
            searched.playlist,
            searched.rows,
            searched.similarities,
            table,
            audio_folder(table, options.audio_folder),
        ).write(out)
        return
    if out.suffix.lower() == ".csv":
        with atomic_write(out, "w") as stream:
            rows = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            rows.writerow(["rank", "similarity", "track_id", "artist"])
            for one in searched.neighbours():
                rows.writerow([*list(one.values())[:3], one["artist"] or ""])
        return
    content: dict[str, Any] = {
        "embeddings": options.embeddings,
        "model": text_about(table, "model"),
        "model_key": text_about(table, "model_key"),
    }
    if searched.query is not None:
        asked = {"track": options.track} if options.track else {"audio": options.audio}
        content |= {"query": asked, "neighbours": searched.neighbours()}
    if searched.report is not None:
        content["space"] = searched.report.to_dict(table.track_ids)
    write_json(out, content)


def next_command(options: SearchOptions, searched: Searched) -> str:
    """A command that makes sense after the search."""
    start = command("search", "--embeddings", options.embeddings)
    if options.playlist and options.out is None:
        return f"{start} {shlex.join(['--playlist', options.playlist, '--out', 'longer.m3u8'])}"
    row = int(searched.rows[0]) if len(searched.rows) else searched.report.hubs[0][0]
    return f"{start} {track_words(searched.table.track_ids[row])}"


def track_words(track_id: str) -> str:
    """The option that names a track, for a shell; an id may begin as an option does."""
    if track_id.startswith("-"):
        return shlex.quote(f"--track={track_id}")
    return f"--track {shlex.quote(track_id)}"
