"""Search in a file of embeddings: nearest tracks of a query, a report on the space, a map page."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from playlist_pretrain.delimited import read_columns, read_header
from playlist_pretrain.errors import (
    CollectionError,
    GroupsError,
    PlaylistPretrainError,
    RecipeError,
)
from playlist_pretrain.evaluation.neighbours import ExactSearch, Search, centre, mean_cosine
from playlist_pretrain.files import atomic_write, write_json
from playlist_pretrain.playlists.groups import TrackGroups, groups_path
from playlist_pretrain.playlists.match import shown
from playlist_pretrain.records.sources import find_audio
from playlist_pretrain.retrieval.continuation import Playlist, read_playlist, write_continued
from playlist_pretrain.retrieval.embedding_table import EmbeddingTable
from playlist_pretrain.retrieval.faiss_index import TRIED, IndexSettings, cached_search
from playlist_pretrain.retrieval.map_page.page import write_map_page
from playlist_pretrain.retrieval.queries import Query, audio_query, open_table, tracks_query
from playlist_pretrain.retrieval.space import SpaceReport, space_report
from playlist_pretrain.retrieval.table_groups import (
    ARTISTS,
    KnownTracks,
    artist_groups,
    artists_of,
    audio_folder_of,
    collection_groups,
    collection_of,
    text_about,
    track_values,
)
from playlist_pretrain.storage import RemotePath, location

TOP, ADD = 10, 20
TRACKS_FILE = "tracks.csv"
_NOT_SHOWN = ("playlists", "sessions")
"""Groups that a page does not show: a track is in dozens of them."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """Result of :func:`search`.

    Attributes
    ----------
    table : EmbeddingTable
        One vector a track.
    groups : list of TrackGroups
        Groups of its tracks.
    query : Query or None
    rows : np.ndarray int64 [found]
        Rows of the table, the nearest first; none without a query.
    similarities : np.ndarray float64 [found]
    playlist : Playlist or None
        Playlist that the rows continue.
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
        """Rank, similarity, id and artist (None where not known) of each track found."""
        artists = artists_of(self.groups, self.rows)
        found = zip(self.rows.tolist(), self.similarities.tolist(), artists, strict=True)
        return [
            {"rank": rank, "similarity": similarity, "track_id": self.table.track_ids[row],
             "artist": artist}
            for rank, (row, similarity, artist) in enumerate(found, 1)
        ]  # fmt: skip

    def __repr__(self) -> str:
        lines = []
        if self.query is not None:
            rows = self.neighbours()
            heading = "artist" if any(row["artist"] is not None for row in rows) else ""
            names = [shown(row["track_id"]) for row in rows]
            width = max(map(len, ["track", *names]))
            lines.append(f"nearest to {self.query.text}")
            lines.append(f"  rank  similarity  {'track':<{width}}  {heading}")
            for row, name in zip(rows, names, strict=True):
                artist = "" if row["artist"] is None else shown(row["artist"])
                start = f"  {row['rank']:>4}  {row['similarity']:>10.4f}"
                lines.append(f"{start}  {name:<{width}}  {artist}")
        if self.report is not None:
            lines.append(self.report.text(self.table.track_ids))
        return "\n".join(line.rstrip() for line in lines)


