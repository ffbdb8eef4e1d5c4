"""Search in a file of embeddings: nearest tracks of a query, a report on the space, a map page."""

from __future__ import annotations

import heapq
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.audio.decode import decode
from playlist_pretrain.audio.silence import QUIET, sound_share
from playlist_pretrain.delimited import read_columns, read_header
from playlist_pretrain.errors import (
    AudioError,
    CollectionError,
    EmbeddingsError,
    FrontEndError,
    GroupsError,
    ModelError,
    PlaylistPretrainError,
    RecipeError,
    TrackError,
    printable,
)
from playlist_pretrain.evaluation.neighbours import (
    ExactSearch,
    Search,
    centre,
    mean_cosine,
    unit_vectors,
)
from playlist_pretrain.files import TableWriter, atomic_write, write_json
from playlist_pretrain.messages import command
from playlist_pretrain.playlists.groups import TrackGroups, groups_path
from playlist_pretrain.playlists.match import shown
from playlist_pretrain.records.schema import did_you_mean
from playlist_pretrain.records.sources import excerpt_seconds, excerpt_text, find_audio
from playlist_pretrain.records.track_tags import TRACKS_FILE
from playlist_pretrain.retrieval.continuation import Playlist, read_playlist, write_continued
from playlist_pretrain.retrieval.embed import excerpt_of_collection
from playlist_pretrain.retrieval.embedding_table import (
    EmbeddingTable,
    read_embeddings,
    silent_ids,
)
from playlist_pretrain.retrieval.faiss_index import TRIED, cached_search
from playlist_pretrain.retrieval.map_page.page import write_map_page
from playlist_pretrain.retrieval.model import Model
from playlist_pretrain.retrieval.space import SpaceReport, space_report
from playlist_pretrain.retrieval.table_groups import (
    ARTISTS,
    KnownTracks,
    artist_groups,
    artists_of,
    audio_folder_of,
    collection_groups,
    collection_of,
    tag_artists,
    text_about,
    track_values,
)
from playlist_pretrain.storage import is_remote, location

if TYPE_CHECKING:
    from playlist_pretrain.models.load import LoadedModel
    from playlist_pretrain.records.collection import Collection

