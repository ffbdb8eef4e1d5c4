"""Search in a file of embeddings: nearest tracks of a query, a report on the space, a map page."""

from __future__ import annotations

import inspect
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.delimited import read_columns, read_header
from playlist_pretrain.errors import (
    CollectionError,
    EmbeddingsError,
    GroupsError,
    PlaylistPretrainError,
    RecipeError,
    TrackError,
    require,
)
from playlist_pretrain.evaluation.neighbours import (
    ExactSearch,
    Search,
    mean_cosine,
    pair_similarities,
    percentiles,
    unit_vectors,
)
from playlist_pretrain.evaluation.neighbours import centre as _centre
from playlist_pretrain.files import TableWriter, atomic_write, write_json
from playlist_pretrain.messages import command, option
from playlist_pretrain.playlists.groups import TrackGroups, groups_path
from playlist_pretrain.playlists.match import shown
from playlist_pretrain.records.sources import find_audio
from playlist_pretrain.records.track_tags import TRACKS_FILE
from playlist_pretrain.retrieval.continuation import (
    FORMATS,
    Playlist,
    read_playlist,
    write_continued,
)
from playlist_pretrain.retrieval.embedding_table import EmbeddingTable
from playlist_pretrain.retrieval.faiss_index import TRIED, cached_search
from playlist_pretrain.retrieval.map_page.page import write_map_page
from playlist_pretrain.retrieval.queries import (
    Query,
    audio_query,
    open_table,
    rows_of,
    tell_itself,
    tracks_query,
)
from playlist_pretrain.retrieval.selection import Likeness, away_from, choose, song_path
from playlist_pretrain.retrieval.space import SpaceReport, space_report
from playlist_pretrain.retrieval.table_groups import (
    ALBUMS,
    ARTISTS,
    KnownTracks,
    artists_of,
    audio_folder_of,
    collection_groups,
    collection_of,
    groups_of_table,
    groups_of_tags,
    text_about,
    track_values,
)
from playlist_pretrain.storage import location, refuse_remote

if TYPE_CHECKING:
    from playlist_pretrain.records.collection import Collection

TOP, ADD, STEPS = 10, 20, 20
MOST_COMPARED = 1_000
"""Tracks found that are looked through for copies where none are folded."""
PLAYLISTS = "playlists"
INDEXES = ("exact", "faiss")
PAGES = (".html", ".htm")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Found:
    """Result of :func:`search`; a notebook shows it as the command does."""

    table: EmbeddingTable  # one vector a track
    groups: list[TrackGroups]  # of its tracks
    query: Query | None
    rows: np.ndarray  # int64 [found], the nearest first, or those of a path; none without a query
    similarities: np.ndarray  # float64 [found]; of a path to the track before, NaN of its first
    percentiles: np.ndarray  # float64 [found]: per cent of the pairs of tracks that are less alike
    folded: list[tuple[int, int]]  # rows left out, and the row that each is a version of
    path: bool  # whether the rows are a path
    playlist: Playlist | None  # that the rows continue; rows of its silent tracks are beyond table
    report: SpaceReport | None

    def neighbours(self) -> list[dict[str, Any]]:
        """Rank, similarity, percentile, id and artist of each track found.

        Of the first track of a path similarity and percentile are None, and so is an artist that
        is not known.
        """
        artists = artists_of(self.groups, self.rows)
        found = zip(
            self.rows.tolist(), self.similarities.tolist(), self.percentiles.tolist(), artists,
            strict=True,
        )  # fmt: skip
        return [
            {"rank": rank, "similarity": None if np.isnan(similarity) else similarity,
             "percentile": None if np.isnan(similarity) else percentile,
             "track_id": self.table.track_ids[row], "artist": artist}
            for rank, (row, similarity, percentile, artist) in enumerate(found, 1)
        ]  # fmt: skip

    def __repr__(self) -> str:
        lines = []
        if self.query is not None:
            rows = self.neighbours()
            heading = "artist" if any(row["artist"] is not None for row in rows) else ""
            names = [shown(row["track_id"]) for row in rows]
            width = max(map(len, ["track", *names]))
            lines.append(self.query.text if self.path else f"nearest to {self.query.text}")
            lines.append(f"  rank  similarity  percentile  {'track':<{width}}  {heading}")
            for row, name in zip(rows, names, strict=True):
                artist = "" if row["artist"] is None else shown(row["artist"])
                figures = " " * 22
                if row["similarity"] is not None:
                    figures = f"{row['similarity']:>10.4f}  {row['percentile']:>8.2f} %"
                lines.append(f"  {row['rank']:>4}  {figures}  {name:<{width}}  {artist}")
            ids = self.table.track_ids
            lines += [
                f"  folded: {shown(ids[row])}, nearly equal to {shown(ids[kept])}"
                for row, kept in self.folded
            ]
        if self.report is not None:
            lines.append(self.report.text(self.table.track_ids))
        return "\n".join(line.rstrip() for line in lines)