def search(
    embeddings: str | Path,
    *,
    track: Sequence[str] = (),
    audio: str | Path | None = None,
    model: str | None = None,
    playlist: str | Path | None = None,
    add: int | None = None,
    name: str | None = None,
    format: str = "auto",
    columns: dict[str, str] | None = None,
    map: str | Path | None = None,
    audio_folder: str | Path | None = None,
    top: int | None = None,
    report: bool = False,
    collection: str | Path | None = None,
    groups: Sequence[str] | None = None,
    artists: str | Path | None = None,
    index: str = "exact",
    faiss_lists: int | None = None,
    faiss_probes: int = 64,
    seed: int = 0,
    out: str | Path | None = None,
    page: str | Path | None = None,
) -> Found:
    """Search in a file of embeddings, and write what was found.

    Parameters
    ----------
    embeddings : str or Path
        Parquet file; windows are averaged by track.
    track, audio, playlist
        Query, one of them at most: ids of tracks, an audio file (``model`` embeds it), or a
        playlist (``name``, ``format``, ``columns``, ``map`` say how it is read, ``add`` how many
        tracks are added). Without any, or with ``report``, the space is reported on.
    top : int, optional
        Number of neighbours; default 10, or as many as there are.
    audio_folder : str or Path, optional
        Folder below which paths in a playlist become ids, and whose files a page plays.
    collection, groups, artists
        Groups of the tracks: the collection where it is not where the embeddings say, names of
        its groups (default all, and tags), a table of artists.
    index : {"exact", "faiss"}
        ``faiss`` keeps an index beside the embeddings; see
        :mod:`~playlist_pretrain.retrieval.faiss_index`.
    seed : int
        Seed of the index, of the queries drawn for a report, and of its intervals.
    out : str or Path, optional
        File for what was found: ``.csv`` or ``.json``, of a playlist ``.m3u8`` too, of a report
        alone ``.json``.
    page : str or Path, optional
        HTML file for a map of the tracks.

    Raises
    ------
    PlaylistPretrainError
        With the option, file, row or track that has to be mended.
    """
    table = open_table(embeddings)
    known = KnownTracks(table.track_ids)
    query, continued = None, None
    folder = audio_folder_of(table, audio_folder)
    if track:
        query = tracks_query(table, known, track)
    elif audio:
        query = audio_query(table, audio, model)
    elif playlist:
        continued = read_playlist(
            playlist, known, name=name, format=format, columns=columns, audio=folder, id_map=map
        )
        logger.info(continued.text())
        rows = continued.rows
        query = Query(f"playlist {shown(continued.name)}", centre(table.vectors[rows]), rows)
    report = report or query is None
    found_groups = _groups(table, known, collection, groups, artists, report or page is not None)
    engine: Search = ExactSearch(table.vectors)
    if index == "faiss":
        engine = _faiss_search(embeddings, table, IndexSettings(faiss_lists, faiss_probes, seed))
    rows, similarities = np.empty(0, np.int64), np.empty(0)
    if query is not None:
        k, usual = (add, ADD) if playlist else (top, TOP)
        k = max(1, min(usual, len(table) - len(query.left_out))) if k is None else k
        found = engine.of_vectors(query.vector[np.newaxis], k, query.left_out)
        rows, similarities = found[0][0], found[1][0]
        alike = f"{mean_cosine(table.vectors):.4f}"
        logger.info(f"{embeddings}: {len(table):,} tracks, mean cosine of two of them {alike}")
    measured = None
    if report:
        k = min(TOP, len(table) - 1) if top is None else top
        measured = space_report(engine, table.vectors, found_groups, k=k, seed=seed)
    result = Found(table, found_groups, query, rows, similarities, continued, measured)
    logger.info(repr(result))
    if out is not None:
        _write(Path(out), result, folder, str(embeddings), {"track": track, "audio": audio})
        logger.info(f"{out}: written")
    if page is not None:
        selected = track[0] if len(track) == 1 else None
        _write_page(page, result, audio_folder, collection, artists, selected, seed)
    return result


def _groups(
    table: EmbeddingTable,
    known: KnownTracks,
    place: str | Path | None,
    names: Sequence[str] | None,
    artists: str | Path | None,
    all_there: bool,
) -> list[TrackGroups]:
    """All groups that there are, or those that artists are known by."""
    if names is not None:
        if not names or len(set(names)) < len(names):
            raise RecipeError(f"--groups {','.join(names)}: names, each once, with commas between")
        if artists and ARTISTS in names:
            raise RecipeError(f"--groups {','.join(names)} and --artists: artists come from one")
    own = [artist_groups(artists, known)] if artists else []
    if own and not all_there:
        return own
    try:
        collection = collection_of(table, place)
        if collection is None:
            if names:
                raise GroupsError(
                    f"--groups {','.join(names)}: the embeddings name no collection, so it needs "
                    "--collection too"
                )
            if all_there and text_about(table, "collection_key"):
                logger.info(
                    "the embeddings do not say where their collection is; --collection does"
                )
            return own
        wanted = names
        if not all_there:
            wanted = [ARTISTS] if groups_path(collection.path, ARTISTS).exists() else []
        found = collection_groups(known, collection, wanted)
    except (CollectionError, GroupsError) as error:
        if place or names:
            raise
        logger.info(f"groups of the collection are left out: {error}")
        return own
    return [*own, *(one for one in found if not (own and one.name == ARTISTS))]