TOP, ADD = 10, 20
SAME = 0.9999
"""Similarity from which a track of the same name is taken for the same audio."""
CLOSEST = 5
_NOT_SHOWN = ("playlists", "sessions")
"""Groups that a page does not show: a track is in dozens of them."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Query:
    """A direction whose nearest tracks are looked for."""

    text: str  # name for the screen
    vector: np.ndarray  # float64 [dim], of any length but 0
    left_out: np.ndarray  # rows that are no answer: those asked about


def open_table(path: str | Path) -> EmbeddingTable:
    """Read the embeddings of a file, one a track, without those of tracks that are silent.

    Raises EmbeddingsError for zeros, or fewer than two tracks.
    """
    table = read_embeddings(path).by_track()
    if (silent := table.silent).size:
        first = shown(table.track_ids[int(silent[0])])
        what = "1 track is" if silent.size == 1 else f"{silent.size:,} tracks are"
        logger.info(f"{what} silent, or nearly, and no neighbour of others (such as {first})")
        table = table.without(silent)
    zero = np.flatnonzero(~table.vectors.any(axis=1))
    if len(zero):
        row = int(zero[0])
        raise EmbeddingsError(
            f"{path}: row {row} (track {table.track_ids[row]!r}): all zeros, so it has no direction"
            + (f", as {len(zero) - 1:,} others" if len(zero) > 1 else "")
        )
    if len(table) < 2:
        raise EmbeddingsError(f"{path}: one track, so it has no neighbours")
    return table


def tracks_query(table: EmbeddingTable, known: KnownTracks, ids: Sequence[str]) -> Query:
    """Ask for the nearest tracks of the centre of some tracks.

    Raises TrackError, which names the ids most alike, for one that the table does not have.
    """
    ids = list(dict.fromkeys(ids))
    rows = known.rows(ids)
    if (rows < 0).any():
        wanted = ids[int(np.argmin(rows))]
        if wanted in silent_ids(table.about):
            raise TrackError(f"track {shown(wanted)} is silent, or nearly: it has no neighbours")
        near = ", ".join(map(shown, closest_ids(wanted, known.track_ids)))
        raise TrackError(
            f"no track {shown(wanted)} in the embeddings ({len(known):,} tracks); the closest ids: "
            f"{near}{did_you_mean(wanted, known.rows)}"
        )
    text = shown(ids[0]) if len(ids) == 1 else f"the centre of {len(ids)} tracks"
    return Query(text, centre(table.vectors[rows]), rows)


def closest_ids(wanted: str, ids: Iterable[str]) -> list[str]:
    """Find the ids that share most runs of two or three characters with ``wanted``."""

    def runs(text: str) -> set[str]:
        text = f" {text.lower()} "
        return {text[place : place + n] for n in (2, 3) for place in range(len(text) - n + 1)}

    def likeness(candidate: str) -> float:
        of_candidate = runs(candidate)
        return len(of_wanted & of_candidate) / len(of_wanted | of_candidate)

    of_wanted = runs(wanted)
    return heapq.nlargest(CLOSEST, ids, key=likeness)


def audio_query(
    table: EmbeddingTable,
    audio: str | Path,
    model: str | None = None,
    collection: str | Path | None = None,
    *,
    excerpt: float | str | None = None,
    trust_model: bool = False,
) -> Query:
    """Embed an audio file with the model that the table is of.

    The mean is taken over the non-overlapping windows of the same ``excerpt`` that the table is of,
    by default: so many seconds, or ``"full"``. A file that the table is of is no exception, and is
    found at the first rank. A model that only the table names is used if it is there, passes the
    checks of :mod:`~playlist_pretrain.models.trust`, whatever ``trust_model`` says, and has the
    table's key. Raises EmbeddingsError when the table does not say which model it is of, or it is
    another, and the errors of loading, decoding and front ends.
    """
    key = text_about(table, "model_key")
    if key is None:
        raise EmbeddingsError(
            "the embeddings do not say which model they are of, so no audio can be compared with "
            f"them; {command('embed')} writes it"
        )
    if not Path(audio).exists():
        raise AudioError(f"{audio}: no such file")
    name = model or text_about(table, "model")
    if name is None:
        raise EmbeddingsError("the embeddings do not name their model: give it with --model")
    if model is None and is_remote(name):
        raise EmbeddingsError(
            f"the embeddings name {name!r} as their model, a URL: it is not opened; --model takes "
            "a copy of it here"
        )
    try:
        embedder = _embedder(name, table, collection, trust=trust_model and model is not None)
    except ModelError as error:
        if model is not None:
            raise
        raise ModelError(f"{error} (the embeddings name it; --model takes another)") from error
    if embedder.key != key:
        raise EmbeddingsError(
            f"the embeddings are of model {text_about(table, 'model')!r} (key {key[:8]}), and "
            f"{name!r} is another (key {embedder.key[:8]}): their values do not compare"
        )
    if model is None:
        logger.info(f"model {name}, which the embeddings name, is used")
    front_end = embedder.front_end
    if not front_end.takes_waveforms:
        raise FrontEndError(
            f"front end {front_end.name!r} takes no waveforms, its mels are made elsewhere: no "
            "audio file can be asked about"
        )
    seconds = _excerpt_to_take(table, collection, excerpt)
    decoded = decode(audio, front_end.sample_rate, seconds, front_end.resample_quality)
    if (sound := sound_share(decoded.waveform, front_end.sample_rate)) < QUIET:
        logger.warning(
            f"{audio}: {sound:.1%} of what is taken of it has sound: what is near says little"
        )
    vector = Model(embedder).embed(decoded.waveform).vectors[0]
    if not vector.any():
        raise ModelError(f"{name}: its embedding of {printable(str(audio))} has no direction")
    return Query(printable(str(audio)), vector.astype(np.float64), np.empty(0, np.int64))


def _excerpt_to_take(
    table: EmbeddingTable, place: str | Path | None, given: float | str | None
) -> float | None:
    """Seconds of a query that is audio, None for all of it; tells whether the table has as much."""
    theirs = table.about.get("excerpt")
    if theirs is None and "audio" in table.about:
        theirs = "full"  # as before there was a choice
    if theirs is None and (place or text_about(table, "collection")):
        try:
            if (collection := collection_of(table, place)) is not None:
                theirs = excerpt_of_collection(collection).get("excerpt")
        except CollectionError as error:
            logger.info(f"the embeddings do not say which part of each file they are of: {error}")
    if theirs is None:
        seconds = excerpt_seconds(given)
        what = "which part of each file they are of is not known"
        logger.info(f"{excerpt_text(seconds)} of the file is compared with the embeddings: {what}")
        return seconds
    try:
        own = excerpt_seconds(theirs)
    except (RecipeError, TypeError):
        raise EmbeddingsError(f"the embeddings are damaged: an excerpt of {theirs!r}") from None
    seconds = own if given is None else excerpt_seconds(given)
    if seconds == own:
        logger.info(f"{excerpt_text(seconds)} of the file is taken, as of the embeddings' tracks")
    else:
        logger.info(
            f"{excerpt_text(seconds)} of the file is compared with {excerpt_text(own)} of each "
            "track: a track is less like itself than without --excerpt"
        )
    return seconds


def _tell_itself(found: Found, query: np.ndarray, audio: str | Path, known: KnownTracks) -> None:
    """Say where the audio file that was asked about is itself among the tracks, if it is."""
    name = os.path.abspath(os.path.splitext(audio)[0]).split(os.sep)
    ids = ["/".join(name[first:]) for first in range(1, len(name))]  # the longest first
    rows = [row for row in known.rows([*ids, os.fspath(audio)]).tolist() if row >= 0]
    if not rows:
        return
    row, units = rows[0], unit_vectors(np.stack([query, found.table.vectors[rows[0]]]))
    similarity, place = float(units[0] @ units[1]), np.flatnonzero(found.rows == row)
    where = f"rank {place[0] + 1}, " if len(place) else ""
    what = "the file is itself in the embeddings"
    if similarity < SAME:
        what = "a track of the file's name is in the embeddings, of other audio or another part"
    logger.info(f"{what}: {shown(known.track_ids[row])}, {where}similarity {similarity:.4f}")


def _embedder(
    name: str, table: EmbeddingTable, place: str | Path | None, *, trust: bool
) -> LoadedModel:
    """The model; one that is not trained is made from what the table's collection says."""
    from playlist_pretrain.models.load import MEAN_OF_MEL, Untrained, load_embedder

    collection = collection_of(table, place) if name == MEAN_OF_MEL else None
    if collection is None:
        return load_embedder(name, trust=trust)
    frames = table.about.get("frames")
    if type(frames) is not int or frames < 1:
        raise EmbeddingsError(f"the embeddings are damaged: windows of {frames!r} frames")
    untrained = Untrained(
        collection.front_end, collection.band_mean, collection.band_std, frames=frames
    )
    return load_embedder(name, untrained)


