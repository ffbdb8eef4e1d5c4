"""The command ``search``: the nearest tracks of any song, more of a playlist, a look at a space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from playlist_pretrain import cli
from playlist_pretrain.errors import CollectionError, GroupsError, RecipeError
from playlist_pretrain.search.options import SearchOptions, check_options

if TYPE_CHECKING:
    from playlist_pretrain.embedding.table import EmbeddingTable
    from playlist_pretrain.playlists.groups import TrackGroups
    from playlist_pretrain.search.continuation import Playlist
    from playlist_pretrain.search.output import Searched
    from playlist_pretrain.search.queries import Query
    from playlist_pretrain.search.space import Search, SpaceReport
    from playlist_pretrain.search.table_groups import KnownTracks

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
    from playlist_pretrain.search.output import (
        Searched,
        neighbours_text,
        next_command,
        write_found,
    )
    from playlist_pretrain.search.queries import open_table
    from playlist_pretrain.search.space import mean_cosine
    from playlist_pretrain.search.table_groups import KnownTracks

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
        from playlist_pretrain.search.page import write_page

        write_page(options, searched)
    options.say("next: " + next_command(options, searched))
    return searched


def _query(
    options: SearchOptions, table: EmbeddingTable, known: KnownTracks
) -> tuple[Query | None, Playlist | None]:
    from playlist_pretrain.search.queries import Query, audio_query, tracks_query

    if options.track:
        return tracks_query(table, known, options.track), None
    if options.audio:
        return audio_query(table, options.audio, options.model), None
    if not options.playlist:
        return None, None
    from playlist_pretrain.evaluation.neighbours import centre
    from playlist_pretrain.playlists.coverage import shown
    from playlist_pretrain.playlists.make import parse_columns
    from playlist_pretrain.search.continuation import PlaylistSource, read_playlist
    from playlist_pretrain.search.table_groups import audio_folder

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
    from playlist_pretrain.search.table_groups import (
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
        from playlist_pretrain.search.faiss_index import TRIED, IndexSettings, cached_search

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
    from playlist_pretrain.progress import progress
    from playlist_pretrain.search.space import report_queries, space_report

    queries = len(report_queries(len(table), options.seed))
    k = min(TOP, len(table) - 1) if options.top is None else options.top
    with progress(total=queries, quiet=options.quiet, desc="neighbours", unit="track") as bar:
        return space_report(
            engine, table.vectors, groups, k=k, seed=options.seed, advance=bar.update
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of :func:`search`; returns the exit code."""
    return cli.run(SearchOptions, search, prog="search.py", epilog=EXAMPLES, argv=argv)
