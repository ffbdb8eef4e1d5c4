"""Options of the command ``search``, and which of them go together.

What ``search`` found, on the screen and in files.

The command ``search``: the nearest tracks of any song, more of a playlist, a look at a space.
"""

from __future__ import annotations

import csv
import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from playlist_pretrain.cli import command_line
from playlist_pretrain.errors import CollectionError, GroupsError, RecipeError, printable
from playlist_pretrain.files import atomic_write, write_json
from playlist_pretrain.messages import command
from playlist_pretrain.playlists.match import shown
from playlist_pretrain.retrieval.continuation import Continued
from playlist_pretrain.retrieval.table_groups import artists_of, audio_folder, text_about

if TYPE_CHECKING:
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.retrieval.continuation import Playlist
    from playlist_pretrain.retrieval.embedding_table import EmbeddingTable
    from playlist_pretrain.retrieval.queries import Query
    from playlist_pretrain.retrieval.space import Search, SpaceReport
    from playlist_pretrain.retrieval.table_groups import KnownTracks

INDEXES = ("exact", "faiss")
RESULTS = (".csv", ".json")
PAGES = (".html", ".htm")


@dataclass(frozen=True)
class SearchOptions:
    """Find the nearest tracks of a track, of several, of an audio file or of a playlist, by cosine
    similarity of the embeddings in a file of embed.py. Without any of them, tell what the space is
    like: how alike all tracks are, which are near to everything, and how many of the nearest share
    artist, playlist or tag.
    """

    embeddings: str
    """Parquet file of embed.py, or another with the columns track_id and embedding"""
    track: list[str] = field(default_factory=list)
    """id of a track; of several, the nearest to their centre are found"""
    audio: str | None = None
    """audio file"""
    model: str | None = None
    """that the embeddings are of, for --audio [where it was]"""
    playlist: str | None = None
    """playlist to go on with, in any format of match_playlists.py"""
    add: int | None = None
    """tracks to add to the playlist [20, or as many as there are]"""
    name: str | None = None
    """which playlist, where the file has several"""
    format: str = "auto"
    """of the playlist: auto, mpd, melon, jspf, xspf, m3u, history or table"""
    columns: str | None = None
    """columns of a table of playlists [group=group_id,track=track_id]"""
    audio_folder: str | None = None
    """folder below which the paths in a playlist become track ids, and whose files a page plays
    [that of the embeddings]"""
    map: str | None = None
    """table with foreign_id and track_id, for playlists whose ids are others"""
    top: int | None = None
    """neighbours [10, or as many as there are]"""
    report: bool = False
    """tell what the space is like beside a search too"""
    collection: str | None = None
    """that the embeddings are of, for groups and tags [where it was]"""
    groups: str | None = None
    """names of groups of the collection, with commas between [all that there are, and tags]"""
    artists: str | None = None
    """table with track_id and artist [the collection's groups artists]; a page shows its title
    too"""
    index: str = "exact"
    """exact, or faiss for hundreds of thousands of tracks: the index is kept beside the embeddings,
    and how much it finds is said"""
    faiss_lists: int | None = None
    """lists that the index is cut into [4 times the square root of the tracks]"""
    faiss_probes: int = 64
    """lists that are looked into: more find more, and take longer"""
    seed: int = 0
    """of the index, of what is drawn for the report of many tracks, and of its intervals"""
    out: str | None = None
    """file for what was found: .csv or .json; .m3u8 too for a playlist, .json alone for a report"""
    page: str | None = None
    """HTML file for a map of the tracks to look at and to listen to; it works offline"""
    overwrite: bool = False
    """replace files that are there"""
    quiet: bool = False
    """print nothing"""

    def say(self, text: str) -> None:
        """Print, unless it is to be quiet; lines are kept, what steers a terminal is not."""
        if not self.quiet:
            print(printable(text, keep="\n"), flush=True)