def _faiss_search(path: str | Path, table: EmbeddingTable, settings: IndexSettings) -> Search:
    found = cached_search(path, table.vectors, settings)
    logger.info(
        f"it finds {found.recall():.1%} of the ten nearest (of {min(TRIED, len(table)):,} tracks "
        "drawn); more with more --faiss-probes"
    )
    return found


def _write(
    out: Path, found: Found, audio: Path | None, embeddings: str, asked: Mapping[str, Any]
) -> None:
    table = found.table
    if found.playlist is not None:
        write_continued(out, found.playlist, table, found.rows, found.similarities, audio)
    elif out.suffix.lower() == ".csv":
        with atomic_write(out, "w") as stream:
            rows = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            rows.writerow(["rank", "similarity", "track_id", "artist"])
            rows.writerows(
                [*[*row.values()][:3], row["artist"] or ""] for row in found.neighbours()
            )
    else:
        about = {name: text_about(table, name) for name in ("model", "model_key")}
        content: dict[str, Any] = {"embeddings": embeddings, **about}
        if found.query is not None:
            query = {name: value for name, value in asked.items() if value}
            content |= {"query": query, "neighbours": found.neighbours()}
        if found.report is not None:
            content["space"] = found.report.to_dict(table.track_ids)
        write_json(out, content)


def _write_page(
    page: str | Path,
    found: Found,
    folder: str | Path | None,
    collection: str | Path | None,
    artists: str | Path | None,
    selected: str | None,
    seed: int,
) -> None:
    """Write a map page.

    Tracks are coloured by the groups and tags that there are, artists first; titles come from
    ``artists`` or the collection's ``tracks.csv``, where these have any; audio files are those
    that the embeddings were made from, or those of ``folder``.
    """
    table = found.table
    files = None
    if folder is not None and table.paths is None:
        known = set(table.track_ids)
        sources = find_audio(folder).tracks
        files = {track.track_id: track.source for track in sources if track.track_id in known}
        if not files:
            logger.info(f"{folder}: no file has the name of a track")
    labels = {
        one.name.removeprefix("tags-").removesuffix("s"): track_values(one, table.track_ids)
        for one in sorted(found.groups, key=lambda one: one.name != ARTISTS)
        if one.name not in _NOT_SHOWN and len(one)
    }
    place = collection or text_about(table, "collection")
    tables = [location(artists)] if artists else []
    tables += [location(place) / TRACKS_FILE] if place else []
    written = write_map_page(
        page,
        table,
        labels=labels,
        titles=_titles(tables, set(table.track_ids)),
        audio=audio_folder_of(table, folder),
        files=files,
        selected=selected,
        seed=seed,
    )
    linked = written.linked
    played = f"{linked:,} with audio" if linked else "none with audio (--audio-folder)"
    logger.info(f"{page}: {written.tracks:,} tracks, {played}; open it in a browser")
    if written.refused:
        logger.info(
            f"{len(written.refused):,} tracks have a path that is none below the audio folder, "
            f"such as {written.refused[0]!r}: they are not played"
        )


def _titles(paths: Sequence[Path | RemotePath], known: set[str]) -> dict[str, str]:
    """Titles of the known tracks, from the first table that is there and has titles."""
    for path in paths:
        try:
            if not path.exists():  # the collection need not have one
                continue
            if "title" in read_header(path, ["track_id"]):
                cells = read_columns(path, ["track_id", "title"], blank={"title"})
                return {id: title for _, (id, title) in cells if id in known and title.strip()}
        except PlaylistPretrainError as error:
            logger.info(f"no titles: {error}")
    return {}
