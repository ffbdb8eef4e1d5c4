"""Command ``search``: nearest tracks of a song, continuation of a playlist, a look at a space."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playlist_pretrain.cli import command_line
from playlist_pretrain.cli.match_playlists import parse_columns
from playlist_pretrain.errors import RecipeError
from playlist_pretrain.files import half_there, together
from playlist_pretrain.messages import command, words_of
from playlist_pretrain.retrieval.search import Found, check_settings, search

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchOptions:
    """Find the nearest tracks of a track, of several, of an audio file or of a playlist, by cosine
    similarity of the embeddings in a file of embed.py, or a path from one song to another. Without
    any of them, and without --page, report on the space: how alike all tracks are, which are near
    to everything, and how many of the nearest share artist, playlist or tag.
    """

    embeddings: str
    """Parquet file of embed.py, or another with the columns track_id and embedding"""
    track: list[str] = field(default_factory=list)
    """id of a track; of several, the nearest to their centre are found"""
    audio: str | None = None
    """audio file"""
    model: str | None = None
    """model that made the embeddings, for --audio [path stored in the file, if that
    model is there]"""
    excerpt: str | None = None
    """seconds from the centre of --audio, or full [what the embeddings are of]"""
    trust_model: bool = False
    """load a --model of your own that is refused otherwise: what is in it runs as you"""
    playlist: str | None = None
    """playlist to go on with, in any format of match_playlists.py"""
    add: int | None = None
    """tracks to add to the playlist [20, or as many as there are]"""
    name: str | None = None
    """name of the playlist, where the file has several"""
    format: str = "auto"
    """format of the playlist: auto, mpd, melon, jspf, xspf, m3u, itunes, history or table"""
    columns: str | None = None
    """columns of a table of playlists [group=group_id,track=track_id]"""
    audio_folder: str | None = None
    """folder below which the paths in a playlist become track ids, and whose files an .m3u8 leads
    to and a page plays [that of the embeddings, or else the playlist's own]"""
    path_prefix: str | None = None
    """beginning of the paths in a playlist in place of that folder [found where one makes most of
    them match]"""
    encoding: str | None = None
    """encoding of a playlist without a byte-order mark, as in windows-1251 [UTF-8]"""
    map: str | None = None
    """table with foreign_id and track_id, for playlists with other ids"""
    path: list[str] = field(default_factory=list)
    """two ids: find songs that lead from one to the other, the largest step as small as can be"""
    steps: int | None = None
    """steps of the path, one fewer than songs; fewer where more would make a step larger [20]"""
    top: int | None = None
    """neighbours [10, or as many as there are]"""
    less: list[str] = field(default_factory=list)
    """ids of tracks to search away from"""
    per_artist: int | None = None
    """find at most so many tracks of an artist"""
    per_album: int | None = None
    """find at most so many tracks of an album"""
    fold: bool = False
    """leave out copies of tracks found or asked about (their embeddings are nearly equal), and name
    them"""
    centre: bool = False
    """first subtract the mean of all tracks from the embeddings, so that similarities spread around
    0; those of embed.py --centre stay as they are"""
    report: bool = False
    """report on the space too, where there is a search or a page"""
    collection: str | None = None
    """collection of the embeddings, for groups and tags [path stored in the file]"""
    groups: str | None = None
    """names of groups of the collection, with commas between [all that there are, and tags]"""
    artists: str | None = None
    """table with track_id and artist, and with album and title if you like [the collection's groups
    artists and albums]"""
    index: str = "exact"
    """exact, or faiss for hundreds of thousands of tracks: the index is kept beside the embeddings,
    and its recall is printed"""
    faiss_lists: int | None = None
    """lists of the index [4 times the square root of the tracks]"""
    faiss_probes: int = 64
    """lists that are searched: more find more, and take longer"""
    seed: int = 0
    """seed of the index, of what is drawn for the report, and of the pairs behind percentiles"""
    out: str | None = None
    """file for what was found: .csv, .json, or .m3u8, which begins with what is asked about; .json
    for a report alone"""
    page: str | None = None
    """HTML file for a map of the tracks to look at and to listen to; it works offline"""
    overwrite: bool = False
    """replace existing files"""
    quiet: bool = False
    """print nothing"""


EXAMPLES = """
examples:
  python scripts/search.py --embeddings embeddings/mine.parquet
  python scripts/search.py --embeddings embeddings/mine.parquet --track "a song" "another song"
  python scripts/search.py --embeddings embeddings/mine.parquet --audio new.mp3 --top 20
  python scripts/search.py --embeddings embeddings/mine.parquet --playlist party.m3u8 --add 20 \\
      --out longer.m3u8
  python scripts/search.py --embeddings embeddings/mine.parquet --track "a song" --centre --fold \\
      --less "another song"
  python scripts/search.py --embeddings embeddings/mine.parquet --path "a song" "another song" \\
      --steps 20 --out path.m3u8
  python scripts/search.py --embeddings embeddings/mine.parquet --page map.html
"""


def check_options(options: SearchOptions, settings: Mapping[str, Any]) -> None:
    """Refuse what :func:`.check_settings` does, and a file that is there."""
    check_settings(settings)
    outputs = _outputs(options)
    for option, path in outputs.items():
        if path.exists() and not (options.overwrite or half_there([*outputs.values()])):
            raise RecipeError(f"{option} {path}: is there already; --overwrite replaces it")


def _outputs(options: SearchOptions) -> dict[str, Path]:
    texts = {"--out": options.out, "--page": options.page}
    return {option: Path(text) for option, text in texts.items() if text is not None}


def next_command(options: SearchOptions, found: Found) -> str:
    """A command that makes sense after the search."""
    out = "path.m3u8" if options.path else "longer.m3u8" if options.playlist else None
    if out and options.out is None:
        words = words_of(options, "page", "report", "overwrite", "quiet")
        return command("search", *words, "--out", out)
    row = int(found.rows[0]) if len(found.rows) else found.report.hubs[0][0] if found.report else 0
    start = command("search", "--embeddings", options.embeddings)
    return f"{start} {track_words(found.table.track_ids[row])}"


def track_words(track_id: str) -> str:
    """The option that names a track, for a shell; an id may begin as an option does."""
    if track_id.startswith("-"):
        return shlex.quote(f"--track={track_id}")
    return f"--track {shlex.quote(track_id)}"


def run(options: SearchOptions) -> Found:
    """Check the options, search, and print the next command."""
    settings = command_line.settings(options, "overwrite")
    settings["columns"] = parse_columns(options.columns)
    check_options(options, settings)
    if options.groups is not None:
        settings["groups"] = [n.strip() for n in options.groups.split(",") if n.strip()]
    with together([*_outputs(options).values()], overwrite=options.overwrite):
        found = search(**settings)
    logger.info("next: " + next_command(options, found))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of :func:`run`; returns the exit code."""
    return command_line.run(SearchOptions, run, prog="search.py", epilog=EXAMPLES, argv=argv)
