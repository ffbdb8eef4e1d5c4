"""Options of the command ``search``, and which of them go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from playlist_pretrain.errors import RecipeError, printable

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
    from playlist_pretrain.search.continuation import FORMATS

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