@dataclass(frozen=True, repr=False)
class Found:
    """Result of :func:`search`; a notebook shows it as the command does."""

    table: EmbeddingTable  # one vector a track
    groups: list[TrackGroups]  # of its tracks
    query: Query | None
    rows: np.ndarray  # int64 [found], the nearest first; none without a query
    similarities: np.ndarray  # float64 [found]
    playlist: Playlist | None  # that the rows continue
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
    excerpt: float | str | None = None,
    trust_model: bool = False,
    playlist: str | Path | None = None,
    add: int | None = None,
    name: str | None = None,
    format: str = "auto",
    columns: dict[str, str] | None = None,
    map: str | Path | None = None,
    path_prefix: str | None = None,
    encoding: str | None = None,
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
        Query, one of them at most: ids of tracks, an audio file (``model`` embeds it, ``excerpt``
        is what is taken of it, by default as of the tracks; for ``trust_model`` see
        :func:`.load_model`), or a playlist (``name``, ``format``, ``columns``, ``map``,
        ``path_prefix``, ``encoding`` say how it is read, ``add`` how many tracks are added).
        Without any, or with ``report``, the space is reported on.
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
    query = continued = measured = None
    folder = audio_folder_of(table, audio_folder)
    if folder and not audio_folder and (playlist or page):
        logger.info(f"audio folder {folder}, which the embeddings name, is used")
    if track:
        query = tracks_query(table, known, track)
    elif audio:
        query = audio_query(
            table, audio, model, collection, excerpt=excerpt, trust_model=trust_model
        )
    elif playlist:
        continued = read_playlist(
            playlist, known, name=name, format=format, columns=columns, audio=folder, id_map=map,
            path_prefix=path_prefix, encoding=encoding,
        )  # fmt: skip
        logger.info(continued.text())
        rows = continued.rows
        query = Query(f"playlist {shown(continued.name)}", centre(table.vectors[rows]), rows)
    report = report or query is None
    found_groups, opened = _groups(
        table, known, collection, groups, artists, report or page is not None
    )
    engine: Search = ExactSearch(table.vectors)
    if index == "faiss":
        settings = {"lists": faiss_lists, "probes": faiss_probes, "seed": seed}
        engine = cached_search(embeddings, table.vectors, **settings)
        logger.info(
            f"it finds {engine.recall(seed=seed):.1%} of the ten nearest (of "
            f"{min(TRIED, len(table)):,} tracks drawn); more with more --faiss-probes"
        )
    rows, similarities = np.empty(0, np.int64), np.empty(0)
    if query is not None:
        k, usual = (add, ADD) if playlist else (top, TOP)
        k = max(1, min(usual, len(table) - len(query.left_out))) if k is None else k
        found = engine.of_vectors(query.vector[np.newaxis], k, query.left_out)
        rows, similarities = found[0][0], found[1][0]
        logger.info(
            f"{embeddings}: {len(table):,} tracks, mean cosine of two of them "
            f"{mean_cosine(table.vectors):.4f}"
        )
    if report:
        k = min(TOP, len(table) - 1) if top is None else top
        measured = space_report(engine, table.vectors, found_groups, k=k, seed=seed)
    result = Found(table, found_groups, query, rows, similarities, continued, measured)
    logger.info(repr(result))
    if audio and query is not None:
        _tell_itself(result, query.vector, audio, known)
    if out is not None:
        _write(Path(out), result, folder, str(embeddings), {"track": track, "audio": audio})
        logger.info(f"{out}: written")
    if page is not None:
        selected = track[0] if len(track) == 1 else None
        _write_page(page, result, audio_folder, opened, artists, selected, seed)
    return result