def search(
    embeddings: str | Path | EmbeddingTable,
    *,
    track: str | Sequence[str] = (),
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
    path: Sequence[str] = (),
    steps: int | None = None,
    top: int | None = None,
    less: str | Sequence[str] = (),
    per_artist: int | None = None,
    per_album: int | None = None,
    fold: bool = False,
    centre: bool = False,
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
    """Search among embeddings, and write what was found.

    Parameters
    ----------
    embeddings : str, Path or EmbeddingTable
        Parquet file, or what ``model.embed(…)`` gives; windows are averaged by track.
    track, audio, playlist
        Query, one of them at most: id or ids of tracks, an audio file (``model`` embeds it,
        ``excerpt`` is what is taken of it, by default as of the tracks; for ``trust_model`` see
        :func:`.load_model`), or a playlist (``name``, ``format``, ``columns``, ``map``,
        ``path_prefix``, ``encoding`` say how it is read, ``add`` how many tracks are added).
        Without any, nor ``path`` or ``page``, or with ``report``, the space is reported on.
    audio_folder : str or Path, optional
        Folder below which paths in a playlist become ids, whose files a written playlist leads to
        and a page plays.
    path, steps
        In place of a query, the ids of two tracks: a path of at most so many steps [20] leads from
        one to the other; see :func:`.song_path`.
    top : int, optional
        Number of neighbours; default 10, or as many as there are.
    less : str or sequence of str
        Ids of tracks that the query is turned away from; see :func:`.away_from`.
    per_artist, per_album : int, optional
        Most tracks found of an artist, of an album; a track without a known one counts for none.
    fold : bool
        Leave out tracks that are nearly equal to one found, or asked about; see :func:`.choose`.
    centre : bool
        Take the mean of all tracks from the embeddings, if they are not centred already.
    collection, groups, artists
        Groups of the tracks: the collection where it is not where the embeddings say, names of
        its groups (default all, and tags), a table of artists, perhaps with albums.
    index : {"exact", "faiss"}
        ``faiss`` keeps an index beside the embeddings; see
        :mod:`~playlist_pretrain.retrieval.faiss_index`.
    seed : int
        Seed of the index, of the queries drawn for a report, of its intervals, and of the pairs
        that percentiles are of.
    out : str or Path, optional
        File for what was found: ``.csv``, ``.json``, or ``.m3u8``, which begins with the tracks
        asked about; of a report alone ``.json``.
    page : str or Path, optional
        HTML file for a map of the tracks.

    Raises
    ------
    PlaylistPretrainError
        With the option, file, row or track that has to be mended.

    Examples
    --------
    >>> found = search(embeddings, track="futu/01", less="futu/02", centre=True)
    >>> way = search(embeddings, path=["futu/01", "zena/03"], steps=5)
    """
    track, less, path = (
        [one] if isinstance(one, str) else list(one) for one in (track, less, path)
    )
    check_settings(locals())  # the parameters: before there are other names
    label = "embeddings" if isinstance(embeddings, EmbeddingTable) else str(embeddings)
    table, whole = open_table(embeddings, centre=centre)
    known = KnownTracks(table.track_ids)
    query = continued = measured = of_file = None
    folder = audio_folder_of(table, audio_folder)
    written_playlist = out is not None and _is_m3u(out)
    if folder and not audio_folder and (playlist or page or written_playlist):
        state = "is used" if folder.is_dir() else "is not there; --audio-folder says where it is"
        logger.info(f"audio folder {folder}, which the embeddings name, {state}")
    if track:
        query = tracks_query(table, known, track)
    elif audio:
        query = audio_query(
            table, audio, model, collection, excerpt=excerpt, trust_model=trust_model
        )
        of_file = query.vector
    elif playlist:
        continued = read_playlist(
            playlist, KnownTracks(whole.track_ids), name=name, format=format, columns=columns,
            audio=folder, id_map=map, path_prefix=path_prefix, encoding=encoding,
        )  # fmt: skip
        logger.info(continued.text())
        rows = continued.rows[continued.rows < len(table)]
        if silent := len(continued.rows) - len(rows):
            logger.info(f"{silent:,} of its tracks silent, or nearly: not asked about")
        if not len(rows):
            raise EmbeddingsError(
                f"{playlist}: no track of playlist {shown(continued.name)} in the embeddings has "
                "sound, so there is nothing to ask about"
            )
        text = f"playlist {shown(continued.name)}"
        query = Query(text, _centre(table.vectors[rows]), rows)
    report = report or not (query or path or page)
    needed = [name for name, of in ((ARTISTS, query or path), (ALBUMS, per_album)) if of]
    found_groups, opened = _groups(
        table, known, collection, groups, artists, report or page is not None, needed
    )
    # Those that are needed for results alone are not asked for.
    asked_groups = [
        one for one in found_groups
        if groups is None or one.name in groups or (artists and one.name in (ARTISTS, ALBUMS))
    ]  # fmt: skip
    engine: Search = ExactSearch(table.vectors)
    if index == "faiss":
        settings = {"lists": faiss_lists, "probes": faiss_probes, "seed": seed}
        engine = cached_search(str(embeddings), table.vectors, **settings)
        logger.info(
            f"it finds {engine.recall(seed=seed):.1%} of the ten nearest (of "
            f"{min(TRIED, len(table)):,} tracks drawn); more with more --faiss-probes"
        )
    rows, similarities = np.empty(0, np.int64), np.empty(0)
    folded: list[tuple[int, int]] = []
    if query is not None:
        asked, caps = query.left_out, _caps(found_groups, per_artist, per_album)
        if less:
            unwanted = rows_of(table, known, less)
            if both := np.intersect1d(unwanted, asked).tolist():
                which = shown(known.track_ids[both[0]])
                raise TrackError(f"--less: {which} is asked about too: name it once")
            vector = away_from(query.vector, _centre(table.vectors[unwanted]))
            away = f", away from {len(unwanted):,} {'track' if len(unwanted) == 1 else 'tracks'}"
            query = Query(query.text + away, vector, np.concatenate([asked, unwanted]))
        k, usual = (add, ADD) if playlist else (top, TOP)
        k = max(1, min(usual, len(table) - len(query.left_out))) if k is None else k
        chosen = choose(engine, query.vector, k, query.left_out, caps=caps, fold=fold, asked=asked)
        rows, similarities, folded = chosen.rows, chosen.similarities, chosen.folded
        if len(rows) < k:
            logger.info(f"{len(rows):,} of the {k:,} tracks asked for: no others keep the rules")
        if not fold:
            _tell_the_same(table, rows, asked)
    elif path:
        rows, similarities, query = _path(table, known, path, STEPS if steps is None else steps)
    shares = np.empty(0)
    if query is not None:
        logger.info(
            f"{label}: {len(table):,} tracks, mean cosine of two of them "
            f"{mean_cosine(table.vectors):.4f}"
        )
        shares = percentiles(similarities, pair_similarities(table.vectors, seed))
    if report:
        k = min(TOP, len(table) - 1) if top is None else top
        measured = space_report(engine, table.vectors, asked_groups, k=k, seed=seed)
    result = Found(
        table, found_groups, query, rows, similarities, shares, folded, bool(path), continued,
        measured,
    )  # fmt: skip
    if query is not None or measured is not None:
        logger.info(repr(result))
    if audio and of_file is not None:
        tell_itself(table, rows, of_file, audio, known)
    files = None
    if audio_folder and table.paths is None and (page or written_playlist):
        files = _files_of(audio_folder, set(whole.track_ids))
    if out is not None:
        asked_for = {"track": track, "audio": audio and str(audio), "path": path, "less": less}
        _write(Path(out), result, whole, folder, label, asked_for, files)
    if page is not None:
        selected = track[0] if len(track) == 1 else None
        _write_page(page, table, asked_groups, audio_folder, files, opened, artists, selected, seed)
    return result


def check_settings(asked: Mapping[str, Any]) -> None:
    """Refuse settings of :func:`search` that are impossible, or that nothing reads.

    Raises RecipeError with the option.
    """
    queries = [name for name in ("track", "audio", "playlist", "path") if asked[name]]
    if len(queries) > 1:
        raise RecipeError(f"{' and '.join(map(option, queries))}: one of them at a time")
    for name, least in (
        ("top", 1), ("add", 1), ("steps", 1), ("per_artist", 1), ("per_album", 1), ("seed", 0)
    ):  # fmt: skip
        if asked[name] is not None and asked[name] < least:
            raise RecipeError(f"{option(name)} {asked[name]}: at least {least}")
    playlist, path, page, out = (asked[name] for name in ("playlist", "path", "page", "out"))
    if path and len(path) != 2:
        raise RecipeError(f"--path {shlex.join(path)}: two ids, its first and its last song")
    if asked["index"] not in INDEXES:
        raise RecipeError(f"--index {asked['index']}: {' or '.join(INDEXES)}")
    faiss = asked["index"] == "faiss"
    if faiss and isinstance(asked["embeddings"], EmbeddingTable):
        raise RecipeError("index 'faiss' is kept beside a file: give the path of the embeddings")
    report, query = asked["report"] or not (queries or page), queries and not path
    of_collection = report or page or asked["per_album"] or asked["audio"]
    artists_known = asked["artists"] and not of_collection
    of_playlist = ("add", "name", "format", "columns", "path_prefix", "encoding", "map")
    played = playlist or page or (out is not None and _is_m3u(out))
    usual = inspect.signature(search).parameters
    for names, read, missing in (
        (("model", "excerpt"), asked["audio"], "--audio"),
        (("trust_model",), asked["model"], "--model"),
        (of_playlist, playlist, "--playlist"),
        (("audio_folder",), played, "--playlist, --page or an --out that ends in .m3u8"),
        (("steps",), path, "--path"),
        (("less", "per_artist", "per_album", "fold"), query, "--track, --audio or --playlist"),
        (("faiss_lists", "faiss_probes"), faiss, "--index faiss"),
        (("top",), report or (query and not playlist), "--track, --audio or --report"),
        (("out",), queries or report, "a search or --report"),
        (("index",), query or report, "--track, --audio, --playlist or --report"),
        (("groups",), report or page, "--report or --page"),
        (("collection",), not artists_known, "--audio, --report or --page, given --artists"),
    ):
        for name in names:
            if not read and asked[name] not in (usual[name].default, []):
                raise RecipeError(f"{option(name)}: nothing reads it without {missing}")
    outs = FORMATS if queries else (".json",)
    for name, kinds in (("out", outs), ("page", PAGES)):
        if asked[name] is not None:
            _check_file(name, asked[name], kinds, asked["embeddings"])
    if page:
        require("sklearn", "bokeh")
    if page and out and Path(page).absolute() == Path(out).absolute():
        raise RecipeError(f"--page {page}: the same file as --out")


def _check_file(
    name: str, given: str | Path, kinds: Sequence[str], embeddings: str | Path | EmbeddingTable
) -> None:
    refuse_remote(given, "write to a file here, then copy it", RecipeError)
    path = Path(given)
    if path.suffix.lower() not in kinds:
        raise RecipeError(f"{option(name)} {path}: its name must end in {' or '.join(kinds)}")
    if path.is_dir():
        raise RecipeError(f"{option(name)} {path}: a folder, not a file")
    if isinstance(embeddings, EmbeddingTable) or not path.exists():
        return
    if Path(embeddings).exists() and path.samefile(embeddings):
        raise RecipeError(f"{option(name)} {path}: the file of the embeddings")


def _is_m3u(out: str | Path) -> bool:
    return Path(out).suffix.lower() == FORMATS[0]


def _caps(
    groups: Sequence[TrackGroups], per_artist: int | None, per_album: int | None
) -> list[tuple[TrackGroups, int]]:
    """Groups of which so many tracks at most may be found; RecipeError where there are none."""
    caps = []
    for name, given, most in (
        (ARTISTS, "--per-artist", per_artist),
        (ALBUMS, "--per-album", per_album),
    ):
        if most is None:
            continue
        of_name = next((one for one in groups if one.name == name), None)
        if of_name is None:
            column = name.removesuffix("s")
            raise RecipeError(
                f"{given} {most}: no {name} are known; groups {name!r} of the collection say them "
                f"({command('match_playlists')}), or a column {column!r} of --artists"
            )
        caps.append((of_name, most))
    return caps


def _tell_the_same(table: EmbeddingTable, rows: np.ndarray, asked: np.ndarray) -> None:
    """Say how many of the tracks found are nearly equal to one before: folding leaves them out."""
    rows = rows[:MOST_COMPARED]
    likeness, before = Likeness(table.vectors), [*asked.tolist(), *rows.tolist()]
    same = sum(
        likeness.version_of(row, before[: len(asked) + place]) is not None
        for place, row in enumerate(rows.tolist())
    )
    if same:
        logger.info(
            f"{same:,} of them nearly equal to one before, or asked about, as copies are; --fold "
            "leaves them out"
        )


def _path(
    table: EmbeddingTable, known: KnownTracks, ends: Sequence[str], steps: int
) -> tuple[np.ndarray, np.ndarray, Query]:
    """Rows of a path, their similarity to the row before, and its name."""
    a, b = (int(rows_of(table, known, [one])[0]) for one in ends)
    rows = song_path(table.vectors, a, b, steps)
    units = unit_vectors(table.vectors[rows])
    similarities = np.concatenate([[np.nan], (units[1:] * units[:-1]).sum(axis=1)])
    if len(rows) - 1 < steps:
        logger.info(
            f"{len(rows) - 1:,} of the {steps:,} steps asked for: with more tracks a step would be "
            "larger, or there are none left"
        )
    largest = 1 - similarities[1:].min()
    text = f"path from {shown(ends[0])} to {shown(ends[1])}, largest step {largest:.4f}"
    return rows, similarities, Query(text, units[0], rows)


def _groups(
    table: EmbeddingTable,
    known: KnownTracks,
    place: str | Path | None,
    names: Sequence[str] | None,
    artists: str | Path | None,
    all_there: bool,
    needed: Sequence[str],
) -> tuple[list[TrackGroups], Collection | None]:
    """All groups that there are, or of ``names``, and those ``needed``; their collection."""
    if names is not None:
        if not names or len(set(names)) < len(names):
            raise RecipeError(f"--groups {','.join(names)}: names, each once, with commas between")
        if artists and ARTISTS in names:
            raise RecipeError(f"--groups {','.join(names)} and --artists: artists come from one")
    own = groups_of_table(artists, known) if artists else []
    own_names = {one.name for one in own}
    if own and not all_there and own_names.issuperset(needed):
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
        wanted = None
        if names or not all_there:
            there = (one for one in needed if groups_path(collection.path, one).exists())
            wanted = list(dict.fromkeys([*(names or ()), *there]))
        found = collection_groups(known, collection, wanted)
        known_names = {one.name for one in found}
        found += [
            one
            for one in groups_of_tags(collection, known)
            if one.name not in known_names and (wanted is None or one.name in needed)
        ]
    except (CollectionError, GroupsError) as error:
        if place or names:
            raise
        logger.info(f"groups of the collection are left out: {error}")
        return own, collection
    return [*own, *(one for one in found if one.name not in own_names)], collection


def _files_of(folder: str | Path, known: set[str]) -> dict[str, str]:
    """Path below a folder of the file of each known track, by its id."""
    tracks = find_audio(folder).tracks
    files = {track.track_id: track.source for track in tracks if track.track_id in known}
    if not files:
        logger.info(f"{folder}: no file has the name of a track")
    return files


def _write(
    out: Path,
    found: Found,
    whole: EmbeddingTable,
    audio: Path | None,
    embeddings: str,
    asked: Mapping[str, Any],
    files: Mapping[str, str] | None,
) -> None:
    table, lost = found.table, None
    if found.playlist is not None or _is_m3u(out):
        begins = list(dict.fromkeys(asked["track"]))
        begin_rows = KnownTracks(whole.track_ids).rows(begins)
        playlist = found.playlist or Playlist(out.stem, begins, begin_rows)
        lost = write_continued(
            out, playlist, whole, found.rows, found.similarities, audio, files, found.percentiles
        )
    elif out.suffix.lower() == ".csv":
        with atomic_write(out, "w") as stream:
            rows = TableWriter(stream, quote_text=True)
            rows.writerow(["rank", "similarity", "percentile", "track_id", "artist"])
            rows.writerows(
                ["" if value is None else value for value in row.values()]
                for row in found.neighbours()
            )
    else:
        about = {name: text_about(table, name) for name in ("model", "model_key")}
        content: dict[str, Any] = {"embeddings": embeddings, **about}
        if found.query is not None:
            query = {name: value for name, value in asked.items() if value}
            content |= {"query": query, "path" if found.path else "neighbours": found.neighbours()}
            content["folded"] = [
                {"track_id": table.track_ids[row], "same_as": table.track_ids[kept]}
                for row, kept in found.folded
            ]
        if found.report is not None:
            content["space"] = found.report.to_dict(table.track_ids)
        write_json(out, content)
    logger.info(f"{out}: written")
    if lost:
        known = table.paths is not None or files
        mend = "the audio has moved, or --audio-folder says where it is"
        if not known:
            mend = "the embeddings have no paths; --audio-folder says where the audio is"
        what = "1 line leads" if len(lost) == 1 else f"{len(lost):,} lines lead"
        logger.info(f"{out}: {what} to no file here, such as {shown(lost[-1])}: {mend}")


def _write_page(
    page: str | Path,
    table: EmbeddingTable,
    groups: Sequence[TrackGroups],
    folder: str | Path | None,
    files: Mapping[str, str] | None,
    collection: Collection | None,
    artists: str | Path | None,
    selected: str | None,
    seed: int,
) -> None:
    """Write a map page, coloured by groups and tags, playlists first, then artists; titles come
    from ``artists`` or the collection's ``tracks.csv``; audio files are the embeddings' own, or
    ``files`` of ``folder``.
    """
    known = set(table.track_ids)
    labels: dict[str, dict[str, list[str]]] = {}
    order = {PLAYLISTS: 0, ARTISTS: 1}
    for one in sorted(groups, key=lambda one: order.get(one.name, 2)):
        name = one.name.removeprefix("tags-").removesuffix("s")
        if len(one):
            labels[one.name if name in labels else name] = track_values(one, table.track_ids)
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