def check_options(options: SearchOptions) -> None:
    """Refuse what cannot be, what nothing would read, and a file that is there."""
    asked = {"--track": options.track, "--audio": options.audio, "--playlist": options.playlist}
    asked = [name for name, value in asked.items() if value]
    if len(asked) > 1:
        raise RecipeError(f"{' and '.join(asked)}: one of them at a time")
    for name in ("top", "add"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise RecipeError(f"--{name} {value}: at least 1")
    if options.index not in INDEXES:
        raise RecipeError(f"--index {options.index}: {' or '.join(INDEXES)}")
    _refuse(options, ("model",), options.audio, "--audio")
    only = ("add", "name", "format", "columns", "map")
    _refuse(options, only, options.playlist, "--playlist")
    _refuse(options, ("audio_folder",), options.playlist or options.page, "--playlist or --page")
    _refuse(options, ("faiss_lists", "faiss_probes"), options.index == "faiss", "--index faiss")
    report = options.report or not asked
    _refuse(options, ("top",), report or not options.playlist, "--track, --audio or --report")
    _refuse(options, ("groups",), report or options.page, "--report or --page")
    artists_known = options.artists and not (report or options.page)
    _refuse(options, ("collection",), not artists_known, "--report or --page, given --artists")
    if options.seed < 0:
        raise RecipeError(f"--seed {options.seed}: at least 0")
    from playlist_pretrain.retrieval.continuation import FORMATS

    outs = FORMATS if "--playlist" in asked else RESULTS if asked else (".json",)
    for name, kinds in {"out": outs, "page": PAGES}.items():
        if getattr(options, name) is not None:
            _check_file(options, name, kinds)
    if (
        options.page
        and options.out
        and Path(options.page).absolute() == Path(options.out).absolute()
    ):
        raise RecipeError(f"--page {options.page}: the same file as --out")


def _refuse(options: SearchOptions, names: Sequence[str], read: object, missing: str) -> None:
    usual = {one.name: one.default for one in dataclasses.fields(SearchOptions)}
    for name in names:
        if not read and getattr(options, name) != usual[name]:
            option = "--" + name.replace("_", "-")
            raise RecipeError(f"{option}: nothing reads it without {missing}")


def _check_file(options: SearchOptions, name: str, kinds: Sequence[str]) -> None:
    from playlist_pretrain.storage import refuse_remote

    text = getattr(options, name)
    refuse_remote(text, "write to a file here, then copy it", RecipeError)
    path = Path(text)
    if path.suffix.lower() not in kinds:
        raise RecipeError(f"--{name} {path}: its name must end in {' or '.join(kinds)}")
    if path.is_dir():
        raise RecipeError(f"--{name} {path}: a folder, not a file")
    if path.exists() and Path(options.embeddings).exists() and path.samefile(options.embeddings):
        raise RecipeError(f"--{name} {path}: the file of the embeddings")
    if path.exists() and not options.overwrite:
        raise RecipeError(f"--{name} {path}: is there already; --overwrite replaces it")


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


EXAMPLES = """
examples:
  python scripts/search.py --embeddings embeddings/mine.parquet
  python scripts/search.py --embeddings embeddings/mine.parquet --track "a song" "another song"
  python scripts/search.py --embeddings embeddings/mine.parquet --audio new.mp3 --top 20
  python scripts/search.py --embeddings embeddings/mine.parquet --playlist party.m3u8 --add 20
      --out longer.m3u8
  python scripts/search.py --embeddings embeddings/mine.parquet --page map.html
"""
TOP, ADD = 10, 20


def search(options: SearchOptions) -> Searched:
    """Do what the options ask for; what ``scripts/search.py`` does.

    Raises
    ------
    PlaylistPretrainError
        With the option, file, row or track that has to be mended.
    """
    check_options(options)
    from playlist_pretrain.retrieval.queries import open_table
    from playlist_pretrain.retrieval.space import mean_cosine
    from playlist_pretrain.retrieval.table_groups import KnownTracks

    table = open_table(options.embeddings)
    known = KnownTracks(table.track_ids)
    query, playlist = _query(options, table, known)
    reports = options.report or query is None
    groups = _groups(options, table, known, all_there=reports or options.page is not None)
    engine = _engine(options, table)
    rows, similarities = np.empty(0, np.int64), np.empty(0)
    if query is not None:
        k = _number(options, len(table) - len(query.left_out))
        found = engine.of_vectors(query.vector[np.newaxis], k, query.left_out)
        rows, similarities = found[0][0], found[1][0]
        options.say(
            f"{options.embeddings}: {len(table):,} tracks, mean cosine of two of them "
            f"{mean_cosine(table.vectors):.4f}"
        )
    report = _report(options, engine, table, groups) if reports else None
    searched = Searched(table, groups, query, rows, similarities, playlist, report)
    if query is not None:
        options.say(f"nearest to {query.text}")
        options.say(neighbours_text(searched.neighbours()))
    if report is not None:
        options.say(report.text(table.track_ids))
    if options.out is not None:
        write_found(options, searched)
        options.say(f"{options.out}: written")
    if options.page is not None:
        from playlist_pretrain.retrieval.search_page import write_page

        write_page(options, searched)
    options.say("next: " + next_command(options, searched))
    return searched


def _query(
    options: SearchOptions, table: EmbeddingTable, known: KnownTracks
) -> tuple[Query | None, Playlist | None]:
    from playlist_pretrain.retrieval.queries import Query, audio_query, tracks_query

    if options.track:
        return tracks_query(table, known, options.track), None
    if options.audio:
        return audio_query(table, options.audio, options.model), None
    if not options.playlist:
        return None, None
    from playlist_pretrain.cli.match_playlists import parse_columns
    from playlist_pretrain.evaluation.neighbours import centre
    from playlist_pretrain.playlists.match import shown
    from playlist_pretrain.retrieval.continuation import PlaylistSource, read_playlist
    from playlist_pretrain.retrieval.table_groups import audio_folder

    source = PlaylistSource(
        path=Path(options.playlist),
        name=options.name,
        format=options.format,
        columns=parse_columns(options.columns),
        audio=audio_folder(table, options.audio_folder),
        id_map=Path(options.map) if options.map else None,
    )
    playlist = read_playlist(source, known)
    options.say(playlist.text())
    vector = centre(table.vectors[playlist.rows])
    return Query(f"playlist {shown(playlist.name)}", vector, playlist.rows), playlist


def _groups(
    options: SearchOptions, table: EmbeddingTable, known: KnownTracks, *, all_there: bool
) -> list[TrackGroups]:
    """All groups that there are, or those that artists are known by."""
    from playlist_pretrain.playlists.groups import groups_path
    from playlist_pretrain.retrieval.table_groups import (
        ARTISTS,
        artist_groups,
        collection_groups,
        collection_of,
        text_about,
    )

    names = None
    if options.groups is not None:
        names = [name.strip() for name in options.groups.split(",") if name.strip()]
        if not names or len(set(names)) < len(names):
            raise RecipeError(f"--groups {options.groups}: names, each once, with commas between")
        if options.artists and ARTISTS in names:
            raise RecipeError(f"--groups {options.groups} and --artists: artists come from one")
    own = [artist_groups(options.artists, known)] if options.artists else []
    if own and not all_there:
        return own
    try:
        collection = collection_of(table, options.collection)
        if collection is None:
            if names:
                raise GroupsError(
                    f"--groups {options.groups}: the embeddings name no collection, so it needs "
                    "--collection too"
                )
            if all_there and text_about(table, "collection_key"):
                options.say(
                    "the embeddings do not say where their collection is; --collection does"
                )
            return own
        if not all_there:
            names = [ARTISTS] if groups_path(collection.path, ARTISTS).exists() else []
        found = collection_groups(table, known, collection, names, options.say)
    except (CollectionError, GroupsError) as error:
        if options.collection or options.groups:
            raise
        options.say(f"groups of the collection are left out: {error}")
        return own
    return [*own, *(one for one in found if not (own and one.name == ARTISTS))]


def _engine(options: SearchOptions, table: EmbeddingTable) -> Search:
    if options.index == "faiss":
        from playlist_pretrain.retrieval.faiss_index import TRIED, IndexSettings, cached_search

        settings = IndexSettings(options.faiss_lists, options.faiss_probes, options.seed)
        found = cached_search(options.embeddings, table.vectors, settings, options.say)
        tried = min(TRIED, len(table))
        options.say(
            f"it finds {found.recall():.1%} of the ten nearest (of {tried:,} tracks drawn); more "
            "with more --faiss-probes"
        )
        return found
    from playlist_pretrain.evaluation.neighbours import ExactSearch

    return ExactSearch(table.vectors)


def _number(options: SearchOptions, others: int) -> int:
    given, usual = (options.add, ADD) if options.playlist else (options.top, TOP)
    return max(1, min(usual, others)) if given is None else given


def _report(
    options: SearchOptions, engine: Search, table: EmbeddingTable, groups: Sequence[TrackGroups]
) -> SpaceReport:
    from playlist_pretrain.messages import progress
    from playlist_pretrain.retrieval.space import report_queries, space_report

    queries = len(report_queries(len(table), options.seed))
    k = min(TOP, len(table) - 1) if options.top is None else options.top
    with progress(total=queries, quiet=options.quiet, desc="neighbours", unit="track") as bar:
        return space_report(
            engine, table.vectors, groups, k=k, seed=options.seed, advance=bar.update
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of :func:`search`; returns the exit code."""
    return command_line.run(SearchOptions, search, prog="search.py", epilog=EXAMPLES, argv=argv)