def _groups(
    table: EmbeddingTable,
    known: KnownTracks,
    place: str | Path | None,
    names: Sequence[str] | None,
    artists: str | Path | None,
    all_there: bool,
) -> tuple[list[TrackGroups], Collection | None]:
    """All groups that there are, or those that artists are known by, and their collection."""
    if names is not None:
        if not names or len(set(names)) < len(names):
            raise RecipeError(f"--groups {','.join(names)}: names, each once, with commas between")
        if artists and ARTISTS in names:
            raise RecipeError(f"--groups {','.join(names)} and --artists: artists come from one")
    own = [artist_groups(artists, known)] if artists else []
    if own and not all_there:
        return own, None
    collection = None
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
            return own, None
        wanted = names
        if not all_there:
            wanted = [ARTISTS] if groups_path(collection.path, ARTISTS).exists() else []
        found = collection_groups(known, collection, wanted)
        if not (own or (names and all_there) or any(one.name == ARTISTS for one in found)):
            found += tag_artists(collection, known)
    except (CollectionError, GroupsError) as error:
        if place or names:
            raise
        logger.info(f"groups of the collection are left out: {error}")
        return own, collection
    return [*own, *(one for one in found if not (own and one.name == ARTISTS))], collection


def _write(
    out: Path, found: Found, audio: Path | None, embeddings: str, asked: Mapping[str, Any]
) -> None:
    table = found.table
    if found.playlist is not None:
        write_continued(out, found.playlist, table, found.rows, found.similarities, audio)
    elif out.suffix.lower() == ".csv":
        with atomic_write(out, "w") as stream:
            rows = TableWriter(stream, quote_text=True)
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
    collection: Collection | None,
    artists: str | Path | None,
    selected: str | None,
    seed: int,
) -> None:
    """Write a map page, coloured by groups and tags, artists first; titles come from ``artists`` or
    the collection's ``tracks.csv``; audio files are the embeddings' own, or those of ``folder``.
    """
    table = found.table
    files, known = None, set(table.track_ids)
    if folder is not None and table.paths is None:
        sources = find_audio(folder).tracks
        files = {track.track_id: track.source for track in sources if track.track_id in known}
        if not files:
            logger.info(f"{folder}: no file has the name of a track")
    labels = {
        one.name.removeprefix("tags-").removesuffix("s"): track_values(one, table.track_ids)
        for one in sorted(found.groups, key=lambda one: one.name != ARTISTS)
        if one.name not in _NOT_SHOWN and len(one)
    }
    tables = [location(artists)] if artists else []
    tables += [collection.path / TRACKS_FILE] if collection else []
    written = write_map_page(
        page,
        table,
        labels=labels,
        titles=_titles(tables, known),
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


def _titles(paths: Sequence[Path], known: set[str]) -> dict[str, str]:
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
